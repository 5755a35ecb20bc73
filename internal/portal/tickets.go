package portal

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"writeback/internal/portal/strictjson"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

// ResetPath is where a ticket is opened.
const ResetPath = "/reset"

// An Issuer makes tickets of the reset page. Its error is a *reset.Refusal if no
// ticket was made.
type Issuer interface {
	Issue(ctx context.Context, p reset.Permit, life time.Duration) (text secret.Value, expires time.Time, err error)
}

// ticketObject is the answer to POST /v1/tickets.
type ticketObject struct {
	Ticket  string  `json:"ticket"`
	URL     string  `json:"url"`
	Expires instant `json:"expires"`
}

// postTicket is POST /v1/tickets. The token's right is enough for each operation
// that a ticket can have: who uses the ticket is bound to one account, and to
// what the page does.
func (a *api) postTicket(r *http.Request, ev *event) (*answer, error) {
	token, err := a.authorize(r, ev, ticketWord)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r)
	defer clear(body)
	if err != nil {
		return nil, err
	}
	p, life, err := parseTicket(body)
	if err != nil {
		return nil, err
	}
	p.Tenant, p.Source = token.Tenant, token.Source
	if err := token.allow(reset.Submission{Account: p.Account, Actor: p.Actor}); err != nil {
		return nil, err
	}
	if wait := a.limits.submit(reset.Submission{Tenant: p.Tenant, Account: p.Account, Actor: p.Actor}); wait > 0 {
		a.Tokens.refund(ev.caller)
		return nil, ev.beyond(limitAccount, wait)
	}
	ctx, cancel := context.WithTimeout(r.Context(), margin)
	defer cancel()
	text, expires, err := a.Tickets.Issue(ctx, p, life)
	if err != nil {
		return nil, err
	}
	defer text.Wipe()
	o := ticketObject{Expires: instant{expires}}
	err = text.Reveal(func(b []byte) error {
		o.Ticket = string(b)
		o.URL = a.PublicURL + ResetPath + "?" + url.Values{"t": {o.Ticket}}.Encode()
		return nil
	})
	return &answer{status: http.StatusCreated, body: o}, err
}

// parseTicket reads what a ticket is to be for.
func parseTicket(body []byte) (p reset.Permit, life time.Duration, err error) {
	var (
		named      = map[reset.NameKind]string{}
		account    = strictjson.Fields{}
		operations []string
		kind       = reset.Self.String() // who opens the page
		subject    string
		seconds    = int(reset.TicketLife.Seconds())
	)
	for _, k := range reset.NameKinds() {
		account[k.String()] = strictjson.Text(func(s string) { named[k] = s })
	}
	err = strictjson.Decode(body, strictjson.Object(strictjson.Fields{
		"account":    strictjson.Object(account),
		"operations": strictjson.List(2, strictjson.Text(func(s string) { operations = append(operations, s) })),
		"actor": strictjson.Object(strictjson.Fields{
			"kind":    strictjson.Text(func(s string) { kind = s }),
			"subject": strictjson.Text(func(s string) { subject = s }),
		}),
		"expires_in": strictjson.Whole(seconds, func(n int) { seconds = n }),
	}))
	if err != nil {
		return p, 0, badBody(err)
	}
	if p.Account, err = oneAccount(named); err != nil {
		return p, 0, err
	}
	if p.Actor, err = newActor(kind, subject); err != nil {
		return p, 0, err
	}
	if p.Operations, err = ticketOperations(operations); err != nil {
		return p, 0, err
	}
	if seconds == 0 {
		return p, 0, reset.BadField("expires_in", "must be at least 1")
	}
	return p, time.Duration(seconds) * time.Second, nil
}

// ticketOperations returns what the names say, in order; a reset if there are none.
func ticketOperations(names []string) ([]reset.Operation, error) {
	if len(names) == 0 {
		return []reset.Operation{reset.Reset}, nil
	}
	ops, err := parseAll(names, reset.ParseOperation)
	slices.Sort(ops)
	if err != nil || len(slices.Compact(slices.Clone(ops))) != len(ops) ||
		slices.ContainsFunc(ops, func(o reset.Operation) bool { return o != reset.Reset && o != reset.Unlock }) {
		return nil, reset.BadField("operations", "must be reset, unlock or both")
	}
	return ops, nil
}
