package queue_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

const (
	pub = queue.Publisher
	con = queue.Consumer
	aud = queue.Auditor
	pro = queue.Provisioner
	sys = queue.System
)

var streamNames = []string{"REQUESTS", "RECORDS", "EVENTS", "KV_consumers", "KV_switches", "KV_tickets"}

// A permission is a subject of the table in docs/security.md.
type permission struct {
	verb    string // publish or subscription
	subject string // for tenant corp; * is one token, > any number of them
	by      []queue.Role
}

// permissions reads the table. What it does not name, nobody may do.
func permissions(t *testing.T) []permission {
	t.Helper()
	rows := testkit.Table(t, "docs/security.md", "## What each user of the broker may do")
	var list []permission
	for _, row := range rows[1:] {
		verb := map[string]string{"send": "publish", "hear": "subscription"}[row[0]]
		subject := strings.Trim(row[1], "`")
		if verb == "" || subject == "" {
			t.Fatalf("no row of the table: %q", row)
		}
		var by []queue.Role
		for i, cell := range row[2:] {
			switch cell {
			case "yes":
				by = append(by, queue.Role(rows[0][i+2]))
			case "–":
			default:
				t.Fatalf("%s: a cell is %q; it must be yes or –", subject, cell)
			}
		}
		if !strings.Contains(subject, "<stream>") {
			list = append(list, permission{verb, subject, by})
			continue
		}
		for _, name := range streamNames {
			list = append(list, permission{verb, strings.ReplaceAll(subject, "<stream>", name), by})
		}
	}
	return list
}

// covers reports whether p lets u use subject.
func (p permission) covers(u user, verb, subject string) bool {
	if p.verb != verb || !slices.Contains(p.by, u.role) {
		return false
	}
	return slices.ContainsFunc(u.tenants, func(tenant string) bool {
		want, have := strings.Split(strings.Replace(p.subject, "corp.", tenant+".", 1), "."), strings.Split(subject, ".")
		for i, token := range want {
			switch {
			case i >= len(have):
				return false
			case token == ">":
				return true
			case token != "*" && token != have[i]:
				return false
			}
		}
		return len(want) == len(have)
	})
}

