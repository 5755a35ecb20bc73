package config

import (
	"strings"
	"testing"
)

// The SID of TrustedInstaller is the same on every Windows.
func TestServiceSID(t *testing.T) {
	const want = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
	if got := serviceSID("TrustedInstaller"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestClosed(t *testing.T) {
	const (
		us       = "S-1-5-21-1-2-3-1104"
		somebody = "S-1-5-21-1-2-3-1105"
		everyone = "S-1-1-0"
		users    = "S-1-5-32-545"

		full  = 0x1f01ff
		read  = 0x120089
		write = 0x100116
	)
	ours := []ace{{mask: full, sid: us}, {mask: full, sid: localSystem}, {mask: full, sid: administrators}, {mask: read, sid: serviceSID(Service)}}
	with := func(entries ...ace) acl { return acl{owner: administrators, entries: append(entries, ours...)} }
	tests := []struct {
		name    string
		list    acl
		secret  string // in the error of a file that holds a secret; none if empty
		trusted string // and of one that decides something
	}{
		{"only ours", with(), "", ""},
		{"an empty list lets nobody in", acl{owner: us}, "", ""},
		{"the service's own", acl{owner: serviceSID(Service), entries: ours}, "", ""},
		{"the owner, who is us", acl{owner: us, entries: []ace{{mask: full, sid: ownerRights}}}, "", ""},
		{"of the system", acl{owner: localSystem, entries: ours}, "", ""},
		{"somebody's own", acl{owner: somebody, entries: ours}, "belongs to " + somebody, "belongs to " + somebody},
		{"no list", acl{owner: us, missing: true}, "no access list", "no access list"},
		{"users may read", with(ace{mask: read, sid: users}), "lets " + users + " in", ""},
		{"users may read, by a generic right", with(ace{mask: 0x8000_0000, sid: users}), "lets " + users + " in", ""},
		{"everyone may write", with(ace{mask: write, sid: everyone}), "lets " + everyone, "lets " + everyone},
		{"everyone may write, by a generic right", with(ace{mask: 0x4000_0000, sid: everyone}), "lets " + everyone, "lets " + everyone},
		{"everyone may write in it", with(ace{mask: 0x2, sid: everyone}), "lets " + everyone, "lets " + everyone},
		{"somebody may only append", with(ace{mask: 0x4, sid: somebody}), "lets " + somebody, "lets " + somebody},
		{"somebody may do all, by a generic right", with(ace{mask: 0x1000_0000, sid: somebody}), "lets " + somebody, "lets " + somebody},
		{"somebody may give himself rights", with(ace{mask: 0x4_0000, sid: somebody}), "lets " + somebody, "lets " + somebody},
		{"somebody may take it", with(ace{mask: 0x8_0000, sid: somebody}), "lets " + somebody, "lets " + somebody},
		{"somebody may delete it", with(ace{mask: 0x1_0000, sid: somebody}), "lets " + somebody, "lets " + somebody},
		{"somebody may see that it is there", with(ace{mask: 0x10_0080, sid: somebody}), "", ""},
		{"another service", with(ace{mask: read, sid: serviceSID("other")}), "lets S-1-5-80-", ""},
		{"an entry that only denies", with(ace{kind: accessDenied, mask: full, sid: everyone}), "", ""},
		{"a denial before what is allowed is not believed", with(ace{kind: accessDenied, mask: full, sid: users}, ace{mask: read, sid: users}), "lets " + users, ""},
		{"for what is made in a folder", with(ace{flags: inheritOnly, mask: full, sid: users}), "", ""},
		{"inherited", with(ace{flags: 0x10, mask: read, sid: users}), "lets " + users, ""},
		{"with a condition", with(ace{kind: 9, mask: read}), "of type 9", "of type 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for want, denied := range map[*string]uint32{&tt.secret: mayRead | mayChange, &tt.trusted: mayChange} {
				err := tt.list.closed(us, denied)
				if (*want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), *want) {
					t.Errorf("denying %#x: got %v, want %q", denied, err, *want)
				}
			}
		})
	}
}
