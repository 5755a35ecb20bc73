package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-ldap/ldap/v3"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
)

// How long a domain controller that failed is left alone: from half a second on
// twice as long each time, give or take a half, until it does its work again.
const (
	firstPause = time.Second / 2
	maxPause   = time.Minute
)

// maxWait is how long a pause can be while there is no other domain controller
// to use: nothing is spared by it then but a few packets.
const maxWait = 5 * time.Second

// A controller is a domain controller, and what is known of it.
type controller struct {
	addr address
	log  zerolog.Logger

	// Guarded by Client.mu.
	name     string    // dnsHostName; empty before the first connection
	settings string    // dsServiceName
	readOnly bool      // and so never used
	ends     time.Time // when the certificate that it presented last ends; zero is not known

	trouble error     // why it is left alone; nil if it is not
	changed time.Time // when that was last decided
	until   time.Time // it is left alone while there is another
	retry   time.Time // it is left alone although there is no other
	pauses  *backoff.ExponentialBackOff
	trying  bool      // beside requests
	told    connected // what was last logged of it
	outage  obs.Outage
}

// replace makes addresses those of the domain controllers, and forgets all
// others. What is known of those that stay is kept.
func (c *Client) replace(addresses []address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.controllers
	c.controllers = nil
	for _, a := range addresses {
		if i := slices.IndexFunc(old, func(d *controller) bool { return d.addr == a }); i >= 0 {
			c.controllers = append(c.controllers, old[i])
			continue
		}
		c.controllers = append(c.controllers, &controller{
			addr: a, log: c.log.With().Str(obs.Directory, a.url).Logger(),
			pauses: backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause), backoff.WithMultiplier(2),
				backoff.WithMaxInterval(maxPause), backoff.WithMaxElapsedTime(0)),
		})
	}
	c.idle = slices.DeleteFunc(c.idle, func(cn *conn) bool {
		if slices.Contains(c.controllers, cn.from) {
			return false
		}
		cn.close()
		return true
	})
}

// choose returns the domain controller to use now, or the one to use after
// wait. others says that there is another that could be tried instead. If name
// is not empty it is the one with this name, or one that may turn out to be it.
//
// One that is preferred and was left alone for long enough is tried beside the
// request, if there is another to serve it meanwhile.
func (c *Client) choose(name string) (d *controller, others bool, wait time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, 0, errors.New("the client is closed")
	}
	list := c.preferred(name)
	if len(list) == 0 {
		return nil, false, 0, c.nobody(name)
	}
	now, ready := time.Now(), 0
	for _, d := range list {
		if !d.retry.After(now) {
			ready++
		}
	}
	if i := slices.IndexFunc(list, func(d *controller) bool { return d.trouble == nil }); i >= 0 {
		for _, d := range list[:i] {
			if !d.until.After(now) && !d.trying {
				c.tryBeside(d, list[i])
			}
		}
		return list[i], ready > 1, 0, nil
	}
	soonest := func(d *controller) time.Duration { return max(d.retry.Sub(now), 0) }
	d = slices.MinFunc(list, func(a, b *controller) int { return cmp.Compare(soonest(a), soonest(b)) })
	return d, ready > 1, soonest(d), nil
}

// preferred returns the domain controllers that may be used, in order: the PDC
// emulator, or while nobody is known to be it those that may be it, then the
// others as they were given. If name is not empty these are the one with this
// name, or else those that may be it. Client.mu must be held.
func (c *Client) preferred(name string) []*controller {
	var list []*controller
	for _, d := range c.controllers {
		if !d.readOnly && (name == "" || d.name == "") {
			list = append(list, d)
		}
		if !d.readOnly && name != "" && strings.EqualFold(d.name, name) {
			return []*controller{d}
		}
	}
	wanted := name
	if name == "" && !slices.ContainsFunc(c.controllers, c.isPDC) {
		wanted = serverOf(c.pdc)
	}
	rank := func(d *controller) int {
		switch {
		case c.isPDC(d):
			return 0
		case wanted != "" && d.name == "" && strings.EqualFold(label(d.addr.host), label(wanted)):
			return 1 // most likely
		case wanted != "" && d.name == "":
			return 2
		}
		return 3
	}
	slices.SortStableFunc(list, func(a, b *controller) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}

// Using returns the domain controller that the next session would be at, by its
// dnsHostName: the first one in order that was connected to and is not left alone.
// It is empty if there is none.
func (c *Client) Using() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.preferred("") {
		if d.name != "" && d.trouble == nil {
			return d.name
		}
	}
	return ""
}

