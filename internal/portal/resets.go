package portal

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"writeback/internal/portal/strictjson"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

const (
	// maxBody is the longest body of a request, in bytes: 256 units of a
	// password and 1,024 bytes of a name, each escaped six-fold, and plenty.
	maxBody = 64 << 10

	// margin is what a request may take beyond the caller's wait: being
	// made durable before, and being read back after.
	margin = 30 * time.Second

	maxIdempotencyKey = 128
)

// postReset is POST /v1/resets.
func (a *api) postReset(r *http.Request, ev *event) (*answer, error) {
	token, err := a.authorize(r, ev, reset.Reset)
	if err != nil {
		return nil, err
	}
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r)
	defer clear(body)
	if err != nil {
		return nil, err
	}
	req, err := parseReset(body)
	if err != nil {
		return nil, err
	}
	if err := token.allow(req); err != nil {
		req.password.Wipe()
		return nil, err
	}

	// From here on the work is done whether the caller stays or leaves.
	wait, applied := preferWait(r.Header)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), wait+margin)
	defer cancel()
	st, err := a.Publisher.Submit(ctx, reset.Submission{
		Tenant: token.Tenant, Source: token.Source, Address: address(r), IdempotencyKey: key,
		Operation: reset.Reset, Account: req.account, Actor: req.actor,
	}, req.password, wait)
	if err != nil {
		return nil, err
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

// getRequest is GET /v1/requests/{id}.
func (a *api) getRequest(r *http.Request, ev *event) (*answer, error) {
	token, err := a.authenticate(r, ev)
	if err != nil {
		return nil, err
	}
	ref, err := reset.ParseRef(r.PathValue("id"))
	if err != nil {
		return nil, &reset.Refusal{Code: reset.UnknownRequest}
	}
	ev.request = ref.String()
	ctx, cancel := context.WithTimeout(r.Context(), margin)
	defer cancel()
	st, err := a.Publisher.Status(ctx, token.Tenant, ref)
	if err != nil {
		return nil, err
	}
	ev.code = string(st.Outcome.Code)
	return &answer{status: http.StatusOK, body: newObject(st)}, nil
}

// authenticate finds the caller's token and notes whose it is.
func (a *api) authenticate(r *http.Request, ev *event) (Entry, error) {
	token, err := a.Tokens.authenticate(r)
	ev.token, ev.tenant, ev.source = token.ID, token.Tenant, token.Source
	return token, err
}

// authorize is authenticate for a token that must allow op.
func (a *api) authorize(r *http.Request, ev *event, op reset.Operation) (Entry, error) {
	token, err := a.authenticate(r, ev)
	if err == nil && !slices.Contains(token.Operations, op) {
		err = &reset.Refusal{Code: reset.Forbidden, Field: "operation", Detail: op.String() + " is not allowed by this token"}
	}
	return token, err
}

// allow refuses an actor or a kind of account name that the token is not for.
func (e Entry) allow(req resetRequest) error {
	if !slices.Contains(e.ActorKinds, req.actor.Kind) {
		return &reset.Refusal{Code: reset.Forbidden, Field: "actor.kind", Detail: "is not allowed by this token"}
	}
	if !slices.Contains(e.Names, req.account.Kind) {
		return &reset.Refusal{Code: reset.Forbidden, Field: "account." + req.account.Kind.String(), Detail: "is not allowed by this token"}
	}
	return nil
}

// readBody returns the body in one buffer, which the caller clears, also when
// there is an error.
func readBody(r *http.Request) ([]byte, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, given := params["charset"]
	if err != nil || kind != "application/json" || given && !strings.EqualFold(charset, "utf-8") ||
		r.Header.Get("Content-Encoding") != "" {
		return nil, &reset.Refusal{Code: reset.UnsupportedMediaType, Field: "Content-Type", Detail: "must be application/json, uncompressed"}
	}
	tooLarge := &reset.Refusal{Code: reset.TooLarge, Field: "body", Detail: "must have at most 65536 bytes"}
	size := int64(maxBody)
	if r.ContentLength > maxBody {
		return nil, tooLarge
	} else if r.ContentLength >= 0 {
		size = r.ContentLength
	}
	// One more byte, for which the end is seen. A buffer that grew would
	// leave copies behind.
	body := make([]byte, size+1)
	n, err := io.ReadFull(r.Body, body)
	if limit := (*http.MaxBytesError)(nil); errors.As(err, &limit) {
		return body, tooLarge
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF || r.ContentLength > int64(n) {
		return body, reset.BadField("body", "did not arrive")
	}
	return body[:n], nil
}

// A resetRequest is a body that was found to be well-formed.
type resetRequest struct {
	account  reset.Account
	actor    reset.Actor
	password secret.Value
}

// parseReset reads the body of a POST /v1/resets. It copies what it returns.
func parseReset(body []byte) (resetRequest, error) {
	var (
		named      = map[reset.NameKind]string{}
		account    = strictjson.Fields{}
		password   []byte
		mustChange bool
		kind       = reset.Admin.String() // opens less than self could claim
		subject    string
	)
	for _, k := range reset.NameKinds() {
		account[k.String()] = strictjson.Text(func(s string) { named[k] = s })
	}
	err := strictjson.Decode(body, strictjson.Object(strictjson.Fields{
		"account":  strictjson.Object(account),
		"password": strictjson.Bytes(func(b []byte) { password = b }),
		"options": strictjson.Object(strictjson.Fields{
			"must_change": strictjson.Bool(func(b bool) { mustChange = b }),
		}),
		"actor": strictjson.Object(strictjson.Fields{
			"kind":    strictjson.Text(func(s string) { kind = s }),
			"subject": strictjson.Text(func(s string) { subject = s }),
		}),
	}))
	req := resetRequest{password: secret.New(password)}
	if err != nil {
		err = badBody(err)
	} else if req.account, err = oneAccount(named); err == nil {
		req.actor, err = newActor(kind, subject)
	}
	switch {
	case err != nil:
	case password == nil:
		err = reset.BadField("password", "is missing")
	case mustChange:
		err = reset.BadField("options.must_change", "is not offered by this version")
	default:
		if e := secret.CheckPassword(req.password); e != nil {
			err = reset.BadField("password", "%v", e)
		}
	}
	if err != nil {
		req.password.Wipe()
		return resetRequest{}, err
	}
	return req, nil
}

// badBody turns an error of strictjson into a refusal.
func badBody(err error) error {
	var e *strictjson.Error
	if !errors.As(err, &e) {
		return reset.BadField("body", "cannot be read")
	}
	field := e.Field
	if field == "" {
		field = "body"
	}
	return reset.BadField(field, "%s (at byte %d)", e.Reason, e.Offset)
}

// oneAccount returns the account that exactly one name is given for.
func oneAccount(named map[reset.NameKind]string) (reset.Account, error) {
	if len(named) != 1 {
		return reset.Account{}, reset.BadField("account", "must have exactly one of %s",
			strings.Join(names(reset.NameKinds()), ", "))
	}
	var account reset.Account
	var err error
	for kind, value := range named {
		if account, err = reset.NewAccount(kind, value); err == nil {
			err = plainName(account)
		}
		if err != nil {
			return reset.Account{}, reset.BadField("account."+kind.String(), "%v", err)
		}
	}
	return account, nil
}

// plainName refuses the characters of an LDAP filter (RFC 4515 section 3) in a
// name that people type. The directory side escapes them; but they are in no
// name that a cloud directory knows, so that who sends them is probing.
func plainName(a reset.Account) error {
	if (a.Kind == reset.UPN || a.Kind == reset.SAMAccountName) && strings.ContainsAny(a.Value, `*()\`) {
		return errors.New(`must not contain any of * ( ) \`)
	}
	return nil
}

func newActor(kind, subject string) (reset.Actor, error) {
	k, err := reset.ParseActorKind(kind)
	if err != nil {
		return reset.Actor{}, reset.BadField("actor.kind", "must be self or admin")
	}
	if len(subject) > reset.MaxSubject {
		return reset.Actor{}, reset.BadField("actor.subject", "must have at most %d bytes", reset.MaxSubject)
	}
	if strings.ContainsFunc(subject, unicode.IsControl) {
		return reset.Actor{}, reset.BadField("actor.subject", "must not contain control characters")
	}
	return reset.Actor{Kind: k, Subject: subject}, nil
}

// address returns the caller's address without its port, empty if it has none.
func address(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return from.Addr().Unmap().String()
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
