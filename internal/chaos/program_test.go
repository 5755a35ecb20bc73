package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A program that ends by itself comes back as it was started, one that was
// killed does not.
func TestProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	starts := filepath.Join(dir, "starts")
	p := &Program{Name: "test", path: "/bin/sh", log: filepath.Join(dir, "log"),
		args: []string{"-c", `echo "$WORD" >> "$0"; test "$(wc -l < "$0")" -lt 2 || exec sleep 600`, starts}}
	if err := p.Start("", "WORD=first"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for text := []byte(nil); strings.Count(string(text), "first\n") != 2; text, _ = os.ReadFile(starts) {
		if !wait(ctx, 20*time.Millisecond) {
			t.Fatalf("it has not come back: %q", text)
		}
	}
	if got := fmt.Sprint(p.Exits(), p.Running()); got != "1 true" {
		t.Errorf("how often it ended, and whether it runs: %s", got)
	}
	p.Kill()
	if p.Running() || p.Exits() != 1 {
		t.Errorf("after it was killed it runs: %t, and has ended by itself %d times", p.Running(), p.Exits())
	}
}
