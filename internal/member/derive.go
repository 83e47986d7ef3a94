package member

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"entente.example/internal/statement"
)

// state is who is a member in which standing, as of one version.
type state struct {
	hash    statement.Hash // of the charter or amendment
	version int64
	created time.Time
	places  []place // sorted by name
}

// place is one member's part of a state.
type place struct {
	name, standing string
	card           statement.Hash // its first card, which names its chain
}

func (s *state) place(name string) (place, bool) {
	i, ok := slices.BinarySearchFunc(s.places, name, func(p place, name string) int { return strings.Compare(p.name, name) })
	if !ok {
		return place{}, false
	}
	return s.places[i], true
}

func (s *state) standing(name string) string {
	p, _ := s.place(name)
	return p.standing
}

func (s *state) good(name string) bool { return s.standing(name) == statement.GoodStanding }

// count is how many members are in good standing, those that are left out not counted.
func (s *state) count(leaveOut []string) int {
	n := 0
	for _, p := range s.places {
		if p.standing == statement.GoodStanding && !slices.Contains(leaveOut, p.name) {
			n++
		}
	}
	return n
}

// with gives the state with one standing changed. Hash, version and time stay.
func (s *state) with(name, standing string) *state {
	next := *s
	next.places = slices.Clone(s.places)
	for i := range next.places {
		if next.places[i].name == name {
			next.places[i].standing = standing
		}
	}
	return &next
}

// step is an amendment that was judged valid, and what it leads to.
type step struct {
	amendment *statement.Signed[statement.Amendment]
	after     *state
	out       []string // whom a settlement suspends
}

// derive finds out what follows from the texts: the newest version, the standing as of every version, forks.
func (h *History) derive() error {
	root := &state{hash: h.founding.Hash, version: 1, created: h.founding.Terms.Created}
	for _, m := range h.founding.Terms.Members {
		root.places = append(root.places, place{m.Name, m.Standing, m.Card})
	}
	h.states = map[statement.Hash]*state{root.hash: root}
	d := &derivation{h: h, after: map[statement.Hash][]*statement.Signed[statement.Amendment]{}, left: map[string]bool{}}
	for _, a := range h.amendments {
		d.after[a.Terms.Previous] = append(d.after[a.Terms.Previous], a)
	}
	for _, list := range d.after {
		slices.SortFunc(list, func(a, b *statement.Signed[statement.Amendment]) int { return slices.Compare(a.Hash[:], b.Hash[:]) })
	}
	h.newest, h.fork = d.walk(root)
	// Who has said farewell is gone, also if its amendment lost to another of the same version.
	for name := range d.left {
		h.newest = h.newest.with(name, statement.Left)
	}
	h.members, h.keys = nil, map[string][]Key{}
	for _, p := range h.newest.places {
		chain := h.chains[p.card]
		m, err := describe(p.name, p.standing, chain[len(chain)-1])
		if err != nil {
			return err
		}
		h.members, h.keys[p.name] = append(h.members, m), h.rings[p.card]
	}
	return nil
}

// derivation is derive under way.
type derivation struct {
	h     *History
	after map[statement.Hash][]*statement.Signed[statement.Amendment] // successors by the version they follow
	left  map[string]bool                                             // members that said farewell
}

// walk goes from a version to the newest one after it, or to the first open fork. It notes the state as of every version on
// the way, those that were discarded among them.
func (d *derivation) walk(s *state) (*state, *Fork) {
	for {
		layer, aside := d.successors(s)
		discarded := aside
		for len(layer) > 1 {
			settled := d.settlements(s, layer)
			if len(settled) == 0 {
				return d.open(s, layer, discarded)
			}
			discarded, layer = append(discarded, layer...), settled
		}
		for _, lost := range discarded {
			d.walk(lost.after)
		}
		if len(layer) == 0 {
			return s, nil
		}
		s = layer[0].after
	}
}

// successors gives the valid successors of a version, settlements apart. A farewell is signed by one member alone, so it must
// not be able to fork what a quorum decided: it gives way to every other successor, unless a quorum went on from it.
func (d *derivation) successors(s *state) (layer, aside []step) {
	for _, a := range d.after[s.hash] {
		if a.Terms.Change == statement.Settle || d.h.judge(s, a) != nil {
			continue
		}
		one := step{amendment: a, after: apply(s, a, nil)}
		d.h.states[a.Hash] = one.after
		if a.Terms.Change == statement.Leave {
			d.left[a.Terms.Member] = true
			if !d.decided(one.after) {
				aside = append(aside, one)
				continue
			}
		}
		layer = append(layer, one)
	}
	if len(layer) == 0 && len(aside) > 0 {
		return aside[:1], aside[1:]
	}
	return layer, aside
}

