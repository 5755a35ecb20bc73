// Package signin lets people sign in through the OpenID Connect provider of
// their organisation: the code flow with PKCE, state and nonce (OpenID Connect
// Core 1.0 section 3.1, RFC 7636, RFC 9207, RFC 9700).
//
// Who somebody is comes from the claims of one signed ID token. Nothing else is
// asked of the provider, and no token of it is kept. The account that a session
// may act for is named by an immutable claim; names that people or help desks
// can change (e-mail, UPN) name nobody here.
//
// Nothing is kept in this process between two requests of a browser: what is
// needed is in two cookies, sealed so that any publisher with the same key opens
// them. So a session cannot be taken back before its end: signing out deletes
// the cookie, and a copy of it is good until it has been idle for [Idle], and
// for [Longest] at most. Whatever changes something asks for a sign-in that is
// fresh besides.
package signin

import (
	"context"
	"crypto/cipher"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/oauth2"

	"writeback/internal/config"
	"writeback/internal/obs"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// How long things are good for.
const (
	Idle    = 15 * time.Minute // a session without a request
	Longest = time.Hour        // a session; then the provider is asked again, which people who are still signed in there do not see
	Fresh   = 5 * time.Minute  // since people showed the provider who they are, for what changes something

	journey = 10 * time.Minute // on the way to the provider and back
	leeway  = time.Minute      // by which the provider's clock may be ahead or behind
)

// CallbackPath is where the provider sends browsers back to.
const CallbackPath = "/sign-in"

// A Config is one provider and what its claims mean here. All but CAFile, Scopes
// and Groups must be given.
type Config struct {
	Tenant           string   `yaml:"tenant"`             // whose users sign in here
	Issuer           string   `yaml:"issuer"`             // https URL, letter for letter as the provider writes it
	CAFile           string   `yaml:"ca_file"`            // PEM: the only authorities believed about the provider's certificate; the machine's if left out
	ClientID         string   `yaml:"client_id"`          // as the provider knows us
	ClientSecretFile string   `yaml:"client_secret_file"` // one line, mode 0600; read at each sign-in
	RedirectURL      string   `yaml:"redirect_url"`       // https://HOST/sign-in, where HOST is what browsers call us
	SessionKeyFile   string   `yaml:"session_key_file"`   // session.key, the same for all publishers
	Scopes           []string `yaml:"scopes"`             // asked for besides openid
	Account          Account  `yaml:"account"`            // which claim names the account in the directory
	Groups           Groups   `yaml:"groups"`             // who administers; nobody if it is left out
}

// DefaultConfig is what holds where nothing is said.
func DefaultConfig() Config { return Config{Scopes: []string{oidc.ScopeProfile}} }

// An Account says which claim names the account and how.
type Account struct {
	Claim string `yaml:"claim"` // of the ID token; must be there
	Kind  string `yaml:"kind"`  // immutable_id, object_guid or sid
}

// Groups say which values of a claim make an administrator.
type Groups struct {
	Claim  string   `yaml:"claim"`  // of the ID token
	Admins []string `yaml:"admins"` // may see the administration page and turn the switches
	Resets []string `yaml:"resets"` // may reset on behalf of users besides
}

// mutable are claims whose value can be given to somebody else, or chosen by
// the one it names (OpenID Connect Core 1.0 section 5.7).
var mutable = []string{"email", "preferred_username", "upn", "unique_name", "username", "nickname", "name", "phone_number"}

// immutable are the kinds of account name that a claim may have.
var immutable = []reset.NameKind{reset.ImmutableID, reset.ObjectGUID, reset.SID}

// check returns what kind of name the account claim has.
func (c Config) check() (reset.NameKind, error) {
	for _, f := range []struct{ key, value string }{
		{"issuer", c.Issuer}, {"client_id", c.ClientID}, {"client_secret_file", c.ClientSecretFile},
		{"redirect_url", c.RedirectURL}, {"session_key_file", c.SessionKeyFile}, {"account.claim", c.Account.Claim},
	} {
		if f.value == "" {
			return 0, fmt.Errorf("%s: is missing", f.key)
		}
	}
	if err := reset.ValidName(c.Tenant); err != nil {
		return 0, fmt.Errorf("tenant: %q: %w", c.Tenant, err)
	}
	if u, err := url.Parse(c.Issuer); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return 0, errors.New("issuer: must be an https URL without user, query or fragment")
	}
	if u, err := url.Parse(c.RedirectURL); err != nil || u.Host == "" || c.RedirectURL != "https://"+strings.ToLower(u.Host)+CallbackPath {
		return 0, fmt.Errorf("redirect_url: must be https://HOST%s, in lower case", CallbackPath)
	}
	if slices.Contains(mutable, c.Account.Claim) {
		return 0, fmt.Errorf("account.claim: %s can change its owner; a claim with an immutable id is needed", c.Account.Claim)
	}
	kind, err := reset.ParseNameKind(c.Account.Kind)
	if err != nil || !slices.Contains(immutable, kind) {
		return 0, errors.New("account.kind: must be immutable_id, object_guid or sid")
	}
	if roles := len(c.Groups.Admins) + len(c.Groups.Resets); (c.Groups.Claim == "") != (roles == 0) {
		return 0, errors.New("groups: claim and a list of its values belong together")
	}
	return kind, nil
}

