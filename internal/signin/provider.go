package signin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	patience    = 5 * time.Second // for one answer of the provider
	pause       = 2 * time.Second // between two discoveries that fail
	maxResponse = 1 << 20         // bytes of one answer; key sets and discovery documents have a few thousand
)

// A provider is what discovery found out.
type provider struct {
	endpoint oauth2.Endpoint
	verifier *oidc.IDTokenVerifier
	namesIss bool // it says in its redirects who it is (RFC 9207)
}

// provider returns what is known of the provider, and finds out what is not:
// whoever comes while it is away waits for one attempt at most.
func (c *Client) provider(ctx context.Context) (*provider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found != nil {
		return c.found, nil
	}
	if c.now().Before(c.retry) {
		return nil, c.failed
	}
	// Whoever asked first may leave; the others want to know all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	found, err := c.discover(ctx)
	if err != nil {
		c.failed, c.retry = fmt.Errorf("discovering %s: %w", c.cfg.Issuer, err), c.now().Add(pause)
		return nil, c.failed
	}
	c.found = found
	return found, nil
}

func (c *Client) discover(ctx context.Context) (*provider, error) {
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, c.http), c.cfg.Issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		KeySet  string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		Iss     bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, errors.New("its document is not understood")
	}
	e := p.Endpoint()
	for _, u := range []string{e.AuthURL, e.TokenURL, more.KeySet} {
		if !strings.HasPrefix(u, "https://") {
			return nil, errors.New("an endpoint of it is no https URL")
		}
	}
	// Chosen by what it says, since trying both would use up the code. The
	// first is what holds if it says nothing (OpenID Connect Discovery 1.0).
	switch {
	case more.Methods == nil || slices.Contains(more.Methods, "client_secret_basic"):
		e.AuthStyle = oauth2.AuthStyleInHeader
	case slices.Contains(more.Methods, "client_secret_post"):
		e.AuthStyle = oauth2.AuthStyleInParams
	default:
		return nil, errors.New("it takes no client secret")
	}
	// With the algorithms that it announces; the library drops those without
	// a key pair, and "none", from the list.
	return &provider{e, p.Verifier(&oidc.Config{ClientID: c.cfg.ClientID, Now: c.now}), more.Iss}, nil
}

// bounded cuts answers that are far too long.
type bounded struct{ next http.RoundTripper }

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxResponse), resp.Body}
	}
	return resp, err
}
