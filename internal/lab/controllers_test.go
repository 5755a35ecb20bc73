package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/reset"
	"writeback/internal/testkit/samba"
)

// silence is longer than a connection may have been idle to be used untested.
const silence = 15 * time.Second

// TestControllers resets passwords all the time while each of two domain
// controllers that are really joined is killed and started again, one stops
// answering, and the PDC role moves. No caller notices: what was in doubt, which
// the table counts, has been found out before they are answered. It is not run beside
// others: a domain controller that has no processor answers too late.
func TestControllers(t *testing.T) {
	l := startLab(t, "samba-pair")
	p := l.Pair
	s := startTraffic(t, l)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	phase := func(name string, begin func()) {
		s.enter(name)
		begin()
		s.await(t, enough)
	}
	phase("both are well, dc1 has the PDC role", func() {})
	phase("the role is handed to dc2", func() { must(p.MovePDC(t.Context(), p.DC2)) })
	used, _ := s.inUse(t)
	phase("the one in use is killed", used.Kill)
	phase("it is back", func() { must(used.Restart(t.Context())) })
	_, other := s.inUse(t)
	phase("the other is killed", other.Kill)
	phase("it is back, too", func() { must(other.Restart(t.Context())) })
	used, _ = s.inUse(t)
	phase("the one in use says nothing for 15 s", func() {
		must(used.Freeze())
		<-time.After(silence)
	})
	phase("it goes on", func() { must(used.Thaw()) })
	phase("dc2 is in use, since it has the role", func() { s.awaitAt(t, p.DC2) })
	phase("dc2 is killed, and dc1 seizes the role", func() {
		p.DC2.Kill()
		must(p.MovePDC(t.Context(), p.DC1))
	})
	phase("dc2 is back, without the role", func() { must(p.DC2.Restart(t.Context())) })
	s.end()

	must(p.Sync(t.Context()))
	s.judge(t)
	for name, url := range operations(t, l.Dir, l.opts.Consumers) {
		await(t, "being ready", func() error { return ready(t.Context(), name, url) })
	}
}

// TestNobodyAnswers has both domain controllers away. What was asked for waits,
// and is applied if one is back before its deadline; else it was not.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake-pair")
	e, users := l.endpoints(t), l.Directory.Users
	consumers := operations(t, l.Dir, l.opts.Consumers)
	delete(consumers, "publisher")
	l.fake.Close()
	l.second.Close()

	begun := time.Now()
	pending := func(i int) response {
		t.Helper()
		r, err := e.post(t.Context(), "upn", users[i].UPN, fmt.Sprintf("Patient-Word-%d", i), "Prefer: wait=0")
		if err != nil || r.Status != http.StatusAccepted || r.Final {
			t.Fatalf("a request while nobody answers: %v %s", err, r.Body)
		}
		return r
	}
	late := pending(0)
	for name, url := range consumers {
		await(t, name+" being unready", func() error {
			err := ready(t.Context(), name, url)
			if err == nil {
				return errors.New("it is ready")
			}
			for _, dc := range l.urls {
				if why := dc + ": connecting: "; !strings.Contains(err.Error(), why) {
					return fmt.Errorf("%q is not in: %w", why, err)
				}
			}
			return nil
		})
	}
	t.Logf("both consumers say so after %s", time.Since(begun).Round(time.Second))
	<-time.After(time.Until(begun.Add(reset.Deadline - 10*time.Second)))
	if r := l.get(t, e, late.ID); r.Final {
		t.Errorf("before its deadline: %s", r.Body)
	}
	inTime := []response{pending(1), pending(2), pending(3)}
	await(t, "the end of the first", func() error {
		if r := l.get(t, e, late.ID); r.Code != "expired" || !r.Final {
			return errors.New(r.Body)
		}
		return nil
	})
	t.Logf("the first has expired after %s", time.Since(begun).Round(time.Second))
	if err := l.second.Restart(); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	for i, waits := range inTime {
		await(t, "a request that was in time", func() error {
			if r := l.get(t, e, waits.ID); r.Code != "applied" || !r.Final {
				return errors.New(r.Body)
			}
			return nil
		})
		if n := l.second.Counts(users[i+1].SAMAccountName).Passwords; n != 1 {
			t.Errorf("the password of account %d was set %d times", i+1, n)
		}
	}
	t.Logf("the others are applied after %s", time.Since(begun).Round(time.Second))
	at := inspect(t, e)
	await(t, "an empty queue", func() error {
		if n := at.waiting(t); n > 0 {
			return fmt.Errorf("%d requests wait", n)
		}
		return nil
	})
	if n := l.second.Counts(users[0].SAMAccountName).Modifies; n != 0 {
		t.Errorf("a request that had expired was sent %d times", n)
	}
	for name, url := range consumers {
		await(t, "being ready", func() error { return ready(t.Context(), name, url) })
	}
}

// invocation returns what a domain controller signs its writes with.
func invocation(t *testing.T, d *samba.Domain) (id [16]byte) {
	t.Helper()
	conn, err := samba.Bind(d.Directory, d.AdminDN, d.AdminPassword)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	settings := read(t, conn, "", "dsServiceName").GetAttributeValue("dsServiceName")
	copy(id[:], read(t, conn, settings, "invocationId").GetRawAttributeValue("invocationId"))
	return id
}

// passwordSet returns how often the password of an account was set, its first
// one included, and by whom last, from what replication keeps of every
// attribute (replPropertyMetaDataBlob in Samba's drsblobs.idl). Of what two
// domain controllers did before one heard of the other, one is counted.
func passwordSet(t *testing.T, admin *ldap.Conn, dn string) (version uint32, by [16]byte) {
	t.Helper()
	const unicodePwd = 0x9005a
	raw := read(t, admin, dn, "replPropertyMetaData").GetRawAttributeValue("replPropertyMetaData")
	for e := raw[min(len(raw), 16):]; len(e) >= 48; e = e[48:] {
		if binary.LittleEndian.Uint32(e) == unicodePwd {
			return binary.LittleEndian.Uint32(e[4:]), [16]byte(e[16:32])
		}
	}
	t.Fatalf("%s has no password", dn)
	return
}

func read(t *testing.T, conn *ldap.Conn, dn, attribute string) *ldap.Entry {
	t.Helper()
	res, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases,
		1, 0, false, "(objectClass=*)", []string{attribute}, nil))
	if err != nil {
		t.Fatal(err)
	}
	return res.Entries[0]
}
