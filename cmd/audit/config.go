package main

import (
	"errors"
	"flag"
	"fmt"

	"writeback/internal/audit"
	"writeback/internal/cli"
	"writeback/internal/config"
	"writeback/internal/export"
	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/trail"
)

// settings is audit.yaml.
type settings struct {
	Tenant        string               `yaml:"tenant"`          // as the broker's accounts file has it; must be there
	Broker        *queue.Config        `yaml:"broker"`          // as an auditor; may be left out where only archives are read
	Publishers    []seal.PinConfig     `yaml:"publishers"`      // public keys of the publishers, 1 to 16; also those of earlier ones, with their end; must be there
	Consumers     []seal.PinConfig     `yaml:"consumers"`       // the same of the tenant's consumers; must be there
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

// errValid ends a command that was only to check its configuration.
var errValid = errors.New("the configuration is valid")

// load parses the flags and reads the configuration and its keys.
func (c *command) load(args []string) error {
	if err := cli.Parse(c.flags, args); err != nil {
		return err
	}
	if err := c.ordered(); err != nil {
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
