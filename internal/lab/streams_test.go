package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// TestStreamsAreNotMadeAnew runs `publisher streams` on a broker that does not see
// its store, and so has no streams: it makes none unless that is said.
func TestStreamsAreNotMadeAnew(t *testing.T) {
	t.Parallel()
	dir, root := t.TempDir(), testkit.Root(t)
	l := &Lab{opts: Options{Bin: binaries(t)}}
	s, err := broker.Start(t.Context(), dir, root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill() })
	provision := filepath.Join(dir, "provision.yaml")
	if err := write(provision, node{
		"broker":           node{"url": s.URL(), "ca_file": s.CAFile, "nkey_file": s.NKeyFile(queue.Provisioner)},
		"system_nkey_file": s.NKeyFile(queue.System), "replicas": 1,
	}); err != nil {
		t.Fatal(err)
	}
	streams := func(flags ...string) (string, error) {
		return l.call(t.Context(), "publisher", append([]string{"streams", "-config", provision}, flags...)...)
	}
	refused := func(when string) {
		t.Helper()
		if out, err := streams(); err == nil || !strings.Contains(err.Error(), "does not have REQUESTS, RECORDS, EVENTS") || !strings.Contains(err.Error(), "-new") || out != "" {
			t.Errorf("%s: it says %q, %v", when, out, err)
		}
	}
	restart := func() {
		t.Helper()
		s.Stop()
		if s, err = s.Start(t.Context(), filepath.Join(root, "bin", "nats-server")); err != nil {
			t.Fatal(err)
		}
	}
	refused("on a new broker")
	if out, err := streams("-new"); err != nil || strings.Count(out, ": created") != 7 {
		t.Errorf("with -new it says %q, %v", out, err)
	}
	away := s.StoreDir + "-not-mounted"
	s.Stop()
	if err := os.Rename(s.StoreDir, away); err != nil {
		t.Fatal(err)
	}
	restart()
	refused("without its disk")
	s.Stop()
	if err := errors.Join(os.RemoveAll(s.StoreDir), os.Rename(away, s.StoreDir)); err != nil {
		t.Fatal(err)
	}
	restart()
	if out, err := streams(); err != nil || strings.Count(out, ": nothing to change") != 7 {
		t.Errorf("with its disk again it says %q, %v", out, err)
	}
}
