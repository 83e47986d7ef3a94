package member

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// key is the newest statement key of a member by that name, or of a newcomer.
func (a *alliance) key(name string) *statement.Key {
	for _, f := range a.founders {
		if f.card.Member == name {
			return f.statement
		}
	}
	return newKey(a.t, name+"/statement")
}

// amendment is a change that follows a version, signed by these members; edit comes before the signatures. Amendments of
// one alliance differ in what they say only, so give two of one change different texts with edit.
func (a *alliance) amendment(after statement.Hash, change statement.Change, concerned string, signers []string, edit ...func(*statement.Amendment)) *statement.Signed[statement.Amendment] {
	a.t.Helper()
	version, ok := a.h.VersionOf(after)
	if !ok {
		version = 1
	}
	t := statement.Amendment{Alliance: a.charter.Hash, Version: version + 1, Previous: after, Created: founded.Add(time.Duration(version) * time.Hour),
		AdoptBy: founded.AddDate(0, 1, 0), Change: change, Member: concerned, SignedBy: slices.Sorted(slices.Values(signers))}
	for _, e := range edit {
		e(&t)
	}
	keys := make([]*statement.Key, len(signers))
	for i, name := range signers {
		keys[i] = a.key(name)
	}
	s, err := statement.Sign(t, keys...)
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// settlement names two forks of a version.
func (a *alliance) settlement(of statement.Hash, one, other *statement.Signed[statement.Amendment], signers ...string) *statement.Signed[statement.Amendment] {
	a.t.Helper()
	forks := []statement.Hash{one.Hash, other.Hash}
	slices.SortFunc(forks, func(x, y statement.Hash) int { return slices.Compare(x[:], y[:]) })
	return a.amendment(of, statement.Settle, "", signers, func(t *statement.Amendment) {
		t.Forks, t.Version = forks, max(one.Terms.Version, other.Terms.Version)+1
	})
}

// later makes another text of the same change.
func later(d time.Duration) func(*statement.Amendment) {
	return func(t *statement.Amendment) { t.Created = t.Created.Add(d) }
}

// take is what a node does: open, then amend.
func take(h *History, s *statement.Signed[statement.Amendment], cards ...*statement.Signed[statement.Card]) (*History, error) {
	opened, err := h.OpenAmendment(s.Raw)
	if err != nil {
		return nil, err
	}
	return h.Amend(opened, cards...)
}

func (a *alliance) amend(s *statement.Signed[statement.Amendment], cards ...*statement.Signed[statement.Card]) {
	a.t.Helper()
	h, err := take(a.h, s, cards...)
	if err != nil {
		a.t.Fatal(err)
	}
	a.h = h
}

func TestAmend(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 3)
	before := a.h
	suspended := a.amendment(a.h.Newest(), statement.Suspend, "charlie", []string{"alpha", "bravo"})
	a.amend(suspended)
	if a.h.InGoodStanding("charlie") || !a.h.InGoodStanding("alpha") || a.h.Version() != 2 || a.h.Newest() != suspended.Hash || a.h.Fork() != nil {
		t.Errorf("version %d, fork %v", a.h.Version(), a.h.Fork())
	}
	if !before.InGoodStanding("charlie") || before.Version() != 1 {
		t.Error("a history changed after it was made")
	}
	if m, ok := a.h.Member("charlie"); !ok || m.Standing != statement.Suspended {
		t.Errorf("charlie is %+v", m)
	}
	a.amend(a.amendment(a.h.Newest(), statement.Reinstate, "charlie", []string{"alpha", "bravo"}))
	if !a.h.InGoodStanding("charlie") {
		t.Error("charlie was reinstated")
	}
	delta := newFounder(t, "delta").sign(t)
	a.amend(a.amendment(a.h.Newest(), statement.Admit, "delta", []string{"alpha", "bravo", "delta"}, admission(delta)), delta)
	if m, ok := a.h.Member("delta"); !ok || !a.h.InGoodStanding("delta") || m.Address != "delta.example:7443" || len(a.h.Members()) != 4 {
		t.Errorf("delta is %+v", m)
	}
	a.amend(a.amendment(a.h.Newest(), statement.Leave, "alpha", []string{"alpha"}))
	if a.h.InGoodStanding("alpha") || a.h.Version() != 5 {
		t.Error("alpha has left")
	}
	for hash, want := range map[statement.Hash][3]string{
		a.charter.Hash: {statement.GoodStanding, statement.GoodStanding, ""}, suspended.Hash: {statement.GoodStanding, statement.Suspended, ""},
		a.h.Newest(): {statement.Left, statement.GoodStanding, statement.GoodStanding}, {}: {},
	} {
		if got := [3]string{a.h.StandingAt(hash, "alpha"), a.h.StandingAt(hash, "charlie"), a.h.StandingAt(hash, "delta")}; got != want {
			t.Errorf("standing as of %s: %v, want %v", hash.Short(), got, want)
		}
		if a.h.Knows(hash) != (want[0] != "") {
			t.Errorf("knows %s: %v", hash.Short(), a.h.Knows(hash))
		}
	}
	if n := len(a.h.Amendments()); n != 4 {
		t.Errorf("%d amendments", n)
	}
}

