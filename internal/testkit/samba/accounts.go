package samba

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
)

// never is the largest time in a policy, in 100 ns: a password that does not
// expire, a lock that does not end.
const never = "-9223372036854775808"

// A UserSpec says what user [NewUser] adds. Every field may be left out.
type UserSpec struct {
	Name            string // sAMAccountName, common name and first half of the UPN, at most 20 characters; made up
	Password        string // made up
	DisplayName     string // the Name
	ParentDN        string // the directory's StaffDN
	Disabled        bool
	ConsistencyGUID []byte              // mS-DS-ConsistencyGuid, 16 bytes; none
	Attributes      map[string][]string // anything else, such as adminCount or servicePrincipalName
}

// NewUser adds a user to a Samba domain, as its administrator. A test that
// changes a user adds its own: the domain and its Users are shared.
func NewUser(ctx context.Context, dir testkit.Directory, spec UserSpec) (u testkit.User, err error) {
	if spec.Name == "" {
		spec.Name = "u-" + strings.ToLower(rand.Text()[:12])
	}
	if spec.Password == "" {
		spec.Password = NewPassword()
	}
	if spec.DisplayName == "" {
		spec.DisplayName = spec.Name
	}
	if spec.ParentDN == "" {
		spec.ParentDN = dir.StaffDN
	}
	control := "512" // NORMAL_ACCOUNT
	if spec.Disabled {
		control = "514" // and ACCOUNTDISABLE
	}
	u = testkit.User{
		DN:             "CN=" + ldap.EscapeDN(spec.Name) + "," + spec.ParentDN,
		UPN:            upn(spec.Name),
		SAMAccountName: spec.Name,
		Password:       spec.Password,
	}
	add := ldap.NewAddRequest(u.DN, nil)
	add.Attribute("objectClass", []string{"user"})
	add.Attribute("sAMAccountName", []string{u.SAMAccountName})
	add.Attribute("userPrincipalName", []string{u.UPN})
	add.Attribute("displayName", []string{spec.DisplayName})
	add.Attribute("userAccountControl", []string{control})
	add.Attribute("unicodePwd", []string{UnicodePwd(spec.Password)})
	if spec.ConsistencyGUID != nil {
		add.Attribute("mS-DS-ConsistencyGuid", []string{string(spec.ConsistencyGUID)})
	}
	for attr, values := range spec.Attributes {
		add.Attribute(attr, values)
	}
	err = asAdmin(ctx, dir, func(conn *ldap.Conn) error {
		if err := conn.Add(add); err != nil {
			return err
		}
		res, err := conn.Search(ldap.NewSearchRequest(u.DN, ldap.ScopeBaseObject, ldap.NeverDerefAliases,
			1, 0, false, "(objectClass=*)", []string{"objectGUID", "objectSid"}, nil))
		if err != nil {
			return err
		}
		guid := res.Entries[0].GetRawAttributeValue("objectGUID")
		u.ObjectGUID = guidText(guid)
		u.SID = sidText(res.Entries[0].GetRawAttributeValue("objectSid"))
		if spec.ConsistencyGUID != nil {
			guid = spec.ConsistencyGUID
		}
		u.ImmutableID = base64.StdEncoding.EncodeToString(guid)
		return nil
	})
	if err != nil {
		return u, fmt.Errorf("adding user %s: %w", spec.Name, err)
	}
	return u, nil
}

// A PolicySpec says what fine-grained password policy [NewPolicy] adds. The
// zero values are the weakest: no length, no history, no age, no lockout.
type PolicySpec struct {
	Name       string   // made up
	AppliesTo  []string // DNs of users or global groups
	Precedence int      // the lowest wins; 10

	MinLength  int // characters
	Complexity bool
	History    int           // passwords remembered, at most 1024
	MinAge     time.Duration // whole multiples of 100 ns, all of them
	MaxAge     time.Duration // 0 is never

	LockoutThreshold int           // bad passwords; 0 is no lockout
	LockoutWindow    time.Duration // in which they count; 30 minutes
	LockoutDuration  time.Duration // at least the window; 30 minutes
}

