package trail

import (
	"slices"
	"strings"
	"testing"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

func line(t testing.TB, m Message) []byte {
	t.Helper()
	text, err := Line{Message: m}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestFilter(t *testing.T) {
	e := Entry{
		Account: "Ada@corp.example.com", Actor: "helpdesk", Source: "portal", Operation: "reset", Code: "applied",
		Side: "consumer", Writer: "consumer1", Request: "pub1-00112233445566778899aabbccddeeff",
	}
	about := Entry{Kind: "name_revealed", Facts: []Fact{{"request", "00112233445566778899aabbccddeeff"}}}
	if !(Filter{}).Match(e) || !(Filter{Request: e.Request}).Match(about) {
		t.Error("what is wanted does not match")
	}
	for name, f := range map[string]struct{ same, other Filter }{
		"account":   {Filter{Account: "ada@CORP.example.com"}, Filter{Account: "ada"}},
		"actor":     {Filter{Actor: "helpdesk"}, Filter{Actor: "desk"}},
		"source":    {Filter{Source: "portal"}, Filter{Source: "api"}},
		"operation": {Filter{Operation: "reset"}, Filter{Operation: "change"}},
		"code":      {Filter{Code: "applied"}, Filter{Code: "expired"}},
		"consumer":  {Filter{Consumer: "consumer1"}, Filter{Consumer: "consumer2"}},
		"request":   {Filter{Request: e.Request}, Filter{Request: "pub1-ff112233445566778899aabbccddeeff"}},
		"both":      {Filter{Account: e.Account, Code: "applied"}, Filter{Account: e.Account, Code: "expired"}},
	} {
		if !f.same.Match(e) || f.other.Match(e) {
			t.Errorf("%s: matches %t, and another one %t", name, f.same.Match(e), f.other.Match(e))
		}
	}
	e.Side = "publisher"
	if (Filter{Consumer: "consumer1"}).Match(e) {
		t.Error("a publisher is taken for a consumer")
	}
}

// Names come from callers: they must not steer a terminal.
func TestPrintersEscape(t *testing.T) {
	e := Entry{Account: "ada\x1b[2J\u202e", ActorKind: "admin", Actor: "a\nb", Source: "s\r", Address: "\x00", DC: "dc\x07", Facts: []Fact{{"reason", "\u2028"}}, Request: "r"}
	for _, format := range Formats() {
		var out strings.Builder
		p := NewPrinter(format, &out)
		for range 2 {
			if err := p.Print(e); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range out.String() {
			if r != '\n' && (r < ' ' || r == 0x7f || r == '\u202e' && format != "json" || r == '\u2028') {
				t.Errorf("%s prints %q in %q", format, r, out.String())
			}
		}
		if !strings.Contains(out.String(), "ada") {
			t.Errorf("%s prints %q", format, out.String())
		}
	}
	if NewPrinter("other", nil) != nil {
		t.Error("there is a printer for another format")
	}
}

func TestReader(t *testing.T) {
	signer := keys.Signer(t, seal.PurposePublisher, 1)
	log := audit.NewLog(signer, "pub1")
	r := Reader{Verifier: audit.Verifier{Tenant: "corp", Publishers: keys.Pins(t, signer.Public()), Consumers: keys.Pins(t, keys.Signer(t, seal.PurposeConsumer, 2).Public())}}
	rec := envelope.Record{Kind: envelope.Accepted, Tenant: "corp", Publisher: "pub1", ID: reset.ID{7}, Operation: reset.Unlock, Time: noon, Private: []byte("sealed with a key that is not here")}
	data, err := log.Record(&rec, envelope.Private{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := r.Read(Message{Stream: Records, Message: reset.Message{Seq: 9, Time: noon, Data: data}})
	if e.Kind != "accepted" || !e.Signed || e.Side != "publisher" || !e.Hidden || e.Operation != "unlock" || e.Request != "pub1-07"+strings.Repeat("0", 30) || e.Seq != 9 {
		t.Errorf("the entry is %+v", e)
	}
	bad := slices.Clone(data)
	bad[len(bad)-1] ^= 1
	if e := r.Read(Message{Stream: Records, Message: reset.Message{Data: bad}}); e.Signed || e.Side != "" || e.Kind != "accepted" {
		t.Errorf("what nobody has signed is %+v", e)
	}
	for _, stream := range []string{Records, Events} {
		if e := r.Read(Message{Stream: stream, Message: reset.Message{Data: []byte("rubbish")}}); e.Kind != "unreadable" || e.Signed {
			t.Errorf("rubbish is %+v", e)
		}
	}
	r.Verifier.Tenant = "acme"
	if e := r.Read(Message{Stream: Records, Message: reset.Message{Data: data}}); e.Kind != "unreadable" {
		t.Errorf("a record of another tenant is %+v", e)
	}
}

// Every fact of every kind of event is told.
func TestFacts(t *testing.T) {
	for _, f := range []envelope.Fact{
		envelope.Started{Version: "1"}, envelope.Checkpoint{From: 1, To: 2, Lost: 3}, envelope.SealingKey{}, envelope.ReplicaSeen{}, envelope.TokenMade{},
		envelope.TokenRevoked{}, envelope.SwitchChanged{}, envelope.NameRevealed{}, envelope.TicketMade{}, envelope.TicketUsed{},
	} {
		if len(facts(f)) == 0 {
			t.Errorf("nothing is told of %s", f.Kind())
		}
	}
	d := details(reset.Details{Field: "a", Reason: "b", Result: "c", Right: "d", MinLength: 8, Earliest: noon, Categories: []string{"e"}, Candidates: []string{"f"}, FollowUps: []reset.FollowUp{{What: "unlock"}, {What: "must_change", Right: "x"}}})
	if len(d) != 10 {
		t.Errorf("the details are %v", d)
	}
}
