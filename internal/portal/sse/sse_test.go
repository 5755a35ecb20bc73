package sse

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// serve runs f behind a real server that is strict with requests.
func serve(t *testing.T, f func(context.Context, *Stream) error) (url string, ended <-chan error) {
	t.Helper()
	errs := make(chan error, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { errs <- Serve(w, r, f) }))
	s.Config.ReadTimeout, s.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, errs
}

// Events arrive one by one, also long after the server's time-outs.
func TestServe(t *testing.T) {
	next := make(chan struct{})
	url, ended := serve(t, func(ctx context.Context, s *Stream) error {
		for i := range 3 {
			<-next
			if err := s.Send(i+1, "step", []byte("one\r\ntwo\n")); err != nil {
				return err
			}
		}
		return nil
	})
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	r := bufio.NewReader(res.Body)
	read := func(n int) string {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read(len("retry: 1000\n\n")); got != "retry: 1000\n\n" {
		t.Errorf("begins with %q", got)
	}
	for _, id := range []string{"1", "2", "3"} {
		<-time.After(60 * time.Millisecond) // longer than both time-outs
		next <- struct{}{}
		want := "id: " + id + "\nevent: step\ndata: one\ndata: two\n\n"
		if got := read(len(want)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// The stream ends when its reader leaves.
func TestReaderLeaves(t *testing.T) {
	url, ended := serve(t, func(ctx context.Context, s *Stream) error { <-ctx.Done(); return ctx.Err() })
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve = %v", err)
	}
}

// A reader that does not read loses its stream after a while, and nothing else
// waits for it.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe() // holds nothing: who does not read blocks who writes
		defer client.Close()
		done := make(chan error)
		begun := time.Now()
		go func() {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				done <- Serve(w, r, func(ctx context.Context, s *Stream) error { <-ctx.Done(); return context.Cause(ctx) })
			})
			http.Serve(&one{conn: server, closed: make(chan struct{})}, h)
		}()
		go io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		err := <-done
		if timeout := net.Error(nil); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("Serve = %v, want a time-out", err)
		}
		if took := time.Since(begun); took != writeTimeout {
			t.Errorf("ended after %s, want %s", took, writeTimeout)
		}
	})
}

// one is a listener with one connection.
type one struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	return nil, io.EOF
}
func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return &net.TCPAddr{} }

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := httptest.NewRecorder()
		ctx, cancel := context.WithTimeout(t.Context(), 3*keepAlive+time.Second)
		defer cancel()
		Serve(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx), func(ctx context.Context, s *Stream) error { <-ctx.Done(); return nil })
		if got := strings.Count(w.Body.String(), ":\n\n"); got != 3 {
			t.Errorf("%d signs of life, want 3: %q", got, w.Body)
		}
	})
}

func TestLastID(t *testing.T) {
	for header, want := range map[string]int{"": 0, "3": 3, "-1": 0, "x": 0, "99999999999999999999": 0} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Last-Event-ID", header)
		if got := LastID(r); got != want {
			t.Errorf("%q: %d, want %d", header, got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	p := NewPlaces(3, 2)
	take := func(reader string, want bool) func() {
		t.Helper()
		back, ok := p.Take(reader)
		if ok != want {
			t.Errorf("%s takes a place: %t", reader, ok)
		}
		return back
	}
	first := take("a", true)
	take("a", true)
	take("a", false)
	second := take("b", true)
	take("c", false)
	first()
	take("c", true)
	second()
	take("a", true)
	if len(p.by) != 2 {
		t.Errorf("kept: %v", p.by)
	}
}
