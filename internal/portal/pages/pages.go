// Package pages is the frame of the pages that people see: layout, texts in
// English and German, styles and scripts of our own, the headers that keep a page
// to itself, cookies, and pages that go on while they are read. What a page is
// about is in the packages next to this one.
//
// A page works without scripts, and nothing of a page is a script: what a browser
// runs or loads comes from this server alone, by its Content-Security-Policy. No
// page is kept by anybody, shown inside another site, or posted to from one.
package pages

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
	"writeback/internal/portal"
	"writeback/internal/portal/sse"
	"writeback/internal/reset"
)

// Config is what a frame needs; Proxies may be empty, and Brand is what people see
// of their organisation.
type Config struct {
	Brand   Brand
	Log     zerolog.Logger        // one event a page, at info
	Metrics prometheus.Registerer // for writeback_pages_…
	Proxies []netip.Prefix        // as in [portal.Config]
}

// A Frame serves pages.
type Frame struct {
	cfg       Config
	texts     texts
	assets    map[string]asset // by path
	templates map[string]*template.Template
	layout    *template.Template
	mux       *http.ServeMux
	allowed   map[string]string // methods, by path
	cross     *http.CrossOriginProtection
	streams   *sse.Places
	requests  *prometheus.CounterVec
}

// How many pages go on while they are read, in all and for one reader.
const (
	maxStreams    = 2000
	readerStreams = 10
)

// New returns a frame without pages.
func New(cfg Config) (*Frame, error) {
	if err := cfg.Brand.Check(); err != nil {
		return nil, err
	}
	f := &Frame{
		cfg: cfg, assets: make(map[string]asset), templates: make(map[string]*template.Template), mux: http.NewServeMux(),
		allowed: make(map[string]string), cross: http.NewCrossOriginProtection(), streams: sse.NewPlaces(maxStreams, readerStreams),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writeback_pages_requests_total",
			Help: "Requests for pages, by route and HTTP status.",
		}, []string{"route", "status"}),
	}
	var err error
	if f.texts, err = readTexts(); err != nil {
		return nil, err
	}
	if err := f.brand(); err != nil {
		return nil, err
	}
	if err := f.Assets(own, "assets"); err != nil {
		return nil, err
	}
	if f.layout, err = f.parse(nil, own, "templates/layout.html"); err != nil {
		return nil, err
	}
	if err := f.Templates(own, "templates"); err != nil {
		return nil, err
	}
	if err := cfg.Metrics.Register(f.requests); err != nil {
		return nil, fmt.Errorf("pages: registering metrics: %w", err)
	}
	for _, dir := range []string{assetsPath, brandPath} {
		f.mux.HandleFunc("GET "+dir, f.serveAsset)
	}
	return f, nil
}

// Over serves pages, and leaves every other path to next.
func (f *Frame) Over(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := f.mux.Handler(r); pattern == "" {
			next.ServeHTTP(w, r)
			return
		}
		f.mux.ServeHTTP(w, r)
	})
}

// A Handler answers one request for a page. What it returns is rendered: a
// [*reset.Refusal] as its sentence, every other error as one that nobody
// classified.
type Handler func(c *Call) error

// Handle serves path with h for method, which is GET (then HEAD too) or POST.
func (f *Frame) Handle(method, path string, h Handler) {
	f.mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, path, h) })
	if f.allowed[path] == "" {
		f.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			f.serve(w, r, path, func(c *Call) error {
				c.w.Header().Set("Allow", f.allowed[path])
				return c.Problem(http.StatusMethodNotAllowed, "problem.method")
			})
		})
		f.allowed[path] = method
	} else {
		f.allowed[path] += ", " + method
	}
}

// A Call is one request for a page.
type Call struct {
	Request  *http.Request
	Language Language
	Address  netip.Addr // of the caller, as in [portal.CallerAddress]

	f      *Frame
	w      http.ResponseWriter
	route  string
	id     string // names this call in the log
	begun  time.Time
	status int
	log    struct{ tenant, request, code string }
}

// Note has the log, and the page, name the request that a call is about. What is
// not known is empty.
func (c *Call) Note(tenant, request, code string) {
	c.log.tenant, c.log.request, c.log.code = tenant, request, code
}

// errPanic is the error of a handler that panicked.
var errPanic = errors.New("panic in a page")

func (f *Frame) serve(w http.ResponseWriter, r *http.Request, route string, h Handler) {
	var id [4]byte
	rand.Read(id[:])
	c := &Call{
		Request: r, Language: languageOf(r.Header), Address: portal.CallerAddress(r, f.cfg.Proxies),
		f: f, w: w, route: route, id: hex.EncodeToString(id[:]), begun: time.Now(),
	}
	var err error
	var stack []byte
	defer func() { c.finish(err, stack) }()
	c.protect()
	if cross := f.cross.Check(r); cross != nil {
		err = c.Problem(http.StatusForbidden, "problem.cross")
		return
	}
	if stack, err = c.call(h); err == nil || c.status != 0 {
		return
	}
	if failed := c.fail(err); failed != nil {
		err = failed
	}
}

// call runs h. The value of a panic may hold input, so it is dropped.
func (c *Call) call(h Handler) (stack []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			stack, err = debug.Stack(), errPanic
		}
	}()
	return nil, h(c)
}

// fail renders an error.
func (c *Call) fail(err error) error {
	var r *reset.Refusal
	if !errors.As(err, &r) {
		return c.Problem(http.StatusInternalServerError, "problem.internal")
	}
	c.log.code = string(r.Code)
	status, _, _ := portal.RefusalSentence(r.Code)
	if r.RetryAfter > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int(r.RetryAfter.Seconds())))
	}
	return c.Problem(status, "refusal."+string(r.Code))
}

// finish writes the log's event. Nothing of the address that was asked for is in
// it: a path is a route, and what follows it may be a ticket.
func (c *Call) finish(err error, stack []byte) {
	c.f.requests.WithLabelValues(c.route, strconv.Itoa(c.status)).Inc()
	line := c.f.cfg.Log.Info().Str(obs.Route, c.route).Int(obs.Status, c.status).Dur(obs.Took, time.Since(c.begun)).Str(obs.Page, c.id)
	for _, field := range []struct{ name, value string }{
		{obs.Tenant, c.log.tenant}, {obs.Request, c.log.request}, {obs.Code, c.log.code}, {obs.Stack, string(stack)},
	} {
		if field.value != "" {
			line = line.Str(field.name, field.value)
		}
	}
	if !errors.Is(err, context.Canceled) {
		line = line.AnErr(obs.Cause, err)
	}
	line.Msg("page answered")
}
