package portal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/prometheus/client_golang/prometheus"

	"writeback/internal/reset"
)

const canary = "c4nary-\"ü😀-p4ss"

// forms returns what the canary may look like.
func forms(t *testing.T) map[string][]byte {
	t.Helper()
	var wide []byte
	for _, u := range utf16.Encode([]rune(canary)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	quoted, err := json.Marshal(canary)
	if err != nil {
		t.Fatal(err)
	}
	escaped := fmt.Appendf(nil, "%+q", canary)
	return map[string][]byte{
		"raw": []byte(canary), "part": []byte("c4nary"), "UTF-16": wide, "JSON": quoted[1 : len(quoted)-1], "escaped": escaped[1 : len(escaped)-1],
		"hex": []byte(hex.EncodeToString([]byte(canary))), "hex of UTF-16": []byte(hex.EncodeToString(wide)),
		"base64": []byte(base64.RawStdEncoding.EncodeToString([]byte(canary))), "base64 of UTF-16": []byte(base64.RawStdEncoding.EncodeToString(wide)),
		"bytes": fmt.Appendf(nil, "%v", []byte(canary)),
	}
}

func find(t *testing.T, data []byte) (found []string) {
	t.Helper()
	for name, form := range forms(t) {
		if bytes.Contains(data, form) {
			found = append(found, name)
		}
	}
	return found
}

// A password is in no log, answer, header or metric, whatever becomes of it.
func TestCanary(t *testing.T) {
	quoted, err := json.Marshal(canary)
	if err != nil {
		t.Fatal(err)
	}
	q := string(quoted)
	good := `{"account":{"upn":"ada@corp.example.com"},"password":` + q + `,"current_password":` + q + `}`
	tests := []struct {
		name, body string
		submit     func(context.Context, reset.Submission) (reset.Status, error)
		headers    []string
		status     int
	}{
		{"applied", good, ends(reset.Outcome{Code: reset.Applied}), nil, 200},
		{"refused by the directory", good, ends(reset.Outcome{Code: reset.PasswordInHistory}), nil, 422},
		{"not known", good, ends(reset.Outcome{Code: reset.Unconfirmed}), nil, 202},
		{"refused by the publisher", good, func(context.Context, reset.Submission) (reset.Status, error) {
			return reset.Status{}, &reset.Refusal{Code: reset.NoConsumer}
		}, nil, 503},
		{"unclassified", good, func(context.Context, reset.Submission) (reset.Status, error) {
			return reset.Status{}, errors.New("broken")
		}, nil, 500},
		{"panic", good, func(context.Context, reset.Submission) (reset.Status, error) { panic(canary) }, nil, 500},
		{"no token", good, nil, []string{"Authorization", ""}, 401},
		{"as the token", good, nil, []string{"Authorization", "Bearer " + canary}, 401},
		{"another type", good, nil, []string{"Content-Type", "text/" + canary}, 415},
		{"as the key", good, nil, []string{"Idempotency-Key", canary}, 400},
		{"as a field", `{` + q + `:1}`, nil, nil, 400},
		{"as a field of the account", `{"account":{` + q + `:1}}`, nil, nil, 400},
		{"twice", `{"password":` + q + `,"password":` + q + `}`, nil, nil, 400},
		{"cut", good[:len(good)-2], nil, nil, 400},
		{"not JSON", canary, nil, nil, 400},
		{"with half a pair", `{"password":"` + q[1:len(q)-1] + `\ud800"}`, nil, nil, 400},
		{"not UTF-8", `{"password":"` + q[1:len(q)-1] + "\xff\"}", nil, nil, 400},
		{"as the kind of actor", `{"actor":{"kind":` + q + `},` + good[1:], nil, nil, 400},
		{"as a GUID", `{"account":{"object_guid":` + q + `},"password":` + q + `}`, nil, nil, 400},
		{"as an option", `{"options":{` + q + `:true},` + good[1:], nil, nil, 400},
		{"as the current password alone", `{"account":{"upn":"a"},"current_password":` + q + `}`, nil, nil, 400},
		{"current password twice", `{"current_password":` + q + `,"current_password":` + q + `}`, nil, nil, 400},
		{"current password with half a pair", good[:len(good)-2] + `\ud800"}`, nil, nil, 400},
		{"current password too long", good[:len(good)-2] + strings.Repeat("a", 256) + `"}`, nil, nil, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			b.publisher.submit = tt.submit
			res := b.postTo("/v1/changes", tt.body, tt.headers...)
			if res.StatusCode != tt.status {
				t.Errorf("got %d, want %d", res.StatusCode, tt.status)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			for where, data := range map[string][]byte{
				"log": b.log.Bytes(), "body": body, "headers": fmt.Append(nil, res.Header), "metrics": dump(t, b.metrics),
			} {
				if found := find(t, data); len(data) == 0 || len(found) > 0 {
					t.Errorf("%s of %d bytes has the password: %v", where, len(data), found)
				}
			}
			if tt.submit != nil && (!slices.Equal(b.publisher.passwords, []string{canary}) || !slices.Equal(b.publisher.currents, []string{canary})) {
				t.Error("the publisher did not get the passwords")
			}
		})
	}

	// Where it has no business it is no more seen.
	for _, r := range routes() {
		t.Run("at "+r.path, func(t *testing.T) {
			b := setup(t)
			for _, body := range []string{good, `{"account":{"upn":"a"},"options":{"must_change":true},"password":` + q + `}`, `{` + q + `:1}`} {
				data, err := io.ReadAll(b.postTo(r.path, body).Body)
				if err != nil {
					t.Fatal(err)
				}
				if found := find(t, append(data, b.log.Bytes()...)); len(found) > 0 {
					t.Errorf("answer or log has the password: %v", found)
				}
			}
		})
	}

	t.Run("control", func(t *testing.T) {
		for name, form := range forms(t) {
			b := setup(t)
			b.publisher.submit = ends(reset.Outcome{Code: reset.Applied, Details: reset.Details{Reason: string(form)}})
			body, err := io.ReadAll(b.post(goodBody).Body)
			if err != nil {
				t.Fatal(err)
			}
			planted := prometheus.NewCounter(prometheus.CounterOpts{Name: "planted", Help: string(form)})
			if err := b.metrics.Register(planted); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(b.log, "%s", form)
			if len(find(t, b.log.Bytes())) == 0 || len(find(t, dump(t, b.metrics))) == 0 {
				t.Errorf("the search does not find what was planted as %s", name)
			}
			// Quotes and what is not UTF-8 look different in JSON.
			if name != "raw" && name != "escaped" && name != "JSON" && name != "UTF-16" && len(find(t, body)) == 0 {
				t.Errorf("the search does not find %s in %s", name, body)
			}
		}
	})
}

// dump returns all that a registry has.
func dump(t *testing.T, metrics *prometheus.Registry) []byte {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		fmt.Fprintln(&b, f.GetName(), f.GetHelp())
		for _, m := range f.Metric {
			for _, l := range m.Label {
				fmt.Fprintln(&b, l.GetName(), l.GetValue())
			}
		}
	}
	return b.Bytes()
}
