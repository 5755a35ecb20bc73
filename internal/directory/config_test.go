package directory

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"

	"writeback/internal/secret"
	"writeback/internal/testkit/pki"
)

func valid(t *testing.T) Config {
	t.Helper()
	ca, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		URLs: []string{"ldaps://dc1.corp.example.com"}, CAFile: ca.CAFile, BindDN: "svc@corp.example.com", PasswordFile: "password",
		ReadSecret: func(string) (secret.Value, error) { return secret.Value{}, nil },
	}
}

func TestValidate(t *testing.T) {
	noCA := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noCA, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Config)
		want   []string // in the error; none: it is valid
	}{
		{"as it is", func(c *Config) {}, nil},
		{"port", func(c *Config) { c.URLs = []string{"ldaps://10.0.0.1:1636"} }, nil},
		{"IPv6", func(c *Config) { c.URLs = []string{"ldaps://[::1]:1636"} }, nil},
		{"StartTLS", func(c *Config) { c.URLs, c.StartTLS = []string{"ldap://dc1"}, true }, nil},
		{"several", func(c *Config) { c.URLs = []string{"ldaps://dc1", "ldaps://dc2", "ldaps://dc1:1636"} }, nil},
		{"domain", func(c *Config) { c.URLs, c.Domain = nil, "corp.example.com" }, nil},
		{"no URLs", func(c *Config) { c.URLs = nil }, []string{"urls", "0", "1 to 16", "domain"}},
		{"too many", func(c *Config) { c.URLs = make([]string, 17) }, []string{"urls", "17", "1 to 16"}},
		{"twice", func(c *Config) { c.URLs = []string{"ldaps://dc1", "ldaps://dc1:636"} }, []string{"urls", "ldaps://dc1:636", "twice"}},
		{"the second is plain", func(c *Config) { c.URLs = []string{"ldaps://dc1", "ldap://dc2"} }, []string{"urls", "ldap://dc2", "start_tls"}},
		{"both", func(c *Config) { c.Domain = "corp.example.com" }, []string{"domain", "corp.example.com", "urls"}},
		{"one label", func(c *Config) { c.URLs, c.Domain = nil, "corp" }, []string{"domain", `"corp"`, "DNS name"}},
		{"domain of a URL", func(c *Config) { c.URLs, c.Domain = nil, "ldaps://corp.example.com" }, []string{"domain", "DNS name"}},
		{"domain that is an address", func(c *Config) { c.URLs, c.Domain = nil, "10.0.0.1" }, []string{"domain", "DNS name"}},
		{"domain with an empty label", func(c *Config) { c.URLs, c.Domain = nil, "corp..com" }, []string{"domain", "DNS name"}},
		{"no URL", func(c *Config) { c.URLs = []string{""} }, []string{"urls", `""`, "ldaps://"}},
		{"plain", func(c *Config) { c.URLs = []string{"ldap://dc1"} }, []string{"urls", "ldap://dc1", "start_tls"}},
		{"TLS twice", func(c *Config) { c.StartTLS = true }, []string{"urls", "ldaps://dc1", "start_tls"}},
		{"another scheme", func(c *Config) { c.URLs = []string{"https://dc1"} }, []string{"urls", "https://dc1"}},
		{"no scheme", func(c *Config) { c.URLs = []string{"dc1:636"} }, []string{"urls", "dc1:636"}},
		{"no host", func(c *Config) { c.URLs = []string{"ldaps://:636"} }, []string{"urls", "host"}},
		{"path", func(c *Config) { c.URLs = []string{"ldaps://dc1/"} }, []string{"urls", "nothing more"}},
		{"user", func(c *Config) { c.URLs = []string{"ldaps://a:b@dc1"} }, []string{"urls", "nothing more"}},
		{"query", func(c *Config) { c.URLs = []string{"ldaps://dc1?x"} }, []string{"urls", "nothing more"}},
		{"port too large", func(c *Config) { c.URLs = []string{"ldaps://dc1:65536"} }, []string{"urls", "65535"}},
		{"port zero", func(c *Config) { c.URLs = []string{"ldaps://dc1:0"} }, []string{"urls", "65535"}},
		{"not a URL", func(c *Config) { c.URLs = []string{"ldaps://dc1:x"} }, []string{"urls", "not a URL"}},
		{"no ca_file", func(c *Config) { c.CAFile = "" }, []string{"ca_file", "empty"}},
		{"missing ca_file", func(c *Config) { c.CAFile = "/nowhere/ca.pem" }, []string{"ca_file", "/nowhere/ca.pem"}},
		{"no certificate", func(c *Config) { c.CAFile = noCA }, []string{"ca_file", noCA, "PEM"}},
		{"no bind_dn", func(c *Config) { c.BindDN = "" }, []string{"bind_dn", "empty"}},
		{"no password_file", func(c *Config) { c.PasswordFile = "" }, []string{"password_file", "empty"}},
		{"connections below", func(c *Config) { c.Connections = -1 }, []string{"connections", "-1", "1 to 64"}},
		{"connections above", func(c *Config) { c.Connections = 65 }, []string{"connections", "65", "1 to 64"}},
		{"dial below", func(c *Config) { c.DialTimeout = time.Millisecond }, []string{"dial_timeout", "1ms", "100ms to 1m"}},
		{"bind above", func(c *Config) { c.BindTimeout = time.Hour }, []string{"bind_timeout", "1h", "100ms to 1m"}},
		{"search negative", func(c *Config) { c.SearchTimeout = -time.Second }, []string{"search_timeout", "-1s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := valid(t)
			tt.change(&c)
			err := c.Validate()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want an error: %t", err, tt.want != nil)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q in it", err, want)
				}
			}
			if client, err := New(c, zerolog.Nop()); (err == nil) != (tt.want == nil) {
				t.Errorf("New: %v", err)
			} else if err == nil {
				client.Close()
			}
		})
	}
	c := valid(t)
	c.ReadSecret = nil
	if _, err := New(c, zerolog.Nop()); err == nil {
		t.Error("a client without ReadSecret")
	}
}

