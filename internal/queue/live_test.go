package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"writeback/internal/queue"
	"writeback/internal/reset"
)

// arrival is a record that came in live.
type arrival struct {
	id reset.ID
	reset.Stored
}

// live listens to the records of publisher p1.
func live(t *testing.T, tenant *queue.Tenant) <-chan arrival {
	t.Helper()
	heard := make(chan arrival, 100)
	if err := tenant.Live("p1", func(id reset.ID, s reset.Stored) { heard <- arrival{id, s} }); err != nil {
		t.Fatal(err)
	}
	// The subscription is at the broker when this has been answered.
	if _, err := tenant.Records(within(t, 20*time.Second), reset.NewID()); err != nil {
		t.Fatal(err)
	}
	return heard
}

// await returns the next record of a request.
func await(t *testing.T, heard <-chan arrival, id reset.ID) reset.Stored {
	t.Helper()
	ctx := within(t, 20*time.Second)
	for {
		select {
		case a := <-heard:
			if a.id == id {
				return a.Stored
			}
		case <-ctx.Done():
			t.Fatal("no record came in")
		}
	}
}

func TestLive(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, site := publisher(t, s), consumer(t, s)
	heard := live(t, cloud)
	ctx := within(t, 20*time.Second)
	id := ref()
	var last uint64
	for i, tenant := range []*queue.Tenant{cloud, site, site} {
		record := fmt.Appendf(nil, "record %d", i)
		seq, err := tenant.Append(ctx, id, record, last)
		if err != nil {
			t.Fatal(err)
		}
		last = seq
		if got := await(t, heard, id.ID); got.Seq != seq || string(got.Data) != string(record) {
			t.Errorf("heard %d %q, want %d %q", got.Seq, got.Data, seq, record)
		}
	}
	// Another publisher's records are not ours to hear. Ours, written after
	// it, is the next that comes in.
	if _, err := cloud.Append(ctx, reset.Ref{Publisher: "p2", ID: reset.NewID()}, []byte("theirs"), 0); err != nil {
		t.Fatal(err)
	}
	last, err := site.Append(ctx, id, []byte("ours"), last)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got.id != id.ID || got.Seq != last {
		t.Errorf("heard %v, want the next record of our own", got)
	}
}

// TestLiveSequence: a record is where the server says that it is, whatever its writer
// says of it.
func TestLiveSequence(t *testing.T) {
	t.Parallel()
	s := start(t)
	heard, nc, id := live(t, publisher(t, s)), raw(t, s, queue.Consumer), ref()
	msg := nats.NewMsg("corp.rec.p1." + id.ID.String() + ".con")
	msg.Data = []byte("claimed")
	msg.Header.Set("Nats-Sequence", "9")
	if _, err := nc.RequestMsgWithContext(within(t, 20*time.Second), msg); err != nil {
		t.Fatal(err)
	}
	if got := await(t, heard, id.ID); got.Seq != 1 || string(got.Data) != "claimed" {
		t.Errorf("heard %d %q, want the first record", got.Seq, got.Data)
	}
}

// TestLiveAfterRestart: a subscription comes back with the connection.
func TestLiveAfterRestart(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, site := publisher(t, s), consumer(t, s)
	heard := live(t, cloud)
	s.Kill()
	restart(t, s)
	ctx := within(t, 20*time.Second)
	if _, err := cloud.Records(ctx, reset.NewID()); err != nil {
		t.Fatal(err)
	}
	id := ref()
	if _, err := site.Append(ctx, id, []byte("after"), 0); err != nil {
		t.Fatal(err)
	}
	await(t, heard, id.ID)
}

