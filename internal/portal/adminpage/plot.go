package adminpage

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"writeback/internal/reset"
)

// The size of a plot, in its own units, and the room for what stands at its edges.
const (
	plotWidth, plotHeight = 560, 190
	plotLeft, plotBottom  = 76, 28
	plotTop, plotRight    = 12, 8
)

// A chart is a plot of the last 24 hours, as its template draws it.
type chart struct {
	Width, Height int
	Left, Right   int // of the plot itself
	Base          int // where zero is
	Ticks         []tick
	Hours         []tick
	Bars          []bar
	Lines         []line
	Empty         bool
}

// A tick is a mark at an axis.
type tick struct {
	At   float64
	Text string
}

// A bar is a part of the outcomes of a bin.
type bar struct {
	Class               string
	X, Y, Width, Height float64
}

// A line is one of the times, bin by bin.
type line struct {
	Class string
	Path  string // of SVG
	Dots  []point
}

type point struct{ X, Y float64 }

func newChart(bins []reset.Bin) chart {
	c := chart{Width: plotWidth, Height: plotHeight, Left: plotLeft, Right: plotWidth - plotRight, Base: plotHeight - plotBottom, Empty: true}
	for i, b := range bins {
		if b.Start.Hour()%4 == 0 && b.Start.Minute() == 0 {
			c.Hours = append(c.Hours, tick{c.x(i, len(bins)), b.Start.Format("15:04")})
		}
		c.Empty = c.Empty && b.Applied+b.Refused+b.Failed == 0
	}
	return c
}

func (c *chart) x(i, n int) float64 {
	return tenth(float64(c.Left) + float64(i)*float64(c.Right-c.Left)/float64(n))
}

func (c *chart) y(v, most float64) float64 {
	return tenth(float64(c.Base) - v/most*float64(c.Base-plotTop))
}

func tenth(v float64) float64 { return math.Round(v*10) / 10 }

// scale marks the axis of values and returns where it ends.
func (c *chart) scale(most float64, text func(float64) string) float64 {
	step := niceStep(most / 4)
	top := max(math.Ceil(most/step)*step, step)
	for v := 0.0; v <= top; v += step {
		c.Ticks = append(c.Ticks, tick{c.y(v, top), text(v)})
	}
	return top
}

// niceStep returns the least of 1, 2, 5, 10, 20 … that is not less.
func niceStep(least float64) float64 {
	if least <= 1 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, f := range []float64{1, 2, 5, 10} {
		if f*power >= least {
			return f * power
		}
	}
	return 10 * power
}

// outcomesChart draws how many requests ended how.
func outcomesChart(bins []reset.Bin) chart {
	c := newChart(bins)
	most := 0
	for _, b := range bins {
		most = max(most, b.Applied+b.Refused+b.Failed)
	}
	top := c.scale(float64(most), func(v float64) string { return strconv.Itoa(int(v)) })
	width := tenth(float64(c.Right-c.Left)/float64(max(len(bins), 1)) - 1.5)
	for i, b := range bins {
		below := 0
		for _, part := range []struct {
			class string
			n     int
		}{{"applied", b.Applied}, {"refused", b.Refused}, {"failed", b.Failed}} {
			if part.n == 0 {
				continue
			}
			y := c.y(float64(below+part.n), top)
			c.Bars = append(c.Bars, bar{part.class, c.x(i, len(bins)), y, width, tenth(c.y(float64(below), top) - y)})
			below += part.n
		}
	}
	return c
}

// timesChart draws how long requests took.
func timesChart(bins []reset.Bin, text func(time.Duration) string) chart {
	c := newChart(bins)
	most := time.Duration(0)
	for _, b := range bins {
		most = max(most, b.Slow)
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	top := c.scale(max(ms(most), 4), func(v float64) string {
		if v == 0 {
			return "0"
		}
		return text(time.Duration(v * float64(time.Millisecond)))
	})
	for _, of := range []struct {
		class string
		value func(reset.Bin) time.Duration
	}{
		{"slow", func(b reset.Bin) time.Duration { return b.Slow }},
		{"median", func(b reset.Bin) time.Duration { return b.Median }},
	} {
		l := line{Class: of.class}
		var path strings.Builder
		for i, b := range bins {
			v := of.value(b)
			if v == 0 {
				continue
			}
			at := point{tenth(c.x(i, len(bins)) + float64(c.Right-c.Left)/float64(2*len(bins))), c.y(ms(v), top)}
			l.Dots = append(l.Dots, at)
			to := " L"
			if i == 0 || of.value(bins[i-1]) == 0 {
				to = " M" // nothing is known of what lies between
			}
			path.WriteString(to + number(at.X) + " " + number(at.Y))
		}
		l.Path = strings.TrimSpace(path.String())
		c.Lines = append(c.Lines, l)
	}
	slices.Reverse(c.Lines)
	return c
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
