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

	"github.com/rs/zerolog"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// FuzzBody: what parse takes is JSON from which encoding/json reads the same,
// what it refuses it refuses with a refusal; and any text that can be a
// password comes back as it was.
func FuzzBody(f *testing.F) {
	f.Add([]byte(goodBody))
	f.Add([]byte(goodChange))
	f.Add([]byte(goodName))
	f.Add([]byte(`{"account":{"sid":"S-1-5-21-1-2-3-1104"},"password":"\ud83d\ude00","options":{"must_change":false},"actor":{"kind":"self","subject":"\u00e9"}}`))
	f.Add([]byte(`{"account":{"sam_account_name":"\ud800"},"password":"\udc00"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, op := range reset.Operations() {
			compare(t, op, data)
		}
		if !utf8.Valid(data) {
			return
		}
		quoted, err := json.Marshal(string(data))
		if err != nil {
			t.Fatal(err)
		}
		body := append(append([]byte(`{"account":{"upn":"a"},"password":`), quoted...), '}')
		ok := secret.CheckPassword(secret.New(bytes.Clone(data))) == nil
		if taken := compare(t, reset.Reset, body); taken != ok {
			t.Errorf("%q: taken is %t, want %t", body, taken, ok)
		}
		body = append(append([]byte(`{"account":{"upn":"a"},"password":"p","current_password":`), quoted...), '}')
		if taken := compare(t, reset.Change, body); taken != ok {
			t.Errorf("%q: taken is %t, want %t", body, taken, ok)
		}
	})
}

func compare(t *testing.T, op reset.Operation, data []byte) (taken bool) {
	t.Helper()
	req, found, err := parse(op, data)
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
		Current  string `json:"current_password"`
		Options  map[string]bool
		Actor    map[string]string
	}
	if err := json.Unmarshal(data, &want); err != nil || !utf8.Valid(data) {
		t.Fatalf("took %q, encoding/json says: %v", data, err)
	}
	if password, current := shown(found); password != want.Password || current != want.Current {
		t.Errorf("%q: got passwords %q, %q, want %q, %q", data, password, current, want.Password, want.Current)
	}
	if got := want.Account[req.Account.Kind.String()]; got != req.Account.Value || len(want.Account) != 1 {
		t.Errorf("%q: got account %v, want %v", data, req.Account, want.Account)
	}
	if req.Operation != op || req.MustChange != want.Options["must_change"] {
		t.Errorf("%q: got %+v, want %s with %v", data, req, op, want.Options)
	}
	if kind := req.Actor.Kind.String(); req.Actor.Subject != want.Actor["subject"] || kind != want.Actor["kind"] && want.Actor["kind"] != "" {
		t.Errorf("%q: got actor %v, want %v", data, req.Actor, want.Actor)
	}
	return true
}

// The body's buffer is the caller's to clear: nothing that is returned is in it.
func TestBodyIsCopied(t *testing.T) {
	data := []byte(goodChange)
	req, found, err := parse(reset.Change, data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	for want, v := range map[string]secret.Value{"N3w secret!": found.password, "0ld secret!": found.current} {
		v.Reveal(func(b []byte) error {
			if string(b) != want || cap(b) != len(b) {
				t.Errorf("got %q with room for %d, want %q", b, cap(b), want)
			}
			return nil
		})
	}
	if req.Account.Value != "ada@corp.example.com" {
		t.Errorf("got %q", req.Account.Value)
	}
}

// shown returns copies of what secrets hold.
func shown(s secrets) (password, current string) {
	s.password.Reveal(func(b []byte) error { password = string(b); return nil })
	s.current.Reveal(func(b []byte) error { current = string(b); return nil })
	return password, current
}

// Both passwords are wiped when the request goes no further, whatever the reason.
func TestSecretsAreWiped(t *testing.T) {
	with := func(field string) string { return `{` + field + `,` + goodChange[1:] }
	tests := []struct {
		name, body string
		grant      Grant
		given      bool // whether parsing gets as far as both passwords
		ok         bool
	}{
		{"control", goodChange, Grant{}, true, true},
		{"kind of actor", with(`"actor":{"kind":"self"}`), Grant{}, true, false},
		{"kind of name", goodChange, Grant{Names: []reset.NameKind{reset.SID}}, true, false},
		{"bad name", strings.Replace(goodChange, "ada@", "*", 1), Grant{}, true, false},
		{"bad actor", with(`"actor":{"kind":"root"}`), Grant{}, true, false},
		{"no account", `{` + goodChange[strings.Index(goodChange, `"password"`):], Grant{}, true, false},
		{"long password", strings.Replace(goodChange, "N3w secret!", strings.Repeat("n", 257), 1), Grant{}, true, false},
		{"long current password", strings.Replace(goodChange, "0ld secret!", strings.Repeat("o", 257), 1), Grant{}, true, false},
		{"no current password", goodBody, Grant{}, false, false},
		{"no password", strings.Replace(goodChange, `"password":"N3w secret!",`, "", 1), Grant{}, false, false},
		{"unknown field after them", strings.TrimSuffix(goodChange, "}") + `,"hunter2":1}`, Grant{}, true, false},
		{"something after its end", goodChange + "{", Grant{}, true, false},
		{"cut", goodChange[:len(goodChange)-1], Grant{}, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			b.token = b.add(t, tt.grant)
			tokens, err := OpenTokens(b.file, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("POST", "/v1/changes", strings.NewReader(tt.body))
			r.Header.Set("Authorization", "Bearer "+b.token)
			r.Header.Set("Content-Type", "application/json")
			a := api{Config: Config{Tokens: tokens}}
			_, found, err := a.read(r, &event{}, reset.Change)
			if (err == nil) != tt.ok {
				t.Fatalf("got %v, want ok %t", err, tt.ok)
			}
			password, current := shown(found)
			if tt.given && (password == "" || current == "") {
				t.Errorf("got passwords of %d and %d bytes, so nothing is shown by this", len(password), len(current))
			}
			left := strings.Trim(password+current, "\x00")
			if want := map[bool]string{true: "N3w secret!0ld secret!"}[tt.ok]; left != want {
				t.Errorf("%q is left, want %q", left, want)
			}
		})
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
	for _, body := range []string{goodBody, goodChange, half, goodBody[:20], goodBody + "{", strings.Repeat(" ", maxBody) + goodBody} {
		for _, length := range []int64{int64(len(body)), -1} {
			b := setup(t)
			s := &spy{Reader: iotest.OneByteReader(strings.NewReader(body))}
			r := httptest.NewRequest("POST", "/v1/changes", s)
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
