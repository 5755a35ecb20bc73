// Package memq is a tenant's streams in memory, for tests of the two sides on
// fake time and with faults that a broker shows only by chance. What a real
// broker does is tested in package queue, on a real one.
package memq

import (
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"writeback/internal/reset"
)

// A Fault changes what becomes of one write.
type Fault func(store func()) error

// Lost is a write whose answer is lost although it was stored.
func Lost(store func()) error {
	store()
	return reset.ErrUnknown
}

// Away is a broker that cannot be reached.
func Away(func()) error { return reset.ErrUnavailable }

// A Queue is one tenant's streams. Its zero value is empty and ready.
type Queue struct {
	mu       sync.Mutex
	seq      uint64
	records  []record
	events   []reset.Stored
	held     <-chan struct{} // closed when events are stored again
	slots    map[string]request
	live     map[string]func(reset.ID, reset.Stored)
	hear     []func([]byte)
	said     map[string][]byte
	follower reset.Follower
	switches map[reset.SwitchName]reset.Stored
	arrived  chan struct{}
	onAppend func(n int, record []byte) Fault // n counts from 1
	appends  int
	deaf     bool
	away     bool // for switches
}

type record struct {
	reset.Stored
	ref reset.Ref
	at  time.Time
}

type request struct {
	id   reset.ID
	data []byte
}

// OnAppend sets f to choose the fault of the nth Append; nil is none. It may
// wait: the write happens when it returns.
func (q *Queue) OnAppend(f func(n int, record []byte) Fault) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.onAppend = f
}

// Deafen stops showing records live.
func (q *Queue) Deafen() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deaf = true
}

// Append stores a record, if the newest of the request has sequence expect. If
// ctx ends meanwhile, the record may be stored all the same.
func (q *Queue) Append(ctx context.Context, ref reset.Ref, data []byte, expect uint64) (uint64, error) {
	if ctx.Err() != nil {
		return 0, reset.ErrUnavailable
	}
	q.mu.Lock()
	q.appends++
	n, choose := q.appends, q.onAppend
	q.mu.Unlock()
	var seq uint64
	store := func() { seq = q.store(ref, data, expect) }
	if choose != nil {
		if fault := choose(n, data); fault != nil {
			if err := fault(store); err != nil {
				return 0, err
			}
		}
	}
	if seq == 0 {
		store()
	}
	switch {
	case ctx.Err() != nil:
		return 0, reset.ErrUnknown
	case seq == 0:
		return 0, reset.ErrConflict
	}
	return seq, nil
}

// store returns 0 if somebody else wrote first.
func (q *Queue) store(ref reset.Ref, data []byte, expect uint64) uint64 {
	q.mu.Lock()
	last := uint64(0)
	for _, r := range q.records {
		if r.ref.ID == ref.ID {
			last = r.Seq
		}
	}
	if last != expect {
		q.mu.Unlock()
		return 0
	}
	q.seq++
	s := reset.Stored{Seq: q.seq, Data: slices.Clone(data)}
	q.records = append(q.records, record{Stored: s, ref: ref, at: time.Now()})
	show, follower := q.live[ref.Publisher], q.follower
	if q.deaf {
		show, follower = nil, nil
	}
	q.mu.Unlock()
	if show != nil {
		show(ref.ID, s)
	}
	if follower != nil {
		follower.Hear(s, time.Now())
	}
	return s.Seq
}

// Forget drops the records after seq, as the owner of a broker can.
func (q *Queue) Forget(seq uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.records = slices.DeleteFunc(q.records, func(r record) bool { return r.Seq > seq })
}

// AppendEvent stores an event.
func (q *Queue) AppendEvent(ctx context.Context, _ string, _ [16]byte, event []byte, _ uint64) (uint64, error) {
	if ctx.Err() != nil {
		return 0, reset.ErrUnavailable
	}
	q.mu.Lock()
	held := q.held
	q.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return 0, reset.ErrUnavailable
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s := reset.Stored{Seq: uint64(len(q.events)) + 1, Data: slices.Clone(event)}
	q.events = append(q.events, s)
	return s.Seq, nil
}

