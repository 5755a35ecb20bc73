package envelope

import (
	"bytes"
	"testing"
)

// malleable fuzzes one decoder: what decodes must re-encode to the same bytes.
// encode must not use the bytes that were received.
func malleable[T any](f *testing.F, kinds []string, decode func([]byte) (T, error), encode func(T) []byte) {
	all := codecs(f)
	for _, name := range kinds {
		b := all[name].encode()
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b[:len(b):len(b)], 0))
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte{})
	f.Add([]byte{version})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(bytes.Clone(b))
		if err != nil {
			if err != errForm {
				t.Errorf("the error is %v, want errForm alone", err)
			}
			return
		}
		if again := encode(v); !bytes.Equal(again, b) {
			t.Errorf("%x decodes and encodes to %x", b, again)
		}
	})
}

func FuzzRequest(f *testing.F) {
	malleable(f, []string{"request"}, ParseRequest, func(q *Request) []byte {
		q.header = nil
		return q.Encode()
	})
}

func FuzzBody(f *testing.F) {
	malleable(f, []string{"body"}, ParseBody, plain)
}

func FuzzRecord(f *testing.F) {
	kinds := []string{"record-accepted", "record-claimed", "record-released", "record-settled", "record-cancelled", "record-corrected"}
	malleable(f, kinds, ParseRecord, func(rec *Record) []byte {
		rec.clear = nil
		return rec.Encode()
	})
}

func FuzzEvent(f *testing.F) {
	var kinds []string
	for _, fact := range testFacts() {
		kinds = append(kinds, "event-"+fact.Kind().String())
	}
	malleable(f, kinds, ParseEvent, func(e *Event) []byte {
		e.clear = nil
		return e.Encode()
	})
}

func FuzzPrivate(f *testing.F) {
	malleable(f, []string{"private"}, ParsePrivate, (*Private).Encode)
}

func FuzzAnnouncement(f *testing.F) {
	malleable(f, []string{"announcement"}, ParseAnnouncement, func(a *Announcement) []byte {
		a.signed = nil
		return a.Encode()
	})
}

func FuzzSwitch(f *testing.F) {
	malleable(f, []string{"switch"}, ParseSwitch, func(s *Switch) []byte {
		s.clear = nil
		return s.Encode()
	})
}

func FuzzTicket(f *testing.F) {
	malleable(f, []string{"ticket"}, ParseTicket, func(t *Ticket) []byte {
		t.signed = nil
		return t.Encode()
	})
}

func FuzzTicketPrivate(f *testing.F) {
	malleable(f, []string{"ticket-private"}, ParseTicketPrivate, (*TicketPrivate).Encode)
}
