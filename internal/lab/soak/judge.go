package main

import (
	"math"
	"slices"
	"time"
)

// A point is what was measured once.
type point struct {
	at    time.Duration // since the beginning
	pid   int
	value float64
}

// A rule says how much more of a resource a process may have at the end.
type rule struct {
	resource string
	quantile float64 // of a quarter, which stands for it
	part     float64 // of what it had, that may come on top
	most     float64 // and so much more
	why      string
}

// rules are what is judged. Of what is counted, the floor of a quarter stands for it,
// since what is in hand comes and goes on top of it: what leaks lifts the floor.
// While the judged processes run, the broker is restarted three times, so that
// something that every connection leaves behind is above the limit.
func rules() []rule {
	const (
		steady  = "the load is: nothing may stay behind"
		garbage = "garbage comes and goes; 2 kB that every call leaves behind are more in an hour at the usual rate"
	)
	return []rule{
		{memory, 0.5, 0.10, 2, garbage},
		{goroutines, 0.1, 0, 2, steady},
		{descriptors, 0.1, 0, 2, steady},
		{connections, 0.1, 0, 2, steady},
	}
}

// brokerRules are for what grows in the broker because more is stored.
func brokerRules() []rule {
	return []rule{
		{memory, 0.5, 0.25, 32, "it keeps an index of what is stored for 400 days, and caches of what was read"},
		{descriptors, 0.1, 0, 8, "a stream has more files when it has grown"},
		{connections, 0.1, 0, 2, "the same programs are connected"},
	}
}

// least is the part of a run that a process must have lived to be judged.
const least = 0.4

// A verdict is what is said of one resource of one process.
type verdict struct {
	process string
	rule
	first, second, last float64 // quarter of the process's life
	slope               float64 // an hour, from the second to the last
	judged, flat        bool
}

// judge judges the last process of a series, after the first quarter of its life,
// in which buffers and pools grow to what they need.
func judge(process string, points []point, r rule) verdict {
	v := verdict{process: process, rule: r}
	if len(points) == 0 {
		return v
	}
	end := points[len(points)-1]
	begun := slices.IndexFunc(points, func(p point) bool { return p.pid == end.pid })
	life := end.at - points[begun].at
	var quarters [4][]float64
	for _, p := range points[begun:] {
		q := min(3, int(4*float64(p.at-points[begun].at)/math.Max(1, float64(life))))
		quarters[q] = append(quarters[q], p.value)
	}
	v.first, v.second, v.last = quantile(quarters[0], r.quantile), quantile(quarters[1], r.quantile), quantile(quarters[3], r.quantile)
	v.slope = (v.last - v.second) / (life / 2).Hours()
	v.judged = float64(life) >= least*float64(end.at) && len(quarters[1]) > 0
	v.flat = v.last-v.second <= v.second*r.part+r.most
	return v
}

// quantile returns the value that a part q of values is not above; NaN of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
