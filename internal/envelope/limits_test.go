package envelope

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// longest returns the longest account and password that the API takes.
func longest() (reset.Account, secret.Value) {
	return reset.Account{Kind: reset.UPN, Value: strings.Repeat("u", 1024)},
		secret.New([]byte(strings.Repeat("€", secret.MaxUnits)))
}

func TestBodyHasTwoSizes(t *testing.T) {
	seen := make(map[int]int)
	check := func(what string, b *Body) int {
		t.Helper()
		out := plain(b)
		seen[len(out)]++
		if len(out) != smallBody && len(out) != largeBody {
			t.Errorf("%s: a body of %d bytes", what, len(out))
		}
		if got, err := ParseBody(bytes.Clone(out)); err != nil || !bytes.Equal(plain(got), out) {
			t.Errorf("%s: does not decode to itself: %v", what, err)
		}
		return len(out)
	}
	// Every length around the border, and every password of an ordinary account.
	for n := 1; n <= 1024; n++ {
		check(fmt.Sprintf("account of %d bytes", n), &Body{Account: reset.Account{Kind: reset.UPN, Value: strings.Repeat("u", n)}})
	}
	for n := range secret.MaxUnits + 1 {
		for _, ch := range []string{"x", "€"} {
			b := testBody()
			b.Password, b.Current = secret.New([]byte(strings.Repeat(ch, n))), secret.Value{}
			if got := check("password", b); got != smallBody {
				t.Errorf("a password of %d %q makes a body of %d bytes", n, ch, got)
			}
		}
	}
	account, password := longest()
	got := check("the largest", &Body{
		Account: account, Password: password, Current: password, Actor: reset.Actor{Kind: reset.Self, Subject: strings.Repeat("s", reset.MaxSubject)},
		Source: strings.Repeat("x", maxText), Address: strings.Repeat("x", maxText),
	})
	if got != largeBody || len(seen) != 2 {
		t.Errorf("the largest body has %d bytes, sizes seen are %v", got, seen)
	}
}

func TestBodyRefuses(t *testing.T) {
	small := plain(testBody())
	large := append(bytes.Clone(small), make([]byte, largeBody-smallBody)...)
	if _, err := ParseBody(large); err != errForm {
		t.Errorf("what fits into the smaller size is taken in the larger: %v", err)
	}
	for _, n := range []int{0, 1, smallBody - 1, smallBody + 1, largeBody - 1, largeBody + 1} {
		if _, err := ParseBody(append(bytes.Clone(large), 0)[:n]); err != errForm {
			t.Errorf("a body of %d bytes is taken: %v", n, err)
		}
	}
	padding := bytes.Clone(small)
	padding[smallBody-1] = 1
	if _, err := ParseBody(padding); err != errForm {
		t.Errorf("padding that is not zero is taken: %v", err)
	}
	for name, b := range map[string]*Body{
		"a name with NUL":         {Account: reset.Account{Kind: reset.UPN, Value: "a\x00"}},
		"a name without a kind":   {Account: reset.Account{Value: "a"}},
		"a kind without a name":   {Account: reset.Account{Kind: reset.UPN}},
		"an unknown kind of name": {Account: reset.Account{Kind: 6, Value: "a"}},
		"an unknown actor":        {Actor: reset.Actor{Kind: 3}},
		"a subject too long":      {Actor: reset.Actor{Kind: reset.Self, Subject: strings.Repeat("s", reset.MaxSubject+1)}},
	} {
		if _, err := ParseBody(plain(b)); err != errForm {
			t.Errorf("%s is taken: %v", name, err)
		}
	}
}

// hostilePrivate is what a directory, a proxy and a bug together could want to
// have written.
func hostilePrivate(size, elements int) *Private {
	text := strings.Repeat("€", size)
	account, _ := longest()
	p := &Private{
		Account: account, Actor: reset.Actor{Kind: reset.Admin, Subject: strings.Repeat("s", reset.MaxSubject)}, Source: text, Address: text,
		Witnesses: []reset.Witness{{DC: text}, {DC: text}, {DC: text}, {DC: text}}, Details: reset.Details{Field: text, Reason: text, Result: text, Right: text},
	}
	for range elements {
		p.Details.Categories = append(p.Details.Categories, text)
		p.Details.Candidates = append(p.Details.Candidates, text)
		p.Details.FollowUps = append(p.Details.FollowUps, reset.FollowUp{What: text, Right: text})
	}
	return p
}

