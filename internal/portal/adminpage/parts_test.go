package adminpage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
	"writeback/internal/secret"
)

// await waits until yes is true: a tokens file is looked at once a second.
func await(t *testing.T, yes func() bool) {
	t.Helper()
	end := time.After(20 * time.Second)
	for !yes() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-end:
			t.Fatal("it did not come to be")
		}
	}
}

func TestHealth(t *testing.T) {
	now := time.Now()
	alive := func(name, version, dc string) reset.Replica {
		return reset.Replica{Consumer: reset.Consumer{Replica: name, Version: version, DC: dc}, Alive: true}
	}
	on := &reset.Switches{Writeback: reset.Switch{On: true}, Unlock: reset.Switch{On: true}}
	away := &reset.Refusal{Code: reset.BrokerUnavailable}
	tests := []struct {
		name string
		o    reset.Overview
		want string // tones and keys, the worst first
	}{
		{"all well", reset.Overview{Replicas: []reset.Replica{alive("a", "v2", "dc1")}}, "good up"},
		{"an older one", reset.Overview{Replicas: []reset.Replica{alive("a", "v1", "dc1"), alive("b", "v2", "dc1")}}, "warn outdated"},
		{"none", reset.Overview{}, "bad none"},
		{"one that is gone", reset.Overview{Replicas: []reset.Replica{{Consumer: reset.Consumer{Replica: "a", Version: "v1"}}}}, "bad none"},
		{"one that cannot be understood", reset.Overview{Malformed: true}, "bad malformed"},
		{"a stranger", reset.Overview{Unsigned: true}, "bad unsigned"},
		{"a stranger beside a good one", reset.Overview{Unsigned: true, Replicas: []reset.Replica{alive("a", "v2", "dc1")}}, "warn unsigned"},
		{"its clock", reset.Overview{Skewed: true}, "bad clock"},
		{"no domain controller", reset.Overview{Replicas: []reset.Replica{alive("a", "v2", "")}}, "bad no_directory"},
		{"just started", reset.Overview{Replicas: []reset.Replica{{Consumer: reset.Consumer{Version: "v2", Since: now.Add(-5 * time.Second)}, Alive: true}}}, "good up"},
		{"one of two has none", reset.Overview{Replicas: []reset.Replica{alive("a", "v2", ""), alive("b", "v2", "dc1")}}, "good up"},
		{"the broker is away", reset.Overview{Situation: reset.Situation{Obstacle: away}, Replicas: []reset.Replica{alive("a", "v2", "dc1")}}, "bad away"},
		{"the broker hides the switches", reset.Overview{Situation: reset.Situation{Obstacle: away, Switches: on}, QueueKnown: true, Replicas: []reset.Replica{alive("a", "v2", "dc1")}}, "bad away"},
		{"no key", reset.Overview{Situation: reset.Situation{Obstacle: away, Switches: on}, QueueKnown: true, Unkeyed: true, Replicas: []reset.Replica{alive("a", "v2", "dc1")}}, "bad key"},
		{"waiting", reset.Overview{Oldest: now.Add(-time.Minute), Replicas: []reset.Replica{alive("a", "v2", "dc1")}}, "warn waiting"},
		{"in hand", reset.Overview{Oldest: now.Add(-time.Second), Replicas: []reset.Replica{alive("a", "v2", "dc1")}}, "good up"},
		{"switched off", reset.Overview{Situation: reset.Situation{Switches: &reset.Switches{}}, Replicas: []reset.Replica{alive("a", "v2", "dc1")}}, "warn off"},
		{"much at once", reset.Overview{Situation: reset.Situation{Switches: &reset.Switches{}}, Skewed: true}, "bad clock, warn off"},
	}
	seen := make(map[string]bool)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Time = now
			var got []string
			for _, h := range healthOf(tt.o, "v2") {
				got = append(got, h.Tone+" "+h.Key)
				seen[h.Key] = true
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for _, h := range healths() {
		if !seen[h.Key] {
			t.Errorf("%s is never said", h.Key)
		}
	}
}

func TestTemporary(t *testing.T) {
	seen := make(map[string]bool)
	letters := make(map[rune]int)
	for range 2000 {
		newTemporary(reset.Rules{}).Reveal(func(b []byte) error {
			text := string(b)
			if seen[text] || len(text) != 19 {
				t.Errorf("%q, again or too short", text)
			}
			seen[text] = true
			for _, c := range strings.ReplaceAll(text, "-", "") {
				letters[c]++
			}
			for name, kind := range map[string]string{"capital": "ABCDEFGHJKLMNPQRSTUVWXYZ", "small": "abcdefghijkmnpqrstuvwxyz", "digit": "23456789"} {
				if !strings.ContainsAny(text, kind) {
					t.Errorf("%q has no %s letter", text, name)
				}
			}
			return nil
		})
	}
	// 32,000 of 56: 571 each; the deviation is 24.
	if len(letters) != len(readable) {
		t.Errorf("%d letters are used, want %d", len(letters), len(readable))
	}
	for c, n := range letters {
		if n < 400 || n > 800 && !strings.ContainsRune("23456789", c) {
			t.Errorf("%c is there %d times", c, n)
		}
	}
	for _, least := range []uint16{0, 7, 19, 20, 64, 127, 255} {
		v := newTemporary(reset.Rules{Known: true, MinLength: least, Complexity: true})
		v.Reveal(func(b []byte) error {
			if len(b) < min(int(least), 252) {
				t.Errorf("%d characters, want %d", len(b), least)
			}
			return nil
		})
		if err := secret.CheckPassword(v); err != nil {
			t.Errorf("for %d: %v", least, err)
		}
		if got := fmt.Sprintf("%v %+v %s", v, v, v); got != "[secret] [secret] [secret]" {
			t.Errorf("it prints as %q", got)
		}
	}
}

// Each letter has the same chance. By chance alone this fails once in 100,000 times.
func TestDraw(t *testing.T) {
	const each = 8000
	var drawn [len(readable)]int
	for range each * len(readable) {
		drawn[draw(len(readable))]++
	}
	for i, n := range drawn {
		if n < each*94/100 || n > each*106/100 {
			t.Errorf("%c was drawn %d times, want about %d", readable[i], n, each)
		}
	}
}

func TestOutcomesChart(t *testing.T) {
	bins := make([]reset.Bin, 48)
	start := time.Date(2026, 11, 21, 12, 30, 0, 0, time.UTC)
	for i := range bins {
		bins[i].Start = start.Add(time.Duration(i) * reset.BinWidth)
	}
	if c := outcomesChart(bins); !c.Empty || len(c.Bars) != 0 || len(c.Hours) != 6 || len(c.Ticks) != 2 {
		t.Errorf("of nothing: %+v", c)
	}
	bins[47].Applied, bins[47].Refused, bins[47].Failed = 30, 10, 7
	c := outcomesChart(bins)
	if len(c.Bars) != 3 || c.Empty {
		t.Fatalf("bars: %+v", c.Bars)
	}
	sum := 0.0
	for i, b := range c.Bars {
		sum += b.Height
		if b.X < float64(c.Left) || b.X+b.Width > float64(c.Right) || b.Y < 0 || b.Y+b.Height > float64(c.Base)+0.2 {
			t.Errorf("%+v is outside the plot", b)
		}
		if i > 0 && b.Y+b.Height > c.Bars[i-1].Y+0.2 {
			t.Errorf("%+v is not on top of %+v", b, c.Bars[i-1])
		}
	}
	top := c.Ticks[len(c.Ticks)-1]
	if top.Text != "60" && top.Text != "50" || sum > float64(c.Base)-top.At {
		t.Errorf("the bars are %.1f high, the highest mark is %+v", sum, top)
	}
}

func TestTimesChart(t *testing.T) {
	bins := make([]reset.Bin, 48)
	for _, i := range []int{3, 4, 10} {
		bins[i].Median, bins[i].Slow = 20*time.Millisecond, 900*time.Millisecond
	}
	c := timesChart(bins, time.Duration.String)
	for _, l := range c.Lines {
		if len(l.Dots) != 3 || strings.Count(l.Path, "M") != 2 || strings.Count(l.Path, "L") != 1 {
			t.Errorf("%s: %d dots, path %q: want a gap where nothing ended", l.Class, len(l.Dots), l.Path)
		}
	}
	if last := c.Ticks[len(c.Ticks)-1]; last.Text != "1s" || c.Ticks[0].Text != "0" {
		t.Errorf("marks: %+v", c.Ticks)
	}
	for _, least := range []float64{0, 0.3, 1, 1.1, 2, 2.1, 5.5, 11, 99, 1000.5} {
		if step := niceStep(least); step < least || step < 1 || step > 10*max(least, 1) {
			t.Errorf("niceStep(%v) = %v", least, step)
		}
	}
}
