package unseal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"writeback/internal/reset"
)

// inMemory returns an empty directory on a tmpfs that is not there yet.
func inMemory(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("/dev/shm", "unseal-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	return filepath.Join(parent, "runtime")
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range entries {
		s = append(s, e.Name())
	}
	return s
}

func public(k *Keyring) string {
	b, _ := k.Public()
	return string(b)
}

func rotate(t *testing.T, k *Keyring, now time.Time) {
	t.Helper()
	if err := k.Rotate(now); err != nil {
		t.Fatal(err)
	}
}

func TestKeepOutlastsTheQueue(t *testing.T) {
	if Keep <= reset.QueueAge+reset.Presence {
		t.Errorf("a key is kept %s, a request may wait %s", Keep, reset.QueueAge+reset.Presence)
	}
}

func TestRotation(t *testing.T) {
	k := testKeyring(t, "", noon)
	first := public(k)
	wraps, body := sealFor(t, "h", "body", k)
	steps := []struct {
		name     string
		at       time.Duration
		same     bool // the first key is announced
		open     error
		heldKeys int
	}{
		{"at once", 0, true, nil, 1},
		{"before the hour", Use - time.Nanosecond, true, nil, 1},
		{"at the hour", Use, false, nil, 2},
		{"before it is deleted", Use + Keep - time.Nanosecond, false, nil, 2},
		{"deleted", Use + Keep, false, ErrNoBox, 1},
		{"next hour", 2 * Use, false, ErrNoBox, 2},
		{"after a long pause", 9 * Use, false, ErrNoBox, 2},
		{"and its end", 9*Use + Keep, false, ErrNoBox, 1},
	}
	for _, s := range steps {
		rotate(t, k, noon.Add(s.at))
		if got := public(k) == first; got != s.same {
			t.Errorf("%s: the first key is announced: %t, want %t", s.name, got, s.same)
		}
		if _, err := k.Open(wraps, []byte("h"), body); err != s.open {
			t.Errorf("%s: Open gives %v, want %v", s.name, err, s.open)
		}
		if len(k.boxes) != s.heldKeys {
			t.Errorf("%s: %d keys are held, want %d", s.name, len(k.boxes), s.heldKeys)
		}
	}
	if _, made := k.Public(); !made.Equal(noon.Add(9 * Use)) {
		t.Errorf("the announced key was made at %s", made)
	}
}

func TestClockSetBack(t *testing.T) {
	k := testKeyring(t, "", noon)
	first := public(k)
	wraps, body := sealFor(t, "h", "body", k)
	back := noon.Add(-24 * time.Hour)
	rotate(t, k, back)
	if _, made := k.Public(); public(k) == first || !made.Equal(back) {
		t.Error("a key from the future is announced")
	}
	if _, err := k.Open(wraps, []byte("h"), body); err != nil {
		t.Errorf("what was sealed for the key from the future does not open: %v", err)
	}
	rotate(t, k, back.Add(Keep))
	if _, err := k.Open(wraps, []byte("h"), body); err != ErrNoBox {
		t.Errorf("the key from the future is still held: %v", err)
	}
}

func TestDirectoryOutlivesTheProcess(t *testing.T) {
	dir := inMemory(t)
	k := testKeyring(t, dir, noon)
	wraps, body := sealFor(t, "h", "body", k)
	again := testKeyring(t, dir, noon.Add(time.Minute))
	if public(again) != public(k) {
		t.Error("a restart makes another key")
	}
	if _, made := again.Public(); !made.Equal(noon) {
		t.Errorf("after a restart the key was made at %s", made)
	}
	if got, err := again.Open(wraps, []byte("h"), body); err != nil || string(got) != "body" {
		t.Errorf("after a restart Open = %q, %v", got, err)
	}
	rotate(t, again, noon.Add(Use))
	third := testKeyring(t, dir, noon.Add(Use+time.Minute))
	if _, err := third.Open(wraps, []byte("h"), body); err != nil || public(third) != public(again) || len(names(t, dir)) != 2 {
		t.Errorf("after a rotation and a restart: %v, files %q", err, names(t, dir))
	}
	rotate(t, third, noon.Add(Use+Keep))
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the old key is left in %q", got)
	}
	late := testKeyring(t, dir, noon.Add(10*Use))
	if public(late) == public(third) {
		t.Error("a restart much later announces the old key")
	}
}

// What a run that crashed would have deleted by now, the next one deletes at once.
func TestLeftOver(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		left  int
		open  error
	}{
		{"a key that may still be sealed for", Use + Keep - time.Millisecond, 2, nil},
		{"a key whose time is over", Use + Keep, 1, ErrNoBox},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := inMemory(t)
			k := testKeyring(t, dir, noon)
			wraps, body := sealFor(t, "h", "body", k)
			if err := os.WriteFile(filepath.Join(dir, "new"), []byte("half a key"), 0o600); err != nil {
				t.Fatal(err)
			}
			again := testKeyring(t, dir, noon.Add(tt.after))
			if got := names(t, dir); len(got) != tt.left || slices.Contains(got, "new") {
				t.Errorf("the files are %q, want %d keys", got, tt.left)
			}
			if _, err := again.Open(wraps, []byte("h"), body); err != tt.open {
				t.Errorf("Open gives %v, want %v", err, tt.open)
			}
		})
	}
}

