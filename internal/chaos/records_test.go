package chaos

import (
	"testing"

	"writeback/internal/audit"
	"writeback/internal/envelope"
)

// A record without a private part needs no key; one with such a part does.
func TestOpen(t *testing.T) {
	for private, want := range map[string]bool{"": true, "sealed": false} {
		_, err := Reader{}.open(audit.Link{Record: &envelope.Record{Private: []byte(private)}})
		if got := err == nil; got != want {
			t.Errorf("private part %q can be read: %t (%v), want %t", private, got, err, want)
		}
	}
}
