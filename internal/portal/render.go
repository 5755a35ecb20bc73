package portal

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"writeback/internal/reset"
)

// An answer is what a handler has to say.
type answer struct {
	status int
	header map[string]string
	body   any
	stream func(http.ResponseWriter) error // sends the answer instead, if it is not nil
}

// object is the JSON form of a [reset.Status].
type object struct {
	ID        string      `json:"id"`
	State     reset.State `json:"state"`
	Code      reset.Code  `json:"code,omitempty"`
	Message   string      `json:"message,omitempty"`
	Final     bool        `json:"final"`
	Operation string      `json:"operation"`
	Accepted  instant     `json:"accepted,omitzero"`
	Finished  instant     `json:"finished,omitzero"`
	Consumer  string      `json:"consumer,omitempty"`
	Timings   timings     `json:"timings_ms,omitzero"`
	Details   details     `json:"details,omitzero"`
}

type timings struct {
	Accepted millis `json:"accepted,omitzero"`
	Sealed   millis `json:"sealed,omitzero"`
	Stored   millis `json:"stored,omitzero"`
	PickedUp millis `json:"picked_up,omitzero"`
	Applied  millis `json:"applied,omitzero"`
	Answered millis `json:"answered,omitzero"`
}

type details struct {
	Field      string     `json:"field,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	Result     string     `json:"result,omitempty"`
	Right      string     `json:"right,omitempty"`
	MinLength  uint16     `json:"min_length,omitempty"`
	Earliest   instant    `json:"earliest,omitzero"`
	Categories []string   `json:"categories,omitempty"`
	Candidates []string   `json:"candidates,omitempty"`
	FollowUps  []followUp `json:"follow_ups,omitempty"`
}

type followUp struct {
	What  string `json:"what"`
	Right string `json:"right,omitempty"`
}

// instant is a time as RFC 3339 with milliseconds, in UTC.
type instant struct{ time.Time }

func (t instant) MarshalJSON() ([]byte, error) {
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z07:00"`)), nil
}

// millis is a duration in milliseconds, to the microsecond.
type millis time.Duration

func (d millis) MarshalJSON() ([]byte, error) {
	us := math.Round(float64(d) / float64(time.Microsecond))
	return strconv.AppendFloat(nil, us/1000, 'f', -1, 64), nil
}

func newObject(st reset.Status) object {
	t, d := st.Timeline, st.Outcome.Details
	o := object{
		ID: st.Ref.String(), State: st.State, Code: st.Outcome.Code, Message: sentenceOf(st.Operation, st.Outcome.Code).text,
		Final: st.Final, Operation: st.Operation.String(), Consumer: st.Consumer,
		Accepted: instant{st.Accepted}, Finished: instant{st.Finished},
		Timings: timings{millis(t.Accepted), millis(t.Sealed), millis(t.Stored),
			millis(t.PickedUp), millis(t.Applied), millis(t.Answered)},
		Details: details{
			Field: d.Field, Reason: d.Reason, Result: d.Result, Right: d.Right, MinLength: d.MinLength,
			Earliest: instant{d.Earliest}, Categories: d.Categories, Candidates: d.Candidates,
		},
	}
	for _, f := range d.FollowUps {
		o.Details.FollowUps = append(o.Details.FollowUps, followUp{f.What, f.Right})
	}
	return o
}

// problem is a document of RFC 9457. Of a request that was taken it has the
// whole object as extension members.
type problem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Code    string `json:"code,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message,omitempty"`
	*object
}

// newProblem returns the document of a code of ours.
func newProblem(code string, s sentence) problem {
	title := strings.ReplaceAll(code, "_", " ")
	return problem{
		Type: "urn:writeback:code:" + code, Title: strings.ToUpper(title[:1]) + title[1:],
		Status: s.status, Detail: s.text, Code: code, Message: s.text,
	}
}

// submitted is the answer to a POST.
func submitted(st reset.Status) (*answer, error) {
	o := newObject(st)
	if st.State != reset.Final || st.Outcome.Code == reset.Unconfirmed {
		return &answer{status: http.StatusAccepted, header: map[string]string{"Location": requestsPath + o.ID}, body: o}, nil
	}
	s := sentenceOf(st.Operation, st.Outcome.Code)
	switch {
	case s.status == 0:
		return nil, fmt.Errorf("request %s: the publisher gave a code without a sentence", o.ID)
	case s.status < 400:
		return &answer{status: s.status, header: map[string]string{}, body: o}, nil
	}
	p := newProblem(string(o.Code), s)
	p.object = &o
	return &answer{status: s.status, header: map[string]string{}, body: p}, nil
}

// A routeError is the error of a request that meets no handler.
type routeError struct {
	status int
	allow  string // the methods that the path has, if it has any
}

func (e *routeError) Error() string { return http.StatusText(e.status) }

// internal is said of every error that nobody classified. It does not claim
// that nothing happened.
var internal = sentence{500, "Something went wrong in this service, and it is not known what became of this request.", ""}

// failed is what callers are told of an error, and the only place that decides
// it.
func failed(err error) *answer {
	var route *routeError
	if errors.As(err, &route) {
		text := http.StatusText(route.status)
		a := &answer{status: route.status, body: problem{Type: "about:blank", Title: text, Status: route.status, Detail: text + "."}}
		if route.allow != "" {
			a.header = map[string]string{"Allow": route.allow}
		}
		return a
	}
	var r *reset.Refusal
	if !errors.As(err, &r) || refusalOf(r.Code).status == 0 {
		return &answer{status: internal.status, body: newProblem("internal", internal)}
	}
	s := refusalOf(r.Code)
	p := newProblem(string(r.Code), s)
	p.Field = r.Field
	if detail := strings.TrimSpace(r.Field + " " + r.Detail); r.Detail != "" {
		p.Detail = detail
	}
	a := &answer{status: s.status, header: map[string]string{}, body: p}
	switch s.status {
	case http.StatusUnauthorized:
		a.header["WWW-Authenticate"] = "Bearer"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		a.header["Retry-After"] = strconv.Itoa(max(1, int(math.Ceil(r.RetryAfter.Seconds()))))
	}
	return a
}

// write sends an answer.
func (a *answer) write(w http.ResponseWriter) {
	if a.body == nil && a.status < 400 {
		w.WriteHeader(a.status)
		return
	}
	kind := "application/json"
	if a.status >= 400 {
		kind = "application/problem+json"
	}
	body, err := json.Marshal(a.body)
	if err != nil { // a type of ours that cannot be marshalled
		a.status, kind, body = http.StatusInternalServerError, "application/problem+json", []byte("{}")
	}
	w.Header().Set("Content-Type", kind)
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	w.Write(append(body, '\n'))
}
