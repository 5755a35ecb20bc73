package overview

import (
	"math"
	"time"
)

// A histogram counts times in buckets that are each 15 % wider than the one before:
// from 1 ms to 19 minutes. What it says of them is right but for that.
type histogram struct {
	n      int
	counts [buckets]int32
}

const (
	buckets = 100
	growth  = 1.15
)

func bucketOf(d time.Duration) int {
	ms := float64(d) / float64(time.Millisecond)
	if ms <= 1 {
		return 0
	}
	return min(int(math.Ceil(math.Log(ms)/math.Log(growth))), buckets-1)
}

func (h *histogram) add(d time.Duration) {
	h.n++
	h.counts[bucketOf(d)]++
}

// quantile returns what the part q of the times is at most; zero if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int(math.Ceil(q * float64(h.n)))
	for i, n := range h.counts {
		if rank -= int(n); rank <= 0 && h.n > 0 {
			return time.Duration(math.Pow(growth, float64(i)) * float64(time.Millisecond))
		}
	}
	return 0
}

// What half and 99 of 100 take at most.
func (h *histogram) median() time.Duration { return h.quantile(0.5) }
func (h *histogram) slow() time.Duration   { return h.quantile(0.99) }
