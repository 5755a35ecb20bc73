// Package audit holds the records of a request's life: it signs and encrypts
// those that we write and verifies the chain that others wrote (steps 2, 6, 8
// and 10). What it returns as a [Chain] was signed, link by link, by somebody
// who is pinned and allowed to say it; the broker's word is good for nothing
// but the order of two records that contradict each other.
package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// A Log signs the records of one run of one program. It numbers them for each
// tenant and keeps count of what became of them, which a [Journal] writes down.
type Log struct {
	signer *seal.Signer
	name   string
	run    [16]byte

	mu      sync.Mutex
	ledgers map[string]*ledger // by tenant
}

// NewLog returns the log of a publisher instance or consumer replica.
func NewLog(signer *seal.Signer, name string) *Log {
	l := &Log{signer: signer, name: name, ledgers: make(map[string]*ledger)}
	rand.Read(l.run[:])
	return l
}

// Run names this run of the program.
func (l *Log) Run() [16]byte { return l.run }

// Name is who writes.
func (l *Log) Name() string { return l.name }

// Public is the key that verifies what l signs.
func (l *Log) Public() seal.PublicKey { return l.signer.Public() }

// Sign signs a message that is not a record.
func (l *Log) Sign(kind seal.Kind, message []byte) []byte { return l.signer.Sign(kind, message) }

// ledger returns the ledger of a tenant.
func (l *Log) ledger(tenant string) *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.ledgers[tenant]
	if of == nil {
		of = newLedger()
		l.ledgers[tenant] = of
	}
	return of
}

// writer is who writes the record with that number.
func (l *Log) writer(number uint64) envelope.Writer {
	return envelope.Writer{Key: l.signer.Public().ID(), Name: l.name, Run: l.run, Number: number}
}

// Append completes rec with its writer, the encrypted private part and the
// signature, and has store store its encoding. key is nil where the writer
// cannot have it; the private part is empty then. The link is the record's even
// if it is not known to be stored; the error is that of store, which is called
// at most once.
func (l *Log) Append(rec *envelope.Record, private envelope.Private, key *seal.RecordKey, store func([]byte) (uint64, error)) (Link, error) {
	of := l.ledger(rec.Tenant)
	number := of.begin(false)
	data, err := l.sign(rec, number, private, key)
	if err != nil {
		of.end(number, void, [32]byte{})
		return Link{Record: rec}, err
	}
	link := Link{Record: rec, Hash: sha256.Sum256(data)}
	link.Seq, err = store(data)
	of.end(number, fateOf(err), link.Hash)
	return link, err
}

// Record returns the encoding of rec, completed as [Log.Append] does. What
// becomes of it is not followed: a checkpoint calls it uncertain.
func (l *Log) Record(rec *envelope.Record, private envelope.Private, key *seal.RecordKey) ([]byte, error) {
	of := l.ledger(rec.Tenant)
	number := of.begin(false)
	of.end(number, uncertain, [32]byte{})
	return l.sign(rec, number, private, key)
}

func (l *Log) sign(rec *envelope.Record, number uint64, private envelope.Private, key *seal.RecordKey) ([]byte, error) {
	rec.Writer = l.writer(number)
	if key != nil {
		var err error
		if rec.Private, err = key.Seal(rec.Clear(), private.Encode()); err != nil {
			return nil, fmt.Errorf("encrypting the private part of a record: %w", err)
		}
	}
	rec.Sig = l.signer.Sign(seal.KindRecord, rec.Signed())
	return rec.Encode(), nil
}

// ErrChain is returned for records that do not make a chain which pinned keys
// vouch for. Its text says which link is wrong, for the log.
var ErrChain = errors.New("the records do not make a chain")

// A Verifier knows whom to believe for one tenant.
type Verifier struct {
	Tenant     string
	Publishers seal.Pins
	Consumers  seal.Pins
}

// Signed reports whose pinned key has signed a message that is dated at: neither
// is true if nobody's has.
func (v Verifier) Signed(key seal.KeyID, at time.Time, kind seal.Kind, message, sig []byte) (byPublisher, byConsumer bool) {
	if v.Publishers.Verify(key, at, kind, message, sig) {
		return true, false
	}
	return false, v.Consumers.Verify(key, at, kind, message, sig)
}

// A Link is one verified record.
type Link struct {
	*envelope.Record
	Seq  uint64
	Hash [32]byte // SHA-256 of its encoding
}

// A Chain is the verified records of one request, oldest first.
type Chain []Link

