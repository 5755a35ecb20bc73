// Package guard is the company's own policy: which accounts the cloud may ask
// for at all, for what, and how often. It is decided on premises, from a file
// that only the company writes, after a request was opened and before anything
// is modified; nobody in the cloud can widen it.
//
// It judges names and numbers that others read from the directory. It does not
// talk to the directory, and does not replace the delegation there, which is
// the second fence. Its limits are counted by each replica for itself, and
// from nothing when the program starts: several replicas together let through
// several times as much.
package guard

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"writeback/internal/config"
	"writeback/internal/reset"
)

// settled is how long a changed file must have been left alone before it is
// read: half a policy, read while an editor writes it in place, may be a valid
// and wider one. It is also far above the granularity of a file's times, so
// that no change hides behind an earlier one.
const settled = time.Second

// A Guard judges requests by the policy file in force. A file that changed is
// read again at the next use; while a new version is broken, the one before it
// stays in force.
type Guard struct {
	path   string // absolute
	notify func(error)
	load   func(path string) (*Policy, [32]byte, error)
	counts counts

	mu     sync.Mutex // guards what follows
	policy *Policy    // never changes; a changed file is another Policy
	hash   [32]byte
	seen   fs.FileInfo // of the version last read, good or broken; nil if none was
	broken error       // why the version last seen is not in force
}

// Open reads the policy file at path. When a later version of it comes into
// force, notify is called with nil, and with the reason when one is broken or
// the file has gone, once each; it is called by whoever uses the Guard.
func Open(path string, notify func(error)) (*Guard, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	g := &Guard{path: abs, notify: notify, load: load}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	if g.policy, g.hash, err = load(abs); err != nil {
		return nil, err
	}
	if !fresh(info, time.Now()) {
		g.seen = info // from before it was read: a change since then shows
	}
	return g, nil
}

// load reads the policy file at path and the hash of its bytes.
func load(path string) (*Policy, [32]byte, error) {
	data, err := config.ReadTrusted(path)
	if err != nil {
		return nil, [32]byte{}, err
	}
	p, err := Parse(data)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("%s: %w", path, err)
	}
	if p.stopFile != "" && !filepath.IsAbs(p.stopFile) {
		p.stopFile = filepath.Join(filepath.Dir(path), p.stopFile)
	}
	return p, sha256.Sum256(data), nil
}

// An Ask is what a policy needs to know of a request.
type Ask struct {
	Request   [32]byte // hash of the request as received: judged again, it is counted once; zero is always counted
	Operation reset.Operation
	Actor     reset.ActorKind
	Name      reset.NameKind // how the request names its account
	At        time.Time      // now
}

// Before judges what can be judged before the directory is asked: the
// operation, the actor, the kind of name, and the stop file. What it refuses
// is refused alike for every account, and costs the directory nothing.
// [Guard.Judge] judges it all again.
func (g *Guard) Before(ask Ask) error {
	p := g.Policy()
	if err := p.offered(ask); err != nil {
		return err
	}
	return p.stopped()
}

// Judge returns nil for a request that may be done to this account, else a
// *[reset.Error]. The first that applies is told: out of the bases or of
// allow_groups, which looks as if there were no such account; protected; an
// operation, actor or kind of name that is off; the stop file; a limit.
//
// A request counts against the limits when Judge lets it through, whatever the
// directory makes of it then: a refused attempt, too, tells its sender
// something of the account. A probe is held to the limits, to say what a reset
// would meet, and does not count.
func (g *Guard) Judge(ask Ask, entry reset.Entry) error {
	p := g.Policy()
	if len(p.Groups()) > 0 && entry.Groups == nil {
		// The file has begun to name groups since NeedsGroups was asked.
		return fmt.Errorf("%w: the account's groups are not known", reset.ErrDirectoryUnavailable)
	}
	for _, rule := range []func() error{
		func() error { return p.reaches(entry) },
		func() error { return p.spares(entry) },
		func() error { return p.offered(ask) },
		p.stopped,
	} {
		if err := rule(); err != nil {
			return err
		}
	}
	return g.counts.admit(ask, entry.GUID, p.limits)
}

// Reaches reports whether the account with this distinguished name is in the
// bases at all. One that is not must look like none.
func (g *Guard) Reaches(dn string) bool { return g.Policy().permits(dn) }

// NeedsGroups reports whether the file names groups, so that Judge must know those
// of the account.
func (g *Guard) NeedsGroups() bool { return len(g.Policy().Groups()) > 0 }

// Check returns why the policy file, as it is now, is not the one in force.
func (g *Guard) Check() error {
	g.Policy()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return fmt.Errorf("an earlier version of the policy is in force: %w", g.broken)
	}
	return nil
}

// Hash returns the SHA-256 of the file in force.
func (g *Guard) Hash() [32]byte {
	g.Policy()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hash
}

// Policy returns the policy in force, after a look at the file.
func (g *Guard) Policy() *Policy {
	g.mu.Lock()
	tell, err := g.look(time.Now())
	p := g.policy
	g.mu.Unlock()
	if tell {
		g.notify(err) // not under the lock: it may ask the Guard
	}
	return p
}

// look reads the file again if it has changed, and says whether that, or the
// error that came of it, is news.
func (g *Guard) look(now time.Time) (news bool, err error) {
	info, err := os.Stat(g.path)
	if err != nil {
		return g.refuse(nil, err)
	}
	if same(info, g.seen) {
		return false, nil
	}
	if fresh(info, now) {
		return false, nil
	}
	p, hash, err := g.load(g.path)
	if after, e := os.Stat(g.path); e == nil && !same(info, after) {
		return false, nil // written while it was read: at the next look
	}
	var cannot *fs.PathError
	switch {
	case errors.As(err, &cannot):
		// Mending that need not change the file's time: keep trying.
		return g.refuse(nil, err)
	case err != nil:
		return g.refuse(info, err)
	}
	news = g.broken != nil || hash != g.hash
	g.policy, g.hash, g.seen, g.broken = p, hash, info, nil
	return news, nil
}

// refuse keeps what is in force. The version of info need not be looked at
// again.
func (g *Guard) refuse(info fs.FileInfo, err error) (news bool, _ error) {
	news = g.broken == nil || g.broken.Error() != err.Error()
	g.seen, g.broken = info, err
	return news, err
}

// fresh reports whether the file may still be being written. One whose time is
// further ahead than a clock may be off is as good as settled.
func fresh(info fs.FileInfo, now time.Time) bool {
	age := now.Sub(info.ModTime())
	return age > -settled && age < settled
}

// same reports whether two looks saw one version of one file.
func same(a, b fs.FileInfo) bool {
	return b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}
