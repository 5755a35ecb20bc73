package queue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/tenants"
)

// A traffic is requests of one tenant, one after the other: recorded, asked,
// taken, answered, heard and acknowledged.
type traffic struct {
	done chan int // after it was told to stop: how many there were
	stop context.CancelFunc
}

// flow begins a traffic. Whatever goes wrong with it fails the test.
func flow(t *testing.T, op *operated, tenant string, cloud, site *queue.Tenant) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &traffic{done: make(chan int, 1), stop: cancel}
	heard := make(chan string, 100)
	if err := cloud.Live("p1", func(_ reset.ID, s reset.Stored) { heard <- string(s.Data) }); err != nil {
		t.Fatal(err)
	}
	one := func(n int) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		id, text := ref(), fmt.Sprintf("%s %d", tenant, n)
		seq, err := cloud.Append(ctx, id, []byte(text+" accepted"), 0)
		if err != nil {
			return err
		}
		if err := cloud.Enqueue(ctx, slot(), id.ID, []byte(text)); err != nil {
			return err
		}
		d, err := site.Take(ctx)
		if err != nil {
			return err
		}
		if string(d.Data) != text || d.Attempt != 1 {
			return fmt.Errorf("took %q, attempt %d; want %q", d.Data, d.Attempt, text)
		}
		if _, err := site.Append(ctx, id, []byte(text+" settled"), seq); err != nil {
			return err
		}
		if err := d.Ack(ctx); err != nil {
			return err
		}
		for _, want := range []string{text + " accepted", text + " settled"} {
			select {
			case got := <-heard:
				if got != want {
					return fmt.Errorf("heard %q, want %q", got, want)
				}
			case <-ctx.Done():
				return fmt.Errorf("did not hear %q", want)
			}
		}
		return nil
	}
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if err := one(n); err != nil {
				t.Errorf("request %d of %s: %v", n, tenant, err)
				break
			}
		}
		f.done <- n
	}()
	t.Cleanup(func() { f.end(t) })
	return f
}

// end stops a traffic and returns how many requests there were.
func (f *traffic) end(t *testing.T) int {
	t.Helper()
	f.stop()
	n := <-f.done
	f.done <- n
	return n
}

