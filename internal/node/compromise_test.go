package node_test

import (
	"strings"
	"testing"
	"time"

	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// bravo's statement key was stolen, and bravo finds out later. What witnesses saw under that key before the theft proves what it proved;
// what they saw after it proves nothing, though bravo's own node signed it; and no node takes anything more.
func TestEvidenceOfCompromisedKey(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.disputed = true
	w.start("alpha", "bravo", "charlie")
	deliver := func(content string) string {
		ref := w.send("alpha", submission("bravo"), []byte(content))[0]
		w.await("alpha", ref, "delivered")
		w.cosigned("alpha")
		w.cosigned("bravo")
		return ref
	}
	before, unopened := deliver("before the theft"), deliver("never opened")
	time.Sleep(2100 * time.Millisecond) // co-signatures bear whole seconds
	stolen, since := w.keys("bravo").Statement, time.Now().UTC().Truncate(time.Second)
	time.Sleep(1100 * time.Millisecond)
	after := deliver("after the theft")
	for _, ref := range []string{before, after} {
		if v, missing, err := w.evidence("alpha", w.Person("alpha"), ref, false, evidence.Options{}); err != nil || !v.Valid || missing != "" {
			t.Fatalf("%s, as long as nobody knows: %v %s %q", ref, err, v.Why, missing)
		}
	}

	w.stop("bravo")
	home, err := node.OpenHome(t.Context(), w.Home("bravo"))
	if err != nil {
		t.Fatal(err)
	}
	o := node.RenewOptions{RecoveryFile: w.recoveryFile("bravo"), CompromisedSince: since}
	if _, err := home.RenewCard(t.Context(), time.Now(), o); err != nil {
		t.Fatal(err)
	}
	if err := home.Close(); err != nil {
		t.Fatal(err)
	}
	w.start("bravo")
	for _, m := range []string{"alpha", "charlie"} {
		w.knows(m, func(h *member.History) bool { return len(h.Cards("bravo")) == 2 })
	}
	for _, m := range []string{"alpha", "bravo"} {
		v, missing, err := w.evidence(m, w.Person(m), before, false, evidence.Options{})
		if err != nil || !v.Valid || claims(v) != "released stored delivered" || missing != "" {
			t.Errorf("%s about what came before: %v, %s %q, missing %q", m, err, v.Why, claims(v), missing)
		}
		_, _, err = w.evidence(m, w.Person(m), after, false, evidence.Options{})
		wantFault(t, err, fault.Failed, "which is compromised since "+since.Format(time.RFC3339)+", and witnesses first saw it at")
	}

	// Whoever has the key, and bravo's certificate, hands in a receipt that dates from before the theft.
	var e store.Exchange
	if err := w.reader("alpha").DB.View(t.Context(), func(v *store.View) (err error) { e, err = v.FindExchange(unopened); return err }); err != nil {
		t.Fatal(err)
	}
	r := receiptOf(e.Manifest, strings.Split(unopened, "/")[1])
	r.Kind, r.At = statement.Opened, since.Add(-time.Second)
	returns := func(key *statement.Key) error {
		s, err := statement.Sign(r, key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.peer("bravo", "alpha").conn.Return(t.Context(), &ententev1.ReturnRequest{Receipt: s.Raw})
		return err
	}
	leaves := len(w.state("alpha").leaves)
	wantFault(t, returns(stolen), fault.Invalid, "signature")
	if got := w.state("alpha"); got.kinds(leaves) != "rejected" || got.exchanges[unopened] != store.Delivered {
		t.Errorf("leaves %q, the exchange is %s", got.kinds(leaves), got.exchanges[unopened])
	}
	// bravo itself goes on, with its new key.
	if _, err := open(t.Context(), w.person("bravo"), unopened); err != nil {
		t.Fatal(err)
	}
	w.await("alpha", unopened, "opened")
	if v, _, err := w.evidence("alpha", w.Person("alpha"), unopened, false, evidence.Options{}); err != nil || !v.Valid || claims(v) != "released stored delivered opened" {
		t.Errorf("opened under the new key: %v, %s %q", err, v.Why, claims(v))
	}
}
