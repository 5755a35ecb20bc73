package trace

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"writeback/internal/obs"
)

const (
	sampled   obs.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled obs.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestConfig(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want string // in the error; empty for none
	}{
		{"a collector", Config{Endpoint: "https://otel.example.com:4318/v1/traces", Sample: 0.01}, ""},
		{"one on this machine", Config{Endpoint: "http://127.0.0.1:4318/v1/traces", Sample: 1}, ""},
		{"nothing", Config{Sample: 1}, "endpoint"},
		{"without a path", Config{Endpoint: "https://otel.example.com:4318", Sample: 1}, "v1/traces"},
		{"with a user", Config{Endpoint: "https://c4nary:c4nary@otel.example.com/v1/traces", Sample: 1}, "endpoint"},
		{"not encrypted", Config{Endpoint: "http://otel.example.com/v1/traces", Sample: 1}, "must be https"},
		{"of another kind", Config{Endpoint: "grpc://otel.example.com/v1/traces", Sample: 1}, "must be https"},
		{"no sample", Config{Endpoint: "https://otel.example.com/v1/traces"}, "sample"},
		{"more than all", Config{Endpoint: "https://otel.example.com/v1/traces", Sample: 1.01}, "sample"},
		{"authorities without https", Config{Endpoint: "http://localhost/v1/traces", Sample: 1, CAFile: garbage}, "without https"},
		{"authorities that are none", Config{Endpoint: "https://localhost/v1/traces", Sample: 1, CAFile: garbage}, "no PEM certificate"},
		{"authorities that are not there", Config{Endpoint: "https://localhost/v1/traces", Sample: 1, CAFile: garbage + "x"}, "ca_file"},
	} {
		err := tt.cfg.Check()
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "c4nary")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// recording returns a recorder, and what it has recorded.
func recording(t *testing.T, sample float64) (recorder, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(sample))), sdk.WithSpanProcessor(spans))
	t.Cleanup(func() { provider.Shutdown(context.WithoutCancel(t.Context())) })
	return recorder{provider.Tracer("test")}, spans
}

func TestSpans(t *testing.T) {
	r, spans := recording(t, 1)
	begun := time.Now().Add(-time.Minute)
	s := r.Begin("request", sampled, begun)
	s.Set(obs.Code, "applied")
	s.Set(obs.Reason, "")
	s.Set(obs.Cause, "c4nary") // not of the closed set
	s.Set(obs.Source, "c4nary")
	s.Step(obs.StepModify, begun.Add(time.Second), begun.Add(3*time.Second))
	inner := r.Begin("delivery", s.Parent(), begun)
	inner.End(begun.Add(time.Second))
	s.End(begun.Add(4 * time.Second))
	s.End(begun.Add(time.Hour))
	ended := spans.Ended()
	if len(ended) != 3 {
		t.Fatalf("%d spans, want 3", len(ended))
	}
	modify, delivery, request := ended[0], ended[1], ended[2]
	if modify.Name() != "modify" || modify.Parent().SpanID() != request.SpanContext().SpanID() || !modify.StartTime().Equal(begun.Add(time.Second)) || !modify.EndTime().Equal(begun.Add(3*time.Second)) {
		t.Errorf("the step is %s of %s, %s to %s", modify.Name(), modify.Parent().SpanID(), modify.StartTime(), modify.EndTime())
	}
	if delivery.Parent().SpanID() != request.SpanContext().SpanID() || !delivery.Parent().IsRemote() {
		t.Errorf("what others add is a part of %s, want %s", delivery.Parent().SpanID(), request.SpanContext().SpanID())
	}
	if p := request.Parent(); p.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || p.SpanID().String() != "b7ad6b7169203331" || !request.EndTime().Equal(begun.Add(4*time.Second)) {
		t.Errorf("the request is a part of %s %s, and ends at %s", p.TraceID(), p.SpanID(), request.EndTime())
	}
	if a := request.Attributes(); len(a) != 1 || a[0].Key != "writeback.code" || a[0].Value.AsString() != "applied" {
		t.Errorf("the attributes are %v", a)
	}
}

// Who has a trace says whether it is recorded; else the sample does. What is not
// recorded is said on, so that others do not record half a trace.
func TestSampling(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sample float64
		parent obs.TraceParent
		want   bool
	}{
		{"all", 1, "", true},
		{"next to none", 1e-18, "", false},
		{"next to none, but this one", 1e-18, sampled, true},
		{"all, but not this one", 1, unsampled, false},
	} {
		r, spans := recording(t, tt.sample)
		s := r.Begin("request", tt.parent, time.Now())
		s.Step(obs.StepStore, time.Now(), time.Now())
		s.End(time.Now())
		if n := len(spans.Ended()); (n == 2) != tt.want || n != 0 && n != 2 {
			t.Errorf("%s: %d spans are recorded", tt.name, n)
		}
		if _, _, flags := s.Parent().Parts(); (flags == "01") != tt.want {
			t.Errorf("%s: others are told %s", tt.name, s.Parent())
		}
	}
}

func TestOff(t *testing.T) {
	tracer, stop, err := Start(nil, Program{}, zerolog.Nop())
	if tracer != nil || err != nil {
		t.Errorf("without a configuration there is %v, %v", tracer, err)
	}
	stop()
}

// A collector that refuses is complained of once, and holds nobody up.
func TestCollectorThatRefuses(t *testing.T) {
	calls := make(chan struct{}, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls <- struct{}{}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer collector.Close()
	var log bytes.Buffer
	tracer, stop, err := Start(&Config{Endpoint: collector.URL + "/v1/traces", Sample: 1}, Program{"publisher", "x", "v1"}, zerolog.New(zerolog.SyncWriter(&log)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		tracer.Begin("request", "", time.Now()).End(time.Now())
		select {
		case <-calls:
		case <-time.After(time.Minute):
			t.Fatal("nothing was sent")
		}
	}
	stop()
	if n := strings.Count(log.String(), "traces cannot be sent"); n != 1 {
		t.Errorf("the log has it %d times:\n%s", n, log.String())
	}
}
