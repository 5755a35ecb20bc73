package reset

import "time"

// A Submission is a request as a producer makes it, without its password.
type Submission struct {
	Tenant         string
	Source         string // the caller, as its credential names it
	Address        string // where the caller's connection came from, for the audit
	IdempotencyKey string // empty: every call is a new request
	ID             ID     // of the new request, if its producer has chosen it; not with a key
	Operation      Operation
	Account        Account
	Actor          Actor
	MustChange     bool // of a reset: the user must choose another password at the next logon
}

// A State is how far a request has come.
type State string

const (
	Accepted State = "accepted"  // on disk in the broker
	PickedUp State = "picked_up" // claimed by a consumer
	Final    State = "final"     // ended, but for an unconfirmed whose truth may yet be found
)

// A Status is what is known of a request.
type Status struct {
	Ref       Ref
	Operation Operation
	State     State
	Outcome   Outcome // its Code is empty while nothing is known
	Final     bool    // false: the outcome may still change
	Accepted  time.Time
	Finished  time.Time // zero until State is Final
	Consumer  string    // the replica that claimed or settled it; empty before
	Timeline  Timeline
}

// Open reports whether more may become known: it has not ended, or is unconfirmed
// and the truth may yet be found out.
func (s Status) Open(now time.Time) bool {
	if s.State == Final && s.Outcome.Code != Unconfirmed {
		return false
	}
	return now.Sub(s.Accepted) < Correctable
}

// A Timeline says how long after its arrival a request reached each point.
// What is zero is not known or has not happened; the points on premises are
// measured with the consumer's clock.
type Timeline struct {
	Accepted time.Duration // its record is on the broker's disk
	Sealed   time.Duration // sealed and signed
	Stored   time.Duration // the request is on the broker's disk
	PickedUp time.Duration // a consumer claims it
	Applied  time.Duration // the directory has answered
	Answered time.Duration // the outcome has reached this publisher
}

// A Stored is one record as the broker has it: not yet verified.
type Stored struct {
	Seq  uint64 // its sequence in RECORDS
	Data []byte
}

// A Situation is what is known of a tenant right now, before anything is asked for.
type Situation struct {
	Time      time.Time // of this publisher's clock
	Obstacle  *Refusal  // what every request would be refused for; nil if nothing is known to be in the way
	Switches  *Switches // nil while they are not known, for which there is an obstacle
	Consumers []Consumer
	Rules     Rules
}

// A Consumer is one that is alive. Its times are of its own clock.
type Consumer struct {
	Replica string
	Version string
	DC      string    // the domain controller it uses; empty while it has none
	Since   time.Time // heard of without a gap, by the publisher that is asked
	Seen    time.Time // heard of last
	KeyMade time.Time // its sealing key
}

// Rules are the domain's own rules for passwords, as a consumer last announced
// them. Known is false where no consumer can read them: unknown, never none.
type Rules struct {
	Known      bool
	MinLength  uint16 // UTF-16 units
	Complexity bool
	History    uint16 // how many passwords are remembered
	MinAge     time.Duration

	LockoutThreshold uint16        // wrong passwords in a row that lock an account; 0: never
	LockoutWindow    time.Duration // without one before they are forgotten
}

// A Message is one of a stream, as the broker has it: what it says of its time and
// its number, nobody has signed.
type Message struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"` // when it was stored, by the broker's clock
	Subject string    `json:"subject"`
	Data    []byte    `json:"data"`
}
