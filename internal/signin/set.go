package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// A Set has the clients of all tenants. Each has a host name of its own, so that
// no answer of one tenant's provider can be taken for another's (RFC 9700
// section 4.4.2.2), and no cookie gets from one to the other.
type Set struct {
	clients []*Client
}

// NewSet checks configurations and the files that they name. It connects to
// nothing: a provider that is away keeps nobody from what needs no sign-in.
func NewSet(cfgs []Config, log zerolog.Logger, metrics prometheus.Registerer) (*Set, error) {
	s, results := &Set{}, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "writeback_portal_sign_ins_total",
		Help: "Sign-ins that came back from a provider or could not be sent to one, by what became of them.",
	}, []string{"result"})
	results.WithLabelValues(signedIn)
	for _, r := range Reasons() {
		results.WithLabelValues(string(r))
	}
	if err := metrics.Register(results); err != nil {
		return nil, fmt.Errorf("signing in: registering metrics: %w", err)
	}
	for i, cfg := range cfgs {
		c, err := newClient(cfg, log, results)
		if err != nil {
			return nil, fmt.Errorf("sign_in[%d].%w", i, err)
		}
		for _, o := range s.clients {
			if o.host == c.host || o.cfg.Tenant == c.cfg.Tenant {
				return nil, fmt.Errorf("sign_in[%d]: there is another one for this tenant or this host", i)
			}
		}
		s.clients = append(s.clients, c)
	}
	return s, nil
}

// Empty reports whether nobody can sign in.
func (s *Set) Empty() bool { return len(s.clients) == 0 }

// For returns the client of the host that a request is for.
func (s *Set) For(r *http.Request) (*Client, bool) {
	host := plainHost(r.Host)
	for _, c := range s.clients {
		if c.host == host {
			return c, true
		}
	}
	return nil, false
}

// plainHost returns the one form of a host and port.
func plainHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ":443") }

// Check reports which providers could not be found.
func (s *Set) Check(ctx context.Context) error {
	var away error
	for _, c := range s.clients {
		if err := c.Check(ctx); err != nil {
			away = errors.Join(away, fmt.Errorf("tenant %s: %w", c.cfg.Tenant, err))
		}
	}
	return away
}
