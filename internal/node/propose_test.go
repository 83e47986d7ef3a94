package node_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// treaty is agreements between parties of a world, each of which has a signer, sig.
type treaty struct {
	*world
	calls map[string]ententev1.NodeServiceClient
}

func (w *world) treaty(signers ...string) *treaty {
	w.t.Helper()
	y := &treaty{w, map[string]ententev1.NodeServiceClient{}}
	for _, m := range signers {
		w.staff(m, "sig", "signer")
		y.calls[m] = w.as(m, "sig").Node()
	}
	return y
}

// watch is the text of an agreement that begins now, with what most tests need.
func (y *treaty) watch(name string, parties ...string) statement.Agreement {
	from := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	return statement.Agreement{Name: name, Version: 1, Alliance: y.history.Alliance(), Parties: parties, Purposes: []string{"incident-response"},
		Ceiling: "TLP:AMBER", RetainDays: 90, NotBefore: from, NotAfter: from.AddDate(1, 0, 0), Prose: "The parties help each other with kestrels.\n"}
}

func draft(t *testing.T, a statement.Agreement) []byte {
	t.Helper()
	raw, err := statement.Draft(a)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// retry calls until it is not refused as something that waiting cures.
func retry(t *testing.T, call func() error) error {
	t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := call()
		if kind := fault.KindOf(err); err == nil || kind != fault.Transient && kind != fault.NotFound || time.Since(began) > patience {
			return err
		}
	}
}

func (y *treaty) propose(m string, a statement.Agreement) *ententev1.Proposal {
	y.t.Helper()
	out, err := y.calls[m].Propose(y.t.Context(), &ententev1.ProposeRequest{Agreement: draft(y.t, a)})
	if err != nil {
		y.t.Fatal(err)
	}
	return out.GetProposal()
}

// sign has a member sign, once the proposal has arrived.
func (y *treaty) sign(m, ref string) *ententev1.Proposal {
	y.t.Helper()
	var out *ententev1.SignProposalResponse
	err := retry(y.t, func() (err error) {
		out, err = y.calls[m].SignProposal(y.t.Context(), &ententev1.SignProposalRequest{Proposal: ref})
		return err
	})
	if err != nil {
		y.t.Fatalf("%s: %v", m, err)
	}
	return out.GetProposal()
}

// until waits until a member's proposal is in a state.
func (y *treaty) until(m, ref, state string) *ententev1.Proposal {
	y.t.Helper()
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		out, err := y.calls[m].Proposals(y.t.Context(), &ententev1.ProposalsRequest{All: true})
		if err != nil {
			y.t.Fatal(err)
		}
		for _, p := range out.GetProposals() {
			if strings.HasPrefix(p.GetSha256(), ref) && p.GetState() == state {
				return p
			}
		}
	}
	y.t.Fatalf("the proposal %.12s of %s did not become %s", ref, m, state)
	return nil
}

func (y *treaty) version(m, name string) store.Agreement {
	y.t.Helper()
	h := y.reader(m)
	var a store.Agreement
	err := h.DB.View(y.t.Context(), func(v *store.View) (err error) { a, err = v.AgreementByName(name); return err })
	if err != nil {
		y.t.Fatal(err)
	}
	return a
}

// conclude has all parties agree, the first proposing.
func (y *treaty) conclude(a statement.Agreement) *ententev1.Proposal {
	y.t.Helper()
	p := y.propose(a.Parties[0], a)
	for _, m := range a.Parties[1:] {
		y.sign(m, p.GetSha256())
	}
	for _, m := range a.Parties {
		p = y.until(m, p.GetSha256(), "concluded")
	}
	return p
}