// logged is a user's connection that is up, with its log.
func logged(t *testing.T, op *operated, u user) (*queue.Conn, *journal) {
	t.Helper()
	log := newJournal()
	conn := dial(t, u.config(op.Server), u.role, zerolog.New(log))
	if err := conn.AwaitConnected(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn, log
}

// refuses fails the test unless the broker does not let a user in.
func (op *operated) refuses(t *testing.T, u user) {
	t.Helper()
	err := dial(t, u.config(op.Server), u.role, zerolog.Nop()).AwaitConnected(within(t, time.Second))
	if !queue.UnknownKey(err) {
		t.Errorf("%s: got %v, want it not let in", u.key, err)
	}
}

// TestTenantsAtRunTime makes two tenants and removes one, while the requests of a
// third go on: no restart, no lost connection, no lost or late message.
func TestTenantsAtRunTime(t *testing.T) {
	t.Parallel()
	op := operate(t)
	op.add(t, "corp")
	cloud := op.user(t, "", pub, "cloud")
	cloudConn, cloudLog := logged(t, op, cloud)
	siteConn, siteLog := logged(t, op, op.user(t, "corp", con, "east"))
	running := flow(t, op, "corp", cloudConn.Tenant("corp"), siteConn.OnPremises("corp"))

	op.add(t, "acme")
	op.add(t, "umbrella")
	// The publishers' connection that is there serves the new ones.
	for _, name := range []string{"acme", "umbrella"} {
		conn, _ := logged(t, op, op.user(t, name, con, "east"))
		other := flow(t, op, name, cloudConn.Tenant(name), conn.OnPremises(name))
		op.with(t, func(o *tenants.Operator, b tenants.Broker) error { return o.Push(within(t, 20*time.Second), b, name) })
		if n := other.end(t); n == 0 {
			t.Errorf("%s had no request", name)
		}
	}
	acme := op.user(t, "acme", con, "west")
	acmeConn, acmeLog := logged(t, op, acme)
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		if storeOf(t, op, "acme") == "" {
			t.Error("acme has nothing on the broker's disk")
		}
		return o.Remove(within(t, 20*time.Second), b, "acme")
	})
	acmeLog.await(t, "broker disconnected")
	op.refuses(t, acme)
	if err := acmeConn.Check(t.Context()); err == nil {
		t.Error("a removed tenant's consumer is connected")
	}
	nc := rawAs(t, op.Server, cloud)
	if _, err := nc.RequestWithContext(within(t, 10*time.Second), "acme.$JS.API.STREAM.INFO.RECORDS", nil); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a removed tenant's subject: got %v, want that nobody is there", err)
	}
	if got := storeOf(t, op, "acme"); got != "" {
		t.Errorf("a removed tenant's streams are still in %s", got)
	}

	if n := running.end(t); n < 10 {
		t.Errorf("corp had only %d requests meanwhile", n)
	}
	for name, log := range map[string]*journal{"publisher": cloudLog, "consumer": siteLog} {
		if strings.Contains(log.String(), "disconnected") || strings.Contains(log.String(), "broker error") {
			t.Errorf("the %s lost something:\n%s", name, log)
		}
	}

	op.restart(t)
	siteLog.await(t, "broker connected again")
	again, _ := logged(t, op, cloud)
	flow(t, op, "corp", again.Tenant("corp"), siteConn.OnPremises("corp")).end(t)

	// The name can be used again, and nothing of the old tenant is there.
	op.add(t, "acme")
	records, err := op.conn(t, "acme").Tenant("acme").Records(within(t, 10*time.Second), reset.NewID())
	if err != nil || len(records) != 0 {
		t.Errorf("acme, made again, has %v (%v)", records, err)
	}
	op.refuses(t, acme)
}

// revoke shuts a user out.
func (op *operated) revoke(t *testing.T, tenant string, role queue.Role, user string) {
	t.Helper()
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		if err := o.Revoke(tenant, role, user); err != nil {
			return err
		}
		return o.PushRole(within(t, 20*time.Second), b, tenant, role)
	})
}

// restart stops the broker and starts it again.
func (op *operated) restart(t *testing.T) {
	t.Helper()
	op.Stop()
	var err error
	if op.Server, err = op.Start(t.Context(), binary(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(op.Kill)
}

// conn is a new auditor's connection.
func (op *operated) conn(t *testing.T, tenant string) *queue.Conn {
	t.Helper()
	conn, _ := logged(t, op, op.user(t, tenant, aud, "again"))
	return conn
}

// storeOf returns where the broker keeps a tenant's records; empty is nowhere. It
// goes by what is in them.
func storeOf(t *testing.T, op *operated, tenant string) string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(op.StoreDir, "jetstream", "*", "streams", "RECORDS", "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range blocks {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), tenant+" 0 accepted") {
			return path
		}
	}
	return ""
}

