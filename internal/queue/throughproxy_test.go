package queue_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
	"writeback/internal/testkit/tunnel"
)

// TestThroughProxy sends both ways of speaking with the broker through a proxy
// that alone knows the broker's name.
func TestThroughProxy(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, way := range []struct{ name, scheme, user, password string }{
		{"TLS", "tls", "", ""},
		{"TLS, with a password", "tls", "ada", "pr:oxy pässword"},
		{"WebSocket", "wss", "", ""},
		{"WebSocket, with a password", "wss", "ada", "proxy-password"},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			to := strings.TrimPrefix(s.URL(), "tls://")
			if way.scheme == "wss" {
				to = strings.TrimPrefix(s.WebSocketURL(), "wss://")
			}
			routes := map[string]string{broker.Name + ":443": to}
			l := listen(t)
			p := tunnel.Start(l, tunnel.Options{User: way.user, Password: way.password, Routes: routes})
			defer p.Close()
			log := newJournal()
			cfg := s.Config(queue.Consumer)
			cfg.URL = way.scheme + "://" + broker.Name + ":443"
			cfg.Proxy = "http://" + l.Addr().String()
			if way.user != "" {
				cfg.Proxy = "http://" + way.user + "@" + l.Addr().String()
				cfg.ProxyPasswordFile = private(t, way.password+"\n")
			}
			conn, err := queue.Connect(cfg, queue.Consumer, zerolog.New(log))
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.AwaitConnected(within(t, 20*time.Second)); err != nil {
				t.Fatal(err)
			}
			if err := conn.OnPremises("corp").CheckStreams(within(t, 20*time.Second)); err != nil {
				t.Error(err)
			}
			if n := p.Tunnels(); n != 1 {
				t.Errorf("%d tunnels were made, want 1", n)
			}
			if got, want := cfg.Way(), cfg.URL+" through the proxy "+l.Addr().String(); got != want {
				t.Errorf("the way is %q, want %q", got, want)
			}
			// A tunnel that is cut is made again.
			p.Close()
			again, err := net.Listen("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			p = tunnel.Start(again, tunnel.Options{User: way.user, Password: way.password, Routes: routes})
			defer p.Close()
			log.await(t, "broker connected again")
			conn.Close()
			if way.password != "" && strings.Contains(log.String(), way.password) {
				t.Errorf("the log shows the proxy's password:\n%s", log)
			}
		})
	}
}

// TestProxyRefuses has what proxies do instead of a tunnel, and what is said of it.
func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	const password = "s3cret-of-the-proxy"
	file := private(t, password)
	strict := listen(t)
	p := tunnel.Start(strict, tunnel.Options{User: "ada", Password: "another", Routes: map[string]string{}})
	t.Cleanup(p.Close)
	open := listen(t)
	o := tunnel.Start(open, tunnel.Options{Routes: map[string]string{"nobody.example.com:443": "127.0.0.1:1"}})
	t.Cleanup(o.Close)
	silent := listen(t)
	tests := []struct {
		name, proxy, url string
		status           int
		want             string
	}{
		{"wants a password", strict.Addr().String(), "", 407, "wants a user and a password (407)"},
		{"does not accept the password", "ada@" + strict.Addr().String(), "", 407, `does not accept user "ada"`},
		{"forbids it", open.Addr().String(), "", 403, "does not let us through to 127.0.0.1:"},
		{"finds nobody", open.Addr().String(), "wss://nobody.example.com", 502, "does not lead to nobody.example.com:443: it answers 502"},
		{"hangs", silent.Addr().String(), "", 0, "gives no answer within 5s"},
		{"closes", answering(t, ""), "", 0, "closes the connection instead of an answer"},
		{"breaks off", answering(t, "HTTP/1.1 200 OK\r\nX: "), "", 0, "closes the connection instead of an answer"},
		{"is none", answering(t, "220 mail.example.com ESMTP "+password+"\r\n\r\n"), "", 0, "gives no answer that is HTTP"},
		{"talks on", answering(t, "HTTP/1.1 200 OK\r\n\r\n220 mail"), "", 200, "something else than it answers"},
		{"is not there", "127.0.0.1:1", "", 0, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := s.Config(queue.Consumer)
			cfg.Proxy = "http://" + tt.proxy
			if tt.url != "" {
				cfg.URL = tt.url
			}
			if strings.Contains(tt.proxy, "@") {
				cfg.ProxyPasswordFile = file
			}
			log := newJournal()
			conn := dial(t, cfg, queue.Consumer, zerolog.New(log))
			err := conn.AwaitConnected(within(t, 500*time.Millisecond))
			wantError(t, err, "connecting to the broker: proxy 127.0.0.1:", tt.want)
			var refused *queue.ProxyError
			if !errors.As(err, &refused) || refused.Status != tt.status {
				t.Errorf("got %#v, want status %d", refused, tt.status)
			}
			for _, text := range []string{err.Error(), log.String()} {
				if strings.Contains(text, password) {
					t.Errorf("%q shows the password", text)
				}
			}
		})
	}
}

// answering is a server that answers whatever it is asked with text, and closes.
func answering(t *testing.T, text string) (addr string) {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			for got := ""; !strings.HasSuffix(got, "\r\n\r\n"); {
				n, err := conn.Read(buf)
				if err != nil {
					break
				}
				got += string(buf[:n])
			}
			io.WriteString(conn, text)
			conn.Close()
		}
	}()
	return l.Addr().String()
}
