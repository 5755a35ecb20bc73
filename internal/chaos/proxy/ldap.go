package proxy

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// maxLDAP bounds an LDAP message, in bytes. A rootDSE has 10 KiB.
const maxLDAP = 1 << 20

// operations are the tags of RFC 4511 4.2 to 4.13, requests and answers.
var operations = map[ber.Tag]string{
	0: "bind", 1: "bind", 2: "unbind", 3: "search", 4: "entry", 5: "search", 6: "modify", 7: "modify",
	8: "add", 9: "add", 10: "delete", 11: "delete", 12: "modify_dn", 13: "modify_dn", 14: "compare", 15: "compare",
	16: "abandon", 19: "reference", 23: "extended", 24: "extended", 25: "intermediate",
}

func readLDAP(r *bufio.Reader, way Direction) (Message, error) {
	// The length is read here because go-asn1-ber would allocate first and
	// has only a bound for the whole process.
	head, err := r.Peek(2)
	if err != nil {
		return Message{}, err
	}
	size, headSize := int(head[1]), 2
	if size > 0x80 {
		headSize += size & 0x7F
		if headSize > 6 {
			return Message{}, errMalformed
		}
		if head, err = r.Peek(headSize); err != nil {
			return Message{}, err
		}
		size = 0
		for _, b := range head[2:] {
			size = size<<8 | int(b)
		}
	}
	if head[0] != 0x30 || head[1] == 0x80 || size > maxLDAP {
		return Message{}, fmt.Errorf("%w: no LDAP", errMalformed)
	}
	raw := make([]byte, headSize+size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return Message{}, err
	}
	p, err := ber.DecodePacketErr(raw)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %v", errMalformed, err)
	}
	if len(p.Children) < 2 {
		return Message{}, errMalformed
	}
	id, ok := p.Children[0].Value.(int64)
	op := p.Children[1]
	verb, known := operations[op.Tag]
	if !ok || !known || op.ClassType != ber.ClassApplication {
		return Message{}, errMalformed
	}
	m := Message{Verb: verb, Body: raw, raw: raw, tag: strconv.FormatInt(id, 10)}
	if way == ToServer {
		m.Subject = subject(verb, op)
		if verb == "unbind" || verb == "abandon" { // have no answer
			m.tag = ""
		}
	}
	return m, nil
}

// subject returns the DN that a request is about.
func subject(verb string, op *ber.Packet) string {
	switch {
	case verb == "bind" && len(op.Children) > 1:
		return op.Children[1].Data.String()
	case (verb == "search" || verb == "modify") && len(op.Children) > 0:
		return op.Children[0].Data.String()
	}
	return ""
}

// Result returns the result code of an LDAP answer (RFC 4511 4.1.9).
func (m Message) Result() (code int, ok bool) {
	p, err := ber.DecodePacketErr(m.Body)
	if err != nil || m.Direction != ToClient || len(p.Children) < 2 || len(p.Children[1].Children) == 0 {
		return 0, false
	}
	n, ok := p.Children[1].Children[0].Value.(int64)
	return int(n), ok
}

// Password returns the password that an LDAP modify request sets: what
// unicodePwd is to become (MS-ADTS 3.1.1.3.1.5).
func (m Message) Password() (password string, ok bool) {
	if m.Verb != "modify" || m.Direction != ToServer {
		return "", false
	}
	p, err := ber.DecodePacketErr(m.Body)
	if err != nil || len(p.Children[1].Children) < 2 {
		return "", false
	}
	const remove = 1 // RFC 4511 4.6
	for _, change := range p.Children[1].Children[1].Children {
		if len(change.Children) < 2 || len(change.Children[1].Children) < 2 {
			return "", false
		}
		attr, set := change.Children[1].Children[0], change.Children[1].Children[1]
		if change.Children[0].Value == int64(remove) || !strings.EqualFold(attr.Data.String(), "unicodePwd") || len(set.Children) != 1 {
			continue
		}
		value := set.Children[0].Data.Bytes()
		units := make([]uint16, len(value)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(value[2*i:])
		}
		text := string(utf16.Decode(units))
		if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
			return text[1 : len(text)-1], true
		}
	}
	return "", false
}