// TestRevoke: a revoked user is cut off at once and does not come back, also not
// after a restart of the broker; the others go on.
func TestRevoke(t *testing.T) {
	t.Parallel()
	op := operate(t)
	op.add(t, "corp")
	east, west, cloud := op.user(t, "corp", con, "east"), op.user(t, "corp", con, "west"), op.user(t, "", pub, "cloud")
	eastConn, eastLog := logged(t, op, east)
	westConn, westLog := logged(t, op, west)
	cloudConn, _ := logged(t, op, cloud)
	pulling := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := eastConn.OnPremises("corp").Take(ctx)
		pulling <- err
	}()
	begun := time.Now()
	op.revoke(t, "corp", con, "east")
	eastLog.await(t, "broker disconnected")
	t.Logf("cut off within %s", time.Since(begun))
	op.refuses(t, east)
	running := flow(t, op, "corp", cloudConn.Tenant("corp"), westConn.OnPremises("corp"))
	op.refuses(t, east)
	if n := running.end(t); n == 0 {
		t.Error("the other consumer had no request")
	}
	cancel()
	if err := <-pulling; !errors.Is(err, context.Canceled) {
		t.Errorf("the revoked consumer took something: %v", err)
	}
	if strings.Contains(westLog.String(), "disconnected") {
		t.Errorf("the other consumer was cut off too:\n%s", westLog)
	}

	// A publisher is revoked in the same way, and its name is free again.
	op.revoke(t, "", pub, "cloud")
	op.refuses(t, cloud)
	again := op.user(t, "", pub, "cloud")
	logged(t, op, again)

	op.restart(t)
	westLog.await(t, "broker connected again")
	op.refuses(t, east)
	op.refuses(t, cloud)
	conn, _ := logged(t, op, again)
	flow(t, op, "corp", conn.Tenant("corp"), westConn.OnPremises("corp")).end(t)

	// Who is given another file goes on without a restart.
	text, err := os.ReadFile(op.user(t, "corp", con, "east").key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, east.key, string(text))
	eastLog.await(t, "broker connected again")
}

// TestTenantLimits: a tenant that uses up its storage or its connections is told
// so, and another one is not touched.
func TestTenantLimits(t *testing.T) {
	t.Parallel()
	op := operate(t)
	op.add(t, "corp")
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		if err := o.Add("small", tenants.Limits{Storage: 64 << 10, Connections: 1}); err != nil {
			return err
		}
		return o.Push(within(t, 20*time.Second), b, "small")
	})
	cloud, _ := logged(t, op, op.user(t, "", pub, "cloud"))
	var err error
	for range 10 { // of 16 kB each, less than the limit of a message
		if err == nil {
			_, err = cloud.Tenant("small").Append(within(t, 2*time.Second), ref(), slices.Repeat([]byte("x"), 15<<10), 0)
		}
	}
	if !errors.Is(err, reset.ErrUnavailable) {
		t.Errorf("a tenant whose storage is full: got %v, want %v", err, reset.ErrUnavailable)
	}
	if _, err := cloud.Tenant("corp").Append(within(t, 10*time.Second), ref(), []byte("x"), 0); err != nil {
		t.Errorf("the other tenant: %v", err)
	}
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		if err := o.Limit("small", tenants.Limits{Storage: 1 << 20, Connections: 1}); err != nil {
			return err
		}
		return o.Push(within(t, 20*time.Second), b, "small")
	})
	if _, err := cloud.Tenant("small").Append(within(t, 10*time.Second), ref(), slices.Repeat([]byte("x"), 15<<10), 0); err != nil {
		t.Errorf("a tenant whose limit was raised: %v", err)
	}
	logged(t, op, op.user(t, "small", con, "east"))
	second := op.user(t, "small", con, "west")
	err = dial(t, second.config(op.Server), con, zerolog.Nop()).AwaitConnected(within(t, time.Second))
	if err == nil || !strings.Contains(err.Error(), "maximum account active connections exceeded") {
		t.Errorf("one connection too many: %v", err)
	}
}

// TestNoRoom: what a server has no room for is refused with the reason, before it is
// told: it would take it, and show none of the tenant's streams after a restart.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	op := operate(t)
	op.add(t, "corp")
	much := tenants.Limits{Storage: 9 << 30, Connections: 1}
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		if err := o.Limit("corp", much); err != nil {
			return err
		}
		wantError(t, o.Push(within(t, 20*time.Second), b, "corp"), "has room for 8192 MiB (jetstream.max_file_store)", "may take 9216")
		if err := o.Limit("corp", limits()); err != nil {
			return err
		}
		if err := o.Add("acme", much); err != nil {
			return err
		}
		wantError(t, o.Push(within(t, 20*time.Second), b, "acme"), "has room for 8192 MiB")
		if err := o.Remove(within(t, 20*time.Second), b, "acme"); err != nil {
			return fmt.Errorf("removing what there was no room for: %w", err)
		}
		return o.Push(within(t, 20*time.Second), b, "corp")
	})
}

