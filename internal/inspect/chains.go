package inspect

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/trail"
)

// skew is how far honest clocks may differ: programs whose clocks are further
// off refuse to work.
const skew = 2 * reset.ClockSkew

// remembered is how many requests that have ended are remembered, to say more of
// a record that comes after their end than that what it follows is not there.
const remembered = 1 << 13

// correctable is how long after its outcome an unconfirmed one may be corrected.
const correctable = 2 * reset.Correctable

// A request is the chain of one, as far as it was read.
type request struct {
	chain audit.Chain // without what following records do not need
	cut   bool        // it begins before what was read
	about string      // its name in the API
}

// chains are the requests that are under way.
type chains struct {
	v           audit.Verifier
	start       uint64 // sequence of the first record that was read
	open        map[reset.ID]*request
	unconfirmed []ended // that may still be corrected, oldest first
	old         map[reset.ID]*request
	order       []reset.ID // of old; a ring
	next        int        // in order
}

type ended struct {
	id reset.ID
	at time.Time
}

func newChains(v audit.Verifier) *chains {
	return &chains{v: v, open: make(map[reset.ID]*request), old: make(map[reset.ID]*request)}
}

// add verifies a record. The link has no record if nobody who is pinned has
// signed this one.
func (c *chains) add(m trail.Message) (*request, audit.Link, *Fault) {
	if c.start == 0 {
		c.start = m.Seq
	}
	c.settle(m.Time)
	rec, err := envelope.ParseRecord(m.Data)
	if err != nil {
		return nil, audit.Link{}, &Fault{Malformed, m.Stream, m.Seq, "", fmt.Sprintf("record %d is malformed", m.Seq)}
	}
	about := reset.Ref{Publisher: rec.Publisher, ID: rec.ID}.String()
	bad := func(kind Kind, format string, args ...any) *Fault {
		return &Fault{kind, m.Stream, m.Seq, about, fmt.Sprintf("record %d ", m.Seq) + fmt.Sprintf(format, args...)}
	}
	link := audit.Link{Record: rec, Seq: m.Seq, Hash: sha256.Sum256(m.Data)}
	req := c.open[rec.ID]
	if req == nil {
		req = c.old[rec.ID]
	}
	if req == nil && rec.Kind != envelope.Accepted && rec.ParentSeq != 0 && rec.ParentSeq < c.start {
		if fault := c.signed(rec, bad); fault != nil {
			return nil, audit.Link{}, fault
		}
		req = &request{cut: true, about: about}
		c.open[rec.ID] = req
		c.extend(req, m, append(audit.Chain{}, link))
		return req, link, c.misplaced(m, rec, bad)
	}
	stored := reset.Stored{Seq: m.Seq, Data: m.Data}
	var chain audit.Chain
	if req != nil {
		chain = req.chain
	}
	longer, err := c.v.Extend(chain, rec.ID, stored)
	if err != nil {
		if fault := c.signed(rec, bad); fault != nil {
			return nil, audit.Link{}, fault
		}
		return req, link, c.explain(req, link, err, bad)
	}
	if req == nil {
		req = &request{about: about}
		c.open[rec.ID] = req
	}
	c.extend(req, m, longer)
	return req, link, c.misplaced(m, rec, bad)
}

type complaint func(kind Kind, format string, args ...any) *Fault

// signed says what is wrong with a record's signature; nil is nothing.
func (c *chains) signed(rec *envelope.Record, bad complaint) *Fault {
	if rec.Tenant != c.v.Tenant {
		return bad(Malformed, "is of tenant %s", rec.Tenant)
	}
	return signature([]seal.Pins{c.v.Publishers, c.v.Consumers}, rec.Writer, rec.Time, seal.KindRecord, rec.Signed(), rec.Sig, bad)
}

// signature says what is wrong with a signature; nil is nothing.
func signature(all []seal.Pins, w envelope.Writer, at time.Time, kind seal.Kind, signed, sig []byte, bad complaint) *Fault {
	for _, pins := range all {
		if pins.Verify(w.Key, at, kind, signed, sig) {
			return nil
		}
	}
	for _, pins := range all {
		for _, p := range pins {
			switch {
			case p.Key.ID() != w.Key:
			case !p.NotAfter.IsZero() && at.After(p.NotAfter):
				return bad(Stranger, "is by a key of %s whose pin had ended", w.Name)
			default:
				return bad(Altered, "is not what %s has signed", w.Name)
			}
		}
	}
	return bad(Stranger, "is by a key that is not pinned (%x), which calls itself %s", w.Key, w.Name)
}

