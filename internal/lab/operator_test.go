package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
)

// TestOperator resets passwords all the time through a broker whose tenant was
// made at run time, while another tenant is made, its user is shut out, and it is
// removed again: with the programs, on one node and on three, of which one is
// killed meanwhile.
func TestOperator(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, broker.Nodes} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			l := startWith(t, Options{Nodes: nodes, Directory: "fake", Operator: true})
			s := newStream(t, l)
			s.await(t, 5)
			run := func(action string, args ...string) string {
				t.Helper()
				out, err := l.tenant(t.Context(), action, args...)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			out := run("add", "-name", "acme")
			if !strings.Contains(out, fmt.Sprintf("known to servers: %d", nodes)) || !strings.Contains(out, "acme: stream RECORDS: created") {
				t.Errorf("publisher tenant add said\n%s", out)
			}
			creds := filepath.Join(t.TempDir(), "east.creds")
			run("credential", "-name", "acme", "-role", "consumer", "-user", "east", "-out", creds)
			for _, n := range l.nodes {
				if err := signIn(t, n, creds, 20*time.Second); err != nil {
					t.Errorf("%s: %v", n.Name, err)
				}
			}
			if nodes > 1 { // it learns what it missed when it is back
				if err := syscall.Kill(l.endpoints(t).pid(t, l.nodes[2].Name), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			run("revoke", "-name", "acme", "-role", "consumer", "-user", "east")
			for _, n := range l.nodes {
				await(t, "a revoked user is refused by "+n.Name, func() error {
					if err := signIn(t, n, creds, 3*time.Second); !queue.UnknownKey(err) {
						return fmt.Errorf("got %v", err)
					}
					return nil
				})
			}
			out = run("list")
			if !strings.Contains(out, "acme    1024 MiB  64           -\n") || !strings.Contains(out, "consumer lab") || !strings.Contains(out, "publisher lab") {
				t.Errorf("publisher tenant list said\n%s", out)
			}
			if _, err := l.tenant(t.Context(), "remove", "-name", "acme"); err == nil || !strings.Contains(err.Error(), "deletes RECORDS and EVENTS") {
				t.Errorf("a tenant was removed without -yes: %v", err)
			}
			run("remove", "-name", "acme", "-yes")
			if out := run("list"); strings.Contains(out, "acme") {
				t.Errorf("after it was removed, publisher tenant list said\n%s", out)
			}
			s.await(t, 5)
			s.end(t)
		})
	}
}

// signIn returns nil if a node lets a consumer in.
func signIn(t *testing.T, n *broker.Files, creds string, patience time.Duration) error {
	t.Helper()
	cfg := queue.Config{URL: n.URL(), CAFile: n.CAFile, NKeyFile: creds}
	conn, err := queue.Connect(cfg, queue.Consumer, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return conn.AwaitConnected(ctx)
}
