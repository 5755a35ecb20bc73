package queue_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/tenants"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// limits are enough for any test.
func limits() tenants.Limits { return tenants.Limits{Storage: 64 << 20, Connections: 20} }

// An operated broker is one whose tenants are made while it runs.
type operated struct {
	*broker.Server
	dir  string
	file string // of the operator
	made int    // users
}

// operate starts a broker in operator mode that has no tenant yet.
func operate(t *testing.T) *operated {
	t.Helper()
	op := &operated{dir: t.TempDir()}
	op.file = filepath.Join(op.dir, "operator.json")
	o, err := tenants.Create(op.file)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	accounts, err := o.BrokerConfig()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(op.dir, "accounts.conf"), accounts)
	conf := filepath.Join(op.dir, "nats-server.conf")
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "nats", "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, conf, string(text))
	files, err := broker.NewFiles(op.dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	if op.Server, err = files.Start(t.Context(), binary(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(op.Kill)
	return op
}

// with calls f with the operator's file, and how it reaches the broker.
func (op *operated) with(t *testing.T, f func(*tenants.Operator, tenants.Broker) error) {
	t.Helper()
	o, err := tenants.Open(op.file)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	cfg := queue.Config{URL: op.URL(), CAFile: op.CAFile}
	if err := f(o, tenants.Broker{Config: cfg, Replicas: 1, Keep: queue.DefaultKeep, Log: zerolog.Nop(), Say: func(string) {}}); err != nil {
		t.Fatal(err)
	}
}

// add makes a tenant.
func (op *operated) add(t *testing.T, name string) {
	t.Helper()
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		if err := o.Add(name, limits()); err != nil {
			return err
		}
		return o.Push(within(t, 20*time.Second), b, name)
	})
}

// user makes a user of a tenant, or one that is of none.
func (op *operated) user(t *testing.T, tenant string, role queue.Role, name string, of ...string) user {
	t.Helper()
	op.made++
	u := user{role: role, tenants: of, key: filepath.Join(op.dir, fmt.Sprintf("%d.creds", op.made)), credentials: true}
	op.with(t, func(o *tenants.Operator, _ tenants.Broker) error {
		text, err := o.Credential(tenant, role, name)
		if err == nil {
			write(t, u.key, string(text))
		}
		return err
	})
	return u
}

// operatorTenants makes two tenants at run time, with all users.
func operatorTenants(t *testing.T) *pair {
	t.Helper()
	op := operate(t)
	p := &pair{Server: op.Server}
	for _, tenant := range []string{"corp", "acme"} {
		op.add(t, tenant)
		for _, role := range []queue.Role{con, aud, pro} {
			p.users = append(p.users, op.user(t, tenant, role, "u1", tenant))
		}
	}
	p.users = append(p.users, op.user(t, "", sys, "u1", "corp", "acme"), op.user(t, "", pub, "u1", "corp", "acme", "*"))
	return p
}