func TestAddresses(t *testing.T) {
	for url, want := range map[string]address{
		"ldaps://dc1":        {"ldaps://dc1", "dc1", "dc1:636"},
		"ldaps://dc1:1636":   {"ldaps://dc1:1636", "dc1", "dc1:1636"},
		"ldaps://[::1]":      {"ldaps://[::1]", "::1", "[::1]:636"},
		"ldaps://10.0.0.1:1": {"ldaps://10.0.0.1:1", "10.0.0.1", "10.0.0.1:1"},
	} {
		if got, err := (Config{URLs: []string{"ldaps://first", url}}).addresses(); err != nil || got[1] != want {
			t.Errorf("%s is %v, %v, want %v", url, got, err, want)
		}
	}
	if got, err := (Config{URLs: []string{"ldap://dc1"}, StartTLS: true}).addresses(); err != nil || got[0].hostport != "dc1:389" {
		t.Errorf("with StartTLS: %v, %v", got, err)
	}
}

func TestConfigKeys(t *testing.T) {
	dec := yaml.NewDecoder(bytes.NewReader([]byte(`
urls: [ldaps://dc1, ldaps://dc2]
start_tls: true
ca_file: a
bind_dn: b
password_file: c
connections: 3
allow_without_history_check: true
dial_timeout: 1s
bind_timeout: 2s
search_timeout: 3s
`)))
	dec.KnownFields(true)
	var c Config
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if len(c.URLs) != 2 || c.URLs[0] != "ldaps://dc1" || !c.StartTLS || c.CAFile != "a" || c.BindDN != "b" || c.PasswordFile != "c" || c.Connections != 3 ||
		!c.AllowWithoutHistoryCheck || c.DialTimeout != time.Second || c.BindTimeout != 2*time.Second || c.SearchTimeout != 3*time.Second {
		t.Errorf("decoded %+v", c)
	}
}

// The port in the records is that of plain LDAP.
func TestRecorded(t *testing.T) {
	srv := &net.SRV{Target: "DC1.corp.example.com.", Port: 1389}
	for startTLS, want := range map[bool]address{
		false: {"ldaps://dc1.corp.example.com:636", "dc1.corp.example.com", "dc1.corp.example.com:636"},
		true:  {"ldap://dc1.corp.example.com:1389", "dc1.corp.example.com", "dc1.corp.example.com:1389"},
	} {
		if got := (&Client{cfg: Config{StartTLS: startTLS}}).recorded(srv); got != want {
			t.Errorf("start_tls %t: %v, want %v", startTLS, got, want)
		}
	}
}
