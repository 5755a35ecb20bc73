package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// work is how long after its claim was begun a consumer's modify may take
// effect, and so how long after the deadline.
const work = reset.Window + reset.ModifyTimeout

// An effect is what a request's outcome says of its account.
type effect int

const (
	none  effect = iota
	maybe        // unconfirmed
	full
)

// A request is a chain and what it belongs to.
type request struct {
	Chain
	account string
	calls   []*Call // one; or those that it may be of, if none was told its id
	effect  effect
}

// name is what violations call a request.
func (r *request) name() string { return r.Ref.String() }

// sets reports whether the request may be what sets a password.
func (r *request) sets(password string) bool {
	return slices.ContainsFunc(r.calls, func(c *Call) bool { return c.Password == password })
}

// passwords are the names of those that the request may set.
func (r *request) passwords() (names []string) {
	for _, c := range r.calls {
		names = append(names, c.Password)
	}
	return names
}

// deadline is when the request's modify must have been sent.
func (r *request) deadline() time.Time { return r.Links[0].Time.Add(reset.Deadline) }

// claimed returns the first claim. Only requests with an effect need one.
func (r *request) claimed() (audit.Link, bool) { return r.first(envelope.Claimed) }

// ended returns the record after which the request's slot may be free.
func (r *request) ended() (audit.Link, bool) { return r.first(envelope.Settled, envelope.Cancelled) }

func (r *request) first(kinds ...envelope.Kind) (audit.Link, bool) {
	i := slices.IndexFunc(r.Links, func(l audit.Link) bool { return slices.Contains(kinds, l.Kind) })
	if i < 0 {
		return audit.Link{}, false
	}
	return r.Links[i], true
}

// byClaim compares requests of one account in the order in which they were at
// work.
func byClaim(a, b *request) int {
	ca, _ := a.claimed()
	cb, _ := b.claimed()
	return cmp.Compare(ca.Seq, cb.Seq)
}

// A checker collects what is wrong.
type checker struct {
	History
	requests []*request
	byRef    map[reset.Ref]*request
	found    []Violation
}

// Check returns what in the history is against the rules.
func (h History) Check() []Violation {
	c := &checker{History: h, byRef: make(map[reset.Ref]*request)}
	c.match()
	for _, r := range c.requests {
		c.checkChain(r)
	}
	for i := range c.Calls {
		c.checkCall(&c.Calls[i])
	}
	if c.Writes != nil {
		c.checkWrites()
	}
	for _, a := range c.Accounts {
		c.checkOrder(a.Name)
		c.checkEnd(a)
	}
	return c.found
}

func (c *checker) violation(rule Rule, request, account, format string, args ...any) {
	c.found = append(c.found, Violation{rule, request, account, fmt.Sprintf(format, args...)})
}

// match brings chains and calls together.
func (c *checker) match() {
	calls := make(map[reset.Ref]*Call)
	for i := range c.Calls {
		call := &c.Calls[i]
		switch {
		case call.Ref == (reset.Ref{}):
		case calls[call.Ref] != nil:
			c.violation(Lost, call.Ref.String(), call.Account, "two calls were told of one request")
		default:
			calls[call.Ref] = call
		}
	}
	for _, chain := range c.Chains {
		r := &request{Chain: chain, account: chain.Account}
		if call := calls[chain.Ref]; call != nil {
			r.account, r.calls = call.Account, []*Call{call}
		} else {
			for i := range c.Calls {
				call := &c.Calls[i]
				if call.Ref == (reset.Ref{}) && call.Account == chain.Account && (len(chain.Links) == 0 || call.Operation == chain.Links[0].Operation) {
					r.calls = append(r.calls, call)
				}
			}
		}
		c.requests = append(c.requests, r)
		c.byRef[r.Ref] = r
	}
}

