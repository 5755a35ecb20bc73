package queue_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
	"writeback/internal/testkit/pki"
	"writeback/internal/testkit/tunnel"
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
	if err := conn.Provision(within(t, 20*time.Second), 1, func(string) {}); err != nil {
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

// demanding starts a broker that asks for certificates, as nats-server.conf says
// how, and returns the authority of those.
func demanding(t *testing.T) (*broker.Server, *pki.Authority) {
	t.Helper()
	dir, root := t.TempDir(), testkit.Root(t)
	if _, err := broker.CopyConfig(filepath.Join(root, "nats"), dir); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "clients")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	clients, err := pki.New(own)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nats-server.conf")
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("# verify: true", "verify: true", `# ca_file: "client-ca.pem"`, "ca_file: \""+clients.CAFile+"\"").Replace(string(text))
	if strings.Count(changed, "\n  verify: true") != 1 || strings.Count(changed, "\n  ca_file: ") != 1 {
		t.Fatal("nats-server.conf does not say how to ask for certificates")
	}
	if err := os.WriteFile(conf, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := broker.NewFiles(dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	s, err := files.Start(t.Context(), binary(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s, clients
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	s, clients := demanding(t)
	good, err := clients.Server("consumer", nil)
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := strangers.Server("stranger", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{s.URL(), s.WebSocketURL()} {
		with := func(cert *pki.Server) queue.Config {
			cfg := s.Config(queue.Consumer)
			cfg.URL = url
			if cert != nil {
				cfg.CertFile, cfg.KeyFile = cert.CertFile, cert.KeyFile
			}
			return cfg
		}
		connect(t, with(good), queue.Consumer)
		for _, tt := range []struct {
			cert *pki.Server
			want string
		}{{nil, "certificate required"}, {stranger, "unknown certificate authority"}} {
			conn := dial(t, with(tt.cert), queue.Consumer, zerolog.Nop())
			err := conn.AwaitConnected(within(t, time.Second))
			wantError(t, err, tt.want)
			if why, ok := queue.CertificateRefused(err); !ok || !strings.Contains(why, tt.want) {
				t.Errorf("%s: CertificateRefused(%v) = %q, %t", url, err, why, ok)
			}
		}
	}
}

// TestRotation replaces everything that a connection is made with, while it
// lives, and lets it come back.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tls", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			s, clients := demanding(t)
			cert, err := clients.Server("consumer", nil)
			if err != nil {
				t.Fatal(err)
			}
			log := newJournal()
			cfg := s.Config(queue.Consumer)
			if scheme == "wss" {
				cfg.URL = s.WebSocketURL()
			}
			cfg.CertFile, cfg.KeyFile = cert.CertFile, cert.KeyFile
			conn := dial(t, cfg, queue.Consumer, zerolog.New(log))
			if err := conn.AwaitConnected(within(t, 20*time.Second)); err != nil {
				t.Fatal(err)
			}

			// Half of a replacement changes nothing.
			write(t, cfg.CAFile, "half of a cert")
			s.Kill()
			log.await(t, "a file of the broker's connection cannot be used")
			s, err = s.Start(t.Context(), binary(t))
			if err != nil {
				t.Fatal(err)
			}
			log.await(t, "broker connected again")
			log.forget()

			// Another authority for the broker's certificate and for ours, and another
			// nkey, all at the same places.
			s.Kill()
			if err := s.Renew(); err != nil {
				t.Fatal(err)
			}
			if clients, err = pki.New(filepath.Dir(clients.CAFile)); err != nil {
				t.Fatal(err)
			}
			if _, err := clients.Server("consumer", nil); err != nil {
				t.Fatal(err)
			}
			restart(t, s)
			log.await(t, "broker connected again")
			log.await(t, "a new nkey is in use at the broker")
			if err := conn.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBrokerRenewsCertificate: a new certificate needs no restart of the broker.
func TestBrokerRenewsCertificate(t *testing.T) {
	t.Parallel()
	s := bare(t)
	before := pool(t, s)
	ca, err := pki.New(filepath.Dir(s.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Server("nats", []string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for _, port := range []int{s.Port, s.WSPort} {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		ctx := within(t, 20*time.Second)
		shows := func(roots *x509.CertPool) error {
			conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots}}).DialContext(ctx, "tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err
		}
		err := backoff.Retry(func() error { return shows(ca.Pool()) }, backoff.WithContext(backoff.NewConstantBackOff(20*time.Millisecond), ctx))
		if err != nil {
			t.Errorf("port %d: the new certificate: %v", port, err)
		}
		if shows(before) == nil {
			t.Errorf("port %d shows the old certificate", port)
		}
	}
	connect(t, s.Config(queue.Consumer), queue.Consumer)
	connect(t, overWS(s, queue.Consumer), queue.Consumer)
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
