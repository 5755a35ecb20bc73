package fakead

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// shared is what all domain controllers of the domain have in common, and what
// replicates between them.
type shared struct {
	mu       sync.Mutex // guards what follows, and everything in the replicas
	policy   Policy
	filter   Filter
	now      func() time.Time
	schema   schema
	rid      uint32
	sid      string // S-1-5-21-…
	replicas []*domain
	dcs      []*Server
	pdc      *Server
	noChange bool // nobody holds Change Password by default
	writes   []Write

	held    bool
	pending map[string]write // by objectGUID
}

func newShared(policy Policy, now func() time.Time) *shared {
	sub := randomBytes(12)
	return &shared{
		policy: policy, now: now, schema: newSchema(), rid: ridFirst - 1,
		sid: fmt.Sprintf("S-1-5-21-%d-%d-%d", binary.LittleEndian.Uint32(sub),
			binary.LittleEndian.Uint32(sub[4:]), binary.LittleEndian.Uint32(sub[8:])),
		pending: make(map[string]write),
	}
}

func (s *shared) nextRID() uint32 {
	s.rid++
	return s.rid
}

// A write is what an object became by a write at one domain controller.
type write struct {
	guid  string
	state state // of an account
	attrs map[string][]string
}

// changed must follow every write to an object: it moves uSNChanged, which
// each domain controller counts for itself, and replicates.
//
// The whole object replicates and the last write wins; Windows resolves
// conflicts attribute by attribute, by version and then time (MS-ADTS
// 3.1.1.1.9). Nor is a password that is set while replication is held forwarded
// to the PDC emulator, or a bad one asked for there: to hold replication is to
// cut the line.
func (d *domain) changed(e *entry) {
	e.usn = d.nextUSN()
	if len(d.replicas) == 1 {
		return
	}
	w := write{guid: e.guid, attrs: e.attrs}
	if e.account != nil {
		w.state = e.account.state
	}
	if d.held {
		d.pending[w.guid] = w
		return
	}
	d.spread(w)
}

// spread makes the object equal on all domain controllers.
func (s *shared) spread(w write) {
	for _, d := range s.replicas {
		e := d.byGUID[w.guid]
		if e == nil {
			continue
		}
		same := maps.EqualFunc(e.attrs, w.attrs, slices.Equal)
		if a := e.account; a != nil {
			same = same && !a.differs(w.state)
			own, last := a.badPwdCount, a.badPasswordAt // do not replicate
			a.state = w.state
			a.badPasswordAt = last
			if a.badPwdCount = own; w.state.lockoutTime == 0 {
				a.badPwdCount = w.state.badPwdCount
			}
		}
		e.attrs = maps.Clone(w.attrs)
		if !same {
			e.usn = d.nextUSN()
		}
	}
}

// publish copies new objects of d to the other domain controllers, at once
// even if replication is held.
func (d *domain) publish(entries ...*entry) {
	for _, other := range d.replicas {
		if other != d {
			other.copy(entries)
		}
	}
}

// copy enters objects of another replica, then their memberships.
func (d *domain) copy(entries []*entry) {
	for _, e := range entries {
		c := &entry{dn: e.dn, guid: e.guid, attrs: maps.Clone(e.attrs), pso: e.pso, acl: e.acl, kept: e.kept, alone: e.alone}
		if e.account != nil {
			c.account = &account{state: e.account.state}
		}
		d.enter(c)
	}
	for _, e := range entries {
		for _, m := range e.members {
			d.byGUID[e.guid].join(d.byGUID[m.guid])
		}
		for _, g := range e.groups {
			d.byGUID[g.guid].join(d.byGUID[e.guid])
		}
	}
}

// HoldReplication lets writes stay on the domain controller that did them,
// until ReleaseReplication. What tests do with objects and rights through
// methods of Server that do not name an account's state, such as NewUser,
// AddMember or Grant, is everywhere at once all the same.
func (s *Server) HoldReplication() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared.held = true
}

// ReleaseReplication replicates what was held, and from now on everything at
// once. Of two domain controllers that wrote to one object the later wins.
func (s *Server) ReleaseReplication() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared.held = false
	for _, w := range s.shared.pending {
		s.shared.spread(w)
	}
	clear(s.shared.pending)
}

// randomBytes returns n random bytes. crypto/rand does not return errors.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
