package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"time"

	"writeback/internal/inspect"
	"writeback/internal/reset"
	"writeback/internal/trail"
)

//go:embed page.html
var page string

// A view is what the template shows.
type view struct {
	Tenant, Period, Made, Version string
	Verify                        *inspect.Report
	Ends                          *inspect.Reconciliation
	Tiles                         []tile
	Time, Rules                   *plot
	Operations, Writers           []count
	Slow                          []inspect.Outcome
	Events                        []trail.Entry
	MoreEvents                    int
}

// A tile is one large number.
type tile struct{ Name, Value, Class string }

// A count is a row of a small table.
type count struct {
	Name string
	N    int
}

// Write ends the collection and writes the page. asOf is the time up to which the
// trail was read, zero that of its last message.
func (c *Collector) Write(out io.Writer, version string, now, asOf time.Time) error {
	v := view{
		Tenant: c.reader.Verifier.Tenant, Period: period(c.from, c.to), Made: now.UTC().Format(time.RFC3339), Version: version,
		Verify: c.inspector.End(), Ends: c.ends.End(asOf), Time: c.overTime(), Rules: c.byRule(),
		Slow: c.slow, Events: c.events, MoreEvents: c.more,
	}
	sum := c.sum()
	v.Tiles = []tile{
		{"requests", fmt.Sprint(v.Ends.Accepted), ""},
		{"applied", fmt.Sprint(sum[applied]), "applied"}, {"refused", fmt.Sprint(sum[refused]), "refused"},
		{"expired", fmt.Sprint(sum[expired]), "expired"}, {"unconfirmed", fmt.Sprint(sum[unconfirmed]), "unconfirmed"},
		{"half took up to", short(c.quantile(0.5)), ""}, {"95 % up to", short(c.quantile(0.95)), ""}, {"99 % up to", short(c.quantile(0.99)), ""},
	}
	for _, op := range reset.Operations() {
		if n := c.ops[op]; n > 0 {
			v.Operations = append(v.Operations, count{op.String(), n})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.writers)) {
		v.Writers = append(v.Writers, count{name, c.writers[name]})
	}
	t, err := template.New("page").Funcs(template.FuncMap{
		"at":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"short": short,
		"add":   func(a, b float64) float64 { return a + b },
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(out, v)
}

func period(from, to time.Time) string {
	text := "from the beginning"
	if !from.IsZero() {
		text = "from " + from.UTC().Format("2006-01-02 15:04")
	}
	if to.IsZero() {
		return text + " to the end"
	}
	return text + " to " + to.UTC().Format("2006-01-02 15:04") + " UTC"
}

// short returns a duration with two or three digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
