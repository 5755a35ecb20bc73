package fakead

import (
	"fmt"
	"slices"
)

// trustee returns the SID of an account, a group, "Everyone", "SELF" or
// "Authenticated Users".
func (d *domain) trustee(name string) (string, error) {
	for known, sid := range map[string]string{
		"Everyone": sidEveryone, "SELF": sidSelf, "Authenticated Users": sidAuthenticated,
	} {
		if name == known {
			return string(sidBytes(sid)), nil
		}
	}
	if e := d.named(name); e != nil && len(e.attrs["objectSid"]) == 1 {
		return e.attrs["objectSid"][0], nil
	}
	return "", fmt.Errorf("fakead: no account %s", name)
}

// entry returns the access control entry that delegates r on e, as dsacls and
// "samba-tool dsacl set" make it with inheritance: to the users below, or in
// the case of UnexpirePassword to everything.
func (r Right) entry(e *entry, sid string) ace {
	a := ace{mask: r.mask(), object: r.object(), sid: sid}
	switch {
	case e.account != nil:
	case r == UnexpirePassword:
		a.flags = containerInherit
	default:
		a.flags = containerInherit | inheritOnly
		a.class = guid("bf967aba-0de6-11d0-a285-00aa003049e2") // user
	}
	return a
}

// Grant delegates rights on an object, named by its DN, to an account or group,
// "Everyone", "SELF" or "Authenticated Users".
func (s *Server) Grant(dn, to string, rights ...Right) error {
	return s.edit(dn, to, func(e *entry, sid string) {
		for _, r := range rights {
			e.acl = append(slices.Clip(e.acl), r.entry(e, sid))
		}
	})
}

// Deny is Grant for denials. Those that are inherited come after what is
// granted nearer to the account.
func (s *Server) Deny(dn, to string, rights ...Right) error {
	return s.edit(dn, to, func(e *entry, sid string) {
		for _, r := range rights {
			a := r.entry(e, sid)
			a.deny = true
			e.acl = append([]ace{a}, e.acl...)
		}
	})
}

// Revoke takes off what Grant and Deny made.
func (s *Server) Revoke(dn, from string, rights ...Right) error {
	return s.edit(dn, from, func(e *entry, sid string) { e.drop(sid, rights...) })
}

// StopInheritance leaves an object, named by its DN, with what was granted on
// itself, as a box in Windows' dialogs does.
func (s *Server) StopInheritance(dn string) error {
	return s.edit(dn, "Everyone", func(e *entry, _ string) { e.alone = true })
}

// drop removes the entries for a trustee's rights.
func (e *entry) drop(sid string, rights ...Right) {
	e.acl = slices.DeleteFunc(slices.Clone(e.acl), func(a ace) bool {
		return a.sid == sid && slices.ContainsFunc(rights, func(r Right) bool {
			return a.object == r.object() && a.mask == r.mask()
		})
	})
}

// edit changes the access control list of an object on all domain controllers.
func (s *Server) edit(dn, trustee string, change func(e *entry, sid string)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.shared.replicas {
		e, refused := d.find(dn)
		if refused != nil {
			return fmt.Errorf("fakead: no object %s", dn)
		}
		sid, err := d.trustee(trustee)
		if err != nil {
			return err
		}
		change(e, sid)
		e.usn = d.nextUSN()
	}
	return nil
}

// TakeAway leaves the service account without rights: what it was delegated on
// the staff unit, what all of Authenticated Users may on the domain, and what
// everyone may on every account.
func (s *Server) TakeAway(rights ...Right) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared.noChange = s.shared.noChange || slices.Contains(rights, ChangePassword)
	for _, d := range s.shared.replicas {
		d.each(func(e *entry, service, all, self, everyone string) {
			switch e.dn {
			case staffDN:
				e.drop(service, rights...)
			case baseDN:
				e.drop(service, rights...)
				e.drop(all, rights...)
			}
			if slices.Contains(rights, ChangePassword) && (e.account != nil || e == d.holder) {
				e.drop(self, ChangePassword)
				e.drop(everyone, ChangePassword)
			}
		})
	}
}

// GiveBack undoes TakeAway.
func (s *Server) GiveBack(rights ...Right) {
	s.TakeAway(rights...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared.noChange = s.shared.noChange && !slices.Contains(rights, ChangePassword)
	for _, d := range s.shared.replicas {
		d.each(func(e *entry, service, all, _, _ string) {
			for _, r := range rights {
				switch {
				case r == ChangePassword && (e.account != nil || e == d.holder):
					e.acl = append(slices.Clip(e.acl), d.changeACL()...)
				case r == UnexpirePassword && e == d.root:
					e.acl = append(slices.Clip(e.acl), ace{mask: r.mask(), object: r.object(), sid: all})
				case r != ChangePassword && r != UnexpirePassword && e.dn == staffDN:
					e.acl = append(slices.Clip(e.acl), r.entry(e, service))
				}
			}
		})
	}
}

func (d *domain) each(do func(e *entry, service, all, self, everyone string)) {
	service, err := d.trustee(serviceName)
	if err != nil {
		return // it was deleted
	}
	for _, e := range d.entries {
		do(e, service, string(sidBytes(sidAuthenticated)), string(sidBytes(sidSelf)), string(sidBytes(sidEveryone)))
	}
}

// Protect does to an account or group what AdminSDHolder's task does to members
// of privileged groups: adminCount becomes 1, and nothing is delegated on it
// any more.
func (s *Server) Protect(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.everywhere(name, func(_ *domain, e *entry) error {
		e.protect()
		return nil
	})
}

func (e *entry) protect() {
	e.kept = true
	e.attrs["adminCount"] = []string{"1"}
}

// Unprotect undoes Protect, which Windows never does by itself.
func (s *Server) Unprotect(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.everywhere(name, func(_ *domain, e *entry) error {
		e.kept = false
		delete(e.attrs, "adminCount")
		return nil
	})
}

// SDProp is the task that the PDC emulator runs every hour (MS-ADTS
// 3.1.1.6.1): it protects privileged groups and all their members, nested or
// not. Those who are no members any more stay protected.
func (s *Server) SDProp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.shared.replicas {
		d.protectMembers()
	}
}

func (d *domain) protectMembers() {
	for _, name := range []string{
		"Administrators", "Account Operators", "Server Operators", "Print Operators", "Backup Operators", "Replicator",
		"Domain Admins", "Schema Admins", "Enterprise Admins", "Domain Controllers", "Read-only Domain Controllers",
	} {
		g := d.named(name)
		if g == nil {
			continue
		}
		g.protect()
		if name == "Domain Controllers" || name == "Read-only Domain Controllers" {
			continue // the groups, not their members
		}
		for _, m := range reach(g, membersOf) {
			m.protect()
		}
	}
	for _, rid := range []uint32{ridAdministrator, ridKrbtgt} {
		if e := d.bySID[d.sidOf(rid)]; e != nil {
			e.protect()
		}
	}
}
