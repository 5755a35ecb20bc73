package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"

	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

// about is the body of a call for an account; parts are further fields and their
// values.
func about(upn string, parts ...string) map[string]any {
	body := map[string]any{"account": map[string]string{"upn": upn}, "actor": map[string]string{"kind": "self", "subject": upn}}
	for i := 0; i+1 < len(parts); i += 2 {
		body[parts[i]] = parts[i+1]
	}
	return body
}

// want says what is wrong with an answer that does not have a code.
func want(a answer, err error, code string) error {
	if err == nil && a.Code != code {
		err = fmt.Errorf("%s ended as %d %s, not as %s", a.ID, a.Status, a.Code, code)
	}
	return err
}

func resets(ctx context.Context, d *load, n int, u testkit.User) error {
	a, err := d.ask(ctx, n, "/v1/resets", about(u.UPN, "password", samba.NewPassword()))
	return want(a, err, "applied")
}

func probes(ctx context.Context, d *load, n int, u testkit.User) error {
	a, err := d.ask(ctx, n, "/v1/probes", about(u.UPN))
	return want(a, err, "applied")
}

func unlocks(ctx context.Context, d *load, n int, u testkit.User) error {
	a, err := d.ask(ctx, n, "/v1/unlocks", about(u.UPN))
	return want(a, err, "applied")
}

// refusals are resets that the domain's policy does not allow.
func refusals(ctx context.Context, d *load, n int, u testkit.User) error {
	a, err := d.ask(ctx, n, "/v1/resets", about(u.UPN, "password", "short"))
	return want(a, err, "password_too_short")
}

// nobodies are resets of accounts that there are not, never the same one twice.
func nobodies(ctx context.Context, d *load, n int, _ testkit.User) error {
	upn := fmt.Sprintf("nobody%d@%s", n, d.lab.Directory.Users[0].UPN[strings.IndexByte(d.lab.Directory.Users[0].UPN, '@')+1:])
	a, err := d.ask(ctx, n, "/v1/resets", about(upn, "password", samba.NewPassword()))
	return want(a, err, "account_not_found")
}

// changes are of somebody who knows the password in force.
func changes(ctx context.Context, d *load, n int, u testkit.User) error {
	first := samba.NewPassword()
	a, err := d.ask(ctx, n, "/v1/resets", about(u.UPN, "password", first))
	if err := want(a, err, "applied"); err != nil {
		return err
	}
	a, err = d.ask(ctx, n, "/v1/changes", about(u.UPN, "password", samba.NewPassword(), "current_password", first))
	return want(a, err, "applied")
}

// repeats are a call and its repetition with one key, at both publishers: one request.
func repeats(ctx context.Context, d *load, n int, u testkit.User) error {
	body, key := about(u.UPN, "password", samba.NewPassword()), rand.Text()
	first, err := d.ask(ctx, n, "/v1/resets", body, "Idempotency-Key", key)
	if err := want(first, err, "applied"); err != nil {
		return err
	}
	again, err := d.ask(ctx, n+1, "/v1/resets", body, "Idempotency-Key", key)
	if err == nil && again.ID != first.ID {
		err = fmt.Errorf("the repetition of %s is %s", first.ID, again.ID)
	}
	return err
}

// polls are of callers who do not wait, and of one who looks at a request of the past.
func polls(ctx context.Context, d *load, n int, u testkit.User) error {
	a, err := d.ask(ctx, n, "/v1/resets", about(u.UPN, "password", samba.NewPassword()), "Prefer", "wait=0")
	if err := want(a, err, "applied"); err != nil {
		return err
	}
	if id, ok := d.past(n * 7919); ok {
		_, err = d.follow(ctx, n, id)
	}
	return err
}

// streams are of callers who hear the steps of a request.
func streams(ctx context.Context, d *load, n int, u testkit.User) error {
	var a answer
	err := d.until(ctx, func() (err error) {
		a, err = d.call(ctx, n, http.MethodPost, "/v1/resets", about(u.UPN, "password", samba.NewPassword()), "Prefer", "wait=0")
		if err == nil && a.ID == "" {
			err = fmt.Errorf("%w: %d %s", errAgain, a.Status, a.Code)
		}
		return err
	})
	if err != nil {
		return err
	}
	// A publisher that stops ends its streams; the outcome is asked for.
	if resp, err := d.send(ctx, n, http.MethodGet, "/v1/requests/"+a.ID+"/events", nil); err == nil {
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() && lines.Text() != "event: outcome" {
		}
		resp.Body.Close()
	}
	a, err = d.follow(ctx, n, a.ID)
	return want(a, err, "applied")
}
