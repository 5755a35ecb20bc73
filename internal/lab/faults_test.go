package lab

import (
	"errors"
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A fault is a row of the table: what is wrong, and how it is put right. Where
// nothing is put right, mend is nil.
type fault struct {
	name      string
	directory string
	mount     []string // small disks, below the lab's directory
	wreck     func(tr *trial) (mend func())
}

func faults() []fault {
	return []fault{
		{name: "broker away", wreck: func(tr *trial) func() { return tr.awayFor(tr.T, "nats") }},
		{name: "both consumers away", wreck: func(tr *trial) func() {
			one, two := tr.awayFor(tr.T, "consumer1"), tr.awayFor(tr.T, "consumer2")
			return func() { one(); two() }
		}},
		{name: "all domain controllers away", directory: "fake-pair", wreck: func(tr *trial) func() {
			tr.fake.Close()
			tr.second.Close()
			return func() { tr.must(errors.Join(tr.fake.Restart(), tr.second.Restart())) }
		}},
		{name: "one of two domain controllers away", directory: "fake-pair", wreck: func(tr *trial) func() {
			tr.fake.Close()
			return func() { tr.must(tr.fake.Restart()) }
		}},
		{name: "broker's certificate expired", wreck: brokerExpires},
		{name: "domain controller's certificate expired", wreck: func(tr *trial) func() {
			tr.must(tr.fake.Certify(expired))
			tr.fake.Close()
			tr.must(tr.fake.Restart())
			return func() { tr.must(tr.fake.Certify()) }
		}},
		{name: "service account's password changed", wreck: func(tr *trial) func() {
			const fresh = "Another-Word-For-Service-1"
			tr.must(tr.fake.SetPassword("svc-writeback", fresh))
			tr.fake.Close() // which ends the connections that were signed in
			tr.must(tr.fake.Restart())
			return func() {
				for i := range tr.opts.Consumers {
					tr.replace(tr.path(consumerName(i), "ad-password"), []byte(fresh+"\n"))
				}
			}
		}},
		{name: "policy file broken", wreck: func(tr *trial) func() {
			var mend []func()
			for i := range tr.opts.Consumers {
				path := tr.path(consumerName(i), "policy.yaml")
				whole, err := os.ReadFile(path)
				tr.must(err)
				tr.replace(path, append(slices.Clone(whole), "typo: 1\n"...))
				mend = append(mend, func() { tr.replace(path, append(whole, '\n')) })
			}
			return func() {
				for _, f := range mend {
					f()
				}
			}
		}},
		{name: "consumer killed", wreck: func(tr *trial) func() {
			tr.must(syscall.Kill(tr.endpoints(tr.T).pid(tr.T, "consumer1"), syscall.SIGKILL))
			return nil
		}},
		{name: "publisher killed", wreck: func(tr *trial) func() {
			tr.must(syscall.Kill(tr.endpoints(tr.T).pid(tr.T, "publisher"), syscall.SIGKILL))
			return nil
		}},
		{name: "broker's disk full", mount: []string{"nats/store"}, wreck: func(tr *trial) func() {
			empty := tr.fill("nats/store")
			return func() {
				empty()
				tr.awayFor(tr.T, "nats")() // it stores nothing more until it is started again
			}
		}},
		{name: "disk of the logs full", mount: []string{"logs"}, wreck: func(tr *trial) func() { return tr.fill("logs") }},
		{name: "runtime_dir full", wreck: func(tr *trial) func() { return tr.runtimeDir("size=4k") }},
		{name: "runtime_dir cannot be written", wreck: func(tr *trial) func() { return tr.runtimeDir("ro") }},
		{name: "broker user revoked", wreck: brokerUserRevoked},
		{name: "consumers' clocks wrong", wreck: clocksWrong},
	}
}

// TestFaults makes one fault after the other, and holds what is logged, what callers
// and the page are told, what health says and how it comes back against the table in
// docs/faults.md, in both directions.
func TestFaults(t *testing.T) {
	t.Parallel()
	rows := sheets(t)
	for _, f := range faults() {
		row, ok := rows[f.name]
		delete(rows, f.name)
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if !ok {
				t.Fatalf("docs/faults.md has no row %q", f.name)
			}
			f.try(t, row)
		})
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if !slices.Contains(triedElsewhere(), name) {
			t.Errorf("nobody makes the fault %q of docs/faults.md", name)
		}
	}
}

// triedElsewhere are rows that have tests of their own.
func triedElsewhere() []string { return []string{"certificate of the API expired"} }

func (f fault) try(t *testing.T, row sheet) {
	opts := Options{Directory: f.directory}
	if f.directory == "" {
		opts.Directory = "fake"
	}
	l := startMounted(t, opts, f.mount)
	tr := &trial{T: t, Lab: l, e: l.endpoints(t), sheet: row, url: operations(t, l.Dir, l.opts.Consumers)}
	tr.begin()
	defer l.stopPrograms() // while there is a broker to say good-bye to
	begun := time.Now()
	mend := f.wreck(tr)
	tr.during()
	if mend == nil {
		mend = func() {}
	} else {
		t.Logf("everything seen after %s", time.Since(begun).Round(100*time.Millisecond))
		begun = time.Now()
	}
	mend()
	tr.after()
	t.Logf("well again after %s", time.Since(begun).Round(100*time.Millisecond))
}
