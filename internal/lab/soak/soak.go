package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"writeback/internal/lab"
)

// brokerRestarts are when the broker is restarted, as parts of the whole time:
// in the middle of the time that is judged of others, and early enough for it to be judged.
func brokerRestarts() []float64 { return []float64{0.46, 0.5, 0.54} }

// A restart ends one process in an orderly way; the lab starts it again.
type restart struct {
	part    float64
	process string
}

// restarts are those of a run, in their order. One publisher and one consumer are
// never restarted.
func restarts() []restart {
	list := []restart{
		{0.15, "consumer2"}, {0.25, "publisher2"}, {0.6, "consumer2"}, {0.7, "publisher2"}, {0.8, "consumer2"}, {0.9, "publisher2"},
	}
	for _, part := range brokerRestarts() {
		list = append(list, restart{part, "nats"})
	}
	slices.SortFunc(list, func(a, b restart) int { return int(1000 * (a.part - b.part)) })
	return list
}

// callsPerAccount is how many calls there may be for each account: some are two
// requests.
const callsPerAccount = 900

// findings are what a run found.
type findings struct {
	*load
	verdicts []verdict
	series   map[string]map[string][]point // by process and resource
	audits   []string                      // what the audit complained of
}

// soak runs a system under load.
func (o options) soak(ctx context.Context) (*findings, error) {
	l, err := o.start(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if calls := o.rate * o.length.Seconds(); calls > float64(callsPerAccount*len(l.Directory.Users)) {
		return nil, fmt.Errorf("%.0f calls are too many for %d accounts, which the lab's policy allows 1,000 a day each", calls, len(l.Directory.Users))
	}
	f := &findings{series: make(map[string]map[string][]point)}
	if f.load, err = newLoad(ctx, l); err != nil {
		return nil, err
	}
	f.warmUp(ctx)
	running, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	before := storeSizes(l.Broker.StoreDir)
	var all sync.WaitGroup
	all.Go(func() { f.load.run(running, o.rate) })
	all.Go(func() { o.restartAll(running, l) })
	f.sample(running, l, o.every)
	all.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for name, points := range f.series {
		set := rules()
		if name == "nats" {
			set = brokerRules()
		}
		for _, r := range set {
			f.verdicts = append(f.verdicts, judge(name, points[r.resource], r))
		}
	}
	for _, command := range []string{"verify", "reconcile"} {
		cmd := exec.CommandContext(ctx, filepath.Join(o.bin, "audit"), command, "-config", l.AuditFile())
		var text bytes.Buffer
		cmd.Stdout, cmd.Stderr = &text, &text
		if err := cmd.Run(); err != nil {
			f.audits = append(f.audits, fmt.Sprintf("audit %s: %v\n%s", command, err, text.String()))
		}
	}
	after := storeSizes(l.Broker.StoreDir)
	l.Close() // before we write where it says what it starts
	f.print(o.out, before, after)
	return f, nil
}

// restartAll restarts processes when their time has come.
func (o options) restartAll(ctx context.Context, l *lab.Lab) {
	begun := time.Now()
	for _, r := range restarts() {
		timer := time.NewTimer(time.Until(begun.Add(time.Duration(r.part * float64(o.length)))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		for _, p := range l.Processes() {
			if p.Name == r.process {
				syscall.Kill(p.PID, syscall.SIGTERM) // one that has ended is started again anyway
			}
		}
	}
}

// sample measures all processes again and again until ctx ends. One that is just
// being restarted is left out.
func (f *findings) sample(ctx context.Context, l *lab.Lab, every time.Duration) {
	begun := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		at := time.Since(begun)
		for _, p := range l.Processes() {
			if p.Name == "samba" {
				continue // not ours, and many processes
			}
			now, err := measure(ctx, p)
			if err != nil {
				continue
			}
			if f.series[p.Name] == nil {
				f.series[p.Name] = make(map[string][]point)
			}
			for resource, value := range now {
				f.series[p.Name][resource] = append(f.series[p.Name][resource], point{at, p.PID, value})
			}
		}
	}
}

// storeSizes are the MiB that each stream of the tenant has on the broker's disk.
func storeSizes(store string) map[string]float64 {
	sizes := make(map[string]float64)
	filepath.WalkDir(store, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil // a file that was removed meanwhile
		}
		_, inside, ok := strings.Cut(path, "/streams/")
		if info, err := entry.Info(); ok && err == nil && info.Mode().IsRegular() {
			name, _, _ := strings.Cut(inside, "/")
			sizes[name] += float64(info.Size()) / (1 << 20)
		}
		return nil
	})
	return sizes
}
