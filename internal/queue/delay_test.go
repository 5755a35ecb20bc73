package queue

import (
	"testing"
	"time"
)

// A broker that is away for a moment is dialled at once again, one that is away for
// long not all the time.
func TestReconnectDelay(t *testing.T) {
	tests := []struct {
		round    int
		from, to time.Duration
	}{
		{1, reconnectWait, 2 * reconnectWait},
		{quickRounds, reconnectWait, 2 * reconnectWait},
		{quickRounds + 1, 2 * reconnectWait, 4 * reconnectWait},
		{quickRounds + 4, slowWait / 2, slowWait},
		{10_000, slowWait / 2, slowWait},
	}
	for _, tt := range tests {
		for range 100 {
			if d := reconnectDelay(tt.round); d < tt.from || d >= tt.to {
				t.Errorf("after round %d it waits for %s, want %s to %s", tt.round, d, tt.from, tt.to)
			}
		}
	}
}