// TestRemovedStaysRemoved: a server that does not hear that accounts are deleted
// brings them back, and nobody is a user of them any more.
func TestRemovedStaysRemoved(t *testing.T) {
	t.Parallel()
	op := operate(t)
	op.add(t, "acme")
	users := []user{op.user(t, "acme", con, "east"), op.user(t, "acme", aud, "east"), op.user(t, "acme", pro, "east")}
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		all := b
		all.Replicas = 2
		wantError(t, o.Remove(within(t, 3*time.Second), all, "acme"), "1 of 2 servers of the broker answer")
		if err := o.Push(within(t, 20*time.Second), b, "acme"); err != nil {
			return fmt.Errorf("its streams are gone: %w", err)
		}
		return o.Remove(within(t, 20*time.Second), b, "acme")
	})
	deleted, err := filepath.Glob(op.StoreDir + "-accounts/*.deleted")
	if err != nil || len(deleted) != len(users) {
		t.Fatalf("the server has deleted %q (%v), want %d accounts", deleted, err, len(users))
	}
	for _, path := range deleted {
		if err := os.Rename(path, strings.TrimSuffix(path, ".deleted")); err != nil {
			t.Fatal(err)
		}
	}
	op.restart(t)
	for _, u := range users {
		op.refuses(t, u)
	}
}

// TestOperatorIsStolen: after all keys were renewed, what the old ones signed is good
// for nothing, the streams hold what they held, and the tenant goes on.
func TestOperatorIsStolen(t *testing.T) {
	t.Parallel()
	op := operate(t)
	op.add(t, "corp")
	old := []user{op.user(t, "", pub, "cloud"), op.user(t, "corp", con, "east")}
	conn, _ := logged(t, op, old[0])
	id := ref()
	if _, err := conn.Tenant("corp").Append(within(t, 10*time.Second), id, []byte("accepted"), 0); err != nil {
		t.Fatal(err)
	}
	stolen, err := os.ReadFile(op.file)
	if err != nil {
		t.Fatal(err)
	}
	op.with(t, func(o *tenants.Operator, _ tenants.Broker) error {
		if err := o.Renew(); err != nil {
			return err
		}
		text, err := o.BrokerConfig()
		write(t, filepath.Join(op.dir, "accounts.conf"), text)
		return err
	})
	op.restart(t)
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error { return o.Push(within(t, 20*time.Second), b, "corp") })
	for _, u := range old {
		op.refuses(t, u)
	}
	records, err := op.conn(t, "corp").Tenant("corp").Records(within(t, 10*time.Second), id.ID)
	if err != nil || len(records) != 1 {
		t.Errorf("the tenant's records are %v (%v), want the one that was there", records, err)
	}
	cloud, _ := logged(t, op, op.user(t, "", pub, "cloud"))
	east, _ := logged(t, op, op.user(t, "corp", con, "east"))
	flow(t, op, "corp", cloud.Tenant("corp"), east.OnPremises("corp")).end(t)

	// The thief's file.
	write(t, op.file, string(stolen))
	thief, err := tenants.Open(op.file)
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	b := tenants.Broker{Config: queue.Config{URL: op.URL(), CAFile: op.CAFile}, Replicas: 1, Keep: queue.DefaultKeep, Log: zerolog.Nop(), Say: func(string) {}}
	if err := thief.Push(within(t, 2*time.Second), b, "corp"); !queue.UnknownKey(err) {
		t.Errorf("a thief with the old keys: got %v, want it not let in", err)
	}
}