// operations returns every operation of the broker on streams, consumers,
// accounts and servers that its own source names, and our subjects, in our
// account, by the name of each tenant, and by that of nobody.
func operations(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/nats-io/nats-server/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for _, file := range []string{"jetstream_api.go", "events.go"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "server", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"(\$(?:JS|SYS)\.[^" ]+)"`).FindAllStringSubmatch(string(text), -1) {
			patterns = append(patterns, strings.ReplaceAll(strings.TrimSuffix(m[1], "."), "%s", "*"))
		}
	}
	if len(patterns) < 80 {
		t.Fatalf("the broker's source names only %d operations", len(patterns))
	}
	var bare []string
	for _, p := range patterns {
		bare = append(bare, fill(p)...)
	}
	for _, verb := range []string{"VARZ", "CONNZ", "SUBSZ", "ACCOUNTZ", "JSZ", "HEALTHZ", "STATSZ", "PROFILEZ"} {
		bare = append(bare, "$SYS.REQ.SERVER.PING."+verb, "$SYS.REQ.ACCOUNT.CORP."+verb)
	}
	bare = append(bare,
		"req.00", "req.00.more", "rec.p1.00.pub", "rec.p1.00.con", "rec.p1.00.con.more", "rec.p1.00.other",
		"live.p1.00.con", "live.p1.00.pub", "alive.r1", "alive", "evt.start", "evt.pub.p1.00", "evt.con.r1.00", "evt.con.r1.00.more",
		"$KV.consumers.r1", "$KV.switches.writeback", "$KV.tickets.00", "$KV.other.key", "$OBJ.other.C.x",
		"$JS.ACK.REQUESTS.consumers.1.1.1.1.0", "$JS.ACK.REQUESTS.other.1.1.1.1.0", "$JS.ACK.RECORDS.other.1.1.1.1.0",
		"$JS.ACK._.h.REQUESTS.consumers.1.1.1.1.0.x")
	var all []string
	for _, prefix := range []string{"", "corp.", "acme.", "other."} {
		for _, op := range bare {
			all = append(all, prefix+op)
		}
	}
	all = append(all, "_INBOX.x", "_R_.x", "$SRV.PING", "anything")
	for _, role := range roles {
		all = append(all, "_IN."+string(role)+".x")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// fill puts names for the open tokens of a pattern: those of streams for the first,
// those of consumers for the second.
func fill(pattern string) []string {
	names := [][]string{append([]string{"OTHER"}, streamNames...), {"consumers", "other"}, {"x"}}
	list := [][]string{nil}
	for token := range strings.SplitSeq(pattern, ".") {
		values := []string{token}
		if token == "*" || token == ">" {
			values = names[0]
			if len(names) > 1 {
				names = names[1:]
			}
		}
		var next [][]string
		for _, begun := range list {
			for _, v := range values {
				next = append(next, append(slices.Clone(begun), v))
			}
		}
		list = next
	}
	var all []string
	for _, tokens := range list {
		all = append(all, strings.Join(tokens, "."))
	}
	return all
}

// audible are what to listen to: the operations, and many of them at once.
func audible(ops []string) []string {
	all := slices.Clone(ops)
	for _, prefix := range []string{"", "corp.", "acme.", "*."} {
		for _, wild := range []string{
			">", "*", "*.>", "req.*", "rec.*.*.*", "rec.*.*.con", "rec.>", "live.>", "live.p1.*.*", "live.*.*.con", "alive.*", "alive.>", "evt.>", "evt.pub.*.*",
			"$KV.>", "$KV.consumers.*", "$KV.switches.*", "$KV.tickets.*", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.EVENT.>", "$SYS.>", "$SYS.ACCOUNT.>",
		} {
			all = append(all, prefix+wild)
		}
	}
	all = append(all, "_IN.>", "_INBOX.>", "_R_.>", "_IN.other.>")
	for _, role := range roles {
		all = append(all, "_IN."+string(role)+".>")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestPermissions tries everything as everybody, on brokers with two tenants,
// and compares it with the table in docs/security.md: what is in it is possible
// and has an answer, and what is not is refused.
func TestPermissions(t *testing.T) { eachPair(t, tryPermissions) }

func tryPermissions(t *testing.T, two *pair) {
	table, ops := permissions(t), operations(t)
	wanted := make(map[string]bool) // a row for a role
	for _, p := range table {
		for _, role := range p.by {
			wanted[p.verb+" "+p.subject+" "+string(role)] = true
		}
	}
	for _, u := range two.users {
		t.Run(u.name(), func(t *testing.T) {
			l := open(t, two.Server, u)
			may := func(verb, subject string) bool {
				return slices.ContainsFunc(table, func(p permission) bool { return p.covers(u, verb, subject) })
			}
			answers := make(chan string, len(ops))
			inbox := "_IN." + string(u.role) + ".answer."
			if _, err := l.nc.Subscribe(inbox+"*", func(m *nats.Msg) { answers <- strings.TrimPrefix(m.Subject, inbox) }); err != nil {
				t.Fatal(err)
			}
			refused := l.refusals(t, "publish", len(ops), func(i int) (string, error) {
				body := emptyAnswer
				if strings.HasPrefix(ops[i], "$JS.ACK.") {
					body = "+ACK"
				}
				return ops[i], l.nc.PublishRequest(ops[i], inbox+fmt.Sprint(i), []byte(body))
			})
			open := make(map[string][]permission) // rows that have no answer yet, by the operation
			for i, op := range ops {
				if refused[strings.ToLower(op)] == may("publish", op) {
					t.Errorf("publishing to %s: allowed is %t, and the table says the opposite", op, !refused[strings.ToLower(op)])
				}
				for _, p := range table {
					if p.covers(u, "publish", op) {
						open[fmt.Sprint(i)] = append(open[fmt.Sprint(i)], p)
					}
				}
			}
			unanswered := make(map[string]bool)
			for _, rows := range open {
				for _, p := range rows {
					unanswered[p.subject] = true
				}
			}
			for ctx := within(t, 20*time.Second); len(unanswered) > 0; {
				select {
				case i := <-answers:
					for _, p := range open[i] {
						delete(unanswered, p.subject)
						delete(wanted, p.verb+" "+p.subject+" "+string(u.role))
					}
				case <-ctx.Done():
					t.Fatalf("allowed, but nobody answers: %v", unanswered)
				}
			}

			for _, group := range []string{"", "group"} {
				// Few at a time: the client searches them all for each refusal.
				for subjects := range slices.Chunk(audible(ops), 200) {
					var subs []*nats.Subscription
					refused := l.refusals(t, "subscription", len(subjects), func(i int) (string, error) {
						subscribe := func() (*nats.Subscription, error) { return l.nc.QueueSubscribe(subjects[i], group, func(*nats.Msg) {}) }
						if group == "" {
							subscribe = func() (*nats.Subscription, error) { return l.nc.Subscribe(subjects[i], func(*nats.Msg) {}) }
						}
						sub, err := subscribe()
						subs = append(subs, sub)
						return subjects[i], err
					})
					for i, subject := range subjects {
						if refused[strings.ToLower(subject)] == may("subscription", subject) {
							t.Errorf("subscribing to %s, group %q: allowed is %t, and the table says the opposite",
								subject, group, !refused[strings.ToLower(subject)])
						}
						for _, p := range table {
							if p.covers(u, "subscription", subject) {
								delete(wanted, p.verb+" "+p.subject+" "+string(u.role))
							}
						}
						subs[i].Unsubscribe()
					}
				}
			}
		})
	}
	for row := range wanted {
		t.Errorf("in the table, but nothing that was tried: %s", row)
	}
}

// A line is one user's connection, with what the broker refused on it, in order.
type line struct {
	nc      *nats.Conn
	refused chan error
}

func open(t *testing.T, s *broker.Server, u user) *line {
	t.Helper()
	l := &line{refused: make(chan error, 10)}
	l.nc = rawAs(t, s, u, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.refused <- err }))
	return l
}

var violation = regexp.MustCompile(`permissions violation for (publish|subscription) to "([^"]+)"`)

// refusals calls try n times and returns the subjects that the broker refuses, in
// lower case. The broker reports refusals in order, so that the one of a subject
// that nobody has is the last to be waited for.
func (l *line) refusals(t *testing.T, verb string, n int, try func(i int) (subject string, err error)) map[string]bool {
	t.Helper()
	tried := make(map[string]bool)
	for i := range n {
		subject, err := try(i)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		tried[strings.ToLower(subject)] = true
	}
	if err := l.nc.Publish("nobody.has.this", nil); err != nil {
		t.Fatal(err)
	}
	refused := make(map[string]bool)
	for ctx := within(t, time.Minute); ; {
		select {
		case err := <-l.refused:
			m := violation.FindStringSubmatch(strings.ToLower(err.Error()))
			switch {
			case m == nil:
				t.Fatalf("the broker says %v", err)
			case m[2] == "nobody.has.this":
				return refused
			case m[1] != verb || !tried[m[2]]:
				t.Fatalf("the broker refuses what was not tried: %v", err)
			}
			refused[m[2]] = true
		case <-ctx.Done():
			t.Fatal("the broker does not refuse what nobody may do")
		}
	}
}
