package seal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTicket(t *testing.T) {
	ticket := NewTicket()
	text := ticket.Text()
	if len(text) != 47 || !strings.HasPrefix(text, "wbt_") {
		t.Errorf("the text of a ticket is %q", text)
	}
	if again, err := ParseTicket(text); err != nil || again != ticket {
		t.Errorf("the text reads back as another ticket: %v", err)
	}
	if NewTicket() == ticket {
		t.Error("two tickets are the same")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, ticket); got != "[secret]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	for _, bad := range []string{"", "wbt_", text[:46], text + "A", text + "=", "wbk_" + text[4:], text[:46] + "\n", " " + text, text[:45] + "+/"} {
		if _, err := ParseTicket(bad); err == nil || bad != "" && strings.Contains(err.Error(), bad) && len(bad) > 4 {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestTicketOpens(t *testing.T) {
	ticket, bound, private := NewTicket(), []byte("bound"), []byte("private")
	sealed, err := ticket.Seal(bound, private)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ticket.Open(bound, sealed); err != nil || !bytes.Equal(got, private) {
		t.Errorf("opened %q, %v", got, err)
	}
	altered := bytes.Clone(sealed)
	altered[0] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another ticket":    func() ([]byte, error) { return NewTicket().Open(bound, sealed) },
		"bound to another":  func() ([]byte, error) { return ticket.Open([]byte("bount"), sealed) },
		"altered":           func() ([]byte, error) { return ticket.Open(bound, altered) },
		"cut":               func() ([]byte, error) { return ticket.Open(bound, sealed[:len(sealed)-1]) },
		"nothing":           func() ([]byte, error) { return ticket.Open(bound, nil) },
		"its name for text": func() ([]byte, error) { id := ticket.ID(); return ticket.Open(bound, id[:]) },
	} {
		if got, err := open(); !errors.Is(err, ErrTicket) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
