package browser

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `<!doctype html><html lang="en"><title>Sample</title><body><main><h1>Sample</h1>
<p id="lang"></p><form><label for="a">A</label><input id="a"></form><button>Press</button><p id="out"></p></main>
<script>document.querySelector("button").onclick = () => { document.querySelector("#out").textContent = "pressed " + document.querySelector("#a").value; }</script>`

// restless is a page that puts another button in the place of the one before, as fast
// as it can.
const restless = `<!doctype html><html><title>x</title><body><p></p><output>0</output>
<script>let n = 0; setInterval(() => {
  const b = document.createElement("button"); b.textContent = "Press"; b.onclick = () => { document.querySelector("output").textContent = ++n; };
  document.querySelector("p").replaceChildren(b);
}, 1);</script>`

func serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			io.WriteString(w, `<!doctype html><html><title>x</title><body><input><img src="data:,"><script>throw new Error("broken on purpose")</script>`)
		case "/language":
			io.WriteString(w, r.Header.Get("Accept-Language"))
		case "/cookie":
			http.SetCookie(w, &http.Cookie{Name: "__Host-x", Value: "1", Path: "/", Secure: true})
			io.WriteString(w, r.Header.Get("Cookie"))
		case "/restless":
			io.WriteString(w, restless)
		default:
			io.WriteString(w, sample)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// The tools see what is there, and what is wrong.
func TestBrowser(t *testing.T) {
	url := serve(t)
	b, a := Start(t), NewAxe(t)
	tab := b.Tab(t, Look{Width: 400, Height: 600, Language: "de"})
	tab.Open(url)
	tab.Type("#a", "here")
	tab.Click("button")
	tab.AwaitText("pressed here")
	if got := a.Violations(tab); len(got) != 0 {
		t.Errorf("a good page: %q", got)
	}
	dir := t.TempDir()
	tab.Picture(dir, "sample")
	if info, err := os.Stat(filepath.Join(dir, "sample.png")); err != nil || info.Size() < 1000 {
		t.Errorf("the picture: %v", err)
	}
	if got := tab.Errors(); len(got) != 0 {
		t.Errorf("a good page complains: %q", got)
	}
	tab.Open(url + "/language")
	if got := tab.Text("body"); got != "de" {
		t.Errorf("the language is %q", got)
	}
	tab.Open(url + "/bad")
	if got := strings.Join(a.Violations(tab), "\n"); !strings.Contains(got, "html-has-lang") || !strings.Contains(got, "label") {
		t.Errorf("a bad page: %q", got)
	}
	if got := strings.Join(tab.Errors(), "\n"); !strings.Contains(got, "broken on purpose") {
		t.Errorf("a bad page complains: %q", got)
	}
	for _, yes := range []bool{true, false} {
		tab.Offline(yes)
		if got := Eval[bool](tab, `fetch(location.href).then(() => false, () => true)`); got != yes {
			t.Errorf("offline is %t, want %t", got, yes)
		}
	}
	tab.Look(Look{Width: 400, Height: 600, Dark: true, Language: "en"})
	if !Eval[bool](tab, `matchMedia("(prefers-color-scheme: dark)").matches`) {
		t.Error("the dark is light")
	}
	for _, look := range []Look{{Width: 400, Height: 600}, {Width: 400, Height: 600, Scale: 2, Forced: true, Motion: true}} {
		tab.Look(look)
		got := Eval[string](tab, `[matchMedia("(forced-colors: active)").matches, matchMedia("(prefers-reduced-motion: reduce)").matches, devicePixelRatio].join()`)
		if want := fmt.Sprint(look.Forced, ",", !look.Motion, ",", max(look.Scale, 1)); got != want {
			t.Errorf("%+v: %s, want %s", look, got, want)
		}
	}
}

// A window keeps its cookies to itself, also those that need TLS elsewhere.
func TestCookies(t *testing.T) {
	url := serve(t)
	b := Start(t)
	first := b.Tab(t, Desk())
	first.Open(url + "/cookie")
	for name, tab := range map[string]*Tab{"the same window": first.Beside(t), "another window": b.Tab(t, Desk())} {
		tab.Open(url + "/cookie")
		if got, want := tab.Text("body"), map[string]string{"the same window": "__Host-x=1"}[name]; got != want {
			t.Errorf("%s sends %q, want %q", name, got, want)
		}
	}
}

func TestWithoutCookies(t *testing.T) {
	url := serve(t)
	tab := StartWithoutCookies(t).Tab(t, Desk())
	for range 2 {
		tab.Open(url + "/cookie")
		if got := tab.Text("body"); got != "" {
			t.Errorf("it sends %q", got)
		}
	}
}

func TestNoScripts(t *testing.T) {
	tab := Start(t).Tab(t, Look{Width: 400, Height: 600, NoScripts: true})
	tab.Open(serve(t))
	tab.Click("button")
	if got := tab.Text("#out"); got != "" {
		t.Errorf("a script ran: %q", got)
	}
}

// An element that gives way to another is looked for again.
func TestRestless(t *testing.T) {
	tab := Start(t).Tab(t, Desk())
	tab.Open(serve(t) + "/restless")
	for range 100 {
		tab.Click("button")
		if got := tab.Text("button"); got != "Press" {
			t.Errorf("the button says %q", got)
		}
	}
	if got := tab.Text("output"); got == "0" {
		t.Error("nothing was pressed")
	}
}
