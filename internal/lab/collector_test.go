package lab

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"writeback/internal/testkit/pki"
)

// A collector takes traces as OTLP over HTTPS.
type collector struct {
	*httptest.Server
	CAFile string

	mu     sync.Mutex
	spans  []collected
	raw    strings.Builder // all that was ever sent, as protobuf
	called int
}

// A collected span is one with what its program says of itself.
type collected struct {
	*trace.Span
	service, instance string
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	authority, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Server("collector", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{CAFile: authority.CAFile}
	c.Server = httptest.NewUnstartedServer(c)
	c.TLS = &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called++
	body, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	data, err := io.ReadAll(body)
	var sent collect.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &sent)
	}
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, fmt.Sprintf("%s %v", r.URL.Path, err), http.StatusBadRequest)
		return
	}
	c.raw.Write(data)
	fmt.Fprint(&c.raw, r.Header)
	for _, from := range sent.ResourceSpans {
		said := make(map[string]string)
		for _, a := range from.Resource.Attributes {
			said[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range from.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, collected{s, said["service.name"], said["service.instance.id"]})
			}
		}
	}
}

// calls is how often it was called.
func (c *collector) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.called
}

// sent is all that was sent so far.
func (c *collector) sent() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.String()
}

// trace waits until a trace has n spans, and returns them by name.
func (c *collector) trace(t *testing.T, id string, n int) map[string]collected {
	t.Helper()
	spans := make(map[string]collected)
	await(t, fmt.Sprintf("the %d spans of trace %s", n, id), func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		var names []string
		for _, s := range c.spans {
			if hex.EncodeToString(s.TraceId) == id {
				names = append(names, s.Name)
				spans[s.Name] = s
			}
		}
		if slices.Sort(names); len(names) != n {
			return fmt.Errorf("it has %d: %q", len(names), names)
		}
		return nil
	})
	return spans
}

// traces returns the names of all traces so far.
func (c *collector) traces() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if id := hex.EncodeToString(s.TraceId); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}
