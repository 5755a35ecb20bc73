package audit

import (
	"crypto/sha256"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/reset"
)

func hashOf(number uint64) [32]byte { return sha256.Sum256([]byte{byte(number), byte(number >> 8)}) }

// sumOf is the sum over those numbers.
func sumOf(numbers ...uint64) (s Sum) {
	for _, n := range numbers {
		s = s.Add(n, hashOf(n))
	}
	return s
}

// give gives out n numbers.
func give(l *ledger, n int) {
	for range n {
		l.begin(false)
	}
}

func cut(t *testing.T, l *ledger, final bool) envelope.Checkpoint {
	t.Helper()
	c, ok := l.cut(final)
	if !ok {
		t.Fatal("nothing is worth a checkpoint")
	}
	return c
}

func TestCheckpointSaysWhatBecameOfEachNumber(t *testing.T) {
	l := newLedger()
	give(l, 9)
	for n, f := range map[uint64]fate{1: stored, 2: void, 3: void, 4: stored, 5: uncertain, 6: void, 7: stored, 8: stored, 9: void} {
		l.end(n, f, hashOf(n))
	}
	c := cut(t, l, false)
	want := envelope.Checkpoint{
		From: 1, To: 9, Sum: sumOf(1, 4, 7, 8),
		Gaps: []envelope.Gap{{First: 2, Count: 2}, {First: 5, Count: 2, Uncertain: true}, {First: 9, Count: 1}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("checkpoint = %+v, want %+v", c, want)
	}
	if _, ok := l.cut(false); ok {
		t.Error("there is a second checkpoint, of nothing")
	}
}

// A checkpoint of its own is no reason for another, but is covered by it.
func TestCheckpointIsCoveredByTheNext(t *testing.T) {
	l := newLedger()
	l.end(l.begin(false), stored, hashOf(1))
	cut(t, l, false)
	l.end(l.begin(true), stored, hashOf(2))
	if _, ok := l.cut(false); ok {
		t.Error("a checkpoint alone makes another")
	}
	l.end(l.begin(false), stored, hashOf(3))
	if c := cut(t, l, false); c.From != 2 || c.To != 3 || c.Sum != sumOf(2, 3) {
		t.Errorf("checkpoint = %+v", c)
	}
}

// Who is slow keeps nobody from writing, and nobody out of a checkpoint for long.
func TestCheckpointBesideASlowWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		give(l, 3)
		l.end(1, stored, hashOf(1))
		l.end(3, stored, hashOf(3))
		if c := cut(t, l, false); c.From != 1 || c.To != 1 {
			t.Errorf("the first checkpoint is %+v, want 1 to 1: number 2 is on its way", c)
		}
		time.Sleep(patience) // of the bubble
		if _, ok := l.cut(false); ok {
			t.Error("number 2 has no patience")
		}
		time.Sleep(time.Second)
		c := cut(t, l, false)
		if c.From != 2 || c.To != 3 || c.Sum != sumOf(3) || !slices.Equal(c.Gaps, []envelope.Gap{{First: 2, Count: 1, Uncertain: true}}) {
			t.Errorf("the second checkpoint is %+v", c)
		}
		l.end(2, stored, hashOf(2)) // after all: nothing to say any more
		if len(l.open) != 0 || l.stored != 0 {
			t.Errorf("the ledger has %d open and %d stored numbers", len(l.open), l.stored)
		}
	})
}

func TestFinalCheckpointWaitsForNobody(t *testing.T) {
	l := newLedger()
	give(l, 2)
	l.end(1, stored, hashOf(1))
	if c := cut(t, l, true); !c.Final || c.To != 2 || !slices.Equal(c.Gaps, []envelope.Gap{{First: 2, Count: 1, Uncertain: true}}) {
		t.Errorf("checkpoint = %+v", c)
	}
}

// A ledger whose checkpoints cannot be written stays small, and says what it
// leaves out.
func TestLedgerIsBounded(t *testing.T) {
	l := newLedger()
	const rounds = 3*envelope.MaxGaps + 10
	for range rounds {
		l.end(l.begin(false), stored, [32]byte{})
		l.end(l.begin(false), void, [32]byte{})
	}
	if len(l.open) != 0 || len(l.gaps) > envelope.MaxGaps {
		t.Errorf("the ledger holds %d numbers and %d gaps", len(l.open), len(l.gaps))
	}
	if c := cut(t, l, false); c.To != 2*rounds || c.From == 1 {
		t.Errorf("the checkpoint is from %d to %d, want one that leaves out the first", c.From, c.To)
	}
	// Without anything stored between them, there is one gap.
	l = newLedger()
	for i := range 100_000 {
		l.end(l.begin(false), []fate{void, uncertain}[i%2], [32]byte{})
	}
	if len(l.gaps) != 1 || l.gaps[0].Count != 100_000 {
		t.Errorf("there are %d gaps", len(l.gaps))
	}
}

