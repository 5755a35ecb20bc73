// Package inspect says whether a trail is whole: whether every record was signed
// by somebody who may, follows the one before it, and is where its writer has
// put it; and whether anything was taken out, put in, exchanged or cut off. It
// also finds requests without an end. It believes pinned keys, and of whoever
// keeps the trail not even the order.
//
// It reads a trail once, message by message. What it remembers of it does not
// grow with its length but with how much goes on at the same time, and, by a few
// hundred bytes each, with how many runs of programs there were.
package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"writeback/internal/audit"
	"writeback/internal/trail"
)

// A Kind names what is wrong. The set is closed.
type Kind string

const (
	Gap          Kind = "gap"           // a sequence of the stream is not there
	Order        Kind = "order"         // a sequence comes again, or late
	Malformed    Kind = "malformed"     // neither a record nor an event of this tenant
	Misplaced    Kind = "misplaced"     // under another subject than its content says
	Stranger     Kind = "stranger"      // by a key that is not pinned, or whose pin had ended
	Altered      Kind = "altered"       // the signature of a pinned key does not fit
	Repeated     Kind = "repeated"      // is there a second time
	Fork         Kind = "fork"          // has the parent of another record
	Orphan       Kind = "orphan"        // what it follows is not there
	Disorder     Kind = "disorder"      // cannot follow what it follows, or not by this writer
	SameNumber   Kind = "same_number"   // two records of one run with one number: two programs with one identity, or a forged one
	Missing      Kind = "missing"       // its writer says that it was stored
	Refused      Kind = "refused"       // its writer says that it was never stored
	Exchanged    Kind = "exchanged"     // all numbers are there, and not what was stored
	NoCheckpoint Kind = "no_checkpoint" // a checkpoint before this one is not there
	AfterEnd     Kind = "after_end"     // by a run that had said that it writes nothing more
	TwoRuns      Kind = "two_runs"      // two runs of one writer at the same time
	CutOff       Kind = "cut_off"       // a head knows what is not there
)

// Kinds returns the closed set.
func Kinds() []Kind {
	return []Kind{Gap, Order, Malformed, Misplaced, Stranger, Altered, Repeated, Fork, Orphan, Disorder,
		SameNumber, Missing, Refused, Exchanged, NoCheckpoint, AfterEnd, TwoRuns, CutOff}
}

// A Fault is something that no honest keeper of a trail lets happen.
type Fault struct {
	Kind     Kind   `json:"kind"`
	Stream   string `json:"stream"`
	Seq      uint64 `json:"seq"` // 0: it is about what is not there
	Request  string `json:"request,omitempty"`
	Sentence string `json:"sentence"`
}

// A Remark is worth knowing, and no fault of whoever keeps the trail.
type Remark struct {
	Stream   string `json:"stream"`
	Seq      uint64 `json:"seq"`
	Sentence string `json:"sentence"`
}

// Covered is what was read of a stream.
type Covered struct {
	First     uint64    `json:"first"` // sequence; 0 if there was nothing
	Last      uint64    `json:"last"`
	Count     uint64    `json:"count"`
	FirstTime time.Time `json:"first_time,omitzero"` // by the broker's clock
	LastTime  time.Time `json:"last_time,omitzero"`
}

// listed is how many faults and remarks are kept; more are only counted.
const listed = 100

// A Report says what was read, and what is wrong with it.
type Report struct {
	Tenant      string          `json:"tenant"`
	Records     Covered         `json:"records"`
	Events      Covered         `json:"events"`
	Requests    uint64          `json:"requests"`  // that begin in what was read
	Open        uint64          `json:"open"`      // that have no outcome there
	CutChains   uint64          `json:"cut"`       // that begin before it
	Runs        uint64          `json:"runs"`      // of programs that wrote
	Covered     uint64          `json:"covered"`   // records and events that a checkpoint speaks for
	Uncovered   uint64          `json:"uncovered"` // those that none speaks for, yet or ever
	Unknown     uint64          `json:"unknown"`   // numbers of which not even their writers know whether they were stored, and that are not there
	Lost        uint64          `json:"lost"`      // events that their writers could not write
	Faults      uint64          `json:"faults"`
	Counts      map[Kind]uint64 `json:"counts"`
	FirstFaults []Fault         `json:"first_faults"`
	Remarks     uint64          `json:"remarks"`
	FirstRemark []Remark        `json:"first_remarks"`
}

// Whole reports whether nothing is wrong.
func (r *Report) Whole() bool { return r.Faults == 0 }

