package evidence

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/statement"
)

// Anybody can found an alliance with members of the same names. Naming the right charter does not make it the right one.
func TestForgedAlliance(t *testing.T) {
	t.Parallel()
	real, forged := newWorld(t, "alpha", "bravo", "charlie"), newWorld(t, "alpha", "bravo", "charlie", "mallory")
	b, err := Parse(forged.build(forged.tell(forged.usual())))
	must(t, err)
	b.Charter = real.h.Alliance()
	raw, err := b.Render()
	must(t, err)
	if v := Verify(raw, real.options()); v.Valid || !strings.Contains(v.Why, "not the one that it names") {
		t.Errorf("valid %v %s", v.Valid, v.Why)
	}
}

// Everything in a file serves a claim, and a leaf vouches only for the receipt that names it.
func TestNothingTooMuch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	b, err := Parse(w.build(w.tell(w.usual())))
	must(t, err)
	manifest, err := statement.HashOf(b.Manifest)
	must(t, err)
	again := func(who string, e statement.Event) Leaf {
		e.Time, e.Manifest, e.ID = at(5), manifest, w.usual().id
		return w.prove(who, w.record(who, e), word{"charlie", at(6)})
	}
	other := statement.HashBytes([]byte("another receipt"))
	received := again("bravo", statement.Event{Kind: statement.EventReceived, Peers: []string{"alpha"}})
	isReceived := func(l Leaf) bool { return bytes.Contains(l.Raw, []byte(`"received"`)) }
	for name, edit := range map[string]func(b *Bundle){
		"released twice": func(b *Bundle) {
			b.Leaves = append(b.Leaves, again("alpha", statement.Event{Kind: statement.EventReleased, Peers: []string{"bravo"}}))
		},
		"a leaf without its receipt": func(b *Bundle) { b.Receipts = b.Receipts[1:]; b.Claims = b.Claims[:3] },
		"a leaf at another place":    func(b *Bundle) { b.Leaves = append(slices.DeleteFunc(b.Leaves, isReceived), received) },
		"a leaf `received` too much": func(b *Bundle) { b.Leaves = append(b.Leaves, received) },
		"a leaf that names another receipt": func(b *Bundle) {
			b.Leaves = append(b.Leaves, again("alpha", statement.Event{Kind: statement.EventDelivered, Receipt: other, Peers: []string{"bravo"}}))
		},
		"a leaf of another's role": func(b *Bundle) {
			b.Leaves = append(b.Leaves, again("bravo", statement.Event{Kind: statement.EventReleased, Peers: []string{"bravo"}}))
		},
		"a leaf of a stranger": func(b *Bundle) {
			b.Leaves = append(b.Leaves, again("charlie", statement.Event{Kind: statement.EventReceived, Peers: []string{"alpha"}}))
		},
		"a leaf of a kind that proves nothing": func(b *Bundle) {
			b.Leaves = append(b.Leaves, again("bravo", statement.Event{Kind: statement.EventReopened, Peers: []string{"alpha"}}))
		},
	} {
		changed := *b
		changed.Leaves, changed.Receipts, changed.Claims = slices.Clone(b.Leaves), slices.Clone(b.Receipts), slices.Clone(b.Claims)
		edit(&changed)
		raw, err := changed.Render()
		must(t, err)
		if v := Verify(raw, w.options()); v.Valid {
			t.Errorf("%s: valid, and proves %s", name, claimsOf(v))
		}
	}
}

// TestOlderCharter has the sender name a charter in which it was still in good standing: the file says that it is not any more.
func TestOlderCharter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie", "delta")
	s := w.usual()
	s.witness = []string{"bravo", "charlie", "delta"}
	told := w.tell(s)
	notes := func() string {
		told.History = w.h
		_, v, err := told.Build(now)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(v.NotProved, "\n")
	}
	const says = "alpha is not in good standing"
	if got := notes(); strings.Contains(got, says) {
		t.Error(got)
	}
	w.amend(at(30), statement.Suspend, "alpha", "bravo", "charlie", "delta")
	if got := notes(); !strings.Contains(got, says) {
		t.Error(got)
	}
}

// Whoever names an old charter, of which fewer witnesses were a quorum, gains nothing once the newer one had been in force for long: nobody
// who did not know it would still have exchanged anything.
func TestOldCharterNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ago   int // days between the amendment and the exchange
		needs int
	}{{10, 1}, {58, 1}, {64, 2}, {300, 2}} {
		w := newWorld(t, "alpha", "bravo", "charlie", "delta")
		w.amend(at(-30), statement.Suspend, "delta", "alpha", "bravo", "charlie")
		s := w.usual()
		s.created = at(0).AddDate(2, 0, 0)
		told := w.tell(s)
		w.amend(s.created.AddDate(0, 0, -c.ago), statement.Reinstate, "delta", "alpha", "bravo", "charlie")
		told.History = w.h
		_, v, err := told.Build(s.created.AddDate(0, 0, 1))
		if err != nil {
			t.Fatal(err)
		}
		for _, claim := range v.Claims {
			for _, l := range claim.Leaves {
				if l.Needs != c.needs || l.Since.IsZero() != (c.needs > 1) {
					t.Errorf("%d days after the charter grew, %s needs %d witnesses, expected %d: %+v", c.ago, claim.Claim, l.Needs, c.needs, l)
				}
			}
		}
	}
}
