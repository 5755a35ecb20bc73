package overview

import (
	"crypto/sha256"
	"testing"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

// A stream is records of the tenant corp, written by a publisher and consumers.
type stream struct {
	t         *testing.T
	day       *Day
	publisher *audit.Log
	consumers map[string]*audit.Log
	seq       uint64
	last      map[reset.ID]envelope.Record // with its sequence and hash as its parent's
	now       time.Time
}

func newStream(t *testing.T) *stream {
	pub, con := keys.Signer(t, seal.PurposePublisher, 1), keys.Signer(t, seal.PurposeConsumer, 2)
	s := &stream{t: t, publisher: audit.NewLog(pub, "pub1"), consumers: make(map[string]*audit.Log), last: make(map[reset.ID]envelope.Record)}
	for _, name := range []string{"a", "b"} {
		s.consumers[name] = audit.NewLog(con, name)
	}
	s.now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	s.day = New(audit.Verifier{Tenant: "corp", Publishers: keys.Pins(t, pub.Public()), Consumers: keys.Pins(t, con.Public())}, s.now.Add(-time.Hour))
	return s
}

// write stores a record of a request, d after the one before.
func (s *stream) write(id reset.ID, by *audit.Log, kind envelope.Kind, code reset.Code, d time.Duration) {
	s.t.Helper()
	s.now = s.now.Add(d)
	before := s.last[id]
	rec := envelope.Record{
		Kind: kind, Tenant: "corp", Publisher: "pub1", ID: id, Operation: reset.Reset, Code: code, Time: s.now,
		Parent: before.Parent, ParentSeq: before.ParentSeq, Doubt: before.Doubt,
	}
	if kind != envelope.Accepted {
		rec.Request = [32]byte{1}
	}
	if kind == envelope.Cancelled {
		rec.Request = [32]byte{}
	}
	data, err := by.Record(&rec, envelope.Private{}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.seq++
	s.last[id] = envelope.Record{Parent: sha256.Sum256(data), ParentSeq: s.seq, Doubt: rec.Doubt}
	s.day.Hear(reset.Stored{Seq: s.seq, Data: data}, s.now)
}

// request is one that a consumer ends with code.
func (s *stream) request(by string, code reset.Code) reset.ID {
	s.t.Helper()
	id := reset.NewID()
	s.write(id, s.publisher, envelope.Accepted, "", time.Second)
	s.write(id, s.consumers[by], envelope.Claimed, "", 10*time.Millisecond)
	s.write(id, s.consumers[by], envelope.Settled, code, 100*time.Millisecond)
	return id
}

func (s *stream) show() (o reset.Overview) {
	s.day.Show(&o, s.now)
	return o
}

func (s *stream) wantReplica(name string, want reset.Replica) {
	s.t.Helper()
	for _, r := range s.show().Replicas {
		if r.Replica == name {
			if r.InHand != want.InHand || r.Applied != want.Applied || r.Refused != want.Refused || r.Failed != want.Failed {
				s.t.Errorf("%s: %d in hand, %d applied, %d refused, %d failed, want %+v", name, r.InHand, r.Applied, r.Refused, r.Failed, want)
			}
			return
		}
	}
	if want != (reset.Replica{}) {
		s.t.Errorf("%s is not shown", name)
	}
}

func TestCounts(t *testing.T) {
	s := newStream(t)
	s.request("a", reset.Applied)
	s.request("a", reset.AppliedPartly)
	s.request("a", reset.PasswordTooShort)
	last := s.request("b", reset.DirectoryError)
	busy := reset.NewID()
	s.write(busy, s.publisher, envelope.Accepted, "", time.Second)
	s.wantReplica("a", reset.Replica{Applied: 2, Refused: 1})
	s.write(busy, s.consumers["a"], envelope.Claimed, "", time.Second)
	s.wantReplica("a", reset.Replica{InHand: 1, Applied: 2, Refused: 1})
	s.wantReplica("b", reset.Replica{Failed: 1})
	o := s.show()
	if r := o.Recent; len(r) != 4 || r[0].Ref.ID != last || r[0].Code != reset.DirectoryError || r[0].Consumer != "b" || r[0].Took != 110*time.Millisecond {
		t.Errorf("recent: %+v", r)
	}
	if b := o.Bins[len(o.Bins)-1]; len(o.Bins) != 48 || !b.Start.Equal(s.now.Truncate(reset.BinWidth)) || b.Applied != 2 || b.Refused != 1 || b.Failed != 1 {
		t.Errorf("%d bins, the last is %+v", len(o.Bins), b)
	}
	for _, r := range o.Replicas {
		if r.Median < 100*time.Millisecond || r.Median > 115*time.Millisecond || r.Slow != r.Median {
			t.Errorf("%s took %s and %s, want 100 ms and up to 15 %% more", r.Replica, r.Median, r.Slow)
		}
	}
	s.write(busy, s.consumers["a"], envelope.Released, "", time.Second)
	s.wantReplica("a", reset.Replica{Applied: 2, Refused: 1})
}

// What no consumer has ended counts for none of them.
func TestCancelled(t *testing.T) {
	s := newStream(t)
	id := reset.NewID()
	s.write(id, s.publisher, envelope.Accepted, "", time.Second)
	s.write(id, s.publisher, envelope.Cancelled, reset.Expired, reset.Deadline)
	o := s.show()
	if len(o.Replicas) != 0 || len(o.Recent) != 1 || o.Recent[0].Consumer != "" || o.Recent[0].Code != reset.Expired {
		t.Errorf("replicas %+v, recent %+v", o.Replicas, o.Recent)
	}
}

// A request that is in nobody's hands any more is in nobody's.
func TestLeftBehind(t *testing.T) {
	s := newStream(t)
	id := reset.NewID()
	s.write(id, s.publisher, envelope.Accepted, "", time.Second)
	s.write(id, s.consumers["a"], envelope.Claimed, "", time.Second)
	s.wantReplica("a", reset.Replica{InHand: 1})
	s.now = s.now.Add(reset.Life)
	s.wantReplica("a", reset.Replica{})
	s.now = s.now.Add(reset.Correctable)
	s.request("b", reset.Applied)
	if n := len(s.day.open); n != 0 {
		t.Errorf("%d requests are kept for ever", n)
	}
}

func TestCorrected(t *testing.T) {
	s := newStream(t)
	id := s.request("a", reset.Unconfirmed)
	s.wantReplica("a", reset.Replica{Failed: 1})
	s.write(id, s.consumers["b"], envelope.Corrected, reset.Applied, time.Minute)
	s.wantReplica("a", reset.Replica{Applied: 1})
	o := s.show()
	if o.Recent[0].Code != reset.Applied || len(o.Recent) != 1 {
		t.Errorf("recent: %+v", o.Recent)
	}
	if b := o.Bins[len(o.Bins)-1]; b.Applied != 1 || b.Failed != 0 {
		t.Errorf("bin: %+v", b)
	}
}

// Who closed it as unconfirmed was the publisher, so no consumer had ended it. The
// one that finds out the truth has.
func TestCorrectedAfterThePublisher(t *testing.T) {
	s := newStream(t)
	id := reset.NewID()
	s.write(id, s.publisher, envelope.Accepted, "", time.Second)
	s.write(id, s.consumers["a"], envelope.Claimed, "", time.Second)
	s.write(id, s.publisher, envelope.Settled, reset.Unconfirmed, reset.Life)
	s.wantReplica("a", reset.Replica{})
	s.write(id, s.consumers["b"], envelope.Corrected, reset.Applied, time.Minute)
	s.wantReplica("a", reset.Replica{})
	s.wantReplica("b", reset.Replica{Applied: 1})
	if r := s.show().Recent[0]; r.Consumer != "b" || r.Code != reset.Applied {
		t.Errorf("recent: %+v", r)
	}
}

// The truth counts also where so much has ended since that the request is not in
// the list any more.
func TestCorrectedLate(t *testing.T) {
	s := newStream(t)
	id := s.request("a", reset.Unconfirmed)
	for range reset.MaxRecent {
		s.request("b", reset.Applied)
	}
	s.write(id, s.consumers["b"], envelope.Corrected, reset.Applied, time.Second)
	s.wantReplica("a", reset.Replica{Applied: 1})
}

// Records that nobody pinned has signed, or that lie before what is known, count
// for nothing.
func TestNotBelieved(t *testing.T) {
	s := newStream(t)
	stranger := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 9), "a")
	id := reset.NewID()
	s.write(id, s.publisher, envelope.Accepted, "", time.Second)
	s.write(id, stranger, envelope.Claimed, "", time.Second)
	s.write(id, stranger, envelope.Settled, reset.Applied, time.Second)
	s.day.Hear(reset.Stored{Seq: 77, Data: []byte("no record")}, s.now)
	early := reset.NewID()
	s.last[early] = envelope.Record{Parent: [32]byte{7}, ParentSeq: 1}
	s.write(early, s.consumers["a"], envelope.Claimed, "", time.Second)
	s.write(early, s.consumers["a"], envelope.Settled, reset.Applied, time.Second)
	if o := s.show(); len(o.Recent) != 0 || len(o.Replicas) != 0 {
		t.Errorf("recent %+v, replicas %+v", o.Recent, o.Replicas)
	}
}

