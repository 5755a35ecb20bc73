package changepage

import (
	"crypto/rand"
	"encoding/base64"
	"strings"

	"writeback/internal/reset"
)

// A note is what the session keeps of the last request: which form made it, so that
// a form that was sent before is not sent again, and what it is called.
type note struct {
	asked bool
	form  string
	ref   reset.Ref
}

// notePrefix tells this page's notes from others'.
const notePrefix = "change "

func (n note) String() string { return notePrefix + n.form + " " + n.ref.String() }

func parseNote(text string) note {
	rest, mine := strings.CutPrefix(text, notePrefix)
	form, id, found := strings.Cut(rest, " ")
	ref, err := reset.ParseRef(id)
	if !mine || !found || err != nil {
		return note{}
	}
	return note{true, form, ref}
}

// newForm names a form. The name is the key under which its request is made once,
// however often the form is sent.
func newForm() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// isForm reports whether a name can be one of newForm's.
func isForm(name string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(name)
	return err == nil && len(b) == 16 && base64.RawURLEncoding.EncodeToString(b) == name
}
