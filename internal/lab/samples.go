package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"writeback/internal/testkit/samba"
)

// An Answer is what the API says of a request.
type Answer struct {
	Status   int                `json:"-"`
	ID       string             `json:"id"`
	State    string             `json:"state"`
	Code     string             `json:"code"`
	Message  string             `json:"message"`
	Consumer string             `json:"consumer"`
	Timings  map[string]float64 `json:"timings_ms"`
	Details  map[string]any     `json:"details"`
}

// Reset resets the password of the account with a UPN through the API.
func (l *Lab) Reset(ctx context.Context, client *http.Client, upn, password string) (Answer, error) {
	body, err := json.Marshal(map[string]any{
		"account": map[string]string{"upn": upn}, "password": password,
		"actor": map[string]string{"kind": "self", "subject": upn},
	})
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.APIURL+"/v1/resets", bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+l.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", "wait=30")
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&a); err != nil {
		return Answer{}, fmt.Errorf("the API answered %s and no JSON", resp.Status)
	}
	return a, nil
}

// Samples resets one password, proves it, and shows a refusal. It returns an
// error if anything was not as expected.
func (l *Lab) Samples(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	user := l.Directory.Users[0]
	fresh := samba.NewPassword()

	l.say("\nReset %s through the API:", user.UPN)
	a, err := l.Reset(ctx, http.DefaultClient, user.UPN, fresh)
	if err != nil {
		return err
	}
	l.say("  %d %s: %s", a.Status, a.Code, a.Message)
	for _, point := range []string{"accepted", "sealed", "stored", "picked_up", "applied", "answered"} {
		if ms, ok := a.Timings[point]; ok {
			l.say("    %-10s %7.1f ms", point, ms)
		} else {
			err = errors.Join(err, fmt.Errorf("the timeline lacks %q", point))
		}
	}
	if a.Status != http.StatusOK || a.Code != "applied" {
		return fmt.Errorf("a reset ended as %d %s, not as applied", a.Status, a.Code)
	}
	if err != nil {
		return err
	}
	conn, err := samba.Bind(l.Directory, user.DN, fresh)
	if err != nil {
		return fmt.Errorf("the directory does not take the new password: %w", err)
	}
	conn.Close()
	l.say("  The directory takes the new password.")
	if conn, err := samba.Bind(l.Directory, user.DN, user.Password); err == nil {
		conn.Close()
		return errors.New("the directory still takes the old password")
	}
	l.say("  The directory refuses the old password.")
	l.mu.Lock()
	l.Directory.Users[0].Password = fresh
	l.mu.Unlock()
	if err := l.writeEndpoints(); err != nil {
		return err
	}

	l.say("\nReset %s to a password that the domain's policy does not allow:", user.UPN)
	a, err = l.Reset(ctx, http.DefaultClient, user.UPN, "short")
	if err != nil {
		return err
	}
	l.say("  %d %s: %s", a.Status, a.Code, a.Message)
	if a.Status != http.StatusUnprocessableEntity {
		return fmt.Errorf("a password against the policy ended as %d %s", a.Status, a.Code)
	}
	conn, err = samba.Bind(l.Directory, user.DN, fresh)
	if err != nil {
		return fmt.Errorf("after a refusal the directory does not take the password in force: %w", err)
	}
	conn.Close()
	l.say("  The password in force has not changed.")
	return nil
}
