package main

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/config"
	"writeback/internal/obs"
	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/signin"
	"writeback/internal/trace"
)

// settings is publisher.yaml.
type settings struct {
	Listen           string           `yaml:"listen"`            // host:port of the API and the pages; must be there, and without tls be a loopback address
	TLS              *tlsFiles        `yaml:"tls"`               // certificate of the API; it is read again when its files change
	TrustedProxies   []string         `yaml:"trusted_proxies"`   // CIDRs of proxies that the API believes about their callers' addresses (X-Forwarded-For)
	OperationsListen string           `yaml:"operations_listen"` // host:port of health and metrics; must be there, and no caller of the API should reach it
	LogLevel         string           `yaml:"log_level"`         // error, warn, info or debug
	Broker           queue.Config     `yaml:"broker"`            // how the broker is reached; must be there
	SigningKeyFile   string           `yaml:"signing_key_file"`  // publisher.key, the same for all publishers; must be there
	SlotKeyFile      string           `yaml:"slot_key_file"`     // slot.key, the same for all publishers; must be there
	RecordKeyFile    string           `yaml:"record_key_file"`   // record.key, the same for all publishers; must be there
	TokensFile       string           `yaml:"tokens_file"`       // who may call: made and changed by `publisher token`; must be there
	Limits           portal.Limits    `yaml:"limits"`            // what is taken from one address and for one account
	Publishers       []seal.PinConfig `yaml:"publishers"`        // keys that publishers sign with, besides our own: while it is replaced
	Pages            pageSettings     `yaml:"pages"`             // the pages that people see
	SignIn           []signin.Config  `yaml:"sign_in"`           // how people of a tenant sign in; without it nobody does, and there are no pages for it
	Tracing          *trace.Config    `yaml:"tracing"`           // where traces of requests go; without it there are none
	Tenants          []tenant         `yaml:"tenants"`           // whose resets are taken; 1 at least
}

type tenant struct {
	Name      string           `yaml:"name"`      // as the broker's accounts file has it; no name twice
	Consumers []seal.PinConfig `yaml:"consumers"` // public keys of the tenant's consumers, 1 to 16
}

// loaded is what the configuration names, read and checked.
type loaded struct {
	settings
	level      zerolog.Level
	proxies    []netip.Prefix
	signer     *seal.Signer
	slots      seal.SlotKey
	months     seal.MonthKeys
	publishers seal.Pins
	consumers  []seal.Pins // of tenants, in their order
	operators  cipher.AEAD // seals cookies of who has shown a token; nil: nobody can
}

// defaults are what holds where the file says nothing.
func defaults() settings {
	return settings{
		LogLevel: obs.DefaultLevel,
		Limits:   portal.DefaultLimits(),
		Pages:    pageSettings{Brand: pages.DefaultBrand(), Rates: portal.DefaultPageRates()},
	}
}

// operationsListen returns where the operations listener of a configuration is, and
// reads no other file: who asks may not be let at keys.
func operationsListen(path string) (string, error) {
	var s settings
	err := config.Load(path, &s)
	return s.OperationsListen, err
}

// load reads the configuration and every key that it names. Nothing is
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
	if l.level, err = obs.ParseLevel(l.LogLevel); err != nil {
		return err
	}
	if err := l.listeners(); err != nil {
		return err
	}
	if err := l.Limits.Check(); err != nil {
		return err
	}
	if err := l.Pages.check(l.Listen, l.TLS != nil); err != nil {
		return err
	}
	if l.Tracing != nil {
		if err := l.Tracing.Check(); err != nil {
			return err
		}
	}
	if l.TokensFile == "" {
		return errors.New("tokens_file: is missing")
	}
	if _, err := config.ReadTrusted(l.TokensFile); err != nil {
		return fmt.Errorf("tokens_file: %w", err)
	}
	if l.signer, err = seal.LoadSigner(l.SigningKeyFile, seal.PurposePublisher); err != nil {
		return fmt.Errorf("signing_key_file: %w", err)
	}
	l.Broker.SigningKey = l.signer.Public().Bytes()
	if err := l.Broker.Check(); err != nil {
		return err
	}
	if l.slots, err = seal.LoadSlotKey(l.SlotKeyFile); err != nil {
		return fmt.Errorf("slot_key_file: %w", err)
	}
	if l.months, err = seal.LoadMonthKeys(l.RecordKeyFile); err != nil {
		return fmt.Errorf("record_key_file: %w", err)
	}
	if until, now := l.months.Until(), seal.MonthOf(time.Now()); until < now {
		return fmt.Errorf("record_key_file: its last key was for %s, and it is %s; run `publisher init`", until, now)
	}
	if file := l.Pages.SessionKeyFile; file != "" {
		key, err := seal.LoadSessionKey(file)
		if err != nil {
			return fmt.Errorf("pages.session_key_file: %w", err)
		}
		if l.operators, err = key.AEAD("operator"); err != nil {
			return err
		}
	}
	if l.publishers, err = seal.OwnPins("publishers", l.Publishers, l.signer.Public(), time.Now()); err != nil {
		return err
	}
	if len(l.Tenants) == 0 {
		return errors.New("tenants: at least one is needed")
	}
	for i, t := range l.Tenants {
		name := fmt.Sprintf("tenants[%d]", i)
		if err := reset.ValidName(t.Name); err != nil {
			return fmt.Errorf("%s.name: %q: %w", name, t.Name, err)
		}
		if slices.ContainsFunc(l.Tenants[:i], func(o tenant) bool { return o.Name == t.Name }) {
			return fmt.Errorf("%s.name: %q is there twice", name, t.Name)
		}
		pins, err := seal.ParsePins(name+".consumers", t.Consumers, seal.PurposeConsumer)
		if err != nil {
			return err
		}
		l.consumers = append(l.consumers, pins)
	}
	for i, c := range l.SignIn {
		if !slices.ContainsFunc(l.Tenants, func(t tenant) bool { return t.Name == c.Tenant }) {
			return fmt.Errorf("sign_in[%d].tenant: %q is none of tenants", i, c.Tenant)
		}
	}
	return nil
}

func (l *loaded) listeners() error {
	host, _, err := net.SplitHostPort(l.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q must have the form host:port", l.Listen)
	}
	ip := net.ParseIP(host)
	if l.TLS == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen: %s is not a loopback address; passwords arrive here, so tls is needed", host)
	}
	if l.TLS != nil && (l.TLS.CertFile == "" || l.TLS.KeyFile == "") {
		return errors.New("tls: cert_file and key_file are both needed")
	}
	if l.TLS != nil {
		if _, err := l.TLS.load(); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	for i, text := range l.TrustedProxies {
		p, err := portal.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("trusted_proxies[%d]: %q %w", i, text, err)
		}
		l.proxies = append(l.proxies, p)
	}
	if _, _, err := net.SplitHostPort(l.OperationsListen); err != nil {
		return fmt.Errorf("operations_listen: %q must have the form host:port", l.OperationsListen)
	}
	return nil
}
