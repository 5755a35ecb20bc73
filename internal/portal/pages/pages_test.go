package pages

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/reset"
)

// frame returns one with a page at /page that h answers, and its log.
func frame(t *testing.T, brand Brand, h Handler) (http.Handler, *strings.Builder) {
	t.Helper()
	log := new(strings.Builder)
	f, err := New(Config{Brand: brand, Log: zerolog.New(zerolog.SyncWriter(log)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	f.Handle("GET", "/page", h)
	f.Handle("POST", "/page", h)
	return f.Over(http.HandlerFunc(missing)), log
}

func problem(c *Call) error { return c.Problem(http.StatusTeapot, "problem.internal") }

func do(f http.Handler, r *http.Request, headers ...string) (*http.Response, string) {
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

func get(f http.Handler, path string, headers ...string) (*http.Response, string) {
	return do(f, httptest.NewRequest("GET", path, nil), headers...)
}

func missing(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }

// Every answer with a page keeps it to itself.
func TestHeaders(t *testing.T) {
	f, _ := frame(t, Brand{}, problem)
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "/page", nil), httptest.NewRequest("POST", "/page", nil), httptest.NewRequest("PUT", "/page", nil),
	} {
		res, _ := do(f, r)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
				"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Content-Type": "text/html; charset=utf-8", "Strict-Transport-Security": "",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", r.Method, name, got, want)
			}
		}
	}
	if res, _ := do(f, httptest.NewRequest("GET", "https://reset.example.com/page", nil)); res.Header.Get("Strict-Transport-Security") == "" {
		t.Error("over TLS, browsers are not told to stay with it")
	}
	if res, _ := do(f, httptest.NewRequest("PUT", "/page", nil)); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, POST" {
		t.Errorf("another method: %d, %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

// Nothing of a page is a script or a style, and what it loads is there.
func TestNothingInline(t *testing.T) {
	f, _ := frame(t, Brand{Organisation: "Example & Sons", Colour: "#aa0000"}, problem)
	_, page := get(f, "/page")
	for _, bad := range []string{"<style", " style=", "javascript:", " onclick", " onload"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, m := range regexp.MustCompile(`<script([^>]*)>([^<]*)</script>`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(m[1], "src=") || m[2] != "" {
			t.Errorf("a script is written into the page: %s", m[0])
		}
	}
	links := regexp.MustCompile(`(?:src|href)="(/[^"#]+)"`).FindAllStringSubmatch(page, -1)
	for _, m := range links {
		if m[1] == "/page" {
			continue
		}
		res, body := get(f, m[1])
		if res.StatusCode != 200 || body == "" || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %d bytes, %s", m[1], res.StatusCode, len(body), res.Header.Get("Cache-Control"))
		}
		old, _, _ := strings.Cut(m[1], "?")
		if res, _ := get(f, old); res.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s without its version: %s", old, res.Header.Get("Cache-Control"))
		}
	}
	if len(links) < 5 {
		t.Errorf("the page loads %v", links)
	}
	for _, bad := range []string{"/assets/", "/assets/../texts.json", "/assets/none.css", "/brand/logo.svg"} {
		if res, _ := get(f, bad); res.StatusCode == 200 {
			t.Errorf("%s: %d", bad, res.StatusCode)
		}
	}
}

// What another site posts is refused, and a page says so.
func TestCrossOrigin(t *testing.T) {
	f, _ := frame(t, Brand{}, func(c *Call) error { t.Error("the handler was called"); return nil })
	for name, headers := range map[string][]string{
		"another site":   {"Sec-Fetch-Site", "cross-site"},
		"a sister site":  {"Sec-Fetch-Site", "same-site"},
		"another origin": {"Origin", "https://evil.example"},
	} {
		if res, body := do(f, httptest.NewRequest("POST", "/page", nil), headers...); res.StatusCode != 403 || !strings.Contains(body, "Another website") {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	f, _ = frame(t, Brand{}, problem)
	if res, _ := do(f, httptest.NewRequest("POST", "/page", nil), "Sec-Fetch-Site", "same-origin", "Origin", "null"); res.StatusCode != http.StatusTeapot {
		t.Errorf("our own page, which sends no referrer: %d", res.StatusCode)
	}
}

func TestLanguage(t *testing.T) {
	f, _ := frame(t, Brand{}, problem)
	for accept, want := range map[string]Language{
		"": English, "de": German, "de-AT,de;q=0.9,en;q=0.8": German, "en-GB,en;q=0.9,de;q=0.8": English, "fr": English,
		"fr,de;q=0.5": German, "en;q=0.1, de;q=0.2": German, "de;q=0": English, "DE": German, "de;q=x": English, ";;;,": English,
	} {
		res, body := get(f, "/page", "Accept-Language", accept)
		if got := res.Header.Get("Content-Language"); got != string(want) || !strings.Contains(body, `<html lang="`+string(want)+`">`) {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

// Each text is in each language, with the same verbs, and each key of a template
// and of a refusal is there.
func TestTexts(t *testing.T) {
	all, err := readTexts()
	if err != nil {
		t.Fatal(err)
	}
	verbs := regexp.MustCompile(`%[^%]`)
	for key, text := range all {
		for _, l := range Languages() {
			if text[l] == "" {
				t.Errorf("%s is not in %s", key, l)
			}
		}
		if en, de := verbs.FindAllString(text[English], -1), verbs.FindAllString(text[German], -1); strings.Join(en, "") != strings.Join(de, "") {
			t.Errorf("%s: verbs %v and %v", key, en, de)
		}
		if len(text) != len(Languages()) {
			t.Errorf("%s is in %d languages", key, len(text))
		}
	}
	for _, code := range reset.RefusalCodes() {
		for _, part := range []string{".title", ".text", ".next"} {
			if all["refusal."+string(code)+part] == nil {
				t.Errorf("no text refusal.%s%s", code, part)
			}
		}
	}
	// A decoder of JSON drops what is there twice without a word.
	dec := json.NewDecoder(strings.NewReader(string(textsFile)))
	seen, depth := map[string]bool{}, 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		switch v := token.(type) {
		case json.Delim:
			depth += map[json.Delim]int{'{': 1, '}': -1}[v]
		case string:
			if depth == 1 && seen[v] {
				t.Errorf("%s is there twice", v)
			}
			if depth == 1 {
				seen[v] = true
			}
		}
	}
}

// What a handler returns is said in a sentence, and what it panics with is not said
// at all.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler Handler
		status  int
		text    string
	}{
		{"a refusal", func(*Call) error { return &reset.Refusal{Code: reset.NoConsumer, RetryAfter: 10 * time.Second} }, 503, "connection to your organisation"},
		{"a defect", func(*Call) error { return errors.New("hunter2") }, 500, "went wrong"},
		{"a panic", func(*Call) error { panic("hunter2") }, 500, "went wrong"},
	} {
		f, log := frame(t, Brand{}, tt.handler)
		res, body := get(f, "/page?t=hunter2")
		if res.StatusCode != tt.status || !strings.Contains(body, tt.text) || strings.Contains(body, "hunter2") {
			t.Errorf("%s: %d %s", tt.name, res.StatusCode, body)
		}
		reference := regexp.MustCompile(`page-([0-9a-f]{8})`).FindStringSubmatch(body)
		if reference == nil || !strings.Contains(log.String(), reference[1]) {
			t.Errorf("%s: the page's reference %v is not in the log: %s", tt.name, reference, log)
		}
		if strings.Contains(log.String(), "t=hunter2") || tt.name == "a panic" && strings.Contains(log.String(), "hunter2") {
			t.Errorf("%s: logged is %s", tt.name, log)
		}
	}
	f, log := frame(t, Brand{}, func(c *Call) error { c.Note("corp", "pub1-00", "applied"); return problem(c) })
	if _, body := get(f, "/page"); !strings.Contains(body, "<code>pub1-00</code>") || !strings.Contains(log.String(), `"request":"pub1-00","code":"applied"`) {
		t.Errorf("a noted request is not shown, or not logged: %s", log)
	}
}

func TestBrand(t *testing.T) {
	logo := filepath.Join(t.TempDir(), "logo.svg")
	if err := os.WriteFile(logo, []byte("<svg/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := frame(t, Brand{Organisation: `Ex "ample" <b>`, LogoFile: logo, Colour: "#ffee00"}, problem)
	_, page := get(f, "/page")
	if !strings.Contains(page, "Ex &#34;ample&#34; &lt;b&gt;") || !strings.Contains(page, `src="/brand/logo.svg?v=`) {
		t.Errorf("the page is %s", page)
	}
	res, _ := get(f, "/brand/logo.svg") // opened by itself, it runs nothing
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "sandbox") ||
		res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("the logo has the headers %v", res.Header)
	}
	if _, sheet := get(f, "/brand/brand.css"); !strings.Contains(sheet, "--brand: #ffee00; --on-brand: #000000;") {
		t.Errorf("the style is %s", sheet)
	}
	for _, bad := range []Brand{
		{Colour: "red"}, {Colour: "#12345"}, {Colour: "#1f5fae;}"}, {Colour: "1f5fae0"}, {Organisation: strings.Repeat("x", 101)},
		{Organisation: "a\nb"}, {LogoFile: filepath.Join(t.TempDir(), "none.svg")}, {LogoFile: "brand.go"},
	} {
		if _, err := New(Config{Brand: bad, Metrics: prometheus.NewRegistry()}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	for _, c := range []string{"#000000", "#ffffff", "#1f5fae", "#777777", "#ff0000", "#00ff00", "#0000ff", "#757575", "#767676"} {
		rgb, _ := parseColour(c)
		text, _ := parseColour(onColour(rgb))
		a, b := luminance(rgb)+0.05, luminance(text)+0.05
		if ratio := max(a, b) / min(a, b); ratio < 4.5 {
			t.Errorf("%s on %s has a contrast of %.2f", onColour(rgb), c, ratio)
		}
	}
}

func TestOver(t *testing.T) {
	f, _ := frame(t, Brand{}, problem)
	for path, want := range map[string]int{"/page": http.StatusTeapot, "/v1/resets": 404, "/": 404, "/page/more": 404, "/assets/style.css": 200} {
		if res, _ := get(f, path); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

func TestCookies(t *testing.T) {
	var got string
	f, _ := frame(t, Brand{}, func(c *Call) error {
		got = c.Cookie("reset")
		c.SetCookie("reset", "value", time.Minute)
		return c.Redirect("/page")
	})
	res, _ := get(f, "/page", "Cookie", "reset=other; __Host-reset=mine")
	if want := "__Host-reset=value; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"; res.Header.Get("Set-Cookie") != want {
		t.Errorf("set is %q, want %q", res.Header.Get("Set-Cookie"), want)
	}
	if res.StatusCode != 303 || got != "mine" {
		t.Errorf("%d; the cookie is %q", res.StatusCode, got)
	}
}

func TestStream(t *testing.T) {
	inside := make(chan struct{}, 1)
	f, _ := frame(t, Brand{}, func(c *Call) error {
		return c.Stream("me", func(ctx context.Context, s *Stream) error {
			if c.Request.URL.RawQuery == "wait" {
				inside <- struct{}{}
				<-ctx.Done()
			}
			return s.Swap([]byte("<p id=\"a\">\n1</p>"))
		})
	})
	res, body := get(f, "/page")
	if kind := res.Header.Get("Content-Type"); kind != "text/event-stream" || !strings.HasSuffix(body, "id: 1\nevent: swap\ndata: <p id=\"a\">\ndata: 1</p>\n\n") {
		t.Errorf("%s: %q", kind, body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	for range readerStreams {
		readers.Go(func() { do(f, httptest.NewRequest("GET", "/page?wait", nil).WithContext(ctx)) })
		<-inside
	}
	if res, _ := get(f, "/page"); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one stream too many: %d", res.StatusCode)
	}
}
