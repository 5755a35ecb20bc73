// Package life writes what publishers and consumers write of a request's life,
// with their own code for records and events but without anything else of them:
// no queue, no directory. Tests and benchmarks of what reads it need much of it
// soon.
package life

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/trail"
)

// Tenant is whose trail it is.
const Tenant = "corp"

// A Store keeps what is written: [Memory], or a broker.
type Store interface {
	Append(ctx context.Context, ref reset.Ref, record []byte, expect uint64) (uint64, error)
	audit.Store
}

// A Writer is one run of a publisher or consumer.
type Writer struct {
	Log     *audit.Log
	Journal *audit.Journal
	Store   Store
	stop    func()
}

// Start starts a run. Its journal writes until [Writer.Stop].
func Start(signer *seal.Signer, name string, months seal.MonthKeys, store Store) *Writer {
	w := &Writer{Log: audit.NewLog(signer, name), Store: store}
	w.Journal = audit.NewJournal(audit.JournalConfig{Log: w.Log, Tenant: Tenant, Months: months, Store: store, Version: "test", Logger: zerolog.Nop()})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Journal.Run(ctx)
	}()
	w.Journal.Started(ctx)
	w.stop = func() {
		cancel()
		<-ended
	}
	return w
}

// Stop ends a run in an orderly way, with its last checkpoint.
func (w *Writer) Stop() { w.stop() }

// A World is a tenant with a publisher and two consumers.
type World struct {
	Verifier  audit.Verifier
	Months    seal.MonthKeys
	Publisher *Writer
	Consumers []*Writer
	Signers   []*seal.Signer // of the publisher and the consumers
}

// New returns a world that writes to stores: the publisher's and the consumers'.
func New(months seal.MonthKeys, cloud, site Store) (*World, error) {
	w := &World{Months: months, Verifier: audit.Verifier{Tenant: Tenant}}
	var pins []seal.Pin
	for i, purpose := range []seal.Purpose{seal.PurposePublisher, seal.PurposeConsumer, seal.PurposeConsumer} {
		signer, err := seal.NewSigner(purpose, bytes.Repeat([]byte{byte(i + 1)}, 32))
		if err != nil {
			return nil, err
		}
		w.Signers, pins = append(w.Signers, signer), append(pins, seal.Pin{Key: signer.Public()})
	}
	w.Verifier.Publishers, w.Verifier.Consumers = pins[:1], pins[1:]
	w.Publisher = Start(w.Signers[0], "pub1", months, cloud)
	for i := range 2 {
		w.Consumers = append(w.Consumers, Start(w.Signers[i+1], fmt.Sprintf("consumer%d", i+1), seal.MonthKeys{}, site))
	}
	return w, nil
}

// Stop ends all writers.
func (w *World) Stop() {
	for _, c := range w.Consumers {
		c.Stop()
	}
	w.Publisher.Stop()
}

// A Request is one that is under way.
type Request struct {
	w       *World
	ID      reset.ID
	Last    audit.Link
	Hash    [32]byte // of the request that was sealed
	private envelope.Private
}

// Name is the request's name in the API.
func (r *Request) Name() string {
	return reset.Ref{Publisher: r.w.Publisher.Log.Name(), ID: r.ID}.String()
}

// Accept writes the first record of a request about an account.
func (w *World) Accept(ctx context.Context, account string) (*Request, error) {
	r := &Request{w: w, ID: reset.NewID(), private: envelope.Private{
		Account: reset.Account{Kind: reset.UPN, Value: account}, Actor: reset.Actor{Kind: reset.Admin, Subject: "helpdesk"},
		Source: "portal", Address: "192.0.2.7",
	}}
	r.Hash = sha256.Sum256(r.ID[:])
	return r, r.Write(ctx, w.Publisher, envelope.Accepted, "")
}

// Write writes the next record.
func (r *Request) Write(ctx context.Context, by *Writer, kind envelope.Kind, code reset.Code) error {
	rec := envelope.Record{
		Kind: kind, Tenant: Tenant, Publisher: r.w.Publisher.Log.Name(), ID: r.ID, Operation: reset.Reset, Code: code,
		Time: time.Now().Truncate(time.Microsecond), Parent: r.Last.Hash, ParentSeq: r.Last.Seq,
	}
	if last := r.Last.Record; last != nil {
		rec.Doubt, rec.Asked, rec.Request = last.Doubt || last.Kind == envelope.Claimed && kind == envelope.Claimed, last.Asked, last.Request
	}
	if by != r.w.Publisher {
		rec.Request = r.Hash
	}
	var key *seal.RecordKey
	month := seal.MonthOf(rec.Time)
	if k, ok := r.w.Months.Key(month, Tenant, r.ID); ok {
		key, rec.Month = &k, uint32(month)
	}
	link, err := by.Log.Append(&rec, r.private, key, func(data []byte) (uint64, error) {
		return by.Store.Append(ctx, reset.Ref{Publisher: rec.Publisher, ID: r.ID}, data, rec.ParentSeq)
	})
	if err == nil {
		r.Last = link
	}
	return err
}

// Whole is a request that ends with a code.
func (w *World) Whole(ctx context.Context, account string, consumer int, code reset.Code) (*Request, error) {
	r, err := w.Accept(ctx, account)
	if err != nil {
		return nil, err
	}
	if err := r.Write(ctx, w.Consumers[consumer], envelope.Claimed, ""); err != nil {
		return nil, err
	}
	return r, r.Write(ctx, w.Consumers[consumer], envelope.Settled, code)
}

// Memory is both streams in memory.
type Memory struct {
	mu       sync.Mutex
	messages []trail.Message
	records  uint64
	events   uint64
	last     map[reset.ID]uint64
}

// A Side of a memory is what a publisher or a consumer may write.
type Side struct {
	*Memory
	Name string // pub or con
}

// Append stores a record, if the newest of the request has sequence expect.
func (s Side) Append(_ context.Context, ref reset.Ref, record []byte, expect uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = make(map[reset.ID]uint64)
	}
	if s.last[ref.ID] != expect {
		return 0, reset.ErrConflict
	}
	s.records++
	s.last[ref.ID] = s.records
	s.add(trail.Records, s.records, "rec."+ref.Publisher+"."+ref.ID.String()+"."+s.Name, record)
	return s.records, nil
}

// AppendEvent implements audit.Store.
func (s Side) AppendEvent(_ context.Context, writer string, run [16]byte, event []byte, _ uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events++
	s.add(trail.Events, s.events, fmt.Sprintf("evt.%s.%s.%x", s.Name, writer, run), event)
	return s.events, nil
}

// add stores a message; mu is held.
func (m *Memory) add(stream string, seq uint64, subject string, data []byte) {
	m.messages = append(m.messages, trail.Message{Stream: stream, Message: reset.Message{Seq: seq, Time: time.Now(), Subject: subject, Data: slices.Clone(data)}})
}

// Messages returns all, in the order in which they were stored.
func (m *Memory) Messages() []trail.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages)
}
