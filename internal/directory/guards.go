package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/rights"
)

// takeover are the rights with which somebody comes to be an account.
var takeover = []rights.Right{rights.ResetPassword, rights.ModifyPermissions, rights.ModifyOwner, rights.WriteKeys}

// tierZero reports whether a SID is of somebody who has the whole domain anyway,
// or is the account itself.
func (x *examination) tierZero(sid []byte) bool {
	rid, _ := lastRID(sid)
	switch {
	case slices.ContainsFunc(x.conn.self, func(s []byte) bool { return bytes.Equal(s, sid) }):
		return true
	case inDomainOf(sid, 32):
		return rid == 544 // Administrators
	case inDomainOf(sid, 21) && slices.Contains([]uint32{ridSchemaAdmins, ridEnterpriseAdmins, ridEnterpriseKeyAdmins}, rid):
		return true // they are in the forest's first domain, which may be another
	case inDomainOf(sid, 21):
		return bytes.HasPrefix(sid, x.conn.self[0][:len(sid)-4]) &&
			slices.Contains([]uint32{ridAdministrator, ridDomainAdmins, ridDomainControllers, ridKeyAdmins}, rid)
	}
	// SYSTEM, SELF, the forest's domain controllers.
	return slices.Contains([]string{"S-1-5-18", "S-1-5-10", "S-1-5-9"}, rights.FormatSID(sid))
}

// guards checks who may make the account his own: by rights on it, or on a
// container whose permissions come down to it.
func (x *examination) guards(ctx context.Context, dn string) {
	const what = "service account: who controls it"
	before := len(x.found)
	for at, wanted := dn, takeover; at != ""; at, wanted = parentOf(at, x.conn.base), takeover[1:3] {
		list, readable, err := x.descriptor(ctx, at, listAndOwner)
		switch {
		case err != nil:
			x.add(what, fmt.Errorf("the permissions of %s are unknown: %w", printable(at), err))
			return
		case !readable && at == dn:
			x.add(what, errors.New("unknown, since it may not read its own permissions"), rights.GrantRead(dn, x.trustee(), false)...)
			return
		case !readable:
			x.advise(what, fmt.Sprintf("unknown, since it may not read the permissions of %s, from which it inherits", printable(at)))
			return
		}
		for _, h := range list.Holders(wanted...) {
			if !x.tierZero(h.SID) && (at == dn || h.Revoke(at) != nil) {
				x.holds(ctx, what, dn, at, h)
			}
		}
		if owner := list.Owner(); owner != nil && !x.tierZero(owner) {
			x.add(what, fmt.Errorf("%s owns %s, and an owner may modify permissions: make Domain Admins its owner", x.name(ctx, owner), printable(at)))
		}
		if !list.Inherits() {
			break
		}
	}
	if len(x.found) == before {
		x.add(what+": the domain's administrators alone", nil)
	}
}

// holds says that somebody comes to control the account dn by rights on at.
func (x *examination) holds(ctx context.Context, what, dn, at string, h rights.Holder) {
	text := fmt.Sprintf("%s has %s on it, and with that all that it may do", x.name(ctx, h.SID), join(h.Rights))
	if at != dn {
		text = fmt.Sprintf("%s has %s on %s, from which it inherits", x.name(ctx, h.SID), join(h.Rights), printable(at))
	}
	if h.Inherited {
		text += "; granted above it: revoke it there, or move the account"
	} else {
		text += ": revoke it"
	}
	if x.empty(ctx, h.SID) {
		x.advise(what, text+". Nobody is in that group now", h.Revoke(at)...)
		return
	}
	x.add(what, errors.New(text), h.Revoke(at)...)
}

// empty reports whether sid is a group that every machine has, such as Account
// Operators, who control every account that nobody thought of, and has no
// members. Other groups may have some by their primaryGroupID.
func (x *examination) empty(ctx context.Context, sid []byte) bool {
	if !inDomainOf(sid, 32) {
		return false
	}
	entries, err := x.client.search(ctx, x.conn, query{
		base: x.conn.base, scope: ldap.ScopeWholeSubtree, limit: 1,
		filter: "(&(objectClass=group)(objectSid=" + escapeBytes(sid) + ")(!(member=*)))", attributes: []string{"objectSid"},
	})
	return err == nil && len(entries) == 1
}

// parentOf returns the name of the container of dn as dn has it, "" above base.
func parentOf(dn, base string) string {
	for i := 0; i < len(dn); i++ {
		switch dn[i] {
		case '\\':
			i++ // what follows is part of a value, be it a comma
		case ',':
			if parent := dn[i+1:]; len(parent) >= len(base) {
				return parent
			}
			return ""
		}
	}
	return ""
}

// name returns what somebody is called, with the SID.
func (x *examination) name(ctx context.Context, sid []byte) string {
	text := rights.FormatSID(sid)
	known := map[string]string{"S-1-1-0": "Everyone", "S-1-5-11": "Authenticated Users", "S-1-5-7": "Anonymous"}[text]
	if known == "" {
		entries, err := x.client.search(ctx, x.conn, query{
			base: x.conn.base, scope: ldap.ScopeWholeSubtree, limit: 1,
			filter: "(objectSid=" + escapeBytes(sid) + ")", attributes: []string{"sAMAccountName"},
		})
		if err != nil || len(entries) != 1 {
			return text
		}
		known = printable(entries[0].GetEqualFoldAttributeValue("sAMAccountName"))
	}
	return known + " (" + text + ")"
}

// join lists rights in words.
func join(list []rights.Right) string {
	var names []string
	for _, r := range list {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}