// An event that is not stored for an hour keeps back no more than what was
// written since it may be called uncertain.
func TestLedgerBesideAStuckWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		l.begin(false)
		for range time.Hour / time.Second {
			time.Sleep(time.Second) // of the bubble
			l.end(l.begin(false), stored, [32]byte{})
		}
		if n := len(l.open); n != 0 {
			t.Errorf("the ledger holds %d numbers", n)
		}
		l.end(1, stored, hashOf(1))
		if c := cut(t, l, false); c.From != 1 || c.To != 3601 || !slices.Equal(c.Gaps, []envelope.Gap{{First: 1, Count: 1, Uncertain: true}}) {
			t.Errorf("checkpoint = %+v", c)
		}
	})
}

func TestCheckpointIsDueAfterManyRecords(t *testing.T) {
	for _, f := range []fate{stored, void} {
		l := newLedger()
		due := func() bool { return len(l.full) == 1 }
		for i := 1; !due(); i++ {
			if i > checkpointAfter {
				t.Fatalf("no checkpoint is due after %d numbers", i)
			}
			l.end(l.begin(false), f, [32]byte{})
			if f == void {
				l.end(l.begin(false), stored, [32]byte{})
			}
		}
		if l.stored != checkpointAfter && len(l.gaps) != gapsAfter {
			t.Errorf("a checkpoint is due after %d stored numbers and %d gaps", l.stored, len(l.gaps))
		}
	}
}

// However many write at a time, and however it ends: each number is covered
// once, and what was stored is there.
func TestLedgerConcurrently(t *testing.T) {
	l := newLedger()
	const writers, each = 16, 500
	var mu sync.Mutex
	there := make(map[uint64]fate)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				n := l.begin(false)
				f := max(stored, fate(rand.IntN(40))-36) // most are: more gaps than a checkpoint has would be left out
				mu.Lock()
				there[n] = f
				mu.Unlock()
				l.end(n, f, hashOf(n))
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var list []envelope.Checkpoint
	for running := true; running; {
		select {
		case <-l.full:
		case <-done:
			running = false
		}
		if c, ok := l.cut(!running); ok {
			list = append(list, c)
		}
	}
	next := uint64(1)
	for _, c := range list {
		if c.From != next {
			t.Fatalf("a checkpoint is from %d, want %d", c.From, next)
		}
		next = c.To + 1
		var have []Numbered
		for n := c.From; n <= c.To; n++ {
			if there[n] == stored {
				have = append(have, Numbered{n, hashOf(n)})
			}
		}
		if got := Compare(c, have); !got.Whole() || got.Stored != uint64(len(have)) {
			t.Fatalf("numbers %d to %d: %+v", c.From, c.To, got)
		}
	}
	if next != writers*each+1 {
		t.Errorf("checkpoints cover the numbers before %d, want all %d", next, writers*each)
	}
}

func TestFates(t *testing.T) {
	for err, want := range map[error]fate{
		nil: stored, reset.ErrConflict: void, reset.ErrUnavailable: void, reset.ErrUnknown: uncertain, ErrChain: uncertain,
	} {
		if got := fateOf(err); got != want {
			t.Errorf("fate of %v = %d, want %d", err, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	c := envelope.Checkpoint{
		From: 11, To: 20, Sum: sumOf(11, 12, 15, 16, 19, 20),
		Gaps: []envelope.Gap{{First: 13, Count: 2}, {First: 17, Count: 2, Uncertain: true}},
	}
	numbers := func(list ...uint64) (have []Numbered) {
		for _, n := range list {
			have = append(have, Numbered{n, hashOf(n)})
		}
		return have
	}
	altered := numbers(11, 12, 15, 16, 19, 20)
	altered[2].Hash[0]++
	swapped := numbers(11, 12, 15, 16, 19, 20)
	swapped[0].Hash, swapped[1].Hash = swapped[1].Hash, swapped[0].Hash
	tests := []struct {
		name string
		have []Numbered
		want Coverage
	}{
		{"untouched", numbers(11, 12, 15, 16, 19, 20), Coverage{Stored: 6}},
		{"an uncertain one is there", numbers(11, 12, 15, 16, 18, 19, 20), Coverage{Stored: 6, Uncertain: 1}},
		{"the first dropped", numbers(12, 15, 16, 19, 20), Coverage{Stored: 5, Missing: 1, FirstMissing: 11}},
		{"the last dropped", numbers(11, 12, 15, 16, 19), Coverage{Stored: 5, Missing: 1, FirstMissing: 20}},
		{"one before a gap dropped", numbers(11, 15, 16, 19, 20), Coverage{Stored: 5, Missing: 1, FirstMissing: 12}},
		{"two dropped around a gap", numbers(11, 12, 15, 20), Coverage{Stored: 4, Missing: 2, FirstMissing: 16}},
		{"all dropped", nil, Coverage{Missing: 6, FirstMissing: 11}},
		{"all but uncertain dropped", numbers(17), Coverage{Missing: 6, FirstMissing: 11, Uncertain: 1}},
		{"refused ones are there", numbers(11, 12, 13, 14, 15, 16, 19, 20), Coverage{Stored: 6, Refused: 2, FirstRefused: 13}},
		{"altered", altered, Coverage{Stored: 6, Altered: true}},
		{"swapped", swapped, Coverage{Stored: 6, Altered: true}},
	}
	for _, tt := range tests {
		if got := Compare(c, tt.have); got != tt.want || got.Whole() != (tt.want.Missing+tt.want.Refused == 0 && !tt.want.Altered) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
