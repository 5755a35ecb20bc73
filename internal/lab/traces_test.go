package lab

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"writeback/internal/obs"
	"writeback/internal/reset"
)

// A caller's trace, and the parts of one request in it.
const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
	traced       = "00-" + callersTrace + "-" + callersSpan + "-01"
	ownersTrace  = "11111111111111111111111111111111"
	wholeTrace   = 12 // spans
)

// TestTraces follows requests through real programs into a collector.
func TestTraces(t *testing.T) {
	c := startCollector(t)
	endpoint := c.URL + "/v1/traces"
	// What the environment asks for counts for nothing.
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", c.CAFile)
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	l := startLab(t, "fake")
	o := newOwner(t, l)
	users := l.Directory.Users
	var passwords []string
	next := func() string {
		passwords = append(passwords, newCanary())
		return passwords[len(passwords)-1]
	}
	// hold returns a request of a caller with a trace as it is in the queue.
	var slots []string
	hold := func(user int) (id string, m *nats.Msg) {
		t.Helper()
		o.pause(t, time.Now().Add(time.Hour))
		r, err := o.e.post(t.Context(), "upn", users[user].UPN, next(), "Prefer: wait=0", "traceparent: "+traced)
		if err != nil || r.Status != http.StatusAccepted {
			t.Fatalf("accepting: %v %s", err, r.Body)
		}
		held := o.newest(t)
		slots = append(slots, strings.TrimPrefix(held.Subject, "req."))
		return r.ID, &nats.Msg{Subject: held.Subject, Header: held.Header, Data: held.Data}
	}
	applied := func(id string) {
		t.Helper()
		o.pause(t, time.Time{})
		await(t, "the outcome of "+id, func() error {
			if r := l.get(t, o.e, id); r.Code != "applied" {
				return errors.New(r.Body)
			}
			return nil
		})
	}

	// Without the section there are no traces, whoever asks for one.
	id, m := hold(0)
	if len(m.Header[obs.TraceHeader]) != 0 {
		t.Errorf("without traces a request has the header %q", m.Header)
	}
	applied(id)

	operations := operations(t, l.Dir, 2)
	for name, url := range operations {
		kind := strings.TrimRight(name, "0123456789")
		edit(t, l.path(name, kind+".yaml"), func(cfg node) {
			cfg["tracing"] = node{"endpoint": endpoint, "ca_file": c.CAFile, "sample": 1}
		})
		l.end(t, name, url, syscall.SIGTERM)
	}
	if n := c.calls(); n != 0 {
		t.Errorf("without traces the collector is called %d times", n)
	}
	if err := AwaitReady(t.Context(), l.path("publisher", "publisher.yaml")); err != nil {
		t.Fatal(err)
	}

	// One trace from the caller to the directory and back.
	id, m = hold(1)
	if got := m.Header.Get(obs.TraceHeader); obs.ParseTraceParent(got) == "" || !strings.HasPrefix(got, "00-"+callersTrace) || strings.Contains(got, callersSpan) {
		t.Errorf("the request has the header %q", m.Header)
	}
	applied(id)
	spans := c.trace(t, callersTrace, wholeTrace)
	whole(t, spans, callersSpan)
	closedAttributes(t, l, spans)

	// Of who has no trace, or nothing that is one, it begins here.
	for _, header := range []string{"traceparent:", "traceparent: 00-" + strings.Repeat("0", 32) + "-" + callersSpan + "-01"} {
		before := c.traces()
		wantApplied(t, o.e, "upn", users[2].UPN, next(), header)
		var fresh string
		await(t, "a new trace", func() error {
			for _, id := range c.traces() {
				if !slices.Contains(before, id) {
					fresh = id
					return nil
				}
			}
			return errors.New("there is none")
		})
		whole(t, c.trace(t, fresh, wholeTrace), "")
	}

	// Who asks not to be recorded is not, on either side.
	n := len(c.traces())
	wantApplied(t, o.e, "upn", users[3].UPN, next(), "traceparent: 00-22222222222222222222222222222222-"+callersSpan+"-00")

	// Who owns the broker may say of the header what he likes: it is a trace of his
	// own, or nothing at all, and the request is the same.
	for name, header := range map[string]string{
		"of his own": "00-" + ownersTrace + "-" + callersSpan + "-01", "too long": strings.Repeat("c4nary", 500), "none": "",
	} {
		id, m := hold(4)
		o.drop(t)
		m.Header = nats.Header{}
		if header != "" {
			m.Header.Set(obs.TraceHeader, header)
		}
		if _, err := o.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		applied(id)
	}
	if s := c.trace(t, ownersTrace, wholeTrace-4); hex.EncodeToString(s["delivery"].ParentSpanId) != callersSpan {
		t.Errorf("the delivery is a part of %x", s["delivery"].ParentSpanId)
	}
	await(t, "two deliveries without a valid header", func() error {
		if got := len(c.traces()) - n; got != 3 { // and that of his own
			return fmt.Errorf("%d more traces, want 3", got)
		}
		return nil
	})

	// Without a collector requests go on as before.
	c.CloseClientConnections()
	c.Close()
	for range 3 {
		wantApplied(t, o.e, "upn", users[5].UPN, next())
	}

	needles := map[string][]byte{"token": []byte(l.Token), "what the owner said": []byte("c4naryc4nary")}
	for i, password := range passwords {
		for name, needle := range encodings(password) {
			needles[fmt.Sprintf("password %d as %s", i, name)] = needle
		}
	}
	for i, user := range users[:6] {
		for _, name := range []string{user.UPN, user.SAMAccountName, user.ObjectGUID, user.ImmutableID} {
			needles[fmt.Sprintf("account %d as %s", i, name)] = []byte(name)
		}
	}
	for _, slot := range slots {
		needles["slot "+slot] = []byte(slot)
	}
	for _, hit := range search(t, needles, map[string]string{"what the collector got": c.sent()}, nil) {
		t.Error(hit)
	}
}

