// Bench measures what the pipeline adds to a reset: in one run and alternating,
// a direct LDAPS modify on a kept-open connection, the broker's synced
// publishes that a request needs, and the reset through the whole system. The
// machines that it runs on are noisy, so only the ratios within one run mean
// anything.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/lab"
	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
	"writeback/internal/testkit/samba"
)

// What the pipeline may add, with one caller, at the median.
const (
	publishes    = 4                    // accepted, request, claimed, settled
	sambaFactor  = 1.15                 // on a domain controller that takes its time
	instantExtra = 3 * time.Millisecond // on a directory that answers at once
)

func main() {
	resets := flag.Int("resets", 150, "resets of each kind and number of callers")
	directories := flag.String("directory", "both", "samba, fake or both")
	bin := flag.String("bin", "bin", "`directory` of the programs")
	replicas := flag.Bool("replicas", false, "measure one to eight consumers on an instant directory instead")
	replays := flag.Bool("audited", false, "measure resets while everything is replayed instead")
	check := flag.Bool("check", false, "exit with status 1 if a limit was missed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	kinds := []string{"samba", "fake"}
	if *directories != "both" {
		kinds = []string{*directories}
	}
	if *replicas {
		if err := share(ctx, *bin, *resets); err != nil {
			fmt.Fprintf(os.Stderr, "bench: replicas: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if *replays {
		if err := audited(ctx, *bin, *resets); err != nil {
			fmt.Fprintf(os.Stderr, "bench: audited: %v\n", err)
			os.Exit(1)
		}
		return
	}
	kept := true
	for _, kind := range kinds {
		ok, err := measure(ctx, kind, *bin, *resets)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", kind, err)
			os.Exit(1)
		}
		kept = kept && ok
	}
	if *check && !kept {
		os.Exit(1)
	}
}

// A bench is one directory and the system in front of it.
type bench struct {
	lab    *lab.Lab
	client *http.Client
	broker *queue.Conn
	direct *directory.Client
}

// measure prints a table for one directory, and reports whether the limit was
// kept.
func measure(ctx context.Context, kind, bin string, resets int) (kept bool, err error) {
	dir, err := os.MkdirTemp("", "writeback-bench-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	l, err := lab.Start(ctx, lab.Options{
		Bin: bin, NATS: filepath.Join(bin, "..", "nats"), Dir: dir, Consumers: 2, Directory: kind, Out: io.Discard,
	})
	if err != nil {
		return false, err
	}
	defer l.Close()
	b := &bench{lab: l, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	admin := queue.Config{URL: l.Broker.URL(), CAFile: l.Broker.CAFile, NKeyFile: l.AdminKeyFile()}
	if b.broker, err = queue.Connect(admin, queue.Consumer, zerolog.Nop()); err != nil {
		return false, err
	}
	defer b.broker.Close()
	passwordFile := filepath.Join(dir, "bench-password")
	if err := os.WriteFile(passwordFile, []byte(l.Directory.ServicePassword), 0o600); err != nil {
		return false, err
	}
	b.direct, err = directory.New(directory.Config{
		URLs: []string{l.Directory.URL}, CAFile: l.Directory.CAFile, BindDN: l.Directory.ServiceDN,
		PasswordFile: passwordFile, Connections: 16, ReadSecret: seal.ReadLine,
	}, zerolog.Nop())
	if err != nil {
		return false, err
	}
	defer b.direct.Close()

	fmt.Printf("%s\n%-8s %-34s %10s %10s %10s\n", kind, "callers", "", "median ms", "p99 ms", "per second")
	kept = true
	for _, callers := range []int{1, 4, 16} {
		ok, err := b.compare(ctx, kind, callers, resets)
		if err != nil {
			return false, err
		}
		kept = kept && ok
	}
	fmt.Println()
	return kept, nil
}

// compare measures with a number of callers, alternating in rounds, and prints
// a line for each kind. With one caller it reports whether the limit was kept.
func (b *bench) compare(ctx context.Context, kind string, callers, resets int) (kept bool, err error) {
	var direct, publish, pipeline series
	// One call of each caller at a time, so that both find the directory as
	// the other has left it.
	for range max(1, resets/callers) {
		for s, f := range map[*series]func(context.Context, int) (func() error, func(), error){
			&direct: b.modify, &publish: b.publishes, &pipeline: b.reset,
		} {
			if err := s.run(ctx, callers, f); err != nil {
				return false, err
			}
		}
	}
	direct.print(callers, "(a) direct modify")
	publish.print(callers, fmt.Sprintf("    %d synced publishes", publishes))
	pipeline.print(callers, "(b) through the pipeline")
	a, p, m := direct.quantile(0.5), publish.quantile(0.5), pipeline.quantile(0.5)
	fmt.Printf("%-8d ratio b/a at the median: %.2f\n", callers, float64(m)/float64(a))
	if callers != 1 {
		return true, nil
	}
	limit, text := p+a+instantExtra, fmt.Sprintf("a + %d publishes + %s", publishes, instantExtra)
	if kind == "samba" {
		limit, text = p+time.Duration(sambaFactor*float64(a)), fmt.Sprintf("%.2f a + %d publishes", sambaFactor, publishes)
	}
	verdict := "kept"
	if m > limit {
		verdict = "MISSED"
	}
	fmt.Printf("%-8d limit for b: %s = %.1f ms: %s\n", callers, text, ms(limit), verdict)
	return m <= limit, nil
}

// modify is (a): one modify on a connection that is kept open.
func (b *bench) modify(ctx context.Context, caller int) (func() error, func(), error) {
	session, err := b.direct.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	entry, err := session.Find(ctx, reset.Account{Kind: reset.UPN, Value: b.lab.Directory.Users[caller].UPN})
	if err != nil {
		session.End()
		return nil, nil, err
	}
	return func() error {
		return session.SetPassword(ctx, entry, secret.New([]byte(samba.NewPassword())))
	}, session.End, nil
}

// publishes is what the broker needs for one request, in turn.
func (b *bench) publishes(ctx context.Context, _ int) (func() error, func(), error) {
	record := make([]byte, 900) // about a record's size
	tenant := b.broker.Own()
	return func() error {
		for range publishes {
			ref := reset.Ref{Publisher: "bench", ID: reset.NewID()}
			if _, err := tenant.Append(ctx, ref, record, 0); err != nil {
				return err
			}
		}
		return nil
	}, func() {}, nil
}

// reset is (b): one call of the API that waits for the outcome.
func (b *bench) reset(ctx context.Context, caller int) (func() error, func(), error) {
	return func() error {
		a, err := b.lab.Reset(ctx, b.client, b.lab.Directory.Users[caller].UPN, samba.NewPassword())
		if err == nil && a.Code != "applied" {
			err = fmt.Errorf("a reset ended as %d %s", a.Status, a.Code)
		}
		return err
	}, func() {}, nil
}

// A series is the durations of one kind of call.
type series struct {
	took []time.Duration
	wall time.Duration
}

// run calls what prepare returns, once for each of callers, all at once.
func (s *series) run(ctx context.Context, callers int, prepare func(context.Context, int) (func() error, func(), error)) error {
	calls := make([]func() error, callers)
	for i := range calls {
		call, done, err := prepare(ctx, i)
		if err != nil {
			return err
		}
		defer done()
		calls[i] = call
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	begun := time.Now()
	for _, call := range calls {
		wg.Go(func() {
			at := time.Now()
			err := call()
			took := time.Since(at)
			mu.Lock()
			defer mu.Unlock()
			s.took = append(s.took, took)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	s.wall += time.Since(begun)
	return failed
}

func (s *series) quantile(q float64) time.Duration {
	slices.Sort(s.took)
	return s.took[min(len(s.took)-1, int(math.Ceil(q*float64(len(s.took))))-1)]
}

func (s *series) print(callers int, name string) {
	fmt.Printf("%-8d %-34s %10.1f %10.1f %10.1f\n", callers, name,
		ms(s.quantile(0.5)), ms(s.quantile(0.99)), float64(len(s.took))/s.wall.Seconds())
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
