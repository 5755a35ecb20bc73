package reset

import "time"

// An Overview is how a tenant does, for whoever administers it: what its consumers
// say of themselves, and what the records of the last 24 hours say of their work.
// Nothing of it names an account.
type Overview struct {
	Situation
	Replicas []Replica // by name
	Recent   []Recent  // newest first, at most [MaxRecent]
	Bins     []Bin     // the last 24 hours, oldest first; the last one goes on

	Since   time.Time // the records are known from here on
	Reading bool      // and are read up to Until, so far
	Until   time.Time

	Queued     int       // requests in the queue, those in hand included
	Oldest     time.Time // since when the oldest of them is there; zero is none
	QueueKnown bool      // else the broker did not say

	// What was heard in the last [Presence] of consumers that nothing is sealed for.
	Malformed bool // what they say has another form than ours
	Unsigned  bool // nobody who is pinned has signed it
	Skewed    bool // their clock is not ours

	Unkeyed bool // the publisher has no key to record requests with this month
}

// MaxRecent is how many requests an overview lists.
const MaxRecent = 200

// A Replica is a consumer, and what it has done since midnight UTC.
type Replica struct {
	Consumer
	Alive                    bool // else it was heard of last when Seen says; never, if that is zero
	InHand                   int
	Applied, Refused, Failed int
	Median, Slow             time.Duration // from claim to outcome: half of them took at most this, and 99 of 100; zero is none
}

// A Recent is one request of which the outcome is known.
type Recent struct {
	Ref       Ref
	Operation Operation
	Code      Code
	Consumer  string // that settled it; empty if no consumer did
	Ended     time.Time
	Took      time.Duration // from its acceptance; both by the broker's clock
}

// A Bin is what ended within half an hour.
type Bin struct {
	Start                    time.Time
	Applied, Refused, Failed int
	Median, Slow             time.Duration // from acceptance to outcome, as in [Replica]
}

// BinWidth is how long a [Bin] is.
const BinWidth = 30 * time.Minute

// A Class says whether an outcome is what was asked for, an answer, or a fault.
type Class uint8

const (
	Done    Class = iota // it was done
	Refused              // it was answered with no: by the rules, or by the account's state
	Failed               // it was not answered: something is to be mended
)

// ClassOf returns the class of a code.
func ClassOf(c Code) Class {
	switch c {
	case Applied, AppliedPartly:
		return Done
	case NotPermitted, Invalid, Unreadable, DirectoryError, Expired, Unconfirmed:
		return Failed
	}
	return Refused
}

// A Step is one record of a request, without what is private.
type Step struct {
	Kind      string // as the record's kind is called
	Code      Code   // of one that ends it
	At        time.Time
	Writer    string // publisher instance or consumer
	Publisher bool   // it is a publisher
}

// A Course is how a request went, by its records.
type Course struct {
	Status Status
	Steps  []Step
}

// Names are what is private of a request: who asked for what.
type Names struct {
	Account Account
	Actor   Actor
	Source  string
	Address string
}

// A Viewer is an administrator who looks at a tenant's requests.
type Viewer struct {
	Tenant  string
	Source  string // as in [Submission]
	Address string
	Actor   Actor
}

// A Follower hears the records of a tenant in the order in which they were stored,
// each with the broker's time.
type Follower interface {
	Begin(since time.Time) // all that follows was stored since then, and nothing is left out
	Hear(s Stored, at time.Time)
	CaughtUp() // what was there at the beginning is read
}