func (r *Report) fault(f Fault) {
	r.Faults++
	if r.Counts == nil {
		r.Counts = make(map[Kind]uint64)
	}
	r.Counts[f.Kind]++
	if len(r.FirstFaults) < listed {
		r.FirstFaults = append(r.FirstFaults, f)
	}
}

func (r *Report) remark(m trail.Message, format string, args ...any) {
	r.Remarks++
	if len(r.FirstRemark) < listed {
		r.FirstRemark = append(r.FirstRemark, Remark{m.Stream, m.Seq, fmt.Sprintf(format, args...)})
	}
}

// An Inspector reads a trail. Its caller adds every message of a range, and ends
// it.
type Inspector struct {
	v      audit.Verifier
	report Report
	chains *chains
	runs   *runs
	heads  *headCheck // nil without a head
}

// New returns an inspector that has read nothing yet. head is what was known
// earlier, and nil if nothing was.
func New(v audit.Verifier, head *Head) (*Inspector, error) {
	i := &Inspector{v: v, report: Report{Tenant: v.Tenant}, chains: newChains(v)}
	i.runs = newRuns(&i.report)
	if head != nil {
		check, err := newHeadCheck(v, head)
		if err != nil {
			return nil, err
		}
		i.heads = check
	}
	return i, nil
}

// EndsEarly says that there is more after what is going to be read: what the last
// checkpoints speak of may lie there.
func (i *Inspector) EndsEarly() { i.runs.early = true }

// Add reads the next message.
func (i *Inspector) Add(m trail.Message) {
	i.place(m)
	i.heads.add(m)
	if m.Stream == trail.Records {
		i.record(m)
	} else {
		i.event(m)
	}
	i.runs.tick(m)
}

// place checks a message's sequence, and takes note of it.
func (i *Inspector) place(m trail.Message) {
	c := &i.report.Records
	if m.Stream == trail.Events {
		c = &i.report.Events
	}
	switch {
	case c.Count == 0:
		c.First, c.FirstTime = m.Seq, m.Time
		i.runs.began(m, m.Seq > 1)
	case m.Seq <= c.Last:
		i.report.fault(Fault{Order, m.Stream, m.Seq, "", fmt.Sprintf("message %d comes after %d", m.Seq, c.Last)})
	case m.Seq != c.Last+1:
		i.report.fault(Fault{Gap, m.Stream, c.Last + 1, "", missing(c.Last+1, m.Seq-1)})
	}
	c.Last, c.LastTime = max(c.Last, m.Seq), m.Time
	c.Count++
}

func missing(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("message %d is not there", first)
	}
	return fmt.Sprintf("messages %d to %d are not there", first, last)
}

func (i *Inspector) record(m trail.Message) {
	req, link, fault := i.chains.add(m)
	if fault != nil {
		i.report.fault(*fault)
		if link.Record == nil || fault.Kind == Repeated {
			return // nobody vouches for its number, or it was taken note of
		}
	} else {
		switch {
		case len(req.chain) == 1 && i.runs.cut && m.Time.Sub(link.Time) > late:
			i.report.fault(Fault{Orphan, m.Stream, m.Seq, req.about, fmt.Sprintf("record %d (%s) is dated %s before it was stored, and nothing that it could follow is there",
				m.Seq, link.Kind, m.Time.Sub(link.Time).Round(time.Second))})
			return // its run has ended long ago, and would seem to have begun again
		case len(req.chain) == 1 && req.cut:
			i.report.CutChains++
		case len(req.chain) == 1:
			i.report.Requests++
		}
		if n := len(req.chain); n > 1 && link.Time.Before(req.chain[n-2].Time.Add(-skew)) {
			i.report.remark(m, "record %d is dated %s before the one that it follows", m.Seq, req.chain[n-2].Time.Sub(link.Time).Round(time.Millisecond))
		}
	}
	i.runs.note(m, link.Writer, link.Hash, link.Time)
}

func (i *Inspector) event(m trail.Message) {
	e, fault := readEvent(i.v, m)
	if fault != nil {
		i.report.fault(*fault)
		return
	}
	if i.runs.note(m, e.Writer, e.Hash, e.Time) {
		i.runs.event(m, e)
	}
}

// End says what was found. Nothing is added after it.
func (i *Inspector) End() *Report {
	i.runs.end()
	i.heads.end(&i.report)
	i.report.Open = uint64(i.chains.opened())
	slices.SortStableFunc(i.report.FirstFaults, func(a, b Fault) int {
		if a.Stream != b.Stream {
			return cmp.Compare(b.Stream, a.Stream) // RECORDS first
		}
		return cmp.Compare(a.Seq-1, b.Seq-1) // what has no sequence comes last
	})
	return &i.report
}
