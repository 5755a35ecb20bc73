package lab

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

// A written is what one run of a program has written.
type written struct {
	name    string
	numbers []audit.Numbered // of records and events
	records int
	last    uint64 // highest number of a record
	events  []audit.Entry
}

// reader verifies what the programs of a lab write.
func (l *Lab) verifier(t *testing.T) audit.Verifier {
	t.Helper()
	public := func(path string, purpose seal.Purpose) seal.PublicKey {
		s, err := seal.LoadSigner(path, purpose)
		if err != nil {
			t.Fatal(err)
		}
		return s.Public()
	}
	var consumers []seal.PublicKey
	files, _ := filepath.Glob(l.path("consumer*", "consumer.key"))
	for _, file := range files {
		if key := public(file, seal.PurposeConsumer); !slices.ContainsFunc(consumers, func(k seal.PublicKey) bool { return k.ID() == key.ID() }) {
			consumers = append(consumers, key)
		}
	}
	return audit.Verifier{
		Tenant: "corp", Publishers: keys.Pins(t, public(l.path("publisher", "publisher.key"), seal.PurposePublisher)), Consumers: keys.Pins(t, consumers...),
	}
}

// all calls f with what a stream holds, oldest first.
func (b *inspector) all(t *testing.T, stream string, f func(subject string, s reset.Stored)) {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		f(m.Subject, reset.Stored{Seq: seq, Data: m.Data})
	}
}

