package queue_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// roles are the users that the files of nats/ know, the one last that fills the
// queue of who pulls.
var roles = []queue.Role{con, aud, pro, sys, pub}

// A user is who signs in to the broker.
type user struct {
	role    queue.Role
	tenants []string // whose subjects it sees; * is any
	key     string   // file of its seed

	credentials bool // whether there is a token with the seed
}

func (u user) name() string { return strings.Join(append([]string{string(u.role)}, u.tenants...), "-") }

// config is that of the user's connection to s.
func (u user) config(s *broker.Server) queue.Config {
	cfg := s.Config(u.role)
	cfg.NKeyFile = u.key
	return cfg
}

// A pair is a broker with two tenants, corp and acme.
type pair struct {
	*broker.Server
	users []user
}

func (p *pair) user(t *testing.T, role queue.Role, tenant string) user {
	t.Helper()
	i := slices.IndexFunc(p.users, func(u user) bool { return u.role == role && slices.Contains(u.tenants, tenant) })
	if i < 0 {
		t.Fatalf("%s has no %s", tenant, role)
	}
	return p.users[i]
}

// conn is a user's connection with our own code.
func (p *pair) conn(t *testing.T, role queue.Role, tenant string) *queue.Conn {
	t.Helper()
	return connect(t, p.user(t, role, tenant).config(p.Server), role)
}

