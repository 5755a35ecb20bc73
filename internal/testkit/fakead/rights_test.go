package fakead

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func setAttr(conn *ldap.Conn, dn, attr, value string) error {
	req := ldap.NewModifyRequest(dn, nil)
	req.Replace(attr, []string{value})
	return conn.Modify(req)
}

// Each right can be taken away for itself, and given back.
func TestRights(t *testing.T) {
	const noChange = "00000005: AtrErr: DSID-03190F80, #1:\n\t0: 00000005: DSID-03190F80, problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)"
	s := start(t, Options{Users: 1})
	service := asService(t, s)
	tries := map[Right]struct {
		do   func(dn string) error
		code uint16
		text string
	}{
		ResetPassword:    {func(dn string) error { return reset(service, dn, "Another-Pass-1") }, 50, noRightReset},
		ChangePassword:   {func(dn string) error { return changePassword(service, dn, "First-Pass-1", "Another-Pass-1") }, 19, noChange},
		WriteLockoutTime: {func(dn string) error { return setAttr(service, dn, "lockoutTime", "0") }, 50, noRightWrite},
		WritePwdLastSet:  {func(dn string) error { return setAttr(service, dn, "pwdLastSet", "0") }, 50, noRightWrite},
		UnexpirePassword: {func(dn string) error {
			if err := reset(service, dn, "Another-Pass-1"); err != nil {
				return err
			}
			if get(t, service, dn, "pwdLastSet")[0] == "0" {
				return ldap.NewError(99, fmt.Errorf("expired at once"))
			}
			return nil
		}, 99, "expired at once"},
	}
	for n, gone := range Rights() {
		s.TakeAway(gone)
		for _, r := range Rights() {
			try := tries[r]
			u := newUser(t, s, UserSpec{SAMAccountName: fmt.Sprintf("r%d-%d", n, r), Password: "First-Pass-1"})
			if lost := gone == r || gone == ResetPassword && r == UnexpirePassword; !lost {
				try.code = 0
			} else if r == UnexpirePassword && gone == ResetPassword {
				try.code, try.text = 50, noRightReset
			}
			says(t, try.do(u.DN), try.code, try.text)
		}
		s.GiveBack(gone)
		s.GiveBack(gone) // does no harm
		u := newUser(t, s, UserSpec{SAMAccountName: fmt.Sprintf("back%d", n), Password: "First-Pass-1"})
		says(t, tries[gone].do(u.DN), 0, "")
	}
}

func TestDelegation(t *testing.T) {
	s := start(t, Options{Users: 2})
	d := s.Directory()
	service, u := asService(t, s), d.Users[0]
	outside := newUser(t, s, UserSpec{SAMAccountName: "outside", Parent: usersDN})
	says(t, reset(service, outside.DN, "Another-Pass-1"), 50, noRightReset)
	must(t, s.Grant(usersDN, serviceName, ResetPassword))
	says(t, reset(service, outside.DN, "Another-Pass-1"), 0, "")
	says(t, setAttr(service, outside.DN, "lockoutTime", "0"), 50, noRightWrite)
	must(t, s.Revoke(usersDN, serviceName, ResetPassword))
	says(t, reset(service, outside.DN, "Another-Pass-1"), 50, noRightReset)

	// A denial on the account itself comes before what it inherits.
	must(t, s.Deny(u.DN, serviceName, ResetPassword))
	says(t, reset(service, u.DN, "Another-Pass-1"), 50, noRightReset)
	says(t, reset(service, d.Users[1].DN, "Another-Pass-1"), 0, "")

	// Nothing is inherited across an object that inherits nothing.
	cut := newUser(t, s, UserSpec{})
	must(t, s.StopInheritance(cut.DN))
	says(t, reset(service, cut.DN, "Another-Pass-1"), 50, noRightReset)
	if sd := descriptor(t, service, cut.DN, control{sdFlags, 0xFF, []byte{0x30, 3, 2, 1, 4}}); sd[3] != 0x94 {
		t.Errorf("its descriptor has flags %#x, want it protected", sd[3])
	}
	must(t, s.Grant(cut.DN, serviceName, ResetPassword))
	says(t, reset(service, cut.DN, "Another-Pass-1"), 0, "")

	// Through a group, but only from the next bind on.
	_, err := s.NewGroup("helpdesk", "", "user02")
	must(t, err)
	must(t, s.Grant(staffDN, "helpdesk", ResetPassword))
	third := newUser(t, s, UserSpec{SAMAccountName: "third", Password: "First-Pass-1"})
	conn := bound(t, s, third.DN, "First-Pass-1")
	must(t, s.AddMember("helpdesk", "third"))
	says(t, reset(conn, d.Users[1].DN, "Another-Pass-1"), 50, noRightReset)
	says(t, reset(bound(t, s, third.DN, "First-Pass-1"), d.Users[1].DN, "Another-Pass-1"), 0, "")

	for name, err := range map[string]error{
		"on nothing": s.Grant("CN=none,"+baseDN, serviceName, ResetPassword),
		"to nobody":  s.Grant(staffDN, "nobody", ResetPassword),
	} {
		if err == nil {
			t.Errorf("granting %s is no error", name)
		}
	}
}