// written returns what each run has written, by the run.
func (l *Lab) written(t *testing.T, b *inspector) map[[16]byte]*written {
	t.Helper()
	verifier := l.verifier(t)
	runs := make(map[[16]byte]*written)
	of := func(w envelope.Writer, hash [32]byte) *written {
		if runs[w.Run] == nil {
			runs[w.Run] = &written{name: w.Name}
		}
		runs[w.Run].numbers = append(runs[w.Run].numbers, audit.Numbered{Number: w.Number, Hash: hash})
		return runs[w.Run]
	}
	chains := make(map[reset.ID]audit.Chain)
	b.all(t, "RECORDS", func(_ string, s reset.Stored) {
		rec, err := envelope.ParseRecord(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		if chains[rec.ID], err = verifier.Extend(chains[rec.ID], rec.ID, s); err != nil {
			t.Fatal(err)
		}
		w := of(rec.Writer, chains[rec.ID].Last().Hash)
		w.records++
		w.last = max(w.last, rec.Writer.Number)
	})
	b.all(t, "EVENTS", func(subject string, s reset.Stored) {
		e, err := verifier.Event(s)
		if err != nil {
			t.Fatal(err)
		}
		side := map[bool]string{true: "pub", false: "con"}[e.Publisher]
		if want := fmt.Sprintf("evt.%s.%s.%x", side, e.Writer.Name, e.Writer.Run); subject != want {
			t.Errorf("an event of %s is at %s", want, subject)
		}
		w := of(e.Writer, e.Hash)
		w.events = append(w.events, e)
	})
	for _, w := range runs {
		slices.SortFunc(w.numbers, func(a, b audit.Numbered) int { return cmp.Compare(a.Number, b.Number) })
	}
	return runs
}

// kinds returns the kinds of events, without sightings and checkpoints but the
// last, which depend on time.
func (w *written) kinds() (kinds []string) {
	for i, e := range w.events {
		switch e.Fact.Kind() {
		case envelope.EventReplicaSeen:
		case envelope.EventCheckpoint:
			if i == len(w.events)-1 {
				kinds = append(kinds, "checkpoint")
			}
		default:
			kinds = append(kinds, e.Fact.Kind().String())
		}
	}
	return kinds
}

// covered returns the last number that checkpoints cover, which must be whole.
func (w *written) covered(t *testing.T) (to uint64, final bool) {
	t.Helper()
	var previous [32]byte
	for _, e := range w.events {
		c, ok := e.Fact.(envelope.Checkpoint)
		if !ok {
			continue
		}
		if c.From != to+1 || c.Previous != previous || c.Lost != 0 {
			t.Errorf("%s: a checkpoint is %+v, the one before it ended at %d", w.name, c, to)
		}
		var have []audit.Numbered
		for _, n := range w.numbers {
			if n.Number >= c.From && n.Number <= c.To {
				have = append(have, n)
			}
		}
		if got := audit.Compare(c, have); !got.Whole() || got.Stored == 0 {
			t.Errorf("%s: numbers %d to %d: %+v", w.name, c.From, c.To, got)
		}
		to, previous, final = c.To, e.Hash, c.Final
	}
	return to, final
}

// TestJournal stops programs, and kills programs, and reads what the broker has
// then: all that was written in a run that was stopped is covered by checkpoints.
func TestJournal(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	b := inspect(t, l.endpoints(t))
	programs := []string{"publisher", consumerName(0), consumerName(1)}
	traffic := func(word string) {
		var wg sync.WaitGroup
		for i, user := range l.Directory.Users[:10] {
			wg.Go(func() { wantApplied(t, l.endpoints(t), "upn", user.UPN, fmt.Sprintf("%s-Word-%d", word, i)) })
		}
		wg.Wait()
	}
	end := func(signal syscall.Signal) {
		pids := make(map[string]int)
		for _, name := range programs {
			pids[name] = l.endpoints(t).pid(t, name)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, signal); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range programs {
			l.awaitNext(t, name, operations(t, l.Dir, l.opts.Consumers)[name], pids[name])
		}
		if err := l.awaitReady(t.Context()); err != nil { // the publisher has heard of the consumers
			t.Fatal(err)
		}
	}
	traffic("Stopped")
	first := l.written(t, b)
	end(syscall.SIGTERM)
	traffic("Killed")
	both := l.written(t, b)
	end(syscall.SIGKILL)

	wants := map[bool][]string{true: {"started", "token_made"}, false: {"started", "sealing_key"}} // of a publisher, of a consumer
	records := 0
	for run, w := range l.written(t, b) {
		began := wants[w.events[0].Publisher]
		kinds := w.kinds()
		to, final := w.covered(t)
		switch {
		case w.numbers[0].Number != 1 || w.events[0].Writer.Number != 1:
			t.Errorf("%s: the first number is %d, of the first event %d, want 1", w.name, w.numbers[0].Number, w.events[0].Writer.Number)
		case first[run] != nil: // was stopped
			if want := append(slices.Clone(began), "stopped", "checkpoint"); !slices.Equal(kinds, want) || !final {
				t.Errorf("%s was stopped; its events are %q, want %q", w.name, kinds, want)
			}
			if w.records == 0 || to < w.last || w.numbers[len(w.numbers)-1].Number != to+1 {
				t.Errorf("%s was stopped; its checkpoints cover the numbers up to %d of %d", w.name, to, len(w.numbers))
			}
			records += w.records
		case both[run] != nil: // was killed
			if slices.Contains(kinds, "stopped") || final || !slices.Equal(kinds[:len(began)], began) {
				t.Errorf("%s was killed; its events are %q", w.name, kinds)
			}
			if w.records == 0 || to >= w.last {
				t.Errorf("%s was killed; its checkpoints cover the numbers up to %d", w.name, to)
			}
		}
	}
	// The broker's owner reads all of it, and no names.
	names, texts := make(map[string][]byte), make(map[string]string)
	for _, user := range l.Directory.Users[:10] {
		names[user.UPN] = []byte(user.UPN)
	}
	for _, stream := range []string{"RECORDS", "EVENTS"} {
		b.all(t, stream, func(subject string, s reset.Stored) {
			texts[fmt.Sprintf("%s %d", stream, s.Seq)] = subject + " " + string(s.Data)
		})
	}
	for _, hit := range search(t, names, texts, nil) {
		t.Errorf("the broker can read a name: %s", hit)
	}
	if hits := search(t, map[string][]byte{"a replica": []byte(consumerName(1))}, texts, nil); len(hits) == 0 {
		t.Error("the search does not find what is there")
	}
	if len(first) != 3 || len(both) != 6 || records != 3*10 {
		t.Errorf("%d runs, then %d runs; those that were stopped have written %d records, want 3, 6 and 30", len(first), len(both), records)
	}
}
