package queue_test

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit/broker"
	"writeback/internal/testkit/pki"
)

// overWS is the configuration for the WebSocket listener.
func overWS(s *broker.Server, role queue.Role) queue.Config {
	cfg := s.Config(role)
	cfg.URL = s.WebSocketURL()
	return cfg
}

// carry sends a request and its outcome from one side to the other.
func carry(t *testing.T, cloud, site *queue.Tenant) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	heard := make(chan string, 8)
	if err := cloud.Live("p1", func(_ reset.ID, stored reset.Stored) { heard <- string(stored.Data) }); err != nil {
		t.Fatal(err)
	}
	ref := ref()
	seq, err := cloud.Append(ctx, ref, []byte("accepted"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := cloud.Enqueue(ctx, slot(), ref.ID, []byte("request")); err != nil {
		t.Fatal(err)
	}
	d := take(t, site)
	if string(d.Data) != "request" {
		t.Errorf("took %q, want the request", d.Data)
	}
	if _, err := site.Append(ctx, ref, []byte("settled"), seq); err != nil {
		t.Fatal(err)
	}
	if err := d.Ack(ctx); err != nil {
		t.Fatal(err)
	}
	for said := ""; said != "settled"; {
		select {
		case said = <-heard:
		case <-ctx.Done():
			t.Fatal("the outcome was not heard of")
		}
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	s := bare(t)
	// Also the streams are made over it.
	conn := connect(t, overWS(s, queue.Provisioner), queue.Provisioner)
	if err := conn.Provision(within(t, 20*time.Second), 1, queue.DefaultKeep, func(string) {}); err != nil {
		t.Fatal(err)
	}
	cloud := connect(t, overWS(s, queue.Publisher), queue.Publisher)
	site := connect(t, overWS(s, queue.Consumer), queue.Consumer)
	carry(t, cloud.Tenant("corp"), site.OnPremises("corp"))
	// It comes back, and the two ways lead to the same broker.
	s.Kill()
	restart(t, s)
	carry(t, publisher(t, s), site.OnPremises("corp"))
}

// TestOldTLS: nothing below TLS 1.2 is spoken, and 1.3 where it can be.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	ca, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Server("old", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"tls", "wss"} {
		for _, tt := range []struct {
			max, want uint16
		}{{tls.VersionTLS11, 0}, {tls.VersionTLS12, tls.VersionTLS12}, {tls.VersionTLS13, tls.VersionTLS13}} {
			l := listen(t)
			spoken := make(chan uint16, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				l.Close()
				server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert.TLS}, MinVersion: tls.VersionTLS10, MaxVersion: tt.max})
				server.Handshake()
				if state := server.ConnectionState(); state.HandshakeComplete {
					spoken <- state.Version
				} else {
					spoken <- 0
				}
			}()
			cfg := queue.Config{URL: scheme + "://" + l.Addr().String(), CAFile: ca.CAFile, NKeyFile: filepath.Join(t.TempDir(), "x.nk")}
			if _, _, err := queue.MakeNKey(cfg.NKeyFile); err != nil {
				t.Fatal(err)
			}
			dial(t, cfg, queue.Consumer, zerolog.Nop())
			if got := <-spoken; got != tt.want {
				t.Errorf("%s:// with at most %s: got %s", scheme, tls.VersionName(tt.max), tls.VersionName(got))
			}
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// private writes a file that only its owner can read.
func private(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	write(t, path, text)
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
