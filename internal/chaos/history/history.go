// Package history judges what was seen of the system from outside while things
// were broken: what callers were told, the chains in RECORDS, and the directory.
// [History.Check] holds the promises of the design as rules and names every
// request that breaks one.
//
// It looks at histories that are over: every request's life has ended, and
// nothing is on its way any more. It does not look into the programs.
package history

import (
	"fmt"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// A History is what was seen. Passwords have names in it, each of one call
// alone; an account is called what the calls call it.
type History struct {
	Calls    []Call
	Chains   []Chain
	Writes   []Write // all modifies of accounts, in their order; nil if nobody kept them
	Accounts []Account

	// Slack is how far clocks were set wrong on purpose, plus how long bytes
	// were held on purpose between a consumer and its domain controller.
	Slack time.Duration
}

// A Call is one thing that a caller asked for, however often it had to.
type Call struct {
	Account   string
	Operation reset.Operation
	Password  string    // the new one's name; empty for an operation that sets none
	Ref       reset.Ref // zero while the caller was never told one
	Answers   []Answer
}

// An Answer is what the API said of a call. Where no answer came there is still
// one, with a State that is empty.
type Answer struct {
	Asked, At time.Time         // of the question, of the answer
	Refusal   reset.RefusalCode // what follows is zero then
	State     reset.State
	Code      reset.Code // empty while nothing is known
	Final     bool
}

// A Chain is what RECORDS holds of one request.
type Chain struct {
	Ref     reset.Ref
	Account string // as the accepted record says
	Links   audit.Chain
	Applied time.Time // when the directory answered, as the outcome says
	Err     error     // why what follows Links is no part of the chain
}

// Read returns the chain that the records of one request make, which are in the
// order of their sequences. open returns the private part of a link.
func Read(v audit.Verifier, open func(audit.Link) (*envelope.Private, error), ref reset.Ref, stored []reset.Stored) Chain {
	c := Chain{Ref: ref}
	for _, s := range stored {
		links, err := v.Extend(c.Links, ref.ID, s)
		if err != nil {
			c.Err = err
			return c
		}
		link := links.Last()
		private, err := open(link)
		if err != nil {
			c.Err = fmt.Errorf("the private part of record %d: %w", s.Seq, err)
			return c
		}
		if link.Publisher != ref.Publisher {
			c.Err = fmt.Errorf("record %d is of publisher %s", s.Seq, link.Publisher)
			return c
		}
		c.Links = links
		switch link.Kind {
		case envelope.Accepted:
			c.Account = private.Account.Value
		case envelope.Settled, envelope.Corrected:
			c.Applied = private.Applied
		}
	}
	return c
}

// A Verdict is what became of a modify.
type Verdict int

// The verdicts.
const (
	Refused Verdict = iota
	Done
	Unseen // it was sent, and its answer is not known
)

// A Write is a modify of an account that reached the directory.
type Write struct {
	At       time.Time // by a clock that is right
	Account  string
	Password string // the name of the one that it sets; empty if it sets none
	Verdict  Verdict
}

// An Account is one at the end.
type Account struct {
	Name       string
	First      string    // the name of the password that it began with
	Passwords  []string  // the names of those that the directory takes, of all there are
	PwdLastSet time.Time // zero if it is not known, or says that the password must be changed
}

// A Violation says which rule was broken, by whom, and what contradicts it.
type Violation struct {
	Rule    Rule
	Request string // empty if there is no one request
	Account string
	What    string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: request %s, account %s: %s", v.Rule, v.Request, v.Account, v.What)
}

// A Rule is what a violation breaks. The set is closed.
type Rule string

// The rules, each with what it says.
const (
	Lost     Rule = "lost"      // what was acknowledged to a caller is on disk
	Open     Rule = "open"      // every request on disk ends in an outcome
	Broken   Rule = "broken"    // every record is a part of its request's chain
	Invented Rule = "invented"  // nothing happens that nobody asked for
	Told     Rule = "told"      // callers are told the one outcome, and not before it is on disk
	NoEffect Rule = "no_effect" // what is applied was set, and the last of an account is in force
	False    Rule = "false"     // what was refused or cancelled was not set
	Late     Rule = "late"      // nothing is set after its deadline
	Order    Rule = "order"     // one request of an account at a time, and no older password comes back
	NoClaim  Rule = "no_claim"  // no modify without a claim that was written just before it
	Twice    Rule = "twice"     // no request is applied twice
	TooSoon  Rule = "too_soon"  // no claim is taken over while its writer may send
)

// Rules returns the closed set.
func Rules() []Rule {
	return []Rule{Lost, Open, Broken, Invented, Told, NoEffect, False, Late, Order, NoClaim, Twice, TooSoon}
}