// At midnight UTC the counts of today begin anew, and after a day all is forgotten.
func TestMidnight(t *testing.T) {
	s := newStream(t)
	s.request("a", reset.Applied)
	s.now = time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)
	s.wantReplica("a", reset.Replica{Applied: 1})
	s.now = s.now.Add(2 * time.Minute)
	s.wantReplica("a", reset.Replica{})
	sum := func() (n int) {
		for _, b := range s.show().Bins {
			n += b.Applied
		}
		return n
	}
	if sum() != 1 {
		t.Error("yesterday's hours are forgotten too early")
	}
	s.now = s.now.Add(24 * time.Hour)
	if sum() != 0 || len(s.day.bins) != 0 {
		t.Error("what is older than a day is remembered")
	}
}

// The list and what is kept of open requests do not grow.
func TestBounded(t *testing.T) {
	s := newStream(t)
	for range reset.MaxRecent + 50 {
		s.request("a", reset.Applied)
	}
	if n := len(s.show().Recent); n != reset.MaxRecent {
		t.Errorf("%d are listed, want %d", n, reset.MaxRecent)
	}
	if n := len(s.day.open); n != 0 {
		t.Errorf("%d requests that have ended are kept", n)
	}
}

func TestReading(t *testing.T) {
	s := newStream(t)
	since := s.now.Add(-3 * time.Hour)
	s.day.Begin(since)
	s.request("a", reset.Applied)
	if o := s.show(); !o.Reading || !o.Until.Equal(s.now) || !o.Since.Equal(since) {
		t.Errorf("while it is read: %t, %s, %s", o.Reading, o.Until, o.Since)
	}
	s.day.CaughtUp()
	if s.show().Reading {
		t.Error("all is read, and it says that it is not")
	}
	s.now = s.now.Add(30 * time.Hour)
	if o := s.show(); !o.Since.Equal(s.now.Add(-24 * time.Hour)) {
		t.Errorf("after a day the records are known since %s", o.Since)
	}
}

