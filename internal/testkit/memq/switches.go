package memq

import (
	"context"

	"writeback/internal/reset"
)

// Switch returns the newest value of a switch.
func (q *Queue) Switch(ctx context.Context, name reset.SwitchName) (reset.Stored, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ctx.Err() != nil || q.away {
		return reset.Stored{}, reset.ErrUnavailable
	}
	return q.switches[name], nil
}

// PutSwitch stores a value of a switch, if the newest one has sequence expect.
func (q *Queue) PutSwitch(ctx context.Context, name reset.SwitchName, value []byte, expect uint64) (uint64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case ctx.Err() != nil || q.away:
		return 0, reset.ErrUnavailable
	case q.switches[name].Seq != expect:
		return 0, reset.ErrConflict
	}
	q.show(name, value)
	return q.seq, nil
}

// ShowSwitch makes value the newest of a switch, as the owner of a broker can; nil
// is none.
func (q *Queue) ShowSwitch(name reset.SwitchName, value []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.show(name, value)
}

func (q *Queue) show(name reset.SwitchName, value []byte) {
	if q.switches == nil {
		q.switches = make(map[reset.SwitchName]reset.Stored)
	}
	q.seq++
	q.switches[name] = reset.Stored{Seq: q.seq, Data: value}
	if value == nil {
		delete(q.switches, name)
	}
}

// HideSwitches makes the broker not answer for switches any more, or again.
func (q *Queue) HideSwitches(away bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.away = away
}
