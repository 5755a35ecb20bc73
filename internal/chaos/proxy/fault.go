package proxy

import (
	"slices"
	"sync"
	"time"
)

// An Action is what becomes of a message.
type Action int

// The actions.
const (
	Forward  Action = iota // it is delivered
	Drop                   // it never arrives; the connection stays open
	Cut                    // it is lost, and both sides read a reset
	CutAfter               // it arrives, and its sender reads a reset; so does the other side when it says something
	Tear                   // half of it arrives; its sender reads a reset, the other side an end
	EndAfter               // it arrives, and nothing more that goes the same way: a half close
)

// A Fault says what happens to messages. A connection ("connect") can only be
// forwarded, dropped, which leaves it open and unanswered, or cut.
type Fault struct {
	Name  string             // it is counted under
	Match func(Message) bool // which messages; all of them if nil. It must not call the proxy
	Skip  int                // of these, how many pass first
	All   bool               // all that follow, until [Injection.Lift]; else one

	Hold  bool          // wait for [Injection.Lift] first
	Delay time.Duration // wait first; what comes after it waits too
	Do    Action
}

// An Injection is a fault that waits for its messages.
type Injection struct {
	p      *Proxy
	fault  Fault
	met    chan struct{}
	lifted chan struct{}
	once   sync.Once
}

// Met returns a channel that is closed when the first message has met the
// fault.
func (i *Injection) Met() <-chan struct{} { return i.met }

// Lift lets what is held go on to what the fault does with it, and takes the
// fault away. It is safe twice.
func (i *Injection) Lift() {
	i.once.Do(func() { close(i.lifted) })
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	i.p.faults = slices.DeleteFunc(i.p.faults, func(f *Injection) bool { return f == i })
}

// Inject adds a fault. A message meets the first that matches it, in the order
// of their injection.
func (p *Proxy) Inject(f Fault) *Injection {
	i := &Injection{p: p, fault: f, met: make(chan struct{}), lifted: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, i)
	return i
}

// find returns the fault that m meets, or nil.
func (p *Proxy) find(m Message) *Injection {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, i := range p.faults {
		if i.fault.Match != nil && !i.fault.Match(m) {
			continue
		}
		if i.fault.Skip > 0 {
			i.fault.Skip--
			continue
		}
		p.met[i.fault.Name]++
		select {
		case <-i.met:
		default:
			close(i.met)
		}
		if !i.fault.All {
			p.faults = slices.Delete(p.faults, n, n+1)
		}
		return i
	}
	return nil
}

// meet lets m meet its fault and returns what is to be done with it.
func (l *link) meet(m Message) Action {
	do := l.suffer(l.p.find(m))
	if l.p.opts.Seen != nil {
		l.p.opts.Seen(m, do)
	}
	return do
}

// suffer waits as the fault says.
func (l *link) suffer(i *Injection) Action {
	if i == nil {
		return Forward
	}
	if i.fault.Hold {
		select {
		case <-i.lifted:
		case <-l.gone:
			return Cut
		}
	}
	if i.fault.Delay > 0 {
		timer := time.NewTimer(i.fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.gone:
			return Cut
		}
	}
	return i.fault.Do
}
