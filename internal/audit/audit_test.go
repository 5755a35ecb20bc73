package audit

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

func TestVerify(t *testing.T) {
	w := newWorld(t)
	stored := w.write(w.accepted(), w.claimed(), w.settled(reset.Applied))
	c, err := w.verifier.Verify(id, stored)
	if err != nil || len(c) != 3 {
		t.Fatalf("Verify = %d links, %v", len(c), err)
	}
	for i, l := range c {
		if l.Seq != stored[i].Seq || !bytes.Equal(l.Encode(), stored[i].Data) || i > 0 && l.Parent != c[i-1].Hash {
			t.Errorf("link %d is not the record that was stored", i)
		}
	}
	if c, err := w.verifier.Verify(id, nil); len(c) != 0 || err != nil {
		t.Errorf("no records are %v, %v", c, err)
	}
	// Extending one chain twice must not mix the two.
	a, err1 := w.verifier.Extend(c[:2], id, stored[2])
	b, err2 := w.verifier.Extend(c[:2], id, w.next(stored[:2], w.settled(reset.Expired)))
	if err := errors.Join(err1, err2); err != nil || a[2].Code != reset.Applied || b[2].Code != reset.Expired || c[2].Code != reset.Applied {
		t.Errorf("two chains share their last link: %v", err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	w := newWorld(t)
	stranger := NewLog(signer(t, seal.PurposeConsumer, 8), "con_1")
	impostor := NewLog(signer(t, seal.PurposePublisher, 7), "pub_1")
	good := w.write(w.accepted(), w.claimed(), w.settled(reset.Applied))
	first := func(alter func(*envelope.Record)) []reset.Stored {
		return w.write(step{by: w.pub, kind: envelope.Accepted, alter: alter})
	}
	claim := func(s step) []reset.Stored { return append(slices.Clone(good[:1]), w.next(good[:1], s)) }
	altered := func(f func(*envelope.Record)) []reset.Stored {
		return claim(step{by: w.con, kind: envelope.Claimed, alter: f})
	}
	at := func(s reset.Stored, seq uint64) reset.Stored { return reset.Stored{Seq: seq, Data: s.Data} }
	withRequest := append(slices.Clone(good[:1]), w.next(good[:1], step{by: w.con, kind: envelope.Claimed, alter: func(r *envelope.Record) { r.Request[0] = 1 }}))
	other := newWorld(t).write(w.accepted(), w.claimed(), w.settled(reset.Applied))
	tests := []struct {
		name   string
		stored []reset.Stored
		want   string // in the error; empty: it is a chain
	}{
		{"control", good, ""},
		{"first is a claim", w.write(step{by: w.con, kind: envelope.Claimed}), "cannot be the first"},
		{"accepted by a consumer", w.write(step{by: w.con, kind: envelope.Accepted}), "cannot be the first"},
		{"first has a parent", first(func(r *envelope.Record) { r.Parent[0] = 1 }), "cannot be the first"},
		{"first has a parent's sequence", first(func(r *envelope.Record) { r.ParentSeq = 1 }), "cannot be the first"},
		{"first of another tenant", first(func(r *envelope.Record) { r.Tenant = "corq" }), "another request"},
		{"first of another request", first(func(r *envelope.Record) { r.ID[0]++ }), "another request"},
		{"accepted by a stranger", w.write(step{by: impostor, kind: envelope.Accepted}), "not signed by a pinned key"},
		{"claim by a stranger", claim(step{by: stranger, kind: envelope.Claimed}), "not signed by a pinned key"},
		{"other tenant", altered(func(r *envelope.Record) { r.Tenant = "other" }), "another request"},
		{"other id", altered(func(r *envelope.Record) { r.ID[15]++ }), "another request"},
		{"other publisher", altered(func(r *envelope.Record) { r.Publisher = "pub_2" }), "another request"},
		{"other operation", altered(func(r *envelope.Record) { r.Operation = reset.Unlock }), "another request"},
		{"wrong parent hash", altered(func(r *envelope.Record) { r.Parent[31] ^= 1 }), "does not follow"},
		{"no parent hash", altered(func(r *envelope.Record) { r.Parent = [32]byte{} }), "does not follow"},
		{"wrong parent sequence", altered(func(r *envelope.Record) { r.ParentSeq++ }), "does not follow"},
		{"stored before its parent", []reset.Stored{good[0], at(good[1], good[0].Seq-1)}, "does not follow"},
		{"stored where its parent is", []reset.Stored{good[0], at(good[1], good[0].Seq)}, "does not follow"},
		{"parent stored elsewhere", []reset.Stored{at(good[0], 9), good[1]}, "does not follow"},
		{"first missing", good[1:], "cannot be the first"},
		{"middle missing", []reset.Stored{good[0], good[2]}, "does not follow"},
		{"out of order", []reset.Stored{good[0], good[2], good[1]}, "does not follow"},
		{"backwards", []reset.Stored{good[2], good[1], good[0]}, "cannot be the first"},
		{"one twice", []reset.Stored{good[0], good[1], good[1]}, "does not follow"},
		{"end of another chain", []reset.Stored{good[0], good[1], other[2]}, "does not follow"},
		{"outcome of another request", append(withRequest[:2:2], w.next(withRequest[:2], w.settled(reset.Applied))), "speaks of another request"},
		{"empty record", []reset.Stored{{Seq: 1}}, "malformed"},
		{"not a record", []reset.Stored{{Seq: 1, Data: []byte("{}")}}, "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := w.verifier.Verify(id, tt.stored)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrChain) || !strings.Contains(err.Error(), tt.want) || c != nil {
				t.Errorf("Verify = %d links, error %v; want ErrChain with %q", len(c), err, tt.want)
			}
		})
	}
	if _, err := w.verifier.Verify(reset.ID{2}, good); !errors.Is(err, ErrChain) {
		t.Errorf("the chain is taken for that of another request: %v", err)
	}
}

