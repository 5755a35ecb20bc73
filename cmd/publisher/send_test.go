package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/cli"
	"writeback/internal/secret"
)

// What is not known is never called "not applied".
func TestShow(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   string // in the error; empty is none
	}{
		{"applied", 200, `{"id":"p-1","state":"final","code":"applied"}`, ""},
		{"applied in part", 200, `{"state":"final","code":"applied_partly"}`, ""},
		{"refused", 422, `{"state":"final","code":"password_refused"}`, "not applied: password_refused"},
		{"a field", 400, `{"code":"invalid","field":"password"}`, "not applied: invalid (password)"},
		{"no code yet", 202, `{"id":"p-1","state":"picked_up"}`, "not known yet; ask again with GET /v1/requests/p-1"},
		{"unconfirmed", 202, `{"state":"final","code":"unconfirmed"}`, "not known whether it was applied"},
		{"a defect", 500, `{"code":"internal"}`, "not known whether it was applied"},
		{"unreadable", 500, `{"state":"final","code":"unreadable"}`, "not applied: unreadable"},
		{"no JSON", 502, `<html>`, "no JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := &http.Response{StatusCode: tt.status, Status: http.StatusText(tt.status), Body: io.NopCloser(strings.NewReader(tt.body))}
			var out bytes.Buffer
			err := show(resp, &out)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("show = %v, want %q", err, tt.want)
			}
			if strings.Contains(out.String(), "code     \n") {
				t.Errorf("an empty code is printed: %q", out.String())
			}
		})
	}
}

// The body is written by hand; it must be the JSON that encoding/json reads.
func TestRequestBody(t *testing.T) {
	fields := map[string]any{"account": map[string]string{"upn": "a@b"}, "options": map[string]bool{"must_change": true}}
	for _, password := range []string{"Correct-Horse-7", `quote " and \ backslash`, "tab\tand\x01", "Ünïcödé 😀", "/slash", ""} {
		body, err := requestBody(fields, secret.New([]byte(password)))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if got["password"] != any(password) && password != "" || got["password"] != nil && password == "" {
			t.Errorf("%s: password %q, want %q", body, got["password"], password)
		}
		if got["account"] == nil || got["options"] == nil {
			t.Errorf("%s lacks a field", body)
		}
	}
}

// unread is a standard input that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("standard input was read")
	return 0, io.EOF
}

// What is sent where, and that a password is read for a reset only.
func TestSend(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("wbk_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const named = `"account":{"upn":"a@b"},"actor":{"kind":"admin","subject":""}`
	tests := []struct {
		name  string
		flags []string
		path  string // empty: a usage error, nothing is sent
		body  string // or what the error says
	}{
		{"reset", nil, "/v1/resets", `{` + named + `,"password":"Fresh-Word-7"}`},
		{"must change", []string{"-must-change"}, "/v1/resets", `{` + named + `,"options":{"must_change":true},"password":"Fresh-Word-7"}`},
		{"probe", []string{"-probe"}, "/v1/probes", `{` + named + `}`},
		{"unlock", []string{"-unlock"}, "/v1/unlocks", `{` + named + `}`},
		{"probe and unlock", []string{"-probe", "-unlock"}, "", "only one of them"},
		{"probe and must change", []string{"-probe", "-must-change"}, "", "belongs to a reset"},
		{"unlock and must change", []string{"-unlock", "-must-change"}, "", "belongs to a reset"},
		{"must change oneself", []string{"-must-change", "-actor", "self"}, "", "-actor admin only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var path, body string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				data, _ := io.ReadAll(r.Body)
				path, body = r.URL.Path, string(data)
				io.WriteString(w, `{"state":"final","code":"applied","message":"Done."}`)
			}))
			defer server.Close()
			var in io.Reader = unread{t}
			if tt.path == "/v1/resets" {
				in = strings.NewReader("Fresh-Word-7\n")
			}
			var out, errs bytes.Buffer
			args := append([]string{"-api", server.URL, "-token-file", token, "-upn", "a@b"}, tt.flags...)
			err := send(t.Context(), args, cli.Streams{In: in, Out: &out, Err: &errs})
			if tt.path == "" {
				if err == nil || !strings.Contains(err.Error(), tt.body) || path != "" {
					t.Errorf("send = %v, want an error with %q; sent to %q", err, tt.body, path)
				}
				return
			}
			if err != nil || path != tt.path || body != tt.body || !strings.Contains(out.String(), "Done.") {
				t.Errorf("send = %v, sent %s to %s, want %s to %s; said %s", err, body, path, tt.body, tt.path, &out)
			}
		})
	}
}
