package member

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// forked makes two successors of the founding charter, with these signers.
func (a *alliance) forked(one, other []string) (*statement.Signed[statement.Amendment], *statement.Signed[statement.Amendment]) {
	a.t.Helper()
	last := a.founders[len(a.founders)-1].card.Member
	x := a.amendment(a.charter.Hash, statement.Suspend, last, one)
	y := a.amendment(a.charter.Hash, statement.Suspend, last, other, later(time.Second))
	return x, y
}

// Two successors of one version are found in alliances of every size; those who signed both are out until the others, with
// more than half of their number and never one alone, settle it.
func TestForks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n          int
		one, other string // who signs which, by first letters
		concerned  string
		settle     string // who can settle it
		tooFew     string // who cannot
	}{
		{2, "ab", "ab", "ab", "", "a"},
		{3, "ab", "bc", "b", "ac", "a"},
		{3, "ab", "ab", "ab", "", "c"},
		{4, "abc", "bcd", "bc", "ad", "a"},
		{4, "abcd", "abc", "abc", "", "d"},
		{5, "abc", "cde", "c", "abd", "ab"},
		{5, "abc", "bcd", "bc", "ade", "a"},
		{5, "abcd", "abcd", "abcd", "", "e"},
	} {
		t.Run(fmt.Sprint(c.n, " members, ", c.one, " and ", c.other), func(t *testing.T) {
			t.Parallel()
			a := newAlliance(t, c.n)
			x, y := a.forked(byLetter(c.one), byLetter(c.other))
			a.amend(x)
			if a.h.Fork() != nil {
				t.Fatal("one successor is a fork")
			}
			a.amend(y)
			f := a.h.Fork()
			if f == nil || f.Of != a.charter.Hash || !slices.Equal(f.Concerned, byLetter(c.concerned)) || a.h.Newest() != a.charter.Hash || a.h.Version() != 1 {
				t.Fatalf("fork %v", f)
			}
			for _, m := range a.h.Members() {
				out := slices.Contains(f.Concerned, m.Name) || m.Name == names[c.n-1] // who is suspended on both branches
				if a.h.InGoodStanding(m.Name) == out {
					t.Errorf("%s is %s", m.Name, m.Standing)
				}
			}
			if !a.h.Knows(x.Hash) || !a.h.Knows(y.Hash) || a.h.StandingAt(x.Hash, names[c.n-1]) != statement.Suspended {
				t.Error("a branch is not known")
			}
			if _, err := take(a.h, a.settlement(a.charter.Hash, x, y, byLetter(c.tooFew)...)); err == nil {
				t.Errorf("%s settled it", c.tooFew)
			}
			if _, err := take(a.h, a.settlement(a.charter.Hash, x, y, byLetter(c.one)...)); err == nil {
				t.Errorf("double signers settled it")
			}
			if c.settle == "" {
				return
			}
			s := a.settlement(a.charter.Hash, x, y, byLetter(c.settle)...)
			a.amend(s)
			if a.h.Fork() != nil || a.h.Newest() != s.Hash || a.h.Version() != 3 {
				t.Errorf("after the settlement: version %d, fork %v", a.h.Version(), a.h.Fork())
			}
			for _, m := range a.h.Members() {
				if a.h.InGoodStanding(m.Name) == slices.Contains(f.Concerned, m.Name) {
					t.Errorf("%s is %s", m.Name, m.Standing)
				}
			}
			a.amend(a.amendment(s.Hash, statement.Reinstate, f.Concerned[0], byLetter(c.settle)))
		})
	}
}

func byLetter(letters string) []string {
	var list []string
	for _, l := range letters {
		i := slices.IndexFunc(names, func(n string) bool { return rune(n[0]) == l })
		list = append(list, names[i])
	}
	return list
}

