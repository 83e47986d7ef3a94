package evidence

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"entente.example/internal/checkpoint"
	"entente.example/internal/statement"
)

// kinds makes one bundle of every kind but an exchange: a log that was rolled back, one leaf with an opened field, a reconciliation.
func kinds(w *world) map[Kind][]byte {
	w.t.Helper()
	w.tell(w.usual())
	fork, err := checkpoint.NewFork(w.checkpoint("alpha", 3, at(10)), w.checkpoint("alpha", 2, at(20)))
	must(w.t, err)
	out := map[Kind][]byte{}
	out[KindFork], _, err = ForkProof(w.h, fork.Format(), now)
	must(w.t, err)

	var opened []statement.Committed
	for _, c := range w.all["alpha"].private[1] {
		if c.Field == "person" {
			opened = append(opened, c)
		}
	}
	out[KindDisclosure], _, err = Disclosure(w.h, w.prove("alpha", 1, word{"charlie", at(5)}), opened, now)
	must(w.t, err)

	r, err := Reconcile(Period{Alliance: w.h.Alliance(), Since: at(-10), Until: at(100), Created: at(200)},
		w.book("alpha", "bravo"), w.book("bravo", "alpha"))
	must(w.t, err)
	signed, err := statement.Sign(r, w.all["alpha"].statement, w.all["bravo"].statement)
	must(w.t, err)
	index := w.record("alpha", statement.Event{Kind: statement.EventReconciled, Time: at(200), Statement: signed.Hash, Peers: []string{"bravo"}})
	out[KindReconciliation], _, err = Reconciliation(w.h, signed.Raw, []Leaf{w.prove("alpha", index, word{"charlie", at(201)})}, now)
	must(w.t, err)
	return out
}

// book is what a member hands in to a reconciliation.
func (w *world) book(name, other string) Book {
	w.t.Helper()
	p := w.all[name]
	_, tree, err := checkpoint.Head(w.checkpoint(name, int64(len(p.leaves)), at(150)))
	must(w.t, err)
	b := Book{Member: name, Log: p.log.Name(), Size: tree.N, Root: statement.Hash(tree.Hash)}
	for i, raw := range p.leaves {
		e, err := ParseEntry(int64(i), raw)
		must(w.t, err)
		if e.Concerns(other) {
			b.Entries = append(b.Entries, e)
		}
	}
	return b
}

func TestKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	all := kinds(w)
	for kind, want := range map[Kind]struct {
		claims string
		says   []string
	}{
		KindFork:           {"fork", []string{"it was rolled back", "Who did it"}},
		KindDisclosure:     {"leaf private/person", []string{"spiffe://alpha/person/alice", "What the private field salt says: it is not opened", "witnessed since"}},
		KindReconciliation: {"reconciliation", []string{"of 3 leaves of alpha 3 matched", "not the logs", "witnessed since"}},
	} {
		v := Verify(all[kind], w.options())
		if !v.Valid || v.Kind != kind || claimsOf(v) != want.claims {
			t.Fatalf("%s: %v %q %s", kind, v.Valid, claimsOf(v), v.Why)
		}
		for _, says := range want.says {
			if !strings.Contains(v.Text(), says) {
				t.Errorf("%s does not say %q:\n%s", kind, says, v.Text())
			}
		}
		o := w.options()
		o.Document, o.Name, o.MediaType = strings.NewReader(document), documentName, documentType
		if v := Verify(all[kind], o); v.Valid {
			t.Errorf("%s proves something about a document", kind)
		}
	}
}