// whole checks that spans are those of one reset, which is a part of parent.
func whole(t *testing.T, spans map[string]collected, parent string) {
	t.Helper()
	below := map[string][]obs.Step{"request": obs.PublisherSteps(), "delivery": obs.ConsumerSteps()}
	for root, steps := range below {
		service := map[string]string{"request": "writeback-publisher", "delivery": "writeback-consumer"}[root]
		for _, step := range steps {
			s := spans[string(step)]
			if s.Span == nil {
				t.Errorf("there is no span %s", step)
				continue
			}
			if string(s.ParentSpanId) != string(spans[root].SpanId) || s.service != service || s.EndTimeUnixNano < s.StartTimeUnixNano {
				t.Errorf("%s of %s is a part of %x, want %x (%s) of %s", step, s.service, s.ParentSpanId, spans[root].SpanId, root, service)
			}
		}
	}
	if got := hex.EncodeToString(spans["request"].ParentSpanId); got != parent {
		t.Errorf("the request is a part of %q, want %q", got, parent)
	}
	if string(spans["delivery"].ParentSpanId) != string(spans["request"].SpanId) || len(spans["request"].SpanId) == 0 {
		t.Errorf("the delivery is a part of %x, want %x", spans["delivery"].ParentSpanId, spans["request"].SpanId)
	}
}

// closedAttributes checks what the spans of a reset that was applied say.
func closedAttributes(t *testing.T, l *Lab, spans map[string]collected) {
	t.Helper()
	sets := map[string][]string{
		"writeback.operation": {reset.Reset.String()}, "writeback.code": {string(reset.Applied)}, "writeback.dc": {l.fake.HostName()},
	}
	for name, s := range spans {
		got := make(map[string]bool)
		for _, a := range s.Attributes {
			if got[a.Key] = true; !slices.Contains(sets[a.Key], a.Value.GetStringValue()) {
				t.Errorf("%s has %s = %v, which is none of %q", name, a.Key, a.Value, sets[a.Key])
			}
		}
		if want := map[string]int{"request": 2, "delivery": 3}[name]; len(got) != want {
			t.Errorf("%s has %v, want %d attributes", name, got, want)
		}
		if s.instance == "" || s.service == "writeback-consumer" && s.instance != "consumer1" && s.instance != "consumer2" {
			t.Errorf("%s is of %s %s", name, s.service, s.instance)
		}
	}
}
