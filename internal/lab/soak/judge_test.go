package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

// run is an hour of samples; f gives the value after a part of it.
func run(f func(part float64) (value float64, pid int)) (points []point) {
	for at := time.Duration(0); at <= time.Hour; at += 5 * time.Second {
		value, pid := f(at.Hours())
		points = append(points, point{at, pid, value})
	}
	return points
}

func TestJudge(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	byName := make(map[string]rule)
	for _, r := range rules() {
		byName[r.resource] = r
	}
	for name, c := range map[string]struct {
		resource     string
		f            func(part float64) (float64, int)
		judged, flat bool
	}{
		"memory that goes up and down": {memory, func(float64) (float64, int) { return 20 + 10*noise.Float64(), 1 }, true, true},
		"memory that warms up": {memory, func(part float64) (float64, int) {
			return 20 + 40*min(part, 0.2), 1
		}, true, true},
		"memory that leaks 2 kB a call": {memory, func(part float64) (float64, int) {
			return 20 + 4*noise.Float64() + part*9000*2000/(1<<20), 1 // of 18,000 calls, each process has half
		}, true, false},
		"goroutines of what is in hand": {goroutines, func(float64) (float64, int) { return 40 + float64(max(0, noise.IntN(60)-30)), 1 }, true, true},
		"a goroutine left by each restart of the broker": {goroutines, func(part float64) (float64, int) {
			left := 0
			for _, at := range brokerRestarts() {
				if part > at {
					left++
				}
			}
			return float64(40 + left + max(0, noise.IntN(20)-10)), 1 // a call is in hand at times
		}, true, false},
		"descriptors that leak slowly":        {descriptors, func(part float64) (float64, int) { return 20 + float64(int(8*part)) + float64(noise.IntN(3)), 1 }, true, false},
		"a connection more every ten minutes": {connections, func(part float64) (float64, int) { return 3 + float64(int(6*part)), 1 }, true, false},
		"a process that was restarted at the half, and fills again": {memory, func(part float64) (float64, int) {
			if part < 0.5 {
				return 20 + 20*part, 1
			}
			return 20 + 20*min(part-0.5, 0.1), 2
		}, true, true},
		"a process that leaks after its restart at the half": {descriptors, func(part float64) (float64, int) {
			if part < 0.5 {
				return 20, 1
			}
			return 20 + 40*(part-0.5), 2
		}, true, false},
		"a process that lived for a moment": {memory, func(part float64) (float64, int) {
			if part < 0.9 {
				return 20, 1
			}
			return 200 * part, 2
		}, false, false},
	} {
		v := judge("one", run(c.f), byName[c.resource])
		if v.judged != c.judged || v.judged && v.flat != c.flat {
			t.Errorf("%s: judged %v and flat %v, want %v and %v: %+v", name, v.judged, v.flat, c.judged, c.flat, v)
		}
	}
}

// The slope is what is added in an hour.
func TestSlope(t *testing.T) {
	v := judge("one", run(func(part float64) (float64, int) { return 100 + 60*part, 1 }), rules()[0])
	if v.slope < 58 || v.slope > 62 {
		t.Errorf("the slope is %v, want 60 an hour", v.slope)
	}
}

// Nothing measured is not flat.
func TestNothing(t *testing.T) {
	if v := judge("one", nil, rules()[0]); v.judged || v.flat {
		t.Errorf("%+v", v)
	}
}