// In whichever order the texts arrive, the history is the same.
func TestOrderOfArrival(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 5)
	x, y := a.forked(byLetter("abc"), byLetter("cde"))
	onX, err := take(a.h, x)
	if err != nil {
		t.Fatal(err)
	}
	b := *a
	b.h = onX
	deeper := b.amendment(x.Hash, statement.Suspend, "delta", byLetter("abc"))
	farewell := a.amendment(a.charter.Hash, statement.Leave, "bravo", []string{"bravo"})
	farewellToo := a.amendment(a.charter.Hash, statement.Leave, "bravo", []string{"bravo"}, later(time.Minute))
	s := a.settlement(a.charter.Hash, x, y, byLetter("abd")...)
	sToo := a.settlement(a.charter.Hash, x, y, byLetter("abe")...)
	ss := a.settlement(a.charter.Hash, s, sToo, byLetter("de")...)
	third := a.amendment(a.charter.Hash, statement.Suspend, "alpha", byLetter("bcd"))
	// The same newcomer on two branches, and what follows on one of them.
	zulu := newFounder(t, "zulu")
	card := zulu.sign(t)
	admitted := a.amendment(a.charter.Hash, statement.Admit, "zulu", []string{"alpha", "bravo", "charlie", "zulu"}, admission(card))
	zuluToo := a.amendment(a.charter.Hash, statement.Admit, "zulu", []string{"charlie", "delta", "echo", "zulu"}, admission(card))
	onZulu := a.amendment(admitted.Hash, statement.Suspend, "delta", []string{"alpha", "bravo", "charlie", "zulu"}, func(t *statement.Amendment) { t.Version = 3 })
	for _, texts := range [][]*statement.Signed[statement.Amendment]{
		{x, y}, {x, y, deeper}, {x, y, third}, {x, farewell}, {farewell, farewellToo}, {x, y, farewell}, {x, y, s}, {x, y, deeper, s, farewell},
		{x, y, third, s}, {x, y, s, sToo}, {x, y, s, sToo, ss},
		{admitted, zuluToo, onZulu},
	} {
		var want string
		for round := range 20 {
			order := slices.Clone(texts)
			if round > 0 {
				rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			}
			got := inOrder(t, a.h, order, card)
			if round == 0 {
				want = got
			}
			if got != want {
				t.Errorf("%d texts in another order:\n%s\nwant:\n%s", len(texts), got, want)
			}
		}
	}
}

// inOrder takes texts as they come; what comes before its time comes again.
func inOrder(t *testing.T, h *History, order []*statement.Signed[statement.Amendment], cards ...*statement.Signed[statement.Card]) string {
	t.Helper()
	for round := 0; len(order) > 0; round++ {
		if round > len(order)+10 {
			t.Fatal("some texts find no place")
		}
		var again []*statement.Signed[statement.Amendment]
		for _, s := range order {
			next, err := take(h, s, cards...)
			if fault.KindOf(err) == fault.Transient {
				again = append(again, s)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			h = next
		}
		order = again
	}
	said := fmt.Sprintln(h.Version(), h.Newest().Short(), h.Fork())
	for _, m := range h.Members() {
		said += m.Name + " " + m.Standing + "\n"
	}
	return said
}

// A farewell is signed by one member alone. Whatever it signs, it undoes nothing that a quorum decided.
func TestFarewellForksNothing(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 4)
	suspended := a.amendment(a.h.Newest(), statement.Suspend, "delta", names[:3])
	a.amend(suspended)
	a.amend(a.amendment(a.charter.Hash, statement.Leave, "delta", []string{"delta"}))
	if a.h.Newest() != suspended.Hash || a.h.Fork() != nil {
		t.Error("a suspended member undid its suspension with a farewell")
	}
	if m, _ := a.h.Member("delta"); m.Standing != statement.Left {
		t.Errorf("delta said farewell and is %s", m.Standing)
	}
	// The others may have gone on from one of many farewells; the rest of them changes nothing.
	b := newAlliance(t, 4)
	var farewells []*statement.Signed[statement.Amendment]
	for i := range limit.Leaves {
		farewells = append(farewells, b.amendment(b.charter.Hash, statement.Leave, "delta", []string{"delta"}, later(time.Duration(i)*time.Second)))
	}
	b.amend(farewells[3])
	on := b.amendment(farewells[3].Hash, statement.Suspend, "charlie", names[:2])
	b.amend(on)
	for _, f := range farewells {
		b.amend(f)
	}
	if b.h.Newest() != on.Hash || b.h.Version() != 3 || b.h.Fork() != nil {
		t.Errorf("version %d, fork %v", b.h.Version(), b.h.Fork())
	}
	if _, err := take(b.h, b.amendment(b.charter.Hash, statement.Leave, "delta", []string{"delta"}, later(time.Hour))); err == nil {
		t.Error("a member fills memory with farewells")
	}
	// It does not come back under its name.
	c := newAlliance(t, 3)
	c.amend(c.amendment(c.charter.Hash, statement.Leave, "charlie", []string{"charlie"}))
	if _, err := take(c.h, c.amendment(c.h.Newest(), statement.Reinstate, "charlie", names[:2])); err == nil {
		t.Error("who left was reinstated")
	}
	if _, err := take(c.h, c.amendment(c.h.Newest(), statement.Suspend, "charlie", names[:2])); err == nil {
		t.Error("who left was suspended")
	}
}
