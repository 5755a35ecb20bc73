package samba

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
)

const (
	realm    = "CORP.EXAMPLE.COM"
	domain   = "corp.example.com"
	baseDN   = "DC=corp,DC=example,DC=com"
	staffDN  = "OU=Staff," + baseDN
	adminDN  = "CN=Administrator,CN=Users," + baseDN
	unitDN   = "OU=Service," + baseDN
	service  = "svc-writeback"
	numUsers = 24
)

// settings is smb.conf; the verbs are the name of the domain controller, its
// address, and its services.
//
// Without "old password allowed period" the previous password would still bind
// for an hour, and without nosync a reset would measure the disk: half as many
// a second. Replication looks every second for what there is to tell, and every
// five for what was missed while the other was down; Samba's own intervals are 5
// and 300.
const settings = `[global]
	realm = ` + realm + `
	workgroup = CORP
	netbios name = %[1]s
	server role = active directory domain controller
	server services = %[3]s
	disable netbios = yes
	interfaces = %[2]s/8
	bind interfaces only = yes
	private dir = ` + inside + `/private
	state directory = ` + inside + `/state
	cache directory = ` + inside + `/cache
	lock directory = ` + inside + `/lock
	tls keyfile = ` + inside + `/tls/%[1]s.key
	tls certfile = ` + inside + `/tls/%[1]s.pem
	tls cafile = ` + inside + `/tls/ca.pem
	old password allowed period = 0
	ldb:nosync = true
	dreplsrv:notify_interval = 1
	dreplsrv:periodic_startup_interval = 1
	dreplsrv:periodic_interval = 5
`

// templateVersion is raised by whoever changes what this file puts into the
// domain, so that cached domains are made anew.
const templateVersion = "2"

// directoryFile describes a domain, in the folder of the domain.
const directoryFile = "directory.json"

// Rights of the service account: those that Microsoft lists for password
// writeback and no other. %s is its SID.
const (
	// Below the staff unit, on users: the control right Reset Password, and
	// writing lockoutTime and pwdLastSet.
	staffRights = "(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;bf967aba-0de6-11d0-a285-00aa003049e2;%[1]s)" +
		"(OA;CIIO;WP;28630ebf-41d5-11d1-a9c1-0000f80367c1;bf967aba-0de6-11d0-a285-00aa003049e2;%[1]s)" +
		"(OA;CIIO;WP;bf967a0a-0de6-11d0-a285-00aa003049e2;bf967aba-0de6-11d0-a285-00aa003049e2;%[1]s)"
	// On the whole domain: Unexpire Password, without which a reset leaves the
	// new password expired (MS-SAMR 3.1.1.8).
	domainRights = "(OA;CI;CR;ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501;;%[1]s)"
)

// template returns the folder of a stopped domain that is ready to be copied,
// and makes it when this machine has none yet.
func template(ctx context.Context, root string, log io.Writer) (string, error) {
	name := "domain-" + testkit.CacheKey(filepath.Base(root), settings, staffRights, domainRights, templateVersion)
	return testkit.Cached(ctx, name, func(tmp string) error {
		defer slow(log, "making the domain "+realm+", about ten seconds, once")()
		dir := testkit.Directory{
			Kind: "samba", BaseDN: baseDN, StaffDN: staffDN,
			AdminDN: adminDN, AdminPassword: NewPassword(),
			ServiceDN: "CN=" + service + "," + unitDN, ServicePassword: NewPassword(),
		}
		if err := provision(ctx, root, tmp, dir.AdminPassword); err != nil {
			return fmt.Errorf("provisioning the domain: %w", err)
		}
		d := newDomain(folder{root: root, dir: tmp}, "dc1")
		d.Directory = dir
		if err := d.open(ctx); err != nil {
			return err
		}
		defer d.Kill()
		sid, err := populate(ctx, &d.Directory)
		if err != nil {
			return fmt.Errorf("filling the domain: %w", err)
		}
		d.Kill()
		if err := delegate(ctx, root, tmp, sid); err != nil {
			return fmt.Errorf("delegating rights to %s: %w", service, err)
		}
		if err := os.Remove(d.LogFile()); err != nil { // copies begin with an empty one
			return err
		}
		return writeDirectory(d.File(), d.Directory)
	})
}

