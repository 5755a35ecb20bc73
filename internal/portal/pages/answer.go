package pages

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"writeback/internal/portal/sse"
	"writeback/internal/reset"
)

// policy lets a page load from this server alone, run no script that is written
// into it, and be shown in no other page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// protect sets the headers of every answer.
func (c *Call) protect() {
	h := c.w.Header()
	for name, value := range map[string]string{
		"Content-Security-Policy":      policy,
		"X-Frame-Options":              "DENY", // for browsers that do not know frame-ancestors
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
		"Cache-Control":                "no-store",
		"Content-Language":             string(c.Language),
		"Vary":                         "Accept-Language, Cookie",
	} {
		h.Set(name, value)
	}
	if c.Request.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// A view is what the layout is given.
type view struct {
	*Call
	Data any // of the page
}

// Render answers with a page: one of the templates that were added with
// [Frame.Templates], by its file's name.
func (c *Call) Render(status int, name string, data any) error {
	var b bytes.Buffer
	if err := c.execute(&b, name, "layout", data); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.WriteHeader(status)
	if c.Request.Method == http.MethodHead {
		return nil
	}
	_, err := c.w.Write(b.Bytes())
	return err
}

// Fragment renders one block of a page, to be sent with [Stream.Swap].
func (c *Call) Fragment(name, block string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := c.execute(&b, name, block, data)
	return b.Bytes(), err
}

func (c *Call) execute(b *bytes.Buffer, name, block string, data any) error {
	t := c.f.templates[name]
	if t == nil {
		return fmt.Errorf("pages: there is no template %s", name)
	}
	return t.ExecuteTemplate(b, block, view{c, data})
}

// Problem answers with a page that says what is wrong and what can be done, in the
// texts KEY.title, KEY.text and KEY.next.
func (c *Call) Problem(status int, key string) error {
	return c.Render(status, "problem.html", key)
}

// Redirect sends the browser to another page, which it gets with GET.
func (c *Call) Redirect(to string) error {
	http.Redirect(c, c.Request, to, http.StatusSeeOther)
	return nil
}

// Header, WriteHeader and Write make a call an [http.ResponseWriter], for what
// answers by itself.
func (c *Call) Header() http.Header { return c.w.Header() }

// WriteHeader begins the answer.
func (c *Call) WriteHeader(status int) {
	c.status = status
	c.w.WriteHeader(status)
}

// Write writes of the answer.
func (c *Call) Write(b []byte) (int, error) { return c.w.Write(b) }

// Body limits and returns what was posted.
func (c *Call) Body(limit int64) *http.Request {
	c.Request.Body = http.MaxBytesReader(c.w, c.Request.Body, limit)
	return c.Request
}

// cookiePrefix is what a browser takes only over TLS, for one host and all its
// paths; no other site of the domain can set it.
const cookiePrefix = "__Host-"

// SetCookie gives the browser a cookie for life, which no script reads. It comes
// back when the page is opened from elsewhere, but not with what another site
// posts.
func (c *Call) SetCookie(name, value string, life time.Duration) {
	http.SetCookie(c.w, &http.Cookie{
		Name: cookiePrefix + name, Value: value, Path: "/", MaxAge: int(life.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// Cookie returns what SetCookie has set; empty if there is none.
func (c *Call) Cookie(name string) string {
	cookie, err := c.Request.Cookie(cookiePrefix + name)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// A Stream is a page that goes on while it is read.
type Stream struct {
	*sse.Stream
	id int
}

// Swap sends fragments of HTML. Each takes the place of the element in the page that
// has its id.
func (s *Stream) Swap(html []byte) error {
	s.id++
	return s.Send(s.id, "swap", html)
}

// Stream answers with what f sends. reader names who reads, for whom the number of
// streams is bounded. A browser comes back when a stream ends, as long as its
// page has an element with data-stream.
func (c *Call) Stream(reader string, f func(context.Context, *Stream) error) error {
	release, ok := c.f.streams.Take(reader)
	if !ok {
		return &reset.Refusal{Code: reset.TooMany, Field: "events", Detail: "has too many streams open", RetryAfter: time.Minute}
	}
	defer release()
	c.status = http.StatusOK
	return sse.Serve(c.w, c.Request, func(ctx context.Context, s *sse.Stream) error { return f(ctx, &Stream{Stream: s}) })
}

// NoContent answers that there is nothing to read, and no browser comes back for it.
func (c *Call) NoContent() error {
	c.WriteHeader(http.StatusNoContent)
	return nil
}
