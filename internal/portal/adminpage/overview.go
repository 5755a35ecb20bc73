package adminpage

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"writeback/internal/portal/pages"
	"writeback/internal/reset"
	"writeback/internal/signin"
)

// An overview is what the page shows.
type overview struct {
	visitor
	reset.Overview
	Lines    []health
	Rows     []row
	Switched []switched
	Filter   filter
	Listed   []listed
	Outcomes chart
	Times    chart
	Halves   []half // the same numbers, the newest first, without those that have none
	Live     bool   // the page goes on
	Here     string
	Other    string // the same page that does not go on, or does
}

// A row is one consumer.
type row struct {
	reset.Replica
	SeenAgo, KeyAge string
	Median, Slow    string
	Outdated        bool
}

// A switched is one of the switches.
type switched struct {
	Name string
	reset.Switch
}

// A half is what ended in half an hour.
type half struct {
	reset.Bin
	Median, Slow string
}

// A listed is one request in the list.
type listed struct {
	reset.Recent
	Class string
	Took  string
}

// A filter says what is listed; what is empty is all.
type filter struct {
	Code, Operation, Consumer string

	Codes      []reset.Code
	Operations []reset.Operation
	Consumers  []string
}

func newFilter(q url.Values, o reset.Overview) filter {
	f := filter{Code: q.Get("code"), Operation: q.Get("operation"), Consumer: q.Get("consumer"), Codes: reset.Codes(), Operations: reset.Operations()}
	for _, r := range o.Replicas {
		f.Consumers = append(f.Consumers, r.Replica)
	}
	// What is none that there is could not be chosen either.
	if !slices.Contains(f.Codes, reset.Code(f.Code)) {
		f.Code = ""
	}
	if _, err := reset.ParseOperation(f.Operation); err != nil {
		f.Operation = ""
	}
	if !slices.Contains(f.Consumers, f.Consumer) {
		f.Consumer = ""
	}
	return f
}

func (f filter) takes(r reset.Recent) bool {
	return (f.Code == "" || string(r.Code) == f.Code) && (f.Operation == "" || r.Operation.String() == f.Operation) &&
		(f.Consumer == "" || r.Consumer == f.Consumer)
}

// query is the part of an address that says it.
func (f filter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"code": f.Code, "operation": f.Operation, "consumer": f.Consumer} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// Set reports whether anything is left out.
func (f filter) Set() bool { return len(f.query()) > 0 }

// get is GET /admin.
func (p *adminPage) get(c *pages.Call) error {
	v, ok, err := p.require(c, 0)
	if !ok {
		return err
	}
	m, err := p.look(c.Request.Context(), c, v)
	if err != nil {
		return err
	}
	return c.Render(http.StatusOK, "admin.html", m)
}

// look returns what the page shows now.
func (p *adminPage) look(ctx context.Context, c *pages.Call, v visitor) (*overview, error) {
	o, err := p.Publisher.Overview(ctx, v.Tenant)
	if err != nil {
		return nil, err
	}
	query := c.Request.URL.Query()
	m := &overview{
		visitor: v, Overview: o, Lines: healthOf(o, p.Version), Filter: newFilter(query, o), Live: query.Get("live") != "off",
		Outcomes: outcomesChart(o.Bins), Times: timesChart(o.Bins, func(d time.Duration) string { return took(c, d) }),
	}
	q := m.Filter.query()
	on := addressOf(Path, q)
	q.Set("live", "off")
	m.Here, m.Other = addressOf(eventsPath, m.Filter.query()), addressOf(Path, q)
	if !m.Live {
		m.Other = on
	}
	for _, r := range o.Replicas {
		m.Rows = append(m.Rows, row{
			Replica: r, SeenAgo: age(o.Time.Sub(r.Seen)), KeyAge: age(o.Time.Sub(r.KeyMade)),
			Median: took(c, r.Median), Slow: took(c, r.Slow), Outdated: r.Alive && r.Version != p.Version,
		})
	}
	if o.Switches != nil {
		m.Switched = []switched{{reset.SwitchWriteback.String(), o.Switches.Writeback}, {reset.SwitchUnlock.String(), o.Switches.Unlock}}
	}
	for _, b := range slices.Backward(o.Bins) {
		if b.Applied+b.Refused+b.Failed > 0 {
			m.Halves = append(m.Halves, half{b, took(c, b.Median), took(c, b.Slow)})
		}
	}
	for _, r := range o.Recent {
		if m.Filter.takes(r) {
			m.Listed = append(m.Listed, listed{r, classOf(r.Code), took(c, r.Took)})
		}
	}
	return m, nil
}

// addressOf is a path with a query.
func addressOf(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func classOf(code reset.Code) string {
	return map[reset.Class]string{reset.Done: "applied", reset.Refused: "refused", reset.Failed: "failed"}[reset.ClassOf(code)]
}

// Partial reports whether not all records of the last 24 hours are known.
func (m *overview) Partial() bool { return m.Time.Sub(m.Since) < 24*time.Hour-time.Second }

// OldestAge is how long the oldest request waits; empty if there is none.
func (m *overview) OldestAge() string {
	if m.Oldest.IsZero() {
		return ""
	}
	return age(m.Time.Sub(m.Oldest))
}

// parts are the blocks of the page that a stream renews, each an element.
func parts() []string {
	return []string{"health", "consumers", "queue", "switches", "recent", "plots", "bins", "spoken"}
}

// every is how often the page is looked at anew while it is read.
const every = time.Second

// events is GET /admin/events: the page as it goes on, for as long as a session
// lasts without a request.
func (p *adminPage) events(c *pages.Call) error {
	v, ok := p.known(c)
	if !ok {
		return c.NoContent()
	}
	return c.Stream(v.reader, func(ctx context.Context, s *pages.Stream) error {
		ctx, cancel := context.WithTimeout(ctx, signin.Idle)
		defer cancel()
		sent := make(map[string][]byte)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := p.renew(ctx, c, v, s, sent); err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(c.Request.Context())
			}
			if v, ok = p.known(c); !ok {
				return nil // the token is gone
			}
		}
	})
}

// renew sends what is new since it was sent last.
func (p *adminPage) renew(ctx context.Context, c *pages.Call, v visitor, s *pages.Stream, sent map[string][]byte) error {
	m, err := p.look(ctx, c, v)
	if err != nil {
		return err
	}
	var news bytes.Buffer
	for _, part := range parts() {
		html, err := c.Fragment("admin.html", part, m)
		if err != nil {
			return err
		}
		if !bytes.Equal(html, sent[part]) {
			sent[part] = html
			news.Write(html)
		}
	}
	if news.Len() == 0 {
		return nil
	}
	return s.Swap(news.Bytes())
}
