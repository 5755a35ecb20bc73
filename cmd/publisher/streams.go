package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/cli"
	"writeback/internal/config"
	"writeback/internal/obs"
	"writeback/internal/queue"
)

// provision is the configuration of `publisher streams`. It is a file of its
// own because its keys are: they belong to a machine that is not a publisher.
type provision struct {
	Broker         queue.Config `yaml:"broker"`           // as the provisioner of the tenant's account; must be there
	SystemNKeyFile string       `yaml:"system_nkey_file"` // seed of the system account's user, which sees whether writes are durable; must be there
	storage        `yaml:",inline"`
}

// storage is how the broker keeps streams.
type storage struct {
	Replicas int `yaml:"replicas"`  // of each stream: 1 for one server, 3 or 5 for a cluster; must be there
	KeepDays int `yaml:"keep_days"` // how long records and events are kept, in days: 7 at least
}

func (s storage) validate() error {
	switch {
	case s.Replicas != 1 && s.Replicas != 3 && s.Replicas != 5:
		return fmt.Errorf("replicas: must be 1, 3 or 5, not %d", s.Replicas)
	case s.keep() < queue.MinKeep:
		return fmt.Errorf("keep_days: must be 7 at least, not %d", s.KeepDays)
	}
	return nil
}

// keep is how long records and events are kept.
func (s storage) keep() time.Duration { return time.Duration(s.KeepDays) * 24 * time.Hour }

// defaultStorage is what holds where nothing is said.
func defaultStorage() storage { return storage{KeepDays: int(queue.DefaultKeep / (24 * time.Hour))} }

func (p provision) validate() error {
	if p.SystemNKeyFile == "" {
		return errors.New("system_nkey_file: is missing")
	}
	if err := p.storage.validate(); err != nil {
		return err
	}
	if _, err := queue.LoadNKey(p.SystemNKeyFile); err != nil {
		return fmt.Errorf("system_nkey_file: %w", err)
	}
	return p.Broker.Check()
}

func streams(ctx context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("publisher streams", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	path := fs.String("config", "provision.yaml", "configuration `file` of the provisioner")
	timeout := fs.Duration("timeout", 30*time.Second, "how long to wait for the broker")
	fresh := fs.Bool("new", false, "make streams that are not there: for a broker, or a tenant, that is new")
	validate := fs.Bool("validate", false, "check the configuration and do nothing")
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	cfg := provision{storage: defaultStorage()}
	if err := config.Load(*path, &cfg); err != nil {
		return cli.Usage(err)
	}
	if err := cfg.validate(); err != nil {
		return cli.Usagef("%s: %w", *path, err)
	}
	if *validate {
		fmt.Fprintf(std.Out, "%s is valid.\n", *path)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	log := obs.NewLogger(std.Err, "publisher").Level(zerolog.ErrorLevel)
	system := cfg.Broker
	system.NKeyFile = cfg.SystemNKeyFile
	err := with(ctx, system, queue.System, log, func(c *queue.Conn, ctx context.Context) error {
		return c.CheckDurable(ctx, cfg.Replicas)
	})
	if err != nil {
		return err
	}
	return with(ctx, cfg.Broker, queue.Provisioner, log, func(c *queue.Conn, ctx context.Context) error {
		if !*fresh {
			if err := c.AllThere(ctx); err != nil {
				return err
			}
		}
		return c.Provision(ctx, cfg.Replicas, cfg.keep(), func(line string) { fmt.Fprintln(std.Out, line) })
	})
}

// with calls f with a connection that is up.
func with(ctx context.Context, cfg queue.Config, role queue.Role, log zerolog.Logger, f func(*queue.Conn, context.Context) error) error {
	conn, err := queue.Connect(cfg, role, log)
	if err != nil {
		return cli.Usage(err)
	}
	defer conn.Close()
	if err := conn.AwaitConnected(ctx); err != nil {
		return err
	}
	return f(conn, ctx)
}