// A page that is looked at while yesterday's records are read changes nothing of
// what they say.
func TestLookedAtWhileReading(t *testing.T) {
	s := newStream(t)
	now := s.now
	s.now = now.Add(-12 * time.Hour)
	s.day.Begin(s.now)
	s.request("a", reset.Applied)
	id := reset.NewID()
	s.write(id, s.publisher, envelope.Accepted, "", time.Second)
	s.write(id, s.consumers["a"], envelope.Claimed, "", time.Second)
	s.day.Show(new(reset.Overview), now)
	s.write(id, s.consumers["a"], envelope.Settled, reset.DirectoryError, time.Second)
	s.now = now
	s.wantReplica("a", reset.Replica{})
	if r := s.show().Recent; len(r) != 2 || r[0].Code != reset.DirectoryError {
		t.Errorf("recent: %+v", r)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if h.median() != 0 || h.slow() != 0 {
		t.Error("nothing took a time")
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for _, tt := range []struct{ got, want time.Duration }{{h.median(), 500 * time.Millisecond}, {h.slow(), 990 * time.Millisecond}} {
		if tt.got < tt.want || float64(tt.got) > growth*float64(tt.want) {
			t.Errorf("got %s, want %s and up to 15 %% more", tt.got, tt.want)
		}
	}
	h.add(24 * time.Hour)
	h.add(-time.Second)
}