// admission fills in what an admission says of the newcomer's card.
func admission(card *statement.Signed[statement.Card]) func(*statement.Amendment) {
	return func(t *statement.Amendment) {
		t.Statement, t.Recovery, t.Card = card.Terms.Statement, card.Terms.Recovery, card.Hash
	}
}

// The quorum is more than half of the members in good standing, the one concerned counted; with two, both.
func TestQuorumOfAmendments(t *testing.T) {
	t.Parallel()
	for n := 2; n <= 5; n++ {
		for signers := 1; signers < n; signers++ {
			a := newAlliance(t, n)
			concerned := names[n-1]
			_, err := take(a.h, a.amendment(a.h.Newest(), statement.Suspend, concerned, names[:signers]))
			if enough := 2*signers > n; (err == nil) != enough {
				t.Errorf("%d of %d members suspend another: %v", signers, n, err)
			}
			zulu := newFounder(t, "zulu").sign(t)
			_, err = take(a.h, a.amendment(a.h.Newest(), statement.Admit, "zulu", append(slices.Clone(names[:signers]), "zulu"), admission(zulu)), zulu)
			if enough := 2*signers > n; (err == nil) != enough {
				t.Errorf("%d of %d members admit a newcomer: %v", signers, n, err)
			}
		}
		a := newAlliance(t, n)
		if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Suspend, names[n-1], names[:n])); err != nil {
			t.Errorf("all %d members, the one concerned among them: %v", n, err)
		}
	}
	// Who is suspended neither decides nor counts, but for its own return.
	a := newAlliance(t, 5)
	a.amend(a.amendment(a.h.Newest(), statement.Suspend, "echo", names[:3]))
	if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Suspend, "delta", names[:2])); err == nil {
		t.Error("two of four suspended another")
	}
	if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Reinstate, "echo", names[:2])); err == nil {
		t.Error("two reinstated the fifth")
	}
	if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Suspend, "delta", []string{"alpha", "bravo", "charlie", "echo"})); err == nil {
		t.Error("a suspended member decided")
	}
	a.amend(a.amendment(a.h.Newest(), statement.Reinstate, "echo", names[:3]))
	b := newAlliance(t, 4)
	b.amend(b.amendment(b.h.Newest(), statement.Suspend, "delta", names[:3]))
	if _, err := take(b.h, b.amendment(b.h.Newest(), statement.Reinstate, "delta", names[:2])); err == nil {
		t.Error("two of four reinstated the fourth, who counts")
	}
}