func TestLargestRecordIsRead(t *testing.T) {
	for _, elements := range []int{0, 1, maxList, maxList + 1, 255, 256, 300} {
		for _, size := range []int{0, 1, 42, 43, 85, 86, 1000, 70000} {
			b := hostilePrivate(size, elements).Encode()
			p, err := ParsePrivate(b)
			if err != nil {
				t.Fatalf("%d elements of %d characters: %v", elements, size, err)
			}
			if len(p.Details.FollowUps) != min(elements, maxList) || !utf8.ValidString(p.Witnesses[0].DC+strings.Join(p.Details.Candidates, "")) {
				t.Errorf("%d elements of %d characters: %d follow-ups, or cut inside a character", elements, size, len(p.Details.FollowUps))
			}
			rec := testRecord(t, Settled)
			rec.Tenant, rec.Publisher, rec.Writer.Name = strings.Repeat("t", 24), strings.Repeat("p", 24), strings.Repeat("c", 24)
			if rec.Private, err = recordKey.Seal(rec.Clear(), b); err != nil {
				t.Fatal(err)
			}
			if _, err := ParseRecord(rec.Encode()); err != nil {
				t.Errorf("%d elements of %d characters: a record of %d bytes: %v", elements, size, len(rec.Encode()), err)
			}
		}
	}
}

func TestPrivateSizeHardlyTells(t *testing.T) {
	sizes := make(map[int]bool)
	for n := 1; n <= 64; n++ {
		p := &Private{Account: reset.Account{Kind: reset.UPN, Value: strings.Repeat("u", n)}, Source: "portal", Address: "192.0.2.1"}
		sizes[len(p.Encode())] = true
	}
	if len(sizes) != 1 {
		t.Errorf("accounts of 1 to 64 bytes have private parts of sizes %v", sizes)
	}
}

func TestLargestMessages(t *testing.T) {
	q := testRequest(t)
	q.header = nil
	q.Header.Tenant, q.Header.Publisher = strings.Repeat("t", 24), strings.Repeat("p", 24)
	q.Wraps, q.Body = make([]Wrap, maxWraps), make([]byte, largeBody+16)
	if n := len(q.HeaderBytes()); n > 200 {
		t.Errorf("the largest header has %d bytes, the text says 200", n)
	}
	if _, err := ParseRequest(q.Encode()); err != nil {
		t.Errorf("the largest request of %d bytes: %v", len(q.Encode()), err)
	}
	sw, who := testSwitch(t), Private{Source: strings.Repeat("s", 70000), Address: strings.Repeat("a", 70000)}
	who.Actor = reset.Actor{Kind: reset.Admin, Subject: strings.Repeat("x", reset.MaxSubject)}
	sw.Private = append(who.Encode(), make([]byte, 28)...) // nonce and tag
	if _, err := ParseSwitch(sw.Encode()); err != nil {
		t.Errorf("the largest switch of %d bytes: %v", len(sw.Encode()), err)
	}
	a := testAnnouncement(t)
	a.Tenant, a.Replica, a.Version, a.DC = strings.Repeat("t", 24), strings.Repeat("c", 24), strings.Repeat("1", 70000), strings.Repeat("d", 70000)
	if got, err := ParseAnnouncement(a.Encode()); err != nil || len(got.DC) != maxText {
		t.Errorf("the largest announcement of %d bytes: %v", len(a.Encode()), err)
	}
}