// HoldEvents keeps events from being stored until release is called.
func (q *Queue) HoldEvents() (release func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	held := make(chan struct{})
	q.held = held
	return func() { close(held) }
}

// Events returns every event.
func (q *Queue) Events() []reset.Stored {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.events)
}

// Records returns the records of one request.
func (q *Queue) Records(_ context.Context, id reset.ID) ([]reset.Stored, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []reset.Stored
	for _, r := range q.records {
		if r.ref.ID == id {
			all = append(all, r.Stored)
		}
	}
	return all, nil
}

// Scan calls f with every request that has a record since then.
func (q *Queue) Scan(_ context.Context, since time.Time, f func(reset.Ref) error) error {
	q.mu.Lock()
	records := slices.Clone(q.records)
	q.mu.Unlock()
	for _, r := range records {
		if r.at.Before(since) {
			continue
		}
		if err := f(r.ref); err != nil {
			return err
		}
	}
	return nil
}

// Live calls f with every record of a publisher's requests.
func (q *Queue) Live(publisher string, f func(reset.ID, reset.Stored)) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.live == nil {
		q.live = make(map[string]func(reset.ID, reset.Stored))
	}
	q.live[publisher] = f
	return nil
}

// Follow shows f every record, whatever most is, and then those to come.
func (q *Queue) Follow(ctx context.Context, since time.Time, _ uint64, f reset.Follower) error {
	q.mu.Lock()
	records := slices.Clone(q.records)
	q.follower = f
	q.mu.Unlock()
	f.Begin(since)
	for _, r := range records {
		if !r.at.Before(since) {
			f.Hear(r.Stored, r.at)
		}
	}
	f.CaughtUp()
	<-ctx.Done()
	return ctx.Err()
}

// Queued returns how many slots are taken; since when is not kept.
func (q *Queue) Queued(context.Context) (int, time.Time, error) { return q.Taken(), time.Time{}, nil }

// Announce says that a consumer is alive.
func (q *Queue) Announce(replica string, announcement []byte) error {
	q.mu.Lock()
	if q.said == nil {
		q.said = make(map[string][]byte)
	}
	q.said[replica] = announcement
	hear := slices.Clone(q.hear)
	q.mu.Unlock()
	for _, f := range hear {
		f(announcement)
	}
	return nil
}

// Said returns a replica's last announcement.
func (q *Queue) Said(replica string) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.said[replica]
}

// Announcements calls f with what every consumer says, the last first.
func (q *Queue) Announcements(_ context.Context, f func([]byte)) error {
	q.mu.Lock()
	q.hear = append(q.hear, f)
	said := make([][]byte, 0, len(q.said))
	for _, b := range q.said {
		said = append(said, b)
	}
	q.mu.Unlock()
	for _, b := range said {
		f(b)
	}
	return nil
}

// Enqueue puts a request into its slot.
func (q *Queue) Enqueue(_ context.Context, slot [16]byte, id reset.ID, data []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := hex.EncodeToString(slot[:])
	if held, ok := q.slots[key]; ok {
		if held.id == id {
			return nil
		}
		return reset.ErrSlotTaken
	}
	if q.slots == nil {
		q.slots = make(map[string]request)
	}
	q.slots[key] = request{id, slices.Clone(data)}
	if q.arrived != nil {
		close(q.arrived)
		q.arrived = nil
	}
	return nil
}

// Waiting returns the request in any slot, and its slot's token, as soon as
// there is one.
func (q *Queue) Waiting() (data []byte, slot string) {
	for {
		q.mu.Lock()
		for key, r := range q.slots {
			q.mu.Unlock()
			return r.data, key
		}
		if q.arrived == nil {
			q.arrived = make(chan struct{})
		}
		arrived := q.arrived
		q.mu.Unlock()
		<-arrived
	}
}

// Taken is how many slots are taken.
func (q *Queue) Taken() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.slots)
}
