package inspect

import (
	"fmt"
	"slices"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/trail"
)

// Times of the broker that decide how long something is waited for. Those of the
// two streams may be of two servers.
const (
	// settleAfter is how long after a checkpoint what it speaks of may come.
	settleAfter = time.Minute
	// overlap is how long two runs of one writer may seem to work at the same
	// time: the last records of one that was killed may still be on their way.
	overlap = 30 * time.Second
	// blind is how long after the beginning of what is read a checkpoint may
	// speak of what lies before it.
	blind = 10 * time.Minute
	// quiet is when a run that has written nothing, not even a checkpoint of
	// what it had written before, counts as gone.
	quiet = 24 * time.Hour
	// late is how long after it was signed a record is usually stored.
	late = 20 * time.Minute
)

// An identity is who writes: a key, and the name of an instance or replica.
type identity struct {
	key  [16]byte
	name string
}

// A run is one run of a program, as far as it was read.
type run struct {
	who     identity
	first   time.Time           // when its first message was stored
	began   time.Time           // and the time that it is dated
	last    time.Time           // when its last message was stored
	dated   time.Time           // the latest time that any is dated
	since   time.Time           // the time that the first one after its newest checkpoint is dated; zero for none
	latest  time.Time           // of its records' own times
	cut     bool                // it began before what was read: its start has number 1
	top     uint64              // highest number that was seen
	lowest  uint64              // number of its first message
	covered uint64              // To of the newest checkpoint that was judged
	have    map[uint64][32]byte // numbers that no checkpoint was judged for
	gaps    []envelope.Gap      // of checkpoints that were judged, with what may still come late
	newest  [32]byte            // hash of the newest checkpoint that was read; zero for none
	to      uint64              // its To
	judged  bool                // a checkpoint was
	waiting []waiting           // checkpoints that are not judged yet, oldest first
	final   uint64              // number of the last checkpoint; 0 for none
	lost    uint64
	started bool // its number 1 was seen
	by      *run // another run of the same writer, which came after it
	told    bool // that there are two
	gone    bool // have was given up
}

// A waiting checkpoint is one that speaks of what was not read yet.
type waiting struct {
	message trail.Message // without its data
	c       envelope.Checkpoint
}

// runs are all runs that wrote.
type runs struct {
	report *Report
	start  time.Time // of what was read
	dated  time.Time // the latest time that a message is dated
	cut    bool      // there was something before it
	early  bool      // and there is something after it
	stored time.Time // when the last message was
	all    map[[16]byte]*run
	newest map[identity]*run
	swept  time.Time
	noted  uint64 // messages
	seen   []sighting
}

// A sighting is a run that somebody else has heard of.
type sighting struct {
	message trail.Message // without its data
	run     [16]byte
	replica string
}

func newRuns(report *Report) *runs {
	return &runs{report: report, all: make(map[[16]byte]*run), newest: make(map[identity]*run)}
}

// began notes the first message of a stream.
func (r *runs) began(m trail.Message, cut bool) {
	if r.start.IsZero() {
		r.start = m.Time
	}
	r.cut = r.cut || cut
}

// note takes note of a number, and reports whether its message is the only one
// that has it. at is the time that the message is dated.
func (r *runs) note(m trail.Message, w envelope.Writer, hash [32]byte, at time.Time) bool {
	bad := func(kind Kind, format string, args ...any) {
		r.report.fault(Fault{kind, m.Stream, m.Seq, "", fmt.Sprintf("message %d, number %d of %s, ", m.Seq, w.Number, w.Name) + fmt.Sprintf(format, args...)})
	}
	r.noted++
	run := r.of(m, w, at)
	if run.who != (identity{w.Key, w.Name}) {
		bad(TwoRuns, "is of a run of %s", run.who.name)
		return false
	}
	if by := run.by; by != nil && !run.told && (at.Sub(by.began) > overlap || m.Time.Sub(by.first) > late) && (!by.cut || by.last.Sub(r.start) > overlap) {
		run.told = true
		bad(TwoRuns, "is dated %s after the first of another run of the same", at.Sub(by.began).Round(time.Second))
	}
	run.last = m.Time
	if run.since.IsZero() {
		run.since = at
	}
	if run.dated.Before(at) {
		run.dated = at
	}
	if r.dated.Before(at) {
		r.dated = at
	}
	run.started = run.started || w.Number == 1
	if m.Stream == trail.Records { // an event may wait long before it is written
		if at.Before(run.latest.Add(-skew)) {
			r.report.remark(m, "the clock of %s runs backwards: by %s", w.Name, run.latest.Sub(at).Round(time.Millisecond))
		}
		if run.latest.Before(at) {
			run.latest = at
		}
		if wait := m.Time.Sub(at); wait > late || wait < -skew {
			r.report.remark(m, "record %d was stored %s after the time that it is dated", m.Seq, wait.Round(time.Second))
		}
	}
	if run.final != 0 && w.Number > run.final {
		bad(AfterEnd, "comes after the last checkpoint of its run, number %d", run.final)
		return false
	}
	switch before, ok := run.have[w.Number]; {
	case ok && before == hash:
		bad(Repeated, "is there a second time")
		return false
	case ok:
		bad(SameNumber, "has the number of another one")
		return false
	case w.Number <= run.covered || run.gone && w.Number <= run.top:
		if !r.belated(run, w, bad) {
			return false
		}
	default:
		run.have[w.Number] = hash
	}
	run.top = max(run.top, w.Number)
	return true
}

