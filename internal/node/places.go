package node

import (
	"slices"
	"sync"
	"time"

	"entente.example/internal/limit"
)

// places counts the attempts under way with each peer, so that one that is slow or silent keeps none of the others waiting; nor do large
// documents keep small ones waiting, nor many small ones a large one. What finds no place stands in line for one.
type places struct {
	mu    sync.Mutex
	under map[place]int
	line  map[place][]fresh // at most limit.DueEach each
	short map[place]bool    // where more may be due than stands in line: dispatch will find it
	ahead time.Time         // when dispatch last looked for what a clock that was ahead has put off; only it touches this
}

type place struct {
	peer  string
	large bool
}

func (f fresh) place() place { return place{f.Peer, f.Large} }

// free tells whether there is a place. The caller holds mu.
func (p *places) free(at place) bool {
	return p.under[at] < limit.DeliveriesEach && p.under[at]+p.under[place{at.peer, !at.large}] < limit.Deliveries
}

// take takes a place. Without one it has f stand in line, if it does not already and the line is not full.
func (p *places) take(f fresh) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := f.place()
	if p.free(at) {
		p.under[at]++
		return true
	}
	stands := slices.IndexFunc(p.line[at], func(o fresh) bool { return o.Kind == f.Kind && o.Statement == f.Statement })
	switch {
	case stands >= 0 && f.document == nil:
	case stands >= 0:
		p.line[at][stands] = f
	case len(p.line[at]) < limit.DueEach:
		p.line[at] = append(p.line[at], f)
	default:
		p.short[at] = true
	}
	return false
}

// leave gives a place back, and takes one for what stands first in line for one with the same peer, what is small first. wanted tells that
// more may be due than stands in line.
func (p *places) leave(at place) (next fresh, ok, wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under[at]--
	for _, large := range []bool{false, true} {
		at := place{at.peer, large}
		if len(p.line[at]) > 0 && p.free(at) {
			next = p.line[at][0]
			p.line[at] = slices.Delete(p.line[at], 0, 1)
			p.under[at]++
			return next, true, wanted
		}
		wanted = wanted || p.short[at]
	}
	return next, false, wanted
}

// wanted tells whether more may be due than stands in line for such a place.
func (p *places) wanted(at place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.short[at]
}

// anew sends away whoever stands in line, and notes where more may be due.
func (p *places) anew(short map[place]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line, p.short = map[place][]fresh{}, short
}
