package report

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/life"
	"writeback/internal/trail"
)

// hostile is a name that a caller could send.
const hostile = `<script>alert(1)</script>"'&ada@corp.example.com`

// week returns a trail of some days with everything that a page can show.
func week(t *testing.T, requests int) (trail.Reader, []trail.Message) {
	t.Helper()
	months := keys.Months(t, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), 3)
	memory := new(life.Memory)
	var reader trail.Reader
	synctest.Test(t, func(t *testing.T) {
		w, err := life.New(months, life.Side{Memory: memory, Name: "pub"}, life.Side{Memory: memory, Name: "con"})
		if err != nil {
			t.Fatal(err)
		}
		reader = trail.Reader{Verifier: w.Verifier, Months: months}
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		random := rand.New(rand.NewPCG(1, 2))
		refusals := []reset.Code{reset.PasswordInHistory, reset.PasswordTooShort, reset.PasswordInHistory, reset.AccountLocked, reset.WrongPassword, reset.NotPermitted}
		for i := range requests {
			name := fmt.Sprintf("user%d@corp.example.com", i)
			if i == 5 {
				name = hostile
			}
			r, err := w.Accept(t.Context(), name)
			must(err)
			con := w.Consumers[i%2]
			took := time.Duration(random.ExpFloat64() * float64(80*time.Millisecond))
			time.Sleep(took)
			switch {
			case i%97 == 96:
				must(r.Write(t.Context(), con, envelope.Claimed, ""))
				must(r.Write(t.Context(), w.Publisher, envelope.Settled, reset.Unconfirmed))
				if i%2 == 0 {
					must(r.Write(t.Context(), con, envelope.Corrected, reset.Applied))
				}
			case i == 30: // nobody ends it
			case i%40 == 0:
				time.Sleep(2 * time.Minute)
				must(r.Write(t.Context(), w.Publisher, envelope.Cancelled, reset.Expired))
			default:
				code := reset.Applied
				if i%4 == 1 {
					code = refusals[i/4%len(refusals)]
				}
				must(r.Write(t.Context(), con, envelope.Claimed, ""))
				time.Sleep(took / 2)
				must(r.Write(t.Context(), con, envelope.Settled, code))
			}
			time.Sleep(time.Duration(random.ExpFloat64() * float64(15*time.Minute) * (1.2 - float64(time.Now().Hour()%24)/24)))
		}
		w.Publisher.Journal.Note(envelope.SwitchChanged{Switch: "writeback", Number: 2}, &envelope.Private{Actor: reset.Actor{Kind: reset.Admin, Subject: hostile}})
		w.Stop()
	})
	return reader, memory.Messages()
}

func made(t *testing.T, reader trail.Reader, all []trail.Message, from, to time.Time) string {
	t.Helper()
	c, err := New(reader, from, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		c.Add(m)
	}
	var out strings.Builder
	if err := c.Write(&out, "test", time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC), time.Time{}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPage(t *testing.T) {
	reader, all := week(t, 400)
	page := made(t, reader, all, time.Time{}, time.Time{})
	for _, want := range []string{
		"The trail is whole", "must be looked at: 3<", "<span>requests</span><b>400</b>", "no consumer took it", "password_in_history",
		"switch_changed", "&lt;script&gt;alert(1)&lt;/script&gt;", `<rect class="applied"`, "consumer2", "2m",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	// It needs nothing but itself, and nothing in it is what a caller has sent.
	for _, bad := range []string{"<script", "http:", "https:", "src=", "@import", "url(", "ZgotmplZ", "<no value>", "NaN"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	number := regexp.MustCompile(` (?:x|y|width|height)="([^"]*)"`)
	for _, m := range number.FindAllStringSubmatch(page, -1) {
		var v float64
		if _, err := fmt.Sscan(m[1], &v); err != nil || v < 0 || v > plotWidth {
			t.Errorf("a plot has the number %q", m[1])
		}
	}
	// Every request that ended has one end, also if it was corrected.
	_, ended, _ := strings.Cut(page, "Who ended them")
	ended, _, _ = strings.Cut(ended, "</table>")
	sum := 0
	for _, m := range regexp.MustCompile(`<td class="n">(\d+)</td>`).FindAllStringSubmatch(ended, -1) {
		n, _ := strconv.Atoi(m[1])
		sum += n
	}
	if sum != 399 {
		t.Errorf("%d requests are said to have been ended by somebody, want 399", sum)
	}
	broken := append(all[:20:20], all[21:]...)
	if page := made(t, reader, broken, time.Time{}, time.Time{}); !strings.Contains(page, "The trail is not whole") || !strings.Contains(page, "verdict bad") {
		t.Error("the page does not say that the trail is not whole")
	}
	if page := made(t, reader, nil, time.Time{}, time.Time{}); !strings.Contains(page, "No request of this period has ended") || strings.Contains(page, "<svg") || !strings.Contains(page, "Nothing was there to verify") {
		t.Error("the page of an empty trail")
	}
}

// What is outside the period is not counted, but needed.
func TestPeriod(t *testing.T) {
	reader, all := week(t, 200)
	var from, to time.Time
	want := 0
	for _, m := range all {
		rec, err := envelope.ParseRecord(m.Data)
		if m.Stream != trail.Records || err != nil || rec.Kind != envelope.Accepted {
			continue
		}
		switch want++; want {
		case 50:
			from = m.Time
		case 80:
			to = m.Time
		}
	}
	page := made(t, reader, all, from, to)
	if !strings.Contains(page, "<span>requests</span><b>30</b>") || !strings.Contains(page, "Every request has its end") {
		t.Error("the page of a period counts others")
	}
}

// No date is cut off by the edge.
func TestDates(t *testing.T) {
	start := time.Date(2026, 11, 5, 0, 0, 0, 0, time.UTC)
	for hours := range 300 {
		c := &Collector{hours: map[time.Time]*[classes]int{start: {1}, start.Add(time.Duration(hours) * time.Hour): {1}}}
		labels := c.overTime().Labels
		if len(labels) == 0 {
			t.Errorf("over %d hours there is no date", hours)
		}
		for _, l := range labels {
			if l.X > plotWidth-70 {
				t.Errorf("over %d hours, %s is at %.0f", hours, l.Text, l.X)
			}
		}
	}
}

func TestQuantile(t *testing.T) {
	c := &Collector{took: make([]int, 100)}
	for i := range 1000 {
		c.took[step(time.Duration(i)*time.Millisecond)]++
	}
	for share, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.95: 950 * time.Millisecond} {
		if got := c.quantile(share); got < want || got > want*6/5 {
			t.Errorf("%v of 0 to 999 ms are up to %s", share, got)
		}
	}
	if step(0) != 0 || step(100*24*time.Hour) != 99 && edge(99) < 100*24*time.Hour {
		t.Errorf("the classes of durations end at %s", edge(99))
	}
}