// decided tells whether anything that a quorum signed follows a version.
func (d *derivation) decided(s *state) bool {
	return slices.ContainsFunc(d.after[s.hash], func(a *statement.Signed[statement.Amendment]) bool {
		if d.h.judge(s, a) != nil {
			return false
		}
		// A settlement needs forks, so beside it there is another successor that a quorum signed.
		return a.Terms.Change != statement.Settle && (a.Terms.Change != statement.Leave || d.decided(apply(s, a, nil)))
	})
}

// settlements gives the valid amendments that settle two of the successors in layer. Several are a fork again.
func (d *derivation) settlements(s *state, layer []step) []step {
	var list []step
	for _, a := range d.after[s.hash] {
		t := a.Terms
		if t.Change != statement.Settle || d.h.judge(s, a) != nil {
			continue
		}
		i, j := find(layer, t.Forks[0]), find(layer, t.Forks[1])
		if i < 0 || j < 0 || t.Version <= max(layer[i].after.version, layer[j].after.version) {
			continue
		}
		out := union(layer[i].out, layer[j].out, both(layer[i], layer[j]))
		if slices.ContainsFunc(t.SignedBy, func(m string) bool { return slices.Contains(out, m) }) {
			continue
		}
		// Who signed twice has no say. But nobody decides alone.
		if n := len(t.SignedBy); n < 2 || 2*n <= s.count(out) {
			continue
		}
		one := step{amendment: a, after: apply(s, a, out), out: out}
		d.h.states[a.Hash] = one.after
		list = append(list, one)
	}
	return list
}

// open is the state while a fork is open: as before it, and in good standing is only who is so on all its branches and
// signed no two of them.
func (d *derivation) open(s *state, layer, discarded []step) (*state, *Fork) {
	fork := &Fork{Of: s.hash, Hashes: [2]statement.Hash{layer[0].amendment.Hash, layer[1].amendment.Hash}}
	end := s
	for i, one := range layer {
		for _, other := range layer[:i] {
			fork.Concerned = union(fork.Concerned, both(one, other), one.out, other.out)
		}
	}
	for _, one := range append(slices.Clone(layer), discarded...) {
		branch, _ := d.walk(one.after)
		for _, p := range end.places {
			if p.standing == statement.GoodStanding && !branch.good(p.name) {
				end = end.with(p.name, InDoubt)
			}
		}
	}
	for _, name := range fork.Concerned {
		if end.good(name) {
			end = end.with(name, InDoubt)
		}
	}
	return end, fork
}

// apply gives the state after an amendment that was judged valid. out is whom a settlement suspends.
func apply(s *state, a *statement.Signed[statement.Amendment], out []string) *state {
	t := a.Terms
	next := *s
	switch t.Change {
	case statement.Suspend:
		next = *s.with(t.Member, statement.Suspended)
	case statement.Reinstate:
		next = *s.with(t.Member, statement.GoodStanding)
	case statement.Leave:
		next = *s.with(t.Member, statement.Left)
	case statement.Admit:
		next.places = append(slices.Clip(s.places), place{t.Member, statement.GoodStanding, t.Card})
		slices.SortFunc(next.places, func(a, b place) int { return cmp.Compare(a.name, b.name) })
	case statement.Settle:
		for _, name := range out {
			if next.good(name) {
				next = *next.with(name, statement.Suspended)
			}
		}
	}
	next.hash, next.version, next.created = a.Hash, t.Version, t.Created
	return &next
}

func find(layer []step, h statement.Hash) int {
	return slices.IndexFunc(layer, func(s step) bool { return s.amendment.Hash == h })
}

// both gives who signed two amendments, sorted.
func both(a, b step) []string {
	var list []string
	for _, name := range a.amendment.Terms.SignedBy {
		if slices.Contains(b.amendment.Terms.SignedBy, name) {
			list = append(list, name)
		}
	}
	return list
}

// union gives the names in any of the lists, sorted without repetition.
func union(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}
