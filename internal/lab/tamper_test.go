package lab

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

// TestTamperedStream makes the streams anew, as the owner of the broker can, with one
// thing changed each time.
func TestTamperedStream(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	o := newOwner(t, l)
	for i, user := range l.Directory.Users[:5] {
		wantApplied(t, o.e, "upn", user.UPN, fmt.Sprintf("Genuine-Word-%d", i))
	}
	l.stopPrograms()
	config := l.AuditFile()
	all, events := o.stream(t, "RECORDS"), o.stream(t, "EVENTS")
	if len(all) != 15 {
		t.Fatalf("there are %d records, want 15", len(all))
	}
	stranger := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 99), consumerName(0))
	// As record i would be if somebody else had signed it, with these changes.
	signed := func(by *audit.Log, i int, change ...func(*envelope.Record)) *jetstream.RawStreamMsg {
		rec, err := envelope.ParseRecord(all[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		again := envelope.Record{
			Kind: rec.Kind, Tenant: rec.Tenant, Publisher: rec.Publisher, ID: rec.ID, Operation: rec.Operation, Code: rec.Code,
			Time: rec.Time, Parent: rec.Parent, ParentSeq: rec.ParentSeq, Request: rec.Request,
		}
		for _, f := range change {
			f(&again)
		}
		data, err := by.Record(&again, envelope.Private{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &jetstream.RawStreamMsg{Subject: all[i].Subject, Data: data}
	}
	// What a copy of a key and its name can sign.
	copied := func(file string, purpose seal.Purpose, by []byte) *audit.Log {
		rec, err := envelope.ParseRecord(by)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := seal.LoadSigner(file, purpose)
		if err != nil {
			t.Fatal(err)
		}
		if signer.Public().ID() != rec.Writer.Key {
			t.Fatalf("%s is not the key of %s", file, rec.Writer.Name)
		}
		return audit.NewLog(signer, rec.Writer.Name)
	}
	publisher := copied(l.path("publisher", "publisher.key"), seal.PurposePublisher, all[0].Data)
	// One of the two replicas has claimed another request later.
	claims, at := map[string][]int{}, 0
	for i := 1; i < len(all); i += 3 {
		claim, err := envelope.ParseRecord(all[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		name := claim.Writer.Name
		if claims[name] = append(claims[name], i); at == 0 && len(claims[name]) == 2 {
			at = claims[name][0]
		}
	}
	claim, err := envelope.ParseRecord(all[at].Data)
	if err != nil {
		t.Fatal(err)
	}
	replica := copied(l.path(claim.Writer.Name, "consumer.key"), seal.PurposeConsumer, all[at].Data)
	// It has worked for a while when the true one writes its next record.
	earlier := func(r *envelope.Record) { r.Time = r.Time.Add(-time.Minute) }
	cancelled := signed(publisher, 12+1, func(r *envelope.Record) { r.Kind, r.Code, r.Request = envelope.Cancelled, reset.Expired, [32]byte{} })
	cancelled.Subject = all[12].Subject
	bent := &jetstream.RawStreamMsg{Subject: all[7].Subject, Data: bytes.Clone(all[7].Data)}
	bent.Data[100] ^= 1
	with := func(i, n int, m ...*jetstream.RawStreamMsg) []*jetstream.RawStreamMsg {
		return slices.Replace(slices.Clone(all), i, i+n, m...)
	}
	for _, tt := range []struct {
		name string
		told []*jetstream.RawStreamMsg
		want string // in the report; empty: it is whole
	}{
		{"nothing", all, ""},
		{"fork", with(15, 0, cancelled), "[fork]"},
		{"two writers with one identity", with(at, 2, signed(replica, at, earlier), signed(replica, at+1, earlier)), "[two_runs]"},
		{"move to another request", with(7, 1, &jetstream.RawStreamMsg{Subject: all[4].Subject, Data: all[7].Data}), "[misplaced]"},
		{"drop", with(7, 1), "RECORDS 8, request"},
		{"drop a request", with(12, 3), "[missing]"},
		{"truncate", all[:9], "[missing]"},
		{"alter", with(7, 1, bent), "RECORDS 8, request"},
		{"swap", with(7, 2, all[8], all[7]), "RECORDS 8, request"},
		{"insert", with(15, 0, signed(stranger, 14)), "[stranger]"},
		{"re-sign", with(14, 1, signed(stranger, 14)), "[stranger]"},
		{"replay", with(15, 0, all[5]), "[repeated]"},
		{"replay the first", with(15, 0, all[0]), "[repeated]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o.anew(t, "RECORDS", tt.told)
			out, code := l.audit(t, config, "verify")
			if tt.want == "" && code != 0 || tt.want != "" && (code != 1 || !strings.Contains(out, tt.want)) {
				t.Errorf("audit verify exits with %d, want %q:\n%s", code, tt.want, out)
			}
		})
	}
	o.anew(t, "RECORDS", all)
	start := slices.IndexFunc(events, func(m *jetstream.RawStreamMsg) bool { return is(t, m, envelope.EventStarted) })
	last := len(events) - 1 // a checkpoint, the last word of its run
	if !is(t, events[last], envelope.EventCheckpoint) || !is(t, events[last-1], envelope.EventStopped) {
		t.Fatal("the programs have not ended in an orderly way")
	}
	spoilt := &jetstream.RawStreamMsg{Subject: events[last].Subject, Data: bytes.Clone(events[last].Data)}
	spoilt.Data[len(spoilt.Data)-1] ^= 1
	for _, tt := range []struct {
		name string
		told []*jetstream.RawStreamMsg
		want string
	}{
		{"events as they were", events, ""},
		{"drop the start of a run", slices.Delete(slices.Clone(events), start, start+1), "[missing]"},
		{"drop what a checkpoint speaks for", slices.Delete(slices.Clone(events), last-1, last), "[missing]"},
		{"alter a checkpoint", append(slices.Clone(events[:last]), spoilt), "[altered]"},
		{"replay a checkpoint", append(slices.Clone(events), events[last]), fmt.Sprintf("EVENTS %d [repeated]", len(events)+1)},
		{"replay the start of a run", append(slices.Clone(events), events[start]), fmt.Sprintf("EVENTS %d [same_number]", len(events)+1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o.anew(t, "EVENTS", tt.told)
			out, code := l.audit(t, config, "verify")
			if tt.want == "" && code != 0 || tt.want != "" && (code != 1 || !strings.Contains(out, tt.want)) {
				t.Errorf("audit verify exits with %d, want %q:\n%s", code, tt.want, out)
			}
		})
	}
}

// is reports whether a message is an event of a kind.
func is(t *testing.T, m *jetstream.RawStreamMsg, kind envelope.EventKind) bool {
	t.Helper()
	e, err := envelope.ParseEvent(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return e.Fact.Kind() == kind
}

// stream returns what a stream holds.
func (o *owner) stream(t *testing.T, name string) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	s, err := o.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// anew replaces a stream by one that holds these messages.
func (o *owner) anew(t *testing.T, name string, messages []*jetstream.RawStreamMsg) {
	t.Helper()
	s, err := o.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if _, err := o.js.CreateStream(t.Context(), s.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if _, err := o.js.Publish(t.Context(), m.Subject, m.Data); err != nil {
			t.Fatal(err)
		}
	}
}
