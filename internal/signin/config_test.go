package signin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/seal"
)

func TestConfig(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, c *Config)
		want   string // of the error; empty is none
	}{
		{"good", func(*testing.T, *Config) {}, ""},
		{"without groups", func(_ *testing.T, c *Config) { c.Groups = Groups{} }, ""},
		{"no tenant", func(_ *testing.T, c *Config) { c.Tenant = "" }, "sign_in[0].tenant: "},
		{"no issuer", func(_ *testing.T, c *Config) { c.Issuer = "" }, "sign_in[0].issuer: is missing"},
		{"an issuer without TLS", func(_ *testing.T, c *Config) { c.Issuer = "http://login.example.com" }, "issuer: must be an https URL"},
		{"an issuer with a password", func(_ *testing.T, c *Config) { c.Issuer = "https://a:b@login.example.com" }, "issuer: must be an https URL"},
		{"another path", func(_ *testing.T, c *Config) { c.RedirectURL = "https://reset.example.com/callback" }, "redirect_url: must be https://HOST/sign-in"},
		{"no TLS to us", func(_ *testing.T, c *Config) { c.RedirectURL = "http://reset.example.com/sign-in" }, "redirect_url: must be"},
		{"a host in capitals", func(_ *testing.T, c *Config) { c.RedirectURL = "https://Reset.example.com/sign-in" }, "redirect_url: must be"},
		{"UPN as the account", func(_ *testing.T, c *Config) { c.Account.Claim = "upn" }, "account.claim: upn can change its owner"},
		{"e-mail as the account", func(_ *testing.T, c *Config) { c.Account.Claim = "email" }, "account.claim: email can change its owner"},
		{"a name as the account", func(_ *testing.T, c *Config) { c.Account.Claim = "preferred_username" }, "account.claim: preferred_username can"},
		{"UPN as the kind", func(_ *testing.T, c *Config) { c.Account.Kind = "upn" }, "account.kind: must be immutable_id, object_guid or sid"},
		{"a user name as the kind", func(_ *testing.T, c *Config) { c.Account.Kind = "sam_account_name" }, "account.kind: must be"},
		{"groups without a claim", func(_ *testing.T, c *Config) { c.Groups.Claim = "" }, "groups: claim and a list"},
		{"a claim without groups", func(_ *testing.T, c *Config) { c.Groups = Groups{Claim: "groups"} }, "groups: claim and a list"},
		{"a secret for all to read", func(t *testing.T, c *Config) { chmod(t, c.ClientSecretFile, 0o644) }, "client_secret_file: "},
		{"an empty secret", func(t *testing.T, c *Config) { write(t, c.ClientSecretFile, "\n") }, "is empty"},
		{"a key of another purpose", func(t *testing.T, c *Config) {
			c.SessionKeyFile = filepath.Join(t.TempDir(), "slot.key")
			if _, err := seal.MakeKey(c.SessionKeyFile, seal.PurposeSlot); err != nil {
				t.Fatal(err)
			}
		}, "session_key_file: "},
		{"no authority", func(t *testing.T, c *Config) { write(t, c.CAFile, "no PEM") }, "holds no PEM certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := newBench(t).cfg
			tt.change(t, &cfg)
			_, err := NewSet([]Config{cfg}, zerolog.Nop(), prometheus.NewRegistry())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewSet = %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("two for one host", func(t *testing.T) {
		cfg := newBench(t).cfg
		second := cfg
		second.Tenant = "corp2"
		if _, err := NewSet([]Config{cfg, second}, zerolog.Nop(), prometheus.NewRegistry()); err == nil {
			t.Error("two tenants share a host")
		}
	})
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
