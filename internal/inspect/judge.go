package inspect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/trail"
)

// tick judges what has waited long enough, now and then.
func (r *runs) tick(m trail.Message) {
	r.stored = m.Time
	if m.Time.Sub(r.swept) < settleAfter {
		return
	}
	r.swept = m.Time
	for _, run := range r.all {
		if len(run.waiting) > 0 {
			r.judge(run, m.Time.Sub(run.waiting[0].message.Time) > settleAfter)
		}
		if len(run.have) > idle && m.Time.Sub(run.last) > quiet {
			run.gone, run.have = true, make(map[uint64][32]byte)
		}
	}
}

// judge compares the checkpoints of a run with what was read. One that lacks
// something is kept waiting, unless it is high time.
func (r *runs) judge(run *run, now bool) {
	for len(run.waiting) > 0 {
		w := run.waiting[0]
		var have []audit.Numbered
		for number, hash := range run.have {
			if number >= w.c.From && number <= w.c.To {
				have = append(have, audit.Numbered{Number: number, Hash: hash})
			}
		}
		slices.SortFunc(have, func(a, b audit.Numbered) int { return cmp.Compare(a.Number, b.Number) })
		cover := audit.Compare(w.c, have)
		if cover.Missing > 0 && !now {
			return
		}
		run.waiting = run.waiting[1:]
		r.verdict(run, w, cover)
		maps.DeleteFunc(run.have, func(number uint64, _ [32]byte) bool { return number <= w.c.To })
		run.covered = w.c.To
		for _, g := range w.c.Gaps {
			if g.Uncertain {
				r.report.Unknown += uint64(g.Count)
			}
		}
		r.report.Unknown -= cover.Uncertain
		run.gaps = append(run.gaps, w.c.Gaps...)
		if extra := len(run.gaps) - 4*envelope.MaxGaps; extra > 0 {
			run.gaps = slices.Delete(run.gaps, 0, extra)
		}
	}
}

// verdict reports what a checkpoint proves.
func (r *runs) verdict(run *run, w waiting, cover audit.Coverage) {
	m := w.message
	bad := func(kind Kind, format string, args ...any) {
		r.report.fault(Fault{kind, m.Stream, m.Seq, "", fmt.Sprintf(format, args...)})
	}
	first := !run.judged
	run.judged = true
	if cover.Missing > 0 && (run.gone || run.cut && (first || m.Time.Sub(r.start) < blind)) {
		return // it speaks of what was forgotten, or lies before the range
	}
	r.report.Covered += cover.Stored
	if cover.Missing > 0 {
		bad(Missing, "%d of the numbers %d to %d of %s are not there, the first is %d; the checkpoint at event %d says that they were stored",
			cover.Missing, w.c.From, w.c.To, run.who.name, cover.FirstMissing, m.Seq)
	}
	if cover.Refused > 0 {
		bad(Refused, "%d of the numbers %d to %d of %s are there, the first is %d; the checkpoint at event %d says that they were never stored",
			cover.Refused, w.c.From, w.c.To, run.who.name, cover.FirstRefused, m.Seq)
	}
	if cover.Altered {
		bad(Exchanged, "the numbers %d to %d of %s are all there, and are not what the checkpoint at event %d says", w.c.From, w.c.To, run.who.name, m.Seq)
	}
}

// silent reports a run whose events are not there. A run works only after its
// start was stored, and a checkpoint is a matter of minutes. Who makes the streams
// anew sets the times at which they were stored, and not those that were signed.
func (r *runs) silent(run *run) {
	bad := func(kind Kind, format string, args ...any) {
		r.report.fault(Fault{kind, trail.Events, 0, "", fmt.Sprintf(format, args...)})
	}
	if !run.cut && !run.started && !run.judged && r.dated.Sub(run.began) > settleAfter {
		bad(Missing, "the start of a run of %s, which wrote its number %d on %s, is not there", run.who.name, run.lowest, run.began.UTC().Format(time.RFC3339))
	}
	if !run.since.IsZero() && run.dated.Sub(run.since) > blind {
		bad(NoCheckpoint, "%s has written from %s to %s without a checkpoint", run.who.name, run.since.UTC().Format(time.RFC3339), run.dated.UTC().Format(time.RFC3339))
	}
}

// idle is how many numbers at most no checkpoint speaks for while a run has
// nothing to write: that of its last checkpoint, and a few that came just then.
const idle = 16

func (r *runs) end() {
	for _, run := range r.all {
		if r.early {
			run.waiting = slices.DeleteFunc(run.waiting, func(w waiting) bool { return r.stored.Sub(w.message.Time) < settleAfter })
		}
		r.judge(run, true)
		r.silent(run)
	}
	r.report.Uncovered = r.noted - r.report.Covered
	for _, s := range r.seen {
		// A run is announced only after its start was stored.
		if r.all[s.run] == nil && !r.cut {
			r.report.fault(Fault{Missing, s.message.Stream, s.message.Seq, "", fmt.Sprintf("nothing is there of a run of %s that a publisher had heard of at event %d", s.replica, s.message.Seq)})
		}
	}
}