// twoTenants follows nats/README.md: another three accounts like CORP,
// CORP_CONSUMERS and CORP_AUDITORS, and another four entries in PUBLISHERS.
func twoTenants(t *testing.T) *pair {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "nats", "accounts.conf"))
	if err != nil {
		t.Fatal(err)
	}
	dir, p := t.TempDir(), &pair{}
	repeat := strings.NewReplacer("corp.", "acme.", "CORP", "ACME")
	accounts := repeat.Replace(between(t, string(text), "  CORP {", "  PUBLISHERS {"))
	for role, variable := range map[queue.Role]string{
		con: "$WRITEBACK_CONSUMER_NKEY", aud: "$WRITEBACK_AUDITOR_NKEY", pro: "$WRITEBACK_PROVISIONER_NKEY",
	} {
		u := user{role: role, tenants: []string{"acme"}, key: filepath.Join(dir, "acme-"+string(role)+".nk")}
		public, _, err := queue.MakeNKey(u.key)
		if err != nil {
			t.Fatal(err)
		}
		accounts = strings.ReplaceAll(accounts, variable, public)
		p.users = append(p.users, u)
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
	if p.Server, err = files.Start(t.Context(), binary(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	for _, role := range roles {
		tenants := []string{"corp"}
		if role == pub || role == sys {
			tenants = []string{"corp", "acme"}
		}
		p.users = append(p.users, user{role: role, tenants: tenants, key: p.NKeyFile(role)})
	}
	for _, tenant := range []string{"corp", "acme"} {
		if err := p.conn(t, pro, tenant).Provision(within(t, 20*time.Second), 1, queue.DefaultKeep, func(string) {}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// eachPair runs a test with the two tenants of the static files, and with two that
// were made at run time.
func eachPair(t *testing.T, test func(*testing.T, *pair)) {
	t.Parallel()
	for name, pairOf := range map[string]func(*testing.T) *pair{"static": twoTenants, "operator": operatorTenants} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, pairOf(t))
		})
	}
}

// TestSecondTenant shows that of two tenants neither can see, take, answer or
// count what is the other's. That their users may not even say the other's
// subjects is in TestPermissions.
func TestSecondTenant(t *testing.T) { eachPair(t, secondTenant) }

func secondTenant(t *testing.T, p *pair) {
	cloud := p.conn(t, pub, "acme")
	corp := p.conn(t, con, "corp").OnPremises("corp")
	heard := make(chan string, 10)
	if err := cloud.Tenant("corp").Live("p1", func(_ reset.ID, s reset.Stored) { heard <- "corp " + string(s.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Tenant("acme").Live("p1", func(_ reset.ID, s reset.Stored) { heard <- "acme " + string(s.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := corp.Announcements(within(t, 20*time.Second), func(b []byte) { heard <- "corp's consumer " + string(b) }); err != nil {
		t.Fatal(err)
	}

	// All that is asked, recorded and announced is acme's.
	enqueue(t, cloud.Tenant("acme"), 2)
	id := ref()
	seq, err := cloud.Tenant("acme").Append(within(t, 20*time.Second), id, []byte("accepted"), 0)
	if err != nil {
		t.Fatal(err)
	}
	acme := p.conn(t, con, "acme").OnPremises("acme")
	if got := string(take(t, acme).Data); got != "request 0" {
		t.Errorf("acme's consumer took %q", got)
	}
	if err := acme.Announce("r1", []byte("I am acme's")); err != nil {
		t.Fatal(err)
	}

	// Corp's consumer answers it: the record goes to corp, where there is no
	// such request.
	if _, err := corp.Append(within(t, 20*time.Second), id, []byte("answered by corp"), seq); !errors.Is(err, reset.ErrConflict) {
		t.Errorf("corp's consumer answers acme's request: %v, want a conflict", err)
	}
	if _, err := acme.Append(within(t, 20*time.Second), id, []byte("answered by acme"), seq); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"acme accepted", "acme answered by acme"} {
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("heard nothing, want %q", want)
		}
	}
	if got, err := cloud.Tenant("corp").Records(within(t, 20*time.Second), id.ID); err != nil || len(got) != 0 {
		t.Errorf("corp has %v (%v) of acme's records, want none", got, err)
	}

	// Nothing to count: not for corp's provisioner, who sees most, nor for its
	// auditor.
	for stream, got := range p.contents(t, "corp") {
		if len(got) != 0 {
			t.Errorf("corp's %s holds %v, want nothing", stream, got)
		}
	}
	if got := p.contents(t, "acme"); len(got["REQUESTS"]) != 2 || len(got["RECORDS"]) != 2 || len(got["KV_consumers"]) != 1 {
		t.Errorf("acme has %v, want 2 requests, 2 records and an announcement", got)
	}
	for tenant, want := range map[string]int{"corp": 0, "acme": 2} {
		got, err := p.conn(t, aud, tenant).Tenant(tenant).Records(within(t, 20*time.Second), id.ID)
		if err != nil || len(got) != want {
			t.Errorf("%s's auditor reads %v (%v), want %d records", tenant, got, err, want)
		}
		m, err := rawAs(t, p.Server, p.user(t, aud, tenant)).Request(tenant+".$JS.API.STREAM.INFO.RECORDS", nil, 10*time.Second)
		if count := fmt.Sprintf(`"messages":%d`, want); err != nil || !strings.Contains(string(m.Data), count) {
			t.Errorf("%s's auditor counts %s (%v), want %s", tenant, m.Data, err, count)
		}
	}
	if len(heard) != 0 {
		t.Errorf("corp hears %q", <-heard)
	}
}

// TestSecondTenantReply has a tenant's users ask for all that they may, and have
// the answers sent to every subject of the other tenant, and of its own that they
// may not use. None arrives anywhere.
func TestSecondTenantReply(t *testing.T) { eachPair(t, secondTenantReply) }

func secondTenantReply(t *testing.T, p *pair) {
	table, ops := permissions(t), operations(t)
	before := p.contents(t, "corp")
	for _, role := range []queue.Role{con, aud, pro} {
		u := p.user(t, role, "acme")
		l := open(t, p.Server, u)
		own := func(subject string) bool {
			return slices.ContainsFunc(table, func(row permission) bool { return row.covers(u, "publish", subject) })
		}
		for _, ask := range ops {
			if !own(ask) {
				continue
			}
			for _, reply := range ops {
				// The provisioner is in the account of its tenant, and has
				// what it wants sent to anything there.
				if own(reply) || role == pro && !strings.Contains(strings.ToLower(reply), "corp") {
					continue
				}
				if err := l.nc.PublishRequest(ask, reply, []byte(emptyAnswer)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.nc.FlushWithContext(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.contents(t, "corp"); !maps.EqualFunc(got, before, maps.Equal) {
		t.Errorf("corp has %v, want %v", got, before)
	}
	got := p.contents(t, "acme")
	maps.DeleteFunc(got["EVENTS"], func(subject string, _ uint64) bool { return strings.HasPrefix(subject, "evt.con.") })
	if len(got["REQUESTS"]) != 0 || len(got["EVENTS"]) != 0 || len(got["KV_switches"]) != 0 || len(got["KV_tickets"]) != 0 {
		t.Errorf("acme has %v, want nothing but what its consumer may write", got)
	}
}

// contents says what a tenant's streams hold, by stream and subject.
func (p *pair) contents(t *testing.T, tenant string) map[string]map[string]uint64 {
	t.Helper()
	js, all := jetStream(t, rawAs(t, p.Server, p.user(t, pro, tenant))), make(map[string]map[string]uint64)
	for _, name := range streamNames {
		all[name] = subjects(t, js, name)
	}
	return all
}

func between(t *testing.T, text, begin, end string) string {
	t.Helper()
	i, j := strings.Index(text, begin), strings.Index(text, end)
	if i < 0 || j < i {
		t.Fatalf("no text between %q and %q", begin, end)
	}
	return text[i:j]
}
