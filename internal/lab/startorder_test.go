package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStartOrder starts the parts of a new installation in several orders, with
// somebody who asks for their health all the time. Each program waits for what is not
// there, says once what that is, and goes on by itself.
func TestStartOrder(t *testing.T) {
	t.Parallel()
	for _, order := range []string{
		"publisher consumers broker streams directory",
		"consumers publisher directory broker streams",
		"directory publisher broker consumers streams",
		"broker streams directory consumers publisher",
	} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			l := startWith(t, Options{Directory: "fake", Idle: true})
			(&starting{T: t, l: l, there: make(map[string]bool)}).run(strings.Fields(order))
		})
	}
}

// A starting is a system of which some parts are there.
type starting struct {
	*testing.T
	l     *Lab
	there map[string]bool
}

// waits are what programs say that they wait for, by the part that is missing: on
// /readyz, and in the log. Streams are nobody's business before there is a broker.
func (s *starting) waits(program string) (checks, logged []string) {
	if s.there["broker"] && !s.there["streams"] {
		checks = append(checks, "streams: tenant corp: stream REQUESTS: broker refuses: 10059 stream not found; run `publisher streams`")
		logged = append(logged, "the broker does not have the tenant's streams; they are waited for")
	}
	if !s.there["broker"] {
		checks = append(checks, "broker: the broker cannot be reached: dial tcp")
		logged = append(logged, "the broker cannot be reached; it is tried until it can")
	}
	if program != "publisher" && !s.there["directory"] {
		checks = append(checks, "directory: using a domain controller: directory unavailable:")
		logged = append(logged, "the directory cannot be used; requests wait in the queue until it can")
	}
	if program == "publisher" && !s.there["consumers"] {
		checks = append(checks, "consumers: tenant corp: no_consumer: no consumer was heard of for 30 s")
	}
	return checks, logged
}

func (s *starting) run(order []string) {
	l := s.l
	startBroker := l.awayFor(s.T, "nats")
	if err := os.RemoveAll(l.Broker.StoreDir); err != nil { // as it was before there were streams
		s.Fatal(err)
	}
	l.fake.Close()
	must := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	steps := map[string]func(){
		"broker":    startBroker,
		"publisher": func() { must(l.startPublishers(s.Context())) },
		"consumers": func() { must(l.startConsumers(s.Context())) },
		"directory": func() { must(l.fake.Restart()) },
		"streams": func() {
			await(s.T, "the streams", func() error {
				_, err := l.call(s.Context(), "publisher", "streams", "-new", "-config", l.path("nats", "provision.yaml"))
				return err
			})
		},
	}
	defer l.stopPrograms() // while there is a broker to say good-bye to
	ctx, stop := context.WithCancel(s.Context())
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(ctx) })
	defer watching.Wait()
	defer stop()
	said := make(map[string][]string)
	for _, part := range order {
		begun := time.Now()
		steps[part]()
		s.there[part] = true
		must(l.writeEndpoints())
		for name, url := range operations(s.T, l.Dir, l.opts.Consumers) {
			if !s.there["publisher"] && name == "publisher" || !s.there["consumers"] && name != "publisher" {
				continue
			}
			checks, logged := s.waits(name)
			await(s.T, name+" saying what it waits for", func() error { return s.saysAll(name, url, checks, logged) })
			for _, m := range logged {
				if !slices.Contains(said[name], m) {
					said[name] = append(said[name], m)
				}
			}
		}
		s.Logf("%s: everybody says what is missing after %s", part, time.Since(begun).Round(100*time.Millisecond))
	}
	e, begun := l.endpoints(s.T), time.Now()
	await(s.T, "a reset", func() error {
		r, err := e.post(s.Context(), "upn", l.Directory.Users[0].UPN, "First-Word-7", "Prefer: wait=10")
		if err == nil && r.Code != "applied" {
			err = fmt.Errorf("%s", r.Body)
		}
		return err
	})
	s.Logf("the first reset is applied %s after the last part is there", time.Since(begun).Round(100*time.Millisecond))
	for name, url := range operations(s.T, l.Dir, l.opts.Consumers) {
		await(s.T, name+" being ready", func() error { return ready(s.Context(), name, url) })
		s.Logf("%s is ready after %s", name, time.Since(begun).Round(100*time.Millisecond))
		counts := counted(s.T, l.logOf(s.T, name))
		for _, m := range said[name] {
			if n := counts["warn "+m] + counts["error "+m]; n != 1 {
				s.Errorf("%s says %d times %q", name, n, m)
			}
		}
		if started := strings.TrimRight(name, "12") + " started"; counts["info "+started] != 1 {
			s.Errorf("%s was started %d times", name, counts["info "+started])
		}
	}
}

// saysAll returns an error unless a program says all of that, and is not well unless
// it waits for nothing.
func (s *starting) saysAll(name, url string, checks, logged []string) error {
	resp, err := http.Get(url + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var results map[string]string
	if err := json.NewDecoder(resp.Body).Decode(&results); err != nil {
		return err
	}
	for _, want := range checks {
		check, text, _ := strings.Cut(want, ": ")
		if !strings.Contains(results[check], text) {
			return fmt.Errorf("/readyz says %q, not %q", results, want)
		}
	}
	counts := counted(s.T, s.l.logOf(s.T, name))
	for _, m := range logged {
		if counts["warn "+m]+counts["error "+m] == 0 {
			return fmt.Errorf("the log has %v, not %q", counts, m)
		}
	}
	return nil
}

// watch reads health and metrics of whatever is there until ctx ends, as a
// Prometheus does.
func (s *starting) watch(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	urls := operations(s.T, s.l.Dir, s.l.opts.Consumers)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, url := range urls {
			for _, path := range []string{"/readyz", "/metrics"} {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
				if err != nil {
					s.Error(err)
					return
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					continue // it is not there, or we end
				}
				resp.Body.Close()
			}
		}
	}
}
