package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/config"
	"writeback/internal/consumer"
	"writeback/internal/directory"
	"writeback/internal/obs"
	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/trace"
	"writeback/internal/unseal"
)

// settings is consumer.yaml.
type settings struct {
	Tenant           string           `yaml:"tenant"`            // as the publishers name it; must be there
	Replica          string           `yaml:"replica"`           // name of this replica, which no other one of the tenant has; if it is left out, the machine's host name
	Workers          int              `yaml:"workers"`           // requests in hand at once: 1 to 64
	SoftStop         time.Duration    `yaml:"soft_stop"`         // how long what is in hand may take when the program is to stop: up to 80s
	OperationsListen string           `yaml:"operations_listen"` // host:port of health and metrics; must be there
	LogLevel         string           `yaml:"log_level"`         // error, warn, info or debug; debug adds what the domain controller wrote
	Broker           queue.Config     `yaml:"broker"`            // how the broker is reached; must be there
	SigningKeyFile   string           `yaml:"signing_key_file"`  // consumer.key; must be there
	RuntimeDir       string           `yaml:"runtime_dir"`       // a folder on a tmpfs, mode 0700, where sealing keys outlive a crash; if it is left out they are in memory only
	PolicyFile       string           `yaml:"policy_file"`       // policy.yaml: which accounts may be reset at all; must be there
	Publishers       []seal.PinConfig `yaml:"publishers"`        // public keys of the publishers, 1 to 16; must be there
	Consumers        []seal.PinConfig `yaml:"consumers"`         // public keys of the replicas, besides our own
	Tracing          *trace.Config    `yaml:"tracing"`           // where traces of requests go; without it there are none
	Directory        directory.Config `yaml:"directory"`         // the domain controllers, and as whom they are asked; must be there
}

// maxSoftStop is what a service manager usually waits before it kills, less a
// little.
const maxSoftStop = 80 * time.Second

// loaded is what the configuration names, read and checked.
type loaded struct {
	settings
	level      zerolog.Level
	signer     *seal.Signer
	publishers seal.Pins
	consumers  seal.Pins
}

// defaults are what holds where the file says nothing.
func defaults() settings {
	return settings{
		Workers:   consumer.DefaultWorkers,
		SoftStop:  consumer.DefaultSoftStop,
		LogLevel:  obs.DefaultLevel,
		Directory: directory.DefaultConfig(),
	}
}

// operationsListen returns where the operations listener of a configuration is, and
// reads no other file: who asks may not be let at keys.
func operationsListen(path string) (string, error) {
	var s settings
	err := config.Load(path, &s)
	return s.OperationsListen, err
}

// load reads the configuration and every file that it names. Nothing is
// connected to.
func load(path string) (*loaded, error) {
	l := &loaded{settings: defaults()}
	if err := config.Load(path, &l.settings); err != nil {
		return nil, err
	}
	if err := l.read(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func (l *loaded) read() (err error) {
	if err := reset.ValidName(l.Tenant); err != nil {
		return fmt.Errorf("tenant: %q: %w", l.Tenant, err)
	}
	if l.Replica == "" {
		if l.Replica, err = os.Hostname(); err != nil {
			return fmt.Errorf("replica: is missing, and this machine has no name: %w", err)
		}
	}
	if err := reset.ValidName(l.Replica); err != nil {
		return fmt.Errorf("replica: %q: %w", l.Replica, err)
	}
	if l.Workers < 0 || l.Workers > 64 {
		return fmt.Errorf("workers: %d is not between 1 and 64", l.Workers)
	}
	if l.SoftStop < 0 || l.SoftStop > maxSoftStop {
		return fmt.Errorf("soft_stop: %s is not between 0s and %s", l.SoftStop, maxSoftStop)
	}
	if _, _, err := net.SplitHostPort(l.OperationsListen); err != nil {
		return fmt.Errorf("operations_listen: %q must have the form host:port", l.OperationsListen)
	}
	l.Directory.ReadSecret = seal.ReadLine
	if l.level, err = obs.ParseLevel(l.LogLevel); err != nil {
		return err
	}
	if err := l.Directory.Validate(); err != nil {
		return fmt.Errorf("directory.%w", err)
	}
	password, err := seal.ReadLine(l.Directory.PasswordFile)
	if err != nil {
		return fmt.Errorf("directory.password_file: %w", err)
	}
	password.Wipe() // it is read again for every connection
	if l.signer, err = seal.LoadSigner(l.SigningKeyFile, seal.PurposeConsumer); err != nil {
		return fmt.Errorf("signing_key_file: %w", err)
	}
	l.Broker.SigningKey = l.signer.Public().Bytes()
	if err := l.Broker.Check(); err != nil {
		return err
	}
	if l.publishers, err = seal.ParsePins("publishers", l.Publishers, seal.PurposePublisher); err != nil {
		return err
	}
	if l.consumers, err = seal.OwnPins("consumers", l.Consumers, l.signer.Public(), time.Now()); err != nil {
		return err
	}
	if l.Tracing != nil {
		if err := l.Tracing.Check(); err != nil {
			return err
		}
	}
	if l.PolicyFile == "" {
		return errors.New("policy_file: is missing; it says which accounts may be reset at all")
	}
	if l.RuntimeDir != "" {
		if err := unseal.CheckDir(l.RuntimeDir); err != nil {
			return fmt.Errorf("runtime_dir: %w", err)
		}
	}
	return nil
}
