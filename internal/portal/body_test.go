package portal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// FuzzBody: what parseReset takes is JSON from which encoding/json reads the
// same, what it refuses it refuses with a refusal; and any text that can be a
// password comes back as it was.
func FuzzBody(f *testing.F) {
	f.Add([]byte(goodBody))
	f.Add([]byte(`{"account":{"sid":"S-1-5-21-1-2-3-1104"},"password":"\ud83d\ude00","options":{"must_change":false},"actor":{"kind":"self","subject":"\u00e9"}}`))
	f.Add([]byte(`{"account":{"sam_account_name":"\ud800"},"password":"\udc00"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		compare(t, data)
		if !utf8.Valid(data) {
			return
		}
		quoted, err := json.Marshal(string(data))
		if err != nil {
			t.Fatal(err)
		}
		body := append(append([]byte(`{"account":{"upn":"a"},"password":`), quoted...), '}')
		ok := secret.CheckPassword(secret.New(bytes.Clone(data))) == nil
		if taken := compare(t, body); taken != ok {
			t.Errorf("%q: taken is %t, want %t", body, taken, ok)
		}
	})
}

func compare(t *testing.T, data []byte) (taken bool) {
	t.Helper()
	req, err := parseReset(data)
	if err != nil {
		var r *reset.Refusal
		if !errors.As(err, &r) || r.Code != reset.RefusedInvalid || r.Field == "" {
			t.Errorf("%q: got %v, want a refusal that names a field", data, err)
		}
		return false
	}
	var want struct {
		Account  map[string]string
		Password string
		Options  map[string]bool
		Actor    map[string]string
	}
	if err := json.Unmarshal(data, &want); err != nil || !utf8.Valid(data) {
		t.Fatalf("took %q, encoding/json says: %v", data, err)
	}
	req.password.Reveal(func(b []byte) error {
		if string(b) != want.Password {
			t.Errorf("%q: got password %q, want %q", data, b, want.Password)
		}
		return nil
	})
	if got := want.Account[req.account.Kind.String()]; got != req.account.Value || len(want.Account) != 1 {
		t.Errorf("%q: got account %v, want %v", data, req.account, want.Account)
	}
	if kind := req.actor.Kind.String(); req.actor.Subject != want.Actor["subject"] || kind != want.Actor["kind"] && want.Actor["kind"] != "" {
		t.Errorf("%q: got actor %v, want %v", data, req.actor, want.Actor)
	}
	return true
}

// The body's buffer is the caller's to clear: nothing that is returned is in it.
func TestBodyIsCopied(t *testing.T) {
	data := []byte(goodBody)
	req, err := parseReset(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	req.password.Reveal(func(b []byte) error {
		if string(b) != "N3w secret!" || cap(b) != len(b) {
			t.Errorf("got %q with room for %d", b, cap(b))
		}
		return nil
	})
	if req.account.Value != "ada@corp.example.com" {
		t.Errorf("got %q", req.account.Value)
	}
}

// A spy keeps the buffers that it was read into.
type spy struct {
	io.Reader
	seen [][]byte
}

func (s *spy) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.seen = append(s.seen, p[:n])
	return n, err
}

func TestBodyIsCleared(t *testing.T) {
	half := `{"account":{"upn":"ada@corp.example.com"},"password":"\ud800"}`
	for _, body := range []string{goodBody, half, goodBody[:20], goodBody + "{", strings.Repeat(" ", maxBody) + goodBody} {
		for _, length := range []int64{int64(len(body)), -1} {
			b := setup(t)
			s := &spy{Reader: iotest.OneByteReader(strings.NewReader(body))}
			r := httptest.NewRequest("POST", "/v1/resets", s)
			r.ContentLength = length
			res := b.do(r)
			if length > 0 && length <= maxBody && len(s.seen) < len(body) {
				t.Errorf("status %d: read %d of %d bytes", res.StatusCode, len(s.seen), len(body))
			}
			for _, p := range s.seen {
				if len(bytes.Trim(p, "\x00")) > 0 {
					t.Fatalf("status %d: the buffer still has %q", res.StatusCode, p)
				}
			}
		}
	}
}
