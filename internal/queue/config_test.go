package queue_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/testkit/pki"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := queue.Config{URL: "tls://nats.example.com:443", CAFile: "ca.pem", NKeyFile: "consumer.nk"}
	if err := good.Validate(); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	three := good
	three.URL = "tls://n1.example.com:443,tls://n2.example.com:443, tls://n3.example.com:443"
	if err := three.Validate(); err != nil {
		t.Errorf("three servers: %v", err)
	}
	for name, change := range map[string]func(*queue.Config){
		"WebSocket":               func(c *queue.Config) { c.URL = "wss://n1.example.com, wss://n2.example.com:8443" },
		"a client certificate":    func(c *queue.Config) { c.CertFile, c.KeyFile = "c.pem", "c.key" },
		"a proxy":                 func(c *queue.Config) { c.Proxy = "http://proxy.example.com:3128" },
		"a proxy with a password": func(c *queue.Config) { c.Proxy, c.ProxyPasswordFile = "http://ada@proxy.example.com", "p" },
	} {
		cfg := good
		if change(&cfg); cfg.Validate() != nil {
			t.Errorf("%s: %v", name, cfg.Validate())
		}
	}
	proxy := func(proxy, file string) func(*queue.Config) {
		return func(c *queue.Config) { c.Proxy, c.ProxyPasswordFile = proxy, file }
	}
	tests := []struct {
		name   string
		change func(*queue.Config)
		want   []string // each is in the error
	}{
		{"both ways of speaking", func(c *queue.Config) { c.URL += ",wss://n2.example.com" }, []string{"broker.url", "all addresses"}},
		{"a certificate without a key", func(c *queue.Config) { c.CertFile = "c.pem" }, []string{"broker.key_file", "one is missing"}},
		{"a key without a certificate", func(c *queue.Config) { c.KeyFile = "c.key" }, []string{"broker.cert_file", "one is missing"}},
		{"no proxy's address", proxy("proxy.example.com:3128", ""), []string{"broker.proxy", "http://host:port"}},
		{"a proxy without a host", proxy("http://:3128", ""), []string{"broker.proxy", "http://host:port"}},
		{"a proxy over TLS", proxy("https://proxy.example.com", ""), []string{"broker.proxy", "http://host:port"}},
		{"a proxy that is broken", proxy("http://ada:secret@proxy\x00", ""), []string{"broker.proxy", "http://host:port"}},
		{"a proxy's password", proxy("http://ada:secret@proxy.example.com", ""), []string{"broker.proxy", "must not hold a password", "proxy_password_file"}},
		{"a proxy's user alone", proxy("http://ada@proxy.example.com", ""), []string{"broker.proxy", "need each other"}},
		{"a proxy's password alone", proxy("http://proxy.example.com", "p"), []string{"broker.proxy", "need each other"}},
		{"a user with a colon", proxy("http://ad%3Aa@proxy.example.com", "p"), []string{"broker.proxy", "colon"}},
		{"a password without a proxy", proxy("", "p"), []string{"broker.proxy_password_file", "needs broker.proxy"}},
		{"no URL", func(c *queue.Config) { c.URL = "" }, []string{"broker.url", "tls://host:port"}},
		{"no scheme", func(c *queue.Config) { c.URL = "nats.example.com:443" }, []string{"broker.url", "tls://host:port"}},
		{"one of three is not TLS", func(c *queue.Config) { c.URL += ",nats://n2.example.com,tls://n3.example.com" }, []string{"broker.url", `"nats"`}},
		{"nothing after a comma", func(c *queue.Config) { c.URL += "," }, []string{"broker.url", "tls://host:port"}},
		{"control characters", func(c *queue.Config) { c.URL = "tls://a\x00b" }, []string{"broker.url"}},
		{"not TLS", func(c *queue.Config) { c.URL = "nats://nats.example.com" }, []string{"broker.url", `"nats"`, "tls://"}},
		{"WebSocket", func(c *queue.Config) { c.URL = "ws://nats.example.com" }, []string{"broker.url", `"ws"`}},
		{"credentials", func(c *queue.Config) { c.URL = "tls://ada:secret@nats.example.com" }, []string{"broker.url", "nkey_file"}},
		{"no authority", func(c *queue.Config) { c.CAFile = "" }, []string{"broker.ca_file", "missing"}},
		{"no nkey", func(c *queue.Config) { c.NKeyFile = "" }, []string{"broker.nkey_file", "missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			err := cfg.Validate()
			wantError(t, err, tt.want...)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error %q shows a password", err)
			}
			if _, err := queue.Connect(cfg, queue.Consumer, zerolog.Nop()); err == nil {
				t.Error("Connect takes it, want an error")
			}
		})
	}
}

