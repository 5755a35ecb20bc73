package fakead

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
)

// A Kind says what sort of object an account is.
type Kind int

// The kinds. The names of all but users, contacts and foreign security
// principals end in "$". Those two cannot sign in, have no sAMAccountName, and
// a name here only for their DN.
const (
	User Kind = iota
	InetOrgPerson
	Computer
	Trust // of another domain
	ManagedServiceAccount
	GroupManagedServiceAccount
	Contact
	ForeignSecurityPrincipal
)

// A kindSpec says how the objects of a kind look (MS-ADTS 2.2.16, MS-SAMR
// 2.2.1.9).
type kindSpec struct {
	classes  []string // below top
	flags    int64
	samType  string
	group    int
	accounts bool
}

func (k Kind) spec() kindSpec {
	person := []string{"person", "organizationalPerson", "user"}
	computer := append(slices.Clone(person), "computer")
	switch k {
	case InetOrgPerson:
		return kindSpec{append(person, "inetOrgPerson"), flagNormal, "805306368", ridDomainUsers, true}
	case Computer:
		return kindSpec{computer, flagWorkstation, "805306369", ridDomainComputers, true}
	case Trust:
		return kindSpec{person, flagTrust | flagNotRequired, "805306370", ridDomainUsers, true}
	case ManagedServiceAccount:
		return kindSpec{append(computer, "msDS-ManagedServiceAccount"), flagWorkstation, "805306369", ridDomainComputers, true}
	case GroupManagedServiceAccount:
		return kindSpec{append(computer, "msDS-GroupManagedServiceAccount"), flagWorkstation, "805306369", ridDomainComputers, true}
	case Contact:
		return kindSpec{classes: []string{"person", "organizationalPerson", "contact"}}
	case ForeignSecurityPrincipal:
		return kindSpec{classes: []string{"foreignSecurityPrincipal"}}
	}
	return kindSpec{person, flagNormal, "805306368", ridDomainUsers, true}
}

// A UserSpec says how a new account differs from an ordinary one.
type UserSpec struct {
	SAMAccountName  string // must be new; default random; of a foreign security principal its SID
	UPN             string // default: SAMAccountName at the domain; for users only
	DisplayName     string // default none
	Parent          string // DN; default the staff unit
	Password        string // default random; no rule is checked
	ConsistencyGUID []byte // mS-DS-ConsistencyGuid; default none
	Kind            Kind   // default User

	// Attributes are set as they are, whatever else the account has; the names
	// are those of the schema. An adminCount does not protect: see Protect.
	Attributes map[string][]string
}

// fill fills the defaults in.
func (spec *UserSpec) fill() {
	if spec.SAMAccountName == "" {
		spec.SAMAccountName = "u-" + strings.ToLower(rand.Text()[:12])
		if spec.Kind == Computer || spec.Kind == Trust ||
			spec.Kind == ManagedServiceAccount || spec.Kind == GroupManagedServiceAccount {
			spec.SAMAccountName += "$"
		}
	}
	if spec.UPN == "" && (spec.Kind == User || spec.Kind == InetOrgPerson) {
		spec.UPN = spec.SAMAccountName + "@" + dnsDomain
	}
	if spec.Parent == "" {
		spec.Parent = staffDN
	}
	if spec.Password == "" {
		spec.Password = "Aa1-" + rand.Text()
	}
}

func (d *domain) addUser(spec UserSpec, rid uint32) (testkit.User, error) {
	spec.fill()
	name, kind := spec.SAMAccountName, spec.Kind.spec()
	dn, err := d.free(strings.TrimSuffix(name, "$"), spec.Parent)
	if err != nil {
		return testkit.User{}, err
	}
	if kind.accounts && d.named(name) != nil {
		return testkit.User{}, fmt.Errorf("adding %s: it exists", name)
	}
	sid := fmt.Sprintf("%s-%d", d.sid, rid)
	attrs := map[string][]string{
		"objectClass": append([]string{"top"}, kind.classes...),
		"cn":          {strings.TrimSuffix(name, "$")},
	}
	var a *account
	switch {
	case kind.accounts:
		attrs["sAMAccountName"] = []string{name}
		attrs["sAMAccountType"] = []string{kind.samType}
		attrs["objectSid"] = []string{string(sidBytes(sid))}
		attrs["primaryGroupID"] = number64(int64(kind.group))
		// Old enough for any minimum age, so that a first reset is not in its way.
		age := max(30*24*time.Hour, d.policy.MinAge)
		a = &account{state: state{
			passwords: []string{encodeUTF16(spec.Password)}, flags: kind.flags,
			pwdLastSet: filetime(d.now().Add(-age)), accountExpires: never,
		}}
	case spec.Kind == ForeignSecurityPrincipal:
		sid = name
		attrs["objectSid"] = []string{string(sidBytes(sid))}
	default:
		sid = ""
	}
	for attr, value := range map[string]string{
		"userPrincipalName": spec.UPN, "displayName": spec.DisplayName,
		"mS-DS-ConsistencyGuid": string(spec.ConsistencyGUID),
	} {
		if value != "" {
			attrs[attr] = []string{value}
		}
	}
	set, err := d.settable(spec.Attributes)
	if err != nil {
		return testkit.User{}, fmt.Errorf("adding %s: %w", name, err)
	}
	maps.Copy(attrs, set)
	e := d.add(dn, attrs, a)
	e.acl = d.accountACL()
	immutable := e.guid
	if v := e.attrs["mS-DS-ConsistencyGuid"]; len(v) == 1 {
		immutable = v[0]
	}
	return testkit.User{
		DN: dn, UPN: spec.UPN, SAMAccountName: name, SID: sid, Password: spec.Password,
		ObjectGUID:  guidText([]byte(e.guid)),
		ImmutableID: base64.StdEncoding.EncodeToString([]byte(immutable)),
	}, nil
}

// free returns the DN of a new object.
func (d *domain) free(name, parent string) (string, error) {
	dn := "CN=" + ldap.EscapeDN(name) + "," + parent
	if _, refused := d.find(parent); refused != nil {
		return "", fmt.Errorf("adding %s: no such parent: %q", name, parent)
	}
	if _, isNew := d.find(dn); isNew == nil {
		return "", fmt.Errorf("adding %s: it exists", name)
	}
	return dn, nil
}

// settable returns attributes under their names in the schema.
func (d *domain) settable(attrs map[string][]string) (map[string][]string, error) {
	set := make(map[string][]string)
	for attr, values := range attrs {
		known, ok := d.schema[strings.ToLower(attr)]
		if !ok || known.computed {
			return nil, fmt.Errorf("attribute %s cannot be set", attr)
		}
		set[known.name] = slices.Clone(values)
	}
	return set, nil
}

// primaryGroup returns the group that makes e its member by primaryGroupID, nil
// if there is none.
func (d *domain) primaryGroup(e *entry) *entry {
	for _, rid := range e.attrs["primaryGroupID"] {
		if n, err := strconv.ParseUint(rid, 10, 32); err == nil {
			return d.bySID[d.sidOf(uint32(n))]
		}
	}
	return nil
}

// sidOf returns the binary SID of one of the domain's relative identifiers.
func (d *domain) sidOf(rid uint32) string {
	return string(sidBytes(fmt.Sprintf("%s-%d", d.sid, rid)))
}
