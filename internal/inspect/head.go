package inspect

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/trail"
)

// A Head is how far a trail had come when somebody looked. Kept elsewhere, it
// shows later that an end was cut off, or that another trail is shown.
type Head struct {
	Tenant  string       `json:"tenant"`
	Made    time.Time    `json:"made"`
	Records End          `json:"records"`
	Events  End          `json:"events"`
	Writers []WriterHead `json:"writers"` // by name; only the newest run of each
}

// An End is the last message of a stream; its sequence is 0 if there was none.
type End struct {
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"time,omitzero"`
	SHA256 []byte    `json:"sha256,omitempty"`
}

// A WriterHead is the last checkpoint that a writer has signed.
type WriterHead struct {
	Name       string    `json:"name"`
	To         uint64    `json:"to"` // the number up to which it speaks
	Time       time.Time `json:"time"`
	Seq        uint64    `json:"seq"`        // of the checkpoint in EVENTS
	Checkpoint []byte    `json:"checkpoint"` // as it was signed
}

// A HeadMaker makes a head out of a trail that it is shown.
type HeadMaker struct {
	v      audit.Verifier
	head   Head
	newest map[identity]WriterHead
}

// NewHeadMaker returns one that has seen nothing yet.
func NewHeadMaker(v audit.Verifier, now time.Time) *HeadMaker {
	return &HeadMaker{v: v, head: Head{Tenant: v.Tenant, Made: now.UTC().Truncate(time.Second)}, newest: make(map[identity]WriterHead)}
}

// Add shows the next message.
func (h *HeadMaker) Add(m trail.Message) {
	end := &h.head.Records
	if m.Stream == trail.Events {
		end = &h.head.Events
	}
	hash := sha256.Sum256(m.Data)
	*end = End{Seq: m.Seq, Time: m.Time, SHA256: hash[:]}
	if m.Stream != trail.Events {
		return
	}
	e, err := envelope.ParseEvent(m.Data)
	if err != nil || e.Fact.Kind() != envelope.EventCheckpoint {
		return
	}
	entry, fault := readEvent(h.v, m)
	if fault != nil {
		return // verify speaks of it
	}
	h.newest[identity{entry.Writer.Key, entry.Writer.Name}] = WriterHead{
		Name: entry.Writer.Name, To: entry.Fact.(envelope.Checkpoint).To, Time: entry.Time, Seq: m.Seq, Checkpoint: m.Data,
	}
}

// Head returns what was seen.
func (h *HeadMaker) Head() *Head {
	for _, w := range h.newest {
		h.head.Writers = append(h.head.Writers, w)
	}
	slices.SortFunc(h.head.Writers, func(a, b WriterHead) int { return int(a.Seq) - int(b.Seq) })
	return &h.head
}

// A headCheck compares a trail with an earlier head.
type headCheck struct {
	head    *Head
	records End // what is to be seen yet; without a sequence it was
	events  End
	writers map[[32]byte]WriterHead // by the hash of their checkpoints
	first   map[string]uint64       // sequence of each stream that was read first
	wrong   []Fault
}

func newHeadCheck(v audit.Verifier, head *Head) (*headCheck, error) {
	if head.Tenant != v.Tenant {
		return nil, fmt.Errorf("the head is of tenant %q", head.Tenant)
	}
	c := &headCheck{head: head, records: head.Records, events: head.Events, writers: make(map[[32]byte]WriterHead), first: make(map[string]uint64)}
	for _, w := range head.Writers {
		if _, err := v.Event(reset.Stored{Seq: w.Seq, Data: w.Checkpoint}); err != nil {
			return nil, fmt.Errorf("the head's checkpoint of %.24q: %w", w.Name, err)
		}
		c.writers[sha256.Sum256(w.Checkpoint)] = w
	}
	return c, nil
}

func (c *headCheck) add(m trail.Message) {
	if c == nil {
		return
	}
	if c.first[m.Stream] == 0 {
		c.first[m.Stream] = m.Seq
	}
	end := &c.records
	if m.Stream == trail.Events {
		end = &c.events
	}
	var hash [32]byte
	if m.Seq == end.Seq || m.Stream == trail.Events && len(c.writers) > 0 {
		hash = sha256.Sum256(m.Data)
	}
	if m.Seq == end.Seq {
		if string(hash[:]) != string(end.SHA256) {
			c.wrong = append(c.wrong, Fault{CutOff, m.Stream, m.Seq, "", fmt.Sprintf("message %d is another one than on %s", m.Seq, c.made())})
		}
		end.Seq = 0
	}
	if m.Stream == trail.Events {
		delete(c.writers, hash)
	}
}

func (c *headCheck) made() string { return c.head.Made.Format(time.RFC3339) }

// end reports what the head knows and was not there.
func (c *headCheck) end(r *Report) {
	if c == nil {
		return
	}
	for _, f := range c.wrong {
		r.fault(f)
	}
	c.ended(r, trail.Records, c.records, r.Records)
	c.ended(r, trail.Events, c.events, r.Events)
	for _, w := range c.writers {
		if w.Seq >= c.first[trail.Events] || r.Events.Count == 0 {
			r.fault(Fault{CutOff, trail.Events, 0, "", fmt.Sprintf("the checkpoint of %s at event %d, which was there on %s, is not there", w.Name, w.Seq, c.made())})
		}
	}
}

// leastKept is how long every message is kept at least; see queue.MinKeep.
const leastKept = 7 * 24 * time.Hour

func (c *headCheck) ended(r *Report, stream string, end End, read Covered) {
	switch {
	case end.Seq == 0:
	case read.Count > 0 && read.First > end.Seq && read.LastTime.Sub(end.Time) < leastKept:
		r.fault(Fault{CutOff, stream, 0, "", fmt.Sprintf("%s begins at message %d; on %s it had %d, which is not old enough to be dropped", stream, read.First, c.made(), end.Seq)})
	case read.Count > 0 && read.First > end.Seq:
		r.remark(trail.Message{Stream: stream, Message: reset.Message{Seq: read.First}}, "what is read begins after the head of %s", c.made())
	case read.Last < end.Seq:
		r.fault(Fault{CutOff, stream, 0, "", fmt.Sprintf("%s ends at message %d; on %s it had %d", stream, read.Last, c.made(), end.Seq)})
	default:
		r.fault(Fault{CutOff, stream, 0, "", fmt.Sprintf("message %d of %s, which was the last on %s, is not there", end.Seq, stream, c.made())})
	}
}
