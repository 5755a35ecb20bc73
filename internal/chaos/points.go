package chaos

import (
	"writeback/internal/chaos/proxy"
	"writeback/internal/envelope"
	"writeback/internal/reset"
)

// A Point is a place in a request's life at which programs are killed: when a
// message has come to the proxy before its program, and before it is passed on.
type Point struct {
	Name string
	whom victims
	at   func(proxy.Message) bool
	line side         // where the message passes
	then proxy.Action // what becomes of it: lost (Cut), or it arrives after its sender is gone (Forward)

	// What must come of it.
	Want     reset.Code // the outcome; empty: there is no request at all
	Modifies int        // that were carried out
	Claims   int        // that the chain has; more on a machine that is slow
	Slow     bool       // it takes until the deadline, or until the life ends
}

// victims are who is killed.
type victims int

const (
	one        victims = iota // the program whose message it is, and it stays away
	allOfThem                 // and so are the others of its kind, until the request has ended
	everything                // and so are all programs and the broker, which come back at once
	idle                      // as one, while there is no consumer
)

// Points are all steps of a request's life, before and after each, as the table
// of docs/life-of-a-request.md has them.
func Points() []Point {
	sent := func(is func(*proxy.Message) bool) func(proxy.Message) bool {
		return func(m proxy.Message) bool { return m.Direction == proxy.ToServer && is(&m) }
	}
	answer := func(is func(*proxy.Message) bool) func(proxy.Message) bool {
		return func(m proxy.Message) bool {
			return m.Direction == proxy.ToClient && m.Request != nil && is(m.Request)
		}
	}
	live := func(m proxy.Message) bool { // the page is told that somebody has picked the request up
		rec, err := envelope.ParseRecord(m.Body)
		return isLive(m) && err == nil && rec.Kind == envelope.Claimed
	}
	accepted, cancelled := record(envelope.Accepted), record(envelope.Cancelled)
	claimed, settled := record(envelope.Claimed), record(envelope.Settled)
	const lost, arrives = proxy.Cut, proxy.Forward
	return []Point{
		// Steps 2 to 4, of the publisher.
		{"before accepted is stored", one, sent(accepted), publishers, lost, "", 0, 0, false},
		{"accepted is stored later", one, sent(accepted), publishers, arrives, reset.Expired, 0, 0, true},
		{"accepted is stored", one, answer(accepted), publishers, lost, reset.Expired, 0, 0, true},
		{"accepted is stored, all crash", everything, answer(accepted), publishers, lost, reset.Expired, 0, 0, true},
		{"before the request is stored", one, sent(isRequest), publishers, lost, reset.Expired, 0, 0, true},
		{"before the request is stored, all crash", everything, sent(isRequest), publishers, lost, reset.Expired, 0, 0, true},
		{"the request is stored later", one, sent(isRequest), publishers, arrives, reset.Applied, 1, 1, false},
		{"the request is stored", one, answer(isRequest), publishers, lost, reset.Applied, 1, 1, false},
		{"the request is stored, all crash", everything, answer(isRequest), publishers, lost, reset.Applied, 1, 1, false},
		{"the outcome is awaited", one, live, publishers, lost, reset.Applied, 1, 1, false},
		{"the outcome is awaited, no publisher is left", allOfThem, live, publishers, lost, reset.Applied, 1, 1, false},
		// Steps 5 to 9, of the consumer.
		{"before the claim is stored", one, sent(claimed), consumers, lost, reset.Applied, 1, 1, false},
		{"before the claim is stored, all crash", everything, sent(claimed), consumers, lost, reset.Applied, 1, 1, false},
		{"before the claim is stored, no consumer is left", allOfThem, sent(claimed), consumers, lost, reset.Expired, 0, 0, true},
		{"the claim is stored later", one, sent(claimed), consumers, arrives, reset.Applied, 1, 2, false},
		{"the claim is stored", one, answer(claimed), consumers, lost, reset.Applied, 1, 2, false},
		{"the claim is stored, all crash", everything, answer(claimed), consumers, lost, reset.Applied, 1, 2, false},
		{"the claim is stored, no consumer is left", allOfThem, answer(claimed), consumers, lost, reset.Unconfirmed, 0, 1, true},
		{"before the modify", one, isModify, directory, lost, reset.Applied, 1, 2, false},
		{"before the modify, all crash", everything, isModify, directory, lost, reset.Applied, 1, 2, false},
		{"the modify is done later", one, isModify, directory, arrives, reset.Applied, 1, 3, false},
		{"the modify is done", one, isVerdict, directory, lost, reset.Applied, 1, 3, false},
		{"the modify is done, all crash", everything, isVerdict, directory, lost, reset.Applied, 1, 3, false},
		{"the modify is done, no consumer is left", allOfThem, isVerdict, directory, lost, reset.Unconfirmed, 1, 1, true},
		{"before the outcome is stored", one, sent(settled), consumers, lost, reset.Applied, 1, 3, false},
		{"before the outcome is stored, all crash", everything, sent(settled), consumers, lost, reset.Applied, 1, 3, false},
		{"before the outcome is stored, no consumer is left", allOfThem, sent(settled), consumers, lost, reset.Unconfirmed, 1, 1, true},
		{"the outcome is stored later", one, sent(settled), consumers, arrives, reset.Applied, 1, 1, false},
		{"the outcome is stored", one, answer(settled), consumers, lost, reset.Applied, 1, 1, false},
		{"the outcome is stored, all crash", everything, answer(settled), consumers, lost, reset.Applied, 1, 1, false},
		{"before the slot is free", one, isAck, consumers, lost, reset.Applied, 1, 1, false},
		{"before the slot is free, all crash", everything, isAck, consumers, lost, reset.Applied, 1, 1, false},
		{"the slot is free", one, isAcked, consumers, lost, reset.Applied, 1, 1, false},
		{"the slot is free, all crash", everything, isAcked, consumers, lost, reset.Applied, 1, 1, false},
		// What any publisher does when nobody has taken the request.
		{"before the cancel is stored", idle, sent(cancelled), publishers, lost, reset.Expired, 0, 0, true},
		{"the cancel is stored", idle, answer(cancelled), publishers, lost, reset.Expired, 0, 0, true},
	}
}
