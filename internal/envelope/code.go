package envelope

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// errForm is what every decoder returns: the bytes come from the broker, and
// which rule they break helps nobody who is honest.
var errForm = errors.New("envelope: not a well-formed message")

// A writer appends fields in their fixed order: integers big-endian with fixed
// width, byte strings with a 16-bit length before them.
type writer struct{ b []byte }

func (w *writer) u8(v uint8)     { w.b = append(w.b, v) }
func (w *writer) u16(v uint16)   { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32)   { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64)   { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) i64(v int64)    { w.u64(uint64(v)) }
func (w *writer) fixed(v []byte) { w.b = append(w.b, v...) }
func (w *writer) str(v string)   { w.bytes([]byte(v)) }
func (w *writer) bool(v bool)    { w.u8(map[bool]uint8{true: 1}[v]) }
func (w *writer) bytes(v []byte) {
	if len(v) > math.MaxUint16 {
		panic("internal error: a field of more than 64 KiB")
	}
	w.u16(uint16(len(v)))
	w.fixed(v)
}

// text appends what others wrote (a directory, a proxy), cut to what any
// honest one needs, so that nobody can make a record too large to be read.
func (w *writer) text(v string, limit int) {
	if len(v) > limit {
		for limit > 0 && !utf8.RuneStart(v[limit]) {
			limit--
		}
		v = v[:limit]
	}
	w.str(v)
}

func (w *writer) strs(v []string) {
	v = v[:min(len(v), maxList)]
	w.u8(uint8(len(v)))
	for _, s := range v {
		w.text(s, maxItem)
	}
}

// A reader takes fields in the same order. The first that is not there makes
// every later one zero and is remembered.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) i64() int64      { return int64(r.u64()) }
func (r *reader) fixed(to []byte) { copy(to, r.take(len(to))) }
func (r *reader) str() string     { return string(r.bytes()) }
func (r *reader) bytes() []byte   { return r.take(int(r.u16())) }

// text is the inverse of [writer.text]; what that would have cut is refused.
func (r *reader) text(limit int) string {
	s := r.str()
	r.bad = r.bad || len(s) > limit
	return s
}

// bool refuses what is neither 0 nor 1, so that every message has one form.
func (r *reader) bool() bool {
	v := r.u8()
	r.bad = r.bad || v > 1
	return v == 1
}

// Limits of texts and lists, so that every private part stays below 12 KiB.
const (
	maxText = 255 // bytes of a text; the longest name of a host
	maxItem = 128 // bytes of a text in a list
	maxList = 16  // elements of a list
)

func (r *reader) strs() []string {
	n := int(r.u8())
	if n > maxList {
		r.bad = true
	}
	var v []string
	for range n {
		if r.bad {
			return nil
		}
		v = append(v, r.text(maxItem))
	}
	return v
}

// padding reads zeros to the end.
func (r *reader) padding() {
	for _, c := range r.b {
		r.bad = r.bad || c != 0
	}
	r.b = nil
}

// end returns an error unless everything was there and nothing is left.
func (r *reader) end() error {
	if r.bad || len(r.b) != 0 {
		return errForm
	}
	return nil
}

// pad fills b with zeros to the next multiple of block.
func pad(b []byte, block int) []byte {
	if rest := len(b) % block; rest != 0 {
		b = append(b, make([]byte, block-rest)...)
	}
	return b
}