// Verify returns the chain that stored makes, which are the records of request
// id in the order of their sequences. No record makes an empty chain. The error
// wraps [ErrChain].
func (v Verifier) Verify(id reset.ID, stored []reset.Stored) (Chain, error) {
	var c Chain
	for _, s := range stored {
		var err error
		if c, err = v.Extend(c, id, s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Extend returns c with one more link, or an error that wraps [ErrChain].
func (v Verifier) Extend(c Chain, id reset.ID, s reset.Stored) (Chain, error) {
	bad := func(why string) (Chain, error) {
		return nil, fmt.Errorf("%w: record %d %s", ErrChain, s.Seq, why)
	}
	rec, err := envelope.ParseRecord(s.Data)
	if err != nil {
		return bad("is malformed")
	}
	if rec.Tenant != v.Tenant || rec.ID != id {
		return bad("is of another request")
	}
	// A key whose pin has ended could date its records back, but not before
	// the record that a publisher accepted the request with.
	at := rec.Time
	if len(c) > 0 && c[0].Time.After(at) {
		at = c[0].Time
	}
	byPublisher, byConsumer := v.Signed(rec.Writer.Key, at, seal.KindRecord, rec.Signed(), rec.Sig)
	if !byPublisher && !byConsumer {
		return bad("is not signed by a pinned key")
	}
	link := Link{Record: rec, Seq: s.Seq, Hash: sha256.Sum256(s.Data)}
	if len(c) == 0 {
		if rec.Kind != envelope.Accepted || !byPublisher || rec.Parent != [32]byte{} || rec.ParentSeq != 0 {
			return bad("cannot be the first")
		}
		return Chain{link}, nil
	}
	last := c.Last()
	if rec.ParentSeq != last.Seq || rec.Parent != last.Hash || s.Seq <= last.Seq {
		return bad("does not follow the one before it")
	}
	if rec.Publisher != last.Publisher || rec.Operation != last.Operation {
		return bad("is of another request")
	}
	if last.Request != [32]byte{} && rec.Request != last.Request {
		return bad("speaks of another request than the one before it")
	}
	if !follows(last.Record, rec, byPublisher) {
		return bad(fmt.Sprintf("(%s) cannot follow a record that is %s", rec.Kind, last.Kind))
	}
	return append(c[:len(c):len(c)], link), nil
}

// follows is the table of docs/life-of-a-request.md: which record may stand
// after which, and who may write it.
func follows(last, next *envelope.Record, byPublisher bool) bool {
	// The run of a program stands in clear; its key does not change.
	own := last.Kind == envelope.Claimed && next.Writer.Run == last.Writer.Run && next.Writer.Key == last.Writer.Key
	if last.Doubt && !next.Doubt || last.Asked && !next.Asked {
		return false // neither is ever forgotten
	}
	switch next.Kind {
	case envelope.Claimed:
		// Who takes over a claim cannot know what was done under it.
		takesOver := last.Kind == envelope.Claimed && next.Doubt
		return !byPublisher && (last.Kind == envelope.Accepted || last.Kind == envelope.Released || takesOver)
	case envelope.Released:
		return !byPublisher && own && next.Doubt == last.Doubt
	case envelope.Settled:
		if byPublisher {
			open := last.Kind == envelope.Claimed || last.Kind == envelope.Released && last.Doubt
			return open && next.Code == reset.Unconfirmed
		}
		return own && next.Code != ""
	case envelope.Cancelled:
		untouched := last.Kind == envelope.Accepted || last.Kind == envelope.Released && !last.Doubt
		// What a switch stops is never put into the queue.
		off := next.Code == reset.OperationOff && last.Kind == envelope.Accepted
		return byPublisher && untouched && (next.Code == reset.Expired || next.Code == reset.InProgress || off)
	case envelope.Corrected:
		return !byPublisher && next.Code != "" &&
			last.Kind == envelope.Settled && last.Code == reset.Unconfirmed
	}
	return false
}

// Last returns the newest link; the chain must not be empty.
func (c Chain) Last() Link { return c[len(c)-1] }

// Ended reports whether the request has its outcome.
func (c Chain) Ended() bool {
	if len(c) == 0 {
		return false
	}
	switch c.Last().Kind {
	case envelope.Settled, envelope.Cancelled, envelope.Corrected:
		return true
	}
	return false
}

// Unconfirmed reports whether the chain has ended without anybody knowing what
// became of the request. A consumer that finds out says so.
func (c Chain) Unconfirmed() bool {
	last := c.Last()
	return last.Kind == envelope.Settled && last.Code == reset.Unconfirmed
}

// Cancellable reports whether it is certain that nothing was sent to the
// directory, nor will be by anyone who has not written another record first.
func (c Chain) Cancellable() bool {
	last := c.Last()
	return last.Kind == envelope.Accepted || last.Kind == envelope.Released && !last.Doubt
}

// Claim returns the newest claim, if there is one.
func (c Chain) Claim() (Link, bool) {
	for i := len(c) - 1; i >= 0; i-- {
		if c[i].Kind == envelope.Claimed {
			return c[i], true
		}
	}
	return Link{}, false
}

// Private opens the private part of a link. A part that is empty is returned
// as nothing said.
func Private(key seal.RecordKey, l Link) (*envelope.Private, error) {
	if len(l.Record.Private) == 0 {
		return &envelope.Private{}, nil
	}
	plain, err := key.Open(l.Clear(), l.Record.Private)
	if err != nil {
		return nil, err
	}
	return envelope.ParsePrivate(plain)
}

// PrivateRecord is [Private] with the key of the record's month.
func PrivateRecord(months seal.MonthKeys, l Link) (*envelope.Private, error) {
	if len(l.Record.Private) == 0 {
		return &envelope.Private{}, nil // whoever could not open the request has no key
	}
	key, ok := months.Key(seal.Month(l.Month), l.Tenant, l.ID)
	if !ok {
		return nil, fmt.Errorf("there is no record key for %s", seal.Month(l.Month))
	}
	return Private(key, l)
}
