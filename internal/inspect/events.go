package inspect

import (
	"encoding/hex"
	"fmt"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/trail"
)

// readEvent verifies an event by itself.
func readEvent(v audit.Verifier, m trail.Message) (audit.Entry, *Fault) {
	bad := func(kind Kind, format string, args ...any) *Fault {
		return &Fault{kind, m.Stream, m.Seq, "", fmt.Sprintf("event %d ", m.Seq) + fmt.Sprintf(format, args...)}
	}
	entry, err := v.Event(reset.Stored{Seq: m.Seq, Data: m.Data})
	if err == nil {
		side := "con"
		if entry.Publisher {
			side = "pub"
		}
		if want := "evt." + side + "." + entry.Writer.Name + "." + hex.EncodeToString(entry.Writer.Run[:]); m.Subject != want {
			return entry, bad(Misplaced, "is under the subject %.100q", m.Subject)
		}
		return entry, nil
	}
	e, formErr := envelope.ParseEvent(m.Data)
	if formErr != nil {
		return entry, bad(Malformed, "is malformed")
	}
	if e.Tenant != v.Tenant {
		return entry, bad(Malformed, "is of tenant %s", e.Tenant)
	}
	if fault := signature([]seal.Pins{v.Publishers, v.Consumers}, e.Writer, e.Time, seal.KindEvent, e.Signed(), e.Sig, bad); fault != nil {
		return entry, fault
	}
	return entry, bad(Disorder, "(%s) is not for %s to say", e.Fact.Kind(), e.Writer.Name)
}
