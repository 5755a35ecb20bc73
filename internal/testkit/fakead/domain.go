package fakead

import (
	"math"
	"slices"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Flags of userAccountControl and of its computed form (MS-ADTS 2.2.16).
const (
	flagDisabled        = 0x2
	flagLockout         = 0x10
	flagNotRequired     = 0x20
	flagNormal          = 0x200
	flagTrust           = 0x800
	flagWorkstation     = 0x1000
	flagServer          = 0x2000
	flagNeverExpires    = 0x10000
	flagSmartcard       = 0x40000
	flagPasswordExpired = 0x800000
)

// never is accountExpires of an account, and the negative length of a time,
// that has no end.
const (
	never       = math.MaxInt64
	neverLength = math.MinInt64
)

// A domain is the content of the directory as one domain controller has it:
// a replica.
type domain struct {
	*shared
	usn     int64
	entries []*entry // parents before their children
	byDN    map[string]*entry
	byGUID  map[string]*entry
	bySID   map[string]*entry // binary
	byName  map[string]*entry // by folded sAMAccountName
	psos    []*entry          // the fine-grained policies

	// Objects that rules speak of.
	root, holder, policies *entry
}

// An entry is one object.
type entry struct {
	dn, guid string
	parent   *entry // nil at the top of a naming context
	usn      int64
	attrs    map[string][]string // what does not follow from the rest, by schema name
	account  *account            // of what can sign in
	pso      *pso                // of a fine-grained policy
	acl      []ace               // its own, denials first; lists are never changed in place
	kept     bool                // has the descriptor of AdminSDHolder
	alone    bool                // inherits nothing

	members, groups []*entry // direct; without primary groups
}

// An account is what makes an entry able to sign in.
type account struct {
	state
	counts Counts
	last   []Control // of the last modify
}

// state is what a modify applies as a whole. Times are FILETIMEs, 0 is "not".
type state struct {
	passwords      []string // UTF-16LE, newest first: the present one, then history
	sets           int      // passwords that were ever set
	flags          int64    // userAccountControl
	pwdLastSet     int64
	lockoutTime    int64
	badPwdCount    int64
	badPasswordAt  int64 // badPasswordTime: the last wrong one
	accountExpires int64
}

func newReplica(s *shared) *domain {
	d := &domain{
		shared: s, usn: 12345,
		byDN: make(map[string]*entry), byGUID: make(map[string]*entry),
		bySID: make(map[string]*entry), byName: make(map[string]*entry),
	}
	s.replicas = append(s.replicas, d)
	return d
}

func (d *domain) nextUSN() int64 {
	d.usn++
	return d.usn
}

// add enters an object whose DN is known to be good and new, in this replica
// alone.
func (d *domain) add(dn string, attrs map[string][]string, a *account) *entry {
	e := &entry{dn: dn, guid: string(randomBytes(16)), attrs: attrs, account: a}
	attrs["objectGUID"] = []string{e.guid}
	d.enter(e)
	return e
}

// enter puts an entry that is complete but for its place into the maps.
func (d *domain) enter(e *entry) {
	e.usn = d.nextUSN()
	if parsed, err := ldap.ParseDN(e.dn); err == nil {
		if e.dn != configDN { // a naming context of its own
			e.parent = d.nearest(parsed)
		}
		d.byDN[dnKey(parsed)] = e
	}
	d.entries = append(d.entries, e)
	d.byGUID[e.guid] = e
	for _, sid := range e.attrs["objectSid"] {
		d.bySID[sid] = e
	}
	for _, name := range e.attrs["sAMAccountName"] {
		d.byName[fold(name)] = e
	}
	if e.pso != nil {
		d.psos = append(d.psos, e)
	}
	switch e.dn {
	case baseDN:
		d.root = e
	case holderDN:
		d.holder = e
	case policiesDN:
		d.policies = e
	}
}

// remove takes an object without children out of the replica.
func (d *domain) remove(e *entry) {
	is := func(o *entry) bool { return o == e }
	d.entries = slices.DeleteFunc(d.entries, is)
	if parsed, err := ldap.ParseDN(e.dn); err == nil {
		delete(d.byDN, dnKey(parsed))
	}
	delete(d.byGUID, e.guid)
	for _, sid := range e.attrs["objectSid"] {
		delete(d.bySID, sid)
	}
	for _, name := range e.attrs["sAMAccountName"] {
		delete(d.byName, fold(name))
	}
	for _, o := range d.entries {
		o.members, o.groups = slices.DeleteFunc(o.members, is), slices.DeleteFunc(o.groups, is)
	}
}

func (d *domain) addContainer(dn, class string) *entry {
	attrs := map[string][]string{"objectClass": {"top", class}}
	if class == "domainDNS" {
		attrs["objectSid"] = []string{string(sidBytes(d.sid))}
	}
	e := d.add(dn, attrs, nil)
	e.acl = append(d.full(d.admins(), sidSystem), ace{mask: readAll, sid: string(sidBytes(sidAuthenticated))})
	return e
}

// named returns the entry of that sAMAccountName, nil if there is none.
func (d *domain) named(name string) *entry { return d.byName[fold(name)] }

// account returns the account of that sAMAccountName, nil if there is none.
func (d *domain) account(name string) *account {
	if e := d.named(name); e != nil {
		return e.account
	}
	return nil
}

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
	if form, ok := cutAround(dn, "<SID=", ">"); ok {
		if e := d.bySID[string(sidBytes(form))]; e != nil {
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