// What an amendment may not do.
func TestAmendRefuses(t *testing.T) {
	t.Parallel()
	most := []string{"alpha", "bravo"}
	for _, c := range []struct {
		name    string
		change  statement.Change
		member  string
		signers []string
		edit    func(a *alliance, t *statement.Amendment)
		want    string
	}{
		{"another alliance", statement.Suspend, "charlie", most, func(_ *alliance, t *statement.Amendment) { t.Alliance = statement.HashBytes(nil) }, "another alliance"},
		{"an unknown version", statement.Suspend, "charlie", most, func(_ *alliance, t *statement.Amendment) { t.Previous = statement.HashBytes(nil) }, "which is not known here"},
		{"a version left out", statement.Suspend, "charlie", most, func(_ *alliance, t *statement.Amendment) { t.Version = 4 }, "it has version 4"},
		{"before the version before", statement.Suspend, "charlie", most, func(_ *alliance, t *statement.Amendment) { t.Created = founded.Add(-time.Second) }, "created before"},
		{"a stranger suspended", statement.Suspend, "zulu", most, nil, "not in good standing"},
		{"a good member reinstated", statement.Reinstate, "charlie", most, nil, "is not suspended"},
		{"a stranger leaves", statement.Leave, "zulu", []string{"zulu"}, nil, "unknown key"},
		{"a stranger decides", statement.Suspend, "charlie", []string{"alpha", "zulu"}, nil, "unknown key"},
		{"a newcomer alone", statement.Admit, "zulu", []string{"zulu"}, func(a *alliance, t *statement.Amendment) { admission(newFounder(a.t, "zulu").sign(a.t))(t) }, "0 members signed"},
		{"a newcomer without a card", statement.Admit, "delta", []string{"alpha", "bravo", "delta"}, func(a *alliance, t *statement.Amendment) { admission(newFounder(a.t, "delta").sign(a.t))(t) }, "the card of \"delta\" is missing"},
		{"a member admitted again with new keys", statement.Admit, "charlie", []string{"alpha", "bravo", "charlie"}, func(a *alliance, t *statement.Amendment) { admission(a.cards[2])(t) }, "is or was a member"},
		{"a settlement without a fork", statement.Settle, "", most, func(a *alliance, t *statement.Amendment) {
			t.Version, t.Forks = 3, []statement.Hash{{1}, {2}}
		}, "is not known here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newAlliance(t, 3)
			s := a.amendment(a.h.Newest(), c.change, c.member, c.signers, func(t *statement.Amendment) {
				if c.edit != nil {
					c.edit(a, t)
				}
			})
			zulu := newFounder(t, "zulu").sign(t)
			h, err := take(a.h, s, zulu)
			if h != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	a := newAlliance(t, 2)
	if _, err := a.h.Amend(nil); err == nil {
		t.Error("no amendment at all was taken")
	}
}

// Members that conspire cannot speak for another: neither with new keys of it, nor with a newcomer of its name, nor by
// taking its key for theirs.
func TestFraming(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 3)
	// Others make keys in charlie's name. There is no amendment that could say so, so they try to admit it again.
	mallory := newFounder(t, "charlie")
	mallory.statement, mallory.recovery = fresh(t, "m1", "charlie/statement"), fresh(t, "m2", "charlie/recovery")
	mallory.log, mallory.witness, mallory.logMLDSA, mallory.witnessMLDSA = fresh(t, "m3", "charlie/log/1"), fresh(t, "m4", "charlie/witness"), "m5", "m6"
	mallory.card.CA, mallory.card.Sealing = certificate("mallory"), []statement.SealingKey{{Epoch: 1, Recipient: "age1pq1mallory"}}
	card := mallory.sign(t)
	own := a.founders[2]
	a.founders[2] = mallory
	if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Admit, "charlie", names[:3], admission(card)), card); err == nil {
		t.Error("a quorum gave a member new keys")
	}
	a.founders[2] = own
	if _, err := a.h.OpenCard(card.Raw); err == nil {
		t.Error("a card with another recovery key was opened")
	}
	// A newcomer whose keys are another's.
	thief := newFounder(t, "delta")
	thief.log = relabel(t, "alpha/statement", "delta/log/1")
	stolen := thief.sign(t)
	if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Admit, "delta", []string{"alpha", "bravo", "delta"}, admission(stolen)), stolen); err == nil {
		t.Error("a newcomer has another's key")
	}
	// A newcomer is admitted with the key that it signs with.
	honest := newFounder(t, "delta").sign(t)
	other := a.amendment(a.h.Newest(), statement.Admit, "delta", []string{"alpha", "bravo", "delta"}, admission(honest))
	other.By = slices.Clone(other.By)
	other.By[2] = "delta/statement+00000000"
	if _, err := a.h.Amend(other, honest); err == nil || !strings.Contains(err.Error(), "another key than the one it is admitted with") {
		t.Errorf("a newcomer signed with another key: %v", err)
	}
	// Two lines by one member, under two names, are no quorum.
	doubled := a.amendment(a.h.Newest(), statement.Suspend, "charlie", []string{"alpha", "bravo"})
	line := strings.SplitAfter(string(doubled.Raw), "— alpha/statement ")[1]
	line, _, _ = strings.Cut(line, "\n")
	forged := strings.Replace(string(doubled.Raw), strings.SplitN(strings.SplitN(string(doubled.Raw), "— bravo/statement ", 2)[1], "\n", 2)[0], line, 1)
	if _, err := a.h.OpenAmendment([]byte(forged)); err == nil {
		t.Error("alpha's signature counted for bravo")
	}
}

