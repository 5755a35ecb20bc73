// Bench measures how fast the audit program reads a long trail, and in how much
// memory. The trail is written by the code that publishers and consumers write
// with, into a real broker that does not sync each write, since it is only to be
// read.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/broker"
	"writeback/internal/testkit/life"
)

func main() {
	records := flag.Int("records", 1_000_000, "how many records to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *records); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, records int) error {
	dir, err := os.MkdirTemp("", "writeback-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := start(ctx, dir)
	if err != nil {
		return err
	}
	defer server.Kill()
	begun := time.Now()
	config, err := fill(ctx, dir, server, records/3)
	if err != nil {
		return err
	}
	took := time.Since(begun)
	fmt.Printf("%d records of %d requests written in %s: %.0f a second\n\n", records/3*3, records/3, took.Round(time.Second), float64(records)/took.Seconds())
	return measure(ctx, dir, config, records/3*3)
}

// start starts a broker that does not sync, with the tenant's streams.
func start(ctx context.Context, dir string) (*broker.Server, error) {
	if _, err := broker.CopyConfig("nats", dir); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nats-server.conf")
	text, err := os.ReadFile(conf)
	if err != nil {
		return nil, err
	}
	fast := strings.Replace(string(text), "sync_interval: always", `sync_interval: "2m"`, 1)
	if err := os.WriteFile(conf, []byte(fast), 0o600); err != nil {
		return nil, err
	}
	files, err := broker.NewFiles(dir, conf)
	if err != nil {
		return nil, err
	}
	s, err := files.Start(ctx, filepath.Join("bin", "nats-server"))
	if err != nil {
		return nil, err
	}
	c, err := connect(ctx, s, queue.Provisioner)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return s, c.Provision(ctx, 1, queue.DefaultKeep, func(string) {})
}

func connect(ctx context.Context, s *broker.Server, role queue.Role) (*queue.Conn, error) {
	c, err := queue.Connect(s.Config(role), role, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	return c, c.AwaitConnected(ctx)
}

// writers is how many requests are under way at once.
const writers = 64

// fill writes the trail, and the configuration of an auditor, whose path it
// returns.
func fill(ctx context.Context, dir string, s *broker.Server, requests int) (string, error) {
	cloud, err := connect(ctx, s, queue.Publisher)
	if err != nil {
		return "", err
	}
	defer cloud.Close()
	site, err := connect(ctx, s, queue.Consumer)
	if err != nil {
		return "", err
	}
	defer site.Close()
	keyFile := filepath.Join(dir, "record.key")
	if _, err := seal.MakeMonthKeys(keyFile, time.Now(), 2); err != nil {
		return "", err
	}
	months, err := seal.LoadMonthKeys(keyFile)
	if err != nil {
		return "", err
	}
	w, err := life.New(months, cloud.Tenant(life.Tenant), site.OnPremises(life.Tenant))
	if err != nil {
		return "", err
	}
	codes := reset.Codes()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := range requests {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			code := reset.Applied
			if i%10 == 0 {
				code = codes[i/10%(len(codes)-1)] // all but unconfirmed
			}
			_, err := w.Whole(ctx, fmt.Sprintf("user%05d@corp.example.com", i%20_000), i%2, code)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	w.Stop()
	type pin map[string]string
	text, err := yaml.Marshal(map[string]any{
		"tenant":          life.Tenant,
		"broker":          map[string]string{"url": s.URL(), "ca_file": s.CAFile, "nkey_file": s.NKeyFile(queue.Auditor)},
		"publishers":      []pin{{"key": w.Signers[0].Public().String()}},
		"consumers":       []pin{{"key": w.Signers[1].Public().String()}, {"key": w.Signers[2].Public().String()}},
		"record_key_file": keyFile,
	})
	if err != nil {
		return "", err
	}
	config := filepath.Join(dir, "audit.yaml")
	return config, os.WriteFile(config, text, 0o600)
}

// measure runs the program in each way and prints how long it took.
func measure(ctx context.Context, dir, config string, records int) error {
	archive, lines := filepath.Join(dir, "archive.json"), filepath.Join(dir, "lines.json")
	fmt.Printf("%-32s %8s %10s %8s %14s %8s\n", "audit", "s", "records/s", "CPU s", "records/CPU s", "peak MB")
	for _, row := range []struct {
		what  string
		cores string
		args  []string
	}{
		{"replay -format json", "", []string{"replay", "-format", "json"}},
		{"replay -code wrong_password", "", []string{"replay", "-code", "wrong_password"}},
		{"verify", "", []string{"verify"}},
		{"export -format archive", "", []string{"export", "-format", "archive", "-out", archive, "-max-size", "100000"}},
		{"export -format ecs", "", []string{"export", "-out", lines}},
		{"verify -archive, on one core", "1", []string{"verify", "-archive", archive}},
		{"reconcile", "", []string{"reconcile"}},
	} {
		cmd := exec.CommandContext(ctx, filepath.Join("bin", "audit"), append([]string{row.args[0], "-config", config}, row.args[1:]...)...)
		cmd.Stderr = os.Stderr
		if row.cores != "" {
			cmd.Env = append(os.Environ(), "GOMAXPROCS="+row.cores)
		}
		begun := time.Now()
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("audit %s: %w", row.what, err)
		}
		took := time.Since(begun).Seconds()
		cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
		peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
		fmt.Printf("%-32s %8.1f %10.0f %8.1f %14.0f %8d\n", row.what, took, float64(records)/took, cpu, float64(records)/cpu, peak)
	}
	return nil
}