func TestEveryAlteredByte(t *testing.T) {
	w := newWorld(t)
	stored := w.write(w.accepted(), w.claimed())
	c, err := w.verifier.Verify(id, stored[:1])
	if err != nil {
		t.Fatal(err)
	}
	data := stored[1].Data
	for i := range data {
		altered := bytes.Clone(data)
		altered[i] ^= 1 << (i % 8)
		if _, err := w.verifier.Extend(c, id, reset.Stored{Seq: stored[1].Seq, Data: altered}); !errors.Is(err, ErrChain) {
			t.Errorf("byte %d altered: error %v", i, err)
		}
		if _, err := w.verifier.Extend(c, id, reset.Stored{Seq: stored[1].Seq, Data: data[:i]}); !errors.Is(err, ErrChain) {
			t.Errorf("cut at %d: error %v", i, err)
		}
	}
}

func TestPinsOfTheVerifier(t *testing.T) {
	w := newWorld(t)
	stored := w.write(w.accepted(), w.claimed())
	claimed := noon.Add(time.Second) // as write dates the second record
	for _, tt := range []struct {
		name     string
		notAfter time.Time
		ok       bool
	}{
		{"no end", time.Time{}, true}, {"ends with the record", claimed, true}, {"ended before", claimed.Add(-time.Microsecond), false},
	} {
		v := w.verifier
		v.Consumers = pins(t, seal.Pin{Key: w.con.Public(), NotAfter: tt.notAfter})
		if _, err := v.Verify(id, stored); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrChain) {
			t.Errorf("%s: error %v, want ok %t", tt.name, err, tt.ok)
		}
	}
	// A thief may date a record back, but not before the request was accepted.
	back := w.next(stored[:1], step{by: w.con, kind: envelope.Claimed, alter: func(r *envelope.Record) { r.Time = noon.Add(-48 * time.Hour) }})
	v := w.verifier
	v.Consumers = pins(t, seal.Pin{Key: w.con.Public(), NotAfter: noon.Add(-24 * time.Hour)})
	if _, err := v.Verify(id, []reset.Stored{stored[0], back}); !errors.Is(err, ErrChain) {
		t.Errorf("a record dated back under a pin that has ended: error %v", err)
	}
	v = w.verifier
	v.Publishers, v.Consumers = v.Consumers, v.Publishers
	if _, err := v.Verify(id, stored); !errors.Is(err, ErrChain) {
		t.Errorf("with the roles exchanged: error %v", err)
	}
}

