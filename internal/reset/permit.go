package reset

import (
	"slices"
	"time"
)

// A Permit is what a ticket of the reset page is for.
type Permit struct {
	Tenant     string
	Account    Account
	Operations []Operation // reset, unlock or both, in the order of their numbers
	Actor      Actor       // for whom the page speaks
	Source     string      // who asked for the ticket, as its credential names it
	Expires    time.Time   // zero before it is made
}

// TicketLife is how long a ticket of the reset page is good for, at most.
const TicketLife = 15 * time.Minute

// Allows reports whether op is one of the permit's operations.
func (p Permit) Allows(op Operation) bool { return slices.Contains(p.Operations, op) }
