package directory

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/obs"
)

// How often DNS is asked for the domain controllers, and how often while none
// of those that are known can be used.
const (
	locateEvery = 5 * time.Minute
	locateAgain = 10 * time.Second
)

// locate asks DNS for the domain controllers if it is time to. It is an error
// only if none is known.
func (c *Client) locate(ctx context.Context) error {
	if !c.isTimeToLocate(false) {
		return nil
	}
	select {
	case c.locating <- struct{}{}:
		defer func() { <-c.locating }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !c.isTimeToLocate(true) {
		return nil // another has done it
	}
	found, err := c.lookUp(ctx)
	known := c.known()
	switch {
	case err != nil && len(known) == 0:
		return err
	case err != nil:
		c.log.WithLevel(c.unlocated.Level(zerolog.WarnLevel, err)).AnErr(obs.Cause, err).Msg("DNS names no domain controllers; those known before are used")
		return nil
	}
	c.unlocated.Over()
	c.replace(found)
	if now := c.known(); !slices.Equal(now, known) {
		c.log.Info().Str(obs.Directory, strings.Join(now, " ")).Msg("domain controllers found")
	}
	return nil
}

// known returns the URLs of the domain controllers, sorted.
func (c *Client) known() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var urls []string
	for _, d := range c.controllers {
		urls = append(urls, d.addr.url)
	}
	slices.Sort(urls)
	return urls
}

// isTimeToLocate reports whether DNS is to be asked. mine says that the caller
// does it, so that others who know of a domain controller go on meanwhile.
func (c *Client) isTimeToLocate(mine bool) bool {
	if c.cfg.Domain == "" {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	every := locateAgain
	if slices.ContainsFunc(c.controllers, func(d *controller) bool { return d.trouble == nil }) {
		every = locateEvery
	}
	if len(c.controllers) > 0 && time.Since(c.located) < every {
		return false
	}
	if mine {
		c.located = time.Now()
	}
	return true
}

// lookUp asks DNS for the domain's domain controllers (MS-ADTS 6.3.2.3): the
// PDC emulator, which may be beyond what is used of a long list, and then all
// in the order that DNS prefers.
func (c *Client) lookUp(ctx context.Context) ([]address, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	r := c.cfg.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	// The dot at its end keeps the search list of this machine out of it.
	records := "_msdcs." + c.cfg.Domain + "."
	_, pdc, _ := r.LookupSRV(ctx, "", "", "_ldap._tcp.pdc."+records) // can be missing
	_, dcs, err := r.LookupSRV(ctx, "", "", "_ldap._tcp.dc."+records)
	var found []address
	for _, srv := range slices.Concat(pdc, dcs) { // what is valid, beside an error about the rest
		if a := c.recorded(srv); len(found) < maxControllers && !slices.Contains(found, a) {
			found = append(found, a)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case err != nil:
		return nil, err
	}
	return nil, errors.New("_ldap._tcp.dc." + records + " names none")
}

// recorded returns the address that a record stands for. Its port is that of
// plain LDAP, where StartTLS is spoken; that of LDAPS is in no record.
func (c *Client) recorded(srv *net.SRV) address {
	host := strings.ToLower(strings.TrimSuffix(srv.Target, "."))
	scheme, port := "ldaps", 636
	if c.cfg.StartTLS {
		scheme, port = "ldap", int(srv.Port)
	}
	hostport := net.JoinHostPort(host, strconv.Itoa(port))
	return address{scheme + "://" + hostport, host, hostport}
}