func TestScan(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, site := publisher(t, s), consumer(t, s)
	ctx := within(t, 20*time.Second)
	begun := time.Now()
	var want []reset.Ref
	for i := range 5 {
		id := reset.Ref{Publisher: fmt.Sprintf("p%d", i%2), ID: reset.NewID()}
		seq, err := cloud.Append(ctx, id, []byte("accepted"), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := site.Append(ctx, id, []byte("claimed"), seq); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	scan := func(since time.Time, f func(reset.Ref) error) []reset.Ref {
		var got []reset.Ref
		err := cloud.Scan(ctx, since, func(r reset.Ref) error {
			got = append(got, r)
			return f(r)
		})
		if err != nil && !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
		return got
	}
	more := func(reset.Ref) error { return nil }
	if got := scan(begun.Add(-time.Minute), more); !slices.Equal(got, want) {
		t.Errorf("since before: got %v, want %v", got, want)
	}
	if got := scan(time.Now().Add(time.Minute), more); len(got) != 0 {
		t.Errorf("since after: got %v, want none", got)
	}
	if got := scan(begun.Add(-time.Minute), func(reset.Ref) error { return errEnough }); len(got) != 1 {
		t.Errorf("a listener that has enough got %d", len(got))
	}
}

var errEnough = errors.New("enough")

func TestRecordsOfNoRequest(t *testing.T) {
	t.Parallel()
	got, err := publisher(t, start(t)).Records(within(t, 20*time.Second), reset.NewID())
	if err != nil || len(got) != 0 {
		t.Errorf("got %v, %v; want no records and no error", got, err)
	}
}

func TestReadingWithoutBroker(t *testing.T) {
	t.Parallel()
	s := start(t)
	tenant := publisher(t, s)
	s.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := tenant.Records(ctx, reset.NewID()); !errors.Is(err, reset.ErrUnavailable) {
		t.Errorf("Records: got %v, want %v", err, reset.ErrUnavailable)
	}
}

func TestAnnouncements(t *testing.T) {
	t.Parallel()
	s := start(t)
	site := consumer(t, s)
	say := func(replica, text string) {
		t.Helper()
		if err := site.Announce(replica, []byte(text)); err != nil {
			t.Fatal(err)
		}
		// It is stored when this, sent after it, has been answered.
		if _, err := site.Records(within(t, 20*time.Second), reset.NewID()); err != nil {
			t.Fatal(err)
		}
	}
	listen := func(tenant *queue.Tenant) <-chan string {
		t.Helper()
		heard := make(chan string, 100)
		if err := tenant.Announcements(within(t, 20*time.Second), func(b []byte) { heard <- string(b) }); err != nil {
			t.Fatal(err)
		}
		return heard
	}
	hears := func(heard <-chan string, want ...string) {
		t.Helper()
		var got []string
		ctx := within(t, 20*time.Second)
		for range want {
			select {
			case text := <-heard:
				got = append(got, text)
			case <-ctx.Done():
				t.Fatalf("heard %q, want %q", got, want)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
	early, other := listen(publisher(t, s)), listen(consumer(t, s))
	say("r1", "r1 first")
	say("r2", "r2 first")
	say("r1", "r1 second")
	hears(early, "r1 first", "r1 second", "r2 first")
	hears(other, "r1 first", "r1 second", "r2 first")
	// Who comes late hears the newest of each replica, and what comes after.
	late := listen(publisher(t, s))
	hears(late, "r1 second", "r2 first")
	say("r1", "r1 third")
	hears(late, "r1 third")
	hears(early, "r1 third")
	hears(other, "r1 third")

	if err := site.Announce("not.a.name", []byte("r")); err == nil {
		t.Error("an announcement that no stream keeps is taken for stored")
	}
	stream, err := operator(t, s).Stream(within(t, 20*time.Second), "KV_consumers")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().Config.MaxAge; got != reset.Presence {
		t.Errorf("an announcement is kept for %s, want %s", got, reset.Presence)
	}
}

// TestPullThatIdles: a pull that was answered with signs of life still gets the
// request that comes later. The consumers' account hears several answers of one
// pull only because nats/accounts.conf says so.
func TestPullThatIdles(t *testing.T) {
	t.Parallel()
	s := start(t)
	nc := raw(t, s, queue.Consumer)
	inbox := nc.NewRespInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("corp."+nextRequest, inbox, []byte(`{"batch":1,"expires":20000000000,"idle_heartbeat":200000000}`)); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 5; n++ {
		m, err := answers.NextMsg(10 * time.Second)
		if err != nil || m.Header.Get("Status") != "100" {
			t.Fatalf("answer %d: got %v (%v), want a sign of life", n, m, err)
		}
	}
	enqueue(t, publisher(t, s), 1)
	for {
		m, err := answers.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Status") == "100" {
			continue
		}
		if string(m.Data) != "request 0" {
			t.Errorf("got %q, want the request", m.Data)
		}
		return
	}
}
