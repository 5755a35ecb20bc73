package queue_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// owned starts a broker with an administrator of the tenant's account, who made
// its streams so that messages can be deleted.
func owned(t *testing.T, streams ...string) (*broker.Server, *nats.Conn) {
	t.Helper()
	dir := t.TempDir()
	key, err := broker.CopyConfig(filepath.Join(testkit.Root(t), "nats"), dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := broker.NewFiles(dir, filepath.Join(dir, "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := files.Start(t.Context(), binary(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	nc := rawAs(t, s, user{role: queue.Provisioner, key: key})
	for _, name := range streams {
		subject := map[string]string{"RECORDS": "rec.*.*.*", "EVENTS": "evt.>"}[name]
		_, err := jetStream(t, nc).CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s, nc
}

func TestReadLog(t *testing.T) {
	t.Parallel()
	s, nc := owned(t, "RECORDS", "EVENTS")
	js := jetStream(t, nc)
	const count = 1500 // more than all batches that are asked for at once
	var middle time.Time
	for i := range uint64(count) {
		msg := nats.NewMsg(fmt.Sprintf("rec.p1.%032x.pub", i+1))
		msg.Data = fmt.Append(nil, "record ", i+1)
		if i == 5 { // whoever writes can say what it likes
			msg.Header.Set("Nats-Sequence", "9")
			msg.Header.Set("Nats-Subject", "rec.other")
			msg.Header.Set("Nats-Time-Stamp", "2001-01-01T00:00:00Z")
			msg.Header.Set("Status", "204")
		}
		if i == count/2 {
			middle = time.Now()
		}
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(t.Context(), "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	holes := []uint64{1, 2, 100, 256, 257, 700, 1400, 1500}
	for seq := uint64(800); seq < 1300; seq++ {
		holes = append(holes, seq)
	}
	for _, seq := range holes {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	log := connect(t, s.Config(queue.Auditor), queue.Auditor).Tenant("corp").Log("RECORDS")
	ctx := within(t, time.Minute)
	first, last, err := log.Bounds(ctx)
	if err != nil || first != 3 || last != count {
		t.Errorf("Bounds = %d to %d, %v; want 3 to %d", first, last, err, count)
	}
	for _, r := range [][2]uint64{{1, count}, {3, 1499}, {6, 6}, {100, 100}, {99, 101}, {256, 1400}, {900, 950}, {700, 1300}, {5, 4}} {
		want := r[0]
		next := func() {
			for slices.Contains(holes, want) {
				want++
			}
		}
		next()
		err := log.Read(ctx, r[0], r[1], func(m reset.Message) error {
			if m.Seq != want || m.Subject != fmt.Sprintf("rec.p1.%032x.pub", want) || string(m.Data) != fmt.Sprint("record ", want) {
				t.Fatalf("reading %v: message %d on %s is %q, want number %d", r, m.Seq, m.Subject, m.Data, want)
			}
			if age := time.Since(m.Time); age < 0 || age > time.Minute {
				t.Errorf("message %d was stored at %s", m.Seq, m.Time)
			}
			want++
			next()
			return nil
		})
		if err != nil || want <= r[1] {
			t.Errorf("reading %v ends before %d: %v", r, want, err)
		}
	}
	if seq, ok, err := log.Since(ctx, middle); err != nil || !ok || seq != count/2+1 {
		t.Errorf("Since = %d, %t, %v; want %d", seq, ok, err, count/2+1)
	}
	if _, ok, err := log.Since(ctx, time.Now().Add(time.Hour)); err != nil || ok {
		t.Errorf("there is a message from the future: %v", err)
	}
	stop := errors.New("stop")
	if err := log.Read(ctx, 3, count, func(reset.Message) error { return stop }); err != stop {
		t.Errorf("a reader that stops: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := log.Read(gone, 3, count, func(reset.Message) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("reading after the end: %v", err)
	}
	events := connect(t, s.Config(queue.Auditor), queue.Auditor).Tenant("corp").Log("EVENTS")
	if first, last, err := events.Bounds(ctx); err != nil || first != 1 || last != 0 {
		t.Errorf("bounds of an empty log: %d to %d, %v", first, last, err)
	}
}