func parseHash(t *testing.T, s string) statement.Hash {
	t.Helper()
	h, err := statement.ParseHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestTreatyOfThreeAmongFive(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie", "delta", "echo")
	three := []string{"alpha", "bravo", "charlie"}
	y := w.treaty(three...)
	w.start(w.Names...)

	a := y.watch("kestrel-watch", three...)
	p := y.propose("alpha", a)
	if p.GetState() != "open" || !slices.Equal(p.GetSigned(), []string{"alpha"}) || p.GetProposer() != "alpha" {
		t.Errorf("proposed: %v", p)
	}
	again := y.propose("alpha", a)
	if again.GetSha256() != p.GetSha256() || !again.GetAt().AsTime().Equal(p.GetAt().AsTime()) {
		t.Errorf("proposed again: %v", again)
	}
	y.sign("bravo", "kestrel-watch")
	for _, m := range []string{"alpha", "bravo"} {
		if p := y.until(m, p.GetSha256(), "open"); len(p.GetMissing()) == 0 {
			t.Errorf("%s: %v", m, p)
		}
	}
	if p := y.sign("charlie", p.GetSha256()[:12]); !slices.Contains(p.GetSigned(), "charlie") {
		t.Errorf("signed: %v", p)
	}
	for _, m := range three {
		y.until(m, p.GetSha256(), "concluded")
	}
	sub := submission("bravo", "charlie")
	sub.Agreement = "kestrel-watch"
	refs := w.send("alpha", sub, []byte("under the treaty"))
	for _, ref := range refs {
		w.await("alpha", ref, "delivered")
	}

	// Version 2 keeps documents for less time.
	b := a
	b.Version, b.Previous, b.RetainDays = 2, parseHash(t, p.GetSha256()), 30
	q := y.conclude(b)
	old := y.watch("kestrel-watch", three...)
	old.NotAfter = a.NotAfter.Add(time.Hour)
	_, err := y.calls["alpha"].Propose(t.Context(), &ententev1.ProposeRequest{Agreement: draft(t, old)})
	wantFault(t, err, fault.Conflict, "version 2 of kestrel-watch is in force here")

	// Charlie leaves at once: there is no notice period.
	out, err := y.calls["charlie"].Withdraw(t.Context(), &ententev1.WithdrawRequest{Agreement: "kestrel-watch", Reason: "we sold the boat"})
	if err != nil {
		t.Fatal(err)
	}
	again2, err := y.calls["charlie"].Withdraw(t.Context(), &ententev1.WithdrawRequest{Agreement: "kestrel-watch"})
	if err != nil || again2.GetNoticeSha256() != out.GetNoticeSha256() {
		t.Errorf("withdrawn again: %v, %v", again2, err)
	}
	for _, m := range three {
		w.notices(m, parseHash(t, q.GetSha256()), statement.Withdraw, "charlie")
	}
	// What charlie has left, two may go on with.
	c := b
	c.Version, c.Previous, c.Parties, c.NotBefore = 3, parseHash(t, q.GetSha256()), []string{"alpha", "bravo"}, time.Now().UTC().Truncate(time.Second).Add(time.Second)
	y.conclude(c)

	w.quiet()
	for _, m := range []string{"delta", "echo"} {
		w.neverSaw(m, "kestrel")
		w.neverSaw(m, p.GetSha256())
	}
}

// notices waits until a member has a notice of another about an agreement.
func (w *world) notices(m string, about statement.Hash, kind statement.NoticeKind, by string) {
	w.t.Helper()
	h := w.reader(m)
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		var list []store.Notice
		if err := h.DB.View(w.t.Context(), func(v *store.View) (err error) { list, err = v.NoticesAbout(about); return err }); err != nil {
			w.t.Fatal(err)
		}
		if slices.ContainsFunc(list, func(n store.Notice) bool { return n.Kind == kind && n.Member == by }) {
			return
		}
	}
	w.t.Fatalf("%s has no notice %q of %s", m, kind, by)
}

