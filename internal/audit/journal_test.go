package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

// A shelf is a store that can be away.
type shelf struct {
	mu     sync.Mutex
	events []reset.Stored
	away   chan struct{} // nil, or closed when it is back
}

func (s *shelf) AppendEvent(ctx context.Context, _ string, _ [16]byte, event []byte, expect uint64) (uint64, error) {
	s.mu.Lock()
	away := s.away
	s.mu.Unlock()
	if away != nil {
		select {
		case <-away:
		case <-ctx.Done():
			return 0, reset.ErrUnavailable
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := uint64(len(s.events)); n != expect {
		return 0, fmt.Errorf("event %d is expected after %d", n+1, expect)
	}
	s.events = append(s.events, reset.Stored{Seq: expect + 1, Data: event})
	return expect + 1, nil
}

func (s *shelf) leave() (back func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	away := make(chan struct{})
	s.away = away
	return func() { close(away) }
}

// A desk is a publisher's journal on a shelf.
type desk struct {
	*Journal
	*shelf
	t        *testing.T
	log      *Log
	logged   bytes.Buffer
	verifier Verifier
	months   seal.MonthKeys
	cancel   context.CancelFunc
	ended    chan struct{}
}

// newDesk returns a running journal. It must be called in a synctest bubble.
func newDesk(t *testing.T, s *shelf) *desk {
	t.Helper()
	months := keys.Months(t, time.Now(), 2)
	pub := signer(t, seal.PurposePublisher, 1)
	d := &desk{shelf: s, t: t, log: NewLog(pub, "pub_1"), months: months, ended: make(chan struct{})}
	d.verifier = Verifier{
		Tenant: "corp", Publishers: pins(t, seal.Pin{Key: pub.Public()}),
		Consumers: pins(t, seal.Pin{Key: signer(t, seal.PurposeConsumer, 2).Public()}),
	}
	d.Journal = NewJournal(JournalConfig{
		Log: d.log, Tenant: "corp", Months: months, Store: s, Version: "v1", Logger: zerolog.New(zerolog.SyncWriter(&d.logged)),
	})
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(d.ended)
		d.Run(ctx)
	}()
	return d
}

func (d *desk) stop() {
	d.cancel()
	<-d.ended
}

// told returns the events so far, which must be good.
func (d *desk) told() (list []Entry) {
	d.t.Helper()
	synctest.Wait()
	d.mu().Lock()
	defer d.mu().Unlock()
	for _, s := range d.events {
		e, err := d.verifier.Event(s)
		if err != nil {
			d.t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func (d *desk) mu() *sync.Mutex { return &d.shelf.mu }

func (d *desk) kinds() (kinds []string) {
	d.t.Helper()
	for _, e := range d.told() {
		kinds = append(kinds, e.Fact.Kind().String())
	}
	return kinds
}

func (d *desk) want(kinds ...string) {
	d.t.Helper()
	if got := d.kinds(); !slices.Equal(got, kinds) {
		d.t.Errorf("events are %q, want %q", got, kinds)
	}
}

// record writes a record whose store says err.
func (d *desk) record(err error) Link {
	d.t.Helper()
	rec := envelope.Record{Kind: envelope.Accepted, Tenant: "corp", Publisher: "pub_1", ID: reset.NewID(), Operation: reset.Reset, Time: time.Now()}
	link, got := d.log.Append(&rec, envelope.Private{}, nil, func([]byte) (uint64, error) { return 1, err })
	if !errors.Is(got, err) {
		d.t.Fatalf("Append = %v, want %v", got, err)
	}
	return link
}

var ada = &envelope.Private{Actor: reset.Actor{Kind: reset.Admin, Subject: "ada"}}

func TestJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, &shelf{})
		if err := d.Started(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.want("started")
		if err := d.Write(t.Context(), envelope.SwitchChanged{Switch: "unlock"}, ada); err != nil {
			t.Fatal(err)
		}
		first := d.record(nil)
		d.record(reset.ErrConflict)
		d.record(reset.ErrUnknown)
		d.want("started", "switch_changed")
		time.Sleep(checkpointEvery) // of the bubble
		d.want("started", "switch_changed", "checkpoint")
		time.Sleep(10 * checkpointEvery)
		d.want("started", "switch_changed", "checkpoint")
		last := d.record(nil)
		d.stop()
		d.want("started", "switch_changed", "checkpoint", "stopped", "checkpoint")

		told := d.told()
		for i, n := range []uint64{1, 2, 6, 8, 9} {
			if told[i].Writer != (envelope.Writer{Key: d.log.Public().ID(), Name: "pub_1", Run: d.log.Run(), Number: n}) {
				t.Errorf("event %d is by %+v, want number %d", i, told[i].Writer, n)
			}
		}
		a, b := told[2].Fact.(envelope.Checkpoint), told[4].Fact.(envelope.Checkpoint)
		if a.From != 1 || a.To != 5 || b.From != 6 || b.To != 8 || b.Previous != told[2].Hash || a.Final || !b.Final || a.Lost+b.Lost != 0 {
			t.Errorf("checkpoints are %+v and %+v", a, b)
		}
		if got := Compare(a, []Numbered{{1, told[0].Hash}, {2, told[1].Hash}, {3, first.Hash}}); !got.Whole() {
			t.Errorf("the first checkpoint: %+v", got)
		}
		if got := Compare(b, []Numbered{{6, told[2].Hash}, {7, last.Hash}, {8, told[3].Hash}}); !got.Whole() {
			t.Errorf("the last checkpoint: %+v", got)
		}
	})
}

func TestJournalEncrypts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, &shelf{})
		d.Note(envelope.NameRevealed{}, ada)
		d.Note(envelope.NameRevealed{}, ada)
		d.Note(envelope.ReplicaSeen{Replica: "con_1", How: envelope.FirstSight}, nil)
		told := d.told()[1:]
		d.stop()
		for i, want := range []string{"ada", "ada", ""} {
			p, err := PrivateEvent(d.months, told[i])
			if err != nil || p.Actor.Subject != want {
				t.Errorf("event %d: %+v, %v", i, p, err)
			}
			if bytes.Contains(told[i].Encode(), []byte("ada")) {
				t.Errorf("event %d names a person in clear", i)
			}
		}
		if told[0].ID == told[1].ID || told[0].Month == 0 || told[2].Month != 0 || len(told[2].Event.Private) != 0 {
			t.Errorf("ids %x and %x, months %d and %d", told[0].ID, told[1].ID, told[0].Month, told[2].Month)
		}
		if _, err := PrivateEvent(seal.MonthKeys{}, told[0]); err == nil {
			t.Error("a private part opens without the month's key")
		}
		told[0].ID[0]++
		if _, err := PrivateEvent(d.months, told[0]); err == nil {
			t.Error("a private part opens for another event")
		}
	})
}

