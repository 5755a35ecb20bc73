package directory_test

import (
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/testkit/fakead"
)

// A dnsServer answers for a domain controller's records: SRV for the domain,
// and 127.0.0.1 for every host.
type dnsServer struct {
	mu      sync.Mutex
	records []net.SRV
	pdc     []net.SRV
	broken  bool // it knows no name
	asked   int  // for SRV records
}

// Types and codes of RFC 1035 section 3.2.2 and 4.1.1, and RFC 2782.
const (
	typeA    = 1
	typeSRV  = 33
	noError  = 0x8180 // a recursive answer
	nxDomain = 0x8183
)

// startDNS starts d and returns a resolver that asks nobody else.
func startDNS(t *testing.T, d *dnsServer) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			conn.WriteTo(d.answer(buf[:n]), from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// answer answers a query of one question.
func (d *dnsServer) answer(query []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	end := 12
	var labels []string
	for query[end] != 0 {
		labels = append(labels, string(query[end+1:end+1+int(query[end])]))
		end += 1 + int(query[end])
	}
	kind := binary.BigEndian.Uint16(query[end+1:])
	question := query[12 : end+5]
	var answers [][]byte
	code := uint16(noError)
	switch name := strings.Join(labels, "."); {
	case kind == typeSRV && (name == "_ldap._tcp.dc._msdcs.corp.example.com" || d.pdc != nil && name == "_ldap._tcp.pdc._msdcs.corp.example.com"):
		records := d.pdc
		if strings.HasPrefix(name, "_ldap._tcp.dc.") {
			records = d.records
			d.asked++
		}
		for _, r := range records {
			data := binary.BigEndian.AppendUint16(nil, r.Priority)
			data = binary.BigEndian.AppendUint16(data, r.Weight)
			data = binary.BigEndian.AppendUint16(data, r.Port)
			for label := range strings.SplitSeq(r.Target, ".") {
				data = append(append(data, byte(len(label))), label...)
			}
			answers = append(answers, append(data, 0))
		}
	case kind == typeA && strings.HasSuffix(name, ".corp.example.com"):
		answers = append(answers, []byte{127, 0, 0, 1})
	case kind == typeSRV:
		code = nxDomain
	}
	if d.broken {
		code, answers = nxDomain, nil
	}
	out := append([]byte(nil), query[:2]...)
	for _, n := range []uint16{code, 1, uint16(len(answers)), 0, 0} {
		out = binary.BigEndian.AppendUint16(out, n)
	}
	out = append(out, question...)
	for _, data := range answers {
		out = append(out, 0xC0, 12) // the question's name
		out = binary.BigEndian.AppendUint16(out, kind)
		out = append(out, 0, 1, 0, 0, 0, 0) // class IN, not to be kept
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
	}
	return out
}

// change sets the records: of these, in this order.
func (d *dnsServer) change(t *testing.T, broken bool, dcs ...*fakead.Server) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken, d.records = broken, nil
	for i, dc := range dcs {
		_, port, err := net.SplitHostPort(strings.TrimPrefix(dc.PlainURL(), "ldap://"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		d.records = append(d.records, net.SRV{Target: dc.HostName(), Port: uint16(n), Priority: uint16(i), Weight: 100})
	}
}

func TestDomain(t *testing.T) {
	t.Parallel()
	d := &dnsServer{broken: true}
	s := setupSeveral(t, 3, func(_ *several, c *directory.Config) {
		c.URLs, c.Domain, c.StartTLS, c.Resolver = nil, "corp.example.com", true, startDNS(t, d)
	})
	for _, err := range []error{s.client.Check(t.Context()), func() error { _, err := s.client.Begin(t.Context()); return err }()} {
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		if !strings.Contains(err.Error(), "_ldap._tcp.dc._msdcs.corp.example.com") {
			t.Errorf("%v, want the name that was asked for", err)
		}
	}

	// The PDC emulator, dc1, is found by its name: dc3 is never needed.
	d.change(t, false, s.dcs[1], s.dcs[2], s.dcs[0])
	s.want(t, "dc2")
	s.want(t, "dc1")
	s.want(t, "dc1")
	if n := accepted(s.dcs[2]); n != 0 {
		t.Errorf("%d connections to dc3", n)
	}
	s.wantLogged(t, 1, "domain controllers found")

	// DNS fails: what is known stays. It is not asked at every request.
	d.change(t, true)
	s.client.Pass(5 * time.Minute)
	for range 3 {
		s.want(t, "dc1")
	}
	s.wantLogged(t, 1, "those known before are used")

	// A change of DNS is followed after a while, or when none can be used.
	asked := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.asked
	}
	before := asked()
	d.change(t, false, s.dcs[1])
	s.want(t, "dc1")
	if asked() != before {
		t.Error("DNS was asked again at once")
	}
	s.client.Pass(5 * time.Minute)
	s.want(t, "dc2")
	d.change(t, false, s.dcs[2])
	s.dcs[1].Close()
	s.client.Pass(10 * time.Second)
	s.want(t, "dc3")
	s.wantLogged(t, 3, "domain controllers found")
}

// The PDC emulator is used from the start, be it in the list or not.
func TestDomainPDC(t *testing.T) {
	t.Parallel()
	d := &dnsServer{}
	s := setupSeveral(t, 2, func(_ *several, c *directory.Config) {
		c.URLs, c.Domain, c.StartTLS, c.Resolver = nil, "corp.example.com", true, startDNS(t, d)
	})
	d.change(t, false, s.dcs[0])
	d.pdc = d.records
	d.change(t, false, s.dcs[1])
	s.want(t, "dc1")
	s.fake.Close()
	s.client.Pass(time.Minute)
	s.want(t, "dc2")
}