// A key's file is overwritten before it is deleted: who holds it open, or finds
// its memory again, finds nothing.
func TestFileIsWiped(t *testing.T) {
	dir := inMemory(t)
	k := testKeyring(t, dir, noon)
	f, err := os.Open(filepath.Join(dir, names(t, dir)[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rotate(t, k, noon.Add(Use))
	rotate(t, k, noon.Add(Use+Keep))
	b, err := io.ReadAll(f)
	if err != nil || len(b) != 32 || !bytes.Equal(b, make([]byte, len(b))) {
		t.Errorf("the deleted file holds %d bytes that are not all zero (%v)", len(b), err)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the files are %q, want one", got)
	}
}

func TestFutureKeyInDirectory(t *testing.T) {
	dir := inMemory(t)
	testKeyring(t, dir, noon.Add(Use))
	k := testKeyring(t, dir, noon)
	if _, made := k.Public(); !made.Equal(noon) {
		t.Errorf("the announced key was made at %s", made)
	}
	// Once more, with both on disk: the later one sorts last.
	k = testKeyring(t, dir, noon.Add(time.Minute))
	if _, made := k.Public(); made.After(noon.Add(time.Minute)) {
		t.Errorf("after another restart the announced key was made at %s", made)
	}
	rotate(t, k, noon.Add(time.Minute+Keep))
	rotate(t, k, noon.Add(time.Minute+2*Keep))
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("old keys are left in %q", got)
	}
}

func TestFilesAreNobodyElses(t *testing.T) {
	dir := inMemory(t)
	k := testKeyring(t, dir, noon)
	rotate(t, k, noon.Add(Use))
	want := []string{"box-" + strconv.FormatInt(noon.UnixMilli(), 10), "box-" + strconv.FormatInt(noon.Add(Use).UnixMilli(), 10)}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("the files are %q, want %q", got, want)
	}
	for _, name := range want {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
	if got := names(t, filepath.Dir(dir)); len(got) != 1 {
		t.Errorf("beside the directory there is %q", got)
	}
	private, err := k.boxes[0].key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, want[0])); err != nil || !bytes.Equal(b, private) {
		t.Errorf("the file does not hold the key: %v", err)
	}
}

func TestNewKeyringRefuses(t *testing.T) {
	open := inMemory(t)
	if err := os.Mkdir(open, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o750); err != nil {
		t.Fatal(err)
	}
	readable, half, file := inMemory(t), inMemory(t), inMemory(t)
	testKeyring(t, readable, noon)
	if err := os.Chmod(filepath.Join(readable, names(t, readable)[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, fmt.Sprintf("box-%d", noon.UnixMilli())), make([]byte, 31), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	onDisk, err := os.MkdirTemp("/var/tmp", "unseal-test-") // what is there outlives a restart
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(onDisk) })
	for _, tt := range []struct{ name, dir, want string }{
		{"not on a tmpfs", onDisk, "not on a tmpfs"},
		{"others may enter", open, "mode 0750 lets others in"},
		{"a key that others can read", readable, "mode 0644"},
		{"half a key", half, "is not a sealing key"},
		{"a file", file, "not a directory"},
	} {
		if _, err := NewKeyring(tt.dir, noon); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: NewKeyring gives error %v, want %q", tt.name, err, tt.want)
		}
	}
	if got := names(t, onDisk); len(got) != 0 {
		t.Errorf("on the disk there is %q", got)
	}
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	dir := inMemory(t)
	k := testKeyring(t, dir, noon)
	for _, name := range []string{"notes", "box-", "box-x", "xbox-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if again := testKeyring(t, dir, noon); public(again) != public(k) || len(names(t, dir)) != 5 {
		t.Errorf("the directory holds %q", names(t, dir))
	}
}

// A key that cannot be deleted, or kept, is an error and not forgotten.
func TestRotateWithoutDirectory(t *testing.T) {
	dir := inMemory(t)
	k := testKeyring(t, dir, noon)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	before := public(k)
	if err := k.Rotate(noon.Add(Use)); err == nil || public(k) != before {
		t.Errorf("Rotate without its directory gives error %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	k := testKeyring(t, "", noon)
	wraps, body := sealFor(t, "h", "body", k)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 5 {
				k.Rotate(noon.Add(Use + time.Duration(i+j)*time.Second))
				k.Public()
				if _, err := k.Open(wraps, []byte("h"), body); err != nil {
					t.Errorf("Open gives error %v", err)
				}
			}
		})
	}
	wg.Wait()
}