// Nothing is lost because the broker is away for a while, and who must wait
// does.
func TestJournalWhileTheBrokerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		back := s.leave()
		d := newDesk(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d.Started(ctx) == nil {
			t.Error("it has started")
		}
		if err := d.Write(ctx, envelope.SwitchChanged{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Write = %v", err)
		}
		waited := d.Note(envelope.NameRevealed{}, nil)
		time.Sleep(time.Hour) // of the bubble
		d.want()
		if n := d.Waiting(); n != 3 { // the start is one
			t.Errorf("%d events wait, want 3", n)
		}
		if n := strings.Count(d.logged.String(), "cannot be written"); n != 1 {
			t.Errorf("the log says %d times that an event cannot be written: %s", n, &d.logged)
		}
		back()
		<-waited
		if told := d.told(); told[2].Time.Sub(told[0].Time) != time.Second {
			t.Errorf("an event is told at %s, %s after the first; want when it happened", told[2].Time, told[2].Time.Sub(told[0].Time))
		}
		if n := d.Waiting(); n != 0 {
			t.Errorf("%d events wait, want none", n)
		}
		d.stop()
		d.want("started", "switch_changed", "name_revealed", "stopped", "checkpoint")
	})
}

func TestJournalIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		back := s.leave()
		d := newDesk(t, s)
		for range MaxWaiting {
			d.Note(envelope.NameRevealed{}, nil)
		}
		if n := d.Lost(); n != 0 {
			t.Errorf("%d events are lost, want none", n)
		}
		if err := d.Write(t.Context(), envelope.SwitchChanged{}, nil); err != ErrFull {
			t.Errorf("Write = %v, want ErrFull", err)
		}
		d.Note(envelope.TicketMade{}, nil)
		if n := d.Lost(); n != 2 || strings.Count(d.logged.String(), "is lost") != 2 {
			t.Errorf("%d events are lost, and the log says %s", n, &d.logged)
		}
		back()
		if err := d.Started(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.stop()
		told := d.told()
		if c := told[len(told)-1].Fact.(envelope.Checkpoint); c.Lost != 2 || len(told) < MaxWaiting+3 {
			t.Errorf("of %d events, the last checkpoint says that %d are lost", len(told), c.Lost)
		}
	})
}

