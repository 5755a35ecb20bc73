package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a NATS message, in bytes: the control line, of which INFO has the
// longest, and the payload with its headers (max_payload of nats/).
const (
	maxLine    = 32 << 10
	maxPayload = 64 << 10
)

// A frame says what follows a control line's verb: how many words at least,
// where the reply subject is if there is one more, and whether the payload
// begins with headers.
var frames = map[Direction]map[string]struct {
	words   int
	headers bool
}{
	ToServer: {"PUB": {2, false}, "HPUB": {3, true}},
	ToClient: {"MSG": {3, false}, "HMSG": {4, true}},
}

// without are the verbs that are all in one line.
var without = map[Direction][]string{
	ToServer: {"CONNECT", "SUB", "UNSUB", "PING", "PONG"},
	ToClient: {"INFO", "PING", "PONG", "+OK", "-ERR"},
}

// readNATS reads one message of the client protocol
// (https://docs.nats.io/reference/reference-protocols/nats-protocol). A request
// and its answer share the reply subject, which is the answer's subject.
func readNATS(r *bufio.Reader, way Direction) (Message, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxLine {
		return Message{}, fmt.Errorf("%w: no line of NATS", errMalformed)
	} else if err != nil {
		return Message{}, err
	}
	m := Message{raw: slices.Clone(line)}
	words := strings.Fields(string(line))
	if len(words) == 0 {
		return Message{}, errMalformed
	}
	m.Verb = strings.ToUpper(words[0])
	words = words[1:]
	frame, ok := frames[way][m.Verb]
	if !ok {
		if !slices.Contains(without[way], m.Verb) {
			return Message{}, fmt.Errorf("%w: no verb of NATS", errMalformed)
		}
		return m, nil
	}
	if len(words) < frame.words || len(words) > frame.words+1 {
		return Message{}, errMalformed
	}
	m.Subject = words[0]
	switch {
	case way == ToClient:
		m.tag = m.Subject
	case len(words) > frame.words:
		m.tag = words[1] // the reply subject
	}
	size, err := length(words[len(words)-1])
	if err != nil {
		return Message{}, err
	}
	head := 0
	if frame.headers {
		if head, err = length(words[len(words)-2]); err != nil || head > size {
			return Message{}, errMalformed
		}
	}
	payload := make([]byte, size+2) // and the end of the line
	if _, err := io.ReadFull(r, payload); err != nil {
		return Message{}, err
	}
	m.Body = payload[head:size]
	m.raw = append(m.raw, payload...)
	return m, nil
}

func length(word string) (int, error) {
	n, err := strconv.Atoi(word)
	if err != nil || n < 0 || n > maxPayload {
		return 0, errMalformed
	}
	return n, nil
}
