package chaos

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"writeback/internal/chaos/proxy"
	"writeback/internal/envelope"
)

// A strike is one fault of a campaign. Which there are, and when, depends on the
// seed alone; what they meet does not.
type strike struct {
	at    time.Duration // from the beginning
	kind  string
	on    int           // which program or node, modulo their number
	whom  int           // which of the requests that were seen, modulo their number
	lasts time.Duration // how long something is away, or how long a message is waited for
	delay time.Duration // of messages
	do    func(*strikes, strike)
}

// A kind is a way to break something.
type kind struct {
	name     string
	weight   int
	min, max time.Duration // how long it lasts
	do       func(*strikes, strike)
}

// plan draws strikes until the end of a campaign's faults, about two every three
// seconds.
func plan(seed uint64, kinds []kind, end time.Duration) (all []strike) {
	rng := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for at := time.Second; at < end; at += 500*time.Millisecond + time.Duration(rng.IntN(2000))*time.Millisecond {
		n, i := rng.IntN(total), 0
		for ; n >= kinds[i].weight; i++ {
			n -= kinds[i].weight
		}
		k := kinds[i]
		s := strike{at: at, kind: k.name, on: rng.IntN(12), whom: rng.IntN(1 << 16), do: k.do,
			lasts: k.min + time.Duration(rng.Int64N(int64(k.max-k.min)+1)).Truncate(time.Millisecond),
			delay: time.Duration(rng.IntN(1000)) * time.Millisecond}
		if s.at+s.lasts <= end {
			all = append(all, s)
		}
	}
	return all
}

// String says what the strike is.
func (s strike) String() string {
	return fmt.Sprintf("%6.1fs  %s (%d, %.1fs)", s.at.Seconds(), s.kind, s.on, s.lasts.Seconds())
}

// Who meets a message's fault.
type side int

const (
	consumers side = iota
	publishers
	directory // the consumers' lines to it
)

// How long a message that is to be broken is waited for, and how long messages
// are late.
const (
	meet  = 20 * time.Second
	short = time.Second // as many more as are drawn
)

// messages are the faults that single messages meet: of every message that a
// step of a request's life consists of, before it, after it, and its answer.
func messages() (kinds []kind) {
	add := func(name string, weight int, who side, f proxy.Fault) {
		kinds = append(kinds, kind{name, weight, meet, meet, func(s *strikes, st strike) {
			drawn := f // another strike of the kind has its own
			drawn.Name = name
			if drawn.Delay > 0 {
				drawn.Delay += st.delay
			}
			s.message(st, who, drawn)
		}})
	}
	// The records, and the request itself.
	for _, m := range []struct {
		name string
		who  side
		is   func(*proxy.Message) bool
	}{
		{"accepted", publishers, record(envelope.Accepted)},
		{"request", publishers, isRequest},
		{"cancelled", publishers, record(envelope.Cancelled)},
		{"claimed", consumers, record(envelope.Claimed)},
		{"released", consumers, record(envelope.Released)},
		{"settled", consumers, record(envelope.Settled)},
	} {
		sent := func(x proxy.Message) bool { return x.Direction == proxy.ToServer && m.is(&x) }
		answer := func(x proxy.Message) bool {
			return x.Direction == proxy.ToClient && x.Request != nil && m.is(x.Request)
		}
		add(m.name+": cut before", 2, m.who, proxy.Fault{Match: sent, Do: proxy.Cut})
		add(m.name+": cut after", 2, m.who, proxy.Fault{Match: sent, Do: proxy.CutAfter})
		add(m.name+": torn", 1, m.who, proxy.Fault{Match: sent, Do: proxy.Tear})
		add(m.name+": late", 1, m.who, proxy.Fault{Match: sent, Delay: short})
		add(m.name+": later than the window", 1, m.who, proxy.Fault{Match: sent, Delay: 4 * time.Second})
		add(m.name+": answer cut", 2, m.who, proxy.Fault{Match: answer, Do: proxy.Cut})
		add(m.name+": answer dropped", 1, m.who, proxy.Fault{Match: answer, Do: proxy.Drop})
		add(m.name+": answer late", 1, m.who, proxy.Fault{Match: answer, Delay: 2 * time.Second})
	}
	// What comes without being asked for, and what ends a request.
	add("acknowledgement: cut before", 2, consumers, proxy.Fault{Match: isAck, Do: proxy.Cut})
	add("acknowledgement: cut after", 2, consumers, proxy.Fault{Match: isAck, Do: proxy.CutAfter})
	add("acknowledgement: dropped", 2, consumers, proxy.Fault{Match: isAck, Do: proxy.Drop})
	add("delivery: dropped", 2, consumers, proxy.Fault{Match: isDelivery, Do: proxy.Drop})
	add("delivery: late", 2, consumers, proxy.Fault{Match: isDelivery, Delay: 6 * time.Second})
	add("live record: dropped", 2, publishers, proxy.Fault{Match: isLive, Do: proxy.Drop})

	bind := func(m proxy.Message) bool { return m.Verb == "bind" && m.Direction == proxy.ToClient }
	search := func(m proxy.Message) bool { return m.Verb == "search" && m.Direction == proxy.ToServer }
	add("modify: cut before", 5, directory, proxy.Fault{Match: isModify, Do: proxy.Cut})
	add("modify: torn", 2, directory, proxy.Fault{Match: isModify, Do: proxy.Tear})
	add("modify: cut after", 5, directory, proxy.Fault{Match: isModify, Do: proxy.CutAfter})
	add("modify: late", 3, directory, proxy.Fault{Match: isModify, Delay: short})
	add("modify: later than its connection", 3, directory, proxy.Fault{Match: isModify, Delay: 6 * time.Second})
	add("modify: answer cut", 5, directory, proxy.Fault{Match: isVerdict, Do: proxy.Cut})
	add("modify: answer dropped", 3, directory, proxy.Fault{Match: isVerdict, Do: proxy.Drop})
	add("modify: answer late", 3, directory, proxy.Fault{Match: isVerdict, Delay: 2 * time.Second})
	add("bind: answer cut", 2, directory, proxy.Fault{Match: bind, Do: proxy.Cut})
	add("search: cut before", 2, directory, proxy.Fault{Match: search, Do: proxy.Cut})
	add("search: late", 2, directory, proxy.Fault{Match: search, Delay: 3 * time.Second})
	return kinds
}

