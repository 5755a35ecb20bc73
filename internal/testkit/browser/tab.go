package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A Look is how a page is looked at.
type Look struct {
	Width, Height int64
	Scale         float64 // how many pixels one of the page has on each side; one if it is zero
	Dark          bool
	Forced        bool   // colours are those of the user
	Motion        bool   // things may move
	Language      string // as in Accept-Language
	NoScripts     bool
}

// Looks of the tests' pictures.
func Desk() Look  { return Look{Width: 1200, Height: 900, Language: "en"} }
func Phone() Look { return Look{Width: 360, Height: 740, Language: "en"} }

// A Tab is a window of its own: no other one has its cookies, but for those made
// with [Tab.Beside].
type Tab struct {
	t    testing.TB
	ctx  context.Context
	look Look

	mu     sync.Mutex
	errors []string // what the page complained of
}

// Tab opens one.
func (b *Browser) Tab(t testing.TB, look Look) *Tab {
	t.Helper()
	return open(t, b.ctx, look, chromedp.WithNewBrowserContext())
}

// Beside opens another tab of the same window, with the same cookies.
func (tab *Tab) Beside(t testing.TB) *Tab {
	t.Helper()
	return open(t, tab.ctx, tab.look, chromedp.WithExistingBrowserContext(chromedp.FromContext(tab.ctx).BrowserContextID))
}

func open(t testing.TB, parent context.Context, look Look, opts ...chromedp.ContextOption) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, opts...)
	t.Cleanup(cancel)
	tab := &Tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, tab.hear); err != nil { // with the tab's own context, which is its life
		t.Fatalf("opening a tab: %v", err)
	}
	call(tab, network.Enable, network.EnableParams{})
	call(tab, log.Enable, cdp.Empty{})
	tab.Look(look)
	return tab
}

// hear notes what a page complains of: errors of scripts, and what its policy
// forbids. That an address answers with an error is what many tests are about.
func (tab *Tab) hear(event any) {
	var text string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = fmt.Sprint(e.ExceptionDetails.Text, " ", e.ExceptionDetails.Exception)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			text = e.Entry.Text
		}
	case *page.EventJavascriptDialogOpening:
		text = "a dialog: " + e.Message
	}
	if text != "" {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		tab.errors = append(tab.errors, text)
	}
}

// Errors returns what the pages of this tab complained of so far.
func (tab *Tab) Errors() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return tab.errors
}

// do runs actions of chromedp.
func (tab *Tab) do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	run(tab, chromedp.Steps(actions...))
}

// run runs an action and returns its value. An element that was found while the page
// was still being loaded, or gave way to another, is looked for again.
func run[T any](tab *Tab, action chromedp.Action[T]) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for {
		v, err := chromedp.Run(ctx, action)
		if err == nil {
			return v
		}
		if ctx.Err() != nil || !gone(err) {
			tab.t.Fatalf("the browser: %v\n%s", err, tab.content())
		}
	}
}

// gone reports whether an element is no longer there that was found a moment before.
// Nothing has been done with it.
func gone(err error) bool {
	return slices.ContainsFunc([]string{
		"Could not find node with given id", "No node with given id found", "Node with given id does not belong to the document",
		"Node is detached from document", "Node does not have a layout object", "Could not compute box model",
	}, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// call sends one command of the protocol.
func call[P, R any](tab *Tab, cmd cdp.Command[P, R], params P) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		tab.t.Fatalf("the browser: %s: %v", cmd.Method, err)
	}
}

// content returns what the page says, for a test that fails.
func (tab *Tab) content() string {
	ctx, cancel := context.WithTimeout(tab.ctx, time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// Look changes how the tab is looked at.
func (tab *Tab) Look(look Look) {
	tab.t.Helper()
	scheme := "light"
	if look.Dark {
		scheme = "dark"
	}
	motion, forced := "reduce", "none"
	if look.Motion {
		motion = "no-preference"
	}
	if look.Forced {
		forced = "active"
	}
	tab.look = look
	call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: look.Width, Height: look.Height, DeviceScaleFactor: max(look.Scale, 1), Mobile: look.Width < 500,
	})
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion}, {Name: "forced-colors", Value: forced},
	}})
	call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: look.NoScripts})
	if look.Language != "" {
		call(tab, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": look.Language}})
	}
}

// Open goes to an address and waits until it is there.
func (tab *Tab) Open(url string) {
	tab.t.Helper()
	tab.do(chromedp.Navigate(url))
}

// Reload loads the page anew.
func (tab *Tab) Reload() {
	tab.t.Helper()
	tab.do(chromedp.Reload())
}

// Await waits until the page has an element that is to be seen.
func (tab *Tab) Await(selector string) {
	tab.t.Helper()
	tab.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// AwaitText waits until the page, or the one that comes after it, says text.
func (tab *Tab) AwaitText(text string) {
	tab.t.Helper()
	says := fmt.Sprintf("document.body && document.body.innerText.includes(%q) || null", text)
	await[bool](tab, fmt.Sprintf("saying %q", text), says)
}

// await waits until an expression is something else than null, and returns it.
func await[T any](tab *Tab, what, expression string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	for {
		v, err := chromedp.Run(ctx, chromedp.Evaluate[*T](expression))
		switch {
		case err == nil && v != nil:
			return *v
		case ctx.Err() != nil:
			tab.t.Fatalf("the page is not %s (%v):\n%s", what, err, tab.content())
		}
		select { // an error is that of a page which has just gone
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// Type types into a field as a person does.
func (tab *Tab) Type(selector, text string) {
	tab.t.Helper()
	tab.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks on an element.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Text returns what an element says, once it is there.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	says := fmt.Sprintf("(e => e && (e.innerText ?? e.textContent))(document.querySelector(%q))", selector)
	return strings.TrimSpace(await[string](tab, "showing "+selector, says))
}

// Eval evaluates an expression of JavaScript in a tab; promises are waited for.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	return run(tab, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Press presses keys where the focus is.
func (tab *Tab) Press(keys string) {
	tab.t.Helper()
	tab.do(chromedp.KeyEvent(keys))
}

// ClearCookies takes all cookies from the window.
func (tab *Tab) ClearCookies() {
	tab.t.Helper()
	call(tab, network.ClearBrowserCookies, cdp.Empty{})
}

// Back goes to the page before.
func (tab *Tab) Back() {
	tab.t.Helper()
	tab.do(chromedp.NavigateBack())
}

// Offline takes the network away from the tab, or gives it back.
func (tab *Tab) Offline(yes bool) {
	tab.t.Helper()
	var conditions []*network.Conditions
	if yes {
		conditions = append(conditions, &network.Conditions{Offline: true, DownloadThroughput: -1, UploadThroughput: -1})
	}
	call(tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: conditions})
}

// Picture writes what the tab shows, all of its height, to dir/name.png.
func (tab *Tab) Picture(dir, name string) {
	tab.t.Helper()
	png := run(tab, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		tab.t.Fatal(err)
	}
}
