package fakead

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

func TestFaults(t *testing.T) {
	tests := []struct {
		name    string
		fault   Fault
		applied bool
		want    string // of the answer or of the error there is instead
	}{
		{"none", Fault{}, true, ""},
		{"applied and cut", Fault{Reply: Cut}, true, "connection reset"},
		{"cut before applying", Fault{Skip: true, Reply: Cut}, false, "connection reset"},
		{"refused", Refuse(51, "00002024: SvcErr: busy"), false, `LDAP Result Code 51 "Busy": 00002024: SvcErr: busy`},
		{"said to be done", Fault{Skip: true}, false, ""},
		{"applied and garbage", Fault{Reply: Garbage}, true, "invalid length byte"},
		{"garbage", Fault{Skip: true, Reply: Garbage}, false, "invalid length byte"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, Options{Users: 2})
			conn := asService(t, s)
			i := s.Inject(Modify, tt.fault)
			err := reset(conn, s.Directory().Users[0].DN, "Another-Pass-1")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			wait(t, i.Met(), "the modify")
			wait(t, i.Done(), "the end of the modify")
			if got := s.Check("user01", "Another-Pass-1"); got != tt.applied {
				t.Errorf("applied: %t, want %t", got, tt.applied)
			}
			if got := s.Counts("user01").Modifies; got != 1 {
				t.Errorf("%d modifies were read, want 1", got)
			}
			says(t, reset(asService(t, s), s.Directory().Users[1].DN, "Another-Pass-1"), 0, "") // met by nothing
		})
	}
}

// A held modify is carried out even though its client is long gone.
func TestHold(t *testing.T) {
	s := start(t, Options{Users: 1})
	conn := asService(t, s)
	i := s.Inject(Modify, Fault{Hold: true})
	answered := make(chan error, 1)
	go func() { answered <- reset(conn, s.Directory().Users[0].DN, "Another-Pass-1") }()
	wait(t, i.Met(), "the modify")
	conn.Close()
	if err := <-answered; err == nil {
		t.Error("the modify was answered")
	}
	if s.Check("user01", "Another-Pass-1") {
		t.Error("the modify was carried out before its release")
	}
	i.Release()
	wait(t, i.Done(), "the end of the modify")
	if !s.Check("user01", "Another-Pass-1") {
		t.Error("the modify was not carried out")
	}
}

func TestSilence(t *testing.T) {
	s := start(t, Options{Users: 1})
	conn := asService(t, s)
	i := s.Inject(Modify, Fault{Reply: Silence})
	answered := make(chan error, 1)
	go func() { answered <- reset(conn, s.Directory().Users[0].DN, "Another-Pass-1") }()
	wait(t, i.Done(), "the silence")
	if !s.Check("user01", "Another-Pass-1") {
		t.Error("the modify was not carried out")
	}
	select {
	case err := <-answered:
		t.Errorf("got %v, want silence", err)
	default:
	}
	conn.Close()
	<-answered
}

func TestFaultsElsewhere(t *testing.T) {
	s := start(t, Options{Users: 1})
	d := s.Directory()
	i := s.Inject(Bind, Refuse(51, "00002024: SvcErr: busy"))
	says(t, dial(t, s).Bind(d.ServiceDN, d.ServicePassword), 51, "00002024: SvcErr: busy")
	wait(t, i.Done(), "the bind")

	conn := asService(t, s)
	s.Inject(Search, Refuse(11, "limit"))
	_, err := conn.Search(&ldap.SearchRequest{BaseDN: d.BaseDN, Filter: "(objectClass=*)"})
	says(t, err, 11, "limit")

	for _, reply := range []Reply{Cut, Garbage, Silence} {
		i := s.Inject(Connect, Fault{Reply: reply})
		raw, err := tryConnect(t, s)
		if reply == Cut && errors.Is(err, syscall.ECONNRESET) { // so soon
			continue
		}
		must(t, err)
		wait(t, i.Done(), "the connection")
		if reply == Silence {
			continue // and stays open until the end of the test
		}
		got, err := bufio.NewReader(raw).ReadByte()
		if reply == Cut && !errors.Is(err, syscall.ECONNRESET) || reply == Garbage && got != 0x30 {
			t.Errorf("fault %d on connecting: got byte %#x, %v", reply, got, err)
		}
	}
}

func connect(t *testing.T, s *Server) net.Conn {
	t.Helper()
	raw, err := tryConnect(t, s)
	must(t, err)
	return raw
}

func tryConnect(t *testing.T, s *Server) (net.Conn, error) {
	t.Helper()
	raw, err := net.Dial("tcp", strings.TrimPrefix(s.Directory().URL, "ldaps://"))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { raw.Close() })
	return raw, raw.SetDeadline(time.Now().Add(patience))
}

func TestFaultOnConnecting(t *testing.T) {
	s := start(t, Options{Users: 1})
	i := s.Inject(Connect, Fault{Hold: true})
	conn := tls.Client(connect(t, s), &tls.Config{RootCAs: pool(t, s), ServerName: "127.0.0.1"})
	wait(t, i.Met(), "the connection")
	i.Release()
	i.Release() // does no harm
	wait(t, i.Done(), "the fault's end")
	must(t, conn.Handshake())
}

