// Package obs is what an operator sees of a program: the names of log fields,
// the logger, and the operations listener with health and metrics. No name
// here, and no value given to one, ever holds a password.
package obs

import (
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
)

// Names of log fields. There are no others, but those of zerolog, so that a
// search written once keeps working.
const (
	Address      = "address"       // host and port that a program listens on
	Attempt      = "attempt"       // of a delivery; 1 is the first
	Cause        = "cause"         // an error's text
	Code         = "code"          // a reset.Code or reset.RefusalCode
	Consumer     = "consumer"      // replica
	DC           = "dc"            // domain controller, by its own name
	Directory    = "directory"     // URL of the domain controller, or of several
	Event        = "event"         // kind of an event for the audit
	Field        = "field"         // of a request that was refused
	From         = "from"          // first number of a series of records
	HistoryCheck = "history_check" // whether the domain controller enforces history on resets
	Operation    = "operation"     // reset, change, unlock, probe
	Page         = "page"          // names one call of a page
	PDC          = "pdc"           // whether a domain controller is the PDC emulator
	Policy       = "policy"        // a fine-grained password policy, by its name in the directory
	Reason       = "reason"        // from a closed list
	Request      = "request"       // publisher-id
	Result       = "result"        // LDAP result code and Win32 code
	Route        = "route"         // of the API
	Server       = "server"        // of the broker, by its own name
	Skew         = "skew_ms"       // by which two clocks differ, in milliseconds
	Source       = "source"        // the caller, as its token names it
	Stack        = "stack"         // of a panic, without its value
	Status       = "status"        // of HTTP
	Tenant       = "tenant"        // name
	Text         = "text"          // what a directory wrote; at debug, on premises only
	To           = "to"            // last number of a series of records
	Token        = "token_id"      // names a token without being one
	Switch       = "switch"        // writeback, unlock
	On           = "on"            // whether a switch is
	Took         = "took_ms"       // milliseconds
	Version      = "version"       // of this program or another
	Wait         = "wait_ms"       // until it is tried again, in milliseconds
)

// DefaultLevel is what is logged if nothing is said.
const DefaultLevel = "info"

// ParseLevel returns the level that a configuration names: error, warn, info
// (also if it names none) or debug. Only at debug, and only on premises, the log
// holds what a directory wrote.
func ParseLevel(name string) (zerolog.Level, error) {
	switch name {
	case "":
		return zerolog.ParseLevel(DefaultLevel)
	case "error", "warn", "info", "debug":
		return zerolog.ParseLevel(name)
	}
	return 0, fmt.Errorf("log_level: must be error, warn, info or debug, not %q", name)
}

// NewLogger returns a logger that writes one JSON object a line to w.
func NewLogger(w io.Writer, program string) zerolog.Logger {
	return zerolog.New(w).With().Timestamp().Str("program", program).Logger()
}

// SetUp makes all loggers of this process write times and durations alike:
// UTC with milliseconds, durations in milliseconds.
func SetUp() {
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	zerolog.TimestampFunc = func() time.Time { return time.Now().UTC() }
	zerolog.DurationFieldUnit = time.Millisecond
}
