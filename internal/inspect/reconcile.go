package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/trail"
)

// A FindingKind says what is the matter with a request. The set is closed.
type FindingKind string

const (
	Unended    FindingKind = "unended"    // accepted, and its life is over without an outcome
	Unresolved FindingKind = "unresolved" // unconfirmed, and nobody has found out
	Unaccepted FindingKind = "unaccepted" // a record without the one that accepted the request
	NotBelieve FindingKind = "unbelieved" // a record of it is not what anybody pinned has signed for this place
)

// A Finding is a request that somebody must look at.
type Finding struct {
	Kind      FindingKind `json:"kind"`
	Request   string      `json:"request"`
	Operation string      `json:"operation,omitempty"`
	Account   string      `json:"account,omitempty"` // empty where it is hidden
	Accepted  time.Time   `json:"accepted,omitzero"`
	Seq       uint64      `json:"seq"` // of the record that it ends with
	Reason    string      `json:"reason"`
}

// A Reconciliation compares what was accepted in a period with what came of it.
type Reconciliation struct {
	Tenant   string            `json:"tenant"`
	From     time.Time         `json:"from,omitzero"`
	To       time.Time         `json:"to,omitzero"`
	AsOf     time.Time         `json:"as_of"`    // what came later was not looked at
	Accepted uint64            `json:"accepted"` // in the period
	Outcomes map[string]uint64 `json:"outcomes"` // by code
	Pending  uint64            `json:"pending"`  // under way, or may still be corrected
	Findings []Finding         `json:"findings"`
	More     uint64            `json:"more"` // findings that are not listed
}

// mostFindings is how many are listed.
const mostFindings = 1000

// Count returns how many findings there are.
func (r *Reconciliation) Count() uint64 { return uint64(len(r.Findings)) + r.More }

// Before and After are how much of the trail around a period is needed.
const (
	Before = 2 * reset.Correctable
	After  = time.Hour
)

// closing is how long after a request's life a publisher may take to close it.
const closing = 3 * time.Minute

// A Reconciler reads a trail from [Before] a period to [After] it.
type Reconciler struct {
	reader trail.Reader
	chains *chains
	out    Reconciliation
	under  map[reset.ID]*underWay
	last   time.Time

	// Ended, if set, is told of every request of the period that has its
	// outcome; of an unconfirmed one again, if it is corrected.
	Ended func(Outcome)
}

// An Outcome is how a request of the period ended.
type Outcome struct {
	Request   string
	Account   string // empty where it is hidden
	Operation reset.Operation
	Code      reset.Code
	Accepted  time.Time     // by the publisher's clock
	Took      time.Duration // until its outcome was signed, perhaps by another clock
	By        string        // the instance or replica that signed it
	Corrected bool
}

// underWay is a request that was accepted in the period and has no certain
// outcome yet.
type underWay struct {
	*request
	accepted time.Time // stored
	account  string
}

// NewReconciler returns one for the requests that were accepted from from on and
// before to; zero is no bound.
func NewReconciler(r trail.Reader, from, to time.Time) *Reconciler {
	return &Reconciler{
		reader: r, chains: newChains(r.Verifier), under: make(map[reset.ID]*underWay),
		out: Reconciliation{Tenant: r.Verifier.Tenant, From: from, To: to, Outcomes: make(map[string]uint64)},
	}
}

// Add reads the next message.
func (r *Reconciler) Add(m trail.Message) {
	r.last = m.Time
	if m.Stream != trail.Records {
		return
	}
	req, link, fault := r.chains.add(m)
	inside := trail.Range{From: r.out.From, To: r.out.To}.During(m.Time)
	if fault != nil && fault.Kind != Misplaced {
		if inside {
			r.strange(m, fault)
		}
		return
	}
	if link.Kind == envelope.Accepted && inside {
		r.out.Accepted++
		r.under[link.ID] = &underWay{request: req, accepted: m.Time, account: r.reader.Read(m).Account}
	}
	u := r.under[link.ID]
	if u == nil || !u.chain.Ended() {
		return
	}
	if r.Ended != nil {
		first := u.chain[0]
		r.Ended(Outcome{
			Request: u.about, Account: u.account, Operation: first.Operation, Code: link.Code, Accepted: first.Time,
			Took: link.Time.Sub(first.Time), By: link.Writer.Name, Corrected: link.Kind == envelope.Corrected,
		})
	}
	if u.chain.Unconfirmed() {
		return // perhaps not for good
	}
	r.out.Outcomes[string(link.Code)]++
	delete(r.under, link.ID)
}

// strange notes a record that does not belong where it is.
func (r *Reconciler) strange(m trail.Message, f *Fault) {
	if len(r.out.Findings) == mostFindings {
		r.out.More++
		return
	}
	kind := NotBelieve
	if f.Kind == Orphan {
		kind = Unaccepted
	}
	e := r.reader.Read(m)
	r.out.Findings = append(r.out.Findings, Finding{Kind: kind, Request: f.Request, Operation: e.Operation, Account: e.Account, Seq: m.Seq, Reason: f.Sentence})
}

// End says what was found, as of a time; the zero time is that of the last
// message.
func (r *Reconciler) End(asOf time.Time) *Reconciliation {
	if asOf.IsZero() {
		asOf = r.last
	}
	r.out.AsOf = asOf
	for _, u := range r.under {
		age, unconfirmed := asOf.Sub(u.accepted), u.chain.Unconfirmed()
		kind := Unended
		switch {
		case unconfirmed && age < reset.Correctable, !unconfirmed && age < reset.Life+closing:
			r.out.Pending++
			continue
		case unconfirmed:
			kind = Unresolved
			r.out.Outcomes[string(reset.Unconfirmed)]++
		}
		first, last := u.chain[0], u.chain.Last()
		r.out.Findings = append(r.out.Findings, Finding{
			Kind: kind, Request: u.about, Operation: first.Operation.String(), Account: u.account, Accepted: first.Time, Seq: last.Seq, Reason: u.reason(),
		})
	}
	slices.SortFunc(r.out.Findings, func(a, b Finding) int { return cmp.Compare(a.Seq, b.Seq) })
	if extra := len(r.out.Findings) - mostFindings; extra > 0 {
		r.out.Findings, r.out.More = r.out.Findings[:mostFindings], r.out.More+uint64(extra)
	}
	return &r.out
}

// reason says how far a request came, and what is known of why no further.
func (u *underWay) reason() string {
	last := u.chain.Last()
	at := last.Time.UTC().Format(time.TimeOnly)
	switch last.Kind {
	case envelope.Accepted:
		return "no consumer took it, and no publisher has closed it"
	case envelope.Claimed:
		return fmt.Sprintf("%s claimed it at %s and wrote nothing more, and no publisher has closed it", last.Writer.Name, at)
	case envelope.Released:
		return fmt.Sprintf("%s handed it back at %s, and no publisher has closed it", last.Writer.Name, at)
	}
	claim, ok := u.chain.Claim()
	switch {
	case !ok:
		return "it ended without a claim"
	case last.Writer.Run == claim.Writer.Run && last.Asked:
		return fmt.Sprintf("%s found another password at %s and could not tell whose", last.Writer.Name, at)
	case last.Writer.Run == claim.Writer.Run:
		return fmt.Sprintf("%s could not find out by %s", last.Writer.Name, at)
	}
	return fmt.Sprintf("%s claimed it at %s and did not say what came of it; a publisher closed it at %s", claim.Writer.Name, claim.Time.UTC().Format(time.TimeOnly), at)
}