// NewPolicy adds a fine-grained password policy to a Samba domain, as its
// administrator. Tests use it for users of their own, because the domain's
// policy is everybody's.
func NewPolicy(ctx context.Context, dir testkit.Directory, spec PolicySpec) error {
	if spec.Name == "" {
		spec.Name = "p-" + strings.ToLower(rand.Text()[:12])
	}
	if spec.Precedence == 0 {
		spec.Precedence = 10
	}
	if spec.LockoutWindow == 0 {
		spec.LockoutWindow = 30 * time.Minute
	}
	if spec.LockoutDuration == 0 {
		spec.LockoutDuration = 30 * time.Minute
	}
	maxAge := interval(spec.MaxAge)
	if spec.MaxAge == 0 {
		maxAge = never
	}
	add := ldap.NewAddRequest("CN="+ldap.EscapeDN(spec.Name)+",CN=Password Settings Container,CN=System,"+dir.BaseDN, nil)
	for attr, value := range map[string]string{
		"objectClass":                              "msDS-PasswordSettings",
		"msDS-PasswordSettingsPrecedence":          strconv.Itoa(spec.Precedence),
		"msDS-PasswordReversibleEncryptionEnabled": "FALSE",
		"msDS-PasswordHistoryLength":               strconv.Itoa(spec.History),
		"msDS-PasswordComplexityEnabled":           strings.ToUpper(strconv.FormatBool(spec.Complexity)),
		"msDS-MinimumPasswordLength":               strconv.Itoa(spec.MinLength),
		"msDS-MinimumPasswordAge":                  interval(spec.MinAge),
		"msDS-MaximumPasswordAge":                  maxAge,
		"msDS-LockoutThreshold":                    strconv.Itoa(spec.LockoutThreshold),
		"msDS-LockoutObservationWindow":            interval(spec.LockoutWindow),
		"msDS-LockoutDuration":                     interval(spec.LockoutDuration),
	} {
		add.Attribute(attr, []string{value})
	}
	if len(spec.AppliesTo) > 0 {
		add.Attribute("msDS-PSOAppliesTo", spec.AppliesTo)
	}
	if err := asAdmin(ctx, dir, func(conn *ldap.Conn) error { return conn.Add(add) }); err != nil {
		return fmt.Errorf("adding policy %s: %w", spec.Name, err)
	}
	return nil
}

// Bind returns a connection to dir that is bound as dn, for a test to prove
// what a password opens. A refused password is an *ldap.Error with code 49.
func Bind(dir testkit.Directory, dn, password string) (*ldap.Conn, error) {
	return dial(dir.URL, dir.CAFile, dn, password)
}

// UnicodePwd encodes a password as the attribute unicodePwd wants it: in
// quotes, UTF-16, little-endian (MS-ADTS 3.1.1.3.1.5.1).
func UnicodePwd(password string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

func asAdmin(ctx context.Context, dir testkit.Directory, f func(*ldap.Conn) error) error {
	conn, err := dial(dir.URL, dir.CAFile, dir.AdminDN, dir.AdminPassword)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	return f(conn)
}

func dial(url, caFile, dn, password string) (*ldap.Conn, error) {
	const timeout = 10 * time.Second // a reset takes 50 ms; two busy cores, a second
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", caFile)
	}
	conn, err := ldap.DialURL(url, ldap.DialWithDialer(&net.Dialer{Timeout: timeout}),
		ldap.DialWithTLSConfig(&tls.Config{RootCAs: pool}))
	if err != nil {
		return nil, err
	}
	conn.SetTimeout(timeout)
	if err := conn.Bind(dn, password); err != nil {
		conn.Close()
		return nil, fmt.Errorf("binding to %s as %s: %w", url, dn, err)
	}
	return conn, nil
}

// interval writes a duration as policies do: negative, in 100 ns.
func interval(d time.Duration) string { return strconv.FormatInt(-int64(d/100), 10) }

// guidText writes the 16 bytes of a GUID, whose first three fields are
// little-endian (MS-DTYP 2.3.4.2).
func guidText(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b),
		binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

// sidText writes a SID, whose authority fits 32 bits in every domain
// (MS-DTYP 2.4.2.2).
func sidText(b []byte) string {
	s := fmt.Sprintf("S-%d-%d", b[0], binary.BigEndian.Uint32(b[4:]))
	for sub := b[8:]; len(sub) >= 4; sub = sub[4:] {
		s += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(sub))
	}
	return s
}
