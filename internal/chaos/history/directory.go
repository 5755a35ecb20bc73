package history

import (
	"slices"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// checkWrites looks at every modify that reached the directory.
func (c *checker) checkWrites() {
	done := make(map[*Call]int)
	sent := make(map[string]bool)
	lastDone := make(map[string]*request) // by account: the newest in the queue's order
	for _, w := range c.Writes {
		if w.Password == "" {
			c.checkClaim(w, c.of(w.Account))
			continue
		}
		i := slices.IndexFunc(c.Calls, func(call Call) bool { return call.Password == w.Password && call.Account == w.Account })
		if i < 0 {
			c.violation(Invented, "", w.Account, "password %s was set at %s, and nobody has asked for it", w.Password, w.At)
			continue
		}
		call := &c.Calls[i]
		requests := c.ofCall(call)
		c.checkClaim(w, requests)
		if w.Verdict != Refused {
			sent[w.Password] = true
		}
		if w.Verdict != Done {
			continue
		}
		if done[call]++; done[call] == 2 {
			c.violation(Twice, nameOf(call), w.Account, "password %s was set more than once", w.Password)
		}
		able := slices.ContainsFunc(requests, func(r *request) bool { return r.effect != none })
		if len(requests) > 0 && !able {
			c.violation(False, nameOf(call), w.Account, "password %s was set, and the outcome is %s", w.Password, outcomes(requests))
		}
		if len(requests) != 1 {
			continue
		}
		r := requests[0]
		c.checkTime(r, "password "+w.Password+" was set", w.At)
		if before := lastDone[w.Account]; before != nil && byClaim(r, before) < 0 {
			c.violation(Order, r.name(), w.Account, "password %s was set after that of the later request %s", w.Password, before.Ref)
		} else {
			lastDone[w.Account] = r
		}
	}
	for _, r := range c.requests {
		if r.effect == full && len(r.calls) > 0 && !slices.ContainsFunc(r.passwords(), func(p string) bool { return sent[p] }) {
			c.violation(NoEffect, r.name(), r.account, "the outcome is %s, and the directory was never asked to set password %s", r.Links.Last().Code, r.passwords())
		}
	}
}

// checkClaim makes sure that a modify follows a claim of one of the requests.
func (c *checker) checkClaim(w Write, requests []*request) {
	claims := 0
	for _, r := range requests {
		for _, l := range r.Links {
			if l.Kind != envelope.Claimed || l.Time.After(w.At.Add(c.Slack)) {
				continue
			}
			if claims++; w.At.Sub(l.Time) <= work+c.Slack {
				return
			}
		}
	}
	request := ""
	if len(requests) > 0 {
		request = requests[0].name()
	}
	c.violation(NoClaim, request, w.Account, "a modify at %s (password %q) follows no claim of the %s before it; there are %d older ones",
		w.At, w.Password, work+c.Slack, claims)
}

// ofCall returns the request of a call; if the caller was never told its id,
// those that it may be.
func (c *checker) ofCall(call *Call) (list []*request) {
	for _, r := range c.requests {
		if slices.Contains(r.calls, call) && len(r.Links) > 0 {
			list = append(list, r)
		}
	}
	return list
}

// checkEnd compares what the directory takes at the end with the outcomes.
func (c *checker) checkEnd(a Account) {
	switch len(a.Passwords) {
	case 0:
		c.violation(Invented, "", a.Name, "the directory takes none of the passwords that were asked for")
		return
	case 1:
	default:
		c.violation(NoEffect, "", a.Name, "the directory takes the passwords %s, and should take one", a.Passwords)
		return
	}
	// What may be in force: the last that was applied for certain, and what is
	// not known of those after it.
	force := a.Passwords[0]
	may, why := []string{a.First}, "it was there at first"
	var holder, overtaken *request
	for _, r := range c.of(a.Name) {
		if r.sets(force) {
			holder = r
		}
		switch r.effect {
		case full:
			may, why = r.passwords(), "request "+r.name()+" was the last that was applied"
			if holder != r {
				overtaken = holder
			}
		case maybe:
			may = append(may, r.passwords()...)
		}
	}
	if holder != nil && holder.effect != none && !a.PwdLastSet.IsZero() {
		c.checkTime(holder, "password "+force+" was set", a.PwdLastSet)
	}
	if slices.Contains(may, force) {
		return
	}
	i := slices.IndexFunc(c.Calls, func(call Call) bool { return call.Password == force && call.Account == a.Name })
	switch {
	case overtaken != nil && overtaken.effect != none:
		c.violation(Order, overtaken.name(), a.Name, "its password %s is in force, but %s", force, why)
	case i >= 0 && c.ofCall(&c.Calls[i]) != nil:
		requests := c.ofCall(&c.Calls[i])
		c.violation(False, nameOf(&c.Calls[i]), a.Name, "its password %s is in force, and the outcome is %s", force, outcomes(requests))
	case i >= 0:
		c.violation(False, nameOf(&c.Calls[i]), a.Name, "password %s is in force, and there is no request for it", force)
	default:
		c.violation(NoEffect, "", a.Name, "password %s is in force, but %s", force, why)
	}
}

// nameOf is what violations call the request of a call.
func nameOf(call *Call) string {
	if call.Ref == (reset.Ref{}) {
		return "without an id"
	}
	return call.Ref.String()
}

func outcomes(requests []*request) (codes []reset.Code) {
	for _, r := range requests {
		codes = append(codes, r.Links.Last().Code)
	}
	return codes
}

// refused reports whether the caller was told every time that nothing was done.
func refused(call *Call) bool {
	return call.Ref == (reset.Ref{}) && len(call.Answers) > 0 &&
		!slices.ContainsFunc(call.Answers, func(a Answer) bool { return a.Refusal == "" })
}