// misplaced says that a message is under a subject that its content does not
// have.
func (c *chains) misplaced(m trail.Message, rec *envelope.Record, bad complaint) *Fault {
	side := "con"
	if rec.Kind == envelope.Accepted || rec.Kind == envelope.Cancelled || isPinned(c.v.Publishers, rec.Writer.Key) {
		side = "pub"
	}
	if want := "rec." + rec.Publisher + "." + rec.ID.String() + "." + side; m.Subject != want {
		return bad(Misplaced, "is under the subject %.100q", m.Subject)
	}
	return nil
}

func isPinned(pins seal.Pins, key seal.KeyID) bool {
	for _, p := range pins {
		if p.Key.ID() == key {
			return true
		}
	}
	return false
}

// explain says why a record that is signed well does not belong where it is.
func (c *chains) explain(req *request, link audit.Link, err error, bad complaint) *Fault {
	if link.ParentSeq >= link.Seq {
		return bad(Disorder, "(%s) does not come after record %d, which it follows", link.Kind, link.ParentSeq)
	}
	if req == nil {
		if link.Kind != envelope.Accepted {
			return bad(Orphan, "(%s) follows record %d, which is not there", link.Kind, link.ParentSeq)
		}
		return bad(Disorder, "%s", why(err, link.Seq))
	}
	for _, l := range req.chain {
		if l.Hash == link.Hash {
			return bad(Repeated, "is record %d once more", l.Seq)
		}
	}
	for _, l := range req.chain {
		if l.Seq != link.Seq && l.ParentSeq == link.ParentSeq && l.Parent == link.Parent {
			return bad(Fork, "(%s) and record %d (%s) have the same parent: two stories were told", link.Kind, l.Seq, l.Kind)
		}
	}
	if last := req.chain.Last(); link.ParentSeq > last.Seq {
		return bad(Orphan, "(%s) follows record %d, which is not there or not believed", link.Kind, link.ParentSeq)
	}
	return bad(Disorder, "%s", why(err, link.Seq))
}

// why takes out of an error what it says of the record.
func why(err error, seq uint64) string {
	text := strings.TrimPrefix(err.Error(), audit.ErrChain.Error()+": ")
	if !errors.Is(err, audit.ErrChain) {
		return text
	}
	return strings.TrimPrefix(text, fmt.Sprintf("record %d ", seq))
}

// extend takes over a longer chain, without the parts of its last record that
// following ones do not need.
func (c *chains) extend(req *request, m trail.Message, longer audit.Chain) {
	last := longer[len(longer)-1]
	r := last.Record
	last.Record = &envelope.Record{
		Kind: r.Kind, Publisher: r.Publisher, ID: r.ID, Operation: r.Operation, Code: r.Code, Time: r.Time, Writer: r.Writer,
		Parent: r.Parent, ParentSeq: r.ParentSeq, Request: r.Request, Doubt: r.Doubt, Asked: r.Asked,
	}
	longer[len(longer)-1] = last
	req.chain = longer
	switch {
	case !longer.Ended():
	case longer.Unconfirmed():
		c.unconfirmed = append(c.unconfirmed, ended{r.ID, m.Time})
	default:
		c.forget(r.ID)
	}
}

// settle gives up waiting for corrections.
func (c *chains) settle(now time.Time) {
	for len(c.unconfirmed) > 0 && now.Sub(c.unconfirmed[0].at) > correctable {
		if id := c.unconfirmed[0].id; c.open[id] != nil {
			c.forget(id)
		}
		c.unconfirmed = c.unconfirmed[1:]
	}
}

// forget makes a request one that has ended.
func (c *chains) forget(id reset.ID) {
	req := c.open[id]
	delete(c.open, id)
	if req == nil {
		return
	}
	if len(c.order) < remembered {
		c.order = append(c.order, id)
	} else {
		delete(c.old, c.order[c.next])
		c.order[c.next] = id
		c.next = (c.next + 1) % remembered
	}
	c.old[id] = req
}

// opened returns how many requests have no outcome.
func (c *chains) opened() int {
	n := 0
	for _, req := range c.open {
		if !req.chain.Ended() {
			n++
		}
	}
	return n
}
