package reset

import (
	"errors"
	"fmt"
	"time"
)

// A RefusalCode says why the API did not take a request. It is given before
// anything is recorded: nothing was changed and nothing will be. The set is
// closed, like that of [Code].
type RefusalCode string

const (
	RefusedInvalid       RefusalCode = "invalid"                // malformed; the field is named
	Unauthenticated      RefusalCode = "unauthenticated"        // no token, or none that is known
	Forbidden            RefusalCode = "forbidden"              // the token does not allow this
	UnknownRequest       RefusalCode = "unknown_request"        // no request of this tenant has that id
	TooLarge             RefusalCode = "too_large"              // the body
	UnsupportedMediaType RefusalCode = "unsupported_media_type" // not application/json
	IdempotencyConflict  RefusalCode = "idempotency_conflict"   // the key was used for something else
	TooMany              RefusalCode = "too_many"               // a rate limit
	NoConsumer           RefusalCode = "no_consumer"            // none was heard of for Presence
	BrokerUnavailable    RefusalCode = "broker_unavailable"     // the broker does not answer
	Clock                RefusalCode = "clock"                  // our clock is too far from the consumers'
)

// RefusalCodes returns the closed set.
func RefusalCodes() []RefusalCode {
	return []RefusalCode{
		RefusedInvalid, Unauthenticated, Forbidden, UnknownRequest, TooLarge,
		UnsupportedMediaType, IdempotencyConflict, TooMany, NoConsumer, BrokerUnavailable, Clock,
	}
}

// A Refusal is the error of everything that refuses a request before it was
// recorded. Code, Field and Detail may be shown to the caller; Err stays in the
// log.
type Refusal struct {
	Code       RefusalCode
	Field      string        // which field of the request, if one
	Detail     string        // what is wrong with it, without its value
	RetryAfter time.Duration // when to try again, if that may help
	Err        error
}

func (r *Refusal) Error() string {
	s := string(r.Code)
	if r.Field != "" {
		s += " " + r.Field
	}
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

func (r *Refusal) Unwrap() error { return r.Err }

// IsRefusal reports whether err is a [*Refusal] with that code, or wraps one.
func IsRefusal(err error, code RefusalCode) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.Code == code
}

// BadField returns the refusal of a malformed field.
func BadField(field, format string, args ...any) *Refusal {
	return &Refusal{Code: RefusedInvalid, Field: field, Detail: fmt.Sprintf(format, args...)}
}
