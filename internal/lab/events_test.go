package lab

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"writeback/internal/testkit/fakead"
)

// TestEventsOfARequest hears the steps of a request as they happen, and resumes.
func TestEventsOfARequest(t *testing.T) {
	l := startLab(t, "fake")
	e := l.endpoints(t)
	hold := l.fake.Inject(fakead.Modify, fakead.Fault{Hold: true})
	r, err := e.post(t.Context(), "upn", l.Directory.Users[1].UPN, fresh, "Prefer: wait=0")
	if err != nil {
		t.Fatal(err)
	}
	path := r.Header.Get("Location") + "/events"
	listen := func(last string) (next func() string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.APIURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+e.APIToken)
		req.Header.Set("Last-Event-ID", last)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		lines := bufio.NewScanner(resp.Body)
		return func() string {
			for lines.Scan() {
				if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
					return name
				}
			}
			return resp.Status
		}
	}
	next := listen("")
	for _, want := range []string{"accepted", "picked_up"} {
		if got := next(); got != want {
			t.Fatalf("heard %s, want %s", got, want)
		}
	}
	<-hold.Met()
	resumed := listen("1")
	if got := resumed(); got != "picked_up" {
		t.Errorf("resumed with %s", got)
	}
	hold.Release()
	for name, next := range map[string]func() string{"from the start": next, "resumed": resumed} {
		if got := next(); got != "outcome" {
			t.Errorf("%s: heard %s, want outcome", name, got)
		}
		if got := next(); got != "200 OK" {
			t.Errorf("%s: heard %s after the outcome", name, got)
		}
	}
	if got := listen("4")(); got != "204 No Content" {
		t.Errorf("after the end: %s", got)
	}
}
