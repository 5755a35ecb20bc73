package envelope

import (
	"bytes"
	"testing"

	"writeback/internal/reset"
	"writeback/internal/seal"
)

func pins(t *testing.T, purpose seal.Purpose) seal.Pins {
	t.Helper()
	p, err := seal.NewPins([]seal.Pin{{Key: signer(t, purpose).Public()}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSizesAgreeWithSeal(t *testing.T) {
	for name, sizes := range map[string][2]int{
		"wrap":      {wrapSize, seal.WrapSize},
		"signature": {sigSize, seal.SignatureSize},
		"box":       {BoxSize, seal.PublicBoxSize},
		"wraps":     {maxWraps, seal.MaxRecipients},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("%s: %d here, %d in package seal", name, sizes[0], sizes[1])
		}
	}
}

// The signatures and private parts of the vectors are real.
func TestVectorsAreSigned(t *testing.T) {
	publishers, consumers := pins(t, seal.PurposePublisher), pins(t, seal.PurposeConsumer)
	q, err := ParseRequest(testRequest(t).Encode())
	if err != nil || !publishers.Verify(q.Header.Signer, at, seal.KindRequest, q.Signed(), q.Sig) {
		t.Errorf("the request does not verify: %v", err)
	}
	a, err := ParseAnnouncement(testAnnouncement(t).Encode())
	if err != nil || !consumers.Verify(a.Signer, at, seal.KindAnnounce, a.Signed(), a.Sig) {
		t.Errorf("the announcement does not verify: %v", err)
	}
	sw, err := ParseSwitch(testSwitch(t).Encode())
	if err != nil || !publishers.Verify(sw.Signer, at, seal.KindSwitch, sw.Signed(), sw.Sig) {
		t.Errorf("the switch does not verify: %v", err)
	}
	if _, err := recordKey.Open(sw.Clear(), sw.Private); err != nil {
		t.Errorf("the private part of the switch: %v", err)
	}
	ticket, err := ParseTicket(testTicket(t).Encode())
	if err != nil || !publishers.Verify(ticket.Signer, at, seal.KindTicket, ticket.Signed(), ticket.Sig) {
		t.Errorf("the ticket does not verify: %v", err)
	} else if private, err := seal.Ticket(count[[32]byte](0xe0)).Open(ticket.Bound(), ticket.Private); err != nil || !bytes.Equal(private, testTicketPrivate().Encode()) {
		t.Errorf("the ticket's private part: %v", err)
	}
	for k := Accepted; k <= Corrected; k++ {
		rec, err := ParseRecord(testRecord(t, k).Encode())
		if err != nil {
			t.Fatal(err)
		}
		verified := publishers.Verify(rec.Writer.Key, at, seal.KindRecord, rec.Signed(), rec.Sig) ||
			consumers.Verify(rec.Writer.Key, at, seal.KindRecord, rec.Signed(), rec.Sig)
		private, err := recordKey.Open(rec.Clear(), rec.Private)
		if !verified || err != nil || !bytes.Equal(private, testPrivate().Encode()) {
			t.Errorf("%s: verified %t, private part %v", k, verified, err)
		}
	}
}

// What was received is what is verified, whatever is done to the fields.
func TestSignedIsWhatWasReceived(t *testing.T) {
	q, _ := ParseRequest(testRequest(t).Encode())
	rec, _ := ParseRecord(testRecord(t, Settled).Encode())
	a, _ := ParseAnnouncement(testAnnouncement(t).Encode())
	sw, _ := ParseSwitch(testSwitch(t).Encode())
	k, _ := ParseTicket(testTicket(t).Encode())
	before := [][]byte{q.Signed(), rec.Signed(), a.Signed(), q.HeaderBytes(), rec.Clear(), sw.Signed(), sw.Clear(), k.Signed()}
	q.Header.Operation, rec.Code, a.DC, sw.On = reset.Probe, reset.Applied, "evil", false
	k.Attempts = 0
	for i, after := range [][]byte{q.Signed(), rec.Signed(), a.Signed(), q.HeaderBytes(), rec.Clear(), sw.Signed(), sw.Clear(), k.Signed()} {
		if !bytes.Equal(before[i], after) {
			t.Errorf("signed bytes %d are made from the fields", i)
		}
	}
}

func TestKindNames(t *testing.T) {
	want := []string{"unknown", "accepted", "claimed", "released", "settled", "cancelled", "corrected", "unknown"}
	for i, name := range want {
		if got := Kind(i).String(); got != name {
			t.Errorf("kind %d is %q, want %q", i, got, name)
		}
	}
}