// belated judges a number that a checkpoint has spoken of already, and reports
// whether it may come all the same.
func (r *runs) belated(run *run, w envelope.Writer, bad func(Kind, string, ...any)) bool {
	for i, g := range run.gaps {
		if w.Number < g.First || w.Number > g.Last() {
			continue
		}
		if !g.Uncertain {
			bad(Refused, "was never stored, as its writer says")
			return false
		}
		// The same one may not come twice.
		rest := []envelope.Gap{}
		if w.Number > g.First {
			rest = append(rest, envelope.Gap{First: g.First, Count: uint32(w.Number - g.First), Uncertain: true})
		}
		if w.Number < g.Last() {
			rest = append(rest, envelope.Gap{First: w.Number + 1, Count: uint32(g.Last() - w.Number), Uncertain: true})
		}
		run.gaps = slices.Replace(run.gaps, i, i+1, rest...)
		r.report.Unknown--
		return true
	}
	if run.cut && w.Number < run.lowest {
		return true // it was on its way for long
	}
	bad(SameNumber, "has a number that was there before")
	return false
}

// of returns the run of a writer, whose message is dated at.
func (r *runs) of(m trail.Message, w envelope.Writer, at time.Time) *run {
	if known := r.all[w.Run]; known != nil {
		return known
	}
	who := identity{w.Key, w.Name}
	before := r.newest[who]
	// Not even what was read from the middle on may lack the start of a run if
	// the one before it was at work there.
	after := before != nil && before.last.Sub(r.start) > overlap && at.Sub(r.start) > blind
	now := &run{who: who, first: m.Time, began: at, last: m.Time, lowest: w.Number, cut: r.cut && w.Number != 1 && !after, have: make(map[uint64][32]byte)}
	r.all[w.Run] = now
	r.report.Runs++
	if before != nil {
		before.by = now
	}
	r.newest[who] = now
	return now
}

// event reads what an event says of its run.
func (r *runs) event(m trail.Message, e audit.Entry) {
	m.Data = nil
	if f, ok := e.Fact.(envelope.ReplicaSeen); ok && r.all[f.Run] == nil {
		r.seen = append(r.seen, sighting{m, f.Run, f.Replica})
	}
	c, ok := e.Fact.(envelope.Checkpoint)
	if !ok {
		return
	}
	run := r.all[e.Writer.Run]
	bad := func(kind Kind, format string, args ...any) {
		r.report.fault(Fault{kind, m.Stream, m.Seq, "", fmt.Sprintf("the checkpoint of %s at event %d ", e.Writer.Name, m.Seq) + fmt.Sprintf(format, args...)})
	}
	first := run.newest == [32]byte{}
	switch {
	case c.Previous == run.newest && (c.From == run.to+1 || first && run.cut):
	case c.Previous == run.newest && c.From > run.to+1:
		r.report.remark(m, "%s could not keep count of its numbers %d to %d", e.Writer.Name, run.to+1, c.From-1)
	case first && run.cut:
	default:
		bad(NoCheckpoint, "follows another one, which is not there")
	}
	run.newest, run.to, run.since = e.Hash, c.To, time.Time{}
	r.report.Lost += c.Lost - min(run.lost, c.Lost)
	run.lost = c.Lost
	if c.Final {
		run.final = e.Writer.Number
	}
	run.waiting = append(run.waiting, waiting{m, c})
	r.judge(run, false)
}