// Two signed records with one parent prove that the broker told two stories.
func TestFork(t *testing.T) {
	w := newWorld(t)
	stored := w.write(w.accepted())
	claim := w.next(stored, w.claimed())
	cancel := w.next(stored, step{by: w.pub, kind: envelope.Cancelled, code: reset.Expired})
	cancel.Seq++
	var told []Chain
	for _, s := range []reset.Stored{claim, cancel} {
		c, err := w.verifier.Verify(id, append(slices.Clone(stored), s))
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, c)
	}
	a, b := told[0].Last(), told[1].Last()
	if a.Parent != b.Parent || a.Hash == b.Hash {
		t.Error("the two stories do not prove a fork")
	}
	if _, err := w.verifier.Verify(id, append(slices.Clone(stored), claim, cancel)); !errors.Is(err, ErrChain) {
		t.Errorf("both in one chain: error %v", err)
	}
}

func TestPrivate(t *testing.T) {
	w := newWorld(t)
	c, err := w.verifier.Verify(id, w.write(w.accepted(), w.claimed()))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := Private(key, c[0]); err != nil || p.Source != "portal" {
		t.Errorf("Private = %+v, %v", p, err)
	}
	if p, err := Private(seal.RecordKey{8}, c[0]); err != seal.ErrPrivate || p != nil {
		t.Errorf("with another key: %+v, %v", p, err)
	}
	moved := c[0]
	rec := *c[1].Record
	rec.Private = c[0].Record.Private
	moved.Record = &rec
	if p, err := Private(key, moved); err != seal.ErrPrivate || p != nil {
		t.Errorf("under the clear part of another record: %+v, %v", p, err)
	}
	empty := &envelope.Record{Kind: envelope.Settled, Tenant: "corp", Publisher: "pub_1", ID: id, Operation: reset.Reset, Code: reset.Unreadable}
	if _, err := w.con.Record(empty, envelope.Private{Source: "c4nary"}, nil); err != nil || len(empty.Private) != 0 {
		t.Errorf("without a key the private part has %d bytes, %v", len(empty.Private), err)
	}
	if p, err := Private(key, Link{Record: empty}); err != nil || p.Source != "" {
		t.Errorf("an empty private part says %+v, %v", p, err)
	}
	for _, s := range w.write(w.accepted()) {
		if bytes.Contains(s.Data, []byte("portal")) {
			t.Error("a record holds its private part in clear")
		}
	}
}

func TestLogNumbersItsRecords(t *testing.T) {
	w := newWorld(t)
	c, err := w.verifier.Verify(id, w.write(w.accepted(), w.claimed(), w.settled(reset.Applied)))
	if err != nil {
		t.Fatal(err)
	}
	want := []envelope.Writer{
		{Key: w.pub.Public().ID(), Name: "pub_1", Run: w.pub.Run(), Number: 1},
		{Key: w.con.Public().ID(), Name: "con_1", Run: w.con.Run(), Number: 1},
		{Key: w.con.Public().ID(), Name: "con_1", Run: w.con.Run(), Number: 2},
	}
	for i, l := range c {
		if l.Writer != want[i] {
			t.Errorf("record %d is by %+v, want %+v", i, l.Writer, want[i])
		}
	}
	if w.con.Run() == w.again.Run() || w.con.Run() == [16]byte{} || w.con.Name() != "con_1" {
		t.Error("two runs of a program cannot be told apart")
	}
	sig := w.con.Sign(seal.KindAnnounce, []byte("m"))
	if !w.verifier.Consumers.Verify(w.con.Public().ID(), noon, seal.KindAnnounce, []byte("m"), sig) {
		t.Error("Sign signs as another kind")
	}
}
