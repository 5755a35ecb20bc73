package obs

import (
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// What goes wrong again and again is said again this often: for the same cause,
// and for another one.
const (
	sameEvery  = 10 * time.Minute
	otherEvery = time.Minute
)

// An Outage is one thing that a program tries until it works. It keeps the log
// of an hour without it short. The zero Outage is of what works, and it is safe
// for concurrent use.
type Outage struct {
	mu    sync.Mutex
	cause string
	said  time.Time // zero while it works
}

// Level returns at which level a failure is logged: at level the first one, one
// with another cause after a minute and one with the same after ten, and at
// debug the others.
func (o *Outage) Level(level zerolog.Level, cause error) zerolog.Level {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := ""
	if cause != nil {
		text = strings.Map(withoutDigits, cause.Error())
	}
	every := sameEvery
	if text != o.cause {
		every = otherEvery
	}
	if !o.said.IsZero() && time.Since(o.said) < every {
		return zerolog.DebugLevel
	}
	o.cause, o.said = text, time.Now()
	return level
}

// withoutDigits makes causes the same that differ in a time or a port only.
func withoutDigits(r rune) rune {
	if '0' <= r && r <= '9' {
		return -1
	}
	return r
}

// Over says that it works, and reports whether it had not.
func (o *Outage) Over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := !o.said.IsZero()
	o.cause, o.said = "", time.Time{}
	return was
}
