// Package portal is where requests come in over HTTP and outcomes go out as
// sentences: it authenticates the caller, checks what is asked for, hands it
// to a [Publisher] and says what became of it. It shares only words and
// secrets with what is behind that interface.
//
// Every answer is JSON, or a stream of events that are, every error a problem document (RFC 9457) whose code
// is from a closed set and whose sentence is fixed. A password goes from the
// request's body into one buffer; no log, metric, error or answer has it.
//
// It does not promise that a password is nowhere else in memory: net/http and
// TLS have buffers of their own. Time-outs of connections and TLS are not here
// either: the server that the handler runs in sets them, and
// its WriteTimeout must be longer than [MaxDuration].
package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
	"writeback/internal/portal/sse"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

// A Publisher takes requests to the directory and says what became of them.
type Publisher interface {
	// Submit makes the request durable and waits up to wait for its
	// outcome. It takes over the new and the current password and wipes
	// them; what the operation has none of is empty. Its error is a
	// *reset.Refusal when nothing was recorded and nothing will be done.
	Submit(ctx context.Context, s reset.Submission, password, current secret.Value, wait time.Duration) (reset.Status, error)

	// Status returns what is known of a request of tenant; a *reset.Refusal
	// with reset.UnknownRequest if there is none.
	Status(ctx context.Context, tenant string, ref reset.Ref) (reset.Status, error)

	// Watch calls f with what is known of a request of tenant, and again
	// whenever more is, until nothing more can come, f returns an error or ctx
	// ends.
	Watch(ctx context.Context, tenant string, ref reset.Ref, f func(reset.Status) error) error
}

// Tenants are what requests are for, beside what is asked of each.
type Tenants interface {
	// Situation returns how a tenant is right now. Its error is a
	// *reset.Refusal.
	Situation(tenant string) (reset.Situation, error)

	// SetSwitches makes a tenant's switches be as c wants them, and returns
	// them as they are then. Its error is a *reset.Refusal, after which they
	// may have been set or not.
	SetSwitches(ctx context.Context, c reset.SwitchChange) (reset.Switches, error)
}

// A Config is what a portal needs; all of it but Guesses and Proxies must be given.
type Config struct {
	Publisher Publisher
	Tenants   Tenants
	Tickets   Issuer
	PublicURL string // where people reach the pages, as https://reset.example.com
	Tokens    *Tokens
	Log       zerolog.Logger        // one event a request, at info
	Metrics   prometheus.Registerer // for writeback_portal_…
	Limits    Limits                // see [DefaultLimits]
	Guesses   *Guesses              // shared with who else asks for changes; default the API's own

	// Proxies are believed about the address of who called them. Everybody
	// else's is the one that the connection comes from.
	Proxies []netip.Prefix
}

// MaxDuration is how long a request may take once its body was read: the
// longest wait, and what Submit may need before and after it.
const MaxDuration = maxWait + margin

const (
	requestsPath = "/v1/requests/"
	switchesPath = "/v1/switches"
)

