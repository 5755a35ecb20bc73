package queue_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// TestSecondTenant follows nats/README.md: another two accounts like CORP and
// CORP_CONSUMERS, and another four entries in PUBLISHERS.
func TestSecondTenant(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "nats", "accounts.conf"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	other := make(map[queue.Role]string) // the second tenant's users
	repeat := strings.NewReplacer("corp.", "acme.", "CORP", "ACME")
	accounts := repeat.Replace(between(t, string(text), "  CORP {", "  PUBLISHERS {"))
	for role, variable := range map[queue.Role]string{con: "$WRITEBACK_CONSUMER_NKEY", pro: "$WRITEBACK_PROVISIONER_NKEY"} {
		other[role] = filepath.Join(dir, "acme-"+string(role)+".nk")
		public, _, err := queue.MakeNKey(other[role])
		if err != nil {
			t.Fatal(err)
		}
		accounts = strings.ReplaceAll(accounts, variable, public)
	}
	changed := strings.Replace(string(text), "  PUBLISHERS {", accounts+"  PUBLISHERS {", 1)
	for _, mark := range []string{"(1 of 4)", "(2 of 4)", "(3 of 4)", "(4 of 4)"} {
		_, entry, found := strings.Cut(string(text), mark+"\n")
		if !found {
			t.Fatalf("accounts.conf has no mark %s", mark)
		}
		end := strings.Index(entry, "]")
		if next := strings.Index(entry, "# tenant"); next >= 0 && next < end {
			end = next
		}
		entry = entry[:strings.LastIndex(entry[:end], "\n")+1]
		changed = strings.Replace(changed, mark+"\n", mark+"\n"+repeat.Replace(entry), 1)
	}
	copyConfig(t, dir, "system_account: SYS", "system_account: SYS")
	if err := os.WriteFile(filepath.Join(dir, "accounts.conf"), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := broker.NewFiles(dir, filepath.Join(dir, "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := files.Start(t.Context(), binary(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	provision(t, s)
	acme := func(role queue.Role) *queue.Conn {
		cfg := s.Config(role)
		cfg.NKeyFile = other[role]
		return connect(t, cfg, role)
	}
	if err := acme(pro).Provision(within(t, 20*time.Second), 1, func(string) {}); err != nil {
		t.Fatal(err)
	}

	// Two tenants, one publisher: what is asked of one is not the other's.
	cloud := dial(t, s.Config(pub), pub, zerolog.Nop())
	if err := cloud.AwaitConnected(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	enqueue(t, cloud.Tenant("acme"), 1)
	id := ref()
	if _, err := cloud.Tenant("acme").Append(within(t, 20*time.Second), id, []byte("acme's"), 0); err != nil {
		t.Fatal(err)
	}
	if got := string(take(t, acme(con).OnPremises("acme")).Data); got != "request 0" {
		t.Errorf("acme's consumer took %q", got)
	}
	if got, err := cloud.Tenant("corp").Records(within(t, 20*time.Second), id.ID); err != nil || len(got) != 0 {
		t.Errorf("corp has %v (%v) of acme's records, want none", got, err)
	}
	if got := subjects(t, operator(t, s), "REQUESTS"); len(got) != 0 {
		t.Errorf("corp's REQUESTS holds %v, want nothing", got)
	}
}

func between(t *testing.T, text, begin, end string) string {
	t.Helper()
	i, j := strings.Index(text, begin), strings.Index(text, end)
	if i < 0 || j < i {
		t.Fatalf("no text between %q and %q", begin, end)
	}
	return text[i:j]
}
