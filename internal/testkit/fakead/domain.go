package fakead

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
)

// Relative identifiers: the built-in administrator, the first account made
// here (Windows itself takes those before), and the group Domain Users.
const (
	ridAdministrator = 500
	ridFirst         = 1104
	ridDomainUsers   = 513
)

// Flags of userAccountControl and of its computed form (MS-ADTS 2.2.16).
const (
	flagDisabled        = 0x2
	flagLockout         = 0x10
	flagNormal          = 0x200
	flagNeverExpires    = 0x10000
	flagPasswordExpired = 0x800000
)

// never is accountExpires of an account, and the negative length of a time,
// that has no end.
const (
	never       = math.MaxInt64
	neverLength = math.MinInt64
)

// A domain is the content of the directory. The Server guards it.
type domain struct {
	policy  Policy
	now     func() time.Time
	schema  schema
	usn     int64
	rid     uint32
	sid     string   // S-1-5-21-…
	entries []*entry // parents before their children
	byDN    map[string]*entry
	byGUID  map[string]*entry
	byName  map[string]*account // by folded sAMAccountName
	staff   *entry              // below which the delegate has its rights
}

// An entry is one object.
type entry struct {
	dn      string
	parent  *entry // nil at the top
	usn     int64
	attrs   map[string][]string // what does not follow from the rest, by schema name
	account *account            // of a user
}

type rights int

const (
	nobody        rights = iota // may change passwords that it knows
	delegate                    // and reset, unlock and expire below staffDN
	administrator               // and anything else
)

// An account is what makes an entry able to sign in. Times are FILETIMEs, 0 is
// "not".
type account struct {
	state
	rights rights
	counts Counts
	last   []Control // of the last modify
}

// state is what a modify applies as a whole.
type state struct {
	passwords      []string // UTF-16LE, newest first: the present one, then history
	flags          int64    // userAccountControl
	pwdLastSet     int64
	lockoutTime    int64
	badPwdCount    int64
	accountExpires int64
}

func newDomain(policy Policy, now func() time.Time) *domain {
	sub := randomBytes(12)
	return &domain{
		policy: policy, now: now, schema: newSchema(), usn: 12345, rid: ridFirst - 1,
		sid: fmt.Sprintf("S-1-5-21-%d-%d-%d", binary.LittleEndian.Uint32(sub),
			binary.LittleEndian.Uint32(sub[4:]), binary.LittleEndian.Uint32(sub[8:])),
		byDN: make(map[string]*entry), byGUID: make(map[string]*entry),
		byName: make(map[string]*account),
	}
}

func (d *domain) nextRID() uint32 {
	d.rid++
	return d.rid
}

func (d *domain) nextUSN() int64 {
	d.usn++
	return d.usn
}

// add enters an object whose DN is known to be good and new.
func (d *domain) add(dn string, attrs map[string][]string, a *account) *entry {
	guid := string(randomBytes(16))
	attrs["objectGUID"] = []string{guid}
	e := &entry{dn: dn, usn: d.nextUSN(), attrs: attrs, account: a}
	if parsed, err := ldap.ParseDN(dn); err == nil {
		e.parent = d.nearest(parsed)
		d.byDN[dnKey(parsed)] = e
	}
	d.entries = append(d.entries, e)
	d.byGUID[guid] = e
	return e
}

func (d *domain) addContainer(dn, class string) *entry {
	attrs := map[string][]string{"objectClass": {"top", class}}
	if class == "domainDNS" {
		attrs["objectSid"] = []string{string(sidBytes(d.sid))}
	}
	return d.add(dn, attrs, nil)
}

// A UserSpec says how a new account differs from an ordinary one.
type UserSpec struct {
	SAMAccountName  string // must be new; default random
	UPN             string // default: SAMAccountName at the domain
	DisplayName     string // default none
	Parent          string // DN; default the staff unit
	Password        string // default random; no rule is checked
	ConsistencyGUID []byte // mS-DS-ConsistencyGuid; default none

	// Attributes are set as they are, whatever else the account has; the names
	// are those of the schema.
	Attributes map[string][]string
}

