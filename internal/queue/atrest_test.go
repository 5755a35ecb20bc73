package queue_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/tenants"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// A disk is a broker whose store is looked at while it is stopped.
type disk struct {
	*broker.Files
	conf string
	ref  reset.Ref
	body []byte // of a record that the store holds
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	if _, err := broker.CopyConfig(filepath.Join(testkit.Root(t), "nats"), dir); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nats-server.conf")
	files, err := broker.NewFiles(dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	return &disk{Files: files, conf: conf, ref: ref(), body: []byte("what a record says in clear")}
}

// run starts the broker, calls f, and ends it as a stop or as a crash.
func (d *disk) run(t *testing.T, end func(*broker.Server), f func(*broker.Server)) {
	t.Helper()
	s, err := d.Start(t.Context(), binary(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	f(s)
	end(s)
}

// fill makes the streams and stores a record, a request and an announcement.
func (d *disk) fill(t *testing.T) func(*broker.Server) {
	return func(s *broker.Server) {
		provision(t, s)
		p := publisher(t, s)
		if _, err := p.Append(within(t, 10*time.Second), d.ref, d.body, 0); err != nil {
			t.Fatal(err)
		}
		if err := p.Enqueue(within(t, 10*time.Second), slot(), d.ref.ID, d.body); err != nil {
			t.Fatal(err)
		}
		if err := consumer(t, s).Announce("replica-in-clear", d.body); err != nil {
			t.Fatal(err)
		}
	}
}

// holds reads the record.
func (d *disk) holds(t *testing.T) func(*broker.Server) {
	return func(s *broker.Server) {
		t.Helper()
		got, err := publisher(t, s).Records(within(t, 10*time.Second), d.ref.ID)
		missing, absent := connect(t, s.Config(queue.Provisioner), queue.Provisioner).Missing(within(t, 10*time.Second))
		if absent != nil || len(missing) != 0 {
			t.Errorf("Missing = %q, %v; want none", missing, absent)
		}
		if err != nil || len(got) != 1 || !bytes.Equal(got[0].Data, d.body) {
			t.Errorf("there are %d records, %v; want the one that was stored", len(got), err)
		}
	}
}

// closed checks that the streams cannot be used, and that who would make them anew
// is told that they are not there.
func (d *disk) closed(t *testing.T) func(*broker.Server) {
	return func(s *broker.Server) {
		t.Helper()
		if err := publisher(t, s).CheckStreams(within(t, 10*time.Second)); err == nil {
			t.Error("the programs work with streams that the server cannot read")
		}
		missing, err := connect(t, s.Config(queue.Provisioner), queue.Provisioner).Missing(within(t, 10*time.Second))
		if err != nil || len(missing) != 5 {
			t.Errorf("Missing = %q, %v; want all five", missing, err)
		}
	}
}

// clear returns what can be read in the files of the store.
func (d *disk) clear(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(d.StoreDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		for name, needle := range map[string][]byte{
			"the id of a request": []byte(d.ref.ID.String()), "a record": d.body,
			"a subject": []byte("rec." + d.ref.Publisher), "a setting": []byte("max_msgs_per_subject"), "a replica's name": []byte("replica-in-clear"),
		} {
			if bytes.Contains(text, needle) {
				found = append(found, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestStoreIsEncrypted looks for what a record has in clear in the store of a
// broker that has ended.
func TestStoreIsEncrypted(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*broker.Server){"after a stop": (*broker.Server).Stop, "after a crash": (*broker.Server).Kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			d.run(t, end, d.fill(t))
			if got := d.clear(t); len(got) != 0 {
				t.Errorf("in the store one can read %q", got)
			}
			d.run(t, end, d.holds(t))
		})
	}
	t.Run("what the search finds without a key", func(t *testing.T) {
		t.Parallel()
		d := newDisk(t)
		d.ClearStore()
		d.run(t, (*broker.Server).Stop, d.fill(t))
		for _, want := range []string{"the id of a request", "a record", "a subject", "a setting", "a replica's name"} {
			if got := d.clear(t); !strings.Contains(strings.Join(got, "\n"), want) {
				t.Errorf("it finds %q, want %q too", got, want)
			}
		}
		d.run(t, (*broker.Server).Stop, d.holds(t))
	})
}

// TestStoreWithoutItsKey starts a broker on a store whose key it has not.
func TestStoreWithoutItsKey(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	d.run(t, (*broker.Server).Stop, d.fill(t))
	key, err := os.ReadFile(filepath.Join(filepath.Dir(d.conf), "store.key"))
	if err != nil {
		t.Fatal(err)
	}

	for name, other := range map[string]string{"another key": "key-of-another-broker", "an empty key": `""`} {
		t.Run(name, func(t *testing.T) {
			d.Set("WRITEBACK_STORE_KEY", other)
			d.run(t, (*broker.Server).Stop, d.closed(t))
		})
	}
	t.Run("no key", func(t *testing.T) {
		cmd := d.Command(binary(t))
		cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "WRITEBACK_STORE_KEY=") })
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "WRITEBACK_STORE_KEY") {
			t.Errorf("it ends with %v and says %q, want the variable's name", err, out)
		}
	})
	t.Run("its key again", func(t *testing.T) {
		d.Set("WRITEBACK_STORE_KEY", string(key))
		d.run(t, (*broker.Server).Stop, d.holds(t))
	})
}

// TestStoreKeyChanges gives a single server another key as nats/README.md says:
// with an empty store. Both keys go on opening their own store, and no other.
func TestStoreKeyChanges(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	d.Set("WRITEBACK_STORE_KEY", "key-before")
	d.run(t, (*broker.Server).Stop, d.fill(t))
	before := d.StoreDir + "-before"
	if err := os.Rename(d.StoreDir, before); err != nil {
		t.Fatal(err)
	}
	d.Set("WRITEBACK_STORE_KEY", "key-after")
	d.run(t, (*broker.Server).Stop, d.fill(t))
	d.run(t, (*broker.Server).Stop, d.holds(t))

	d.Set("WRITEBACK_STORE_KEY", "key-before")
	d.run(t, (*broker.Server).Stop, d.closed(t))
	d.Set("WRITEBACK_NATS_STORE", strconv.Quote(before))
	d.run(t, (*broker.Server).Stop, d.holds(t))
	d.Set("WRITEBACK_STORE_KEY", "key-after")
	d.run(t, (*broker.Server).Stop, d.closed(t))
}

// TestStoreKeyOfCluster gives each node of a cluster a key of its own, one after
// the other, while the others go on.
func TestStoreKeyOfCluster(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	cloud := anywhere(t, c, queue.Publisher).Tenant("corp")
	var refs []reset.Ref
	add := func() {
		t.Helper()
		refs = append(refs, ref())
		if _, err := cloud.Append(within(t, 30*time.Second), refs[len(refs)-1], []byte("accepted"), 0); err != nil {
			t.Fatal(err)
		}
	}
	add()
	for i := range broker.Nodes {
		c.Stop(i)
		if err := os.RemoveAll(c.Node(i).StoreDir); err != nil {
			t.Fatal(err)
		}
		c.Node(i).Set("WRITEBACK_STORE_KEY", "key-of-"+c.Node(i).Name)
		add() // meanwhile
		if err := c.Restart(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(grow(t, c, 3), " "); strings.Contains(got, "changed") || strings.Contains(got, "created") {
			t.Errorf("after node %d, provisioning says %q", i, got)
		}
	}
	for _, r := range refs {
		if got, err := cloud.Records(within(t, 30*time.Second), r.ID); err != nil || len(got) != 1 {
			t.Errorf("of %s there are %d records, %v; want one", r, len(got), err)
		}
	}
}

// TestPushAfterLoss: in operator mode, too, streams that a tenant had are not made
// anew unless that is said.
func TestPushAfterLoss(t *testing.T) {
	t.Parallel()
	op := operate(t)
	op.add(t, "corp")
	push := func(fresh bool) (err error) {
		op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
			b.New = fresh
			err = o.Push(within(t, 20*time.Second), b, "corp")
			return nil
		})
		return err
	}
	if err := push(false); err != nil {
		t.Errorf("as it should be: %v", err)
	}
	key, err := os.ReadFile(filepath.Join(op.dir, "store.key"))
	if err != nil {
		t.Fatal(err)
	}
	op.Set("WRITEBACK_STORE_KEY", "key-of-somebody-else")
	op.restart(t)
	wantError(t, push(false), "tenant corp", "does not have REQUESTS", "-new")
	op.Set("WRITEBACK_STORE_KEY", string(key))
	op.restart(t)
	if err := push(false); err != nil {
		t.Errorf("with its key again: %v", err)
	}
	op.Stop()
	if err := os.RemoveAll(op.StoreDir); err != nil {
		t.Fatal(err)
	}
	op.restart(t)
	wantError(t, push(false), "tenant corp", "does not have REQUESTS", "-new")
	// That streams were made is known also if a later tenant has trouble.
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		err := o.Add("acme", limits())
		wantError(t, o.Push(within(t, 20*time.Second), b, "acme", "corp"), "tenant corp", "does not have REQUESTS")
		return err
	})
	op.Stop()
	if err := os.RemoveAll(op.StoreDir); err != nil {
		t.Fatal(err)
	}
	op.restart(t)
	op.with(t, func(o *tenants.Operator, b tenants.Broker) error {
		wantError(t, o.Push(within(t, 20*time.Second), b, "acme"), "tenant acme", "does not have REQUESTS")
		return nil
	})
	if err := push(true); err != nil {
		t.Errorf("of a store that is new: %v", err)
	}
}