func TestAdminSDHolder(t *testing.T) {
	s := start(t, Options{Users: 2})
	service := asService(t, s)
	u := s.Directory().Users[0]
	marked := newUser(t, s, UserSpec{SAMAccountName: "marked", Attributes: map[string][]string{"adminCount": {"1"}}})
	says(t, reset(service, marked.DN, "Another-Pass-1"), 0, "") // adminCount alone protects nobody

	must(t, s.Protect("user01"))
	says(t, reset(service, u.DN, "Another-Pass-1"), 50, noRightReset)
	says(t, setAttr(service, u.DN, "lockoutTime", "0"), 50, noRightWrite)
	says(t, changePassword(service, u.DN, u.Password, "Another-Pass-1"), 0, "")
	says(t, reset(asAdmin(t, s), u.DN, "Another-Pass-1"), 0, "")
	must(t, s.Unprotect("user01"))
	says(t, reset(service, u.DN, "Another-Pass-1"), 0, "")

	// Members of a privileged group, nested, from the next run on and for good.
	_, err := s.NewGroup("inner", "", "user02")
	must(t, err)
	must(t, s.AddMember("Backup Operators", "inner"))
	second := s.Directory().Users[1].DN
	says(t, reset(service, second, "Another-Pass-1"), 0, "")
	s.SDProp()
	must(t, s.RemoveMember("Backup Operators", "inner"))
	s.SDProp()
	says(t, reset(service, second, "Another-Pass-1"), 50, noRightReset)
	if got := get(t, service, second, "adminCount"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("adminCount is %q, want 1", got)
	}
	for _, dn := range []string{s.Directory().AdminDN, "CN=krbtgt," + usersDN, "CN=Domain Admins," + usersDN} {
		if got := get(t, service, dn, "adminCount"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("adminCount of %s is %q, want 1", dn, got)
		}
	}
}

func descriptor(t *testing.T, conn *ldap.Conn, dn string, controls ...ldap.Control) []byte {
	t.Helper()
	res, err := conn.Search(&ldap.SearchRequest{BaseDN: dn, Filter: "(objectClass=*)",
		Attributes: []string{"nTSecurityDescriptor"}, Controls: controls})
	if err != nil || len(res.Entries) != 1 {
		t.Fatalf("reading the descriptor of %s: %v", dn, err)
	}
	return res.Entries[0].GetRawAttributeValue("nTSecurityDescriptor")
}

// readDACL is a reader of its own, that knows only the form: each entry is
// kind, flags, mask, GUIDs and SID in text.
func readDACL(t *testing.T, sd []byte) []string {
	t.Helper()
	at := binary.LittleEndian.Uint32(sd[16:])
	acl := sd[at:]
	acl = acl[:binary.LittleEndian.Uint16(acl[2:])]
	var list []string
	rest := acl[8:]
	for range binary.LittleEndian.Uint16(acl[4:]) {
		size := binary.LittleEndian.Uint16(rest[2:])
		a := rest[:size]
		text := fmt.Sprintf("%d %#x %#x", a[0], a[1], binary.LittleEndian.Uint32(a[4:]))
		sid := a[8:]
		if a[0] >= 5 {
			present := binary.LittleEndian.Uint32(sid)
			sid = sid[4:]
			for _, bit := range []uint32{1, 2} {
				if present&bit == 0 {
					text += " -"
					continue
				}
				text += " " + guidText(sid[:16])
				sid = sid[16:]
			}
		}
		list = append(list, text+" "+sidText(string(sid)))
		rest = rest[size:]
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes are left of the list", len(rest))
	}
	return list
}

