package directory_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory"
	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

// TestExamineSamba has a domain of its own, since it takes rights away that
// everybody has. What is wrong is named alone each time, and the command that
// is printed for Samba mends it.
func TestExamineSamba(t *testing.T) {
	t.Parallel()
	d, err := samba.Start(t.Context(), samba.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	examine(t, d.Directory)
	x := &broken{dir: d.Directory}
	// Quotes and all, since the commands go through a shell.
	x.unit = add(t, x.dir, "OU=Ada's "+rand.Text()[:8]+","+x.dir.BaseDN, map[string][]string{"objectClass": {"organizationalUnit"}})
	x.safe = add(t, x.dir, "OU=Safe,"+x.dir.BaseDN, map[string][]string{"objectClass": {"organizationalUnit"}})
	x.user = newUser(t, x.dir, samba.UserSpec{ParentDN: x.unit})
	x.other = newUser(t, x.dir, samba.UserSpec{ParentDN: "CN=Users," + x.dir.BaseDN})
	x.service = newUser(t, x.dir, samba.UserSpec{ParentDN: x.safe})
	x.dir.ServiceDN, x.dir.ServicePassword = x.service.DN, x.service.Password

	// An account that was delegated nothing comes to have every right by the
	// commands that are printed.
	for _, name := range []string{"Reset Password", "Write lockoutTime", "Write pwdLastSet"} {
		findings := x.examine(t)
		if failed := failures(findings); !strings.HasPrefix(failed[0], name+" on the account CN=") {
			t.Errorf("failed: %q, want %q first", failed, name)
		}
		x.mend(t, findings, name)
	}
	x.good(t)
	t.Run("Lacks", x.lacks)
	t.Run("Unsafe", x.unsafe)
	t.Run("Long", x.long)
}

// broken is a domain in which one thing after the other is broken and mended.
type broken struct {
	dir                  testkit.Directory
	unit, safe           string // of users, and of the service account
	user, other, service testkit.User
}

func (x *broken) examine(t *testing.T) []directory.Finding {
	t.Helper()
	_, findings := examineAs(t, x.dir, x.unit)
	return findings
}

func (x *broken) good(t *testing.T) {
	t.Helper()
	if failed := failures(x.examine(t)); len(failed) > 0 {
		t.Errorf("mended, and yet: %q", failed)
	}
}

// alone examines and expects one failure, which it returns with everything.
func (x *broken) alone(t *testing.T, name, text string) []directory.Finding {
	t.Helper()
	findings := x.examine(t)
	if failed := failures(findings); len(failed) != 1 || !strings.HasPrefix(failed[0], name) || !strings.Contains(failed[0], text) {
		t.Errorf("failed: %q, want %q with %q alone", failed, name, text)
	}
	return findings
}

// mend runs the samba-tool line that mends what begins with name.
func (x *broken) mend(t *testing.T, findings []directory.Finding, name string) {
	t.Helper()
	for _, f := range findings {
		i := slices.IndexFunc(f.Remedy, func(c string) bool { return strings.HasPrefix(c, "samba-tool ") })
		if f.Err != nil && strings.HasPrefix(f.What, name) && i >= 0 {
			x.tool(t, f.Remedy[i])
			return
		}
	}
	t.Fatalf("no command mends %s: %+v", name, findings)
}

func (x *broken) tool(t *testing.T, command string) {
	t.Helper()
	out, err := samba.Tool(t.Context(), x.dir, command)
	if err != nil || strings.Contains(out, "found in the current") { // there already, or not there
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func (x *broken) dsacl(t *testing.T, action, dn, sddl string) {
	t.Helper()
	x.tool(t, fmt.Sprintf("samba-tool dsacl %s --objectdn='%s' --sddl='%s'", action, strings.ReplaceAll(dn, "'", `'\''`), sddl))
}

// lacks: what everybody has by default is missed where it is gone.
func (x *broken) lacks(t *testing.T) {
	const authenticated = "S-1-5-11"
	unexpire := "(OA;;CR;ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501;;" + authenticated + ")"
	x.dsacl(t, "delete", x.dir.BaseDN, unexpire)
	x.mend(t, x.alone(t, "Unexpire Password on the domain", "does not have it"), "Unexpire Password")
	x.good(t)

	if err := samba.NewPolicy(t.Context(), x.dir, samba.PolicySpec{AppliesTo: []string{x.user.DN}, MinLength: 9}); err != nil {
		t.Fatal(err)
	}
	x.mend(t, x.alone(t, "fine-grained policies", "may not read 1 that is in force here, such as CN=p-"), "fine-grained policies")
	x.good(t)

	// A denial on the account itself comes before what is granted above it.
	for _, b := range []struct{ deny, name, text string }{
		{"(D;;RC;;;%s)", "Read Permissions on the account", "cannot be seen"},
		{"(OD;;RP;4c164200-20c0-11d0-a768-00aa006e0529;;%s)", "Read all properties of the account", "pwdLastSet is missing"}, // account restrictions
	} {
		deny := fmt.Sprintf(b.deny, x.service.SID)
		x.dsacl(t, "set", x.user.DN, deny)
		x.alone(t, b.name, b.text)
		x.dsacl(t, "delete", x.user.DN, deny)
		x.good(t)
	}
}

// unsafe: what would make the service account an easy way in.
func (x *broken) unsafe(t *testing.T) {
	const who = "service account: who controls it"
	advised := func(t *testing.T) bool {
		return slices.ContainsFunc(x.examine(t), func(f directory.Finding) bool {
			return f.Advice && strings.HasPrefix(f.What, who) && strings.Contains(f.Err.Error(), "Account Operators")
		})
	}
	if !advised(t) {
		t.Error("nothing is said of the Account Operators, who control every new account")
	}
	x.tool(t, "samba-tool group addmembers 'Account Operators' "+x.other.SAMAccountName)
	x.mend(t, x.alone(t, who, "Account Operators (S-1-5-32-548) has Reset Password, Modify Permissions, Modify Owner"), who)
	x.good(t)
	if advised(t) {
		t.Error("Account Operators are named that have nothing any more")
	}

	const resetPassword = "00299570-246d-11d0-a768-00aa006e0529"
	for _, b := range []struct{ dn, sddl, name, text string }{
		{x.service.DN, "(OA;;CR;" + resetPassword + ";;%s)", who, x.other.SAMAccountName + " (" + x.other.SID + ") has Reset Password on it"},
		{x.service.DN, "(A;;WO;;;%s)", who, "has Modify Owner on it"},
		{x.service.DN, "(OA;;WP;5b47d60f-6090-40b2-9f37-2a4de88f3063;;%s)", who, "has Write msDS-KeyCredentialLink on it"},
		{x.safe, "(A;;WD;;;%s)", who, "has Modify Permissions on " + x.safe},
	} {
		x.dsacl(t, "set", b.dn, fmt.Sprintf(b.sddl, x.other.SID))
		x.mend(t, x.alone(t, b.name, b.text), b.name)
		x.good(t)
	}
	for _, b := range []struct{ dn, sddl, name, text string }{
		{x.dir.BaseDN, "(OA;;CR;1131f6ad-9c07-11d1-f79f-00c04fc2dcd2;;%s)", "service account: Replicating", "every password hash"},
		{x.dir.StaffDN, "(OA;CIIO;CR;" + resetPassword + ";bf967aba-0de6-11d0-a285-00aa003049e2;%s)", "service account: reach", "Reset Password below " + x.dir.StaffDN},
	} {
		x.dsacl(t, "set", b.dn, fmt.Sprintf(b.sddl, x.service.SID))
		x.mend(t, x.alone(t, b.name, b.text), b.name)
		x.good(t)
	}

	x.tool(t, "samba-tool group addmembers 'Print Operators' "+x.service.SAMAccountName)
	x.alone(t, "service account: privileged groups", "it is in Print Operators (S-1-5-32-550)")
	x.tool(t, "samba-tool group removemembers 'Print Operators' "+x.service.SAMAccountName)
	x.good(t)

	x.own(t, x.other.SID)
	x.alone(t, who, x.other.SAMAccountName+" ("+x.other.SID+") owns "+x.service.DN)
	x.own(t, x.other.SID[:strings.LastIndexByte(x.other.SID, '-')]+"-512")
	x.good(t)

	for flags, text := range map[int]string{0x80000: "TRUSTED_FOR_DELEGATION", 0x20: "PASSWD_NOTREQD", 0x400000: "DONT_REQUIRE_PREAUTH"} {
		x.flags(t, 0x200|0x100000|flags)
		findings := x.alone(t, "service account: flags", text)
		if slices.ContainsFunc(findings, func(f directory.Finding) bool { return f.Advice }) {
			t.Errorf("advice where there is nothing to advise: %+v", findings)
		}
	}
	x.flags(t, 0x200|0x100000)
	x.good(t)
}

// long: lists as Exchange makes them, which every container inherits, are read.
func (x *broken) long(t *testing.T) {
	var sddl strings.Builder
	for rid := range 160 {
		fmt.Fprintf(&sddl, "(OA;CIIO;WP;bf967a0a-0de6-11d0-a285-00aa003049e2;bf967aba-0de6-11d0-a285-00aa003049e2;S-1-5-21-1-2-3-%d)", 2000+rid)
	}
	x.dsacl(t, "set", x.dir.BaseDN, sddl.String())
	x.good(t)
}

func (x *broken) flags(t *testing.T, flags int) {
	t.Helper()
	asAdmin(t, x.dir, func(conn *ldap.Conn) error {
		m := ldap.NewModifyRequest(x.service.DN, nil)
		m.Replace("userAccountControl", []string{fmt.Sprint(flags)})
		return conn.Modify(m)
	})
}

// ownerOnly asks a domain controller to take the owner of a descriptor alone.
type ownerOnly struct{ ldap.ControlMicrosoftSDFlags }

func (ownerOnly) Encode() *ber.Packet {
	p := ber.NewSequence("Control")
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, ldap.ControlTypeMicrosoftSDFlags, ""))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "\x30\x03\x02\x01\x01", ""))
	return p
}

// own gives the service account another owner.
func (x *broken) own(t *testing.T, sid string) {
	t.Helper()
	descriptor := append([]byte{1, 0, 0, 0x80, 20}, make([]byte, 15)...)
	parts := strings.Split(sid, "-")[3:]
	descriptor = append(descriptor, 1, byte(len(parts)), 0, 0, 0, 0, 0, 5)
	for _, part := range parts {
		var n uint32
		fmt.Sscan(part, &n)
		descriptor = binary.LittleEndian.AppendUint32(descriptor, n)
	}
	asAdmin(t, x.dir, func(conn *ldap.Conn) error {
		m := ldap.NewModifyRequest(x.service.DN, []ldap.Control{&ownerOnly{}})
		m.Replace("nTSecurityDescriptor", []string{string(descriptor)})
		return conn.Modify(m)
	})
}
