package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"writeback/internal/lab"
	"writeback/internal/testkit/samba"
)

// share measures how many resets a second one to eight consumers do together on
// a directory that answers at once, and how the work is shared.
func share(ctx context.Context, bin string, resets int) error {
	fmt.Printf("%-10s %10s %12s %12s\n", "consumers", "per second", "least share", "most share")
	for _, consumers := range []int{1, 2, 4, 8} {
		if err := shareAmong(ctx, bin, consumers, resets); err != nil {
			return err
		}
	}
	return nil
}

func shareAmong(ctx context.Context, bin string, consumers, resets int) error {
	dir, err := os.MkdirTemp("", "writeback-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := lab.Start(ctx, lab.Options{
		Bin: bin, NATS: filepath.Join(bin, "..", "nats"), Dir: dir, Consumers: consumers, Directory: "fake", Out: io.Discard,
	})
	if err != nil {
		return err
	}
	defer l.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(l.Directory.Users)}}
	var mu sync.Mutex
	parts, failed := make(map[string]int), error(nil)
	var wg sync.WaitGroup
	begun := time.Now()
	for _, u := range l.Directory.Users { // each has one request at a time
		wg.Go(func() {
			for range resets {
				a, err := l.Reset(ctx, client, u.UPN, samba.NewPassword())
				if err == nil && a.Code != "applied" {
					err = fmt.Errorf("a reset ended as %d %s", a.Status, a.Code)
				}
				mu.Lock()
				parts[a.Consumer]++
				if err != nil {
					failed = err
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	if failed != nil {
		return failed
	}
	all := len(l.Directory.Users) * resets
	each := slices.Sorted(maps.Values(parts))
	if len(each) != consumers {
		return fmt.Errorf("%d of %d consumers had a part", len(each), consumers)
	}
	percent := func(n int) string { return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(all)) }
	fmt.Printf("%-10d %10.0f %12s %12s\n", consumers, float64(all)/took.Seconds(), percent(each[0]), percent(each[len(each)-1]))
	return nil
}
