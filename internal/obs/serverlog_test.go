package obs

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// A buffer can be written and read at the same time.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines returns what was logged, each line decoded.
func (b *buffer) lines(t *testing.T) (lines []map[string]any) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range bytes.Lines(b.text.Bytes()) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		lines = append(lines, fields)
	}
	return lines
}

// Callers who fail at TLS are in the log as JSON, at debug, and not all of them.
func TestServerLogOfHandshakes(t *testing.T) {
	for level, want := range map[zerolog.Level]int{zerolog.DebugLevel: maxServerLines, zerolog.InfoLevel: 0} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		out := &buffer{}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			// Without a certificate no handshake gets anywhere.
			config := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, io.EOF }}
			ended <- Serve(ctx, tls.NewListener(l, config), http.NotFoundHandler(), time.Second, time.Second,
				zerolog.New(out).Level(level))
		}()
		for range 3 * maxServerLines {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "c4nary is not TLS\r\n\r\n")
			io.Copy(io.Discard, c) // until the server has given up, and logged it
			c.Close()
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		lines := out.lines(t)
		if len(lines) != want {
			t.Errorf("at %s there are %d lines, want %d", level, len(lines), want)
		}
		for _, fields := range lines {
			cause, _ := fields[Cause].(string)
			if fields["level"] != "debug" || !strings.Contains(cause, "TLS handshake error from 127.0.0.1") || strings.Contains(cause, "c4nary") {
				t.Errorf("logged is %v", fields)
			}
		}
	}
}

// A panic is logged without what was in hand.
func TestServerLogOfPanics(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := &buffer{}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("c4nary") })
	go func() { ended <- Serve(ctx, l, h, time.Second, time.Second, zerolog.New(out)) }()
	if _, err := http.Get("http://" + l.Addr().String()); err == nil {
		t.Error("a handler that panicked has answered")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	lines := out.lines(t)
	if len(lines) != 1 || lines[0]["level"] != "error" || lines[0]["message"] != "a handler panicked" || len(lines[0]) != 2 {
		t.Errorf("logged is %v", lines)
	}
}

func TestServerLogOfTheRest(t *testing.T) {
	out := &buffer{}
	log := newServerLog(zerolog.New(out))
	log.Print("http: Accept error: too many open files; retrying in 5ms")
	log.Print(strings.Repeat("x", 2*maxServerText))
	lines := out.lines(t)
	if len(lines) != 2 || lines[0]["level"] != "warn" || lines[0][Cause] != "http: Accept error: too many open files; retrying in 5ms" {
		t.Fatalf("logged is %v", lines)
	}
	if cause, _ := lines[1][Cause].(string); len(cause) != maxServerText {
		t.Errorf("a long line has %d bytes in the log", len(cause))
	}
}
