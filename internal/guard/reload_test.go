package guard

import (
	"crypto/sha256"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

const wider = "bases: ['DC=corp']\nallow_domain_root: true\n"

// expect checks what is in force, what Check says, and what was reported since.
func (w *world) expect(t *testing.T, inForce, check string, news ...string) {
	t.Helper()
	for range 3 { // nothing is reported twice
		if err := w.Check(); (err == nil) != (check == "") || err != nil && !strings.Contains(err.Error(), check) {
			t.Errorf("Check() = %v, want %q in it", err, check)
		}
		if w.Hash() != sha256.Sum256([]byte(inForce)) {
			t.Errorf("%q is not in force", inForce)
		}
	}
	// Only the wider policy has everybody in it.
	e := ada()
	e.DN = "CN=Ada,OU=Elsewhere,DC=corp"
	if got := w.Judge(asking(), e) == nil; got != (inForce == wider) {
		t.Errorf("lets everybody through: %t, but %q is in force", got, inForce)
	}
	told := w.news()
	if len(told) != len(news) {
		t.Fatalf("was told %v, want %q", told, news)
	}
	for i, err := range told {
		if (err == nil) != (news[i] == "") || err != nil && !strings.Contains(err.Error(), news[i]) {
			t.Errorf("was told %v, want %q", err, news[i])
		}
	}
}

func TestReload(t *testing.T) {
	const good = ""
	replace := func(w *world, t *testing.T, policy string) {
		old := w.path
		w.path += ".new"
		w.write(t, policy)
		if err := os.Rename(w.path, old); err != nil {
			t.Fatal(err)
		}
		w.path = old
	}
	remove := func(w *world, t *testing.T) {
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		run  func(w *world, t *testing.T)
	}{
		{"changed", func(w *world, t *testing.T) {
			w.write(t, wider)
			w.expect(t, wider, good, good)
			w.write(t, basic)
			w.expect(t, basic, good, good)
		}},
		{"touched only", func(w *world, t *testing.T) {
			w.touch(t)
			w.expect(t, basic, good)
		}},
		{"of the same size", func(w *world, t *testing.T) {
			other := strings.Replace(basic, "Staff", "Stuff", 1)
			w.write(t, other)
			w.expect(t, other, good, good)
		}},
		{"of the same time", func(w *world, t *testing.T) {
			w.written = w.written.Add(-time.Minute)
			w.write(t, wider)
			w.expect(t, wider, good, good)
		}},
		{"replaced by rename", func(w *world, t *testing.T) {
			replace(w, t, wider)
			w.expect(t, wider, good, good)
		}},
		{"replaced by one of the same size and time", func(w *world, t *testing.T) {
			w.written = w.written.Add(-time.Minute)
			other := strings.Replace(basic, "Staff", "Stuff", 1)
			replace(w, t, other)
			w.expect(t, other, good, good)
		}},
		{"broken and mended", func(w *world, t *testing.T) {
			w.write(t, "bases: [Staff]")
			w.expect(t, basic, `"Staff" is not`, `"Staff" is not`)
			w.touch(t)
			w.expect(t, basic, `"Staff" is not`)
			w.write(t, "bases: []")
			w.expect(t, basic, "bases: has 0 entries", "bases: has 0 entries")
			w.write(t, wider)
			w.expect(t, wider, good, good)
		}},
		{"broken and put back", func(w *world, t *testing.T) {
			w.write(t, "bases: [Staff]")
			w.expect(t, basic, `"Staff" is not`, `"Staff" is not`)
			w.write(t, basic)
			w.expect(t, basic, good, good)
		}},
		{"emptied", func(w *world, t *testing.T) {
			w.write(t, "")
			w.expect(t, basic, "is empty", "is empty")
		}},
		{"deleted and made again", func(w *world, t *testing.T) {
			remove(w, t)
			w.expect(t, basic, "no such file", "no such file")
			w.write(t, wider)
			w.expect(t, wider, good, good)
		}},
		{"moved away and back", func(w *world, t *testing.T) {
			if err := os.Rename(w.path, w.path+".away"); err != nil {
				t.Fatal(err)
			}
			w.expect(t, basic, "no such file", "no such file")
			if err := os.Rename(w.path+".away", w.path); err != nil {
				t.Fatal(err)
			}
			w.expect(t, basic, good, good)
		}},
		{"a folder in its place", func(w *world, t *testing.T) {
			remove(w, t)
			if err := os.Mkdir(w.path, 0o700); err != nil {
				t.Fatal(err)
			}
			w.touch(t)
			w.expect(t, basic, "is not a regular file", "is not a regular file")
			remove(w, t)
			w.write(t, wider)
			w.expect(t, wider, good, good)
		}},
		{"too large", func(w *world, t *testing.T) {
			w.write(t, basic+strings.Repeat("#", maxFile))
			w.expect(t, basic, "at most", "at most")
		}},
		{"time far ahead", func(w *world, t *testing.T) {
			w.written = time.Now().Add(24 * time.Hour)
			w.write(t, wider)
			w.expect(t, wider, good, good)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(open(t, basic), t) })
	}
}

// A file that has just been written may be a half: it is read when it was left
// alone for a while.
func TestHalfWritten(t *testing.T) {
	w := open(t, basic)
	w.write(t, wider)
	look := func(after time.Duration, news bool, inForce string) {
		t.Helper()
		got, err := w.look(w.written.Add(after))
		if err != nil || got != news || w.hash != sha256.Sum256([]byte(inForce)) {
			t.Errorf("after %s: news %t (%v), hash %x; want news %t, and %q in force", after, got, err, w.hash, news, inForce)
		}
	}
	look(0, false, basic)
	look(settled-time.Nanosecond, false, basic)
	look(settled, true, wider)
	look(settled, false, wider)

	w.write(t, basic)
	look(-settled+time.Nanosecond, false, wider)
	look(-settled, true, basic)
}

// What was read of a file that changed meanwhile may be half of each version: it
// is not taken, and the next look reads the new one.
func TestWrittenWhileRead(t *testing.T) {
	w := open(t, basic)
	other := strings.Replace(basic, "Staff", "Stuff", 1)
	w.write(t, wider)
	reads := 0
	w.load = func(path string) (*Policy, [32]byte, error) {
		p, hash, err := load(path)
		if reads++; reads == 1 {
			w.write(t, other)
		}
		return p, hash, err
	}
	for n, inForce := range []string{basic, other, other} {
		news, err := w.look(time.Now())
		if err != nil || news != (n == 1) || w.hash != sha256.Sum256([]byte(inForce)) {
			t.Errorf("look %d: news %t, %v, hash %x; want %q in force", n+1, news, err, w.hash, inForce)
		}
	}
	if reads != 2 {
		t.Errorf("it was read %d times, want twice", reads)
	}
}

// A policy is a regular file that only its owner writes. Nothing else is taken
// for one, nor waited for.
func TestUntrustedFile(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"others may write it": func(path string) error { return os.Chmod(path, 0o666) },
		"a pipe": func(path string) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, basic)
			if err := replace(w.path); err != nil {
				t.Fatal(err)
			}
			w.touch(t)
			if _, err := w.look(time.Now()); err == nil || w.Check() == nil {
				t.Errorf("look = %v, Check = %v; want that both refuse it", err, w.Check())
			}
			if _, err := Open(w.path, nil); err == nil {
				t.Error("Open takes it")
			}
		})
	}
}

// What was read while it was fresh is read once more, since a change right
// after it may have left size and time alone.
func TestOpenedFresh(t *testing.T) {
	w := open(t, basic)
	now := time.Now()
	if err := os.Chtimes(w.path, now, now); err != nil {
		t.Fatal(err)
	}
	g, err := Open(w.path, func(error) { t.Error("was told something") })
	if err != nil {
		t.Fatal(err)
	}
	if fresh(mustStat(t, w.path), time.Now()) && g.seen != nil {
		t.Error("a fresh file counts as seen")
	}
	if news, err := g.look(now.Add(time.Hour)); news || err != nil || g.seen == nil {
		t.Errorf("later: news %t, %v, seen %v", news, err, g.seen)
	}
}

func mustStat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
