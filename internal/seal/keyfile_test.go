package seal

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"writeback/internal/secret"
)

var zeros = base64.StdEncoding.EncodeToString(make([]byte, keySize))

func reveal(v secret.Value) (s string) {
	v.Reveal(func(b []byte) error {
		s = string(b)
		return nil
	})
	return s
}

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadFileLooksAtTheFile(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700} {
		if v, err := ReadFile(write(t, "x", mode)); err != nil || reveal(v) != "x" {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644} {
		if _, err := ReadFile(write(t, "x", mode)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("mode %04o lets others", mode)) {
			t.Errorf("mode %04o gives error %v", mode, err)
		}
	}
	dir := t.TempDir()
	link, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := os.Symlink(write(t, "x", 0o600), link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, want string }{
		{"link", link, "is a link"},
		{"directory", dir, "not a regular file"},
		{"pipe without a writer", pipe, "not a regular file"},
		{"device", "/dev/null", "not a regular file"},
		{"missing", filepath.Join(dir, "none"), "no such file"},
		{"too long", write(t, strings.Repeat("x", maxKeyFile+1), 0o600), "16385 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, err := ReadFile(tt.path)
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("ReadFile gives error %v, want %q", err, tt.want)
				}
			case <-time.After(5 * time.Second):
				t.Error("ReadFile waits")
			}
		})
	}
	if v, err := ReadFile(write(t, strings.Repeat("x", maxKeyFile), 0o600)); err != nil || len(reveal(v)) != maxKeyFile {
		t.Errorf("the longest file: %v", err)
	}
}

func TestReadFileOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can make a file of another user: the owner is not tested")
		return
	}
	path := write(t, "x", 0o600)
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("a file of another user gives error %v", err)
	}
}

func TestReadLine(t *testing.T) {
	for text, want := range map[string]string{
		"pw": "pw", "pw\n": "pw", "pw\r\n": "pw", "pw\n\n": "pw\n", " pw \n": " pw ", "": "", "\n": "", "a\nb": "a\nb",
	} {
		v, err := ReadLine(write(t, text, 0o600))
		if err != nil || reveal(v) != want {
			t.Errorf("ReadLine of %q = %q, %v; want %q", text, reveal(v), err, want)
		}
	}
	if _, err := ReadLine(write(t, "pw", 0o644)); err == nil {
		t.Error("ReadLine reads what others can read")
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	good := "wbkey1 slot " + zeros + "\n"
	tests := []struct{ name, text, want string }{
		{"good", good, ""},
		{"good without a line feed", strings.TrimSpace(good), ""},
		{"empty", "", "line 1"},
		{"another purpose", "wbkey1 record " + zeros, `"slot"`},
		{"a month", "wbkey1 record-2026-11 " + zeros, `"slot"`},
		{"other magic", "wbkey2 slot " + zeros, "line 1"},
		{"no purpose", "wbkey1 " + zeros, "line 1"},
		{"a word too many", "wbkey1 slot " + zeros + " x", "line 1"},
		{"not base64", "wbkey1 slot " + strings.Repeat("!", 44), "base64"},
		{"not padded", "wbkey1 slot " + strings.TrimRight(zeros, "="), "base64"},
		{"bits beyond the key", "wbkey1 slot " + strings.Repeat("A", 42) + "B=", "base64"},
		{"31 bytes", "wbkey1 slot " + base64.StdEncoding.EncodeToString(make([]byte, 31)), "32 bytes"},
		{"33 bytes", "wbkey1 slot " + base64.StdEncoding.EncodeToString(make([]byte, 33)), "32 bytes"},
		{"two keys", good + good, "more than one"},
		{"an empty line between", good + "\n" + good, "line 2"},
		{"something of somebody else", "-----BEGIN PRIVATE KEY-----\nc4nary\n", "line 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadSlotKey(write(t, tt.text, 0o600))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("LoadSlotKey gives error %v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), zeros) || strings.Contains(err.Error(), "c4nary")) {
				t.Errorf("the error repeats the file: %v", err)
			}
		})
	}
}

func TestMakeKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "publisher.key")
	if made, err := MakeKey(path, PurposePublisher); !made || err != nil {
		t.Fatalf("MakeKey = %t, %v", made, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	before, _ := os.ReadFile(path)
	s, err := LoadSigner(path, PurposePublisher)
	if err != nil {
		t.Fatal(err)
	}
	if made, err := MakeKey(path, PurposePublisher); made || err != nil {
		t.Errorf("a second MakeKey = %t, %v", made, err)
	}
	if made, err := MakeKey(path, PurposeConsumer); made || err == nil {
		t.Errorf("MakeKey over a key for something else = %t, %v", made, err)
	}
	after, _ := os.ReadFile(path)
	if string(before) != string(after) {
		t.Error("MakeKey changed a key that was there")
	}
	if _, err := LoadSigner(path, PurposeConsumer); err == nil {
		t.Error("a publisher's key is taken for a consumer's")
	}
	other := filepath.Join(t.TempDir(), "publisher.key")
	if _, err := MakeKey(other, PurposePublisher); err != nil {
		t.Fatal(err)
	}
	if again, err := LoadSigner(other, PurposePublisher); err != nil || again.Public().ID() == s.Public().ID() {
		t.Errorf("two new keys are the same, or %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("MakeKey leaves %d files", len(entries))
	}
	if _, err := MakeKey(filepath.Join(path, "below", "a.key"), PurposeSlot); err == nil {
		t.Error("a key below a file can be made")
	}
	if _, err := MakeKey(filepath.Join(t.TempDir(), "none", "a.key"), PurposeSlot); err == nil {
		t.Error("a key in a directory that is not there can be made")
	}
}