// quiet waits until nothing waits in any outbox.
func (w *world) quiet() {
	w.t.Helper()
	for _, m := range w.Names {
		h := w.reader(m)
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			waits := 0
			err := h.DB.View(w.t.Context(), func(v *store.View) error {
				for _, err := range v.OutboxRows(nil) {
					if waits++; err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				w.t.Fatal(err)
			}
			if waits == 0 {
				break
			}
			if time.Since(began) > patience {
				w.t.Fatalf("%d items wait in the outbox of %s", waits, m)
			}
		}
	}
}

// neverSaw searches all files of a member for a word.
func (w *world) neverSaw(m, word string) {
	w.t.Helper()
	err := filepath.WalkDir(w.Home(m), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(word)) {
			w.t.Errorf("%s holds %q", path, word)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestDeclined(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo", "charlie")
	w.start("alpha", "bravo", "charlie")
	w.stop("charlie") // a node that never ran has its listener open already, and an attempt would wait there
	p := y.propose("alpha", y.watch("kestrel-watch", "alpha", "bravo", "charlie"))
	ref := p.GetSha256()
	decline := func(m string) error {
		return retry(t, func() error {
			_, err := y.calls[m].DeclineProposal(t.Context(), &ententev1.DeclineProposalRequest{Proposal: ref, Reason: "ninety days are too long"})
			return err
		})
	}
	wantFault(t, decline("alpha"), fault.Conflict, "a signature binds")
	if err := decline("bravo"); err != nil {
		t.Fatal(err)
	}
	if err := decline("bravo"); err != nil {
		t.Errorf("declined again: %v", err)
	}
	p = y.until("alpha", ref, "declined")
	if len(p.GetDeclined()) != 1 || p.GetDeclined()[0].GetMember() != "bravo" || p.GetDeclined()[0].GetReason() != "ninety days are too long" {
		t.Errorf("declined: %v", p.GetDeclined())
	}
	_, err := y.calls["bravo"].SignProposal(t.Context(), &ententev1.SignProposalRequest{Proposal: ref})
	wantFault(t, err, fault.Conflict, "is declined")
	w.start("charlie") // it learns of both, in whichever order
	y.until("charlie", ref, "declined")
	_, err = y.calls["charlie"].SignProposal(t.Context(), &ententev1.SignProposalRequest{Proposal: ref})
	wantFault(t, err, fault.Conflict, "is declined")
	w.quiet()
	// Another text is another question.
	a := y.watch("kestrel-watch", "alpha", "bravo", "charlie")
	a.RetainDays = 30
	y.conclude(a)
}

// Whoever declines a text and signs it all the same, once the others have turned to another, does not bring it into force.
func TestDeclinedThenSigned(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty(w.Names...)
	w.start(w.Names...)
	p := y.propose("alpha", y.watch("kestrel-watch", w.Names...))
	y.until("bravo", p.GetSha256(), "open")
	y.sign("bravo", p.GetSha256())
	y.until("charlie", p.GetSha256(), "open")
	if _, err := y.calls["charlie"].DeclineProposal(t.Context(), &ententev1.DeclineProposalRequest{Proposal: p.GetSha256(), Reason: "too long"}); err != nil {
		t.Fatal(err)
	}
	raw := y.until("alpha", p.GetSha256(), "declined").GetAgreement()
	y.until("bravo", p.GetSha256(), "declined")
	raw, err := statement.Merge(raw, y.until("bravo", p.GetSha256(), "declined").GetAgreement())
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = statement.AddSignature(raw, w.keys("charlie").Statement); err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"alpha", "bravo"} {
		if _, err := w.peer("charlie", m).conn.Agree(t.Context(), &ententev1.AgreeRequest{Agreement: raw}); err != nil {
			t.Errorf("%s: %v", m, err)
		}
		y.until(m, p.GetSha256(), "declined")
		if n := strings.Count(w.state(m).kinds(0), string(statement.EventAgreement)); n != 1 { // harbour-watch
			t.Errorf("%s: %d agreements came into force", m, n)
		}
	}
}

// A party that is suspended cannot sign, so the others may go on without it; before that they may not.
func TestSuspendedPartyLeftOut(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo")
	w.start("alpha", "bravo")
	a := y.watch("kestrel-watch", "alpha", "bravo")
	next(w, "alpha", "bravo")(&a)
	_, err := y.calls["alpha"].Propose(t.Context(), &ententev1.ProposeRequest{Agreement: draft(t, a)})
	wantFault(t, err, fault.Misused, "charlie is a party of version 1")
	raw := w.amendment(w.history, statement.Suspend, "charlie", []string{"alpha", "bravo"})
	if out := w.learn("alpha", [][]byte{raw}, nil); out.Err() != nil {
		t.Fatal(out.Err())
	}
	w.knows("bravo", func(h *member.History) bool { return !h.InGoodStanding("charlie") })
	y.conclude(a)
}

func TestProposeRefused(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo")
	w.start("alpha", "bravo")
	propose := func(a statement.Agreement) error {
		_, err := y.calls["alpha"].Propose(t.Context(), &ententev1.ProposeRequest{Agreement: draft(t, a)})
		return err
	}
	a := y.watch("kestrel-watch", "alpha", "bravo")
	for name, test := range map[string]struct {
		change func(*statement.Agreement)
		kind   fault.Kind
		text   string
	}{
		"another alliance":    {func(a *statement.Agreement) { a.Alliance = statement.HashBytes(nil) }, fault.Invalid, "another alliance"},
		"not a party":         {func(a *statement.Agreement) { a.Parties = []string{"bravo", "charlie"} }, fault.Misused, "alpha is no party"},
		"who is no member":    {func(a *statement.Agreement) { a.Parties = []string{"alpha", "zulu"} }, fault.Misused, "no member"},
		"it has ended":        {func(a *statement.Agreement) { a.NotAfter = a.NotBefore.Add(time.Second) }, fault.Misused, "which is past"},
		"a party is left out": {next(w, "alpha", "bravo"), fault.Misused, "charlie is a party of version 1"},
		"it follows another text": {func(a *statement.Agreement) {
			next(w, "alpha", "bravo", "charlie")(a)
			a.Previous = statement.HashBytes(nil)
		}, fault.Conflict, "does not follow version 1"},
		"a version is missing": {func(a *statement.Agreement) { next(w, "alpha", "bravo", "charlie")(a); a.Version = 3 }, fault.Conflict, "does not follow version 1"},
		"the same version again": {func(a *statement.Agreement) {
			a.Name, a.Parties = "harbour-watch", []string{"alpha", "bravo", "charlie"}
		}, fault.Conflict, "version 1 of harbour-watch is in force"},
	} {
		b := a
		test.change(&b)
		before := w.state("alpha").kinds(0)
		err := propose(b)
		if f := fault.KindOf(err); f != test.kind || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v (%s)", name, err, f)
		}
		if after := w.state("alpha").kinds(0); after != before {
			t.Errorf("%s: the log grew by %s", name, strings.TrimPrefix(after, before))
		}
	}
	_, err := w.person("alpha").Node().Propose(t.Context(), &ententev1.ProposeRequest{Agreement: draft(t, a)})
	wantFault(t, err, fault.Forbidden, "role signer")
	signed, err := statement.AddSignature(draft(t, a), w.keys("alpha").Statement)
	if err != nil {
		t.Fatal(err)
	}
	_, err = y.calls["alpha"].Propose(t.Context(), &ententev1.ProposeRequest{Agreement: signed})
	wantFault(t, err, fault.Misused, "bears signatures already")

	// Of two texts of one version, a member signs one.
	first := y.propose("alpha", a)
	b := a
	b.RetainDays = 7
	wantFault(t, propose(b), fault.Conflict, "has signed another text of version 1")
	y.until("bravo", first.GetSha256(), "open")
	second, err := y.calls["bravo"].Propose(t.Context(), &ententev1.ProposeRequest{Agreement: draft(t, b)})
	if err != nil {
		t.Fatal(err)
	}
	y.until("alpha", second.GetProposal().GetSha256(), "open")
	_, err = y.calls["alpha"].SignProposal(t.Context(), &ententev1.SignProposalRequest{Proposal: second.GetProposal().GetSha256()})
	wantFault(t, err, fault.Conflict, "has signed another text")
	_, err = y.calls["alpha"].SignProposal(t.Context(), &ententev1.SignProposalRequest{Proposal: "kestrel-watch"})
	wantFault(t, err, fault.Misused, "fits 2 proposals")
	// Bravo declines the first, and then alpha can sign the second.
	_, err = y.calls["bravo"].DeclineProposal(t.Context(), &ententev1.DeclineProposalRequest{Proposal: first.GetSha256(), Reason: "too long"})
	if err != nil {
		t.Fatal(err)
	}
	y.until("alpha", first.GetSha256(), "declined")
	y.sign("alpha", second.GetProposal().GetSha256())
	y.until("bravo", second.GetProposal().GetSha256(), "concluded")
	y.until("alpha", second.GetProposal().GetSha256(), "concluded")
}

// next makes an agreement version 2 of harbour-watch.
func next(w *world, parties ...string) func(*statement.Agreement) {
	return func(a *statement.Agreement) {
		a.Name, a.Version, a.Previous, a.Parties = "harbour-watch", 2, w.agreement.Hash, parties
	}
}

// TestAwayWhileAgreed has a party be away while the others agree: it learns of everything when it comes back.
func TestAwayWhileAgreed(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo", "charlie")
	w.start("alpha", "charlie")
	a := y.watch("kestrel-watch", "alpha", "bravo", "charlie")
	p := y.propose("alpha", a)
	y.sign("charlie", p.GetSha256())
	w.stop("alpha")
	w.stop("charlie")
	w.start("alpha")
	if untold := y.until("alpha", p.GetSha256(), "open").GetUntold(); !slices.ContainsFunc(untold, func(u *ententev1.Untold) bool { return u.GetMember() == "bravo" }) {
		t.Errorf("untold: %v", untold)
	}
	w.start("bravo")
	y.sign("bravo", p.GetSha256())
	// Of charlie's signature bravo may have heard from alpha, or will hear from charlie.
	w.start("charlie")
	for _, m := range a.Parties {
		y.until(m, p.GetSha256(), "concluded")
	}
	w.quiet()
}

// TestInFlight has documents arrive that were released under a version that another has replaced meanwhile, and one of a party that left.
func TestInFlight(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo", "charlie")
	w.start("alpha", "bravo", "charlie")
	first := y.watch("kestrel-watch", "alpha", "bravo", "charlie")
	p := y.conclude(first)
	under := func(hash string, created time.Time) func(*statement.Manifest) {
		return func(m *statement.Manifest) {
			m.Agreement, m.AgreementHash, m.Created = "kestrel-watch", parseHash(t, hash), created
		}
	}
	before := time.Now().UTC().Truncate(time.Second).Add(-time.Second)
	time.Sleep(time.Until(before.Add(2 * time.Second))) // the next version begins in a later second
	second := first
	second.Version, second.Previous, second.RetainDays = 2, parseHash(t, p.GetSha256()), 60
	q := y.conclude(second)
	begun := y.version("bravo", "kestrel-watch").At
	peer := w.peer("alpha", "bravo")
	deliver := func(d *document) statement.Receipt {
		t.Helper()
		raw, err := peer.deliver(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return peer.receipt(raw, d)
	}
	inFlight := w.document("alpha", []string{"bravo"}, "released before version 2 began", under(p.GetSha256(), before))
	if r := deliver(inFlight); r.Kind != statement.Stored {
		t.Errorf("what was in flight: %s %v", r.Kind, r.Reasons)
	}
	late := w.document("alpha", []string{"bravo"}, "released under version 1 after version 2 began", under(p.GetSha256(), begun.Add(time.Second)))
	if r := deliver(late); r.Kind != statement.Refused || !slices.ContainsFunc(r.Reasons, func(r statement.Reason) bool { return r.Rule == "agreement-superseded" }) {
		t.Errorf("what came too late: %s %v", r.Kind, r.Reasons)
	}
	// Alpha leaves at once. Bravo's node takes nothing more of it, in whatever way it comes.
	if _, err := y.calls["alpha"].Withdraw(t.Context(), &ententev1.WithdrawRequest{Agreement: "kestrel-watch"}); err != nil {
		t.Fatal(err)
	}
	w.notices("bravo", parseHash(t, q.GetSha256()), statement.Withdraw, "alpha")
	gone := w.document("alpha", []string{"bravo"}, "after alpha had left", under(q.GetSha256(), time.Now().UTC().Truncate(time.Second)))
	if r := deliver(gone); r.Kind != statement.Refused {
		t.Errorf("of a party that left: %s", r.Kind)
	} else {
		t.Logf("refused: %v", r.Reasons)
	}
	sub := submission("alpha")
	sub.Agreement = "kestrel-watch"
	_, err := w.person("bravo").Send(t.Context(), sub, strings.NewReader("to a party that left"))
	if fault.KindOf(err) != fault.Refused {
		t.Errorf("to a party that left: %v", err)
	}
	sub = submission("charlie")
	sub.Agreement = "kestrel-watch"
	w.await("bravo", w.send("bravo", sub, []byte("among those who are left"))[0], "delivered")
	w.quiet()
}

// TestLeaverStaysUntilTheEnd has a party leave with a notice period: until it is over, the others cannot do without it.
func TestLeaverStaysUntilTheEnd(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo", "charlie")
	w.start("alpha", "bravo", "charlie")
	a := y.watch("kestrel-watch", "alpha", "bravo", "charlie")
	a.NoticeDays = 30
	p := y.conclude(a)
	out, err := y.calls["charlie"].Withdraw(t.Context(), &ententev1.WithdrawRequest{Agreement: "kestrel-watch"})
	if err != nil {
		t.Fatal(err)
	}
	ends := out.GetEnds().AsTime()
	if left := time.Until(ends); left < 30*24*time.Hour-time.Minute || left > 30*24*time.Hour {
		t.Errorf("it ends in %s", left)
	}
	for _, m := range a.Parties {
		w.notices(m, parseHash(t, p.GetSha256()), statement.Withdraw, "charlie")
	}
	sub := submission("charlie")
	sub.Agreement = "kestrel-watch"
	w.await("alpha", w.send("alpha", sub, []byte("charlie is a party still"))[0], "delivered")
	b := a
	b.Version, b.Previous, b.Parties = 2, parseHash(t, p.GetSha256()), []string{"alpha", "bravo"}
	_, err = y.calls["alpha"].Propose(t.Context(), &ententev1.ProposeRequest{Agreement: draft(t, b)})
	wantFault(t, err, fault.Misused, "charlie leaves kestrel-watch only at")
	b.NotBefore = ends
	y.conclude(b)
	w.await("alpha", w.send("alpha", func() *ententev1.Submission { sub.Id = client.NewID(); return sub }(), []byte("and still"))[0], "delivered")
	w.quiet()
}
