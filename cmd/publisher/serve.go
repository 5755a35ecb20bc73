package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"writeback/internal/audit"
	"writeback/internal/cli"
	"writeback/internal/obs"
	"writeback/internal/portal"
	"writeback/internal/portal/pages"
	"writeback/internal/publisher"
	"writeback/internal/queue"
	"writeback/internal/signin"
	"writeback/internal/ticket"
	"writeback/internal/trace"
)

// When the program stops, callers that wait for an outcome may go on waiting for
// patience, and are then told what is known; drain is when the last of them must
// have their answer.
const (
	patience = 15 * time.Second
	drain    = 20 * time.Second
)

func serve(ctx context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("publisher serve", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	path := fs.String("config", "publisher.yaml", "configuration `file`")
	validate := fs.Bool("validate", false, "check the configuration and do nothing")
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	cfg, err := load(*path)
	if err != nil {
		return cli.Usage(err)
	}
	obs.SetUp()
	log := obs.NewLogger(std.Err, "publisher").Level(cfg.level)
	tokens, err := portal.OpenTokens(cfg.TokensFile, log)
	if err != nil {
		return cli.Usagef("%s: tokens_file: %w", *path, err)
	}
	reg := obs.NewRegistry("publisher")
	people, err := signin.NewSet(cfg.SignIn, log, reg)
	if err != nil {
		return cli.Usagef("%s: %w", *path, err)
	}
	if *validate {
		fmt.Fprintf(std.Out, "%s is valid.\n", *path)
		return nil
	}
	conn, err := queue.Connect(cfg.Broker, queue.Publisher, log)
	if err != nil {
		return cli.Usagef("%s: %w", *path, err)
	}
	defer conn.Close()

	instance := publisher.NewInstance()
	tracer, sendTraces, err := trace.Start(cfg.Tracing, trace.Program{Name: "publisher", Instance: instance, Version: obs.BuildVersion()}, log)
	if err != nil {
		return cli.Usagef("%s: %w", *path, err)
	}
	defer sendTraces()
	pub := publisher.New(publisher.Config{
		Log:        audit.NewLog(cfg.signer, instance),
		Publishers: cfg.publishers,
		Slots:      cfg.slots,
		Months:     cfg.months,
		Tenants:    cfg.tenants(conn),
		Version:    obs.BuildVersion(),
		Logger:     log,
		Metrics:    reg,
		Tracer:     tracer,
		Overview:   cfg.administered(),
	})
	desk := ticket.New(ticket.Config{Signer: cfg.signer, Publishers: cfg.publishers, Stores: cfg.stores(conn), Requests: pub, Journal: pub})
	guesses := portal.NewGuesses(cfg.Limits)
	api, err := portal.New(portal.Config{
		Publisher: pub, Tenants: pub, Tickets: desk, PublicURL: cfg.Pages.PublicURL, Tokens: tokens, Log: log, Metrics: reg,
		Limits: cfg.Limits, Guesses: guesses, Proxies: cfg.proxies,
	})
	if err != nil {
		return err
	}
	frame, err := pages.New(pages.Config{Brand: cfg.Pages.Brand, Log: log, Metrics: reg, Proxies: cfg.proxies})
	if err != nil {
		return err
	}
	if err := cfg.addPages(frame, pub, desk, people, guesses, tokens); err != nil {
		return err
	}
	apiListener, apiEnd, err := listen(cfg.Listen, cfg.TLS, log)
	if err != nil {
		return err
	}
	health := checks(conn, pub, people, apiEnd)
	cfg.watch(reg, conn, tokens, apiEnd, health)
	opsListener, err := net.Listen("tcp", cfg.OperationsListen)
	if err != nil {
		return err
	}
	log.Info().Str(obs.Address, apiListener.Addr().String()).Str(obs.Version, obs.BuildVersion()).Msg("publisher started")
	defer log.Info().Msg("publisher stopped")

	// The API stops first, so that callers who wait are answered; then the
	// publisher, which makes sure that the broker has what it took.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	serving, fail := context.WithCancel(ctx)
	defer fail()
	defer context.AfterFunc(serving, func() { time.AfterFunc(patience, pub.Dismiss) })()
	parts := cli.NewParts(fail)
	parts.Go(func() error {
		defer stop()
		return obs.Serve(serving, apiListener, frame.Over(api), portal.MaxDuration+drain, drain, log)
	})
	parts.Go(func() error { return pub.Run(running) })
	parts.Go(func() error {
		tokens.Watch(serving, noteTokens(pub))
		return nil
	})
	parts.Go(func() error {
		return obs.Serve(running, opsListener, obs.Handler(reg, health...), 10*time.Second, time.Second, log)
	})
	parts.Go(func() error { return obs.Notify(serving, pub.Alive, log, health...) })
	parts.Go(func() error {
		if err := cfg.checkStreams(running, conn); running.Err() == nil {
			return err
		}
		return nil // stopped before the broker was there
	})
	return parts.Wait()
}

// checks are what /readyz says. A tenant without a consumer does not keep the
// others, or who asks for an outcome, from being served.
func checks(conn *queue.Conn, pub *publisher.Publisher, people *signin.Set, apiEnd func() time.Time) []obs.Check {
	list := []obs.Check{
		{Name: "broker", Run: conn.Check},
		{Name: "streams", Run: conn.Streams, Advisory: true},
		{Name: "record_key", Run: pub.Keys},
		{Name: "consumers", Run: pub.Presence, Advisory: true},
		{Name: "switches", Run: pub.Switches, Advisory: true},
	}
	if !apiEnd().IsZero() {
		list = append(list, obs.Check{Name: "certificate", Advisory: true, Run: func(context.Context) error {
			if end := apiEnd(); time.Now().After(end) {
				return fmt.Errorf("the certificate of the API ended at %s; callers refuse it", end.UTC().Format(time.RFC3339))
			}
			return nil
		}})
	}
	if !people.Empty() {
		list = append(list, obs.Check{Name: "sign_in", Run: people.Check, Advisory: true})
	}
	return list
}

// checkStreams waits for the broker and its streams, and makes sure that they keep
// what they acknowledge.
func (l *loaded) checkStreams(ctx context.Context, conn *queue.Conn) error {
	if err := conn.AwaitConnected(ctx); err != nil {
		return err
	}
	// One that waits for its streams does not keep the others from being looked at.
	all, ctx := errgroup.WithContext(ctx)
	for _, t := range l.Tenants {
		all.Go(func() error {
			if err := conn.Tenant(t.Name).AwaitStreams(ctx); err != nil {
				return fmt.Errorf("tenant %s: %w", t.Name, err)
			}
			return nil
		})
	}
	return all.Wait()
}

func (l *loaded) tenants(conn *queue.Conn) []publisher.Tenant {
	var list []publisher.Tenant
	for i, t := range l.Tenants {
		list = append(list, publisher.Tenant{Name: t.Name, Broker: conn.Tenant(t.Name), Consumers: l.consumers[i]})
	}
	return list
}

// stores are where the tenants' tickets are.
func (l *loaded) stores(conn *queue.Conn) map[string]ticket.Store {
	stores := make(map[string]ticket.Store)
	for _, t := range l.Tenants {
		stores[t.Name] = conn.Tenant(t.Name)
	}
	return stores
}

// listen listens on addr, with TLS if there are files for it; end returns when
// their certificate ends.
func listen(addr string, files *tlsFiles, log zerolog.Logger) (l net.Listener, end func() time.Time, err error) {
	if files == nil {
		l, err = net.Listen("tcp", addr)
		return l, func() time.Time { return time.Time{} }, err
	}
	certs, err := openCertificates(*files, log)
	if err != nil {
		return nil, nil, fmt.Errorf("tls: %w", err)
	}
	l, err = tls.Listen("tcp", addr, &tls.Config{GetConfigForClient: certs.current})
	return l, certs.end, err
}
