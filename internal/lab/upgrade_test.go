package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// upgradeFrom is the version that the programs of today are run beside. Choose a
// later one only with a change that cannot be upgraded from it, which then says so in
// CHANGELOG.md.
var (
	upgradeFrom = flag.String("upgrade-from", "424a89eb4de6c4504f52fde77cc35c4bcd17ccba", "`commit` whose programs are the old ones")
	upgradeAll  = flag.Bool("upgrade-all", false, "upgrade once more, publishers first, and all of it on a broker of three nodes too")
)

// ours are the programs that are upgraded; the broker is another matter.
var ours = []string{"publisher", "consumer", "audit"}

// oldPrograms returns a directory with the programs of an earlier commit, built once
// on a machine.
func oldPrograms(t *testing.T, commit string) string {
	t.Helper()
	root := testkit.Root(t)
	git := func(args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "git", append([]string{"-C", root}, args...)...)
	}
	full, err := git("rev-parse", "--verify", "--quiet", commit+"^{commit}").Output()
	if err != nil {
		t.Fatalf("the programs of commit %s cannot be built here: %v. This test needs a clone with its history (`git fetch --unshallow`)", commit, err)
	}
	dir, err := testkit.Cached(t.Context(), "programs-"+strings.TrimSpace(string(full)), func(tmp string) error {
		return buildCommit(t.Context(), git("archive", commit), tmp)
	})
	if err != nil {
		t.Fatalf("building the programs of commit %s: %v", commit, err)
	}
	return filepath.Join(dir, "bin")
}

// buildCommit builds what archive prints, in a directory of its own.
func buildCommit(ctx context.Context, archive *exec.Cmd, dir string) error {
	unpack := exec.CommandContext(ctx, "tar", "-x", "-C", dir)
	var err error
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		return err
	}
	if err := archive.Start(); err != nil {
		return err
	}
	if err := errors.Join(unpack.Run(), archive.Wait()); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", "bin/"}
	for _, name := range ours {
		args = append(args, "./cmd/"+name)
	}
	build := exec.CommandContext(ctx, "go", args...)
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// A mixture is a directory of programs, some old and some new.
type mixture struct{ dir, old, fresh string }

func newMixture(t *testing.T) *mixture {
	t.Helper()
	m := &mixture{t.TempDir(), oldPrograms(t, *upgradeFrom), binaries(t)}
	if err := os.Symlink(filepath.Join(m.fresh, "nats-server"), filepath.Join(m.dir, "nats-server")); err != nil {
		t.Fatal(err)
	}
	m.use(t, m.old, ours...)
	return m
}

// use makes the next runs of programs those of a version.
func (m *mixture) use(t *testing.T, version string, names ...string) {
	t.Helper()
	for _, name := range names {
		tmp := filepath.Join(m.dir, name+".new")
		if err := errors.Join(os.Symlink(filepath.Join(version, name), tmp), os.Rename(tmp, filepath.Join(m.dir, name))); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts a system that the old programs have set up.
func (m *mixture) start(t *testing.T, nodes int, mixed ...string) *Lab {
	t.Helper()
	l, err := Start(t.Context(), Options{
		Bin: m.dir, NATS: filepath.Join(testkit.Root(t), "nats"), Dir: filepath.Join(t.TempDir(), "lab"), Nodes: nodes,
		Consumers: 2, Directory: "fake", Out: &output{}, Endpoints: filepath.Join(t.TempDir(), "endpoints.json"), Idle: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		l.tellOnFailure(t)
	})
	m.use(t, m.fresh, mixed...)
	if err := errors.Join(l.startConsumers(t.Context()), l.startPublishers(t.Context()), l.awaitReady(t.Context()), l.writeEndpoints()); err != nil {
		t.Fatal(err)
	}
	return l
}

// wantWhole has the auditors of both versions verify everything.
func (m *mixture) wantWhole(t *testing.T, l *Lab) {
	t.Helper()
	for _, version := range []string{m.old, m.fresh} {
		m.use(t, version, "audit")
		if out, code := l.audit(t, l.AuditFile(), "verify"); code != 0 || !strings.Contains(out, "WHOLE: nothing") || !strings.Contains(out, "of which 0 have no outcome") {
			t.Errorf("%s/audit verify exits with %d:\n%s", version, code, out)
		}
	}
}

// TestMixedVersions resets passwords with a publisher of one version and consumers
// of another.
func TestMixedVersions(t *testing.T) {
	t.Parallel()
	for name, fresh := range map[string]string{"old consumers, new publisher": "publisher", "new consumers, old publisher": "consumer"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMixture(t)
			l := m.start(t, 1, fresh)
			e := l.endpoints(t)
			traffic := keepCalling(t, l, e)
			traffic.more(20)
			traffic.end()
			// A refusal with its details, and what is known of the consumers.
			r, err := e.post(t.Context(), "upn", l.Directory.Users[9].UPN, "short")
			if err != nil || r.Code != "password_too_short" || r.Details["min_length"] == nil {
				t.Errorf("a short password: %v %s", err, r.Body)
			}
			if r, err := e.do(t.Context(), "GET", "/v1/status", nil); err != nil || !strings.Contains(r.Body, `"ready":true`) {
				t.Errorf("status: %v %s", err, r.Body)
			}
			l.stopPrograms()
			m.wantWhole(t, l)
		})
	}
}

// A round replaces programs one after the other by those of a version.
type round struct {
	what  string
	fresh bool
	names []string
}

// TestUpgrade upgrades two consumers and two publishers one after the other while
// passwords are reset all the time, and rolls them back. No reset fails.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	sizes := []int{1}
	rounds := []round{
		{"upgrade", true, []string{"consumer1", "consumer2", "publisher", "second"}},
		{"roll-back", false, []string{"publisher", "consumer1", "second", "consumer2"}},
	}
	if *upgradeAll {
		sizes = append(sizes, broker.Nodes)
		rounds = append(rounds, round{"upgrade, publishers first", true, []string{"second", "publisher", "consumer2", "consumer1"}})
	}
	for _, nodes := range sizes {
		t.Run(fmt.Sprintf("broker of %d", nodes), func(t *testing.T) {
			m := newMixture(t)
			l := m.start(t, nodes)
			second := l.startFrontDoor(t, "second", nil)
			ops := operations(t, l.Dir, 2)
			ops["second"] = second.operations
			traffic := keepCalling(t, l, l.endpoints(t), second.Endpoints)
			traffic.more(20)
			for _, r := range rounds {
				version := m.old
				if r.fresh {
					version = m.fresh
				}
				for _, name := range r.names {
					m.use(t, version, programOf(name))
					l.end(t, name, ops[name], syscall.SIGTERM)
					traffic.more(20)
				}
				t.Logf("%s: %d resets so far", r.what, traffic.applied.Load())
			}
			traffic.end()
			l.leave(l.named(t, "second"))
			l.stopPrograms()
			m.wantWhole(t, l)
		})
	}
}

// programOf returns the program that runs under a name.
func programOf(name string) string {
	if strings.HasPrefix(name, "consumer") {
		return "consumer"
	}
	return "publisher"
}
