package resetpage

import (
	"bytes"
	"errors"
	"io"
	"mime"

	"writeback/internal/portal/pages"
	"writeback/internal/reset"
	"writeback/internal/secret"
)

const (
	// maxForm is the longest form, in bytes: two passwords of 256 units, each
	// byte escaped, and plenty, so that one of 10 kB has its own sentence.
	maxForm = 64 << 10
	// maxRead is how much is read of one that is longer: a browser that is
	// still sending would not see the answer.
	maxRead = 1 << 20
)

// A form is what was sent.
type form struct {
	operation       reset.Operation
	ticket          string // the id of the ticket that the form was made for
	live            bool   // sent by our script, which shows what follows
	password, again secret.Value
}

func (f *form) wipe() {
	f.password.Wipe()
	f.again.Wipe()
}

// take gives the password away, and with it the duty to wipe it.
func (f *form) take() secret.Value {
	password := f.password
	f.password = secret.Value{}
	return password
}

// check returns what is wrong with a form, by its fields: keys of texts.
func (f *form) check() map[string]string {
	if f.operation == reset.Unlock {
		return nil
	}
	return CheckNew(f.password, f.again)
}

// CheckNew returns what is wrong with a new password that was typed twice, by the
// fields password and again: keys of texts.
func CheckNew(password, again secret.Value) map[string]string {
	if key := passwordError(password); key != "" {
		return map[string]string{"password": key}
	}
	same := false
	password.Reveal(func(a []byte) error {
		return again.Reveal(func(b []byte) error {
			same = bytes.Equal(a, b)
			return nil
		})
	})
	if !same {
		return map[string]string{"again": "reset.error.differ"}
	}
	return nil
}

func passwordError(v secret.Value) string {
	if v.Empty() {
		return "reset.error.empty"
	}
	if secret.CheckPassword(v) == nil {
		return ""
	}
	long := false
	v.Reveal(func(b []byte) error { long = secret.Units(b) > secret.MaxUnits; return nil })
	if long {
		return "reset.error.long"
	}
	return "reset.error.text"
}

// Fields are what a form has, each in a buffer of its own. Its passwords never
// become strings.
type Fields map[string][]byte

// Secret takes a field away as a secret.
func (f Fields) Secret(name string) secret.Value {
	v := secret.New(f[name])
	delete(f, name)
	return v
}

// Wipe overwrites what was not taken.
func (f Fields) Wipe() {
	for _, v := range f {
		clear(v)
	}
}

// ReadFields reads a form that was posted. There is nothing to wipe with an error.
func ReadFields(c *pages.Call) (Fields, error) {
	r := c.Body(maxRead)
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &reset.Refusal{Code: reset.UnsupportedMediaType, Field: "Content-Type"}
	}
	body := make([]byte, maxForm+1)
	defer clear(body)
	n, err := io.ReadFull(r.Body, body)
	if err == nil {
		io.Copy(io.Discard, r.Body)
		return nil, &reset.Refusal{Code: reset.TooLarge, Field: "body"}
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, reset.BadField("body", "did not arrive")
	}
	fields, err := parseForm(body[:n])
	if err != nil {
		fields.Wipe()
		return nil, err
	}
	return fields, nil
}

// readForm reads the form of the page.
func readForm(c *pages.Call) (f form, err error) {
	fields, err := ReadFields(c)
	if err != nil {
		return f, err
	}
	defer fields.Wipe()
	f.password, f.again = fields.Secret("password"), fields.Secret("again")
	f.ticket, f.live = string(fields["ticket"]), len(fields["live"]) > 0
	switch string(fields["operation"]) {
	case reset.Reset.String():
		f.operation = reset.Reset
	case reset.Unlock.String():
		f.operation = reset.Unlock
	default:
		f.wipe()
		return f, reset.BadField("operation", "is none of this page")
	}
	return f, nil
}

// parseForm reads application/x-www-form-urlencoded (WHATWG URL, section 5.1) into
// buffers of their own, which the caller clears, also when there is an error. A
// field that is there twice is refused.
func parseForm(body []byte) (Fields, error) {
	fields := make(Fields)
	for len(body) > 0 {
		var pair []byte
		pair, body, _ = bytes.Cut(body, []byte("&"))
		if len(pair) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(pair, []byte("="))
		key, err := unescape(name)
		if err != nil {
			return fields, err
		}
		if _, twice := fields[string(key)]; twice {
			return fields, reset.BadField("body", "has a field twice")
		}
		if fields[string(key)], err = unescape(value); err != nil {
			return fields, err
		}
	}
	return fields, nil
}

// unescape returns what s says, in a buffer of its own that never grows.
func unescape(s []byte) ([]byte, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
		case s[i] != '%':
			out = append(out, s[i])
		default:
			if i+2 >= len(s) || hexDigit(s[i+1]) < 0 || hexDigit(s[i+2]) < 0 {
				clear(out)
				return nil, reset.BadField("body", "is not well formed")
			}
			out = append(out, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2])))
			i += 2
		}
	}
	return out, nil
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