type api struct {
	Config
	limits   *limiter
	streams  *sse.Places
	limited  *prometheus.CounterVec
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// A handler answers one route. What it learns of the request it notes in the
// event, so that it is logged whatever comes after.
type handler func(r *http.Request, ev *event) (*answer, error)

// New returns the handler of the API.
func New(cfg Config) (http.Handler, error) {
	if cfg.Publisher == nil || cfg.Tenants == nil || cfg.Tickets == nil || cfg.Tokens == nil || cfg.Metrics == nil {
		return nil, errors.New("portal: needs a publisher, tenants, tickets, tokens and metrics")
	}
	if err := cfg.Limits.Check(); err != nil {
		return nil, fmt.Errorf("portal: %w", err)
	}
	if cfg.Guesses == nil {
		cfg.Guesses = NewGuesses(cfg.Limits)
	}
	a := &api{
		Config:  cfg,
		limits:  newLimiter(cfg.Limits),
		streams: sse.NewPlaces(maxStreams, callerStreams),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_portal_limited_total",
			Help: "Requests to the API that were refused as too many, by the limit that they met.",
		}, []string{"limit"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_portal_requests_total",
			Help: "Requests to the API, by route and HTTP status.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "writeback_portal_request_seconds",
			Help:    "How long requests to the API took, waiting for outcomes included, by route.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60},
		}, []string{"route"}),
	}
	for _, limit := range limitNames() {
		a.limited.WithLabelValues(limit) // shown as 0 from the start
	}
	for _, c := range []prometheus.Collector{a.limited, a.requests, a.seconds} {
		if err := cfg.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("portal: registering metrics: %w", err)
		}
	}

	mux := http.NewServeMux()
	for _, r := range []struct {
		method, allow, path string
		handle              handler
	}{
		{"POST", "POST", "/v1/resets", a.post(reset.Reset)},
		{"POST", "POST", "/v1/changes", a.post(reset.Change)},
		{"POST", "POST", "/v1/unlocks", a.post(reset.Unlock)},
		{"POST", "POST", "/v1/probes", a.post(reset.Probe)},
		{"POST", "POST", "/v1/tickets", a.postTicket},
		{"GET", "GET, HEAD", requestsPath + "{id}", a.getRequest},
		{"GET", "GET, HEAD", "/v1/status", a.getStatus},
		{"GET", "GET, HEAD, PUT", switchesPath, a.getSwitches},
		{"GET", "GET, HEAD", requestsPath + "{id}/events", a.getEvents},
	} {
		mux.Handle(r.method+" "+r.path, a.serve(r.path, r.handle))
		mux.Handle(r.path, a.serve(r.path, refuse(http.StatusMethodNotAllowed, r.allow)))
	}
	mux.Handle("PUT "+switchesPath, a.serve(switchesPath, a.putSwitches))
	unknown := a.serve("none", refuse(http.StatusNotFound, ""))
	mux.Handle("/", unknown)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Clean(r.URL.Path) != r.URL.Path || r.URL.Path[0] != '/' {
			unknown.ServeHTTP(w, r) // the mux would redirect it, in HTML
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

func refuse(status int, allow string) handler {
	return func(*http.Request, *event) (*answer, error) { return nil, &routeError{status, allow} }
}

// serve makes an HTTP handler of h. route is a label: from a closed set.
func (a *api) serve(route string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ev := &event{route: route, start: time.Now(), address: CallerAddress(r, a.Proxies)}
		defer a.finish(ev)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)

		ans, err := a.call(func(r *http.Request, ev *event) (*answer, error) {
			if wait := a.limits.admit(ev.address); wait > 0 {
				return nil, ev.beyond(limitAddress, wait)
			}
			return h(r, ev)
		}, r, ev)
		if err != nil {
			ev.err = err
			ans = failed(err)
		}
		ev.status = ans.status
		if ans.stream == nil || r.Method == http.MethodHead {
			ans.write(w)
		} else if err := ans.stream(w); err != nil && !left(err) {
			ev.err = err
		}
	})
}

// errPanic is the error of a handler that panicked.
var errPanic = errors.New("panic in a handler")

// call runs h. The value of a panic may hold input, so it is dropped; the
// stack has addresses only.
func (a *api) call(h handler, r *http.Request, ev *event) (ans *answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			ans, err, ev.stack = nil, errPanic, debug.Stack()
		}
	}()
	return h(r, ev)
}

// An event is what is logged of a request: no bodies, queries or tokens, and
// nothing of a path but what was found to be a request's name.
type event struct {
	route   string
	status  int
	start   time.Time
	address netip.Addr // of the caller; never logged
	request string     // as in [reset.Ref]
	caller  Entry      // zero until it is known
	code    string
	limit   string // that was met
	err     error
	stack   []byte
}

// beyond notes the limit that a request met, and returns its refusal.
func (ev *event) beyond(limit string, wait time.Duration) error {
	ev.limit = limit
	return tooMany(limit, wait, ev.caller)
}

// finish writes the event and counts the request.
func (a *api) finish(ev *event) {
	took := time.Since(ev.start)
	a.requests.WithLabelValues(ev.route, strconv.Itoa(ev.status)).Inc()
	a.seconds.WithLabelValues(ev.route).Observe(took.Seconds())
	if ev.limit != "" {
		a.limited.WithLabelValues(ev.limit).Inc()
	}

	var field string
	var cause error
	if r := (*reset.Refusal)(nil); errors.As(ev.err, &r) {
		ev.code, field, cause = string(r.Code), r.Field, r.Err
	} else if r := (*routeError)(nil); !errors.As(ev.err, &r) {
		cause = ev.err
	}
	line := a.Log.Info().Str(obs.Route, ev.route).Int(obs.Status, ev.status).Dur(obs.Took, took)
	for _, f := range []struct{ name, value string }{
		{obs.Code, ev.code}, {obs.Field, field}, {obs.Reason, ev.limit}, {obs.Request, ev.request}, {obs.Tenant, ev.caller.Tenant},
		{obs.Source, ev.caller.Source}, {obs.Token, ev.caller.ID}, {obs.Stack, string(ev.stack)},
	} {
		if f.value != "" {
			line = line.Str(f.name, f.value)
		}
	}
	line.AnErr(obs.Cause, cause).Msg("request answered")
}
