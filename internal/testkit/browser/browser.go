// Package browser drives Debian's Chromium for tests: pages as people see them, in
// the clear and in the dark, on a telephone and on a desk, with and without
// scripts; what they look like, and what axe-core finds wrong with them.
package browser

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"writeback/internal/testkit"
)

// patience is how long a page may take to become what a test waits for, on a
// machine that does much besides.
const patience = 30 * time.Second

// A Browser is a running Chromium.
type Browser struct{ ctx context.Context }

// Start runs a browser, with a profile of its own, that ends with the test. Besides
// the machine's authorities it believes these certificates of servers, by their
// keys.
func Start(t testing.TB, servers ...tls.Certificate) *Browser {
	t.Helper()
	return start(t, t.TempDir(), servers...)
}

// StartWithoutCookies runs one whose user lets nobody keep cookies.
func StartWithoutCookies(t testing.TB) *Browser {
	t.Helper()
	profile := t.TempDir()
	settings := filepath.Join(profile, "Default", "Preferences")
	err := os.MkdirAll(filepath.Dir(settings), 0o700)
	if err == nil {
		const block = 2 // as Chromium numbers what a site may do
		err = os.WriteFile(settings, fmt.Appendf(nil, `{"profile":{"default_content_setting_values":{"cookies":%d}}}`, block), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return start(t, profile)
}

func start(t testing.TB, profile string, servers ...tls.Certificate) *Browser {
	t.Helper()
	if err := testkit.Install(t.Context(), "chromium", "chromium"); err != nil {
		t.Fatal(err)
	}
	var pins []string
	for _, s := range servers {
		sum := sha256.Sum256(s.Leaf.RawSubjectPublicKeyInfo)
		pins = append(pins, base64.StdEncoding.EncodeToString(sum[:]))
	}
	// The browser is ended by hand, not by the end of t.Context, so that it can
	// close its files before the profile goes.
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()),
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(profile), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless,
		chromedp.NoSandbox, // Chromium refuses to run as root with one
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("ignore-certificate-errors-spki-list", strings.Join(pins, ",")), chromedp.Flag("no-pings", true), chromedp.Flag("disable-domain-reliability", true),
	)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("closing the browser: %v", err)
		}
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	return &Browser{ctx}
}
