package envelope

// A Checkpoint is an event that says what a run has written: each number from
// From to To is of a record or event that the broker has stored, or in a gap.
type Checkpoint struct {
	From     uint64   // of the first checkpoint 1; else the number after the To before, or a later one if the writer could not keep count
	To       uint64   // below the checkpoint's own number
	Gaps     []Gap    // ascending, with at least one stored number between two; at most MaxGaps
	Sum      [32]byte // over what was stored, in the order of the numbers; see audit.Sum
	Previous [32]byte // SHA-256 of the run's checkpoint before this one; zero for the first
	Lost     uint64   // events of this run so far that could not be written, ever
	Final    bool     // the run writes nothing after this
}

// A Gap is a series of numbers that were given out and not known to be stored.
type Gap struct {
	First     uint64
	Count     uint32 // 1 at least
	Uncertain bool   // any of them may be stored all the same; else none is
}

// Last returns the last number of the gap.
func (g Gap) Last() uint64 { return g.First + uint64(g.Count) - 1 }

// maxNumber is more than any run can reach; sums of numbers do not overflow.
const maxNumber = 1 << 62

// MaxGaps is how many gaps a checkpoint has at most, so that it stays below
// [MaxEvent]: 13 bytes each.
const MaxGaps = 1000

func (Checkpoint) Kind() EventKind { return EventCheckpoint }

func (c Checkpoint) encode(w *writer) {
	w.u64(c.From)
	w.u64(c.To)
	w.u16(uint16(len(c.Gaps)))
	for _, g := range c.Gaps {
		w.u64(g.First)
		w.u32(g.Count)
		w.bool(g.Uncertain)
	}
	w.fixed(c.Sum[:])
	w.fixed(c.Previous[:])
	w.u64(c.Lost)
	w.bool(c.Final)
}

func (r *reader) checkpoint() Checkpoint {
	c := Checkpoint{From: r.u64(), To: r.u64()}
	r.bad = r.bad || c.From == 0 || c.To < c.From || c.To > maxNumber
	n := int(r.u16())
	r.bad = r.bad || n > MaxGaps
	lowest := c.From
	for range n {
		if r.bad {
			break
		}
		g := Gap{First: r.u64(), Count: r.u32(), Uncertain: r.bool()}
		r.bad = r.bad || g.First < lowest || g.First > c.To || g.Count == 0 || uint64(g.Count)-1 > c.To-g.First
		c.Gaps = append(c.Gaps, g)
		lowest = g.Last() + 2
	}
	r.fixed(c.Sum[:])
	r.fixed(c.Previous[:])
	c.Lost = r.u64()
	c.Final = r.bool()
	return c
}
