package node_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"entente.example/internal/checkpoint"
	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// staff adds a person with those roles and no others.
func (w *world) staff(m, name string, roles ...string) {
	w.t.Helper()
	if err := w.AddPerson(w.t.Context(), m, name, roles...); err != nil {
		w.t.Fatal(err)
	}
}

// reconcile has a person of one member compare its log with another's.
func (w *world) reconcile(m, person, with string) (*statement.Signed[statement.Reconciliation], error) {
	w.t.Helper()
	out, err := w.as(m, person).Node().ReconcileWith(w.t.Context(), &ententev1.ReconcileWithRequest{With: with,
		Since: timestamppb.New(time.Now().Add(-time.Hour)), Until: timestamppb.New(time.Now().Add(time.Minute))})
	if err != nil {
		return nil, err
	}
	return statement.Open[statement.Reconciliation](out.GetReconciliation(), w.history.Verifiers(m, with))
}

// kept waits until a member has a reconciliation.
func (w *world) kept(m string, hash statement.Hash) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	h := w.reader(m)
	for {
		var there bool
		if err := h.DB.View(ctx, func(v *store.View) (err error) { there, err = v.HasReconciliationRow(hash); return err }); err != nil {
			w.t.Fatal(err)
		}
		if there {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.staff("alpha", "carla", "auditor")
	w.start("alpha", "bravo", "charlie")
	first := w.send("alpha", submission("bravo", "charlie"), []byte("one"))[0]
	w.await("alpha", first, "delivered")
	w.await("alpha", strings.Replace(first, "/bravo", "/charlie", 1), "delivered")
	back := w.send("bravo", submission("alpha"), []byte("two"))[0]
	w.await("bravo", back, "delivered")
	if _, err := open(t.Context(), w.person("bravo"), first); err != nil {
		t.Fatal(err)
	}
	w.await("alpha", first, "opened")

	s, err := w.reconcile("alpha", "carla", "bravo")
	if err != nil {
		t.Fatal(err)
	}
	// alpha: released, delivered, confirmed, received; nothing about charlie. bravo: received, opened, released, delivered.
	r := s.Terms
	if !r.Agrees() || !slices.Equal(r.Parties, []string{"alpha", "bravo"}) || r.Sides[0].Leaves != 4 || r.Sides[0].Matched != 4 || r.Sides[1].Matched != 4 || len(r.Open) != 0 {
		t.Errorf("got %+v", r)
	}
	w.kept("bravo", s.Hash)
	w.kept("alpha", s.Hash)
	if got := w.state("bravo"); !strings.HasSuffix(got.kinds(0), "reconciled") {
		t.Errorf("bravo's log ends %s", got.kinds(0))
	}

	// Whoever asks, the same is found. A later document is in it, though it is not opened.
	w.await("alpha", w.send("alpha", submission("bravo"), []byte("three"))[0], "delivered")
	again, err := w.reconcile("bravo", w.Person("bravo"), "alpha")
	if err != nil {
		t.Fatal(err)
	}
	if r := again.Terms; !r.Agrees() || r.Sides[0].Matched != 6 || r.Sides[1].Matched != 5 {
		t.Errorf("got %+v", r)
	}
	w.kept("alpha", again.Hash)
	_, err = w.reconcile("alpha", "carla", "alpha")
	wantFault(t, err, fault.Misused, "no other member")
	_, err = w.reconcile("alpha", "carla", "delta")
	wantFault(t, err, fault.Misused, "no other member")
}

// What was sent while the other side was away is open, and becomes matched.
func TestReconcileOpen(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.staff("alpha", "rita", "reader")
	w.start("alpha", "charlie") // who co-signs
	ref := w.send("alpha", submission("bravo"), []byte("one"))[0]
	_, err := w.reconcile("alpha", w.Person("alpha"), "bravo")
	wantFault(t, err, fault.Transient, "bravo does not answer")
	_, err = w.reconcile("alpha", "rita", "bravo")
	wantFault(t, err, fault.Forbidden, "takes the role auditor")
	w.start("bravo")
	w.await("alpha", ref, "delivered")
	s, err := w.reconcile("alpha", w.Person("alpha"), "bravo")
	if err != nil || !s.Terms.Agrees() || s.Terms.Sides[0].Matched != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	w.kept("bravo", s.Hash)
}

// books plays a member that hands its side in, and gives what the other signed.
func (p *peer) books(ctx context.Context, opening *ententev1.ReconcileOpening, entries ...*ententev1.ReconcileEntry) (*ententev1.ReconcileClosing, []*ententev1.ReconcileEntry, error) {
	stream, err := p.conn.Reconcile(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, msg := range []*ententev1.ReconcileRequest{{Opening: opening}, {Entries: entries}} {
		if err := stream.Send(msg); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, nil, err
	}
	var closing *ententev1.ReconcileClosing
	var list []*ententev1.ReconcileEntry
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return closing, list, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if m.GetClosing() != nil {
			closing = m.GetClosing()
		}
		list = append(list, m.GetEntries()...)
	}
}

// A member that hides a leaf is found out, and one that hands in nonsense gets no signature.
func TestReconcileHidden(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("alpha", "bravo", "charlie")
	ref := w.send("alpha", submission("bravo"), []byte("one"))[0]
	w.await("alpha", ref, "delivered")
	w.await("alpha", w.send("alpha", submission("charlie"), []byte("two"))[0], "delivered")

	w.cosigned("bravo")
	var raw []byte
	var hidden *ententev1.ReconcileEntry
	h := w.reader("bravo")
	err := h.DB.View(t.Context(), func(v *store.View) error {
		var err error
		if _, raw, err = v.Checkpoint(); err != nil {
			return err
		}
		leaves, err := v.Leaves(0, 1000)
		for i, l := range leaves {
			if parsed, err := statement.ParseLeaf(l); err == nil && parsed.Kind == statement.EventReceived {
				hidden = &ententev1.ReconcileEntry{Index: int64(i), Leaf: l}
			}
		}
		return err
	})
	if err != nil || hidden == nil {
		t.Fatal(err, hidden)
	}
	now := time.Now().UTC().Truncate(time.Second).Add(time.Second)
	opening := func() *ententev1.ReconcileOpening {
		return &ententev1.ReconcileOpening{Since: now.Add(-time.Hour).UnixMicro(), Until: now.UnixMicro(), Created: now.UnixMicro(), Checkpoint: raw}
	}
	bravo := w.peer("bravo", "alpha")
	closing, entries, err := bravo.books(t.Context(), opening())
	if err != nil {
		t.Fatal(err)
	}
	d, err := statement.ParseDraft[statement.Reconciliation](closing.GetReconciliation())
	if err != nil || d.Verify(w.history.Verifiers("alpha")) != nil || !slices.Equal(d.Missing, []string{"bravo/statement"}) {
		t.Fatalf("%+v, %v", d, err)
	}
	if only := d.Terms.Only; d.Terms.Agrees() || len(only) != 2 || only[0].Kind != statement.EventReleased || only[1].Kind != statement.EventDelivered || only[0].ID != strings.Split(ref, "/")[1] {
		t.Errorf("got %+v", d.Terms)
	}
	for _, e := range entries {
		if parsed, err := evidence.ParseEntry(e.GetIndex(), e.GetLeaf()); err != nil || !slices.Equal(parsed.Leaf.Peers, []string{"bravo"}) {
			t.Errorf("bravo was shown %s, %v", e.GetLeaf(), err)
		}
	}
	// Half a signature is no conclusion.
	_, err = bravo.conn.Concluded(t.Context(), &ententev1.ConcludedRequest{Reconciliation: closing.GetReconciliation()})
	wantFault(t, err, fault.Invalid, "must be signed by")
	// With the leaf everything is matched.
	closing, _, err = bravo.books(t.Context(), opening(), hidden)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = statement.ParseDraft[statement.Reconciliation](closing.GetReconciliation()); err != nil || !d.Terms.Agrees() || d.Terms.Sides[1].Matched != 1 {
		t.Errorf("got %+v, %v", d, err)
	}
	signed, err := statement.AddSignature(closing.GetReconciliation(), w.keys("bravo").Statement)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := bravo.conn.Concluded(t.Context(), &ententev1.ConcludedRequest{Reconciliation: signed}); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.state("alpha"); strings.Count(got.kinds(0), "reconciled") != 1 {
		t.Errorf("alpha's log: %s", got.kinds(0))
	}
	_, err = w.peer("charlie", "alpha").conn.Concluded(t.Context(), &ententev1.ConcludedRequest{Reconciliation: signed})
	wantFault(t, err, fault.Invalid, "unknown key")

	_, size, _ := checkpoint.Head(raw)
	for name, c := range map[string]struct {
		edit func(*ententev1.ReconcileOpening)
		e    *ententev1.ReconcileEntry
		kind fault.Kind
		text string
	}{
		"no leaf":        {nil, &ententev1.ReconcileEntry{Leaf: []byte("{}")}, fault.Invalid, "parse leaf"},
		"beyond its log": {nil, &ententev1.ReconcileEntry{Index: size.N, Leaf: hidden.GetLeaf()}, fault.Invalid, "is not in a log of"},
		"not about us":   {nil, &ententev1.ReconcileEntry{Leaf: []byte(strings.Replace(string(hidden.GetLeaf()), `"peers":["alpha"]`, `"peers":["charlie"]`, 1))}, fault.Invalid, "not about an exchange with us"},
		"no checkpoint":  {func(o *ententev1.ReconcileOpening) { o.Checkpoint = []byte("x") }, hidden, fault.Invalid, "checkpoint of bravo is not good"},
		"backwards":      {func(o *ententev1.ReconcileOpening) { o.Until = o.Since }, hidden, fault.Invalid, "ends before it begins"},
		"not yet":        {func(o *ententev1.ReconcileOpening) { o.Until = o.Created + 1e6 }, hidden, fault.Invalid, "later than now"},
		"clock":          {func(o *ententev1.ReconcileOpening) { o.Created += (2 * limit.ClockSkew).Microseconds() }, hidden, fault.Transient, "clocks"},
		"half a second":  {func(o *ententev1.ReconcileOpening) { o.Since += 5e5 }, hidden, fault.Invalid, "whole seconds"},
	} {
		o := opening()
		if c.edit != nil {
			c.edit(o)
		}
		_, _, err := bravo.books(t.Context(), o, c.e)
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Kind != c.kind || !strings.Contains(f.Text, c.text) {
			t.Errorf("%s: got %v, want %s with %q", name, err, c.kind, c.text)
		}
	}
}

// A member that answers with another result than both books give, or with nothing that is one, gets no signature of ours.
func TestReconcileLies(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("alpha", "bravo")
	ref := w.send("alpha", submission("bravo"), []byte("one"))[0]
	w.await("alpha", ref, "delivered")
	w.stop("bravo")
	var raw []byte
	h := w.reader("bravo")
	err := h.DB.View(t.Context(), func(v *store.View) (err error) { _, raw, err = v.Checkpoint(); return err })
	h.Close()
	if err != nil {
		t.Fatal(err)
	}
	_, tree, err := checkpoint.Head(raw)
	if err != nil {
		t.Fatal(err)
	}
	type stream = grpc.BidiStreamingServer[ententev1.ReconcileRequest, ententev1.ReconcileResponse]
	// honest computes what follows from both books, if bravo has none of the leaves; signed as whoever.
	honest := func(s stream, edit func(*statement.Reconciliation), signer *statement.Key) *ententev1.ReconcileClosing {
		var p evidence.Period
		alpha := evidence.Book{Member: "alpha", Log: "alpha/log/1"}
		for {
			m, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Error(err)
				return nil
			}
			if o := m.GetOpening(); o != nil {
				_, at, err := checkpoint.Head(o.GetCheckpoint())
				if err != nil {
					t.Error(err)
				}
				alpha.Size, alpha.Root = at.N, statement.Hash(at.Hash)
				p = evidence.Period{Alliance: w.history.Alliance(), Since: time.UnixMicro(o.GetSince()).UTC(), Until: time.UnixMicro(o.GetUntil()).UTC(), Created: time.UnixMicro(o.GetCreated()).UTC()}
			}
			for _, e := range m.GetEntries() {
				parsed, err := evidence.ParseEntry(e.GetIndex(), e.GetLeaf())
				if err != nil {
					t.Error(err)
				}
				alpha.Entries = append(alpha.Entries, parsed)
			}
		}
		r, err := evidence.Reconcile(p, alpha, evidence.Book{Member: "bravo", Log: "bravo/log/1", Size: tree.N, Root: statement.Hash(tree.Hash)})
		if err != nil {
			t.Error(err)
		}
		edit(&r)
		draft, err := statement.Draft(r)
		if err != nil {
			t.Error(err)
		}
		signed, err := statement.AddSignature(draft, signer)
		if err != nil {
			t.Error(err)
		}
		return &ententev1.ReconcileClosing{Checkpoint: raw, Reconciliation: signed}
	}
	as := func(*statement.Reconciliation) {}
	bravo, charlie := w.keys("bravo").Statement, w.keys("charlie").Statement
	played := &recipient{}
	w.play("bravo", played)
	for _, c := range []struct {
		name, text string
		answer     func(stream) *ententev1.ReconcileClosing
	}{
		{"all is well", "comes to another result", func(s stream) *ententev1.ReconcileClosing {
			return honest(s, func(r *statement.Reconciliation) {
				r.Only, r.Sides[0].Only, r.Sides[0].Matched = nil, 0, r.Sides[0].Leaves
			}, bravo)
		}},
		{"another period", "comes to another result", func(s stream) *ententev1.ReconcileClosing {
			return honest(s, func(r *statement.Reconciliation) { r.Since = r.Since.Add(time.Second) }, bravo)
		}},
		{"another's signature", "is not good", func(s stream) *ententev1.ReconcileClosing { return honest(s, as, charlie) }},
		{"no signature", "is not good", func(s stream) *ententev1.ReconcileClosing {
			c := honest(s, as, bravo)
			text, _, _ := strings.Cut(string(c.GetReconciliation()), "— ")
			c.Reconciliation = []byte(text)
			return c
		}},
		{"another's checkpoint", "checkpoint of bravo is not good", func(s stream) *ententev1.ReconcileClosing {
			c := honest(s, as, bravo)
			c.Checkpoint = []byte(strings.Replace(string(raw), "bravo/log/1", "alpha/log/1", 1))
			return c
		}},
		{"nothing", "ended the comparison without a result", func(s stream) *ententev1.ReconcileClosing { honest(s, as, bravo); return nil }},
	} {
		played.books = func(s stream) error { return s.Send(&ententev1.ReconcileResponse{Closing: c.answer(s)}) }
		_, err := w.reconcile("alpha", w.Person("alpha"), "bravo")
		wantFault(t, err, fault.Invalid, c.text)
	}
	if got := w.state("alpha"); strings.Contains(got.kinds(0), "reconciled") {
		t.Errorf("alpha's log: %s", got.kinds(0))
	}
	// The truth, that bravo has nothing, is signed.
	played.books = func(s stream) error { return s.Send(&ententev1.ReconcileResponse{Closing: honest(s, as, bravo)}) }
	s, err := w.reconcile("alpha", w.Person("alpha"), "bravo")
	if err != nil || s.Terms.Agrees() || s.Terms.Sides[0].Only != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}
