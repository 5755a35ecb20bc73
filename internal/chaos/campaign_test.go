package chaos

import (
	"bytes"
	"os"
	"testing"
	"time"

	"writeback/internal/testkit"
)

// A short campaign. Its faults end early, since a request that nobody took ends
// at its deadline, and within a minute somebody looks.
func TestCampaign(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "writeback-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	found, err := Campaign{
		Options: Options{Root: testkit.Root(t), Dir: dir, Nodes: 1, Directory: "fake", Out: &out},
		Seed:    1, Faults: 75 * time.Second, Calls: 2 * time.Minute, Callers: 8,
	}.Run(t.Context())
	t.Log(out.String())
	if err != nil || len(found) > 0 {
		t.Fatalf("%d promises were broken, %v; everything is kept in %s", len(found), err, dir)
	}
	os.RemoveAll(dir)
}

// The same seed draws the same faults, another one others.
func TestPlan(t *testing.T) {
	names := func(seed uint64) (text string) {
		for _, s := range plan(seed, append(messages(), others(true)...), time.Minute) {
			text += s.String() + "\n"
		}
		return text
	}
	one, again, two := names(1), names(1), names(2)
	if one != again || one == two {
		t.Errorf("seed 1 draws:\n%s\nand then:\n%s\nseed 2 draws:\n%s", one, again, two)
	}
}