// provision makes an empty domain in dir.
func provision(ctx context.Context, root, dir, password string) error {
	_, err := run(ctx, within(root, dir, "samba-tool", "domain", "provision",
		"--targetdir="+inside, "--realm="+realm, "--domain=CORP", "--host-name=dc1",
		// Not used: there is no DNS, and smb.conf is replaced.
		"--host-ip=127.0.0.1", "--dns-backend=NONE",
		"--server-role=dc", "--adminpass="+password,
		"--option=ldb:nosync = true")...)
	if err != nil {
		return err
	}
	for _, d := range []string{"cache", "lock", "tls"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// populate sets the domain's policy and makes the accounts, over LDAPS. It
// returns the SID of the service account.
func populate(ctx context.Context, dir *testkit.Directory) (sid string, err error) {
	conn, err := dial(dir.URL, dir.CAFile, dir.AdminDN, dir.AdminPassword)
	if err != nil {
		return "", err
	}
	defer conn.Close()

	policy := ldap.NewModifyRequest(baseDN, nil)
	for attr, value := range map[string]string{
		"minPwdAge":        "0",
		"maxPwdAge":        never, // or a domain cached for six weeks would have expired
		"minPwdLength":     "7",
		"pwdHistoryLength": "24",
		"pwdProperties":    "1", // complexity
		"lockoutThreshold": "0", // tests lock accounts by a policy of their own
	} {
		policy.Replace(attr, []string{value})
	}
	if err := conn.Modify(policy); err != nil {
		return "", fmt.Errorf("setting the domain's policy: %w", err)
	}
	for _, dn := range []string{staffDN, unitDN} {
		unit := ldap.NewAddRequest(dn, nil)
		unit.Attribute("objectClass", []string{"organizationalUnit"})
		if err := conn.Add(unit); err != nil {
			return "", fmt.Errorf("adding %s: %w", dn, err)
		}
	}
	svc, err := NewUser(ctx, *dir, UserSpec{Name: service, Password: dir.ServicePassword, ParentDN: unitDN})
	if err != nil {
		return "", err
	}
	for i := 1; i <= numUsers; i++ {
		spec := UserSpec{Name: fmt.Sprintf("user%02d", i), DisplayName: fmt.Sprintf("Staff Member %02d", i)}
		if i%2 == 0 { // as after a move between forests
			spec.ConsistencyGUID = make([]byte, 16)
			rand.Read(spec.ConsistencyGUID)
		}
		u, err := NewUser(ctx, *dir, spec)
		if err != nil {
			return "", err
		}
		dir.Users = append(dir.Users, u)
	}
	return svc.SID, nil
}

// delegate gives the account with this SID its rights.
func delegate(ctx context.Context, root, dir, sid string) error {
	for _, right := range []struct{ dn, sddl string }{
		{staffDN, staffRights},
		{baseDN, domainRights},
	} {
		_, err := run(ctx, within(root, dir, "samba-tool", "dsacl", "set", "-s", inside+"/smb.conf",
			"-H", inside+"/private/sam.ldb",
			"--action=allow", "--objectdn="+right.dn, "--sddl="+fmt.Sprintf(right.sddl, sid))...)
		if err != nil {
			return err
		}
	}
	return nil
}

// NewPassword makes up a password that satisfies the domain's policy and
// contains no account's name.
func NewPassword() string {
	// 26 characters A to Z and 2 to 7; the policy wants a third kind.
	return "pw-" + rand.Text()
}

func writeDirectory(path string, dir testkit.Directory) error {
	b, err := json.MarshalIndent(dir, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

func readDirectory(path string) (dir testkit.Directory, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return dir, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&dir); err != nil {
		return dir, fmt.Errorf("reading %s: %w", path, err)
	}
	return dir, nil
}

// upn is the principal name of an account of the domain.
func upn(name string) string { return name + "@" + domain }
