package fakead

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// maxMessage bounds a request, in bytes. Windows takes 10 MiB; the largest
// request that makes sense here has two passwords of 256 UTF-16 units.
const maxMessage = 64 << 10

// A Control is a control as a request carried it.
type Control struct {
	OID string
	// Criticality is the byte of the BOOLEAN, 0 if there was none. Only 0xFF is
	// TRUE in LDAP (RFC 4511 5.1). What Windows makes of other bytes is not
	// known; like Samba, this server takes them for FALSE.
	Criticality byte
	Value       []byte // nil if there was none
}

func (c Control) critical() bool { return c.Criticality == 0xFF }

// A message is an LDAP request (RFC 4511 4.1.1).
type message struct {
	id       int64
	op       *ber.Packet
	controls []Control
}

var errMalformed = errors.New("not an LDAP message")

// readMessage reads one request. All its errors end the connection.
func readMessage(r *bufio.Reader) (*message, error) {
	head, err := r.Peek(2)
	if err != nil {
		return nil, err
	}
	// The length is read here because go-asn1-ber would allocate first and
	// has only a bound for the whole process.
	size, headSize := int(head[1]), 2
	if size > 0x80 {
		headSize += size & 0x7F
		if headSize > 6 {
			return nil, errMalformed
		}
		if head, err = r.Peek(headSize); err != nil {
			return nil, err
		}
		size = 0
		for _, b := range head[2:] {
			size = size<<8 | int(b)
		}
	} else if size == 0x80 { // indefinite, which RFC 4511 5.1 forbids
		return nil, errMalformed
	}
	if head[0] != 0x30 || size > maxMessage {
		return nil, errMalformed
	}
	raw := make([]byte, headSize+size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, err
	}
	p, err := ber.DecodePacketErr(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errMalformed, err)
	}
	return parseMessage(p)
}

func parseMessage(p *ber.Packet) (*message, error) {
	id, ok := integer(child(p, 0))
	op := child(p, 1)
	if !ok || id < 1 || op == nil || op.ClassType != ber.ClassApplication {
		return nil, errMalformed
	}
	m := &message{id: id, op: op}
	if list := child(p, 2); list != nil && list.ClassType == ber.ClassContext && list.Tag == 0 {
		for _, c := range list.Children {
			control, err := parseControl(c)
			if err != nil {
				return nil, err
			}
			m.controls = append(m.controls, control)
		}
	}
	return m, nil
}

func parseControl(p *ber.Packet) (Control, error) {
	oid, ok := octets(child(p, 0))
	if !ok {
		return Control{}, errMalformed
	}
	c := Control{OID: oid}
	for _, field := range p.Children[1:] {
		switch {
		case field.Tag == ber.TagBoolean && len(field.ByteValue) == 1:
			c.Criticality = field.ByteValue[0]
		case field.Tag == ber.TagOctetString:
			c.Value = field.ByteValue
		default:
			return Control{}, errMalformed
		}
	}
	return c, nil
}

// child returns the i-th element of p, nil if there is none.
func child(p *ber.Packet, i int) *ber.Packet {
	if p == nil || i >= len(p.Children) {
		return nil
	}
	return p.Children[i]
}

// octets returns the content of a primitive, whatever its tag: LDAP gives the
// context its own.
func octets(p *ber.Packet) (string, bool) {
	if p == nil || p.TagType != ber.TypePrimitive {
		return "", false
	}
	return p.Data.String(), true
}

func integer(p *ber.Packet) (int64, bool) {
	if p == nil || p.ClassType != ber.ClassUniversal {
		return 0, false
	}
	n, ok := p.Value.(int64)
	return n, ok
}

// A result is an LDAPResult (RFC 4511 4.1.9).
type result struct {
	code    int
	text    string
	matched string // the nearest ancestor that exists, for noSuchObject

	referral []string // LDAP URLs
}

// encode returns the message with which the server ends its answer to m.
func (r result) encode(m *message) []byte {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, responseTag(m.op.Tag), nil, "")
	op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, r.code, ""))
	op.AppendChild(octetString(r.matched))
	op.AppendChild(octetString(r.text))
	if len(r.referral) > 0 {
		const referral = 3
		list := ber.Encode(ber.ClassContext, ber.TypeConstructed, referral, nil, "")
		for _, url := range r.referral {
			list.AppendChild(octetString(url))
		}
		op.AppendChild(list)
	}
	return envelope(m.id, op)
}

// responseTag returns the tag of the response that ends a request: one more,
// but for search, whose entries have that one.
func responseTag(request ber.Tag) ber.Tag {
	if request == ldap.ApplicationSearchRequest {
		return ldap.ApplicationSearchResultDone
	}
	return request + 1
}

func envelope(id int64, op *ber.Packet) []byte {
	m := ber.NewSequence("")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	m.AppendChild(op)
	return m.Bytes()
}

func octetString(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}
