package report

import (
	"fmt"
	"time"
)

// chart is the timeline as a picture, its coordinates in the units of the SVG's viewBox. Bars differ in their pattern and not
// only in colour, because reports are printed in black.
type chart struct {
	Width, Height       int
	Left, Right, Bottom float64 // of the plot
	Unit                string  // day, week, month or quarter: what a group of bars stands for
	Bars                []bar
	Ticks               []tick // on the y axis
	Marks               []mark // on the x axis
}

type bar struct {
	Class      string // released, received or exceptions
	X, Y, W, H float64
	Title      string
}

type tick struct {
	Y     float64
	Value int64
}

type mark struct {
	X     float64
	Label string
}

// The geometry of the picture. The height leaves room for one line of labels below and half a line above.
const (
	chartWidth, chartHeight         = 720, 210
	plotLeft, plotRight             = 40, 714
	plotTop, plotBottom     float64 = 10, 184
	mostMarks                       = 9  // labels on the x axis, each about 60 units wide
	mostBins                        = 62 // beyond that bars are thinner than a pen
)

// bin is the days that one group of bars stands for.
type bin struct {
	label string
	day   Day // the sums; Date is the first day in the period
}

// steps are the ways to bin, from the finest: how a day's bin is called.
var steps = []struct {
	unit  string
	label func(time.Time) string
}{
	{"day", func(t time.Time) string { return t.Format(time.DateOnly) }},
	{"week", func(t time.Time) string {
		monday := t.AddDate(0, 0, -(int(t.Weekday())+6)%7)
		return monday.Format(time.DateOnly)
	}},
	{"month", func(t time.Time) string { return t.Format("2006-01") }},
	{"quarter", func(t time.Time) string { return fmt.Sprintf("%d-Q%d", t.Year(), (int(t.Month())+2)/3) }},
}

// bins sums days up in the finest steps that fit into the picture.
func bins(days []Day) (list []bin, unit string) {
	for _, s := range steps {
		list, unit = binned(days, s.label), s.unit
		if len(list) <= mostBins {
			break
		}
	}
	return list, unit
}

func binned(days []Day, label func(time.Time) string) (list []bin) {
	for _, d := range days {
		t, err := time.Parse(time.DateOnly, d.Date)
		if err != nil {
			continue // Maker writes no other
		}
		name := label(t)
		if len(list) == 0 || list[len(list)-1].label != name {
			list = append(list, bin{name, Day{Date: d.Date}})
		}
		sum := &list[len(list)-1].day
		sum.Released += d.Released
		sum.Received += d.Received
		sum.Exceptions += d.Exceptions
	}
	return list
}

// draw lays the timeline out, or gives nil if nothing happened on any day.
func draw(days []Day) *chart {
	list, unit := bins(days)
	var most int64
	for _, b := range list {
		most = max(most, b.day.Released, b.day.Received, b.day.Exceptions)
	}
	if most == 0 {
		return nil
	}
	step := tickStep(most)
	top := (most + step - 1) / step * step
	height := func(n int64) float64 { return round((plotBottom - plotTop) * float64(n) / float64(top)) }
	c := &chart{Width: chartWidth, Height: chartHeight, Left: plotLeft, Right: plotRight, Bottom: plotBottom, Unit: unit}
	for v := int64(0); v <= top; v += step {
		c.Ticks = append(c.Ticks, tick{round(plotBottom - height(v)), v})
	}
	group := float64(plotRight-plotLeft) / float64(len(list))
	width := min(group*0.8/3, 18)
	every := (len(list) + mostMarks - 1) / mostMarks
	for i, b := range list {
		middle := plotLeft + group*(float64(i)+0.5)
		if i%every == 0 {
			c.Marks = append(c.Marks, mark{round(middle), b.label})
		}
		for j, s := range []struct {
			class string
			n     int64
		}{{"released", b.day.Released}, {"received", b.day.Received}, {"exceptions", b.day.Exceptions}} {
			if s.n > 0 {
				h := height(s.n)
				c.Bars = append(c.Bars, bar{s.class, round(middle + (float64(j)-1.5)*width), round(plotBottom - h), round(width), h, fmt.Sprintf("%s %s: %d %s", unit, b.label, s.n, s.class)})
			}
		}
	}
	return c
}

// tickStep is 1, 2 or 5 times a power of ten, so that there are at most five steps.
func tickStep(most int64) int64 {
	for power := int64(1); ; power *= 10 {
		for _, f := range []int64{1, 2, 5} {
			if f*power*5 >= most {
				return f * power
			}
		}
	}
}

// round keeps a tenth of a unit, which is less than any printer shows.
func round(f float64) float64 { return float64(int64(f*10+0.5)) / 10 }
