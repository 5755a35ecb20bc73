package directory

import (
	"context"
	"errors"
	"fmt"

	"writeback/internal/directory/rights"
)

// lack adds that the service account does not have r on dn, which is in base or
// is base itself, and why. list is that of dn, the zero List if it cannot be
// read. A grant is named only where it would help, and as near to dn as it must
// be: on base, or on the lowest container in it that inherits nothing.
func (x *examination) lack(ctx context.Context, what, why string, r rights.Right, dn, base string, list rights.List) {
	sid, inherited := list.Denied(x.token, r)
	switch {
	case sid != nil && inherited:
		x.add(what, fmt.Errorf("%s: an entry that it inherits denies it to %s: remove that one where it was made", why, x.name(ctx, sid)))
		return
	case sid != nil:
		x.add(what, fmt.Errorf("%s: an entry on it denies it to %s: remove that one", why, x.name(ctx, sid)))
		return
	case !within(parentOf(dn, x.conn.base), []string{base}): // it is base itself
		x.add(what, errors.New(why), r.Grant(base, x.trustee())...)
		return
	case !list.Inherits():
		x.add(what, errors.New(why+", and the account inherits no rights from above"))
		return
	}
	for at := parentOf(dn, x.conn.base); ; at = parentOf(at, x.conn.base) {
		list, readable, err := x.descriptor(ctx, at, listOnly)
		inBase := within(parentOf(at, x.conn.base), []string{base})
		switch {
		case err != nil:
			x.add(what, fmt.Errorf("%s; the permissions of %s are unknown: %w", why, printable(at), err))
		case !readable:
			x.add(what, fmt.Errorf("%s; where to grant it cannot be seen, since it may not read the permissions of %s: grant that first",
				why, printable(at)), rights.GrantRead(at, x.trustee(), false)...)
		case list.HandsDown(x.token, r):
			x.add(what, fmt.Errorf("%s, although %s hands it down: look at what kind of objects that entry is for, and on the account "+
				"for an entry that denies it, or for inheritance that is switched off", why, printable(at)))
		case inBase && list.Inherits():
			continue
		case inBase:
			x.add(what, fmt.Errorf("%s; inheritance is cut at %s, below the base, so that it must be granted there too", why, printable(at)),
				r.Grant(at, x.trustee())...)
		default:
			x.add(what, errors.New(why), r.Grant(at, x.trustee())...)
		}
		return
	}
}
