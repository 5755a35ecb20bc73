package portal

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"writeback/internal/obs"
	"writeback/internal/reset"
)

const (
	// margin is what a request may take beyond the caller's wait: being
	// made durable before, and being read back after.
	margin = 30 * time.Second

	maxIdempotencyKey = 128
)

// post is the POST of op's path.
func (a *api) post(op reset.Operation) handler {
	return func(r *http.Request, ev *event) (*answer, error) {
		s, found, err := a.read(r, ev, op)
		if err != nil {
			return nil, err
		}
		release, err := a.admit(s, ev)
		if err != nil {
			found.wipe()
			return nil, err
		}
		// From here on the work is done whether the caller stays or leaves.
		wait, applied := preferWait(r.Header)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), wait+margin)
		defer cancel()
		ctx = obs.WithTraceParent(ctx, traceParent(r.Header))
		st, err := a.Publisher.Submit(ctx, s, found.password, found.current, wait)
		if err != nil {
			if r := (*reset.Refusal)(nil); errors.As(err, &r) {
				release() // nothing was tried, and nothing will be
			}
			return nil, err
		}
		if !Guessed(st.Outcome.Code) {
			release()
		}
		ev.request, ev.code = st.Ref.String(), string(st.Outcome.Code)
		ans, err := submitted(st)
		if err != nil {
			return nil, err
		}
		if applied != "" {
			ans.header["Preference-Applied"] = applied
		}
		return ans, nil
	}
}

// traceParent returns what a caller says of its trace, if anything valid. What it
// says is of use only if there are traces.
func traceParent(h http.Header) obs.TraceParent {
	if values := h.Values(obs.TraceHeader); len(values) == 1 {
		return obs.ParseTraceParent(values[0])
	}
	return ""
}

// admit refuses what is too much for the account. That costs the caller nothing: it
// speaks for many users, whom a wave on one account must not keep out. If it does
// not refuse, release is called when it is known that no wrong password was tried.
func (a *api) admit(s reset.Submission, ev *event) (release func(), err error) {
	defer func() {
		if err != nil {
			a.Tokens.refund(ev.caller)
		}
	}()
	if wait := a.limits.submit(s); wait > 0 {
		return nil, ev.beyond(limitAccount, wait)
	}
	if s.Operation != reset.Change {
		return func() {}, nil
	}
	now, err := a.Tenants.Situation(s.Tenant)
	if err != nil {
		return nil, err
	}
	wait, release := a.Guesses.Begin(s, now.Rules)
	if wait > 0 {
		return nil, ev.beyond(limitWrong, wait)
	}
	return release, nil
}

// read returns what is asked for, if the caller may ask for it. The secrets are
// wiped when there is an error.
func (a *api) read(r *http.Request, ev *event, op reset.Operation) (s reset.Submission, found secrets, err error) {
	defer func() {
		if err != nil {
			found.wipe()
		}
	}()
	token, err := a.authorize(r, ev, op.String())
	if err != nil {
		return s, found, err
	}
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return s, found, err
	}
	body, err := readBody(r)
	defer clear(body)
	if err != nil {
		return s, found, err
	}
	if s, found, err = parse(op, body); err != nil {
		return s, found, err
	}
	s.Tenant, s.Source, s.Address, s.IdempotencyKey = token.Tenant, token.Source, AddressText(ev.address), key
	return s, found, token.allow(s)
}

// getRequest is GET /v1/requests/{id}.
func (a *api) getRequest(r *http.Request, ev *event) (*answer, error) {
	_, _, st, err := a.known(r, ev)
	if err != nil {
		return nil, err
	}
	ev.code = string(st.Outcome.Code)
	return &answer{status: http.StatusOK, body: newObject(st)}, nil
}

// known returns who calls, and what is known of the request that the path names.
func (a *api) known(r *http.Request, ev *event) (token Entry, ref reset.Ref, st reset.Status, err error) {
	if token, err = a.authenticate(r, ev); err != nil {
		return token, ref, st, err
	}
	if ref, err = reset.ParseRef(r.PathValue("id")); err != nil {
		return token, ref, st, &reset.Refusal{Code: reset.UnknownRequest}
	}
	ev.request = ref.String()
	ctx, cancel := context.WithTimeout(r.Context(), margin)
	defer cancel()
	st, err = a.Publisher.Status(ctx, token.Tenant, ref)
	return token, ref, st, err
}

// authenticate finds the caller's token or certificate, which must be valid where the caller
// is and not be used up, and notes whose it is.
func (a *api) authenticate(r *http.Request, ev *event) (Entry, error) {
	token, err := a.Tokens.authenticate(r)
	ev.caller = token
	if err == nil && len(token.Addresses) > 0 && !within(token.Addresses, ev.address) {
		err = &reset.Refusal{Code: reset.Forbidden, Field: "address", Detail: "is not one from which this " + token.Kind() + " may be used"}
	}
	if err == nil {
		if wait := a.Tokens.spend(token); wait > 0 {
			err = ev.beyond(limitCaller, wait)
		}
	}
	return token, err
}

// authorize is authenticate for a token that must allow what has this name; see
// [Grant.MayDo].
func (a *api) authorize(r *http.Request, ev *event, name string) (Entry, error) {
	token, err := a.authenticate(r, ev)
	if err == nil && !slices.Contains(token.MayDo(), name) {
		err = &reset.Refusal{Code: reset.Forbidden, Field: "operation", Detail: name + " is not allowed by this " + token.Kind()}
	}
	return token, err
}

// allow refuses an actor or a kind of account name that the token is not for.
func (e Entry) allow(s reset.Submission) error {
	if !slices.Contains(e.ActorKinds, s.Actor.Kind) {
		return &reset.Refusal{Code: reset.Forbidden, Field: "actor.kind", Detail: "is not allowed by this " + e.Kind()}
	}
	if !slices.Contains(e.Names, s.Account.Kind) {
		return &reset.Refusal{Code: reset.Forbidden, Field: "account." + s.Account.Kind.String(), Detail: "is not allowed by this " + e.Kind()}
	}
	return nil
}

func idempotencyKey(h http.Header) (string, error) {
	keys := h.Values("Idempotency-Key")
	if len(keys) == 0 {
		return "", nil
	}
	if len(keys) > 1 || !printable(keys[0], maxIdempotencyKey) {
		return "", reset.BadField("Idempotency-Key", "must be one value of 1 to %d printable ASCII characters", maxIdempotencyKey)
	}
	return keys[0], nil
}
