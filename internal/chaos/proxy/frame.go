package proxy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A Protocol says what a message is.
type Protocol int

// The protocols. Bytes are whatever was read at once, for lines whose TLS
// comes late or not at all; a cut between them is at no place that could be
// named. LDAP is LDAPS: StartTLS is not known. NATS is with TLS from the first
// byte, and not inside a WebSocket.
const (
	Bytes Protocol = iota
	TLS
	LDAP
	NATS
)

func (p Protocol) endsTLS() bool { return p == LDAP || p == NATS }

var errMalformed = errors.New("not a message of the protocol")

// read reads one message. io.EOF is an end between two of them.
func (p Protocol) read(r *bufio.Reader, way Direction) (m Message, err error) {
	if _, err := r.Peek(1); err != nil {
		return Message{}, err
	}
	switch p {
	case TLS:
		m, err = readRecord(r)
	case LDAP:
		m, err = readLDAP(r, way)
	case NATS:
		m, err = readNATS(r, way)
	default:
		m.raw = make([]byte, r.Buffered())
		_, err = io.ReadFull(r, m.raw)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

// recordTypes are those of RFC 8446 5.1. TLS 1.3 writes "data" on everything
// but the hellos.
var recordTypes = map[byte]string{20: "change_cipher_spec", 21: "alert", 22: "handshake", 23: "data"}

// maxTLS is the longest TLS record without its head (RFC 5246 6.2.3).
const maxTLS = 1<<14 + 2048

func readRecord(r *bufio.Reader) (Message, error) {
	head, err := r.Peek(5)
	if err != nil {
		return Message{}, err
	}
	verb, known := recordTypes[head[0]]
	size := int(binary.BigEndian.Uint16(head[3:]))
	if !known || size > maxTLS {
		return Message{}, fmt.Errorf("%w: no record of TLS", errMalformed)
	}
	m := Message{Verb: verb, raw: make([]byte, 5+size)}
	_, err = io.ReadFull(r, m.raw)
	return m, err
}