// A vote stays cast, unless the key had been declared compromised before.
func TestVotesWithOldKeys(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 3)
	stolen := a.founders[0].statement
	thief := *a.founders[0]
	a.renew(a.next(0, func(f *founder) {
		f.statement = fresh(t, "second", "alpha/statement")
		f.card.Compromised = []statement.CompromisedKey{{Key: stolen.Public, Since: founded}}
	}))
	mine := a.founders[0]
	a.founders[0] = &thief
	declared := founded.Add(time.Hour)
	at := func(when time.Time) func(*statement.Amendment) {
		return func(t *statement.Amendment) { t.Created, t.AdoptBy = when, when.AddDate(0, 1, 0) }
	}
	if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Suspend, "charlie", names[:2], at(declared))); err == nil || !strings.Contains(err.Error(), "could not be used then") {
		t.Errorf("a stolen key voted: %v", err)
	}
	if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Suspend, "charlie", names[:2], at(declared.Add(-time.Second)))); err != nil {
		t.Errorf("a vote that was cast before: %v", err)
	}
	a.founders[0] = mine
	if _, err := take(a.h, a.amendment(a.h.Newest(), statement.Suspend, "charlie", names[:2], at(declared))); err != nil {
		t.Errorf("the new key: %v", err)
	}
	// A key that was merely replaced votes for 30 days more.
	b := newAlliance(t, 3)
	old := *b.founders[0]
	b.renew(b.next(0, func(f *founder) { f.statement = fresh(t, "second", "alpha/statement") }))
	b.founders[0] = &old
	for _, c := range []struct {
		when time.Time
		want bool
	}{{declared.Add(limit.KeyRetirement - time.Second), true}, {declared.Add(limit.KeyRetirement), false}} {
		if _, err := take(b.h, b.amendment(b.h.Newest(), statement.Suspend, "charlie", names[:2], at(c.when))); (err == nil) != c.want {
			t.Errorf("at %s: %v", c.when, err)
		}
	}
}

