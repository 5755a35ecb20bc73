package lab

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// inMemory counts how often each needle is in the memory of a process that can be
// written, by its name. Only root may look there.
func inMemory(t testing.TB, pid int, needles map[string][]byte) map[string]int {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	found := make(map[string]int)
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if !strings.HasPrefix(mode, "rw") {
			continue
		}
		// What was never touched reads as zeros, but costs the time of reading.
		text := make([]byte, to-from)
		if n, err := mem.ReadAt(text, int64(from)); err != nil {
			text = text[:n] // a part that went away meanwhile
		}
		for name, needle := range needles {
			found[name] += bytes.Count(text, needle)
		}
	}
	return found
}