func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %q, want it to hold %q", err, text)
		}
	}
}

// credentials is a file with a token for a key, and a seed.
func credentials(t *testing.T, subject string, seed []byte) []byte {
	t.Helper()
	part := base64.RawURLEncoding.EncodeToString
	token := part([]byte("{}")) + "." + part([]byte(`{"sub":"`+subject+`"}`)) + "." + part([]byte("signature"))
	return fmt.Appendf(nil, "-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n"+
		"-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", token, bytes.TrimSpace(seed))
}

func TestCheckFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := pki.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	good := queue.Config{URL: "tls://127.0.0.1:1", CAFile: ca.CAFile, NKeyFile: filepath.Join(dir, "good.nk")}
	public, made, err := queue.MakeNKey(good.NKeyFile)
	if err != nil || !made || !nkeys.IsValidPublicUserKey(public) {
		t.Fatalf("MakeNKey = %q, %t, %v; want a new user's key", public, made, err)
	}
	if again, made, err := queue.MakeNKey(good.NKeyFile); err != nil || made || again != public {
		t.Errorf("MakeNKey again = %q, %t, %v; want the same key, not made", again, made, err)
	}
	if info, err := os.Stat(good.NKeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v (%v), want 0600", info.Mode().Perm(), err)
	}
	signing, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(public))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := os.ReadFile(good.NKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	accountSeed, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, text []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(dir, "link.nk")
	if err := os.Symlink(good.NKeyFile, link); err != nil {
		t.Fatal(err)
	}
	nkey := func(path string) func(*queue.Config) { return func(c *queue.Config) { c.NKeyFile = path } }
	authority := func(path string) func(*queue.Config) { return func(c *queue.Config) { c.CAFile = path } }
	cert, err := ca.Server("own", nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ca.Server("other", nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(cert.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	pair := func(cert, key string) func(*queue.Config) {
		return func(c *queue.Config) { c.CertFile, c.KeyFile = cert, key }
	}
	password := func(path string) func(*queue.Config) {
		return func(c *queue.Config) { c.Proxy, c.ProxyPasswordFile = "http://ada@127.0.0.1:1", path }
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("no certificate")})
	tests := []struct {
		name   string
		change func(*queue.Config)
		want   []string
	}{
		{"others can read the nkey", nkey(write("open.nk", seed, 0o644)), []string{"broker.nkey_file", "open.nk", "0600"}},
		{"the group can read the nkey", nkey(write("group.nk", seed, 0o640)), []string{"broker.nkey_file", "group.nk", "0600"}},
		{"the nkey is a link", nkey(link), []string{"broker.nkey_file", "link.nk", "link"}},
		{"the nkey is a directory", nkey(dir), []string{"broker.nkey_file", "regular file"}},
		{"the nkey is missing", nkey(filepath.Join(dir, "none.nk")), []string{"broker.nkey_file", "none.nk", "no such file"}},
		{"the nkey is empty", nkey(write("empty.nk", nil, 0o600)), []string{"broker.nkey_file", "empty.nk", "SU"}},
		{"the public half", nkey(write("public.nk", []byte(public), 0o600)), []string{"broker.nkey_file", "public.nk", "SU"}},
		{"a broken seed", nkey(write("broken.nk", bytes.ToLower(seed), 0o600)), []string{"broker.nkey_file", "broken.nk", "SU"}},
		{"a token of another key", nkey(write("other.creds", credentials(t, "UOTHER", seed), 0o600)), []string{"broker.nkey_file", "other.creds", "of another key"}},
		{"a token that is none", nkey(write("none.creds", bytes.Replace(credentials(t, public, seed), []byte("."), []byte(" "), 1), 0o600)), []string{"broker.nkey_file", "none.creds", "cannot be read"}},
		{"a token without its seed", nkey(write("seedless.creds", credentials(t, public, nil), 0o600)), []string{"broker.nkey_file", "seedless.creds", "SU"}},
		{"others can read the token", nkey(write("open.creds", credentials(t, public, seed), 0o644)), []string{"broker.nkey_file", "open.creds", "0600"}},
		{"an account's seed", nkey(write("account.nk", accountSeed, 0o600)), []string{"broker.nkey_file", "account.nk", "SU"}},
		{"the certificate is missing", pair(filepath.Join(dir, "none.pem"), cert.KeyFile), []string{"broker.cert_file", "none.pem", "no such file"}},
		{"the certificate's key is missing", pair(cert.CertFile, filepath.Join(dir, "none.key")), []string{"broker.key_file", "none.key", "no such file"}},
		{"others can read the certificate's key", pair(cert.CertFile, write("open.key", key, 0o644)), []string{"broker.key_file", "open.key", "0600"}},
		{"the key of another certificate", pair(cert.CertFile, other.KeyFile), []string{"broker.cert_file", "other.key", "does not match"}},
		{"others can read the proxy's password", password(write("open.pw", []byte("seed"), 0o644)), []string{"broker.proxy_password_file", "open.pw", "0600"}},
		{"no proxy's password", password(write("empty.pw", []byte("\n"), 0o600)), []string{"broker.proxy_password_file", "empty.pw", "one line"}},
		{"a proxy's password of two lines", password(write("two.pw", []byte("a\r\nb"), 0o600)), []string{"broker.proxy_password_file", "two.pw", "one line"}},
		{"a proxy's password without end", password(write("long.pw", bytes.Repeat([]byte("x"), 1<<15), 0o600)), []string{"broker.proxy_password_file", "long.pw", "more than 16384 bytes"}},
		{"the authority is missing", authority(filepath.Join(dir, "none.pem")), []string{"broker.ca_file", "none.pem", "no such file"}},
		{"the authority is no certificate", authority(write("key.pem", block, 0o600)), []string{"broker.ca_file", "key.pem", "certificate"}},
		{"the authority is no PEM", authority(write("text.pem", []byte("text"), 0o600)), []string{"broker.ca_file", "text.pem", "PEM"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			err := cfg.Check()
			wantError(t, err, tt.want...)
			if seed := strings.TrimSpace(string(seed)); strings.Contains(err.Error(), seed) || strings.Contains(err.Error(), strings.ToLower(seed)) {
				t.Error("the error shows a seed")
			}
			_, err = queue.Connect(cfg, queue.Consumer, zerolog.Nop())
			wantError(t, err, tt.want...)
		})
	}
	if err := good.Check(); err != nil {
		t.Errorf("good files: %v", err)
	}
	withToken := good
	withToken.NKeyFile = write("good.creds", credentials(t, public, seed), 0o600)
	if err := withToken.Check(); err != nil {
		t.Errorf("a good token: %v", err)
	}
	withToken.SigningKey = signing
	wantError(t, withToken.Check(), "broker.nkey_file", "signing key")
	unlike := good
	unlike.SigningKey = bytes.Repeat([]byte{1}, 32)
	if err := unlike.Check(); err != nil {
		t.Errorf("good files, another signing key: %v", err)
	}
	same := good
	same.SigningKey = signing
	wantError(t, same.Check(), "broker.nkey_file", "signing key")
	conn := dial(t, good, queue.Consumer, zerolog.Nop())
	wantError(t, conn.AwaitConnected(within(t, 500*time.Millisecond)), "connecting to the broker", "connection refused")
}

// TestNotConnected has what an operator can put wrong, and what AwaitConnected
// says of it.
func TestNotConnected(t *testing.T) {
	t.Parallel()
	s := start(t)
	foreign, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	unknown := filepath.Join(t.TempDir(), "unknown.nk")
	if _, _, err := queue.MakeNKey(unknown); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*queue.Config)
		want   string
	}{
		{"another authority", func(c *queue.Config) { c.CAFile = foreign.CAFile }, "certificate signed by unknown authority"},
		{"another name", func(c *queue.Config) { c.URL = strings.Replace(c.URL, "127.0.0.1", "127.0.0.2", 1) }, "127.0.0.2"},
		{"a user the broker does not know", func(c *queue.Config) { c.NKeyFile = unknown }, "Authorization Violation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := s.Config(queue.Consumer)
			tt.change(&cfg)
			conn := dial(t, cfg, queue.Consumer, zerolog.Nop())
			wantError(t, conn.AwaitConnected(within(t, time.Second)), "connecting to the broker", tt.want, context.DeadlineExceeded.Error())
			if conn.Check(t.Context()) == nil {
				t.Error("it is connected")
			}
		})
	}
	if nc, err := nats.Connect(s.URL(), nats.RootCAs(s.CAFile), nats.TLSHandshakeFirst()); err == nil {
		nc.Close()
		t.Error("a user without a key is let in")
	}
}

// TestAwaitConnectedLeavesNothing: it is called before every pull.
func TestAwaitConnectedLeavesNothing(t *testing.T) {
	conn := connect(t, start(t).Config(queue.Consumer), queue.Consumer)
	ctx := t.Context()
	n := testing.AllocsPerRun(100, func() {
		if err := conn.AwaitConnected(ctx); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("a call on a connection that is up allocates %v times, want 0", n)
	}
}