// A Client signs people of one tenant in.
type Client struct {
	cfg      Config
	host     string // of the redirect URL
	kind     reset.NameKind
	http     *http.Client
	sessions cipher.AEAD
	journeys cipher.AEAD
	log      zerolog.Logger
	results  *prometheus.CounterVec
	now      func() time.Time

	mu     sync.Mutex // guards what follows
	found  *provider  // nil until discovery succeeded
	failed error      // of the last discovery
	retry  time.Time  // not tried before
}

// newClient checks a configuration and the files that it names.
func newClient(cfg Config, log zerolog.Logger, results *prometheus.CounterVec) (*Client, error) {
	kind, err := cfg.check()
	if err != nil {
		return nil, err
	}
	secret, err := seal.ReadLine(cfg.ClientSecretFile)
	if err != nil {
		return nil, fmt.Errorf("client_secret_file: %w", err)
	}
	defer secret.Wipe()
	if secret.Empty() {
		return nil, fmt.Errorf("client_secret_file: %s: is empty", cfg.ClientSecretFile)
	}
	key, err := seal.LoadSessionKey(cfg.SessionKeyFile)
	if err != nil {
		return nil, fmt.Errorf("session_key_file: %w", err)
	}
	roots, err := roots(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	if cfg.Scopes == nil {
		cfg.Scopes = DefaultConfig().Scopes
	}
	c := &Client{cfg: cfg, kind: kind, log: log, results: results, now: time.Now, http: newHTTPClient(roots)}
	c.host = plainHost(strings.TrimSuffix(strings.TrimPrefix(cfg.RedirectURL, "https://"), CallbackPath))
	// What another provider's word sealed is nobody here.
	if c.sessions, err = key.AEAD(sessionCookie, cfg.Tenant, cfg.Issuer, cfg.ClientID); err != nil {
		return nil, err
	}
	if c.journeys, err = key.AEAD(journeyCookie, cfg.Tenant, cfg.Issuer, cfg.ClientID); err != nil {
		return nil, err
	}
	return c, nil
}

// Tenant is whose users sign in here.
func (c *Client) Tenant() string { return c.cfg.Tenant }

func (c *Client) oauth(p *provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: c.cfg.ClientID, RedirectURL: c.cfg.RedirectURL, Endpoint: p.endpoint,
		Scopes: append([]string{oidc.ScopeOpenID}, c.cfg.Scopes...),
	}
}

// A Reason says why somebody is not signed in. The set is closed.
type Reason string

const (
	Away      Reason = "away"       // the provider does not answer, or not in a way that we understand
	Denied    Reason = "denied"     // the provider did not let the user in, or the user turned back
	Stale     Reason = "stale"      // not a sign-in that this browser began, or it took too long, or it was used already
	Untrusted Reason = "untrusted"  // what the provider sent proves nothing
	NotFresh  Reason = "not_fresh"  // the provider did not ask who the user is, though it was told to
	SignedOut Reason = "signed_out" // there is no session, or none that is fresh, and this is not a page that could begin one
)

// Reasons returns the closed set.
func Reasons() []Reason { return []Reason{Away, Denied, Stale, Untrusted, NotFresh, SignedOut} }

// An Error is the error of everything here that refuses. Reason and Back may be
// shown; Err stays in the log.
type Error struct {
	Reason Reason
	Back   string // the path of ours where the user was going, if it is known
	Err    error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return "signing in: " + string(e.Reason)
	}
	return fmt.Sprintf("signing in: %s: %v", e.Reason, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// signedIn is the result of a sign-in that has no [Reason].
const signedIn = "signed_in"

// refused counts a refusal and notes it in the log.
func (c *Client) refused(e *Error) error {
	c.results.WithLabelValues(string(e.Reason)).Inc()
	line := c.log.Info()
	if e.Reason == Away || e.Reason == Untrusted {
		line = c.log.Warn() // nobody can sign in, or somebody tries something
	}
	line.Str(obs.Tenant, c.cfg.Tenant).Str(obs.Reason, string(e.Reason)).AnErr(obs.Cause, e.Err).Msg("sign-in refused")
	return e
}

// Check reports whether the provider could be found.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.provider(ctx)
	return err
}

// roots returns the authorities in a file, or nil for the machine's.
func roots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	return config.TrustedAuthorities(path)
}

func newHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &bounded{&http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout: patience,
			// A connection that was idle may be closed by the provider while a
			// code is on its way over it, which is then lost: a POST is not sent
			// twice. People sign in seldom enough for a new one each time.
			DisableKeepAlives: true,
		}},
		// A provider is where its configuration says, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
