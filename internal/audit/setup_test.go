package audit

import (
	"crypto/sha256"
	"testing"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

var (
	noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	id   = reset.ID{1}
	key  = seal.RecordKey{9}
)

func signer(t *testing.T, purpose seal.Purpose, first byte) *seal.Signer {
	t.Helper()
	s, err := seal.NewSigner(purpose, append([]byte{first}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pins(t *testing.T, list ...seal.Pin) seal.Pins {
	t.Helper()
	p, err := seal.NewPins(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A world has two publishers and two consumers that write the chain of one
// request.
type world struct {
	t                *testing.T
	pub, pub2        *Log
	con, con2, again *Log // again is con after a restart: the same key, another run
	verifier         Verifier
}

func newWorld(t *testing.T) *world {
	t.Helper()
	p, c, c2 := signer(t, seal.PurposePublisher, 1), signer(t, seal.PurposeConsumer, 2), signer(t, seal.PurposeConsumer, 3)
	return &world{
		t: t, pub: NewLog(p, "pub_1"), pub2: NewLog(p, "pub_2"),
		con: NewLog(c, "con_1"), again: NewLog(c, "con_1"), con2: NewLog(c2, "con_2"),
		verifier: Verifier{
			Tenant: "corp", Publishers: pins(t, seal.Pin{Key: p.Public()}),
			Consumers: pins(t, seal.Pin{Key: c.Public()}, seal.Pin{Key: c2.Public()}),
		},
	}
}

// A step is one record to be written.
type step struct {
	by    *Log
	kind  envelope.Kind
	code  reset.Code
	doubt bool
	alter func(*envelope.Record) // before it is signed
}

// next returns the record of s as the one after the last of stored.
func (w *world) next(stored []reset.Stored, s step) reset.Stored {
	w.t.Helper()
	rec := &envelope.Record{
		Kind: s.kind, Tenant: "corp", Publisher: "pub_1", ID: id, Operation: reset.Reset, Code: s.code,
		Time: noon.Add(time.Duration(len(stored)) * time.Second), Doubt: s.doubt, Month: 202611,
	}
	seq := uint64(10)
	if n := len(stored); n > 0 {
		rec.Parent, rec.ParentSeq = sha256.Sum256(stored[n-1].Data), stored[n-1].Seq
		seq = stored[n-1].Seq + 3 // other requests' records lie between
	}
	if s.alter != nil {
		s.alter(rec)
	}
	data, err := s.by.Record(rec, envelope.Private{Source: "portal"}, &key)
	if err != nil {
		w.t.Fatal(err)
	}
	return reset.Stored{Seq: seq, Data: data}
}

func (w *world) write(steps ...step) []reset.Stored {
	w.t.Helper()
	var stored []reset.Stored
	for _, s := range steps {
		stored = append(stored, w.next(stored, s))
	}
	return stored
}

func (w *world) accepted() step { return step{by: w.pub, kind: envelope.Accepted} }
func (w *world) claimed() step  { return step{by: w.con, kind: envelope.Claimed} }
func (w *world) settled(c reset.Code) step {
	return step{by: w.con, kind: envelope.Settled, code: c}
}
