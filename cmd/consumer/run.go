package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"writeback/internal/audit"
	"writeback/internal/cli"
	"writeback/internal/consumer"
	"writeback/internal/directory"
	"writeback/internal/directory/policy"
	"writeback/internal/envelope"
	"writeback/internal/guard"
	"writeback/internal/obs"
	"writeback/internal/queue"
	"writeback/internal/trace"
	"writeback/internal/unseal"
)

// run is the consumer. It calls ready when it works.
func run(ctx context.Context, args []string, std cli.Streams, ready func()) error {
	fs := flag.NewFlagSet("consumer run", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	path := fs.String("config", "consumer.yaml", "configuration `file`")
	logFile := fs.String("log", "", "`file` that the log goes to as well; at 10 MiB another is begun, and one is kept")
	validate := fs.Bool("validate", false, "check the configuration and do nothing")
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	cfg, err := load(*path)
	if err != nil {
		return cli.Usage(err)
	}
	obs.SetUp()
	if *logFile != "" {
		file, err := obs.OpenLogFile(*logFile)
		if err != nil {
			return cli.Usagef("-log: %w", err)
		}
		defer file.Close()
		std.Err = io.MultiWriter(std.Err, file)
	}
	log := obs.NewLogger(std.Err, "consumer").Level(cfg.level).With().Str(obs.Consumer, cfg.Replica).Logger()
	dir, err := directory.New(cfg.Directory, log)
	if err != nil {
		return cli.Usagef("%s: directory.%w", *path, err)
	}
	defer dir.Close()
	rules, err := guard.Open(cfg.PolicyFile, func(err error) {
		if err != nil {
			log.Error().AnErr(obs.Cause, err).Msg("the policy file cannot be used; the version before it stays in force")
			return
		}
		log.Warn().Msg("a new version of the policy file is in force")
	})
	if err != nil {
		return cli.Usagef("%s: policy_file: %w", *path, err)
	}
	if *validate {
		fmt.Fprintf(std.Out, "%s is valid.\n", *path)
		return nil
	}
	keys, err := unseal.NewKeyring(cfg.RuntimeDir, time.Now())
	if err != nil {
		return cli.Usagef("%s: runtime_dir: %w", *path, err)
	}
	conn, err := queue.Connect(cfg.Broker, queue.Consumer, log)
	if err != nil {
		return cli.Usagef("%s: %w", *path, err)
	}
	defer conn.Close()
	tenant := conn.OnPremises(cfg.Tenant)
	tracer, sendTraces, err := trace.Start(cfg.Tracing, trace.Program{Name: "consumer", Instance: cfg.Replica, Version: obs.BuildVersion()}, log)
	if err != nil {
		return cli.Usagef("%s: %w", *path, err)
	}
	defer sendTraces()
	reg := obs.NewRegistry("consumer")
	c, err := consumer.New(consumer.Config{
		Tenant:     cfg.Tenant,
		Log:        audit.NewLog(cfg.signer, cfg.Replica),
		Version:    obs.BuildVersion(),
		Publishers: cfg.publishers,
		Consumers:  cfg.consumers,
		Keys:       keys,
		Queue:      tenant,
		Take: func(ctx context.Context) (consumer.Delivery, error) {
			d, err := tenant.Take(ctx)
			if err != nil {
				return consumer.Delivery{}, err
			}
			return consumer.Delivery{Data: d.Data, Slot: d.Slot, Attempt: d.Attempt, Trace: d.Trace, Receipt: d}, nil
		},
		Directory: lend(dir),
		DC:        dir.Using,
		Policy:    rules,
		Rules:     func() envelope.Rules { return announced(dir.Rules()) },
		Workers:   cfg.Workers,
		SoftStop:  cfg.SoftStop,
		Logger:    log,
		Metrics:   reg,
		Tracer:    tracer,
	})
	if err != nil {
		return cli.Usagef("%s: %w", *path, err)
	}
	opsListener, err := net.Listen("tcp", cfg.OperationsListen)
	if err != nil {
		return err
	}
	log.Info().Str(obs.Version, obs.BuildVersion()).Msg("consumer started")
	defer log.Info().Msg("consumer stopped")

	health := newChecks(ctx, conn, dir, c, rules.Check)
	cfg.watch(reg, conn, dir, health)
	go func() {
		if err := health.directory.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error().AnErr(obs.Cause, err).Msg("the directory cannot be used; requests wait in the queue until it can")
		}
	}()
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	working, fail := context.WithCancel(ctx)
	defer fail()
	parts := cli.NewParts(fail)
	parts.Go(func() error {
		defer stop()
		return c.Run(working)
	})
	parts.Go(func() error {
		return obs.Serve(running, opsListener, obs.Handler(reg, health.all()...), 10*time.Second, time.Second, log)
	})
	ready()
	parts.Go(func() error { return obs.Notify(working, c.Alive, log, health.all()...) })
	parts.Go(func() error {
		if err := conn.AwaitConnected(running); err != nil {
			return nil // stopped before the broker was there
		}
		if err := tenant.AwaitStreams(running); running.Err() == nil {
			return err
		}
		return nil
	})
	return parts.Wait()
}

// lend lends connections to the domain controller that is asked for, or to any.
func lend(dir *directory.Client) func(context.Context, string) (consumer.Session, error) {
	return func(ctx context.Context, dc string) (consumer.Session, error) {
		if dc == "" {
			return dir.Begin(ctx)
		}
		return dir.BeginAt(ctx, dc)
	}
}

// announced is what the cloud is told of the domain's rules.
func announced(r policy.Rules) envelope.Rules {
	return envelope.Rules{
		Known: r.Known, MinLength: uint16(r.MinLength), Complexity: r.Complexity,
		History: uint16(r.History), MinAge: seconds(r.MinAge),
		LockoutThreshold: uint16(r.LockoutThreshold), LockoutWindow: seconds(r.LockoutWindow),
	}
}

func seconds(d time.Duration) uint32 { return uint32(min(d/time.Second, math.MaxUint32)) }