// Since when a reconciliation is signed, only somebody else than the two can tell a stranger; without their leaves nobody can.
func TestReconciliationWitnessed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	b, err := Parse(kinds(w)[KindReconciliation])
	must(t, err)
	index := b.Leaves[0].Index
	for name, c := range map[string]struct {
		leaves []Leaf
		not    string
		dated  bool
	}{
		"a party":       {[]Leaf{w.prove("alpha", index, word{"bravo", at(201)})}, "only a party witnessed this", true},
		"somebody else": {[]Leaf{w.prove("alpha", index, word{"charlie", at(201)})}, "", true},
		"no quorum":     {[]Leaf{w.prove("alpha", index)}, "no quorum of witnesses has co-signed", false},
		"no leaf":       {nil, "no quorum of witnesses has co-signed", false},
	} {
		_, v, err := Reconciliation(w.h, b.Reconciliation, c.leaves, now)
		must(t, err)
		when := slices.IndexFunc(v.NotProved, func(s string) bool { return strings.HasPrefix(s, "When it was signed") })
		if !v.Valid || v.Claims[0].Since.IsZero() == c.dated || (when >= 0) != (c.not != "") || when >= 0 && !strings.Contains(v.NotProved[when], c.not) {
			t.Errorf("%s: valid %v, since %v, not proved %q", name, v.Valid, v.Claims[0].Since, v.NotProved)
		}
	}
}

// Every 7th byte changed, every part left out, doubled, or taken from a bundle of another kind.
func TestKindsTampered(t *testing.T) {
	w := newWorld(t, "alpha", "bravo", "charlie")
	all := kinds(w)
	remember(t)
	for kind, raw := range all {
		never := func(what string, changed []byte) {
			if v := Verify(changed, w.options()); v.Valid && !bytes.Equal(changed, raw) {
				t.Errorf("%s, %s: valid", kind, what)
			}
		}
		const step = 7
		each(len(raw)/step, func(n int) {
			changed := bytes.Clone(raw)
			changed[n*step] ^= byte(1 + n%255)
			never("a byte changed", changed)
		})
		files := txtar.Parse(raw).Files
		for i, f := range files {
			format := func(list []txtar.File) []byte { return txtar.Format(&txtar.Archive{Files: list}) }
			never(f.Name+" left out", format(slices.Delete(slices.Clone(files), i, i+1)))
			never(f.Name+" twice", format(slices.Insert(slices.Clone(files), i, f)))
			for _, other := range all {
				for _, g := range txtar.Parse(other).Files {
					swapped := slices.Clone(files)
					swapped[i] = g
					never(f.Name+" replaced by "+g.Name, format(swapped))
					never(g.Name+" added", format(slices.Insert(slices.Clone(files), i, g)))
				}
			}
		}
	}
}

// Nobody is blamed with a key that others may have had.
func TestForkByThief(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	w.tell(w.usual())
	fork, err := checkpoint.NewFork(w.checkpoint("alpha", 3, at(10)), w.checkpoint("alpha", 2, at(20)))
	must(t, err)
	w.renew("alpha", at(24*60), func(p *party) {
		p.card.Compromised = []statement.CompromisedKey{{Key: p.log.Public, Since: at(15)}}
		newLog(p)
	})
	if _, _, err := ForkProof(w.h, fork.Format(), now); err == nil || !strings.Contains(err.Error(), "compromised") {
		t.Errorf("%v", err)
	}
	honest, err := checkpoint.NewFork(w.checkpoint("bravo", 2, at(10)), w.checkpoint("bravo", 3, at(20)))
	must(t, err)
	if _, _, err := ForkProof(w.h, honest.Format(), now); err == nil {
		t.Error("two checkpoints that agree are a fork")
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f, "alpha", "bravo", "charlie")
	s := w.usual()
	s.content, s.prose = true, "-- manifest --\n"
	f.Add(w.build(w.tell(s)))
	for _, raw := range kinds(newWorld(f, "alpha", "bravo", "charlie")) {
		f.Add(raw)
	}
	f.Add([]byte("-- evidence --\n" + headLine + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Parse(raw)
		v := Verify(raw, w.options())
		if err != nil && v.Valid {
			t.Error("valid, and not even read")
		}
		if v.Valid && (len(v.Claims) == 0 || v.Why != "") || !v.Valid && (v.Claims != nil || v.Why == "") {
			t.Errorf("neither valid nor not: %+v", v)
		}
		if strings.Contains(v.Why, "the verifier itself failed") {
			t.Error("it panicked")
		}
		if err != nil {
			return
		}
		again, err := b.Render()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("read and written it is another: %v", err)
		}
	})
}
