package fakead

import (
	"fmt"
	"slices"
	"strconv"
)

// Relative identifiers (MS-DTYP 2.4.2.4), and the first one that accounts made
// here get; Windows itself takes those before.
const (
	ridAdministrator   = 500
	ridKrbtgt          = 502
	ridDomainAdmins    = 512
	ridDomainUsers     = 513
	ridDomainComputers = 515
	ridControllers     = 516
	ridReadOnly        = 521
	ridFirst           = 1104
)

// builtinDomain is what the SIDs of groups that every Windows has begin with.
const builtinDomain = "S-1-5-32"

// groupType values (MS-ADTS 2.2.12): global and security; built in, domain
// local and security.
const (
	globalGroup  = "-2147483646"
	builtinGroup = "-2147483643"
)

// A Group is a group that a test made.
type Group struct {
	DN, SAMAccountName, SID string
	ObjectGUID              string // 8-4-4-4-12 hex digits
}

// NewGroup adds a global security group. Parent is a DN, by default the
// container Users; members are named by their sAMAccountName, and may be
// groups.
func (s *Server) NewGroup(name, parent string, members ...string) (Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domain
	if parent == "" {
		parent = usersDN
	}
	e, err := d.addGroup(name, parent, fmt.Sprintf("%s-%d", d.sid, d.nextRID()), globalGroup)
	if err != nil {
		return Group{}, fmt.Errorf("fakead: %w", err)
	}
	d.publish(e)
	for _, m := range members {
		if err := s.join(name, m); err != nil {
			return Group{}, err
		}
	}
	return Group{DN: e.dn, SAMAccountName: name, SID: sidText(e.attrs["objectSid"][0]),
		ObjectGUID: guidText([]byte(e.guid))}, nil
}

func (d *domain) addGroup(name, parent, sid, groupType string) (*entry, error) {
	dn, err := d.free(name, parent)
	if err != nil {
		return nil, err
	}
	if d.named(name) != nil {
		return nil, fmt.Errorf("adding %s: it exists", name)
	}
	samType := "268435456" // SAM_GROUP_OBJECT
	if groupType == builtinGroup {
		samType = "536870912" // SAM_ALIAS_OBJECT
	}
	e := d.add(dn, map[string][]string{
		"objectClass": {"top", "group"}, "cn": {name}, "sAMAccountName": {name}, "sAMAccountType": {samType},
		"groupType": {groupType}, "objectSid": {string(sidBytes(sid))},
	}, nil)
	e.acl = d.groupACL()
	return e, nil
}

// addGroups adds the groups that every domain has and rules speak of.
func (d *domain) addGroups() error {
	for _, g := range []struct {
		name string
		rid  uint32
	}{
		{"Domain Admins", ridDomainAdmins}, {"Domain Users", ridDomainUsers}, {"Domain Guests", 514},
		{"Domain Computers", ridDomainComputers}, {"Domain Controllers", ridControllers},
		{"Schema Admins", 518}, {"Enterprise Admins", 519}, {"Read-only Domain Controllers", ridReadOnly},
		{"Administrators", 544}, {"Users", 545}, {"Account Operators", 548}, {"Server Operators", 549},
		{"Print Operators", 550}, {"Backup Operators", 551}, {"Replicator", 552},
	} {
		domain, parent, kind := d.sid, usersDN, globalGroup
		if g.rid >= 544 {
			domain, parent, kind = builtinDomain, builtinDN, builtinGroup
		}
		e, err := d.addGroup(g.name, parent, domain+"-"+strconv.Itoa(int(g.rid)), kind)
		if err != nil {
			return err
		}
		e.attrs["isCriticalSystemObject"] = []string{"TRUE"}
	}
	for member, group := range map[string]string{
		"Domain Users": "Users", "Domain Admins": "Administrators", "Enterprise Admins": "Administrators",
	} {
		d.named(group).join(d.named(member))
	}
	return nil
}

// AddMember makes an account or a group a member of a group. An account that
// is bound has its new groups only after its next bind, as on Windows.
func (s *Server) AddMember(group, member string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.join(group, member)
}

func (s *Server) join(group, member string) error {
	return s.everywhere(group, func(d *domain, g *entry) error {
		m := d.named(member)
		if m == nil {
			return fmt.Errorf("fakead: no account %s", member)
		}
		g.join(m)
		return nil
	})
}

// RemoveMember ends a membership. AdminSDHolder's mark stays: see SDProp.
func (s *Server) RemoveMember(group, member string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.everywhere(group, func(d *domain, g *entry) error {
		m := d.named(member)
		if m == nil {
			return fmt.Errorf("fakead: no account %s", member)
		}
		g.members = slices.DeleteFunc(g.members, func(e *entry) bool { return e == m })
		m.groups = slices.DeleteFunc(m.groups, func(e *entry) bool { return e == g })
		return nil
	})
}

// join makes m a member of the group. Which kinds of groups may hold which is
// not checked.
func (e *entry) join(m *entry) {
	if m != nil && !slices.Contains(e.members, m) {
		e.members = append(e.members, m)
		m.groups = append(m.groups, e)
	}
}

// reach returns what can be reached from e by one kind of step, without e
// unless there is a circle.
func reach(e *entry, step func(*entry) []*entry) []*entry {
	var found []*entry
	todo := step(e)
	for i := 0; i < len(todo); i++ {
		if !slices.Contains(found, todo[i]) {
			found = append(found, todo[i])
			todo = append(slices.Clip(todo), step(todo[i])...)
		}
	}
	return found
}

func groupsOf(e *entry) []*entry  { return e.groups }
func membersOf(e *entry) []*entry { return e.members }

// allGroups returns the groups of e, with its primary one and nested.
func (d *domain) allGroups(e *entry) []*entry {
	return reach(e, func(x *entry) []*entry {
		if g := d.primaryGroup(x); x == e && g != nil {
			return append([]*entry{g}, x.groups...)
		}
		return x.groups
	})
}

// tokenGroups is MS-ADTS 3.1.1.4.5.19: the SIDs of all groups, not its own.
func (d *domain) tokenGroups(e *entry) []string {
	var sids []string
	if e.account == nil {
		return nil
	}
	for _, g := range d.allGroups(e) {
		sids = append(sids, g.attrs["objectSid"]...)
	}
	return sids
}

// Well-known SIDs (MS-DTYP 2.4.2.4).
const (
	sidEveryone      = "S-1-1-0"
	sidSelf          = "S-1-5-10"
	sidAuthenticated = "S-1-5-11"
	sidSystem        = "S-1-5-18"
	sidAccountOps    = builtinDomain + "-548"
	sidAdmins        = builtinDomain + "-544"
)

// token returns the SIDs with which e acts once it is bound. It is made when
// it binds.
func (d *domain) token(e *entry) []string {
	sids := append(slices.Clone(e.attrs["objectSid"]), d.tokenGroups(e)...)
	for _, s := range []string{sidEveryone, "S-1-5-2", sidAuthenticated, "S-1-5-15"} { // network, this organisation
		sids = append(sids, string(sidBytes(s)))
	}
	return sids
}

func dnsOf(entries []*entry) []string {
	var dns []string
	for _, e := range entries {
		dns = append(dns, e.dn)
	}
	return dns
}
