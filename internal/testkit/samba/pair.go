package samba

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// pairServices are what a controller needs to replicate: RPC carries it,
// Kerberos signs it in, and the connectionless LDAP finds a controller to join.
const pairServices = "rpc, ldap, cldap, kdc, drepl"

// kerberos is krb5.conf; the verb is a line for each key distribution centre.
// Over TCP, a dead one is noticed at once.
const kerberos = `[libdefaults]
	default_realm = ` + realm + `
	dns_lookup_realm = false
	dns_lookup_kdc = false
[realms]
	` + realm + ` = {
%s	}
[domain_realm]
	.` + domain + ` = ` + realm + `
`

// syncTimeout is how long a change may take to the other controller: it takes
// a second or two, also when the other has just been started.
const syncTimeout = time.Minute

// A Pair is a running domain with two domain controllers that replicate to
// each other. DC1 begins as the PDC emulator. Their Directory differs in URL
// only; to Close one of them is to Kill it.
type Pair struct {
	DC1, DC2 *Domain

	folder
}

// StartPair copies a fresh domain and starts its two domain controllers. When
// it returns, the administrator has bound to both over LDAPS, and a change has
// come from each to the other.
func StartPair(ctx context.Context, opts Options) (*Pair, error) {
	f, err := fresh(ctx, opts, pairTemplate)
	if err != nil {
		return nil, err
	}
	p := newPair(f)
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func newPair(f folder) *Pair {
	half := func(name string) *Domain { return newDomain(folder{root: f.root, dir: f.path(name)}, name) }
	return &Pair{DC1: half("dc1"), DC2: half("dc2"), folder: f}
}

func (p *Pair) controllers() [2]*Domain { return [2]*Domain{p.DC1, p.DC2} }

func (p *Pair) start(ctx context.Context) error {
	dir, err := readDirectory(p.DC1.File())
	if err != nil {
		return err
	}
	p.DC1.Directory, p.DC2.Directory = dir, dir
	if err := p.setUp(); err != nil {
		return err
	}
	for _, d := range p.controllers() {
		if err := d.Restart(ctx); err != nil {
			return err
		}
		if err := writeDirectory(d.File(), d.Directory); err != nil {
			return err
		}
	}
	return p.Sync(ctx)
}

// setUp gives both controllers what they need to start and to find each other.
func (p *Pair) setUp() error {
	if err := testkit.Empty(p.path("tls")); err != nil {
		return err
	}
	ca, err := pki.New(p.path("tls"))
	if err != nil {
		return err
	}
	var centres strings.Builder
	hosts := "127.0.0.1 localhost\n"
	for _, d := range p.controllers() {
		if err := d.setUp(ca, pairServices); err != nil {
			return err
		}
		alias, err := os.ReadFile(d.path(aliasFile))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // none before it has joined
			return err
		}
		hosts += fmt.Sprintf("%s %s %s\n", d.addr, d.Host, alias)
		fmt.Fprintf(&centres, "\t\tkdc = tcp/%s\n", d.addr)
	}
	for _, d := range p.controllers() {
		if err := os.WriteFile(d.path(hostsFile), []byte(hosts), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(d.path(kerberosFile), fmt.Appendf(nil, kerberos, centres.String()), 0o644); err != nil {
			return err
		}
		// A controller sees its own folder only.
		if err := testkit.Empty(d.path("tls")); err != nil {
			return err
		}
		for _, name := range []string{"ca.pem", d.name + ".pem", d.name + ".key"} {
			if err := os.Link(p.path("tls/"+name), d.path("tls/"+name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Sync waits until each controller has what was written on the other before
// the call, for a minute at most each way. Both must run.
func (p *Pair) Sync(ctx context.Context) error {
	// A controller sends its changes in the order of their sequence numbers, so
	// a mark has all before it with it.
	for _, way := range [][2]*Domain{{p.DC1, p.DC2}, {p.DC2, p.DC1}} {
		mark := rand.Text()
		err := asAdmin(ctx, way[0].Directory, func(conn *ldap.Conn) error {
			m := ldap.NewModifyRequest(unitDN, nil)
			m.Replace("description", []string{mark})
			return conn.Modify(m)
		})
		if err == nil {
			err = way[1].await(ctx, unitDN, "description", mark)
		}
		if err != nil {
			return fmt.Errorf("waiting for replication from %s to %s: %w", way[0].Host, way[1].Host, err)
		}
	}
	return nil
}

// MovePDC makes a controller of the pair, which must run, the PDC emulator. If
// the other one runs it is asked to hand the role over, else it is seized. When
// MovePDC returns, the controller says so itself; the other learns it by
// replication, as [Pair.Sync] would show.
func (p *Pair) MovePDC(ctx context.Context, to *Domain) error {
	other := p.DC1
	if to == p.DC1 {
		other = p.DC2
	}
	var m *ldap.ModifyRequest
	select {
	case <-other.Done():
		m = ldap.NewModifyRequest(baseDN, nil)
		m.Replace("fSMORoleOwner", []string{to.settingsDN()})
	default:
		m = ldap.NewModifyRequest("", nil) // an operation of the rootDSE (MS-ADTS 3.1.1.3.3)
		m.Replace("becomePdc", []string{"1"})
	}
	err := asAdmin(ctx, to.Directory, func(conn *ldap.Conn) error {
		// A busy controller refuses to hand the role over, and does so a little later.
		return backoff.Retry(func() error {
			err := conn.Modify(m)
			if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultOperationsError) {
				return backoff.Permanent(err)
			}
			return err
		}, backoff.WithContext(backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Second), 10), ctx))
	})
	if err == nil {
		err = to.await(ctx, baseDN, "fSMORoleOwner", to.settingsDN())
	}
	if err != nil {
		return fmt.Errorf("moving the PDC role to %s: %w", to.Host, err)
	}
	return nil
}

// await waits until an attribute of one value has this value.
func (d *Domain) await(ctx context.Context, dn, attr, want string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, syncTimeout, errors.New("not in "+syncTimeout.String()))
	defer cancel()
	return asAdmin(ctx, d.Directory, func(conn *ldap.Conn) error {
		var got string
		err := backoff.Retry(func() error {
			res, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases,
				1, 0, false, "(objectClass=*)", []string{attr}, nil))
			if err != nil {
				return backoff.Permanent(err)
			}
			if got = res.Entries[0].GetAttributeValue(attr); !strings.EqualFold(got, want) { // as DNs are compared
				return errors.New("not yet")
			}
			return nil
		}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %s of %s is %q, want %q", context.Cause(ctx), attr, dn, got, want)
		}
		return err
	})
}

// Close ends both controllers, and removes their folder if StartPair made one
// up. It is safe twice.
func (p *Pair) Close() error {
	p.DC1.Kill()
	p.DC2.Kill()
	return p.folder.close()
}