func TestSecurityDescriptor(t *testing.T) {
	const user = "bf967aba-0de6-11d0-a285-00aa003049e2"
	s := start(t, Options{Users: 1})
	d := s.Directory()
	service, admin, u := asService(t, s), asAdmin(t, s), d.Users[0]
	dacl := control{sdFlags, 0xFF, []byte{0x30, 3, 2, 1, 4}}
	me := get(t, service, d.ServiceDN, "objectSid")[0]
	sid := sidText(me)

	if got := descriptor(t, service, u.DN); len(got) != 0 {
		t.Errorf("without the control the service account gets %d bytes", len(got))
	}
	if got := descriptor(t, admin, u.DN); len(got) == 0 {
		t.Error("without the control the administrator gets nothing")
	}
	if got := descriptor(t, service, u.DN, control{sdFlags, 0xFF, []byte{0x30, 3, 2, 1, 12}}); len(got) != 0 {
		t.Error("the service account reads what is audited")
	}
	_, err := service.Search(&ldap.SearchRequest{BaseDN: u.DN, Filter: "(objectClass=*)",
		Controls: []ldap.Control{control{sdFlags, 0xFF, []byte{1}}}})
	says(t, err, 53, "00000057: ")

	sd := descriptor(t, service, u.DN, dacl)
	if head := [4]byte(sd); head != [4]byte{1, 0, 4, 0x84} || binary.LittleEndian.Uint32(sd[4:]) != 0 {
		t.Errorf("the descriptor begins with %x and owner %x", head, sd[4:8])
	}
	list := readDACL(t, sd)
	for _, want := range []string{
		"5 0x0 0x100 ab721a53-1e2f-11d0-9819-00aa0040529b - S-1-1-0",
		"5 0x12 0x100 00299570-246d-11d0-a768-00aa006e0529 " + user + " " + sid,
		"5 0x12 0x20 28630ebf-41d5-11d1-a9c1-0000f80367c1 " + user + " " + sid,
		"5 0x12 0x20 bf967a0a-0de6-11d0-a285-00aa003049e2 " + user + " " + sid,
		"0 0x12 0xf01ff S-1-5-32-544",
	} {
		if !slices.Contains(list, want) {
			t.Errorf("the list of a user lacks %s:\n%s", want, strings.Join(list, "\n"))
		}
	}
	if got := readDACL(t, descriptor(t, service, staffDN, dacl)); !slices.Contains(got,
		"5 0xa 0x100 00299570-246d-11d0-a768-00aa006e0529 "+user+" "+sid) {
		t.Errorf("the list of the unit is\n%s", strings.Join(got, "\n"))
	}
	if got := readDACL(t, descriptor(t, service, baseDN, dacl)); !slices.Contains(got,
		"5 0x0 0x100 ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501 - S-1-5-11") {
		t.Errorf("the list of the domain is\n%s", strings.Join(got, "\n"))
	}

	// What is for users does nothing to a computer.
	pc := newUser(t, s, UserSpec{Kind: Computer})
	if got := readDACL(t, descriptor(t, service, pc.DN, dacl)); !slices.Contains(got,
		"5 0x1a 0x100 00299570-246d-11d0-a768-00aa006e0529 "+user+" "+sid) {
		t.Errorf("the list of a computer is\n%s", strings.Join(got, "\n"))
	}
	must(t, s.DenyChange("user01"))
	if got := readDACL(t, descriptor(t, service, u.DN, dacl)); got[0] != "6 0x0 0x100 ab721a53-1e2f-11d0-9819-00aa0040529b - S-1-5-10" {
		t.Errorf("the first entry is %s, want the denial", got[0])
	}
	must(t, s.Protect("user01"))
	sd = descriptor(t, service, u.DN, dacl)
	if sd[3] != 0x94 || slices.ContainsFunc(readDACL(t, sd), func(a string) bool { return strings.HasSuffix(a, sid) }) {
		t.Errorf("a protected account has flags %#x and\n%s", sd[3], strings.Join(readDACL(t, sd), "\n"))
	}
}
