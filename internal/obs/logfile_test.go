package obs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "consumer.log")
	open := func() *LogFile {
		l, err := OpenLogFile(path)
		if err != nil {
			t.Fatal(err)
		}
		l.max = 20
		return l
	}
	expect := func(want, wantBefore string) {
		t.Helper()
		now, _ := os.ReadFile(path)
		before, _ := os.ReadFile(path + ".1")
		if string(now) != want || string(before) != wantBefore {
			t.Errorf("the log is %q, before it %q; want %q, %q", now, before, want, wantBefore)
		}
	}
	write := func(l *LogFile, line string) {
		t.Helper()
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("writing %q: %d, %v", line, n, err)
		}
	}
	l := open()
	write(l, "one 89 123456789\n")
	l.Close()
	l = open() // goes on at the end
	write(l, "23\n")
	expect("one 89 123456789\n23\n", "")
	write(l, "four\n")
	expect("four\n", "one 89 123456789\n23\n")
	write(l, strings.Repeat("x", 30)) // longer than a file may be
	expect(strings.Repeat("x", 30), "four\n")

	// Something is in the way of the old one: nothing is lost.
	if err := os.Remove(path + ".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".1", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(l, "five\n")
	if now, _ := os.ReadFile(path); string(now) != strings.Repeat("x", 30)+"five\n" {
		t.Errorf("the log is %q", now)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenLogFile(filepath.Join(path, "none", "x")); err == nil {
		t.Error("a log without a folder is opened")
	}
}
