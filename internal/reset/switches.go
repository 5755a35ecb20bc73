package reset

import "time"

// A SwitchName names one of the two switches that a tenant has in the cloud. They
// can only narrow what the company's own policy on premises allows. Both are on
// until somebody turns them off.
type SwitchName uint8

const (
	SwitchWriteback SwitchName = 1 // off: nothing is taken to the directory
	SwitchUnlock    SwitchName = 2 // off: no account is unlocked but by a reset
)

var switchNames = map[SwitchName]string{SwitchWriteback: "writeback", SwitchUnlock: "unlock"}

// SwitchNames returns both, in the order of their numbers.
func SwitchNames() []SwitchName { return []SwitchName{SwitchWriteback, SwitchUnlock} }

// String returns the name that API, broker and logs use.
func (n SwitchName) String() string { return name(switchNames, n) }

// A Switch is a switch as it is now.
type Switch struct {
	On     bool
	Set    time.Time // zero while nobody has set it
	Source string    // the caller that set it, as its credential names it; empty where the key to that is gone
	Actor  Actor     // on whose behalf, in the words of the caller
}

// Switches are the two of a tenant.
type Switches struct{ Writeback, Unlock Switch }

// Off returns the outcome that the switches have for op, if they forbid it.
func (s Switches) Off(op Operation) (Outcome, bool) {
	off := !s.Writeback.On || op == Unlock && !s.Unlock.On
	return Outcome{Code: OperationOff, Details: Details{Reason: "switch"}}, off
}

// A SwitchChange is what a caller wants the switches to be. A switch that is not in
// Set stays as it is.
type SwitchChange struct {
	Tenant  string
	Set     map[SwitchName]bool
	Source  string // as in [Submission]
	Address string
	Actor   Actor
}
