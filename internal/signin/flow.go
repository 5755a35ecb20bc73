package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"writeback/internal/obs"
	"writeback/internal/seal"
)

// A trip is a sign-in on its way, as the browser keeps it.
type trip struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"pkce"`
	Back     string `json:"back"`
	Fresh    bool   `json:"fresh"`
	Began    int64  `json:"iat"` // seconds
}

// Require returns the session, if the browser has one whose user showed who they
// are within the time given; 0 is any time. Where not, it sends the browser to the
// provider and back to the page it asked for: ok is then false and the answer is
// written, unless there is an *[Error] to be shown. A form is never sent there: its
// page's Content-Security-Policy would forbid it, and what was typed would be lost
// without a word.
func (c *Client) Require(w http.ResponseWriter, r *http.Request, within time.Duration) (s Session, ok bool, err error) {
	if s, ok = c.Session(w, r); ok && (within == 0 || s.Fresh(c.now(), within)) {
		return s, true, nil
	}
	form := r.Method != http.MethodGet && r.Method != http.MethodHead
	dest := r.Header.Get("Sec-Fetch-Dest")
	if script := dest != "" && dest != "document"; form || script {
		return Session{}, false, &Error{Reason: SignedOut, Back: ownPath(r)}
	}
	return Session{}, false, c.begin(w, r, within != 0)
}

// begin sends the browser to the provider.
func (c *Client) begin(w http.ResponseWriter, r *http.Request, fresh bool) error {
	back := ownPath(r)
	p, err := c.provider(r.Context())
	if err != nil {
		return c.refused(&Error{Away, back, err})
	}
	t := trip{State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Back: back, Fresh: fresh, Began: c.now().Unix()}
	options := []oauth2.AuthCodeOption{oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier)}
	if fresh {
		// Less than what we demand, so that who the provider lets in at once is
		// fresh here too, though its clock is behind.
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.Itoa(int((Fresh-leeway).Seconds()))))
	}
	setCookie(w, c.journeys, journeyCookie, journey, t)
	http.Redirect(w, r, c.oauth(p).AuthCodeURL(t.State, options...), http.StatusSeeOther)
	return nil
}

// ownPath returns where the browser is, as a path on this host whatever it is
// made of.
func ownPath(r *http.Request) string {
	u := url.URL{Path: "/" + strings.TrimLeft(r.URL.Path, `/\`), RawQuery: r.URL.RawQuery}
	return u.String()
}

func random() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Finish answers [CallbackPath]: it checks what the provider says, gives the
// browser its session and sends it where it was going. Its error is an *[Error].
func (c *Client) Finish(w http.ResponseWriter, r *http.Request) error {
	q, err := single(r.URL.RawQuery)
	if err != nil {
		return c.refused(&Error{Reason: Stale, Err: err})
	}
	var t trip
	switch ok := readCookie(r, c.journeys, journeyCookie, &t); {
	case !ok:
		return c.refused(&Error{Reason: Stale, Err: errors.New("this browser began no sign-in")})
	case subtle.ConstantTimeCompare([]byte(t.State), []byte(q["state"])) != 1:
		// The cookie stays: it may be the way of another window.
		return c.refused(&Error{Stale, t.Back, errors.New("this browser began another sign-in")})
	}
	dropCookie(w, journeyCookie)
	if c.now().Sub(at(t.Began)) > journey {
		return c.refused(&Error{Stale, t.Back, fmt.Errorf("the sign-in took more than %s", journey)})
	}
	s, reason, err := c.redeem(r.Context(), q, t)
	if err != nil {
		return c.refused(&Error{reason, t.Back, err})
	}
	c.keep(w, s)
	c.results.WithLabelValues(signedIn).Inc()
	c.log.Info().Str(obs.Tenant, c.cfg.Tenant).Msg("signed in")
	http.Redirect(w, r, t.Back, http.StatusSeeOther)
	return nil
}

// single parses a query in which nothing is there twice.
func single(raw string) (map[string]string, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errors.New("the query is malformed")
	}
	one := make(map[string]string)
	for k, v := range q {
		if len(v) != 1 {
			return nil, errors.New("a parameter is there twice")
		}
		one[k] = v[0]
	}
	return one, nil
}

// known are the errors of an authorization endpoint that we name in the log
// (RFC 6749 section 4.1.2.1, OpenID Connect Core 1.0 section 3.1.2.6).
var known = []string{
	"access_denied", "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "server_error",
	"temporarily_unavailable", "interaction_required", "login_required", "account_selection_required", "consent_required",
	"invalid_grant", "invalid_client", "unsupported_grant_type",
}

// named returns an error's code if it is a known one: the rest is whatever
// somebody wrote into a link.
func named(code string) string {
	if slices.Contains(known, code) {
		return code
	}
	return "an unknown error"
}

// redeem turns the provider's answer into a session.
func (c *Client) redeem(ctx context.Context, q map[string]string, t trip) (Session, Reason, error) {
	p, err := c.provider(ctx)
	if err != nil {
		return Session{}, Away, err
	}
	if iss, ok := q["iss"]; ok && iss != c.cfg.Issuer || !ok && p.namesIss {
		return Session{}, Untrusted, errors.New("the answer is not from this provider")
	}
	switch code := q["error"]; code {
	case "":
	case "server_error", "temporarily_unavailable":
		return Session{}, Away, errors.New("the provider says " + code)
	default:
		return Session{}, Denied, errors.New("the provider says " + named(code))
	}
	if q["code"] == "" {
		return Session{}, Stale, errors.New("the answer has no code")
	}
	raw, reason, err := c.exchange(ctx, p, q["code"], t.Verifier)
	if err != nil {
		return Session{}, reason, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	token, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return Session{}, Untrusted, err
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(t.Nonce)) != 1 {
		return Session{}, Untrusted, errors.New("the ID token is for another sign-in")
	}
	s, err := c.newSession(token)
	if err != nil {
		return Session{}, Untrusted, err
	}
	if t.Fresh && !s.Fresh(c.now(), Fresh) {
		return Session{}, NotFresh, errors.New("auth_time is missing or too long ago")
	}
	return s, "", nil
}

// exchange redeems a code for an ID token.
func (c *Client) exchange(ctx context.Context, p *provider, code, verifier string) (string, Reason, error) {
	secret, err := seal.ReadLine(c.cfg.ClientSecretFile)
	if err != nil {
		return "", Away, fmt.Errorf("client_secret_file: %w", err)
	}
	defer secret.Wipe()
	var token *oauth2.Token
	err = secret.Reveal(func(b []byte) (err error) {
		cfg := c.oauth(p)
		cfg.ClientSecret = string(b)
		token, err = cfg.Exchange(oidc.ClientContext(ctx, c.http), code, oauth2.VerifierOption(verifier))
		return err
	})
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		err := fmt.Errorf("the token endpoint says %s (%d)", named(refused.ErrorCode), refused.Response.StatusCode)
		if refused.ErrorCode == "invalid_grant" {
			return "", Stale, err // used already, or too late
		}
		return "", Away, err
	}
	if err != nil {
		return "", Away, fmt.Errorf("redeeming the code: %w", err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", Untrusted, errors.New("there is no ID token")
	}
	return raw, "", nil
}
