package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// controllers looks at every domain controller. It returns a connection to the
// first that can be used, nil if none can.
func (x *examination) controllers(ctx context.Context) (first *conn) {
	c := x.client
	if err := c.locate(ctx); err != nil {
		x.add("domain controllers of "+c.cfg.Domain, fmt.Errorf("DNS does not name any (%w): look at directory.domain, and at this machine's resolver", err))
		return nil
	}
	c.mu.Lock()
	all := slices.Clone(c.controllers)
	c.mu.Unlock()
	if c.cfg.Domain != "" {
		x.add(fmt.Sprintf("domain controllers of %s: DNS names %d", c.cfg.Domain, len(all)), nil)
	}
	refused := false
	for _, d := range all {
		found, ok := c.reach(ctx, d.addr)
		if x.found = append(x.found, found...); !ok {
			continue
		}
		signIn := "sign-in at " + d.addr.host + " as " + c.cfg.BindDN
		if refused {
			x.advise(signIn, "not tried, since to be refused again could lock the account")
			continue
		}
		cn, err := x.signIn(ctx, d)
		x.add(signIn, unbound(err))
		if err != nil {
			a, ok := errors.AsType[*answer](err)
			refused = ok && a.result == invalidCredentials
			continue
		}
		usable, err := x.root(ctx, cn, d.addr.host)
		if err != nil {
			x.add("what "+d.addr.host+" says of itself", err)
		}
		if usable && first == nil {
			first = cn
		} else {
			cn.close()
		}
	}
	return first
}

// signIn connects and binds, once.
func (x *examination) signIn(ctx context.Context, d *controller) (*conn, error) {
	c := x.client
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	defer password.Wipe()
	cn, err := c.open(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := c.bind(ctx, cn, password); err != nil {
		cn.close()
		return nil, err
	}
	return cn, nil
}

// unbound says in plain words why a bind was refused (MS-ERREF 2.2).
func unbound(err error) error {
	a, ok := errors.AsType[*answer](err)
	if !ok || a.result != invalidCredentials {
		return err
	}
	why, ok := map[string]string{
		"52e": "directory.bind_dn or the password in password_file is wrong",
		"525": "there is no such account: look at directory.bind_dn",
		"530": "the account may not sign in at this hour",
		"531": "the account may not sign in from this machine",
		"532": "its password has expired",
		"533": "the account is disabled",
		"701": "the account has expired",
		"773": "its password must be changed first",
		"775": "the account is locked out",
	}[strings.ToLower(a.data)]
	if !ok {
		return err
	}
	return fmt.Errorf("%s (%w)", why, err)
}

// root looks at what a domain controller says of itself, and reads what the
// other checks need. usable says that they can use it.
func (x *examination) root(ctx context.Context, cn *conn, host string) (usable bool, err error) {
	c := x.client
	before := time.Now()
	entries, err := c.search(ctx, cn, object("", "currentTime", "supportedControl"))
	ours := before.Add(time.Since(before) / 2)
	if err != nil || len(entries) != 1 {
		return false, errors.Join(errors.New("the rootDSE cannot be read"), err)
	}
	theirs := entries[0].GetEqualFoldAttributeValue("currentTime")
	// It refuses a domain controller for its clock and its controls too, each
	// of which is a check of its own here.
	if err := c.inspect(ctx, cn); cn.dc == "" || cn.base == "" {
		return false, err
	}
	c.mu.Lock()
	readOnly := cn.from.readOnly
	c.mu.Unlock()
	if readOnly {
		x.advise("kind of "+host, "it is a read-only domain controller, and never used")
		return false, nil
	}
	clock := "clock of " + host
	if ahead, err := clockAhead(theirs, ours); err == nil {
		clock += ": " + aheadOf(ahead) + " this machine's"
	}
	x.add(clock, checkClock(theirs, ours))
	x.hints(host, entries[0].GetEqualFoldAttributeValues("supportedControl"))
	err = c.learn(ctx, cn)
	return err == nil, err
}

// hints looks for the policy-hints control.
func (x *examination) hints(host string, controls []string) {
	const lack = "not offered, so that resets would bypass password history and minimum age"
	switch what := "policy hints of " + host; {
	case slices.Contains(controls, policyHints) || slices.Contains(controls, policyHintsOld):
		x.add(what+": offered, so that resets obey history and minimum age", nil)
	case x.client.cfg.AllowWithoutHistoryCheck:
		x.advise(what, lack+"; allow_without_history_check permits that")
	default:
		x.add(what, errors.New(lack+": use a newer domain controller; allow_without_history_check: true would permit it"))
	}
}
