package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// bad is how many findings must not be.
func (f *findings) bad() int {
	n := len(f.broken) + len(f.audits)
	for _, v := range f.verdicts {
		if v.judged && !v.flat {
			n++
		}
	}
	return n
}

// print prints what a run found.
func (f *findings) print(out io.Writer, before, after map[string]float64) {
	fmt.Fprintf(out, "\n%-11s %-13s %12s %12s %12s %10s %10s  %s\n", "process", "", "1st quarter", "2nd quarter", "last quarter", "an hour", "may grow", "verdict")
	slices.SortFunc(f.verdicts, func(a, b verdict) int { return strings.Compare(a.process+a.resource, b.process+b.resource) })
	for _, v := range f.verdicts {
		word := "restarted"
		if v.judged {
			word = map[bool]string{true: "flat", false: "GROWS"}[v.flat]
		}
		fmt.Fprintf(out, "%-11s %-13s %12.1f %12.1f %12.1f %+10.2f %10.1f  %s\n",
			v.process, v.resource, v.first, v.second, v.last, v.slope, v.second*v.part+v.most, word)
	}
	fmt.Fprintln(out, "\nQuarters are of the life of the last process of a name; of the first one nothing is judged. What may grow:")
	for _, r := range rules() {
		fmt.Fprintf(out, "  %s: %s\n", r.resource, r.why)
	}
	for _, r := range brokerRules() {
		fmt.Fprintf(out, "  %s of the broker: %s\n", r.resource, r.why)
	}
	f.printCosts(out)
	fmt.Fprintln(out, "\nStreams on the broker's disk, MiB before and after; records and events are kept for 400 days:")
	for _, name := range slices.Sorted(maps.Keys(after)) {
		fmt.Fprintf(out, "  %-14s %8.2f %8.2f\n", name, before[name], after[name])
	}
	fmt.Fprintf(out, "\nCalls: %s; %d attempts were repeated.\nRequests by their only outcome: %s.\n", tally(f.calls), f.again, tally(f.codes))
	for _, text := range f.broken {
		fmt.Fprintf(out, "BROKEN: %s\n", text)
	}
	if len(f.audits) == 0 {
		fmt.Fprintln(out, "audit verify and audit reconcile find nothing.")
	}
	for _, text := range f.audits {
		fmt.Fprintf(out, "BROKEN: %s\n", text)
	}
}

// printCosts prints what the processors did.
func (f *findings) printCosts(out io.Writer) {
	fmt.Fprint(out, "\nWork, as a part of one core:")
	all := 0.0
	for _, name := range slices.Sorted(maps.Keys(f.series)) {
		points := f.series[name][processor]
		// Of its last process: a new one begins at zero.
		begun := slices.IndexFunc(points, func(p point) bool { return p.pid == points[len(points)-1].pid })
		first, last := points[begun], points[len(points)-1]
		if last.at > first.at {
			part := (last.value - first.value) / (last.at - first.at).Seconds()
			all += part
			fmt.Fprintf(out, " %s %.1f %%,", name, 100*part)
		}
	}
	fmt.Fprintf(out, " together %.1f %%\n", 100*all)
}

func tally(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}
