package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

// A session is what a browser without scripts does at one publisher.
type session struct {
	d       *load
	at      int
	cookies map[string]string // by hand: Go's jar keeps secure ones for TLS
}

func (s *session) do(ctx context.Context, method, path string, form url.Values) (*http.Response, error) {
	headers := []string{"Content-Type", "application/x-www-form-urlencoded"}
	var jar []string
	for name, value := range s.cookies {
		jar = append(jar, name+"="+value)
	}
	if jar != nil {
		headers = append(headers, "Cookie", strings.Join(jar, "; "))
	}
	resp, err := s.d.send(ctx, s.at, method, path, []byte(form.Encode()), headers...)
	if err != nil {
		return nil, err
	}
	for _, c := range resp.Cookies() {
		s.cookies[c.Name] = c.Value
	}
	return resp, nil
}

// read makes a call and returns the whole answer, and where it leads to.
func (s *session) read(ctx context.Context, method, path string, form url.Values) (location, text string, err error) {
	resp, err := s.do(ctx, method, path, form)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return resp.Header.Get("Location"), string(page), err
}

// hear reads a stream until a line begins with start, or it ends.
func (s *session) hear(ctx context.Context, path, start string) error {
	resp, err := s.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), start) {
	}
	return lines.Err()
}

// ticket makes a ticket, and returns where it leads to at any publisher.
func (d *load) ticket(ctx context.Context, n int, upn string) (path string, err error) {
	resp, err := d.send(ctx, n, http.MethodPost, "/v1/tickets", fmt.Appendf(nil, `{"account":{"upn":%q}}`, upn), "Content-Type", "application/json")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var made struct{ URL string }
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || made.URL == "" {
		return "", fmt.Errorf("no ticket: %s", resp.Status)
	}
	address, err := url.Parse(made.URL)
	if err != nil {
		return "", err
	}
	return address.RequestURI(), nil
}

var ticketField = regexp.MustCompile(`name="ticket" value="([0-9a-f]{32})"`)

// pageSessions are of people who open the reset page with a ticket, and read on
// until the outcome is there. What a restart interrupts begins anew.
func pageSessions(ctx context.Context, d *load, n int, u testkit.User) error {
	return d.until(ctx, func() error {
		n++
		return d.pageSession(ctx, n, u)
	})
}

func (d *load) pageSession(ctx context.Context, n int, u testkit.User) error {
	path, err := d.ticket(ctx, n, u.UPN)
	if err != nil {
		return err
	}
	s := &session{d, n, make(map[string]string)}
	if _, _, err := s.read(ctx, http.MethodGet, path, nil); err != nil {
		return err
	}
	_, page, err := s.read(ctx, http.MethodGet, "/reset", nil)
	if err != nil {
		return err
	}
	ticket := ticketField.FindStringSubmatch(page)
	if ticket == nil {
		return errors.New("the page has no form")
	}
	password := samba.NewPassword()
	location, _, err := s.read(ctx, http.MethodPost, "/reset", url.Values{
		"ticket": {ticket[1]}, "operation": {"reset"}, "password": {password}, "again": {password},
	})
	if err != nil {
		return err
	}
	if err := s.hear(ctx, "/reset/events", "nothing begins like this"); err != nil {
		return err
	}
	_, page, err = s.read(ctx, http.MethodGet, location, nil)
	if err == nil && !strings.Contains(page, `class="note good"`) {
		err = errors.New("the page does not say that it is done")
	}
	return err
}

// adminSessions are of administrators who sign in, look at the overview until it has
// changed, and at a request of the past.
func adminSessions(ctx context.Context, d *load, n int, _ testkit.User) error {
	return d.until(ctx, func() error {
		n++
		s := &session{d, n, make(map[string]string)}
		location, _, err := s.read(ctx, http.MethodPost, "/admin/sign-in", url.Values{"token": {d.admin}})
		if err != nil {
			return err
		}
		_, page, err := s.read(ctx, http.MethodGet, location, nil)
		if err != nil {
			return err
		}
		if !strings.Contains(page, "/admin/events") {
			return errors.New("the page does not show the overview")
		}
		if err := s.hear(ctx, "/admin/events", "data:"); err != nil {
			return err
		}
		if id, ok := d.past(n * 7919); ok {
			_, page, err = s.read(ctx, http.MethodGet, "/admin/requests/"+id, nil)
			if err == nil && !strings.Contains(page, id) {
				err = fmt.Errorf("the page does not show %s", id)
			}
		}
		return err
	})
}
