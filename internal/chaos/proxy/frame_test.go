package proxy

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

// What is read is passed on byte for byte.
func TestFrames(t *testing.T) {
	tests := []struct {
		name     string
		protocol Protocol
		way      Direction
		text     string
		want     []Message
	}{
		{"a client of NATS", NATS, ToServer,
			"CONNECT {\"verbose\":false}\r\nSUB _IN.x.* 1\r\nPUB a.b 3\r\nx\r\n\r\nPUB a _IN.x.1 0\r\n\r\nHPUB c _IN.x.2 12 14\r\nNATS/1.0\r\n\r\nhi\r\nping\r\n",
			[]Message{{Verb: "CONNECT"}, {Verb: "SUB"}, {Verb: "PUB", Subject: "a.b", Body: []byte("x\r\n")},
				{Verb: "PUB", Subject: "a", tag: "_IN.x.1"}, {Verb: "HPUB", Subject: "c", tag: "_IN.x.2", Body: []byte("hi")}, {Verb: "PING"}}},
		{"a server of NATS", NATS, ToClient,
			"INFO {}\r\n+OK\r\nMSG _IN.x.1 1 2\r\nhi\r\nHMSG _IN.x.2 1 $JS.ACK.a 12 13\r\nNATS/1.0\r\n\r\n!\r\n-ERR 'no'\r\nPONG\r\n",
			[]Message{{Verb: "INFO"}, {Verb: "+OK"}, {Verb: "MSG", Subject: "_IN.x.1", tag: "_IN.x.1", Body: []byte("hi")},
				{Verb: "HMSG", Subject: "_IN.x.2", tag: "_IN.x.2", Body: []byte("!")}, {Verb: "-ERR"}, {Verb: "PONG"}}},
		{"records of TLS", TLS, ToServer, "\x16\x03\x01\x00\x02hi\x17\x03\x03\x00\x00",
			[]Message{{Verb: "handshake"}, {Verb: "data"}}},
		{"an unbind", LDAP, ToServer, "\x30\x05\x02\x01\x07\x42\x00", []Message{{Verb: "unbind", Body: []byte("\x30\x05\x02\x01\x07\x42\x00")}}},
		{"a long length", LDAP, ToClient, "\x30\x82\x00\x0c\x02\x01\x07\x67\x07\x0a\x01\x35\x04\x00\x04\x00",
			[]Message{{Verb: "modify", tag: "7", Body: []byte("\x30\x82\x00\x0c\x02\x01\x07\x67\x07\x0a\x01\x35\x04\x00\x04\x00")}}},
		{"bytes", Bytes, ToServer, "anything", []Message{{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(tt.text))
			var passed strings.Builder
			for i, want := range tt.want {
				m, err := tt.protocol.read(r, tt.way)
				if err != nil {
					t.Fatalf("message %d: %v", i+1, err)
				}
				passed.Write(m.raw)
				if m.Verb != want.Verb || m.Subject != want.Subject || m.tag != want.tag || string(m.Body) != string(want.Body) {
					t.Errorf("message %d is %+v, want %+v", i+1, m, want)
				}
			}
			if m, err := tt.protocol.read(r, tt.way); err != io.EOF {
				t.Errorf("there is more: %+v, %v", m, err)
			}
			if passed.String() != tt.text {
				t.Errorf("passed on is %q, want %q", passed.String(), tt.text)
			}
		})
	}
}

func TestBadFrames(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	tests := []struct {
		name     string
		protocol Protocol
		way      Direction
		text     string
		want     error
	}{
		{"half a line", NATS, ToServer, "PUB a", io.ErrUnexpectedEOF},
		{"half a payload", NATS, ToServer, "PUB a 5\r\nhi\r\n", io.ErrUnexpectedEOF},
		{"an empty line", NATS, ToServer, "\r\n", errMalformed},
		{"a line without an end", NATS, ToServer, long, errMalformed},
		{"the other side's verb", NATS, ToServer, "MSG a 1 0\r\n\r\n", errMalformed},
		{"too few words", NATS, ToServer, "HPUB a 1\r\n\r\n", errMalformed},
		{"too many words", NATS, ToServer, "PUB a b c 1\r\n\r\n", errMalformed},
		{"no size", NATS, ToServer, "PUB a x\r\n", errMalformed},
		{"a negative size", NATS, ToServer, "PUB a -1\r\n", errMalformed},
		{"a size that is too large", NATS, ToServer, "PUB a 65537\r\n", errMalformed},
		{"headers larger than all", NATS, ToServer, "HPUB a 2 1\r\nx\r\n", errMalformed},
		{"half a record", TLS, ToServer, "\x17\x03\x03\x00\x05hi", io.ErrUnexpectedEOF},
		{"half a record's head", TLS, ToServer, "\x17\x03", io.ErrUnexpectedEOF},
		{"no TLS", TLS, ToServer, "GET / HTTP/1.1", errMalformed},
		{"a record that is too large", TLS, ToServer, "\x17\x03\x03\xff\xff", errMalformed},
		{"half an LDAP message", LDAP, ToServer, "\x30\x05\x02\x01", io.ErrUnexpectedEOF},
		{"no LDAP", LDAP, ToServer, "GET / HTTP/1.1", errMalformed},
		{"an indefinite length", LDAP, ToServer, "\x30\x80\x02\x01\x07\x42\x00", errMalformed},
		{"a length of five bytes", LDAP, ToServer, "\x30\x85\x00\x00\x00\x00\x05\x02\x01\x07\x42\x00", errMalformed},
		{"an LDAP message that is too large", LDAP, ToServer, "\x30\x83\x20\x00\x00", errMalformed},
		{"no operation", LDAP, ToServer, "\x30\x03\x02\x01\x07", errMalformed},
		{"an operation that there is not", LDAP, ToServer, "\x30\x05\x02\x01\x07\x5e\x00", errMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := tt.protocol.read(bufio.NewReaderSize(strings.NewReader(tt.text), 32<<10), tt.way); !errors.Is(err, tt.want) {
				t.Errorf("got %+v, %v; want %v", m, err, tt.want)
			}
		})
	}
}
