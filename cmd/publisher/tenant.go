package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/cli"
	"writeback/internal/config"
	"writeback/internal/obs"
	"writeback/internal/queue"
	"writeback/internal/tenants"
)

// operator is the configuration of `publisher tenant`. It belongs to a machine
// that is neither a publisher nor a broker.
type operator struct {
	Broker       queue.Config `yaml:"broker"`        // without nkey_file, since the command makes users of its own; must be there
	OperatorFile string       `yaml:"operator_file"` // operator.json, the keys of all accounts, as `publisher tenant init` makes it; must be there
	storage      `yaml:",inline"`
}

func (c operator) validate() error {
	if c.OperatorFile == "" {
		return errors.New("operator_file: is missing")
	}
	if err := c.storage.validate(); err != nil {
		return err
	}
	if c.Broker.NKeyFile != "" {
		return errors.New("broker.nkey_file: must be left out; the command makes users of its own")
	}
	broker := c.Broker
	broker.Credentials = []byte{} // made when they are needed
	return broker.Validate()
}

// An action is one thing that `publisher tenant` does.
type action struct {
	name, about string
	flags       func(*tenantFlags)
	run         func(context.Context, *tenants.Operator, *tenantFlags) error
}

// tenantFlags are the flags of all actions, of which each has some.
type tenantFlags struct {
	*flag.FlagSet
	std cli.Streams
	cfg operator
	b   tenants.Broker

	name, role, user, out, accounts string
	storage                         int64
	connections                     int
	yes, fresh                      bool
}

func (f *tenantFlags) addName() {
	f.StringVar(&f.name, "name", "", "`name` of the tenant, as its consumers' configuration has it")
}

func (f *tenantFlags) addLimits(storage int64, connections int) {
	f.addName()
	f.Int64Var(&f.storage, "storage", storage, "`MiB` that its streams may take on disk, all copies of a cluster together")
	f.IntVar(&f.connections, "connections", connections, "`number` of connections that its consumers may have, and as many its auditors")
}

func (f *tenantFlags) limits() tenants.Limits {
	return tenants.Limits{Storage: f.storage << 20, Connections: f.connections}
}

func (f *tenantFlags) addUser() {
	f.StringVar(&f.name, "name", "", "`name` of the tenant; left out for publisher and system, who belong to none")
	f.StringVar(&f.role, "role", "", "`role` of the user: consumer, auditor, provisioner; publisher, system")
	f.StringVar(&f.user, "user", "", "`name` of the user")
}

func actions() []action {
	return []action{
		{"init", "makes the operator, and the file that tells the broker of it", func(f *tenantFlags) {
			f.StringVar(&f.accounts, "accounts", "accounts.conf", "`file` to make; it takes the place of nats/accounts.conf")
		}, nil},
		{"add", "makes a tenant: accounts, permissions, limits, streams", func(f *tenantFlags) {
			f.addLimits(1024, 64)
		}, addTenant},
		{"limit", "gives a tenant other limits", func(f *tenantFlags) { f.addLimits(0, 0) }, limitTenant},
		{"credential", "makes a user and the file that it signs in with", func(f *tenantFlags) {
			f.addUser()
			f.StringVar(&f.out, "out", "", "`file` to make; broker.nkey_file names it where it is used")
		}, makeCredential},
		{"revoke", "shuts a user out at once", (*tenantFlags).addUser, revoke},
		{"push", "makes the broker know all of it again; repeats what did not reach it", func(f *tenantFlags) {
			f.BoolVar(&f.fresh, "new", false, "make the tenants' streams again: for a broker whose store is new and empty")
		},
			func(ctx context.Context, o *tenants.Operator, f *tenantFlags) error {
				f.b.New = f.fresh
				return o.Push(ctx, f.b, o.Tenants()...)
			}},
		{"remove", "deletes a tenant with all its records", func(f *tenantFlags) {
			f.addName()
			f.BoolVar(&f.yes, "yes", false, "delete the records too, and everything else of the tenant that the broker has")
		}, removeTenant},
		{"renew", "replaces all keys of the operator after a theft; every user needs another file, and the broker a restart", func(f *tenantFlags) {
			f.StringVar(&f.accounts, "accounts", "accounts.conf", "`file` to make, for the broker")
		}, renew},
		{"list", "lists tenants and their users", func(*tenantFlags) {}, list},
	}
}

func tenantCommand(ctx context.Context, args []string, std cli.Streams) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-help", "--help", "-h"}, args[0]) {
		usage := std.Err
		if len(args) > 0 {
			usage = std.Out
		}
		fmt.Fprintf(usage, "Usage: publisher tenant ACTION [FLAGS]\n\n")
		for _, a := range actions() {
			fmt.Fprintf(usage, "  %-11s %s\n", a.name, a.about)
		}
		if len(args) == 0 {
			return cli.Usagef("an action is missing")
		}
		return flag.ErrHelp
	}
	for _, a := range actions() {
		if a.name == args[0] {
			return act(ctx, a, args[1:], std)
		}
	}
	return cli.Usagef("there is no action %q", args[0])
}

