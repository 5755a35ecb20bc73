package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/cli"
	"writeback/internal/config"
	"writeback/internal/export"
	"writeback/internal/obs"
	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/trail"
)

// settings is audit.yaml.
type settings struct {
	Tenant        string               `yaml:"tenant"`          // as the broker's accounts file has it
	Broker        *queue.Config        `yaml:"broker"`          // as an auditor; may be left out where only archives are read
	Publishers    []seal.PinConfig     `yaml:"publishers"`      // public keys of the publishers, 1 to 16; also those of earlier ones, with their end
	Consumers     []seal.PinConfig     `yaml:"consumers"`       // and of the tenant's consumers
	RecordKeyFile string               `yaml:"record_key_file"` // record.key; without it, or without a month in it, names are hidden
	Syslog        *export.SyslogConfig `yaml:"syslog"`          // the collector of `audit export -syslog`
}

// A command is what the commands of this program have in common.
type command struct {
	settings
	flags    *flag.FlagSet
	std      cli.Streams
	config   *string
	validate *bool
	archives []string
	rng      trail.Range
	reader   trail.Reader
}

func newCommand(name string, std cli.Streams) *command {
	c := &command{flags: flag.NewFlagSet("audit "+name, flag.ContinueOnError), std: std}
	c.flags.SetOutput(std.Err)
	c.config = c.flags.String("config", "audit.yaml", "configuration `file`")
	c.validate = c.flags.Bool("validate", false, "check the configuration and do nothing")
	c.flags.Func("archive", "read this `file` of `audit export -format archive`, not the broker; may be repeated, in the order of the files", func(file string) error {
		c.archives = append(c.archives, file)
		return nil
	})
	return c
}

// bounds adds the flags that choose a part of the trail.
func (c *command) bounds() {
	c.flags.Func("from", "where to `begin`: a sequence of RECORDS, a time (2026-11-05 or 2026-11-05T12:00:00Z, by the broker's clock), or how long ago (24h); the beginning if left out",
		func(text string) (err error) {
			c.rng.FromSeq, c.rng.From, err = bound(text)
			return err
		})
	c.flags.Func("to", "where to `end`: the same; the end if left out. A sequence is included, a time is not",
		func(text string) (err error) {
			c.rng.ToSeq, c.rng.To, err = bound(text)
			return err
		})
}

func bound(text string) (seq uint64, at time.Time, err error) {
	if seq, err := strconv.ParseUint(text, 10, 64); err == nil && seq > 0 {
		return seq, at, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return 0, time.Now().Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return 0, at, nil
		}
	}
	return 0, at, errors.New("must be a sequence, a time such as 2026-11-05T12:00:00Z, or how long ago, such as 24h")
}

// errValid ends a command that was only to check its configuration.
var errValid = errors.New("the configuration is valid")

// load parses the flags and reads the configuration and its keys.
func (c *command) load(args []string) error {
	if err := cli.Parse(c.flags, args); err != nil {
		return err
	}
	if err := config.Load(*c.config, &c.settings); err != nil {
		return cli.Usage(err)
	}
	if err := c.read(); err != nil {
		return cli.Usagef("%s: %w", *c.config, err)
	}
	if *c.validate {
		fmt.Fprintf(c.std.Out, "%s is valid.\n", *c.config)
		return errValid
	}
	return nil
}

func (c *command) read() error {
	if err := reset.ValidName(c.Tenant); err != nil {
		return fmt.Errorf("tenant: %q: %w", c.Tenant, err)
	}
	v := audit.Verifier{Tenant: c.Tenant}
	var err error
	if v.Publishers, err = seal.ParsePins("publishers", c.Publishers, seal.PurposePublisher); err != nil {
		return err
	}
	if v.Consumers, err = seal.ParsePins("consumers", c.Consumers, seal.PurposeConsumer); err != nil {
		return err
	}
	c.reader = trail.Reader{Verifier: v}
	if c.RecordKeyFile != "" {
		if c.reader.Months, err = seal.LoadMonthKeys(c.RecordKeyFile); err != nil {
			return fmt.Errorf("record_key_file: %w", err)
		}
	}
	if c.Syslog != nil {
		if _, err := c.Syslog.Load(); err != nil {
			return fmt.Errorf("syslog.%w", err)
		}
	}
	if c.Broker != nil {
		return c.Broker.Check()
	}
	if len(c.archives) == 0 && !*c.validate {
		return errors.New("broker: is missing; or give an -archive")
	}
	return nil
}

// patience is how long the broker may take to let us in.
const patience = 30 * time.Second

// open returns the trail that the flags name, and what closes it.
func (c *command) open(ctx context.Context) (trail.Source, func(), error) {
	if len(c.archives) > 0 {
		return trail.Archive{Files: c.archives}, func() {}, nil
	}
	log := obs.NewLogger(c.std.Err, "audit").Level(zerolog.ErrorLevel)
	conn, err := queue.Connect(*c.Broker, queue.Auditor, log)
	if err != nil {
		return nil, nil, cli.Usage(err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := conn.AwaitConnected(ctx); err != nil {
		conn.Close()
		return nil, nil, err
	}
	t := conn.Tenant(c.Tenant)
	return trail.Live{Records: t.Log(trail.Records), Events: t.Log(trail.Events)}, conn.Close, nil
}
