package chaos

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"

	"writeback/internal/audit"
	"writeback/internal/chaos/history"
	"writeback/internal/chaos/proxy"
	"writeback/internal/envelope"
	"writeback/internal/lab"
	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

// A system is the lab with its one consumer behind proxies.
type system struct {
	*lab.Lab
	ad, broker *proxy.Proxy
	watch      *Watch
	reader     Reader
}

func startSystem(t *testing.T) *system {
	t.Helper()
	root, dir, endpoints := testkit.Root(t), filepath.Join(t.TempDir(), "lab"), filepath.Join(t.TempDir(), "endpoints.json")
	l, err := lab.Start(t.Context(), lab.Options{
		Bin: filepath.Join(root, "bin"), NATS: filepath.Join(root, "nats"), Dir: dir,
		Consumers: 1, Directory: "fake", Out: io.Discard, Endpoints: endpoints,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	accounts := make(map[string]string)
	for _, u := range l.Directory.Users {
		accounts[ModifyDN(u.ObjectGUID)] = u.UPN
	}
	s := &system{Lab: l, watch: NewWatch(func(dn string) string { return accounts[dn] }, func(text string) string { return text })}
	s.ad = startProxy(t, proxy.Options{
		Target: l.Directory.URL[len("ldaps://"):], Protocol: proxy.LDAP, CAFile: l.Directory.CAFile, Seen: s.watch.Look(),
	})
	s.broker = startProxy(t, proxy.Options{Target: l.Broker.URL()[len("tls://"):], Protocol: proxy.NATS, CAFile: l.Broker.CAFile})
	t.Cleanup(l.Close) // before the proxies, so that the consumer can take its leave

	var cfg map[string]any
	path := filepath.Join(dir, "consumer1", "consumer.yaml")
	load(t, path, &cfg)
	publishers := pins(t, cfg["publishers"], seal.PurposePublisher)
	cfg["broker"].(map[string]any)["url"] = "tls://" + s.broker.Addr()
	cfg["broker"].(map[string]any)["ca_file"] = s.broker.CAFile()
	cfg["directory"].(map[string]any)["url"] = "ldaps://" + s.ad.Addr()
	cfg["directory"].(map[string]any)["ca_file"] = s.ad.CAFile()
	text, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// It comes back with the new configuration.
	bound := s.ad.Inject(proxy.Fault{Match: func(m proxy.Message) bool { return m.Verb == "bind" }})
	kill(t, endpoints, "consumer1")
	await(t, bound)

	load(t, filepath.Join(dir, "publisher", "publisher.yaml"), &cfg)
	conn, err := queue.Connect(l.Broker.Config(queue.Publisher), queue.Publisher, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	months, err := seal.LoadMonthKeys(filepath.Join(dir, "publisher", "record.key"))
	if err != nil {
		t.Fatal(err)
	}
	tenant := cfg["tenants"].([]any)[0].(map[string]any)
	s.reader = Reader{Broker: conn.Tenant(lab.Tenant), Months: months, Verify: audit.Verifier{
		Tenant: lab.Tenant, Publishers: publishers, Consumers: pins(t, tenant["consumers"], seal.PurposeConsumer),
	}}
	return s
}

func startProxy(t *testing.T, opts proxy.Options) *proxy.Proxy {
	t.Helper()
	opts.Dir = t.TempDir()
	p, err := proxy.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func load(t *testing.T, path string, cfg *map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, cfg); err != nil {
		t.Fatal(err)
	}
}

func pins(t *testing.T, list any, purpose seal.Purpose) seal.Pins {
	t.Helper()
	var configs []seal.PinConfig
	for _, p := range list.([]any) {
		configs = append(configs, seal.PinConfig{Key: p.(map[string]any)["key"].(string)})
	}
	pins, err := seal.ParsePins("test", configs, purpose)
	if err != nil {
		t.Fatal(err)
	}
	return pins
}

// kill kills a process of the lab, which starts it again.
func kill(t *testing.T, endpoints, name string) {
	t.Helper()
	text, err := os.ReadFile(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	var e lab.Endpoints
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	for _, p := range e.Processes {
		if p.Name == name {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("the lab has no process %s", name)
}

func await(t *testing.T, i *proxy.Injection) {
	t.Helper()
	select {
	case <-i.Met():
	case <-time.After(30 * time.Second):
		t.Fatal("a fault was not met in time")
	}
}

// record matches the publish of a record of a consumer, and acknowledged the
// broker's answer to it.
func record(kind envelope.Kind) func(proxy.Message) bool {
	return func(m proxy.Message) bool { return m.Direction == proxy.ToServer && isRecord(&m, kind) }
}

func acknowledged(kind envelope.Kind) func(proxy.Message) bool {
	return func(m proxy.Message) bool { return isRecord(m.Request, kind) }
}

func isRecord(m *proxy.Message, kind envelope.Kind) bool {
	if m == nil || m.Verb != "HPUB" || !strings.HasSuffix(m.Subject, ".con") {
		return false
	}
	rec, err := envelope.ParseRecord(m.Body)
	return err == nil && rec.Kind == kind
}

// The real programs, cut off from the broker around both of a consumer's
// records: every request ends as applied, and the history that is read from
// the system itself breaks no rule; one that is altered does.
func TestSystem(t *testing.T) {
	s := startSystem(t)
	faults := []proxy.Fault{
		{Name: "none", Match: record(envelope.Claimed)},
		{Name: "cut before the claim", Match: record(envelope.Claimed), Do: proxy.Cut},
		{Name: "cut before the outcome", Match: record(envelope.Settled), Do: proxy.Cut},
		{Name: "cut after the outcome", Match: record(envelope.Settled), Do: proxy.CutAfter},
		{Name: "cut before the outcome's ack", Match: acknowledged(envelope.Settled), Do: proxy.Cut},
	}
	var h history.History
	since := time.Now()
	for i, f := range faults {
		user := s.Directory.Users[i]
		call := history.Call{Account: user.UPN, Operation: reset.Reset, Password: samba.NewPassword()}
		injected := s.broker.Inject(f)
		asked := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		a, err := s.Reset(ctx, http.DefaultClient, user.UPN, call.Password)
		cancel()
		if err != nil || a.Code != string(reset.Applied) {
			t.Fatalf("%s: the reset ends as %q, %v", f.Name, a.Code, err)
		}
		await(t, injected)
		if call.Ref, err = reset.ParseRef(a.ID); err != nil {
			t.Fatal(err)
		}
		call.Answers = []history.Answer{{Asked: asked, At: time.Now(), State: reset.State(a.State), Code: reset.Code(a.Code), Final: true}}
		h.Calls = append(h.Calls, call)
		conn, err := samba.Bind(s.Directory, user.DN, call.Password)
		if err != nil {
			t.Fatalf("%s: the new password is not in force: %v", f.Name, err)
		}
		conn.Close()
		h.Accounts = append(h.Accounts, history.Account{Name: user.UPN, First: user.UPN, Passwords: []string{call.Password}})
	}
	var err error
	if h.Chains, err = s.reader.Chains(t.Context(), since); err != nil {
		t.Fatal(err)
	}
	h.Writes = s.watch.Writes()
	h.Slack = time.Second // two busy cores
	if len(h.Chains) != len(faults) || len(h.Writes) != len(faults) {
		t.Errorf("%d chains and %d modifies, want %d of each", len(h.Chains), len(h.Writes), len(faults))
	}
	for _, v := range h.Check() {
		t.Error(v)
	}
	for _, f := range faults {
		if s.broker.Met()[f.Name] != 1 {
			t.Errorf("fault %q was met %d times", f.Name, s.broker.Met()[f.Name])
		}
	}
	h.Calls[1].Password = "another"
	if len(h.Check()) == 0 {
		t.Error("a password that nobody asked for breaks no rule")
	}
}
