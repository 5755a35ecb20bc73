package directory

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
)

// said returns an LDAP message with a protocol operation of ours: id 1, the
// first of a connection.
func said(tag ber.Tag, parts ...*ber.Packet) []byte {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	for _, p := range parts {
		op.AppendChild(p)
	}
	m := ber.NewSequence("")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 1, ""))
	m.AppendChild(op)
	return m.Bytes()
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func result(code int, text string) []*ber.Packet {
	return []*ber.Packet{ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""), octets(""), octets(text)}
}

// entryOf returns the attributes of e as a search answers them.
func entryOf(e *ldap.Entry) []*ber.Packet {
	list := ber.NewSequence("")
	for _, a := range e.Attributes {
		values := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range a.Values {
			values.AppendChild(octets(v))
		}
		one := ber.NewSequence("")
		one.AppendChild(octets(a.Name))
		one.AppendChild(values)
		list.AppendChild(one)
	}
	return []*ber.Packet{octets(e.DN), list}
}

// FuzzResult: whatever bytes a domain controller answers a modify or a search
// with, the call ends, and in something of a closed set; what is read of an
// entry is all of it or an error.
func FuzzResult(f *testing.F) {
	f.Add(said(ldap.ApplicationModifyResponse, result(0, "")...))
	f.Add(said(ldap.ApplicationModifyResponse, result(53, "0000052D: SvcErr")...))
	f.Add(said(ldap.ApplicationModifyResponse, append(result(10, "0000202B: RefErr"), ber.Encode(ber.ClassContext, ber.TypeConstructed, 3, nil, ""))...))
	f.Add(slices.Concat(said(ldap.ApplicationSearchResultEntry, entryOf(person(f, nil))...), said(ldap.ApplicationSearchResultDone, result(0, "")...)))
	f.Add(slices.Concat(said(ldap.ApplicationSearchResultReference, octets("ldap://elsewhere")), said(ldap.ApplicationSearchResultDone, result(0, "")...)))
	f.Add(said(ldap.ApplicationExtendedResponse, result(2, "")...))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Add([]byte("\x30\x84\x7f\xff\xff\xff"))
	const limit = 10 * time.Second // far more than it takes: the other side closes
	f.Fuzz(func(t *testing.T, bytes []byte) {
		var entries []*ldap.Entry
		for name, call := range map[string]func(*ldap.Conn) error{
			"modify": func(c *ldap.Conn) error { return c.Modify(ldap.NewModifyRequest("CN=Ada", nil)) },
			"search": func(c *ldap.Conn) error {
				res, err := c.Search(ldap.NewSearchRequest("DC=x", ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 1, false, "(cn=*)", nil, nil))
				if res != nil {
					entries = res.Entries
				}
				return err
			},
		} {
			ours, theirs := net.Pipe()
			w := &wire{Conn: ours}
			cn := &conn{wire: w, ldap: ldap.NewConn(w, false), dc: "dc1"}
			cn.ldap.Start()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer theirs.Close()
				if _, err := ber.ReadPacket(theirs); err == nil {
					theirs.Write(bytes)
				}
			}()
			begun := time.Now()
			err := cn.do(context.Background(), limit, func() error { return call(cn.ldap) })
			cn.close()
			<-done
			if time.Since(begun) >= limit {
				t.Fatalf("%x: the %s did not end", bytes, name)
			}
			a, refusal := errors.AsType[*answer](err)
			if err == nil || !refusal {
				continue
			}
			o, ok := reset.OutcomeOf(refused(setting, a))
			if ok && (o.Code == reset.Applied || !slices.Contains(reset.Codes(), o.Code)) {
				t.Errorf("%x: the %s became %+v", bytes, name, o)
			}
		}
		for _, e := range entries {
			got, found, err := (&conn{}).entry(e, time.Now())
			if err != nil && (got.GUID != [16]byte{} || found.sid != nil) {
				t.Errorf("%x: half an entry, %+v, and %v", bytes, got, err)
			}
			if err == nil && (got.Privileges.RID == 0 && len(found.sid) < 12 || got.GUID != found.guid) {
				t.Errorf("%x: %+v, %+v", bytes, got, found)
			}
		}
	})
}
