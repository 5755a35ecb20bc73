package obs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/rs/zerolog"
)

func get(t *testing.T, h http.Handler, method, path string) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result(), w.Body.String()
}

func TestHealth(t *testing.T) {
	var broker, directory error
	h := Handler(NewRegistry("test"),
		Check{Name: "broker", Run: func(context.Context) error { return broker }},
		Check{Name: "directory", Run: func(context.Context) error { return directory }})
	tests := []struct {
		name              string
		path              string
		broker, directory error
		status            int
		want              map[string]string
	}{
		{"alive", "/healthz", nil, nil, 200, map[string]string{"process": "ok"}},
		{"alive though not ready", "/healthz", errors.New("x"), nil, 200, map[string]string{"process": "ok"}},
		{"ready", "/readyz", nil, nil, 200, map[string]string{"broker": "ok", "directory": "ok"}},
		{"one fails", "/readyz", nil, errors.New("no domain controller answers"), 503,
			map[string]string{"broker": "ok", "directory": "no domain controller answers"}},
		{"the first fails", "/readyz", errors.New(`"quoted"`), nil, 503, map[string]string{"broker": `"quoted"`, "directory": "ok"}},
		{"both fail", "/readyz", errors.New("a"), errors.New("b"), 503, map[string]string{"broker": "a", "directory": "b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			broker, directory = tt.broker, tt.directory
			resp, body := get(t, h, "GET", tt.path)
			var got map[string]string
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != "application/json" || len(got) != len(tt.want) {
				t.Errorf("status %d, %s, %s", resp.StatusCode, resp.Header.Get("Content-Type"), body)
			}
			for name, want := range tt.want {
				if got[name] != want {
					t.Errorf("%s is %q, want %q", name, got[name], want)
				}
			}
		})
	}
	for path, status := range map[string]int{"/": 404, "/healthz/x": 404, "/debug/pprof/": 404} {
		if resp, _ := get(t, h, "GET", path); resp.StatusCode != status {
			t.Errorf("GET %s has status %d", path, resp.StatusCode)
		}
	}
	if resp, _ := get(t, h, "POST", "/readyz"); resp.StatusCode != 405 {
		t.Errorf("POST /readyz has status %d", resp.StatusCode)
	}
}

// A check that hangs must not hang the probe.
func TestChecksHaveADeadline(t *testing.T) {
	h := Handler(NewRegistry("test"), Check{Name: "slow", Run: func(ctx context.Context) error {
		at, ok := ctx.Deadline()
		if !ok || time.Until(at) > checkTimeout {
			return errors.New("no deadline")
		}
		return nil
	}})
	if resp, body := get(t, h, "GET", "/readyz"); resp.StatusCode != 200 {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
}

func TestMetrics(t *testing.T) {
	reg := NewRegistry("test")
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "writeback_test_outcomes_total", Help: "h"}, []string{"code"})
	reg.MustRegister(counter)
	counter.WithLabelValues("applied").Add(3)
	resp, body := get(t, Handler(reg), "GET", "/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds", "writeback_test_outcomes_total"} {
		if families[name] == nil {
			t.Errorf("there is no metric %s", name)
		}
	}
	if m := families["writeback_test_outcomes_total"].GetMetric(); len(m) != 1 || m[0].GetCounter().GetValue() != 3 {
		t.Errorf("the counter is %v", m)
	}
}

// A server is Serve with a handler that holds every request until it is let go.
type server struct {
	url    string
	stop   context.CancelFunc
	ended  chan error
	inHand chan struct{}
	letGo  chan struct{}
}

func serve(t *testing.T, drain time.Duration) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &server{"http://" + l.Addr().String(), stop, make(chan error, 1), make(chan struct{}), make(chan struct{})}
	t.Cleanup(stop)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.inHand <- struct{}{}
		select {
		case <-s.letGo:
			io.WriteString(w, "whole answer")
		case <-r.Context().Done():
		}
	})
	go func() { s.ended <- Serve(ctx, l, h, time.Minute, drain, zerolog.Nop()) }()
	return s
}

// fetch asks and returns the answer's body, or its error, when it comes.
func (s *server) fetch() chan string {
	answer := make(chan string, 1)
	go func() {
		client := http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		resp, err := client.Get(s.url)
		if err != nil {
			answer <- "error: " + err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	return answer
}

func TestServeDrains(t *testing.T) {
	s := serve(t, time.Minute)
	answer := s.fetch()
	<-s.inHand
	s.stop()
	for { // until the listener is closed
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			break
		}
		c.Close()
	}
	select {
	case err := <-s.ended:
		t.Fatalf("Serve returned %v with a request in hand", err)
	default:
	}
	close(s.letGo)
	if got := <-answer; got != "whole answer" {
		t.Errorf("the request in hand got %q", got)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func TestServeGivesUpDraining(t *testing.T) {
	s := serve(t, time.Millisecond)
	answer := s.fetch()
	<-s.inHand
	s.stop()
	if err := <-s.ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve = %v, want that the drain took too long", err)
	}
	if got := <-answer; !strings.HasPrefix(got, "error: ") {
		t.Errorf("the request in hand got %q", got)
	}
}

func TestServeSaysThatItCannot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := Serve(context.Background(), l, http.NotFoundHandler(), time.Second, time.Second, zerolog.Nop()); err == nil {
		t.Error("Serve on a closed listener returns nil")
	}
}

func TestServeLimitsHeaders(t *testing.T) {
	s := serve(t, time.Second)
	req, err := http.NewRequest("GET", s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 2*maxHeaderBytes))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("headers of 32 KiB have status %d", resp.StatusCode)
	}
}
