package directory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
	"writeback/internal/obs"
)

// cacheTime is how long what a domain controller said of its policies and
// groups is believed.
const cacheTime = time.Minute

// cacheSize is how many such things are kept: far more than domains have.
const cacheSize = 1024

// A cache keeps what was read for cacheTime. The zero cache is ready for use.
type cache[T any] struct {
	mu   sync.Mutex
	kept map[string]reading[T]
}

type reading[T any] struct {
	value T
	at    time.Time
}

// get returns what is kept under key, or else what read returns, which is kept
// unless there is an error. Two callers may read the same at once.
func (c *cache[T]) get(key string, read func() (T, error)) (T, error) {
	c.mu.Lock()
	r, ok := c.kept[key]
	c.mu.Unlock()
	if ok && time.Since(r.at) < cacheTime {
		return r.value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil || len(c.kept) >= cacheSize {
		c.kept = make(map[string]reading[T])
	}
	c.kept[key] = reading[T]{value, time.Now()}
	return value, nil
}

// forget has the next get read.
func (c *cache[T]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, key)
}

// attributesOf names where the rules are written.
type attributesOf struct {
	minLength, complexity, history, minAge           string
	lockoutThreshold, lockoutWindow, lockoutDuration string
}

// The two places (MS-SAMR 3.1.1.5): the domain, and a fine-grained policy.
var (
	inDomain = attributesOf{
		"minPwdLength", "pwdProperties", "pwdHistoryLength", "minPwdAge",
		"lockoutThreshold", "lockOutObservationWindow", "lockoutDuration",
	}
	inPolicy = attributesOf{
		"msDS-MinimumPasswordLength", "msDS-PasswordComplexityEnabled", "msDS-PasswordHistoryLength", "msDS-MinimumPasswordAge",
		"msDS-LockoutThreshold", "msDS-LockoutObservationWindow", "msDS-LockoutDuration",
	}
)

// roleOwner of the domain is the PDC emulator's settings (MS-ADTS 6.1.5.4).
const roleOwner = "fSMORoleOwner"

// Rules returns the domain's own rules as they were last read, which every new
// connection and every [Session.Find] does if they are older than a minute.
// They are unknown before the first connection, and where the service account
// may not read them.
func (c *Client) Rules() policy.Rules {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.domain
}

// rulesAt returns the rules of the fine-grained policy pso, or of the domain if
// that is empty. Rules that cannot be read are unknown: a domain controller
// shows a policy to administrators only by default, and answers all others
// with nothing, or with an object without attributes. An error says that the
// connection is lost.
func (c *Client) rulesAt(ctx context.Context, cn *conn, pso string) (policy.Rules, error) {
	dn, where := cn.ruled(pso)
	rules, err := c.rules.get(dn, func() (policy.Rules, error) {
		rules, err := c.readRules(ctx, cn, dn, where)
		if err == nil && pso == "" {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.domain = rules
		}
		return rules, err
	})
	if _, ok := errors.AsType[*answer](err); ok {
		return policy.Rules{}, nil
	}
	return rules, err
}

// rulesAnew is rulesAt for rules as they are now.
func (c *Client) rulesAnew(ctx context.Context, cn *conn, pso string) (policy.Rules, error) {
	dn, _ := cn.ruled(pso)
	c.rules.forget(dn)
	return c.rulesAt(ctx, cn, pso)
}

// ruled returns where the rules are written.
func (c *conn) ruled(pso string) (dn string, at attributesOf) {
	if pso == "" {
		return c.base, inDomain
	}
	return pso, inPolicy
}

func (c *Client) readRules(ctx context.Context, cn *conn, dn string, at attributesOf) (policy.Rules, error) {
	entries, err := c.search(ctx, cn, object(dn, at.minLength, at.complexity, at.history, at.minAge,
		at.lockoutThreshold, at.lockoutWindow, at.lockoutDuration, roleOwner))
	if a, ok := errors.AsType[*answer](err); ok && !a.later() {
		err = nil // it does not show them
	}
	if err != nil {
		return policy.Rules{}, err
	}
	if dn == cn.base && len(entries) == 1 {
		c.setPDC(entries[0].GetEqualFoldAttributeValue(roleOwner))
	}
	rules, err := policy.Rules{}, errors.New("the service account may not read it")
	if len(entries) == 1 {
		rules, err = at.rules(entries[0])
	}
	if err != nil {
		cn.from.log.Warn().AnErr(obs.Cause, err).Str(obs.Policy, dn).Msg("rules for passwords are unknown")
		return policy.Rules{}, nil
	}
	rules.Samba = cn.samba
	return rules, nil
}

// rules reads e. Its error says what is missing.
func (at attributesOf) rules(e *ldap.Entry) (policy.Rules, error) {
	r := reader{e: e}
	rules := policy.Rules{
		Known:     true,
		MinLength: r.count(at.minLength),
		History:   r.count(at.history),
		MinAge:    r.interval(at.minAge),

		LockoutThreshold: r.count(at.lockoutThreshold),
		LockoutWindow:    r.interval(at.lockoutWindow),
		LockoutDuration:  r.interval(at.lockoutDuration),
	}
	switch text := r.text(at.complexity); {
	case strings.EqualFold(text, "TRUE"), strings.EqualFold(text, "FALSE"):
		rules.Complexity = strings.EqualFold(text, "TRUE")
	default: // pwdProperties, DOMAIN_PASSWORD_COMPLEX
		rules.Complexity = r.number(at.complexity)&1 != 0
	}
	return rules, r.err
}

// count reads a number that is small and not negative.
func (r *reader) count(attribute string) int {
	n := r.number(attribute)
	if n < 0 || n > math.MaxUint16 {
		r.fail(fmt.Errorf("%s is out of range", attribute))
		return 0
	}
	return int(n)
}
