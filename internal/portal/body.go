package portal

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"

	"writeback/internal/portal/strictjson"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

// maxBody is the longest body of a request, in bytes: two passwords of 256
// units and a name of 1,024 bytes, each escaped six-fold, and plenty.
const maxBody = 64 << 10

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

// secrets are the passwords of a request; what its operation has none of is
// empty.
type secrets struct{ password, current secret.Value }

func (s secrets) wipe() {
	s.password.Wipe()
	s.current.Wipe()
}

// parse reads the body of a request for op. It copies what it returns. The
// secrets are the caller's to wipe, also when there is an error.
func parse(op reset.Operation, body []byte) (reset.Submission, secrets, error) {
	var (
		named    = map[reset.NameKind]string{}
		account  = strictjson.Fields{}
		password []byte
		current  []byte
		kind     = reset.Admin.String() // opens less than self could claim
		subject  string
		s        = reset.Submission{Operation: op}
	)
	for _, k := range reset.NameKinds() {
		account[k.String()] = strictjson.Text(func(s string) { named[k] = s })
	}
	fields := strictjson.Fields{
		"account": strictjson.Object(account),
		"actor": strictjson.Object(strictjson.Fields{
			"kind":    strictjson.Text(func(s string) { kind = s }),
			"subject": strictjson.Text(func(s string) { subject = s }),
		}),
	}
	if op == reset.Reset || op == reset.Change {
		fields["password"] = strictjson.Bytes(func(b []byte) { password = b })
	}
	switch op {
	case reset.Reset:
		fields["options"] = strictjson.Object(strictjson.Fields{
			"must_change": strictjson.Bool(func(b bool) { s.MustChange = b }),
		})
	case reset.Change:
		fields["current_password"] = strictjson.Bytes(func(b []byte) { current = b })
	}

	err := strictjson.Decode(body, strictjson.Object(fields))
	found := secrets{secret.New(password), secret.New(current)}
	if err != nil {
		return s, found, badBody(err)
	}
	if s.Account, err = oneAccount(named); err != nil {
		return s, found, err
	}
	if s.Actor, err = newActor(kind, subject); err != nil {
		return s, found, err
	}
	if s.MustChange && s.Actor.Kind == reset.Self {
		return s, found, reset.BadField("options.must_change",
			"is for administrators only: an owner who has just chosen a password need not choose another")
	}
	for _, p := range []struct {
		field string
		given bool
		value secret.Value
	}{
		{"password", password != nil, found.password},
		{"current_password", current != nil, found.current},
	} {
		if _, has := fields[p.field]; !has {
			continue
		}
		if !p.given {
			return s, found, reset.BadField(p.field, "is missing")
		}
		if err := secret.CheckPassword(p.value); err != nil {
			return s, found, reset.BadField(p.field, "%v", err)
		}
	}
	return s, found, nil
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
