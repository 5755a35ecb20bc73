package queue_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
	"writeback/internal/testkit/pki"
)

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
