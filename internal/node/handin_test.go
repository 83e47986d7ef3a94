package node_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// TestAgreeHostile has a peer bring agreements that no honest node brings. None changes anything but the log.
func TestAgreeHostile(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo", "charlie")
	between := w.agree(y.watch("osprey-watch", "alpha", "charlie"))
	w.start("alpha", "bravo", "charlie")
	sign := func(raw []byte, by ...*statement.Key) []byte {
		for _, k := range by {
			var err error
			if raw, err = statement.AddSignature(raw, k); err != nil {
				t.Fatal(err)
			}
		}
		return raw
	}
	alpha, bravo, charlie := w.keys("alpha"), w.keys("bravo"), w.keys("charlie")
	a := y.watch("kestrel-watch", "alpha", "bravo", "charlie")
	p := y.conclude(a)
	b := a
	b.Name = "heron-watch"
	concluded := p.GetAgreement()
	lines := concluded[bytes.LastIndex(concluded, []byte("\n\n"))+2:]
	relabelled := bytes.Replace(sign(draft(t, b), bravo.Statement), []byte("— bravo/statement "), []byte("— charlie/statement "), 1)
	both, err := statement.Merge(sign(draft(t, b), bravo.Statement), relabelled)
	if err != nil {
		t.Fatal(err)
	}
	peer := w.peer("bravo", "alpha")
	for name, test := range map[string]struct {
		raw  []byte
		kind fault.Kind
		text string
	}{
		"a changed word in the prose":             {bytes.Replace(concluded, []byte("kestrels"), []byte("herons"), 1), fault.Invalid, "verify"},
		"a party added":                           {bytes.Replace(concluded, []byte(`"charlie"]`), []byte(`"charlie", "delta"]`), 1), fault.Invalid, "verify"},
		"a signature from another agreement":      {append(bytes.Clone(draft(t, b)), lines...), fault.Invalid, "verify"},
		"two keys of one member":                  {sign(draft(t, b), bravo.Statement, bravo.Witness), fault.Invalid, "no party's"},
		"one key under two names":                 {both, fault.Invalid, "verify"},
		"a stranger's signature":                  {sign(draft(t, y.watch("heron-watch", "alpha", "bravo")), bravo.Statement, charlie.Statement), fault.Invalid, "no party's"},
		"not signed by who brings it":             {sign(draft(t, b), charlie.Statement), fault.Invalid, "has not signed"},
		"signed by nobody":                        {draft(t, b), fault.Invalid, "has not signed"},
		"between others":                          {sign(draft(t, y.watch("heron-watch", "bravo", "charlie")), bravo.Statement), fault.Invalid, "no party"},
		"an old version after an amendment":       {sign(draft(t, y.watch("harbour-watch", "alpha", "bravo", "charlie")), bravo.Statement, charlie.Statement, alpha.Statement), fault.Conflict, "with other terms"},
		"a name of others' agreement":             {sign(draft(t, y.watch("osprey-watch", "alpha", "bravo")), bravo.Statement), fault.Conflict, "no agreement of the name osprey-watch with bravo"},
		"a next version of others' agreement":     {sign(draft(t, after(y.watch("osprey-watch", "alpha", "bravo"), between.Hash)), bravo.Statement), fault.Conflict, "no agreement of the name osprey-watch with bravo"},
		"no statement":                            {[]byte("kestrel\n"), fault.Invalid, "parse"},
		"a hundred signature lines":               {append(draft(t, b), bytes.Repeat(lines[:bytes.IndexByte(lines, '\n')+1], 100)...), fault.Invalid, "signature lines"},
		"another alliance":                        {sign(draft(t, func() statement.Agreement { c := b; c.Alliance = statement.HashBytes(nil); return c }()), bravo.Statement), fault.Invalid, "another alliance"},
		"a policy to be judged for years":         {sign(draft(t, func() statement.Agreement { c := b; c.Policy = endless(60); return c }()), bravo.Statement), fault.Invalid, "asks for an attribute"},
		"a member that nobody knows, to be known": {sign(draft(t, y.watch("heron-watch", "alpha", "bravo", "zulu")), bravo.Statement), fault.Transient, "no member"},
	} {
		before := w.state("alpha").kinds(0)
		_, err := peer.conn.Agree(t.Context(), &ententev1.AgreeRequest{Agreement: test.raw})
		if fault.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v (%s)", name, err, fault.KindOf(err))
		}
		want := ""
		if test.kind == fault.Invalid {
			want = " rejected"
		}
		if grown := strings.TrimPrefix(w.state("alpha").kinds(0), before); grown != want {
			t.Errorf("%s: the log grew by %q", name, grown)
		}
	}
	out, err := y.calls["alpha"].Proposals(t.Context(), &ententev1.ProposalsRequest{All: true})
	if err != nil || len(out.GetProposals()) != 1 {
		t.Errorf("there are %d proposals: %v", len(out.GetProposals()), err)
	}
	// The same again, in part or whole, is answered with all that is there.
	for range 3 {
		answer, err := peer.conn.Agree(t.Context(), &ententev1.AgreeRequest{Agreement: sign(draft(t, a), bravo.Statement)})
		if err != nil || !bytes.Equal(answer.GetAgreement(), concluded) {
			t.Errorf("answered %v, %v", answer, err)
		}
	}
}