func TestLatency(t *testing.T) {
	const latency = 5 * time.Millisecond
	s := start(t, Options{Users: 1, Latency: latency})
	conn := asService(t, s)
	began := time.Now()
	must(t, reset(conn, s.Directory().Users[0].DN, "Another-Pass-1"))
	if took := time.Since(began); took < latency {
		t.Errorf("a modify took %s, want %s at least", took, latency)
	}

	s = start(t, Options{Users: 1, Latency: time.Hour})
	conn = asService(t, s)
	i := s.Inject(Modify, Fault{})
	answered := make(chan error, 1)
	go func() { answered <- reset(conn, s.Directory().Users[0].DN, "Another-Pass-1") }()
	wait(t, i.Met(), "the modify")
	must(t, s.Close())
	if err := <-answered; err == nil || s.Check("user01", "Another-Pass-1") {
		t.Error("a modify that waited was carried out after Close")
	}
}

// What is not LDAP ends the connection, and only that.
func TestBadRequests(t *testing.T) {
	s := start(t, Options{Users: 1})
	tests := []struct {
		name string
		sent []byte
	}{
		{"text", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"too long", []byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}},
		{"length of nine bytes", []byte{0x30, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
		{"indefinite length", []byte{0x30, 0x80, 2, 1, 1, 0, 0}},
		{"empty", []byte{0x30, 0}},
		{"no id", []byte{0x30, 2, 0x42, 0}},
		{"parts longer than the whole", []byte{0x30, 3, 2, 5, 1}},
		{"unknown operation", []byte{0x30, 5, 2, 1, 1, 0x5e, 0}},
		{"empty bind", []byte{0x30, 5, 2, 1, 1, 0x60, 0}},
		{"empty search", []byte{0x30, 5, 2, 1, 1, 0x63, 0}},
		{"empty modify", []byte{0x30, 5, 2, 1, 1, 0x66, 0}},
		{"empty control", []byte{0x30, 9, 2, 1, 1, 0x42, 0, 0xa0, 2, 0x30, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := tls.Client(connect(t, s), &tls.Config{RootCAs: pool(t, s), ServerName: "127.0.0.1"})
			_, err := conn.Write(tt.sent)
			must(t, err)
			if n, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, syscall.ETIMEDOUT) {
				t.Errorf("read %d bytes, %v, want the end", n, err)
			}
		})
	}
	must(t, reset(asService(t, s), s.Directory().Users[0].DN, "Another-Pass-1"))
}

// Operations that are not known are refused, and the connection goes on.
func TestOtherOperations(t *testing.T) {
	s := start(t, Options{Users: 1})
	conn := asAdmin(t, s)
	says(t, conn.Del(ldap.NewDelRequest(s.Directory().Users[0].DN, nil)), 53, "00002035: SvcErr: ")
	_, err := conn.WhoAmI(nil)
	says(t, err, 53, "00002035: SvcErr: ")
	must(t, reset(conn, s.Directory().Users[0].DN, "Another-Pass-1"))
	must(t, conn.Unbind())
}

// No bytes make the server panic.
func FuzzHandle(f *testing.F) {
	s := start(f, Options{Users: 2})
	for _, op := range []*ber.Packet{
		seed(f, func(c *ldap.Conn) { c.Bind("a", "b") }),
		seed(f, func(c *ldap.Conn) { reset(c, staffDN, "Another-Pass-1", hints()) }),
		seed(f, func(c *ldap.Conn) { changePassword(c, "<GUID=00>", "a", "b") }),
		seed(f, func(c *ldap.Conn) {
			c.Search(&ldap.SearchRequest{BaseDN: baseDN, Scope: 2, Filter: "(&(a=b*c)(!(objectSid>=x))(|(uSNChanged:1.2.840.113556.1.4.803:=2)))"})
		}),
		seed(f, func(c *ldap.Conn) {
			c.Search(&ldap.SearchRequest{BaseDN: staffDN, Scope: 2, Filter: "(memberOf:" + inChain + ":=" + staffDN + ")",
				Attributes: []string{"nTSecurityDescriptor", "msDS-ResultantPSO"},
				Controls:   []ldap.Control{control{sdFlags, 0xFF, []byte{0x30, 3, 2, 1, 4}}}})
		}),
		seed(f, func(c *ldap.Conn) {
			c.Search(&ldap.SearchRequest{Filter: "(a=*)", Attributes: []string{"tokenGroups"}})
		}),
		seed(f, func(c *ldap.Conn) { c.Extended(&ldap.ExtendedRequest{Name: startTLS}) }),
	} {
		f.Add(op.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readMessage(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		client, server := net.Pipe()
		client.Close()
		c := &session{s: s, raw: server, conn: server, secure: len(data)%2 == 0, who: s.domain.named("user01")}
		c.token = s.domain.token(c.who)
		c.handle(m)
	})
}

// seed returns the request that a client sends.
func seed(f *testing.F, send func(*ldap.Conn)) *ber.Packet {
	client, server := net.Pipe()
	conn := ldap.NewConn(client, true)
	conn.Start()
	go send(conn)
	p, err := ber.ReadPacket(server)
	must(f, err)
	server.Close()
	conn.Close()
	return p
}
