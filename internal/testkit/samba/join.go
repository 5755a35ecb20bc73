package samba

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
)

// joinVersion is raised by whoever changes what this file does, so that cached
// pairs are made anew.
const joinVersion = "1"

// aliasFile, in the folder of a controller that has joined, has the second name
// of it, by which others replicate from it.
const aliasFile = "alias"

// pairTemplate returns the folder of a stopped pair that is ready to be copied,
// and makes it when this machine has none yet. Nothing in it depends on the
// addresses at which it was made but the files that [Pair.setUp] writes again.
func pairTemplate(ctx context.Context, root string, log io.Writer) (string, error) {
	single, err := template(ctx, root, log)
	if err != nil {
		return "", err
	}
	name := "pair-" + testkit.CacheKey(filepath.Base(single), pairServices, joinVersion)
	return testkit.Cached(ctx, name, func(tmp string) error {
		defer slow(log, "joining a second domain controller, about ten seconds, once")()
		p := newPair(folder{root: root, dir: tmp})
		defer p.DC1.Kill()
		defer p.DC2.Kill()
		if err := p.join(ctx, single); err != nil {
			return fmt.Errorf("joining a second domain controller: %w", err)
		}
		// Once through everything a copy will do.
		if err := p.start(ctx); err != nil {
			return err
		}
		p.DC1.Kill()
		p.DC2.Kill()
		return errors.Join(os.Remove(p.DC1.LogFile()), os.Remove(p.DC2.LogFile()))
	})
}

// join makes a copy of a single domain the first controller of the pair, and
// joins the second to it. Neither runs afterwards.
func (p *Pair) join(ctx context.Context, single string) (err error) {
	if err := p.DC1.fill(ctx, single); err != nil {
		return err
	}
	for _, d := range []string{"cache", "lock"} {
		if err := os.MkdirAll(p.DC2.path(d), 0o755); err != nil {
			return err
		}
	}
	if p.DC1.Directory, err = readDirectory(p.DC1.File()); err != nil {
		return err
	}
	if err := p.setUp(); err != nil {
		return err
	}
	// Provisioning leaves out the principal names that replication signs in to.
	if _, err := run(ctx, p.DC1.command("samba_spnupdate", "--configfile="+inside+"/smb.conf")...); err != nil {
		return fmt.Errorf("adding service principal names: %w", err)
	}
	if err := p.DC1.Restart(ctx); err != nil {
		return err
	}
	if _, err := run(ctx, p.DC2.command("samba-tool", "domain", "join", domain, "DC",
		"--user=Administrator@"+realm, "--password="+p.DC1.AdminPassword, "--use-kerberos=required",
		"--server="+p.DC1.Host, "--dns-backend=NONE", "--targetdir="+inside,
		"--option=netbios name = "+p.DC2.name, "--option=interfaces = "+p.DC2.addr+"/8",
		"--option=bind interfaces only = yes", "--option=ldb:nosync = true")...); err != nil {
		return err
	}
	for _, d := range p.controllers() {
		if err := d.learnAlias(ctx, p.DC1); err != nil {
			return fmt.Errorf("asking for the second name of %s: %w", d.Host, err)
		}
	}
	p.DC1.Kill()
	// Joining made the second replicate from the first; this is the other way.
	if _, err := run(ctx, p.DC1.command("samba_kcc", "--configfile="+inside+"/smb.conf")...); err != nil {
		return fmt.Errorf("making the first controller replicate from the second: %w", err)
	}
	return nil
}

// learnAlias writes the alias of d, which from knows.
func (d *Domain) learnAlias(ctx context.Context, from *Domain) error {
	return asAdmin(ctx, from.Directory, func(conn *ldap.Conn) error {
		res, err := conn.Search(ldap.NewSearchRequest(d.settingsDN(), ldap.ScopeBaseObject, ldap.NeverDerefAliases,
			1, 0, false, "(objectClass=*)", []string{"objectGUID"}, nil))
		if err != nil {
			return err
		}
		alias := guidText(res.Entries[0].GetRawAttributeValue("objectGUID")) + "._msdcs." + domain
		return os.WriteFile(d.path(aliasFile), []byte(alias), 0o644)
	})
}

// settingsDN is the object that stands for a controller in replication and in
// fSMORoleOwner.
func (d *Domain) settingsDN() string {
	return "CN=NTDS Settings,CN=" + d.name + ",CN=Servers,CN=Default-First-Site-Name,CN=Sites,CN=Configuration," + baseDN
}
