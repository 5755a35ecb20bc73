package main

import (
	"testing"
	"time"
)

// A short run, to see that the benchmark measures what it says: its figures mean
// nothing here.
func TestMeasure(t *testing.T) {
	if _, err := measure(t.Context(), "fake", "../../../bin", 16); err != nil {
		t.Fatal(err)
	}
}

// Every replica gets a part of the work.
func TestShare(t *testing.T) {
	if err := shareAmong(t.Context(), "../../../bin", 4, 8); err != nil {
		t.Fatal(err)
	}
}

// A replay goes on beside resets.
func TestAudited(t *testing.T) {
	if err := audited(t.Context(), "../../../bin", 40); err != nil {
		t.Fatal(err)
	}
}

func TestQuantile(t *testing.T) {
	var s series
	for i := range 200 {
		s.took = append(s.took, time.Duration(200-i))
	}
	for q, want := range map[float64]int64{0.5: 100, 0.99: 198, 1: 200} {
		if got := int64(s.quantile(q)); got != want {
			t.Errorf("quantile %v of 1 to 200 = %d, want %d", q, got, want)
		}
	}
}
