package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// idle starts a system, has it work for a moment, leaves it alone, and prints what
// that costs.
func (o options) idle(ctx context.Context, length time.Duration) error {
	l, err := o.start(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	d, err := newLoad(ctx, l)
	if err != nil {
		return err
	}
	d.warmUp(ctx)
	if len(d.broken) > 0 {
		return errors.New(d.broken[0])
	}
	d.client.CloseIdleConnections()
	before := make(map[int]float64)
	for _, p := range l.Processes() {
		if before[p.PID], err = cpu(filepath.Join("/proc", strconv.Itoa(p.PID))); err != nil {
			return err
		}
	}
	begun, timer := time.Now(), time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	took := time.Since(begun).Seconds()
	fmt.Fprintf(o.out, "\n%-11s %14s %10s %10s %12s\n", "idle", "% of a core", "RSS MiB", "PSS MiB", "its own MiB")
	for _, p := range l.Processes() {
		dir := filepath.Join("/proc", strconv.Itoa(p.PID))
		after, err := cpu(dir)
		if err != nil {
			return err
		}
		m, err := fields(filepath.Join(dir, "smaps_rollup"))
		if err != nil {
			return err
		}
		fmt.Fprintf(o.out, "%-11s %14.3f %10.1f %10.1f %12.1f\n", p.Name, 100*(after-before[p.PID])/took, m["Rss"]/1024, m["Pss"]/1024, m["Anonymous"]/1024)
	}
	return nil
}
