package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/testkit/broker"
)

// stopAll ends publisher and consumers, and then the broker.
func (l *Lab) stopAll() {
	l.stopPrograms()
	for _, n := range l.nodes {
		l.remove(n.Name)
	}
}

// startAll starts what stopAll has ended.
func (l *Lab) startAll(t *testing.T) {
	t.Helper()
	for _, n := range l.nodes {
		if _, err := l.run(n.Name, func() *exec.Cmd { return n.Command(filepath.Join(l.opts.Bin, "nats-server")) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.startConsumers(t.Context()), l.startPublishers(t.Context()), l.awaitReady(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreOlderStreams puts a copy of the broker's store back that has become old,
// as docs/operations.md says, of each node its own: everything works, the trail is
// whole as far as it goes, and a head that was kept elsewhere shows that there was more.
func TestRestoreOlderStreams(t *testing.T) {
	for _, nodes := range []int{1, broker.Nodes} {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			t.Parallel()
			restoreOlder(t, startNodes(t, "fake", nodes))
		})
	}
}

func restoreOlder(t *testing.T, l *Lab) {
	e, users, config := l.endpoints(t), l.Directory.Users, l.AuditFile()
	resets := func(from, to int) (last string) {
		t.Helper()
		for i := from; i < to; i++ {
			last = awaitApplied(t, e, "a reset", users[i].UPN).ID // a cluster may still choose who leads
		}
		return last
	}
	resets(0, 4)
	l.stopAll()
	backup := t.TempDir()
	for _, n := range l.nodes {
		if err := os.CopyFS(filepath.Join(backup, n.Name), os.DirFS(n.StoreDir)); err != nil {
			t.Fatal(err)
		}
	}
	l.startAll(t)
	lost := resets(4, 7)
	head := filepath.Join(t.TempDir(), "head.json")
	if _, code := l.audit(t, config, "head", "-out", head); code != 0 {
		t.Fatalf("audit head exits with %d", code)
	}
	l.stopAll()
	for _, n := range l.nodes {
		if err := errors.Join(os.RemoveAll(n.StoreDir), os.CopyFS(n.StoreDir, os.DirFS(filepath.Join(backup, n.Name)))); err != nil {
			t.Fatal(err)
		}
	}
	l.startAll(t)
	resets(7, 10)
	if r, err := e.do(t.Context(), "GET", "/v1/requests/"+lost, nil); err != nil || r.Status != 404 {
		t.Errorf("a request that was lost is %s, %v", r.Body, err)
	}
	out, code := l.audit(t, config, "verify")
	if code != 0 || !strings.Contains(out, "WHOLE: nothing") {
		t.Errorf("without a head, audit verify exits with %d:\n%s", code, out)
	}
	out, code = l.audit(t, config, "verify", "-head", head)
	if code != 1 || !strings.Contains(out, "cut_off") {
		t.Errorf("with a head of before, audit verify exits with %d:\n%s", code, out)
	}
}

// TestLostNode loses one node of three with its disk, and starts it again with the
// same name and nothing on it, as docs/operations.md says. It then has everything: the
// system goes on without another one.
func TestLostNode(t *testing.T) {
	t.Parallel()
	l := startNodes(t, "fake", broker.Nodes)
	e, users := l.endpoints(t), l.Directory.Users
	for n := range 3 {
		wantApplied(t, e, "upn", users[n].UPN, fmt.Sprintf("Genuine-Word-%d", n))
	}
	lost, other := l.nodes[2], l.nodes[0]
	l.remove(lost.Name)
	awaitApplied(t, e, "a reset with two nodes", users[3].UPN)
	if err := os.RemoveAll(lost.StoreDir); err != nil {
		t.Fatal(err)
	}
	if _, err := l.run(lost.Name, func() *exec.Cmd { return lost.Command(filepath.Join(l.opts.Bin, "nats-server")) }); err != nil {
		t.Fatal(err)
	}
	// This waits until every replica is in step.
	if _, err := l.call(t.Context(), "publisher", "streams", "-config", l.path("nats", "provision.yaml"), "-timeout", "2m"); err != nil {
		t.Fatal(err)
	}
	l.remove(other.Name)
	awaitApplied(t, e, "a reset without another node", users[4].UPN)
	if out, code := l.audit(t, l.AuditFile(), "verify"); code != 0 || !strings.Contains(out, "WHOLE: nothing") {
		t.Errorf("audit verify exits with %d:\n%s", code, out)
	}
}
