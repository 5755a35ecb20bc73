package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

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
	for _, password := range []string{"Correct-Horse-7", `quote " and \ backslash`, "tab\tand\x01", "Ünïcödé 😀", "/slash"} {
		body, err := requestBody(map[string]string{"upn": "a@b"}, map[string]string{"kind": "admin"}, secret.New([]byte(password)))
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Password string }
		if err := json.Unmarshal(body, &got); err != nil || got.Password != password {
			t.Errorf("%s: password %q, %v, want %q", body, got.Password, err, password)
		}
	}
}