// after makes version 2 of an agreement.
func after(a statement.Agreement, previous statement.Hash) statement.Agreement {
	a.Version, a.Previous = 2, previous
	return a
}

// endless is a policy on which the validator would work for years.
func endless(depth int) string {
	e := "context"
	for range depth {
		e = "{x: context, y: " + e + ".agreement.ceiling}.x"
	}
	return "@id(\"endless\")\n@reason(\"it ends\")\npermit (principal, action, resource)\nwhen { " + e + ".agreement.ceiling == 1 };\n"
}

func TestNotifyHostile(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo")
	between := w.agree(y.watch("osprey-watch", "alpha", "charlie"))
	w.start("alpha", "bravo")
	a := y.watch("kestrel-watch", "alpha", "bravo")
	a.NoticeDays = 30
	p := y.conclude(a)
	hash, now := parseHash(t, p.GetSha256()), time.Now().UTC().Truncate(time.Second)
	good := statement.Notice{Kind: statement.Withdraw, From: "bravo", To: []string{"alpha"}, Agreement: a.Name, Version: 1, AgreementHash: hash, At: now, Ends: now.AddDate(0, 0, 30)}
	peer := w.peer("bravo", "alpha")
	notify := func(n statement.Notice, by *statement.Key) error {
		s, err := statement.Sign(n, by)
		if err != nil {
			t.Fatal(err)
		}
		_, err = peer.conn.Notify(t.Context(), &ententev1.NotifyRequest{Notice: s.Raw})
		return err
	}
	for name, test := range map[string]struct {
		change func(*statement.Notice)
		kind   fault.Kind
		text   string
	}{
		"too soon":              {func(n *statement.Notice) { n.Ends = n.Ends.Add(-time.Second) }, fault.Invalid, "notice period"},
		"in the future":         {func(n *statement.Notice) { n.At = now.Add(2 * limit.ClockSkew); n.Ends = n.At.AddDate(0, 0, 30) }, fault.Transient, "future"},
		"about an unknown text": {func(n *statement.Notice) { n.AgreementHash = statement.HashBytes(nil) }, fault.Transient, "not here yet"},
		"another name":          {func(n *statement.Notice) { n.Agreement = "heron-watch" }, fault.Invalid, "not about"},
		"another version":       {func(n *statement.Notice) { n.Version = 2 }, fault.Invalid, "not about"},
		"not to all":            {func(n *statement.Notice) { n.To = []string{"charlie"} }, fault.Invalid, "not about"},
		"of a stranger to it":   {func(n *statement.Notice) { n.AgreementHash, n.Agreement = w.agreement.Hash, "harbour-watch" }, fault.Invalid, "not about"},
		"of others":             {func(n *statement.Notice) { n.AgreementHash, n.Agreement = between.Hash, "osprey-watch" }, fault.Transient, "not here yet"},
		"declined after all": {func(n *statement.Notice) {
			n.Kind, n.Ends, n.Reason = statement.Decline, time.Time{}, "too long"
		}, fault.Invalid, "declines what it has signed"},
	} {
		n := good
		test.change(&n)
		err := notify(n, w.keys("bravo").Statement)
		if fault.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v (%s)", name, err, fault.KindOf(err))
		}
	}
	forged := good
	forged.From = "charlie"
	forged.To = []string{"alpha"}
	wantFault(t, notify(forged, w.keys("charlie").Statement), fault.Invalid, "unknown key")

	if err := notify(good, w.keys("bravo").Statement); err != nil {
		t.Fatal(err)
	}
	if err := notify(good, w.keys("bravo").Statement); err != nil {
		t.Errorf("the same again: %v", err)
	}
	later := good
	later.Ends = later.Ends.Add(time.Hour)
	wantFault(t, notify(later, w.keys("bravo").Statement), fault.Invalid, "another notice")
	if kinds := w.state("alpha").kinds(0); strings.Count(kinds, "withdrawn") != 1 {
		t.Errorf("leaves: %s", kinds)
	}
}

