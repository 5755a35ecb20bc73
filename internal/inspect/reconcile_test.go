package inspect

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/testkit/life"
	"writeback/internal/trail"
)

func reconcile(t *testing.T, w *life.World, messages []trail.Message, from, to, asOf time.Time) *Reconciliation {
	t.Helper()
	r := NewReconciler(trail.Reader{Verifier: w.Verifier, Months: w.Months}, from, to)
	for _, m := range messages {
		r.Add(m)
	}
	return r.End(asOf)
}

// With a key that nobody has pinned, every record is a finding. They are counted,
// and not all are kept.
func TestManyFindings(t *testing.T) {
	w, all := written(t, func(s *script) { s.requests(100) })
	v := w.Verifier
	v.Publishers = w.Verifier.Consumers
	r := NewReconciler(trail.Reader{Verifier: v}, time.Time{}, time.Time{})
	records := 0
	for range 8 {
		for _, m := range all {
			r.Add(m)
			if m.Stream == trail.Records {
				records++
			}
		}
	}
	out := r.End(time.Time{})
	if records <= mostFindings || len(out.Findings) != mostFindings || out.Count() != uint64(records) {
		t.Errorf("of %d findings, %d are listed and %d counted", records, len(out.Findings), out.Count())
	}
	var text strings.Builder
	if err := out.Print(&text); err != nil || !strings.Contains(text.String(), "and "+strconv.Itoa(records-mostFindings)+" more") {
		t.Errorf("it is printed as %s", text.String()[max(0, text.Len()-200):])
	}
}

func TestReconcile(t *testing.T) {
	names := make(map[string]string) // of requests, by what became of them
	var noon time.Time
	w, all := written(t, func(s *script) {
		begin := func(what string) *life.Request {
			r, err := s.Accept(s.t.Context(), what+"@corp.example.com")
			s.must(err)
			names[what] = r.Name()
			return r
		}
		step := func(r *life.Request, by *life.Writer, kind envelope.Kind, code reset.Code) {
			s.must(r.Write(s.t.Context(), by, kind, code))
		}
		before := begin("before")
		time.Sleep(time.Minute)
		noon = time.Now()
		s.requests(20)
		begin("alone")
		claimed := begin("claimed")
		step(claimed, s.Consumers[0], envelope.Claimed, "")
		released := begin("released")
		step(released, s.Consumers[1], envelope.Claimed, "")
		step(released, s.Consumers[1], envelope.Released, "")
		closed := begin("closed")
		step(closed, s.Consumers[1], envelope.Claimed, "")
		step(closed, s.Publisher, envelope.Settled, reset.Unconfirmed)
		unsure := begin("unsure")
		step(unsure, s.Consumers[0], envelope.Claimed, "")
		step(unsure, s.Consumers[0], envelope.Settled, reset.Unconfirmed)
		step(before, s.Publisher, envelope.Cancelled, reset.Expired)
		time.Sleep(time.Hour)
		young := begin("young")
		step(young, s.Consumers[0], envelope.Claimed, "")
	})
	r := reconcile(t, w, all, noon, time.Time{}, time.Time{})
	got := make(map[string]Finding)
	for _, f := range r.Findings {
		got[f.Request] = f
	}
	for what, want := range map[string]struct {
		kind   FindingKind
		reason string
	}{
		"alone":    {Unended, "no consumer took it"},
		"claimed":  {Unended, "consumer1 claimed it"},
		"released": {Unended, "consumer2 handed it back"},
		"closed":   {Unresolved, "consumer2 claimed it at"},
		"unsure":   {Unresolved, "consumer1 could not find out"},
	} {
		f := got[names[what]]
		if f.Kind != want.kind || !strings.Contains(f.Reason, want.reason) || f.Account != what+"@corp.example.com" || f.Operation != "reset" {
			t.Errorf("%s: %+v, want %s with %q", what, f, want.kind, want.reason)
		}
	}
	if len(got) != 5 || r.Pending != 1 || r.Accepted != 26 || r.Outcomes["applied"] != 8 || r.Outcomes["unconfirmed"] != 2 {
		t.Errorf("the reconciliation is %+v", r)
	}
	var out strings.Builder
	if err := r.Print(&out); err != nil || strings.Count(out.String(), "\n") < 9 || !strings.Contains(out.String(), "unresolved: "+names["closed"]) {
		t.Errorf("it is printed as %s", out.String())
	}
	if r := reconcile(t, w, all, noon, noon.Add(30*time.Second), time.Time{}); len(r.Findings) != 0 || r.Accepted != 15 {
		t.Errorf("a period in which all is well: %+v", r)
	}
	if r := reconcile(t, w, all, noon, time.Time{}, noon.Add(2*time.Minute)); len(r.Findings) != 0 || r.Pending != 6 {
		t.Errorf("before a life is over: %+v", r)
	}
	// Without the record that a request was accepted with.
	i := find(t, all, 10, isRecord(envelope.Accepted))
	if r := reconcile(t, w, drop(slices.Clone(all), i), noon, noon.Add(30*time.Second), time.Time{}); len(r.Findings) == 0 || r.Findings[0].Kind != Unaccepted {
		t.Errorf("an outcome without its beginning: %+v", r.Findings)
	}
	settled := find(t, all, 3, isRecord(envelope.Settled))
	spoiled := slices.Clone(all)
	spoiled[settled] = altered(all[settled], -1)
	if r := reconcile(t, w, spoiled, noon, noon.Add(30*time.Second), time.Time{}); !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == NotBelieve }) {
		t.Errorf("an outcome that nobody has signed: %+v", r.Findings)
	}
}
