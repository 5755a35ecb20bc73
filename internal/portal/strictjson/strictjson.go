// Package strictjson reads one JSON document (RFC 8259) into a shape that is
// known beforehand, and refuses everything else. It exists because
// encoding/json turns lone surrogates and invalid UTF-8 into U+FFFD without a
// word, which would set another password than was typed, takes duplicate and
// differently spelt names, and repeats input in its errors.
//
// Its errors name fields from the shape and positions, never input. A text
// that is read with [Bytes] is decoded once, into one buffer that never grows
// and never becomes a string. Of numbers it reads whole ones from 0 up, because
// nothing needs others. Nesting is as deep as the shape and no deeper: what the shape does
// not have is refused without looking into it.
package strictjson

import (
	"bytes"
	"fmt"
	"strconv"
)

// An Error says where a document differs from its shape. It holds no input.
type Error struct {
	Field  string // as "account.upn"; empty for the document itself
	Offset int    // in bytes from the start of the document
	Reason string // completes a sentence that begins with the field
}

func (e *Error) Error() string {
	field := e.Field
	if field == "" {
		field = "document"
	}
	return fmt.Sprintf("%s %s (at byte %d)", field, e.Reason, e.Offset)
}

// A Shape reads one value.
type Shape func(*reader) error

// Fields are the members that an object may have, all of them optional. Names
// are compared exactly.
type Fields map[string]Shape

// Decode reads data, which must hold one value of the shape and nothing else.
// Its error is an [*Error]; what was handed out before it must be dropped.
func Decode(data []byte, shape Shape) error {
	r := &reader{data: data}
	if err := shape(r); err != nil {
		return err
	}
	if r.peek(); r.pos != len(data) {
		return r.fail("has something after its end")
	}
	return nil
}

// Object is an object with some of fields, each at most once.
func Object(fields Fields) Shape {
	return func(r *reader) error {
		if !r.take('{') {
			return r.mismatch("an object")
		}
		if r.take('}') {
			return nil
		}
		outer, seen := r.field, make(map[string]bool, len(fields))
		for {
			name, err := r.name(fields)
			if err != nil {
				return err
			}
			if outer != "" {
				r.field = outer + "." + name
			} else {
				r.field = name
			}
			if seen[name] {
				return r.fail("is there twice")
			}
			seen[name] = true
			if !r.take(':') {
				return r.malformed()
			}
			if err := fields[name](r); err != nil {
				return err
			}
			r.field = outer
			if r.take('}') {
				return nil
			}
			if !r.take(',') {
				return r.malformed()
			}
		}
	}
}

// List is an array of at most limit elements.
func List(limit int, element Shape) Shape {
	return func(r *reader) error {
		if !r.take('[') {
			return r.mismatch("a list")
		}
		if r.take(']') {
			return nil
		}
		for n := 0; n < limit; n++ {
			if err := element(r); err != nil {
				return err
			}
			if r.take(']') {
				return nil
			}
			if !r.take(',') {
				return r.malformed()
			}
		}
		return r.fail(fmt.Sprintf("must have at most %d elements", limit))
	}
}

// Text is a string without secrets in it.
func Text(set func(string)) Shape {
	return Bytes(func(b []byte) { set(string(b)) })
}

// Bytes is a string, handed to set as UTF-8 in a buffer of its own.
func Bytes(set func([]byte)) Shape {
	return func(r *reader) error {
		b, err := r.text()
		if err == nil {
			set(b)
		}
		return err
	}
}

// Bool is true or false.
func Bool(set func(bool)) Shape {
	return func(r *reader) error {
		r.peek()
		for word, v := range map[string]bool{"true": true, "false": false} {
			if bytes.HasPrefix(r.data[r.pos:], []byte(word)) {
				r.pos += len(word)
				set(v)
				return nil
			}
		}
		return r.mismatch("true or false")
	}
}

// Whole is a whole number from 0 to limit, written in digits alone.
func Whole(limit int, set func(int)) Shape {
	return func(r *reader) error {
		r.peek()
		end := r.pos
		for end < len(r.data) && r.data[end] >= '0' && r.data[end] <= '9' {
			end++
		}
		digits := string(r.data[r.pos:end])
		n, err := strconv.Atoi(digits)
		switch {
		case digits == "":
			return r.mismatch("a whole number")
		case err != nil || n > limit:
			return r.fail(fmt.Sprintf("must be at most %d", limit))
		case digits != strconv.Itoa(n): // with zeros before it
			return r.malformed()
		}
		r.pos = end
		set(n)
		return nil
	}
}

type reader struct {
	data  []byte
	pos   int
	field string // of the value that is being read
}

func (r *reader) fail(reason string) error {
	return &Error{Field: r.field, Offset: r.pos, Reason: reason}
}

func (r *reader) malformed() error { return r.fail("is not valid JSON") }

// mismatch tells a value of another type from what is no value at all.
func (r *reader) mismatch(want string) error {
	if c := r.peek(); c == 0 || !bytes.ContainsRune([]byte(`{["tfn-0123456789`), rune(c)) {
		return r.malformed()
	}
	return r.fail("must be " + want)
}

// peek returns the next byte that is not white space, 0 at the end.
func (r *reader) peek() byte {
	for ; r.pos < len(r.data); r.pos++ {
		switch c := r.data[r.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take steps over c if it comes next.
func (r *reader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.pos++
	return true
}

// name reads the name of a member, which must be one of fields.
func (r *reader) name(fields Fields) (string, error) {
	if r.peek() != '"' {
		return "", r.malformed()
	}
	start := r.pos
	b, err := r.text()
	if err != nil {
		return "", err
	}
	// A name that is not ours may be a secret in the wrong place.
	defer clear(b)
	if _, ok := fields[string(b)]; !ok {
		r.pos = start
		return "", r.fail("has a field that is not known")
	}
	return string(b), nil
}
