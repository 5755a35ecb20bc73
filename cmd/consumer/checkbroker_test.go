package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
	"writeback/internal/testkit/pki"
	"writeback/internal/testkit/tunnel"
)

// A resolver that does not answer says nothing of the name.
func TestDisconnectedDNS(t *testing.T) {
	for want, dns := range map[string]*net.DNSError{
		"DNS does not know the name: ": {IsNotFound: true},
		"DNS does not answer: ":        {IsTimeout: true, IsTemporary: true},
	} {
		if err := disconnected(fmt.Errorf("connecting: %w", dns)); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Each thing that can be wrong on the way to the broker has its own words, and
// what follows is left out.
func TestExamineBroker(t *testing.T) {
	t.Parallel()
	s, err := broker.Start(t.Context(), t.TempDir(), testkit.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	other, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(t.TempDir(), "stranger.nk")
	if _, _, err := queue.MakeNKey(stranger); err != nil {
		t.Fatal(err)
	}
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hanging.Close() })
	strict, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := tunnel.Start(strict, tunnel.Options{User: "ada", Password: "another"})
	t.Cleanup(proxy.Close)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("c4nary"), 0o600); err != nil {
		t.Fatal(err)
	}
	examine := func(change func(*queue.Config)) []directory.Finding {
		cfg := &loaded{settings: settings{Tenant: "corp", Broker: s.Config(queue.Consumer)}}
		change(&cfg.Broker)
		return examineBroker(t.Context(), cfg)
	}
	t.Run("Bad", func(t *testing.T) {
		for _, tt := range []struct {
			name   string
			change func(*queue.Config)
			lines  int
			want   string
		}{
			{"no streams", func(*queue.Config) {}, 2, "run `publisher streams`"},
			{"another authority", func(c *queue.Config) { c.CAFile = other.CAFile }, 1, "broker.ca_file does not have"},
			{"another key", func(c *queue.Config) { c.NKeyFile = stranger }, 1, "the broker does not know this key"},
			{"nobody there", func(c *queue.Config) { c.URL = "tls://127.0.0.1:1" }, 1, "refused: "},
			{"nobody answers", func(c *queue.Config) { c.URL = "tls://" + hanging.Addr().String() }, 1, "no answer: a firewall drops it"},
			{"WebSocket where there is none", func(c *queue.Config) { c.URL = strings.Replace(c.URL, "tls:", "wss:", 1) }, 1, "is no WebSocket"},
			{"a proxy that refuses the password", func(c *queue.Config) {
				c.Proxy, c.ProxyPasswordFile = "http://ada@"+strict.Addr().String(), password
			}, 1, `proxy ` + strict.Addr().String() + `: does not accept user "ada" with the password`},
			{"another name", func(c *queue.Config) { c.URL = strings.Replace(c.URL, "127.0.0.1", "127.0.0.2", 1) }, 1, "refused: "},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel() // each waits until it is certain
				findings := examine(tt.change)
				last := findings[len(findings)-1]
				if len(findings) != tt.lines || last.Err == nil || !strings.Contains(last.Err.Error(), tt.want) {
					t.Errorf("found %+v, want %d with %q in the last", findings, tt.lines, tt.want)
				}
				if strings.Contains(fmt.Sprint(findings), "c4nary") {
					t.Errorf("%v shows the proxy's password", findings)
				}
				if last.Err != nil && strings.Contains(last.Err.Error(), "deadline") {
					t.Errorf("%v says nothing to an operator", last.Err)
				}
			})
		}
	})
	conn, err := queue.Connect(s.Config(queue.Provisioner), queue.Provisioner, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.AwaitConnected(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := conn.Provision(t.Context(), 1, queue.DefaultKeep, func(string) {}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if findings := examine(func(*queue.Config) {}); len(findings) != 2 || findings[0].Err != nil || findings[1].Err != nil {
		t.Errorf("a good broker: %+v", findings)
	}
	if took := time.Since(begun); took > brokerTimeout/2 {
		t.Errorf("it took %s", took)
	}
}