// nobody says why there is no domain controller to use. Client.mu must be held.
func (c *Client) nobody(name string) error {
	if name != "" {
		return fmt.Errorf("no domain controller in use is called %s", name)
	}
	return c.allTroubles(errors.New("there is none"))
}

func (c *Client) isPDC(d *controller) bool {
	return d.settings != "" && strings.EqualFold(d.settings, c.pdc)
}

// serverOf returns the name of the server whose settings are at dn:
// CN=NTDS Settings,CN=SERVER,… (MS-ADTS 6.1.1.2.2.1.2.1.1).
func serverOf(dn string) string {
	parsed, err := ldap.ParseDN(dn)
	if err != nil || len(parsed.RDNs) < 2 {
		return ""
	}
	return parsed.RDNs[1].Attributes[0].Value
}

// label returns what a host name begins with.
func label(host string) string {
	first, _, _ := strings.Cut(host, ".")
	return first
}

// all returns the domain controllers that may be used, those last that are left
// alone.
func (c *Client) all() []*controller {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.preferred("")
	slices.SortStableFunc(list, func(a, b *controller) int { return a.until.Compare(b.until) })
	return list
}

// tryBeside connects to d while a request uses other. A password that is in
// doubt is proven at other first: d may be what hangs whenever it gets one, and
// would have it taken for refused. Client.mu must be held.
func (c *Client) tryBeside(d, other *controller) {
	d.trying = true
	connect := func(d *controller) {
		if cn, err := c.connect(c.context, d, true); err == nil {
			c.giveBack(cn)
		}
	}
	c.trials.Go(func() {
		if c.inDoubt() {
			connect(other)
		}
		if !c.inDoubt() {
			connect(d)
		}
		c.mu.Lock()
		d.trying = false
		c.mu.Unlock()
	})
}

// leftSince returns the reason if d was left alone since then.
func (c *Client) leftSince(d *controller, then time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.changed.After(then) {
		return d.trouble
	}
	return nil
}

// leave has d left alone because of err, which ended something that began at
// that time; what began before d was last judged says nothing new. again says
// that it may be tried at once where there is no other.
func (c *Client) leave(d *controller, began time.Time, err error, again bool) {
	c.mu.Lock()
	if d.readOnly || began.Before(d.changed) {
		c.mu.Unlock()
		return
	}
	now, pause := time.Now(), d.pauses.NextBackOff()
	d.trouble, d.changed, d.until, d.retry = err, now, now.Add(pause), now
	if !again {
		d.retry = now.Add(min(pause, maxWait))
	}
	c.mu.Unlock()
	c.closeIdle(d)
	d.log.WithLevel(d.outage.Level(zerolog.WarnLevel, err)).AnErr(obs.Cause, err).Dur(obs.Wait, pause).Msg("domain controller is left alone")
}

// A connected is what the log says of a domain controller that was connected to.
type connected struct {
	dc         string
	pdc, hints bool
}

// welcome says that cn was made. It returns what there is to say of it, and
// whether that was not known: most connections are further ones.
func (c *Client) welcome(cn *conn) (now connected, news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := cn.from
	now = connected{cn.dc, c.isPDC(d), cn.hints != ""}
	news = d.outage.Over() || d.told != now
	d.told = now
	if d.trouble != nil {
		d.trouble, d.changed, d.until, d.retry = nil, time.Now(), time.Time{}, time.Time{}
	}
	return now, news
}

// worked says that d did all that was asked of it, and not only let us in.
func (c *Client) worked(d *controller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.pauses.Reset()
}

// note keeps who it is that cn leads to.
func (c *Client) note(cn *conn, readOnly bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := cn.from
	d.name, d.settings = cn.dc, cn.settings
	if readOnly && !d.readOnly {
		d.readOnly, d.trouble = true, errors.New("is a read-only domain controller, and so is not used")
		d.log.Warn().Str(obs.DC, cn.dc).Msg("domain controller is read-only; it is not used")
	}
}

// setPDC keeps whose settings are those of the PDC emulator.
func (c *Client) setPDC(settings string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if settings != "" {
		c.pdc = settings
	}
}

// troubles names every domain controller that is left alone, with the reason;
// if there is none it returns err.
func (c *Client) troubles(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allTroubles(err)
}

func (c *Client) allTroubles(err error) error {
	var all error
	for _, d := range c.controllers {
		if d.trouble == nil {
			continue
		}
		one := fmt.Errorf("%s: %w", d.addr.url, d.trouble)
		if all == nil {
			all = one
		} else {
			all = fmt.Errorf("%w; %w", all, one)
		}
	}
	if all == nil {
		return err
	}
	return all
}