func TestRestoreAmendments(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 3)
	charters, cards := [][]byte{a.charter.Raw}, [][]byte{}
	for _, c := range a.cards {
		cards = append(cards, c.Raw)
	}
	delta := newFounder(t, "delta")
	card := delta.sign(t)
	admitted := a.amendment(a.h.Newest(), statement.Admit, "delta", []string{"alpha", "bravo", "delta"}, admission(card))
	a.amend(admitted, card)
	a.founders = append(a.founders, delta)
	a.renew(a.next(3, func(f *founder) { f.statement = fresh(t, "second", "delta/statement") }))
	suspended := a.amendment(a.h.Newest(), statement.Suspend, "charlie", []string{"alpha", "bravo", "delta"})
	a.amend(suspended)
	charters = append(charters, admitted.Raw, suspended.Raw)
	for _, c := range a.h.Cards("delta") {
		cards = append(cards, c.Raw)
	}
	slices.Reverse(charters)
	slices.Reverse(cards)
	h, err := Restore(charters, cards)
	if err != nil {
		t.Fatal(err)
	}
	if h.Newest() != suspended.Hash || len(h.Cards("delta")) != 2 || h.InGoodStanding("charlie") {
		t.Errorf("version %d", h.Version())
	}
	if err := restored(charters[:2], cards); err == nil {
		t.Error("restored without the founding charter")
	}
	if err := restored([][]byte{charters[0], charters[2]}, cards); err == nil {
		t.Error("restored without an amendment in between")
	}
}

func TestWitnessQuorum(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{2: 1, 3: 1, 4: 2, 5: 3} {
		if got := newAlliance(t, n).h.Quorum(); got != want {
			t.Errorf("%d members: quorum %d, want %d", n, got, want)
		}
	}
	a := newAlliance(t, 4)
	a.amend(a.amendment(a.h.Newest(), statement.Suspend, "delta", names[:3]))
	if got := a.h.Quorum(); got != 1 {
		t.Errorf("three members in good standing: quorum %d", got)
	}
}

func TestAuditors(t *testing.T) {
	t.Parallel()
	a := newAlliance(t, 3, func(c *statement.Charter) {
		c.Auditors = []string{"spiffe://charlie/person/dave"}
		c.Witnesses = []statement.OutsideWitness{{Name: "university", URL: "https://witness.example", Key: newKey(t, "witness.example/w1").Public}}
	})
	if !a.h.IsAuditor("charlie", "dave") || a.h.IsAuditor("charlie", "zoe") || a.h.IsAuditor("alpha", "dave") || len(a.h.Auditors()) != 1 {
		t.Errorf("auditors %v", a.h.Auditors())
	}
	if w := a.h.OutsideWitnesses(); len(w) != 1 || w[0].Name != "university" {
		t.Errorf("witnesses %v", w)
	}
	a.amend(a.amendment(a.h.Newest(), statement.Suspend, "charlie", names[:2]))
	if a.h.IsAuditor("charlie", "dave") {
		t.Error("an auditor of a suspended member reads logs")
	}
}

// A key that counted for a member and for an outside witness would make a quorum of one.
func TestOutsideWitnessWithKeysOfOthers(t *testing.T) {
	t.Parallel()
	founders := newFounders(t, 3)
	cards := cardsOf(t, founders)
	outside := newKey(t, "witness.example/w1")
	rename := func(vkey string) string { // the same key under another name
		key, err := statement.KeyBytes(vkey)
		if err != nil {
			t.Fatal(err)
		}
		again, err := note.NewEd25519VerifierKey("witness.example/w2", key)
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	pq, err := statement.MLDSAKeyBytes(cards[1].Terms.WitnessMLDSA)
	if err != nil {
		t.Fatal(err)
	}
	renamedPQ, err := statement.MLDSAKey("witness.example/w2", pq)
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]statement.OutsideWitness{
		"another witness's key":  {Key: rename(outside.Public)},
		"a member's witness key": {Key: rename(cards[1].Terms.Witness)},
		"a member's log key":     {Key: rename(cards[0].Terms.Log)},
		"a member's ML-DSA key":  {Key: newKey(t, "witness.example/w2").Public, MLDSA: renamedPQ},
	} {
		w.Name, w.URL = "university", "https://witness.example"
		charter := charterOf(t, founders, cards, func(c *statement.Charter) {
			c.Witnesses = []statement.OutsideWitness{{Name: "office", URL: "https://office.example", Key: outside.Public}, w}
		})
		if _, err := Found(charter, cards...); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "university") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
