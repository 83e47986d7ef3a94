package member

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// alliance is members with their keys, and the history that they found.
type alliance struct {
	t        *testing.T
	founders []*founder
	cards    []*statement.Signed[statement.Card]
	charter  *statement.Signed[statement.Charter]
	h        *History
}

func newAlliance(t *testing.T, n int, edit ...func(*statement.Charter)) *alliance {
	t.Helper()
	a := &alliance{t: t, founders: newFounders(t, n)}
	a.cards = cardsOf(t, a.founders)
	a.charter = charterOf(t, a.founders, a.cards, edit...)
	h, err := Found(a.charter, a.cards...)
	if err != nil {
		t.Fatal(err)
	}
	a.h = h
	return a
}

// next is founder i with the next card, changed by edit.
func (a *alliance) next(i int, edit ...func(*founder)) *statement.Signed[statement.Card] {
	a.t.Helper()
	f := a.founders[i]
	before := a.h.Cards(f.card.Member)
	last := before[len(before)-1]
	f.card.Version, f.card.Previous, f.card.Created = last.Terms.Version+1, last.Hash, last.Terms.Created.Add(time.Hour)
	f.card.Compromised = nil
	for _, e := range edit {
		e(f)
	}
	return f.sign(a.t)
}

// renew takes a card as a node would: opened, then added.
func (a *alliance) renew(card *statement.Signed[statement.Card]) {
	a.t.Helper()
	opened, err := a.h.OpenCard(card.Raw)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.h, err = a.h.Renew(opened); err != nil {
		a.t.Fatal(err)
	}
}

func fresh(t *testing.T, seed, name string) *statement.Key {
	t.Helper()
	return seeded(t, name, hash32(seed))
}

func TestRenew(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 2)
	before, alpha := a.h, a.founders[0]
	first := alpha.statement
	a.renew(a.next(0, func(f *founder) {
		f.statement, f.card.Address = fresh(t, "second", "alpha/statement"), "new.example:7443"
	}))
	m, _ := a.h.Member("alpha")
	if m.StatementKey != alpha.statement.Public || m.Address != "new.example:7443" || len(a.h.Cards("alpha")) != 2 || m.Card != a.h.Cards("alpha")[1].Hash {
		t.Errorf("the newest card has no effect: %+v", m)
	}
	if old, _ := before.Member("alpha"); old.StatementKey != first.Public || len(before.Cards("alpha")) != 1 {
		t.Error("a history changed after it was made")
	}
	renewed := founded.Add(time.Hour)
	for _, c := range []struct {
		key  *statement.Key
		now  time.Time
		want bool
	}{
		{first, renewed, true}, {first, renewed.Add(limit.KeyRetirement - time.Second), true}, {first, renewed.Add(limit.KeyRetirement), false},
		{alpha.statement, renewed.AddDate(5, 0, 0), true}, {newKey(t, "bravo/statement"), renewed, false},
	} {
		if got := a.h.Current("alpha", statement.KeyID(c.key.Public), c.now); got != c.want {
			t.Errorf("key %s at %s: current %v", c.key.Public, c.now, got)
		}
	}
	// What was signed with either key can be opened.
	for _, k := range []*statement.Key{first, alpha.statement} {
		if _, err := a.h.Verifiers("alpha").Verifier(k.Name(), k.KeyHash()); err != nil {
			t.Errorf("%s: %v", k.Public, err)
		}
	}
	if at, ok := a.h.CardAt("alpha", renewed.Add(-time.Second)); !ok || at.Hash != a.cards[0].Hash {
		t.Error("not the first card before the second")
	}
	if _, ok := a.h.CardAt("alpha", founded.Add(-time.Second)); ok {
		t.Error("a card before the first")
	}
	if again, err := a.h.Renew(a.h.Cards("alpha")[1]); err != nil || again != a.h {
		t.Errorf("the same card again: %v", err)
	}
}

