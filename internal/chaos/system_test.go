package chaos

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"writeback/internal/chaos/history"
	"writeback/internal/chaos/proxy"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

func startSystem(t *testing.T, consumers, publishers int) *System {
	t.Helper()
	s, err := Start(t.Context(), Options{
		Root: testkit.Root(t), Dir: filepath.Join(t.TempDir(), "system"), Nodes: 1, Directory: "fake",
		Consumers: consumers, Publishers: publishers, Out: io.Discard,
	}, passwordName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func await(t *testing.T, met <-chan struct{}) {
	t.Helper()
	select {
	case <-met:
	case <-time.After(30 * time.Second):
		t.Fatal("a fault was not met in time")
	}
}

// The real programs, cut off from the broker around both of a consumer's
// records: every request ends as applied, and the history that is read from
// the system itself breaks no rule; one that is altered does.
func TestSystem(t *testing.T) {
	t.Parallel()
	s := startSystem(t, 1, 1)
	s.APIURL = s.Publishers[0].API
	claimed, settled := record(envelope.Claimed), record(envelope.Settled)
	sent := func(is func(*proxy.Message) bool) func(proxy.Message) bool {
		return func(m proxy.Message) bool { return m.Direction == proxy.ToServer && is(&m) }
	}
	answer := func(m proxy.Message) bool { return m.Request != nil && settled(m.Request) }
	faults := []proxy.Fault{
		{Name: "none", Match: sent(claimed)},
		{Name: "cut before the claim", Match: sent(claimed), Do: proxy.Cut},
		{Name: "cut before the outcome", Match: sent(settled), Do: proxy.Cut},
		{Name: "cut after the outcome", Match: sent(settled), Do: proxy.CutAfter},
		{Name: "cut before the outcome's ack", Match: answer, Do: proxy.Cut},
	}
	broker := s.Consumers[0].Broker[0]
	var h history.History
	since := time.Now()
	for i, f := range faults {
		user := s.Directory.Users[i]
		call := history.Call{Account: user.UPN, Operation: reset.Reset, Password: samba.NewPassword()}
		injected := broker.Inject(f)
		asked := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		a, err := s.Reset(ctx, http.DefaultClient, user.UPN, call.Password)
		cancel()
		if err != nil || a.Code != string(reset.Applied) {
			t.Fatalf("%s: the reset ends as %q, %v", f.Name, a.Code, err)
		}
		await(t, injected.Met())
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
	if h.Chains, err = s.Reader.Chains(t.Context(), since); err != nil {
		t.Fatal(err)
	}
	h.Writes = s.Watch.Writes()
	h.Slack = time.Second // two busy cores
	if len(h.Chains) != len(faults) || len(h.Writes) != len(faults) {
		t.Errorf("%d chains and %d modifies, want %d of each", len(h.Chains), len(h.Writes), len(faults))
	}
	for _, v := range h.Check() {
		t.Error(v)
	}
	for _, f := range faults {
		if broker.Met()[f.Name] != 1 {
			t.Errorf("fault %q was met %d times", f.Name, broker.Met()[f.Name])
		}
	}
	h.Calls[1].Password = "another"
	if len(h.Check()) == 0 {
		t.Error("a password that nobody asked for breaks no rule")
	}
}
