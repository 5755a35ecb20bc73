package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"writeback/internal/reset"
)

// Sizes of the plots, in units of their view boxes.
const (
	plotWidth  = 900
	plotHeight = 240
	marginLeft = 48
	marginTop  = 12
	barHeight  = 22
	barLabel   = 200
	labelWidth = 72
)

// A rect is a part of a bar.
type rect struct {
	X, Y, W, H float64
	Class      string
	Title      string
}

// A label is a text in a plot, or a line of its grid.
type label struct {
	X, Y float64
	Text string
}

// A plot is what the template draws.
type plot struct {
	Width, Height int
	Left, Bottom  float64
	Rects         []rect
	Ticks, Labels []label
	Each          string // what a bar stands for
}

var classNames = [classes]string{"applied", "refused", "expired", "unconfirmed"}

// steps are what a bar may stand for.
var steps = []struct {
	name   string
	long   time.Duration
	layout string
}{
	{"an hour", time.Hour, "2 Jan 15:04"}, {"six hours", 6 * time.Hour, "2 Jan 15:04"}, {"a day", 24 * time.Hour, "2 Jan"}, {"a week", 7 * 24 * time.Hour, "2 Jan"},
}

// mostBars is how many bars fit side by side.
const mostBars = 72

// overTime draws the outcomes over the time of acceptance.
func (c *Collector) overTime() *plot {
	first, last := c.span()
	if first.IsZero() {
		return nil
	}
	by := steps[len(steps)-1]
	for i := len(steps) - 1; i >= 0; i-- {
		if int(last.Sub(first)/steps[i].long) < mostBars {
			by = steps[i]
		}
	}
	first = first.Truncate(by.long)
	count := int(last.Sub(first)/by.long) + 1
	bars := make([][classes]int, count)
	for hour, n := range c.hours {
		b := &bars[int(hour.Sub(first)/by.long)]
		for i := range n {
			b[i] += n[i]
		}
	}
	top := 0
	for _, b := range bars {
		top = max(top, b[0]+b[1]+b[2]+b[3])
	}
	p := &plot{Width: plotWidth, Height: plotHeight + marginTop + 28, Left: marginLeft, Bottom: plotHeight + marginTop, Each: by.name}
	grid := niceStep(top)
	high := (top + grid - 1) / grid * grid
	y := func(n int) float64 { return p.Bottom - float64(n)/float64(high)*plotHeight }
	for n := 0; n <= high; n += grid {
		p.Ticks = append(p.Ticks, label{marginLeft - 6, y(n), fmt.Sprint(n)})
	}
	wide := float64(plotWidth-marginLeft) / float64(max(count, 12))
	every := max(1, (count+7)/8)
	for i, b := range bars {
		x, at, below := marginLeft+float64(i)*wide, first.Add(time.Duration(i)*by.long), 0
		for class, n := range b {
			if n > 0 {
				title := fmt.Sprintf("%s: %d %s", at.Format("2006-01-02 15:04"), n, classNames[class])
				p.Rects = append(p.Rects, rect{x + wide*0.1, y(below + n), wide * 0.8, y(below) - y(below+n), classNames[class], title})
			}
			below += n
		}
		if i%every == 0 && x < plotWidth-labelWidth {
			p.Labels = append(p.Labels, label{x + wide*0.1, p.Bottom + 18, at.Format(by.layout)})
		}
	}
	return p
}

// niceStep returns the distance of some five lines below n.
func niceStep(n int) int {
	for scale := 1; ; scale *= 10 {
		for _, s := range []int{1, 2, 5} {
			if s*scale*5 >= n {
				return s * scale
			}
		}
	}
}

// byRule draws how many requests were refused by which rule.
func (c *Collector) byRule() *plot {
	codes := slices.SortedFunc(maps.Keys(c.codes), func(a, b reset.Code) int {
		return cmp.Or(cmp.Compare(c.codes[b], c.codes[a]), cmp.Compare(a, b))
	})
	codes = slices.DeleteFunc(codes, func(code reset.Code) bool { return c.codes[code] == 0 || classOf(code) == applied })
	if len(codes) == 0 {
		return nil
	}
	p := &plot{Width: plotWidth, Height: len(codes)*barHeight + 4, Left: barLabel}
	for i, code := range codes {
		n, y := c.codes[code], float64(i*barHeight)
		w := max(2, float64(n)/float64(c.codes[codes[0]])*(plotWidth-barLabel-70))
		p.Rects = append(p.Rects, rect{barLabel, y + 3, w, barHeight - 6, classNames[classOf(code)], fmt.Sprintf("%s: %d", code, n)})
		p.Labels = append(p.Labels, label{barLabel - 8, y + barHeight*0.68, string(code)})
		p.Ticks = append(p.Ticks, label{barLabel + w + 8, y + barHeight*0.68, fmt.Sprint(n)})
	}
	return p
}