// others are the faults that whole programs and servers meet.
func others(disk bool) []kind {
	kinds := []kind{
		{"consumer killed", 14, 0, 20 * time.Second, func(s *strikes, st strike) { s.kill(st, s.consumer(st)) }},
		{"consumer stopped", 8, 6 * time.Second, 22 * time.Second, func(s *strikes, st strike) { s.freeze(st, s.consumer(st)) }},
		{"consumer's clock 3 s off", 4, 15 * time.Second, 40 * time.Second, func(s *strikes, st strike) { s.skew(st, 3*time.Second) }},
		{"consumer's clock 60 s off", 4, 10 * time.Second, 20 * time.Second, func(s *strikes, st strike) { s.skew(st, time.Minute) }},
		{"publisher killed", 8, 0, 10 * time.Second, func(s *strikes, st strike) { s.kill(st, s.publisher(st)) }},
		{"publisher stopped", 4, 3 * time.Second, 15 * time.Second, func(s *strikes, st strike) { s.freeze(st, s.publisher(st)) }},
		{"line to the broker cut", 6, 0, 0, func(s *strikes, st strike) { s.cut(st) }},
		{"line to the broker dead", 4, 3 * time.Second, 20 * time.Second, func(s *strikes, st strike) { s.dead(st, s.any(st).Broker...) }},
		{"line to the directory dead", 4, 3 * time.Second, 15 * time.Second, func(s *strikes, st strike) { s.dead(st, s.consumer(st).AD) }},
		{"broker killed", 5, 0, 0, func(s *strikes, st strike) { s.killNode(st, false) }},
		{"broker killed, then a request once more", 2, 0, 0, func(s *strikes, st strike) { s.killNode(st, true) }},
		{"broker stopped", 4, 2 * time.Second, 12 * time.Second, func(s *strikes, st strike) { s.freezeNode(st) }},
		{"broker away", 3, 3 * time.Second, 20 * time.Second, func(s *strikes, st strike) { s.away(st, s.brokers()...) }},
		{"directory away", 6, 5 * time.Second, 25 * time.Second, func(s *strikes, st strike) { s.directoryAway(st) }},
		{"a request once more with its id", 5, 0, 0, func(s *strikes, st strike) { s.replay(st, true) }},
		{"a request once more with another id", 5, 0, 0, func(s *strikes, st strike) { s.replay(st, false) }},
	}
	if disk {
		kinds = append(kinds, kind{"broker's disk full", 2, 3 * time.Second, 15 * time.Second, func(s *strikes, st strike) { s.fill(st) }})
	}
	return kinds
}

// record matches a publish of a record.
func record(kind envelope.Kind) func(*proxy.Message) bool {
	return func(m *proxy.Message) bool {
		if m.Verb != "HPUB" || !strings.HasPrefix(m.Subject, "rec.") && !strings.Contains(m.Subject, ".rec.") {
			return false
		}
		rec, err := envelope.ParseRecord(m.Body)
		return err == nil && rec.Kind == kind
	}
}

// isRequest matches the publish of a request.
func isRequest(m *proxy.Message) bool {
	return m.Verb == "HPUB" && strings.Contains(m.Subject, ".req.")
}

// isAck matches what frees a request's slot, and isAcked the broker's answer.
func isAck(m proxy.Message) bool {
	return m.Verb == "PUB" && strings.Contains(m.Subject, "$JS.ACK.") && string(m.Body) == "+ACK"
}

func isAcked(m proxy.Message) bool { return m.Request != nil && isAck(*m.Request) }

// isDelivery matches a request that is given to a consumer.
func isDelivery(m proxy.Message) bool {
	_, err := envelope.ParseRequest(m.Body)
	return m.Verb == "HMSG" && err == nil
}

// isLive matches a record that is shown to the publisher that waits for it.
func isLive(m proxy.Message) bool {
	return m.Direction == proxy.ToClient && strings.Contains(m.Subject, "live.")
}

// isModify matches an LDAP modify, and isVerdict the answer to one.
func isModify(m proxy.Message) bool  { return m.Verb == "modify" && m.Direction == proxy.ToServer }
func isVerdict(m proxy.Message) bool { return m.Verb == "modify" && m.Direction == proxy.ToClient }