func TestCompromised(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 2)
	stolen, since := a.founders[0].statement, founded.Add(-time.Hour)
	a.renew(a.next(0, func(f *founder) {
		f.statement = fresh(t, "second", "alpha/statement")
		f.card.Compromised = []statement.CompromisedKey{{Key: stolen.Public, Since: since}}
	}))
	id := statement.KeyID(stolen.Public)
	k, ok := a.h.Key("alpha", id)
	if !ok || !k.Compromised.Equal(since) || !k.Declared.Equal(founded.Add(time.Hour)) || k.Purpose != PurposeStatement {
		t.Errorf("key %+v", k)
	}
	if a.h.Current("alpha", id, founded) {
		t.Error("a compromised key is current")
	}
	if _, err := a.h.Verifiers().Verifier(stolen.Name(), stolen.KeyHash()); err == nil {
		t.Error("a compromised key opens statements")
	}
	if _, err := a.h.AllVerifiers("alpha").Verifier(stolen.Name(), stolen.KeyHash()); err != nil {
		t.Errorf("nobody can judge what was signed before: %v", err)
	}
	// A later card can tell of an earlier time, and cannot take it back.
	earlier, later := since.Add(-time.Hour), since.Add(time.Minute)
	for _, s := range []time.Time{later, earlier} {
		a.renew(a.next(0, func(f *founder) { f.card.Compromised = []statement.CompromisedKey{{Key: stolen.Public, Since: s}} }))
	}
	if k, _ := a.h.Key("alpha", id); !k.Compromised.Equal(earlier) {
		t.Errorf("compromised since %s", k.Compromised)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 2)
	a.renew(a.next(0, func(f *founder) { f.log, f.logMLDSA = fresh(t, "second log", "alpha/log/3"), "another" }))
	a.renew(a.next(0, func(f *founder) { f.witness = fresh(t, "second witness", "alpha/witness") }))
	logs, witness := a.h.Logs("alpha"), a.h.Witness("alpha")
	if len(logs) != 2 || logs[0].Origin != "alpha/log/1" || logs[1].Origin != "alpha/log/3" || logs[1].Vkey != a.founders[0].log.Public || logs[0].MLDSA == logs[1].MLDSA {
		t.Errorf("logs %v", logs)
	}
	if len(witness) != 2 || witness[1].Vkey != a.founders[0].witness.Public || witness[0].MLDSA != witness[1].MLDSA {
		t.Errorf("witness keys %v", witness)
	}
	if a.h.Logs("zulu") != nil || a.h.Keys("zulu") != nil || a.h.Cards("zulu") != nil {
		t.Error("a stranger has keys")
	}
}

// What a card may not do, whoever made it.
func TestRenewRefuses(t *testing.T) {
	t.Parallel()
	second := func(f *founder) { f.statement = fresh(t, "second", f.card.Member+"/statement") }
	for _, c := range []struct {
		name string
		edit func(a *alliance, f *founder)
		want string
		kind fault.Kind
	}{
		{"another recovery key", func(a *alliance, f *founder) { f.recovery = fresh(a.t, "other", "alpha/recovery") }, "another recovery key", fault.Invalid},
		{"a stranger", func(a *alliance, f *founder) {
			*f = *newFounder(a.t, "zulu")
			f.card.Version, f.card.Previous = 3, statement.HashBytes(nil)
		}, "is no member", fault.Invalid},
		{"a version left out", func(_ *alliance, f *founder) { f.card.Version++ }, "version 2 is known", fault.Transient},
		{"another second card", func(a *alliance, f *founder) { f.card.Version, f.card.Previous = 2, a.cards[0].Hash }, "another one than the one known", fault.Conflict},
		{"after another card", func(a *alliance, f *founder) { f.card.Previous = a.cards[1].Hash }, "follows another card", fault.Conflict},
		{"before the card before", func(_ *alliance, f *founder) { f.card.Created = founded }, "was created before", fault.Invalid},
		{"an old key again", func(a *alliance, f *founder) { f.statement = newKey(a.t, "alpha/statement") }, "had before and replaced", fault.Invalid},
		{"another's key", func(a *alliance, f *founder) { f.statement = relabel(a.t, "bravo/witness", "alpha/statement") }, `is also the witness key of "bravo"`, fault.Invalid},
		{"its own key for another purpose", func(a *alliance, f *founder) { f.witness = relabel(a.t, "alpha/statement", "alpha/witness") }, "for two purposes", fault.Invalid},
		{"another's post-quantum key", func(a *alliance, f *founder) { f.witnessMLDSA = a.founders[1].witnessMLDSA }, `is also the witness-mldsa key of "bravo"`, fault.Invalid},
		{"another's CA", func(a *alliance, f *founder) { f.card.CA += a.founders[1].card.CA }, `is also the CA key of "bravo"`, fault.Invalid},
		{"a new key for the same log", func(a *alliance, f *founder) { f.log = fresh(a.t, "log", "alpha/log/1") }, "new log keys", fault.Invalid},
		{"a new post-quantum key for the same log", func(_ *alliance, f *founder) { f.logMLDSA = "x" }, "new log keys", fault.Invalid},
		{"another sealing key for an epoch", func(_ *alliance, f *founder) {
			f.card.Sealing = []statement.SealingKey{{Epoch: 1, Recipient: "age1pq1x"}}
		}, "gives epoch 1 to another", fault.Invalid},
		{"a sealing key of another epoch", func(_ *alliance, f *founder) {
			f.card.Sealing = []statement.SealingKey{{Epoch: 2, Recipient: "age1pq1new"}, {Epoch: 1, Recipient: "age1pq1other"}}
		}, "gives epoch 1 to another", fault.Invalid},
		{"a key it never had", func(a *alliance, f *founder) {
			f.card.Compromised = []statement.CompromisedKey{{Key: fresh(a.t, "never", "alpha/statement").Public, Since: founded}}
		}, "which it never listed", fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAlliance(t, 2)
			a.renew(a.next(0, second))
			card := a.next(0, func(f *founder) { c.edit(a, f) })
			h, err := a.h.Renew(card)
			if h != nil || err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != c.kind {
				t.Errorf("%v (%v), want %s", err, fault.KindOf(err), c.want)
			}
		})
	}
	a := newAlliance(t, 2)
	if _, err := a.h.Renew(nil); err == nil {
		t.Error("no card at all was taken")
	}
	if _, err := a.h.OpenCard([]byte("entente.example/card/v1\n")); err == nil {
		t.Error("a card that nobody signed was opened")
	}
}

