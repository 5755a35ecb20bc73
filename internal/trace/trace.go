package trace

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"writeback/internal/obs"
)

// Limits of what waits for the collector. What is too much is dropped, so that a
// collector that is slow or away costs requests nothing.
const (
	sendEvery   = time.Second
	sendTimeout = 5 * time.Second
	stopTimeout = 2 * time.Second
	maxWaiting  = 2048 // spans
	maxBatch    = 512
	maxAnswer   = 16 << 10 // bytes
)

// A Program is what its traces say of a program itself.
type Program struct{ Name, Instance, Version string }

// Start returns what records traces, nil if cfg is, and what sends the last of them
// when the program stops, for [stopTimeout] at most.
func Start(cfg *Config, p Program, log zerolog.Logger) (tracer obs.Tracer, stop func(), err error) {
	if cfg == nil {
		return nil, func() {}, nil
	}
	tls, err := cfg.read()
	if err != nil {
		return nil, nil, err
	}
	// All of it is said here: of the environment only OTEL_RESOURCE_ATTRIBUTES and
	// the limits of spans count, which the SDK reads by itself.
	client := otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(cfg.Endpoint),
		otlptracehttp.WithHeaders(map[string]string{}),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf),
		otlptracehttp.WithMaxResponseSize(maxAnswer),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}), // the next batch is never far
		otlptracehttp.WithHTTPClient(&http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: tls, ForceAttemptHTTP2: true,
				MaxIdleConns: 2, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: sendTimeout,
			},
			Timeout: sendTimeout,
			// A collector that sends us elsewhere is configured wrongly.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
	)
	provider := sdk.NewTracerProvider(
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "writeback-"+p.Name), attribute.String("service.version", p.Version),
			attribute.String("service.instance.id", p.Instance),
		)),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(cfg.Sample))),
		sdk.WithBatcher(&sender{SpanExporter: otlptrace.NewUnstarted(client), log: log},
			sdk.WithBatchTimeout(sendEvery), sdk.WithExportTimeout(sendTimeout),
			sdk.WithMaxQueueSize(maxWaiting), sdk.WithMaxExportBatchSize(maxBatch)),
	)
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		provider.Shutdown(ctx) // what could not be sent is lost, as [sender] says
	}
	return recorder{provider.Tracer("writeback")}, stop, nil
}

// complainEvery is how often the log says that traces cannot be sent.
const complainEvery = 5 * time.Minute

// A sender sends spans, and says in our log when it cannot. The SDK would write that
// to standard error, each time.
type sender struct {
	sdk.SpanExporter
	log   zerolog.Logger
	since time.Time // of the last complaint; the SDK sends one batch at a time
}

func (s *sender) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := s.SpanExporter.ExportSpans(ctx, spans)
	if now := time.Now(); err != nil && now.Sub(s.since) >= complainEvery {
		s.since = now
		s.log.Warn().AnErr(obs.Cause, err).Msg("traces cannot be sent, and are lost until they can; requests go on")
	}
	return nil
}

// A recorder makes spans of what [obs.Watch] measures.
type recorder struct{ tracer trace.Tracer }

func (r recorder) Begin(name string, parent obs.TraceParent, begun time.Time) obs.Span {
	ctx := context.Background()
	if parent != "" {
		ctx = trace.ContextWithRemoteSpanContext(ctx, remote(parent))
	}
	ctx, s := r.tracer.Start(ctx, name, trace.WithTimestamp(begun))
	return span{r.tracer, s, ctx}
}

// remote is what a valid trace parent names.
func remote(p obs.TraceParent) trace.SpanContext {
	traceID, spanID, flags := p.Parts()
	var c trace.SpanContextConfig
	c.Remote = true
	c.TraceID, _ = trace.TraceIDFromHex(traceID) // it is valid
	c.SpanID, _ = trace.SpanIDFromHex(spanID)
	if bits, err := strconv.ParseUint(flags, 16, 8); err == nil {
		c.TraceFlags = trace.TraceFlags(bits) & trace.FlagsSampled // the only one that we know
	}
	return trace.NewSpanContext(c)
}

// A span is one of ours; ctx has it as the parent of its steps.
type span struct {
	tracer trace.Tracer
	span   trace.Span
	ctx    context.Context
}

func (s span) Parent() obs.TraceParent {
	c := s.span.SpanContext()
	return obs.ParseTraceParent("00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + c.TraceFlags().String())
}

func (s span) Step(step obs.Step, begun, ended time.Time) {
	if !s.span.SpanContext().IsSampled() {
		return
	}
	_, child := s.tracer.Start(s.ctx, string(step), trace.WithTimestamp(begun))
	child.End(trace.WithTimestamp(ended))
}

// Set adds what a closed set of names allows.
func (s span) Set(name, value string) {
	switch name {
	case obs.Operation, obs.Code, obs.Reason, obs.DC:
		if value != "" {
			s.span.SetAttributes(attribute.String("writeback."+name, value))
		}
	}
}

func (s span) End(at time.Time) { s.span.End(trace.WithTimestamp(at)) }
