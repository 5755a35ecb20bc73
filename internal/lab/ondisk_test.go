package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestSealingKeysAreNotOnDisk takes the whole store of the broker and all files of
// publisher and consumers, during traffic and after a crash of everything, and
// looks for the keys that would open the requests in it.
func TestSealingKeysAreNotOnDisk(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	o := newOwner(t, l)
	for i, user := range l.Directory.Users[:3] {
		wantApplied(t, o.e, "upn", user.UPN, fmt.Sprintf("Genuine-Word-%d", i))
	}
	o.pause(t, time.Now().Add(time.Hour))
	if _, err := o.e.post(t.Context(), "upn", l.Directory.Users[3].UPN, "Genuine-Word-3", "Prefer: wait=0"); err != nil {
		t.Fatal(err)
	}
	held := o.newest(t)
	files, err := filepath.Glob(filepath.Join(l.runtime, "*", "box-*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("the consumers keep %d keys in memory (%v), want 2 at least", len(files), err)
	}
	keys := make(map[string][]byte)
	for _, file := range files {
		private, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, needle := range encodings(string(private)) {
			keys[file+" as "+name] = needle // both may be called by the same millisecond
		}
	}
	if hits := search(t, keys, nil, nil, l.runtime); len(hits) < 2 {
		t.Errorf("the search finds the keys in %d places where they are, want 2 at least", len(hits))
	}
	for _, p := range o.e.Processes {
		if p.Name == "nats" {
			continue
		}
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for _, hit := range search(t, keys, nil, nil, l.Dir) {
		t.Errorf("a key is on the disk: %s", hit)
	}
	// What it would open is there.
	body := parse(t, held.Data).Body
	if hits := search(t, map[string][]byte{"body": body}, nil, nil, l.Broker.StoreDir); len(hits) != 1 {
		t.Errorf("the search finds a sealed request %d times in the broker's store, want once", len(hits))
	}
}
