package obs

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// An hour in which something fails every second has few lines.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, reset := errors.New("refused"), errors.New("reset")
		said := func(o *Outage, of time.Duration, cause func(second int) error) (n int) {
			for i := range int(of / time.Second) {
				if o.Level(zerolog.WarnLevel, cause(i)) == zerolog.WarnLevel {
					n++
				}
				time.Sleep(time.Second)
			}
			return n
		}
		tests := []struct {
			name  string
			cause func(second int) error
			want  int
		}{
			{"the same", func(int) error { return refused }, 6},
			{"at another time", func(i int) error { return fmt.Errorf("expired, it is %d s past", i) }, 6},
			{"without a cause", func(int) error { return nil }, 6},
			{"two that take turns", func(i int) error { return []error{refused, reset}[i%2] }, 60},
		}
		for _, tt := range tests {
			var o Outage
			if n := said(&o, time.Hour, tt.cause); n != tt.want {
				t.Errorf("%s: %d lines in an hour, want %d", tt.name, n, tt.want)
			}
		}

		var o Outage
		if o.Over() {
			t.Error("what never failed is over")
		}
		for range 2 { // the next outage begins anew
			if n := said(&o, time.Minute, func(int) error { return refused }); n != 1 {
				t.Errorf("%d lines in a minute, want 1", n)
			}
			if !o.Over() {
				t.Error("what failed is not over")
			}
		}
	})
}