func act(ctx context.Context, a action, args []string, std cli.Streams) error {
	f := &tenantFlags{FlagSet: flag.NewFlagSet("publisher tenant "+a.name, flag.ContinueOnError), std: std}
	f.SetOutput(std.Err)
	path := f.String("config", "operator.yaml", "configuration `file` of the operator")
	timeout := f.Duration("timeout", 30*time.Second, "how long to wait for the broker")
	a.flags(f)
	if err := cli.Parse(f.FlagSet, args); err != nil {
		return err
	}
	f.cfg.storage = defaultStorage()
	if err := config.Load(*path, &f.cfg); err != nil {
		return cli.Usage(err)
	}
	if err := f.cfg.validate(); err != nil {
		return cli.Usagef("%s: %w", *path, err)
	}
	if a.run == nil {
		return initOperator(f)
	}
	o, err := tenants.Open(f.cfg.OperatorFile)
	if err != nil {
		return cli.Usagef("%s: operator_file: %w", *path, err)
	}
	defer o.Close()
	f.b = tenants.Broker{
		Config: f.cfg.Broker, Replicas: f.cfg.Replicas, Keep: f.cfg.keep(), Log: obs.NewLogger(std.Err, "publisher").Level(zerolog.ErrorLevel),
		Say: func(line string) { fmt.Fprintln(std.Out, line) },
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	return a.run(ctx, o, f)
}

func initOperator(f *tenantFlags) error {
	// Before the keys are made, so that there are none that no broker can be told of.
	accounts, err := create(f.accounts, 0o644)
	if err != nil {
		return err
	}
	o, err := tenants.Create(f.cfg.OperatorFile)
	if err != nil {
		return discard(accounts, err)
	}
	defer o.Close()
	fmt.Fprintf(f.std.Out, "%s: made; who has it has the broker\n", f.cfg.OperatorFile)
	return fillAccounts(accounts, o, f.std)
}

func renew(_ context.Context, o *tenants.Operator, f *tenantFlags) error {
	accounts, err := create(f.accounts, 0o644)
	if err != nil {
		return err
	}
	if err := o.Renew(); err != nil {
		return discard(accounts, err)
	}
	return fillAccounts(accounts, o, f.std)
}

func fillAccounts(file *os.File, o *tenants.Operator, std cli.Streams) error {
	text, err := o.BrokerConfig()
	if err != nil {
		return err
	}
	if err := fill(file, []byte(text)); err != nil {
		return err
	}
	fmt.Fprintf(std.Out, "%s: made; give it to the broker in place of nats/accounts.conf\n", file.Name())
	return nil
}

func addTenant(ctx context.Context, o *tenants.Operator, f *tenantFlags) error {
	if err := o.Add(f.name, f.limits()); err != nil {
		return cli.Usage(err)
	}
	return reached("the tenant is made", o.Push(ctx, f.b, f.name))
}

func limitTenant(ctx context.Context, o *tenants.Operator, f *tenantFlags) error {
	if err := o.Limit(f.name, f.limits()); err != nil {
		return cli.Usage(err)
	}
	return reached("the limits are changed", o.Push(ctx, f.b, f.name))
}

// reached says what has been done, if the broker could not be told of it.
func reached(done string, err error) error {
	if err != nil {
		return fmt.Errorf("%s, and the broker may not know it (run `publisher tenant push`): %w", done, err)
	}
	return nil
}

func makeCredential(_ context.Context, o *tenants.Operator, f *tenantFlags) error {
	if f.out == "" {
		return cli.Usagef("-out: is missing")
	}
	// Before the user is made, so that there is none without a file.
	file, err := create(f.out, 0o600)
	if err != nil {
		return err
	}
	text, err := o.Credential(f.name, queue.Role(f.role), f.user)
	if err != nil {
		return discard(file, cli.Usage(err))
	}
	defer clear(text)
	return fill(file, text)
}

func revoke(ctx context.Context, o *tenants.Operator, f *tenantFlags) error {
	role := queue.Role(f.role)
	if err := o.Revoke(f.name, role, f.user); err != nil {
		return cli.Usage(err)
	}
	return reached("the user is revoked", o.PushRole(ctx, f.b, f.name, role))
}

func removeTenant(ctx context.Context, o *tenants.Operator, f *tenantFlags) error {
	if !f.yes {
		return cli.Usagef("this deletes RECORDS and EVENTS of the tenant, its audit trail, for good, and shuts out its consumers and auditors; add -yes if that is meant")
	}
	if !slices.Contains(o.Tenants(), f.name) {
		return cli.Usagef("tenant %q: there is none of that name", f.name)
	}
	if err := o.Remove(ctx, f.b, f.name); err != nil {
		return fmt.Errorf("the tenant is not removed, or not all of it (run this again): %w", err)
	}
	return nil
}

func list(_ context.Context, o *tenants.Operator, f *tenantFlags) error {
	w := tabwriter.NewWriter(f.std.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TENANT\tSTORAGE\tCONNECTIONS\tUSERS")
	fmt.Fprintf(w, "-\t-\t-\t%s\n", users(o, ""))
	for _, name := range o.Tenants() {
		l := o.Limits(name)
		fmt.Fprintf(w, "%s\t%d MiB\t%d\t%s\n", name, l.Storage>>20, l.Connections, users(o, name))
	}
	return w.Flush()
}

func users(o *tenants.Operator, tenant string) string {
	var list []string
	all := o.Users(tenant)
	for _, role := range []queue.Role{queue.Publisher, queue.Consumer, queue.Auditor, queue.Provisioner, queue.System} {
		for _, user := range all[role] {
			list = append(list, string(role)+" "+user)
		}
	}
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}

// create makes an empty file that must not be there yet.
func create(path string, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	return f, cli.Usage(err)
}

// fill writes all of a file that create has made.
func fill(f *os.File, text []byte) error {
	_, err := f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// discard takes back a file that create has made, because of err.
func discard(f *os.File, err error) error {
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
