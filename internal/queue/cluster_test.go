package queue_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// cluster starts three nodes of the test's own, with the tenant's streams.
func cluster(t *testing.T) *broker.Cluster {
	t.Helper()
	c, err := broker.StartCluster(t.Context(), t.TempDir(), testkit.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	grow(t, c, 3)
	return c
}

// grow makes streams with so many replicas, and returns what Provision says.
func grow(t *testing.T, c *broker.Cluster, replicas int) []string {
	t.Helper()
	var lines []string
	conn := connect(t, c.Config(queue.Provisioner), queue.Provisioner)
	if err := conn.Provision(within(t, time.Minute), replicas, queue.DefaultKeep, func(line string) { lines = append(lines, line) }); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitInStep(t.Context()); err != nil {
		t.Fatal(err)
	}
	return lines
}

// at connects a role to one node alone.
func at(t *testing.T, c *broker.Cluster, n int, role queue.Role) *queue.Conn {
	t.Helper()
	return connect(t, c.Node(n).Config(role), role)
}

// anywhere connects a role to any node.
func anywhere(t *testing.T, c *broker.Cluster, role queue.Role) *queue.Conn {
	t.Helper()
	return connect(t, c.Config(role), role)
}

// leader returns who leads a stream, and somebody who does not.
func leader(t *testing.T, c *broker.Cluster, stream string) (leads, follows int) {
	t.Helper()
	n, err := c.Leader(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return n, (n + 1) % broker.Nodes
}

// TestGrow: a tenant that was made with one replica on a cluster is refused by
// the programs until it has three, and keeps what it has.
func TestGrow(t *testing.T) {
	t.Parallel()
	c, err := broker.StartCluster(t.Context(), t.TempDir(), testkit.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	grow(t, c, 1)
	site, cloud := anywhere(t, c, queue.Consumer).OnPremises("corp"), anywhere(t, c, queue.Publisher).Tenant("corp")
	ctx := within(t, time.Minute)
	for _, tenant := range []*queue.Tenant{site, cloud} {
		wantError(t, tenant.CheckStreams(ctx), "stream REQUESTS", "1 of the servers", "replicas: 3", "publisher streams")
	}
	journal := newJournal()
	refused := dial(t, c.Config(queue.Consumer), queue.Consumer, zerolog.New(journal)).OnPremises("corp")
	taking, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		refused.Take(taking)
	}()
	journal.await(t, "the durable consumer is on 1 of the servers")
	stop()
	<-ended

	id := ref()
	seq, err := cloud.Append(ctx, id, []byte("accepted"), 0)
	if err != nil {
		t.Fatal(err)
	}
	enqueue(t, cloud, 3)
	lines := grow(t, c, 3)
	for _, what := range []string{"stream REQUESTS", "stream RECORDS", "stream EVENTS", "stream KV_consumers", "stream KV_switches", "stream KV_tickets", "consumer consumers"} {
		if !slices.Contains(lines, what+": changed num_replicas from 1 to 3") {
			t.Errorf("Provision does not say that it changed %s: %q", what, lines)
		}
	}
	if again := grow(t, c, 3); strings.Contains(strings.Join(again, " "), "changed") {
		t.Errorf("Provision again changes something: %q", again)
	}
	// The server with the only replica may go now.
	leads, _ := leader(t, c, "RECORDS")
	c.Kill(leads)
	for _, tenant := range []*queue.Tenant{site, cloud} {
		if err := tenant.CheckStreams(ctx); err != nil {
			t.Error(err)
		}
	}
	if got, err := cloud.Records(ctx, id.ID); err != nil || len(got) != 1 || got[0].Seq != seq {
		t.Errorf("the records are %v, %v; want the one from before", got, err)
	}
	for range 3 {
		if err := take(t, site).Ack(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestCheckDurableCluster: a server that does not answer has not been looked at.
func TestCheckDurableCluster(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	if err := anywhere(t, c, queue.System).CheckDurable(within(t, 10*time.Second), 3); err != nil {
		t.Error(err)
	}
	c.Kill(0)
	wantError(t, at(t, c, 1, queue.System).CheckDurable(within(t, 2*time.Second), 3), "2 servers", "3 replicas")
}

// TestSlotAfterAck: on a cluster a slot is free only some 10 ms after the ack
// that frees it. The next request of the account does not see that.
func TestSlotAfterAck(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	cloud, site := anywhere(t, c, queue.Publisher).Tenant("corp"), anywhere(t, c, queue.Consumer).OnPremises("corp")
	ctx, account := within(t, time.Minute), slot()
	if err := cloud.Enqueue(ctx, account, reset.NewID(), []byte("first")); err != nil {
		t.Fatal(err)
	}
	nc, late := rawCluster(t, c, queue.Publisher), 0
	for range 20 {
		d := take(t, site)
		if err := d.Ack(ctx); err != nil {
			t.Fatal(err)
		}
		// What the broker says at once, of a request that we do not repeat.
		m, err := nc.Request("corp.req."+d.Slot, []byte("next"), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(m.Data), "maximum messages per subject exceeded") {
			late++
			if err := cloud.Enqueue(ctx, account, reset.NewID(), []byte("next")); err != nil {
				t.Errorf("after the ack: %v", err)
			}
		}
	}
	t.Logf("the slot was still taken right after %d of 20 acks", late)
	if late == 0 {
		t.Error("the slot was free after every ack; this test has seen nothing")
	}
	if err := cloud.Enqueue(ctx, account, reset.NewID(), []byte("another")); !errors.Is(err, reset.ErrSlotTaken) {
		t.Errorf("while a request is there: got %v, want %v", err, reset.ErrSlotTaken)
	}
}

func rawCluster(t *testing.T, c *broker.Cluster, role queue.Role) *nats.Conn {
	t.Helper()
	return raw(t, &broker.Server{Files: c.Node(0)}, role)
}

// TestWritersRideOver: two publishers and two consumers write, put in and take
// all the time, while a node is lost, hangs, gives up leading, is told to send
// its clients away, and all are restarted one after the other. Every write
// ends in one certain word, and nothing that was acknowledged is missing.
func TestWritersRideOver(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	ctx := t.Context()
	restart := func(n int) error {
		if err := c.Restart(ctx, n); err != nil {
			return err
		}
		return c.AwaitInStep(ctx)
	}
	kill := func(stream string) func() error {
		return func() error {
			n, err := c.Leader(ctx, stream)
			if err != nil {
				return err
			}
			c.Kill(n)
			if _, err := c.Leader(ctx, stream); err != nil {
				return err
			}
			return restart(n)
		}
	}
	faults := []struct {
		name string
		f    func() error
	}{
		{"the leader of RECORDS is killed", kill("RECORDS")},
		{"the leader of REQUESTS is killed", kill("REQUESTS")},
		{"the leaders give up leading", func() error {
			return errors.Join(c.StepDown(ctx, "RECORDS"), c.StepDown(ctx, "REQUESTS"), c.AwaitInStep(ctx))
		}},
		{"the leader of RECORDS hangs", func() error {
			n, err := c.Leader(ctx, "RECORDS")
			if err != nil {
				return err
			}
			if err := c.Signal(n, syscall.SIGSTOP); err != nil {
				return err
			}
			// A hung node still takes connections; who asks must not be its client.
			err = awaitOtherLeader(ctx, c, n)
			return errors.Join(err, c.Signal(n, syscall.SIGCONT), c.AwaitInStep(ctx))
		}},
		{"a node sends its clients away", func() error {
			n, err := c.Leader(ctx, "RECORDS")
			if err != nil {
				return err
			}
			ended, err := c.LameDuck(n)
			if err != nil {
				return err
			}
			<-ended
			return restart(n)
		}},
		{"all are restarted, one after the other", func() error {
			for n := range broker.Nodes {
				c.Stop(n)
				if err := restart(n); err != nil {
					return err
				}
			}
			return nil
		}},
	}
	l := newLoad(t, c)
	for _, fault := range faults {
		begun := time.Now()
		if err := fault.f(); err != nil {
			t.Fatalf("%s: %v", fault.name, err)
		}
		l.more(t, 20)
		t.Logf("%-40s over after %6s; longest write %s, longest wait in the queue %s", fault.name,
			time.Since(begun).Round(10*time.Millisecond), l.slowest(&l.write), l.slowest(&l.wait))
	}
	l.end(t)
}

// awaitOtherLeader waits until a node other than n leads RECORDS.
func awaitOtherLeader(ctx context.Context, c *broker.Cluster, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		next, err := c.Leader(ctx, "RECORDS")
		if err != nil || next != n {
			return err
		}
	}
}

// TestHungNode: a node that takes connections and says nothing is left for another
// one, which no time-out of a write would do.
func TestHungNode(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	conn := anywhere(t, c, queue.Publisher)
	tenant, ctx := conn.Tenant("corp"), within(t, time.Minute)
	hung := -1
	for n := range broker.Nodes {
		if c.Node(n).Name == conn.Server() {
			hung = n
		}
	}
	if err := c.Signal(hung, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer c.Signal(hung, syscall.SIGCONT)
	begun := time.Now()
	if _, err := tenant.Append(ctx, ref(), []byte("accepted"), 0); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begun)
	t.Logf("a write went through after %s", took.Round(time.Millisecond))
	if took > 12*time.Second {
		t.Errorf("a write went through after %s, want it sooner", took)
	}
	if conn.Server() == c.Node(hung).Name {
		t.Error("the connection is to the node that hangs")
	}
}

// TestWithoutQuorum: one node of three takes connections and can store nothing.
// Nobody is told that anything was stored, and what was not answered is there
// once when the others are back, or was never.
func TestWithoutQuorum(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	cloud, site := at(t, c, 0, queue.Publisher).Tenant("corp"), at(t, c, 0, queue.Consumer).OnPremises("corp")
	for n := 1; n < broker.Nodes; n++ {
		c.Kill(n)
	}
	if err := site.Announce("r1", []byte("alive")); err == nil {
		t.Error("an announcement is taken for stored")
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := cloud.Append(short, ref(), []byte("accepted"), 0); !errors.Is(err, reset.ErrUnknown) && !errors.Is(err, reset.ErrUnavailable) {
		t.Errorf("Append: got %v, want %v or %v", err, reset.ErrUnknown, reset.ErrUnavailable)
	}
	// These go on until the others are back.
	type result struct {
		seq uint64
		err error
	}
	ctx, id, account := within(t, time.Minute), ref(), slot()
	record, request := make(chan result, 1), make(chan error, 1)
	go func() {
		seq, err := cloud.Append(ctx, id, []byte("accepted"), 0)
		record <- result{seq, err}
	}()
	go func() { request <- cloud.Enqueue(ctx, account, id.ID, []byte("ours")) }()
	for n := 1; n < broker.Nodes; n++ {
		if err := c.Restart(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	got := <-record
	if got.err != nil {
		t.Errorf("Append: %v", got.err)
	}
	if err := <-request; err != nil {
		t.Errorf("Enqueue: %v", err)
	}
	stored, err := cloud.Records(ctx, id.ID)
	if err != nil || len(stored) != 1 || stored[0].Seq != got.seq {
		t.Errorf("the records are %v, %v; want one of sequence %d", stored, err, got.seq)
	}
	d := take(t, site)
	if string(d.Data) != "ours" {
		t.Errorf("took %q", d.Data)
	}
	if err := d.Ack(ctx); err != nil {
		t.Error(err)
	}
}