// checkChain looks at what is on disk of a request, and says in it what effect
// it must have had.
func (c *checker) checkChain(r *request) {
	if r.Err != nil {
		c.violation(Broken, r.name(), r.account, "%v", r.Err)
	}
	if len(r.calls) == 0 {
		c.violation(Invented, r.name(), r.account, "nobody has asked for it")
	}
	if len(r.Links) == 0 {
		if r.Err == nil {
			c.violation(Broken, r.name(), r.account, "it has no record")
		}
		return
	}
	last := r.Links.Last()
	if !r.Links.Ended() {
		c.violation(Open, r.name(), r.account, "its last record is %s, of %s", last.Kind, last.Time.Format(time.RFC3339))
	}
	_, claimed := r.claimed()
	if claimed && len(r.calls) > 0 && !slices.ContainsFunc(r.calls, func(call *Call) bool { return !refused(call) }) {
		c.violation(False, r.name(), r.account, "it was worked on, and its caller was refused")
	}
	c.checkTakeOver(r)
	if op := last.Operation; op != reset.Reset && op != reset.Change {
		return
	}
	switch {
	case last.Code == reset.Applied || last.Code == reset.AppliedPartly:
		r.effect = full
		if last.Kind == envelope.Settled && !last.Doubt { // else it was found out later
			c.checkTime(r, "the directory answered", r.Applied)
		}
	case !r.Links.Ended() && claimed, last.Code == reset.Unconfirmed:
		r.effect = maybe
	}
}

// checkTakeOver makes sure that whoever claims what another has claimed waited
// until that one could not send any more.
func (c *checker) checkTakeOver(r *request) {
	for i, l := range r.Links[1:] {
		before := r.Links[i]
		if l.Kind != envelope.Claimed || before.Kind != envelope.Claimed || l.Writer.Run == before.Writer.Run {
			continue
		}
		if waited := l.Time.Sub(before.Time); waited < reset.TakeOver-c.Slack {
			c.violation(TooSoon, r.name(), r.account, "%s has taken it over %s after %s had claimed it", l.Writer.Name, waited, before.Writer.Name)
		}
	}
}

// checkTime judges when the request had its effect, or may have had it.
func (c *checker) checkTime(r *request, what string, at time.Time) {
	if late := at.Sub(r.deadline()); late > work+c.Slack {
		c.violation(Late, r.name(), r.account, "%s %s after its deadline", what, late.Round(time.Millisecond))
	}
}

// checkCall compares what a caller was told with the records.
func (c *checker) checkCall(call *Call) {
	if call.Ref == (reset.Ref{}) {
		return
	}
	name := call.Ref.String()
	r := c.byRef[call.Ref]
	if r == nil || len(r.Links) == 0 {
		c.violation(Lost, name, call.Account, "the caller was told this id, and there is no record of it")
		return
	}
	last := r.Links.Last()
	written := func(l audit.Link) bool { return l.Code == reset.Unconfirmed }
	for i, a := range call.Answers {
		switch {
		case a.Refusal == reset.UnknownRequest:
			c.violation(Lost, name, call.Account, "the caller was told that there is no such request")
		case a.Code == "":
		case a.Code == reset.Unconfirmed && (!a.Final || slices.ContainsFunc(r.Links, written)):
		case !r.Links.Ended() || a.Code != last.Code:
			c.violation(Told, name, call.Account, "the caller was told %s, the last record says %s %s", a.Code, last.Kind, last.Code)
		case a.At.Before(last.Time.Add(-c.Slack)):
			c.violation(Told, name, call.Account, "the caller was told %s %s before that was written", a.Code, last.Time.Sub(a.At).Round(time.Millisecond))
		}
		for _, later := range call.Answers[i+1:] {
			if a.State == reset.Final && later.State != "" && later.State != reset.Final && later.Asked.After(a.At) {
				c.violation(Told, name, call.Account, "the caller was told %s, and then that it is %s", a.Code, later.State)
			}
		}
	}
}

// checkOrder makes sure that of an account's requests one at a time was at work.
func (c *checker) checkOrder(account string) {
	queue := c.of(account)
	for i, r := range queue {
		// What the broker has dropped for its age has no slot any more.
		free := r.Links[0].Time.Add(reset.QueueAge - c.Slack)
		end, over := r.ended()
		for _, next := range queue[i+1:] {
			claim, _ := next.claimed()
			if (!over || claim.Seq < end.Seq) && claim.Time.Before(free) {
				c.violation(Order, next.name(), account, "it was claimed (record %d) before request %s had ended", claim.Seq, r.Ref)
			}
		}
	}
}

// of returns the requests of an account that were claimed, in their order.
func (c *checker) of(account string) (list []*request) {
	for _, r := range c.requests {
		if _, claimed := r.claimed(); claimed && r.account == account {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, byClaim)
	return list
}