func TestRefusedForms(t *testing.T) {
	year1 := time.Time{}.UnixMicro()
	tests := []struct {
		name  string
		parse func() error
	}{
		{"request without wraps", func() error { q := testRequest(t); q.Wraps = nil; _, err := ParseRequest(q.Encode()); return err }},
		{"request for nine", func() error {
			q := testRequest(t)
			q.Wraps = make([]Wrap, 9)
			_, err := ParseRequest(q.Encode())
			return err
		}},
		{"request too large", func() error { _, err := ParseRequest(make([]byte, MaxRequest+1)); return err }},
		{"record too large", func() error { _, err := ParseRecord(make([]byte, MaxRecord+1)); return err }},
		{"announcement too large", func() error { _, err := ParseAnnouncement(make([]byte, MaxAnnouncement+1)); return err }},
		{"switch too large", func() error { _, err := ParseSwitch(make([]byte, MaxSwitch+1)); return err }},
		{"switch 0", func() error { s := testSwitch(t); s.Name = 0; _, err := ParseSwitch(s.Encode()); return err }},
		{"switch 3", func() error { s := testSwitch(t); s.Name = 3; _, err := ParseSwitch(s.Encode()); return err }},
		{"tenant with a dot", func() error {
			r := testRecord(t, Settled)
			r.Tenant = "a.b"
			_, err := ParseRecord(r.Encode())
			return err
		}},
		{"no replica", func() error {
			a := testAnnouncement(t)
			a.Replica = ""
			_, err := ParseAnnouncement(a.Encode())
			return err
		}},
		{"ticket too large", func() error { _, err := ParseTicket(make([]byte, MaxTicket+1)); return err }},
		{"used ticket without an attempt", func() error {
			k := testTicket(t)
			k.Request = reset.Ref{}
			_, err := ParseTicket(k.Encode())
			return err
		}},
		{"fresh ticket with an attempt", func() error {
			k := testTicket(t)
			k.State = FreshTicket
			_, err := ParseTicket(k.Encode())
			return err
		}},
		{"used ticket without a browser", func() error {
			k := testTicket(t)
			k.Session = [16]byte{}
			_, err := ParseTicket(k.Encode())
			return err
		}},
		{"ticket for nothing", func() error {
			p := testTicketPrivate()
			p.Operations = nil
			_, err := ParseTicketPrivate(p.Encode())
			return err
		}},
		{"ticket for one thing twice", func() error {
			p := testTicketPrivate()
			p.Operations = []reset.Operation{reset.Reset, reset.Reset}
			_, err := ParseTicketPrivate(p.Encode())
			return err
		}},
		{"ticket for nobody", func() error {
			p := testTicketPrivate()
			p.Account = reset.Account{}
			_, err := ParseTicketPrivate(p.Encode())
			return err
		}},
		{"kind 0", func() error { r := testRecord(t, Settled); r.Kind = 0; _, err := ParseRecord(r.Encode()); return err }},
		{"kind 7", func() error { r := testRecord(t, Settled); r.Kind = 7; _, err := ParseRecord(r.Encode()); return err }},
		{"operation 5", func() error {
			r := testRecord(t, Settled)
			r.Operation = 5
			_, err := ParseRecord(r.Encode())
			return err
		}},
		{"a switch that is neither on nor off", func() error {
			r := testRecord(t, Settled)
			b := r.Encode()
			b[len(r.Clear())-5] = 2 // asked, before the 4 bytes of the month
			_, err := ParseRecord(b)
			return err
		}},
		{"the zero time in its other form", func() error {
			b := testPrivate().Encode()
			at := bytes.Index(b, micro(testPrivate().Applied))
			copy(b[at:], micro(time.UnixMicro(year1)))
			_, err := ParsePrivate(b)
			return err
		}},
	}
	for _, tt := range tests {
		if err := tt.parse(); err != errForm {
			t.Errorf("%s: error %v, want errForm", tt.name, err)
		}
	}
	for name, c := range codecs(t) {
		b := c.encode()
		for i := range b {
			if _, err := c.decode(bytes.Clone(b[:i])); err != errForm {
				t.Errorf("%s cut at %d: error %v", name, i, err)
			}
		}
		if _, err := c.decode(append(bytes.Clone(b), 0)); err != errForm {
			t.Errorf("%s with a byte more: error %v", name, err)
		}
		b[0] = version + 1
		if _, err := c.decode(b); err != errForm {
			t.Errorf("%s of another version: error %v", name, err)
		}
	}
}

func micro(t time.Time) []byte {
	w := writer{}
	w.i64(t.UnixMicro())
	return w.b
}
