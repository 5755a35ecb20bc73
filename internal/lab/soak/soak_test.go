package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/testkit"
)

// A short run, to see that what is measured and judged is there: its figures mean
// nothing here, since everything still fills its buffers.
func TestSoak(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	f, err := options{
		length: 12 * time.Second, rate: 5, every: 250 * time.Millisecond, directory: "fake",
		bin: filepath.Join(testkit.Root(t), "bin"), dir: filepath.Join(t.TempDir(), "run"), out: &out,
	}.soak(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(f.broken)+len(f.audits) > 0 {
		t.Errorf("the system broke its promises:\n%s", out.String())
	}
	for _, s := range mix() {
		if f.calls[s.name] == 0 {
			t.Errorf("no call of the kind %s was made", s.name)
		}
	}
	var again []string
	for _, name := range []string{"nats", "publisher", "publisher2", "consumer1", "consumer2"} {
		kinds := []string{memory, resident, descriptors, connections, processor}
		if name != "nats" {
			kinds = append(kinds, goroutines)
		}
		for _, kind := range kinds {
			points := f.series[name][kind]
			if len(points) == 0 || !slices.ContainsFunc(points, func(p point) bool { return p.value > 0 }) {
				t.Errorf("no %s of %s was measured", kind, name)
			}
		}
		if restarted(f.series[name][descriptors]) {
			again = append(again, name)
		}
	}
	// On a slow machine not each of them is back in this time.
	if len(again) == 0 || slices.Contains(again, "publisher") || slices.Contains(again, "consumer1") {
		t.Errorf("restarted were %q, want some of those that are to be", again)
	}
	if v := f.verdicts; len(v) == 0 || !strings.Contains(out.String(), "consumer1   goroutines") {
		t.Errorf("the table lacks something:\n%s", out.String())
	}
}

func restarted(points []point) bool {
	return slices.ContainsFunc(points, func(p point) bool { return p.pid != points[0].pid })
}

// TestBad counts what must not be, and nothing else.
func TestBad(t *testing.T) {
	f := findings{load: &load{}, verdicts: []verdict{{judged: true, flat: true}, {judged: false, flat: false}}}
	if n := f.bad(); n != 0 {
		t.Errorf("%d findings, want none", n)
	}
	f.verdicts = append(f.verdicts, verdict{judged: true})
	f.broken, f.audits = []string{"a call"}, []string{"audit verify"}
	if n := f.bad(); n != 3 {
		t.Errorf("%d findings, want 3", n)
	}
}

// TestTell finds a request of which two things were said.
func TestTell(t *testing.T) {
	d := &load{told: make(map[string]string), codes: make(map[string]int)}
	a := answer{}
	a.ID, a.Code = "one", "applied"
	for range 2 {
		if err := d.tell(a); err != nil {
			t.Fatal(err)
		}
	}
	a.Code = "expired"
	if err := d.tell(a); err == nil {
		t.Error("a request may be applied and expired")
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := options{
		directory: "fake", bin: filepath.Join(testkit.Root(t), "bin"), dir: filepath.Join(t.TempDir(), "run"), out: &out,
	}.idle(t.Context(), time.Second)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, name := range []string{"nats ", "publisher ", "consumer1 "} {
		if !strings.Contains(out.String(), "\n"+name) {
			t.Errorf("%s is not in\n%s", name, out.String())
		}
	}
}
