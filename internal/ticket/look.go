package ticket

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// A View is a ticket as one browser sees it.
type View struct {
	reset.Permit
	ID       [16]byte
	Attempts int           // that are left
	Request  *reset.Status // the last attempt, if this browser made one
	Err      error         // why it cannot be used now; nil if it can
}

// found is a ticket as it is kept, with what only the ticket itself opens.
type found struct {
	*envelope.Ticket
	private *envelope.TicketPrivate
	seq     uint64
	store   Store
}

// Tenant returns the tenant that a ticket is of: [ErrUnknown] if it is of none
// that is served here. It looks for it with each of them.
func (d *Desk) Tenant(ctx context.Context, t Secret) (string, error) {
	for _, tenant := range slices.Sorted(maps.Keys(d.cfg.Stores)) {
		switch _, err := d.find(ctx, tenant, t); {
		case err == nil:
			return tenant, nil
		case !errors.Is(err, ErrUnknown):
			return "", err
		}
	}
	return "", ErrUnknown
}

// find reads a ticket. What no publisher has signed, or the ticket does not open,
// is none.
func (d *Desk) find(ctx context.Context, tenant string, t Secret) (found, error) {
	store := d.cfg.Stores[tenant]
	if store == nil {
		return found{}, ErrUnknown
	}
	value, seq, err := store.Ticket(ctx, t.ID())
	if err != nil {
		return found{}, unavailable(err)
	}
	if value == nil {
		return found{}, ErrUnknown
	}
	k, err := envelope.ParseTicket(value)
	if err != nil || k.Tenant != tenant || k.ID != t.ID() || k.Expires.Sub(k.Issued) > reset.TicketLife ||
		!d.cfg.Publishers.Verify(k.Signer, time.Now(), seal.KindTicket, k.Signed(), k.Sig) {
		return found{}, ErrUnknown
	}
	plain, err := t.Open(k.Bound(), k.Private)
	if err != nil {
		return found{}, ErrUnknown
	}
	private, err := envelope.ParseTicketPrivate(plain)
	if err != nil {
		return found{}, ErrUnknown
	}
	return found{k, private, seq, store}, nil
}

// Look says what a ticket is good for, seen from a browser. It uses nothing up.
// Its error is [ErrUnknown], or a [*reset.Refusal] where the broker does not
// answer; why a ticket that is there cannot be used is in the view.
func (d *Desk) Look(ctx context.Context, tenant string, t Secret, s Session) (View, error) {
	f, err := d.find(ctx, tenant, t)
	if err != nil {
		return View{}, err
	}
	return d.view(ctx, f, s)
}

func (d *Desk) view(ctx context.Context, f found, s Session) (View, error) {
	v := View{
		Permit: reset.Permit{
			Tenant: f.Ticket.Tenant, Account: f.private.Account, Operations: f.private.Operations,
			Actor: f.private.Actor, Source: f.private.Source, Expires: f.Expires,
		},
		ID: f.ID, Attempts: MaxAttempts - int(f.Attempts),
	}
	if f.Session != [16]byte{} && f.Session != s.hash(f.ID) {
		v.Err = ErrForeign
		return v, nil
	}
	if f.State == envelope.UsedTicket {
		st, err := d.cfg.Requests.Status(ctx, v.Tenant, f.Request)
		switch {
		case reset.IsRefusal(err, reset.UnknownRequest):
			// It is on its way there, or never got there.
			if time.Since(f.Changed) < lost {
				return v.After(reset.Status{Ref: f.Request, State: reset.Accepted, Accepted: f.Changed}), nil
			}
		case err != nil:
			return View{}, err
		default:
			return v.After(st), nil
		}
	}
	v.Err = v.over()
	return v, nil
}

// After returns the view as it is once so much is known of the attempt. Nothing but
// the time and this can change it until there is another attempt.
func (v View) After(st reset.Status) View {
	v.Request = &st
	if v.Err = after(st); v.Err == nil {
		v.Err = v.over()
	}
	return v
}

// over says why there cannot be an attempt any more, whatever became of the last.
func (v View) over() error {
	switch {
	case !time.Now().Before(v.Expires):
		return ErrExpired
	case v.Attempts <= 0:
		return ErrAttempts
	}
	return nil
}

// after says whether there may be a further attempt after one with this status: not
// while it is at work, and not once the password is set, or may be. An
// unconfirmed one of which it became known that it changed nothing is as any
// other that changed nothing.
func after(st reset.Status) error {
	switch {
	case st.State != reset.Final:
		return ErrBusy
	case st.Outcome.Code == reset.Applied, st.Outcome.Code == reset.AppliedPartly, st.Outcome.Code == reset.Unconfirmed:
		return ErrSpent
	}
	return nil
}

// An Attempt is one use of a ticket.
type Attempt struct {
	Operation reset.Operation
	Request   reset.Ref // the name that its request will have
	Address   string    // of the browser, as the audit is told; may be empty
}

// Begin tells the audit, uses a ticket for an attempt and binds it to the browser.
// Its error is one of those of this package, or a [*reset.Refusal]; then nothing
// was changed. Of two that begin at once, one does.
func (d *Desk) Begin(ctx context.Context, tenant string, t Secret, s Session, a Attempt) (View, error) {
	f, err := d.find(ctx, tenant, t)
	if err != nil {
		return View{}, err
	}
	v, err := d.view(ctx, f, s)
	switch {
	case err != nil:
		return v, err
	case v.Err != nil:
		return v, v.Err
	case !v.Allows(a.Operation):
		return v, &reset.Refusal{Code: reset.Forbidden, Field: "operation", Detail: a.Operation.String() + " is not what this ticket is for"}
	}
	// Told of before it is so: if another is faster, no request comes of it.
	used := envelope.TicketUsed{Ticket: f.ID, Request: a.Request.ID}
	if err := d.cfg.Journal.Tell(ctx, tenant, used, who(v.Permit, a.Address)); err != nil {
		return v, err
	}
	k := envelope.Ticket{
		Tenant: tenant, ID: f.ID, Issued: f.Issued, Expires: f.Expires, Private: f.Private,
		Attempts: f.Attempts + 1, State: envelope.UsedTicket, Session: s.hash(f.ID), Request: a.Request,
		Changed: time.Now().UTC().Truncate(time.Millisecond),
	}
	if err := d.put(ctx, f.store, &k, f.seq); errors.Is(err, reset.ErrConflict) {
		return v, ErrBusy
	} else if err != nil {
		return v, err
	}
	return v, nil
}

// TakeBack undoes Begin for a request that was refused before it was recorded: the
// attempt does not count. The ticket stays with its browser.
func (d *Desk) TakeBack(ctx context.Context, tenant string, t Secret, ref reset.Ref) error {
	f, err := d.find(ctx, tenant, t)
	if err != nil {
		return err
	}
	if f.State != envelope.UsedTicket || f.Request != ref {
		return nil // somebody has gone on already
	}
	k := envelope.Ticket{
		Tenant: tenant, ID: f.ID, Issued: f.Issued, Expires: f.Expires, Private: f.Private,
		Attempts: f.Attempts - 1, State: envelope.FreshTicket, Session: f.Session,
		Changed: time.Now().UTC().Truncate(time.Millisecond),
	}
	if err := d.put(ctx, f.store, &k, f.seq); err != nil && !errors.Is(err, reset.ErrConflict) {
		return err
	}
	return nil
}
