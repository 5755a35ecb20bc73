package inspect

import (
	"fmt"
	"io"
	"strings"
	"time"

	"writeback/internal/reset"
)

// Print writes the report for people.
func (r *Report) Print(out io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("tenant      %s", r.Tenant)
	line("records     %s", r.Records)
	line("events      %s", r.Events)
	line("requests    %d begin here, of which %d have no outcome here; %d begin before", r.Requests, r.Open, r.CutChains)
	line("writers     %d runs of programs; they could not write %d events", r.Runs, r.Lost)
	line("checkpoints %d records and events are covered by one, %d are not", r.Covered, r.Uncovered)
	if r.Unknown > 0 {
		line("unknown     %d numbers are not there, and their writers cannot tell whether they were stored", r.Unknown)
	}
	for i, f := range r.FirstFaults {
		if i == 0 {
			line("")
			line("FIRST FAULT %s", f)
			continue
		}
		if i == 1 {
			line("more faults")
		}
		line("  %s", f)
	}
	if more := r.Faults - uint64(len(r.FirstFaults)); more > 0 {
		line("  and %d more", more)
	}
	for i, m := range r.FirstRemark {
		if i == 0 {
			line("")
			line("remarks, which are no fault of whoever keeps the streams")
		}
		line("  %s %d: %s", m.Stream, m.Seq, m.Sentence)
	}
	if more := r.Remarks - uint64(len(r.FirstRemark)); more > 0 {
		line("  and %d more", more)
	}
	line("")
	switch {
	case r.Records.Count+r.Events.Count == 0 && r.Whole():
		line("NOTHING was there to verify.")
	case r.Whole():
		line("WHOLE: nothing was found to be altered, added, removed or out of order.")
	default:
		line("NOT WHOLE; faults: %d.", r.Faults)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// String says where a fault is, and what it is.
func (f Fault) String() string {
	where := f.Stream
	if f.Seq != 0 {
		where += fmt.Sprintf(" %d", f.Seq)
	}
	if f.Request != "" {
		where += ", request " + f.Request
	}
	return fmt.Sprintf("%s [%s]: %s", where, f.Kind, f.Sentence)
}

// String says what was read of a stream.
func (c Covered) String() string {
	if c.Count == 0 {
		return "none"
	}
	text := fmt.Sprintf("%d to %d (%d), stored %s to %s", c.First, c.Last, c.Count, c.FirstTime.UTC().Format(time.RFC3339), c.LastTime.UTC().Format(time.RFC3339))
	if c.First > 1 {
		text += "; what was before is not covered"
	}
	return text
}

// Print writes the reconciliation for people.
func (r *Reconciliation) Print(out io.Writer) error {
	var b strings.Builder
	bound := func(at time.Time, none string) string {
		if at.IsZero() {
			return none
		}
		return at.UTC().Format(time.RFC3339)
	}
	fmt.Fprintf(&b, "accepted from %s to %s, as of %s: %d requests, %d under way\n", bound(r.From, "the beginning"), bound(r.To, "the end"), bound(r.AsOf, "never"), r.Accepted, r.Pending)
	for _, code := range reset.Codes() {
		if n := r.Outcomes[string(code)]; n > 0 {
			fmt.Fprintf(&b, "  %-24s %d\n", code, n)
		}
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s (record %d)", f.Kind, f.Request, f.Seq)
		if f.Operation != "" {
			fmt.Fprintf(&b, ", %s", f.Operation)
		}
		if f.Account != "" {
			fmt.Fprintf(&b, " of %q", f.Account)
		}
		if !f.Accepted.IsZero() {
			fmt.Fprintf(&b, " accepted %s", f.Accepted.Format(time.RFC3339))
		}
		fmt.Fprintf(&b, ": %s\n", f.Reason)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more\n", r.More)
	}
	if len(r.Findings) == 0 {
		b.WriteString("Everything that was accepted has ended, and everything that ended was accepted.\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
