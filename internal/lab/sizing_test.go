package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cpu returns the processor time that a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var user, system int // in hundredths of a second (proc(5))
	fields := strings.Fields(rest)
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// onDisk returns the bytes that a stream has in the broker's store.
func (l *Lab) onDisk(t *testing.T, stream string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(l.Broker.StoreDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "/streams/"+stream+"/") {
			return nil // or it is gone meanwhile
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestCostOfAReset prints what docs/operations.md says under "Sizing", and holds the
// records to what is said of the disk.
func TestCostOfAReset(t *testing.T) {
	l := startLab(t, "fake")
	e, users := l.endpoints(t), l.Directory.Users
	const resets = 200
	before := make(map[string]time.Duration)
	for _, p := range e.Processes {
		before[p.Name] = cpu(t, p.PID)
	}
	records := l.onDisk(t, "RECORDS")
	for i := range resets {
		wantApplied(t, e, "upn", users[i%len(users)].UPN, fmt.Sprintf("Genuine-Word-%d", i))
	}
	var all time.Duration
	for _, p := range e.Processes {
		took := (cpu(t, p.PID) - before[p.Name]) / resets
		all += took
		t.Logf("%s: %s of a core for each reset", p.Name, took)
	}
	each := (l.onDisk(t, "RECORDS") - records) / resets
	t.Logf("all: %s of a core, %d bytes of RECORDS", all, each)
	if each < 2000 || each > 4000 {
		t.Errorf("a reset has %d bytes of records; docs/operations.md says 3 to 4 kB", each)
	}
	if all > 100*time.Millisecond {
		t.Errorf("a reset takes %s of a core; docs/operations.md says 5 ms", all)
	}
}
