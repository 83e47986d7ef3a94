package node_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// amendment signs a change of the charter with the real keys of members.
func (w *world) amendment(h *member.History, change statement.Change, concerned string, signers []string, edit ...func(*statement.Amendment)) []byte {
	w.t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	a := statement.Amendment{Alliance: h.Alliance(), Version: h.Version() + 1, Previous: h.Newest(), Created: now, AdoptBy: now.Add(time.Hour),
		Change: change, Member: concerned, SignedBy: slices.Sorted(slices.Values(signers))}
	for _, e := range edit {
		e(&a)
	}
	var keys []*statement.Key
	for _, s := range a.SignedBy {
		keys = append(keys, w.keys(s).Statement)
	}
	s, err := statement.Sign(a, keys...)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Raw
}

// learn has a member's home learn texts, beside its node if that runs.
func (w *world) learn(m string, amendments, cards [][]byte) node.Learned {
	w.t.Helper()
	h, err := node.OpenHome(w.t.Context(), w.Home(m))
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	out, err := h.Learn(w.t.Context(), time.Now(), amendments, cards)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// knows waits until what a member knows fits.
func (w *world) knows(m string, fits func(*member.History) bool) time.Duration {
	w.t.Helper()
	begun := time.Now()
	h := w.reader(m)
	for time.Since(begun) < patience {
		history, err := h.History(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if fits(history) {
			return time.Since(begun)
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.t.Fatalf("%s did not learn it", m)
	return 0
}

// TestSuspended suspends charlie while a delivery of its is under way: one node learns it, all others are told, and from then on charlie
// gets no further than what it may still do.
func TestSuspended(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("alpha", "bravo", "charlie")
	got := w.send("alpha", submission("charlie"), []byte("before"))[0]
	w.await("alpha", got, "delivered")

	charlie := w.peer("charlie", "bravo")
	d := w.document("charlie", []string{"bravo"}, string(random(300<<10)))
	s, answer, err := charlie.offer(t.Context(), d)
	if err != nil || answer.GetReceipt() != nil {
		t.Fatalf("offer: %v, %v", answer, err)
	}
	raw := w.amendment(w.history, statement.Suspend, "charlie", []string{"alpha", "bravo"})
	if out := w.learn("alpha", [][]byte{raw}, nil); out.New != 1 || out.Err() != nil || out.History.InGoodStanding("charlie") {
		t.Fatalf("learnt %+v", out)
	}
	suspended := func(h *member.History) bool { return !h.InGoodStanding("charlie") }
	w.knows("bravo", suspended)
	learnt := time.Now()
	if _, err := s.Recv(); err == nil {
		t.Error("the open delivery went on")
	} else {
		wantFault(t, err, fault.Forbidden, "charlie is not in good standing")
	}
	if took := time.Since(learnt); took > 5*time.Second {
		t.Errorf("it took %s until the open delivery was cut", took)
	}
	w.knows("charlie", suspended)

	_, err = charlie.deliver(t.Context(), d)
	wantFault(t, err, fault.Forbidden, "charlie is not in good standing")
	_, err = charlie.conn.Consistency(t.Context(), &ententev1.ConsistencyRequest{OldSize: 1, NewSize: 2})
	wantFault(t, err, fault.Forbidden, "charlie is not in good standing")
	if _, err := charlie.conn.Tell(t.Context(), &ententev1.TellRequest{}); err != nil {
		t.Errorf("tell: %v", err)
	}
	// It opens what it received before, and its receipt comes back. Opening needs its own good standing, so a person cannot; the test
	// hands the receipt in as its node would.
	if _, err := charlie.conn.Return(t.Context(), &ententev1.ReturnRequest{Receipt: []byte("x")}); fault.KindOf(err) == fault.Forbidden {
		t.Errorf("return: %v", err)
	}
	_, err = w.person("alpha").Send(t.Context(), submission("charlie"), strings.NewReader("x"))
	wantFault(t, err, fault.Refused, "policy refuses to release")
	_, err = w.person("charlie").Send(t.Context(), submission("bravo"), strings.NewReader("x"))
	wantFault(t, err, fault.Refused, "policy refuses to release")

	// It comes back in the same way.
	h := w.learn("bravo", nil, nil).History
	again := w.amendment(h, statement.Reinstate, "charlie", []string{"alpha", "bravo"})
	w.learn("bravo", [][]byte{again}, nil)
	for _, m := range []string{"alpha", "charlie"} {
		w.knows(m, func(h *member.History) bool { return h.InGoodStanding("charlie") })
	}
	w.await("alpha", w.send("alpha", submission("charlie"), []byte("after"))[0], "delivered")
}

// TestCharterFork has two quorums sign two successors of one version. Each node hears of one only, from somebody who mails it; they tell
// each other, all of them find the fork, and exchange with nobody who is concerned, until it is settled.
func TestCharterFork(t *testing.T) {
	t.Parallel()
	members := []string{"alpha", "bravo", "charlie", "delta", "echo"}
	w := found(t, members...)
	w.start(members...)
	// charlie signed both; alpha is suspended by one of them.
	one := w.amendment(w.history, statement.Suspend, "alpha", []string{"bravo", "charlie", "delta"})
	other := w.amendment(w.history, statement.Suspend, "echo", []string{"alpha", "bravo", "charlie"})
	w.learn("delta", [][]byte{one}, nil)
	w.learn("echo", [][]byte{other}, nil)
	for _, m := range members {
		w.knows(m, func(h *member.History) bool { return h.Fork() != nil })
	}
	for _, m := range members {
		h := w.learn(m, nil, nil).History
		fork := h.Fork()
		if h.Newest() != w.history.Newest() || fork == nil || !slices.Equal(fork.Concerned, []string{"bravo", "charlie"}) {
			t.Errorf("%s: newest %s, fork %v", m, h.Newest().Short(), fork)
		}
		for _, in := range []string{"alpha", "bravo", "charlie", "echo"} {
			if p, _ := h.Member(in); p.Standing != member.InDoubt {
				t.Errorf("%s: %s is %s", m, in, p.Standing)
			}
		}
	}
	for _, to := range []string{"alpha", "bravo", "charlie"} {
		_, err := w.person("delta").Send(t.Context(), submission(to), strings.NewReader("x"))
		wantFault(t, err, fault.Refused, "policy refuses to release")
	}
	_, err := w.peer("bravo", "delta").deliver(t.Context(), w.document("bravo", []string{"delta"}, "in doubt"))
	wantFault(t, err, fault.Forbidden, "bravo is not in good standing")

	// Those who signed only one of them, or none, settle it.
	hash := func(raw []byte) statement.Hash {
		h, err := statement.HashOf(raw)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	forks := []statement.Hash{hash(one), hash(other)}
	slices.SortFunc(forks, func(a, b statement.Hash) int { return slices.Compare(a[:], b[:]) })
	settle := w.amendment(w.history, statement.Settle, "", []string{"alpha", "delta", "echo"}, func(a *statement.Amendment) { a.Version, a.Forks = 3, forks })
	w.learn("delta", [][]byte{settle}, nil)
	for _, m := range members {
		w.knows(m, func(h *member.History) bool {
			return h.Fork() == nil && h.Version() == 3 && h.InGoodStanding("alpha") && h.InGoodStanding("echo") && !h.InGoodStanding("bravo") && !h.InGoodStanding("charlie")
		})
	}
	w.await("delta", w.send("delta", submission("alpha", "echo"), []byte("settled"))[0], "delivered")
}

// renewed makes a member's next card, with a new statement key, and calls the old one compromised if asked to.
func (w *world) renewed(m string, created time.Time, compromised bool) (*statement.Signed[statement.Card], *statement.Key) {
	w.t.Helper()
	h := w.learn(m, nil, nil).History
	chain := h.Cards(m)
	old := chain[len(chain)-1]
	key, err := statement.GenerateKey(rand.Reader, m+"/statement")
	if err != nil {
		w.t.Fatal(err)
	}
	c, keys := old.Terms, w.keys(m)
	c.Version, c.Previous, c.Created, c.Statement, c.Compromised = c.Version+1, old.Hash, created.UTC().Truncate(time.Second), key.Public, nil
	if compromised {
		c.Compromised = []statement.CompromisedKey{{Key: old.Terms.Statement, Since: c.Created}}
	}
	s, err := statement.Sign(c, key, w.recovery(m), keys.Log, keys.Witness)
	if err != nil {
		w.t.Fatal(err)
	}
	return s, key
}

// TestLearnsCards hands cards in that are good, old, dated in the future, or made twice.
func TestLearnsCards(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	first := w.learn("alpha", nil, nil).History.Cards("bravo")[0]
	future, _ := w.renewed("bravo", time.Now().Add(time.Hour), false)
	early, _ := w.renewed("bravo", first.Terms.Created.Add(-time.Hour), false)
	good, _ := w.renewed("bravo", time.Now(), false)
	twin, _ := w.renewed("bravo", time.Now(), false)
	for _, test := range []struct {
		name string
		card *statement.Signed[statement.Card]
		kind fault.Kind
		text string
	}{
		{"future", future, fault.Transient, "in the future"},
		{"before the one it replaces", early, fault.Invalid, "was created before"},
		{"good", good, 0, ""},
		{"again", good, 0, ""},
		{"another of that version", twin, fault.Conflict, "is another one"},
		{"the first, again", first, 0, ""},
	} {
		before := len(w.state("alpha").leaves)
		out := w.learn("alpha", nil, [][]byte{test.card.Raw})
		if test.text != "" {
			wantFault(t, out.Err(), test.kind, test.text)
		} else if out.Err() != nil {
			t.Errorf("%s: %v", test.name, out.Err())
		}
		if grown := len(w.state("alpha").leaves) - before; grown != out.New || (grown == 1) != (test.name == "good") {
			t.Errorf("%s: %d leaves", test.name, grown)
		}
	}
}

// TestCompromisedKey delivers, and receipts, with a statement key that its owner has called compromised.
func TestCompromisedKey(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.disputed = true
	w.start("alpha")
	card, _ := w.renewed("bravo", time.Now(), true)
	before := w.document("bravo", []string{"alpha"}, "in time")
	p := w.peer("bravo", "alpha")
	if _, err := p.deliver(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	stolen := w.document("bravo", []string{"alpha"}, "stolen")
	w.learn("alpha", nil, [][]byte{card.Raw})
	_, err := p.deliver(t.Context(), stolen)
	wantFault(t, err, fault.Invalid, "signature")
	if got, err := open(t.Context(), w.person("alpha"), "bravo/"+before.m.ID+"/alpha"); err != nil || string(got) != "in time" {
		t.Errorf("what was received before opens as %q, %v", got, err)
	}
}

// recovery reads a member's recovery key from where it was put when the world was founded.
func (w *world) recovery(m string) *statement.Key {
	w.t.Helper()
	raw, err := os.ReadFile(w.recoveryFile(m))
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := statement.ParseKey(string(raw))
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) recoveryFile(m string) string {
	return filepath.Join(filepath.Dir(w.Home(m)), "recovery", m+".key")
}

// TestRetiredKey asks about a key that was replaced: it is accepted for 30 days, and not after.
func TestRetiredKey(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	old := []string{statement.KeyID(w.keys("bravo").Statement.Public)}
	card, key := w.renewed("bravo", time.Now(), false)
	h := w.learn("alpha", nil, [][]byte{card.Raw}).History
	for _, test := range []struct {
		by    []string
		after time.Duration
		ok    bool
	}{{old, 0, true}, {old, 29 * 24 * time.Hour, true}, {old, 31 * 24 * time.Hour, false}, {[]string{statement.KeyID(key.Public)}, 31 * 24 * time.Hour, true}} {
		if err := node.Current(h, "bravo", test.by, time.Now().Add(test.after)); (err == nil) != test.ok {
			t.Errorf("%v after %s: %v", test.by, test.after, err)
		}
	}
}
