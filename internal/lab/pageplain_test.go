package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// page makes a ticket, opens it and sends a form, as a browser without scripts does.
// It returns everything that was answered, headers included.
func (e *Endpoints) page(t *testing.T, upn string, form url.Values) string {
	t.Helper()
	r, err := e.do(t.Context(), http.MethodPost, "/v1/tickets", strings.NewReader(fmt.Sprintf(`{"account":{"upn":%q}}`, upn)))
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Ticket, URL string }
	if err := json.Unmarshal([]byte(r.Body), &made); err != nil || made.URL == "" {
		t.Fatalf("no ticket: %s", r.Body)
	}
	cookies := map[string]string{} // by hand: Go's jar keeps secure ones for TLS
	var all strings.Builder
	call := func(method, target string, body string) (location, text string) {
		req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for name, value := range cookies {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		resp, err := http.DefaultTransport.RoundTrip(req) // which follows nothing
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range resp.Cookies() {
			cookies[c.Name] = c.Value
		}
		fmt.Fprintln(&all, resp.Status, resp.Header, string(page))
		return resp.Header.Get("Location"), string(page)
	}
	call(http.MethodGet, made.URL, "")
	_, page := call(http.MethodGet, e.APIURL+"/reset", "")
	id := regexp.MustCompile(`name="ticket" value="([0-9a-f]{32})"`).FindStringSubmatch(page)
	if id == nil {
		t.Fatalf("no form: %s", page)
	}
	form.Set("ticket", id[1])
	if !form.Has("operation") {
		form.Set("operation", "reset")
	}
	if location, _ := call(http.MethodPost, e.APIURL+"/reset", form.Encode()); location != "" {
		await(t, "the outcome on the page", func() error {
			if _, page := call(http.MethodGet, e.APIURL+location, ""); strings.Contains(page, "data-stream") {
				return fmt.Errorf("%s", page)
			}
			return nil
		})
	}
	return all.String()
}
