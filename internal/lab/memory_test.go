package lab

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"writeback/internal/testkit/fakead"
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

// TestMemory looks for a password in the memory of the programs: it is there while
// they work with it, and a little later nowhere, without any further request.
func TestMemory(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	e := l.endpoints(t)
	password := "C4nary-in-memory-" + rand.Text()[:12] // the same in JSON
	forms := map[string][]byte{"UTF-8": []byte(password), "UTF-16": utf16Bytes(password, binary.LittleEndian)}
	copies := func() map[string]int {
		found := make(map[string]int)
		for _, p := range e.Processes {
			for form, n := range inMemory(t, p.PID, forms) {
				if n > 0 {
					found[strings.TrimRight(p.Name, "12")+" "+form] += n
				}
			}
		}
		return found
	}
	held := l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true})
	r, err := e.post(t.Context(), "upn", l.Directory.Users[0].UPN, password, "Prefer: wait=0")
	if err != nil || r.Status != http.StatusAccepted {
		t.Fatalf("%v %s", err, r.Body)
	}
	<-held.Met()
	during := copies()
	if during["consumer UTF-8"] == 0 || during["consumer UTF-16"] == 0 {
		t.Errorf("the search finds %v while a consumer has it", during)
	}
	held.Release()
	await(t, "the outcome", func() error {
		if r := l.get(t, e, r.ID); r.Code != "applied" {
			return errors.New(r.Body)
		}
		return nil
	})
	after, since := copies(), time.Now()
	// An open connection keeps the buffer that a request came in.
	http.DefaultClient.CloseIdleConnections()
	var last map[string]int
	await(t, "the end of every copy", func() error {
		if found := copies(); len(found) > 0 {
			last = maps.Clone(found)
			return fmt.Errorf("there are %v", found)
		}
		return nil
	})
	t.Logf("copies while the directory is asked: %v; when the outcome is known: %v; the last ones, %v, went after %s",
		during, after, last, time.Since(since).Round(100*time.Millisecond))
}
