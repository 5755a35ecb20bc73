package history

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"writeback/internal/envelope"
)

// Outcomes counts the requests on disk by their outcome, "open" where there is
// none.
func (h History) Outcomes() map[string]int {
	counts := make(map[string]int)
	for _, c := range h.Chains {
		if c.Links.Ended() {
			counts[string(c.Links.Last().Code)]++
		} else {
			counts["open"]++
		}
	}
	return counts
}

// Answers counts the answers that callers got, by what they said: a refusal, an
// outcome, a state without one, or nothing.
func (h History) Answers() map[string]int {
	counts := make(map[string]int)
	for _, call := range h.Calls {
		for _, a := range call.Answers {
			switch {
			case a.Refusal != "":
				counts["refused: "+string(a.Refusal)]++
			case a.Code != "":
				counts[string(a.Code)]++
			case a.State != "":
				counts[string(a.State)]++
			default:
				counts["no answer"]++
			}
		}
	}
	return counts
}

// Print writes what happened: faults by kind, outcomes, answers, and what is
// against the rules.
func (h History) Print(w io.Writer, faults map[string]int, found []Violation) error {
	claims, taken, corrected := 0, 0, 0
	for _, c := range h.Chains {
		own := 0
		for _, l := range c.Links {
			switch l.Kind {
			case envelope.Claimed:
				own++
			case envelope.Corrected:
				corrected++
			}
		}
		claims += own
		if own > 1 {
			taken++
		}
	}
	p := printer{w: w}
	p.line("%d calls, %d requests, %d modifies, %d claims; %d requests were claimed more than once, %d outcomes were corrected",
		len(h.Calls), len(h.Chains), len(h.Writes), claims, taken, corrected)
	p.table("faults", faults)
	p.table("outcomes", h.Outcomes())
	p.table("answers", h.Answers())
	p.line("violations: %d", len(found))
	for _, v := range found {
		p.line("  %s", v)
	}
	return p.err
}

// A printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if _, err := fmt.Fprintf(p.w, format+"\n", args...); p.err == nil {
		p.err = err
	}
}

func (p *printer) table(title string, counts map[string]int) {
	p.line("%s:", title)
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		p.line("  %6d  %s", counts[key], key)
	}
}