func (d *domain) addUser(spec UserSpec, rid uint32) (testkit.User, error) {
	if spec.SAMAccountName == "" {
		spec.SAMAccountName = "u-" + strings.ToLower(rand.Text()[:12])
	}
	name := spec.SAMAccountName
	if spec.UPN == "" {
		spec.UPN = name + "@" + dnsDomain
	}
	if spec.Parent == "" {
		spec.Parent = staffDN
	}
	if spec.Password == "" {
		spec.Password = "Aa1-" + rand.Text()
	}
	dn := "CN=" + ldap.EscapeDN(name) + "," + spec.Parent
	_, noParent := d.find(spec.Parent)
	_, isNew := d.find(dn)
	switch {
	case noParent != nil:
		return testkit.User{}, fmt.Errorf("adding %s: no such parent: %q", name, spec.Parent)
	case d.byName[fold(name)] != nil || isNew == nil:
		return testkit.User{}, fmt.Errorf("adding %s: it exists", name)
	}
	sid := fmt.Sprintf("%s-%d", d.sid, rid)
	attrs := map[string][]string{
		"objectClass":       {"top", "person", "organizationalPerson", "user"},
		"cn":                {name},
		"sAMAccountName":    {name},
		"sAMAccountType":    {"805306368"}, // SAM_NORMAL_USER_ACCOUNT
		"userPrincipalName": {spec.UPN},
		"objectSid":         {string(sidBytes(sid))},
		"primaryGroupID":    {strconv.Itoa(ridDomainUsers)},
	}
	if spec.DisplayName != "" {
		attrs["displayName"] = []string{spec.DisplayName}
	}
	if spec.ConsistencyGUID != nil {
		attrs["mS-DS-ConsistencyGuid"] = []string{string(spec.ConsistencyGUID)}
	}
	for attr, values := range spec.Attributes {
		known, ok := d.schema[strings.ToLower(attr)]
		if !ok || known.computed {
			return testkit.User{}, fmt.Errorf("adding %s: attribute %s cannot be set", name, attr)
		}
		attrs[known.name] = append([]string(nil), values...)
	}
	// Old enough for any minimum age, so that a first reset is not in its way.
	age := max(30*24*time.Hour, d.policy.MinAge)
	a := &account{state: state{
		passwords: []string{encodeUTF16(spec.Password)}, flags: flagNormal,
		pwdLastSet: filetime(d.now().Add(-age)), accountExpires: never,
	}}
	e := d.add(dn, attrs, a)
	d.byName[fold(name)] = a
	guid := e.attrs["objectGUID"][0]
	immutable := guid
	if v := e.attrs["mS-DS-ConsistencyGuid"]; len(v) == 1 {
		immutable = v[0]
	}
	return testkit.User{
		DN: dn, UPN: spec.UPN, SAMAccountName: name, SID: sid, Password: spec.Password,
		ObjectGUID:  guidText([]byte(guid)),
		ImmutableID: base64.StdEncoding.EncodeToString([]byte(immutable)),
	}, nil
}

// account returns the account of that sAMAccountName, nil if there is none.
func (d *domain) account(name string) *account { return d.byName[fold(name)] }

// find returns the object that a DN names, in one of the forms of MS-ADTS
// 3.1.1.3.1.2.4. If there is none it returns the refusal.
func (d *domain) find(dn string) (*entry, *result) {
	if form, ok := cutAround(dn, "<GUID=", ">"); ok {
		guid, ok := parseGUID(form)
		if !ok {
			res := badName(dn)
			return nil, &res
		}
		if e := d.byGUID[string(guid)]; e != nil {
			return e, nil
		}
		res := noSuchObject("")
		return nil, &res
	}
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		res := badName(dn)
		return nil, &res
	}
	if e := d.byDN[dnKey(parsed)]; e != nil {
		return e, nil
	}
	var matched string
	if e := d.nearest(parsed); e != nil {
		matched = e.dn
	}
	res := noSuchObject(matched)
	return nil, &res
}

// maxDepth is the number of parts that the longest DN here can have.
const maxDepth = 16

// nearest returns the nearest ancestor of dn that exists, nil if there is none.
func (d *domain) nearest(dn *ldap.DN) *entry {
	for i := max(1, len(dn.RDNs)-maxDepth); i < len(dn.RDNs); i++ {
		if e := d.byDN[dnKey(&ldap.DN{RDNs: dn.RDNs[i:]})]; e != nil {
			return e
		}
	}
	return nil
}

// below says whether e is a descendant of base.
func (e *entry) below(base *entry) bool {
	for p := e.parent; p != nil; p = p.parent {
		if p == base {
			return true
		}
	}
	return false
}

// dnKey returns a form of dn that is equal for equal names.
func dnKey(dn *ldap.DN) string { return fold(dn.String()) }

// filetime counts 100 ns since the year 1601.
func filetime(t time.Time) int64 {
	const unixEpoch = 116444736000000000
	return t.Unix()*1e7 + int64(t.Nanosecond())/100 + unixEpoch
}