// A program whose broker is away stops all the same, soon.
func TestJournalStopsWithoutABroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		d := newDesk(t, s)
		d.want("started")
		s.leave()
		d.Note(envelope.NameRevealed{}, nil)
		begun := time.Now()
		d.stop()
		if took := time.Since(begun); took > stopTimeout || d.Lost() == 0 {
			t.Errorf("it took %s, and %d events are lost", took, d.Lost())
		}
		s = &shelf{}
		s.leave()
		d = newDesk(t, s)
		d.Note(envelope.NameRevealed{}, nil)
		begun = time.Now()
		if d.stop(); time.Since(begun) != 0 || d.Lost() != 2 {
			t.Errorf("it took %s, although nothing was done, and %d events are lost", time.Since(begun), d.Lost())
		}
	})
}

func TestVerifyEventRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, &shelf{})
		d.Note(envelope.TokenMade{Token: "0a1b2c3d"}, nil)
		synctest.Wait()
		d.stop()
		good := d.events[1]
		for i := range good.Data {
			bad := reset.Stored{Seq: 2, Data: slices.Clone(good.Data)}
			bad.Data[i] ^= 1
			if _, err := d.verifier.Event(bad); !errors.Is(err, ErrEvent) {
				t.Fatalf("an event whose byte %d was altered: %v", i, err)
			}
		}
		other := d.verifier
		other.Tenant = "acme"
		if _, err := other.Event(good); !errors.Is(err, ErrEvent) {
			t.Errorf("an event of another tenant: %v", err)
		}
		// A consumer cannot say what is for publishers, nor the other way round.
		con := signer(t, seal.PurposeConsumer, 2)
		for _, tt := range []struct {
			by   *seal.Signer
			fact envelope.Fact
			good bool
		}{
			{con, envelope.TokenMade{}, false}, {con, envelope.TicketUsed{}, false}, {con, envelope.ReplicaSeen{Replica: "a", How: envelope.FirstSight}, false},
			{con, envelope.SealingKey{}, true}, {con, envelope.Stopped{}, true}, {con, envelope.Checkpoint{From: 1, To: 1}, true},
			{signer(t, seal.PurposePublisher, 1), envelope.SealingKey{}, false}, {signer(t, seal.PurposeConsumer, 3), envelope.Stopped{}, false},
		} {
			e := envelope.Event{Tenant: "corp", Time: time.Now(), Writer: envelope.Writer{Key: tt.by.Public().ID(), Name: "x"}, Fact: tt.fact}
			e.Sig = tt.by.Sign(seal.KindEvent, e.Signed())
			if _, err := d.verifier.Event(reset.Stored{Seq: 1, Data: e.Encode()}); (err == nil) != tt.good {
				t.Errorf("%s: %v", tt.fact.Kind(), err)
			}
			e.Sig = tt.by.Sign(seal.KindRecord, e.Signed())
			if _, err := d.verifier.Event(reset.Stored{Seq: 1, Data: e.Encode()}); err == nil {
				t.Errorf("%s: a record's signature passes", tt.fact.Kind())
			}
		}
	})
}

// A publisher of several tenants numbers what each of them can see.
func TestNumbersAreForEachTenant(t *testing.T) {
	l := NewLog(signer(t, seal.PurposePublisher, 1), "pub_1")
	for i, tenant := range []string{"corp", "acme", "corp", "acme"} {
		rec := envelope.Record{Kind: envelope.Accepted, Tenant: tenant, Publisher: "pub_1", Operation: reset.Reset, Time: noon}
		if _, err := l.Append(&rec, envelope.Private{}, nil, func([]byte) (uint64, error) { return 1, nil }); err != nil {
			t.Fatal(err)
		}
		if want := uint64(i/2 + 1); rec.Writer.Number != want {
			t.Errorf("record %d of %s has number %d, want %d", i, tenant, rec.Writer.Number, want)
		}
	}
}

// What is not yet in a checkpoint was written since the last one; where all is,
// none is due.
func TestCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		d := newDesk(t, s)
		begun := time.Now()
		want := func(what string, at time.Time) {
			t.Helper()
			synctest.Wait()
			if got := d.Covered(time.Now()); !got.Equal(at) {
				t.Errorf("%s: covered is what was written before %s, want %s", what, got, at)
			}
		}
		want("the start of the run is in none", begun)
		time.Sleep(checkpointEvery)
		want("just after the first", time.Now())
		time.Sleep(time.Hour)
		want("nothing was written since", time.Now())
		last := time.Now()
		d.record(nil)
		time.Sleep(checkpointEvery / 2)
		want("a record was written since", begun.Add(checkpointEvery))
		time.Sleep(checkpointEvery / 2)
		want("after the next", time.Now())
		back := s.leave()
		d.record(nil)
		time.Sleep(time.Hour)
		want("the broker is away", last.Add(checkpointEvery))
		back()
		d.stop()
		if idle := NewJournal(JournalConfig{Log: d.log, Tenant: "other"}); !idle.Covered(time.Now()).IsZero() {
			t.Error("a journal that does not run covers something")
		}
	})
}
