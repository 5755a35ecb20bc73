package signin

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"

	"writeback/internal/reset"
)

const (
	maxSubject = 255 // OpenID Connect Core 1.0 section 2
	maxName    = 64  // runes that are shown
)

// newSession reads the claims of a token whose signature, issuer, audience and
// time are right.
func (c *Client) newSession(token *oidc.IDToken) (Session, error) {
	claims := make(map[string]json.RawMessage)
	if err := token.Claims(&claims); err != nil {
		return Session{}, errors.New("the ID token's claims are malformed")
	}
	azp, present := text(claims["azp"]), claims["azp"] != nil
	switch {
	case token.Subject == "" || len(token.Subject) > maxSubject || strings.ContainsFunc(token.Subject, unicode.IsControl):
		return Session{}, errors.New("the ID token names nobody")
	case present && azp != c.cfg.ClientID, !present && len(token.Audience) > 1:
		return Session{}, errors.New("the ID token was made for another client")
	}
	now := c.now()
	s := Session{Tenant: c.cfg.Tenant, Subject: token.Subject, Began: now, seen: now}
	if s.Name = shown(text(claims["name"])); s.Name == "" {
		s.Name = shown(text(claims["preferred_username"]))
	}
	// A value of another form is nobody's, as a missing one is.
	if account, err := reset.NewAccount(c.kind, text(claims[c.cfg.Account.Claim])); err == nil {
		s.Account = account
	}
	var proved float64 // a NumericDate may have a fraction
	if json.Unmarshal(claims["auth_time"], &proved) == nil && proved > 0 {
		s.Proved = time.Unix(int64(proved), 0)
	}
	c.roles(&s, claims)
	return s, nil
}

// roles reads the claim of groups.
func (c *Client) roles(s *Session, claims map[string]json.RawMessage) {
	claim := c.cfg.Groups.Claim
	if claim == "" {
		return
	}
	var groups []string
	if one := text(claims[claim]); one != "" {
		groups = []string{one}
	} else if json.Unmarshal(claims[claim], &groups) != nil {
		groups = nil
	}
	has := func(wanted []string) bool {
		return slices.ContainsFunc(wanted, func(g string) bool { return slices.Contains(groups, g) })
	}
	s.Resets = has(c.cfg.Groups.Resets)
	s.Admin = s.Resets || has(c.cfg.Groups.Admins)
	// Where a token would be too long, it says where to ask instead (OpenID
	// Connect Core 1.0 section 5.6.2). We do not ask: it is a refusal.
	var elsewhere map[string]json.RawMessage
	if json.Unmarshal(claims["_claim_names"], &elsewhere) == nil && claims[claim] == nil {
		_, s.Overage = elsewhere[claim]
	}
}

// text returns a claim that is a text, else nothing.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// shown returns of a name what can be shown without harm to what stands beside
// it: no controls, no marks that turn the direction of text.
func shown(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, name)
	if runes := []rune(name); len(runes) > maxName {
		name = string(runes[:maxName])
	}
	return strings.TrimSpace(name)
}