// Whoever has stolen every key of a member's home, and the recovery key is not there, can make no card; and a quorum of
// the others cannot either.
func TestNobodyElseRenews(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 3)
	f := a.founders[0]
	card := a.next(0, func(f *founder) { f.card.Address = "thief.example:7443" })
	text := strings.TrimSuffix(string(card.Text), "\n")
	raw := []byte(text + "\n\n")
	for _, k := range []*statement.Key{f.statement, f.log, f.witness} {
		var err error
		if raw, err = statement.AddSignature(raw, k); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.h.OpenCard(raw); err == nil || !strings.Contains(err.Error(), "must be signed by") {
		t.Errorf("a card without the recovery key: %v", err)
	}
	for _, k := range []*statement.Key{a.founders[1].statement, a.founders[2].statement} {
		var err error
		if raw, err = statement.AddSignature(raw, k); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.h.OpenCard(raw); err == nil {
		t.Error("a card that the others signed was opened")
	}
}

func TestRestoreCards(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 2)
	var raws [][]byte
	for _, c := range a.cards {
		raws = append(raws, c.Raw)
	}
	for i := range 3 {
		card := a.next(i%2, func(f *founder) { f.statement = fresh(t, fmt.Sprint("key ", i), f.card.Member+"/statement") })
		a.renew(card)
		raws = append(raws, card.Raw)
	}
	slices.Reverse(raws)
	h, err := Restore([][]byte{a.charter.Raw}, raws)
	if err != nil || len(h.Cards("alpha")) != 3 || h.Alliance() != a.h.Alliance() {
		t.Fatalf("%v, %v", h, err)
	}
	for name, err := range map[string]error{
		"no charter":      restored(nil, raws),
		"two charters":    restored([][]byte{a.charter.Raw, a.charter.Raw}, raws),
		"a card missing":  restored([][]byte{a.charter.Raw}, slices.Concat(raws[:2], raws[3:])),
		"a first missing": restored([][]byte{a.charter.Raw}, raws[:4]),
		"a stranger":      restored([][]byte{a.charter.Raw}, append(slices.Clone(raws), newFounder(t, "zulu").sign(t).Raw)),
		"something else":  restored([][]byte{a.charter.Raw, []byte("x\n")}, raws),
	} {
		if err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}

func restored(charters, cards [][]byte) error {
	_, err := Restore(charters, cards)
	return err
}