// TestProposalsBounded has a member propose more than is taken, and lets proposals grow old.
func TestProposalsBounded(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	y := w.treaty("alpha", "bravo")
	w.start("alpha", "bravo")
	peer := w.peer("bravo", "alpha")
	key := w.keys("bravo").Statement
	for i := range limit.Proposals + 1 {
		raw, err := statement.AddSignature(draft(t, y.watch("watch-"+strings.Repeat("x", i+1), "alpha", "bravo")), key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = peer.conn.Agree(t.Context(), &ententev1.AgreeRequest{Agreement: raw})
		if i < limit.Proposals && err != nil {
			t.Fatalf("proposal %d: %v", i, err)
		}
		if i == limit.Proposals {
			wantFault(t, err, fault.Conflict, "32 proposals of bravo are open")
		}
	}
	w.stop("alpha")
	w.damaged = true // the rows say that they are three months older than the log says
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.Home("alpha"), store.File))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "UPDATE proposal SET at = at - ?", (limit.ProposalAge + time.Minute).Microseconds())
	// And as many that were declined as make a thousand that came to nothing.
	_, more := db.ExecContext(t.Context(), "INSERT INTO proposal SELECT randomblob(32), a.name, a.version, a.proposer, 'declined', a.at, a.raw FROM proposal a, proposal b LIMIT ?",
		limit.ProposalsKept-limit.Proposals)
	if err := errors.Join(err, more, db.Close()); err != nil {
		t.Fatal(err)
	}
	w.start("alpha")
	h := w.reader("alpha")
	err = h.DB.View(t.Context(), func(v *store.View) error {
		open, err := v.Proposals(store.ProposalOpen)
		if len(open) > 0 {
			t.Errorf("%d proposals are open", len(open))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = y.calls["alpha"].SignProposal(t.Context(), &ententev1.SignProposalRequest{Proposal: "watch-x"})
	wantFault(t, err, fault.NotFound, "watch-x")
	raw, err := statement.AddSignature(draft(t, y.watch("one-more", "alpha", "bravo")), key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.peer("bravo", "alpha").conn.Agree(t.Context(), &ententev1.AgreeRequest{Agreement: raw})
	wantFault(t, err, fault.Conflict, "1000 proposals of bravo came to nothing")
}

// answering is a party that answers as it likes.
type answering struct {
	ententev1.UnimplementedPeerServiceServer
	agree func(call int, raw []byte) []byte

	mu    sync.Mutex // guards what follows
	calls int
}

func (a *answering) Agree(_ context.Context, req *ententev1.AgreeRequest) (*ententev1.AgreeResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	return &ententev1.AgreeResponse{Agreement: a.agree(a.calls, req.GetAgreement())}, nil
}

// TestAnswersToProposals has a party answer a proposal with what no honest node answers: none of it is believed, and the proposal is brought
// again. In the end a signature comes while the party is being told: it gets that one, too.
func TestAnswersToProposals(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha")
	a := y.watch("kestrel-watch", "alpha", "bravo", "charlie")
	b := a
	b.RetainDays = 3000
	sign := func(raw []byte, by *statement.Key) []byte {
		out, err := statement.AddSignature(raw, by)
		if err != nil {
			t.Error(err)
		}
		return out
	}
	bravo, charlie := w.keys("bravo").Statement, w.keys("charlie").Statement
	w.start("charlie") // so that its port is free
	w.stop("charlie")
	peer := w.peer("charlie", "alpha")
	got := make(chan []byte, 1)
	w.play("bravo", &answering{agree: func(call int, raw []byte) []byte {
		switch call {
		case 1:
			return []byte("kestrel\n")
		case 2:
			return sign(draft(t, b), bravo) // another text
		case 3: // a signature that is charlie's by name only
			return bytes.Replace(sign(raw, bravo), []byte("— bravo/"), []byte("— charlie/"), 1)
		case 4:
			if _, err := peer.conn.Agree(t.Context(), &ententev1.AgreeRequest{Agreement: sign(draft(t, a), charlie)}); err != nil {
				t.Error(err)
			}
			return nil
		}
		select {
		case got <- raw:
		default:
		}
		return nil
	}})
	w.start("alpha")
	p := y.propose("alpha", a)
	select {
	case raw := <-got:
		if d, err := statement.ParseDraft[statement.Agreement](raw); err != nil || !slices.Equal(d.Signed, []string{"alpha/statement", "charlie/statement"}) {
			t.Errorf("in the end bravo was brought %s, %v", raw, err)
		}
	case <-time.After(patience):
		t.Fatal("bravo was not told again")
	}
	if p := y.until("alpha", p.GetSha256(), "open"); !slices.Equal(p.GetSigned(), []string{"alpha", "charlie"}) {
		t.Errorf("alpha has the signatures of %v", p.GetSigned())
	}
	if kinds := w.state("alpha").kinds(0); strings.Count(kinds, "proposed") != 1 || strings.Count(kinds, "signed") != 1 {
		t.Errorf("leaves: %s", kinds)
	}
}

// TestAgreeWithOldKey has bravo find a statement key that charlie replaced a month ago, and sign with it for charlie.
func TestAgreeWithOldKey(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	y := w.treaty("alpha", "bravo")
	found := w.keys("charlie").Statement
	home, err := node.OpenHome(t.Context(), w.Home("charlie"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = home.RenewCard(t.Context(), time.Now(), node.RenewOptions{RecoveryFile: w.recoveryFile("charlie")})
	if err := errors.Join(err, home.Close()); err != nil {
		t.Fatal(err)
	}
	w.start("alpha", "bravo", "charlie")
	w.knows("alpha", func(h *member.History) bool { return len(h.Cards("charlie")) == 2 })
	a := y.watch("kestrel-watch", "alpha", "bravo", "charlie")
	raw := draft(t, a)
	for _, k := range []*statement.Key{w.keys("bravo").Statement, found} {
		if raw, err = statement.AddSignature(raw, k); err != nil {
			t.Fatal(err)
		}
	}
	w.setClock("alpha", limit.KeyRetirement+time.Hour)
	_, err = w.peer("bravo", "alpha").conn.Agree(t.Context(), &ententev1.AgreeRequest{Agreement: raw})
	wantFault(t, err, fault.Invalid, "which charlie does not use any more")
	w.setClock("alpha", 0)
}

// TestNameLikeID has bravo propose an agreement that is called as the first digits of another proposal: nobody signs it by mistake.
func TestNameLikeID(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	y := w.treaty("alpha", "bravo")
	w.start("alpha", "bravo")
	meant := y.watch("kestrel-watch", "alpha", "bravo")
	id := ""
	for ; id == "" || id[0] < 'a'; meant.RetainDays++ { // a name begins with a letter
		d, err := statement.ParseDraft[statement.Agreement](draft(t, meant))
		if err != nil {
			t.Fatal(err)
		}
		id = d.Hash.String()[:8]
	}
	meant.RetainDays--
	other := y.watch(id, "alpha", "bravo")
	for _, a := range []statement.Agreement{meant, other} {
		p := y.propose("bravo", a)
		y.until("alpha", p.GetSha256(), "open")
	}
	_, err := y.calls["alpha"].SignProposal(t.Context(), &ententev1.SignProposalRequest{Proposal: id})
	wantFault(t, err, fault.Misused, "fits 2 proposals")
	_, err = y.calls["alpha"].DeclineProposal(t.Context(), &ententev1.DeclineProposalRequest{Proposal: id, Reason: "no"})
	wantFault(t, err, fault.Misused, "fits 2 proposals")
}

// refusing answers every proposal with one error.
type refusing struct {
	ententev1.UnimplementedPeerServiceServer
	err error
}

func (r refusing) Agree(context.Context, *ententev1.AgreeRequest) (*ententev1.AgreeResponse, error) {
	return nil, r.err
}

// TestRefusedProposalsRest: a node that refuses an agreement is asked again in an hour, for only people change its mind; one that cannot
// answer now is asked again soon.
func TestRefusedProposalsRest(t *testing.T) {
	t.Parallel()
	for kind, rests := range map[fault.Kind]bool{fault.Invalid: true, fault.Conflict: true, fault.Misused: true, fault.Transient: false, fault.Failed: false} {
		w := found(t, "alpha", "bravo")
		y := w.treaty("alpha")
		w.play("bravo", refusing{err: fault.New(kind, "", "not this one")})
		w.start("alpha")
		p := y.propose("alpha", y.watch("kestrel-watch", "alpha", "bravo"))
		h := w.reader("alpha")
		var list []store.Outgoing
		tried := func() bool {
			list = w.outgoing(h)
			// A machine that is busy may not even connect at first, which is tried again soon.
			return len(list) == 1 && list[0].Attempts > 0 && (!rests || time.Until(list[0].Due) > limit.RetryRefused-time.Minute)
		}
		if !eventually(tried) {
			t.Fatalf("%s: the outbox has %v", kind, list)
		}
		pause := time.Until(list[0].Due)
		if list[0].Kind != store.OutgoingAgreement || !rests && pause > limit.RetryMost*2 {
			t.Errorf("%s: after %d attempts, the next one is in %s", kind, list[0].Attempts, pause)
		}
		if untold := y.until("alpha", p.GetSha256(), "open").GetUntold(); len(untold) != 1 {
			t.Errorf("%s: untold %v", kind, untold)
		}
	}
}
