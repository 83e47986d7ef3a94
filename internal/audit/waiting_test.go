package audit

import (
	"testing"

	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// draft is a release that waits.
type draft struct {
	*statement.Unsigned[statement.Manifest]
	document
}

// hold has alice release something that waits for a second person.
func (h *home) hold(to ...string) draft {
	h.t.Helper()
	before := h.tweakManifest
	h.tweakManifest = func(m *statement.Manifest) {
		m.Label = "TLP:AMBER+STRICT"
		if before != nil {
			before(m)
		}
	}
	d := draft{document: h.document("alpha", "", to...)}
	h.tweakManifest = before
	d.Unsigned = must[*statement.Unsigned[statement.Manifest]](h.t)(statement.ParseDraft[statement.Manifest](must[[]byte](h.t)(statement.Draft(d.document.Terms))))
	blob := d.document
	blob.Signed = &statement.Signed[statement.Manifest]{Hash: d.Unsigned.Hash}
	h.blob(blob)
	h.update(func(tx *store.Tx) error {
		rules, private := h.decided(policy.Release, d.Unsigned.Terms)
		return steps(func() error { return tx.PutWaiting(d.Unsigned, d.header, d.salt) },
			h.record(tx, statement.Event{Kind: statement.EventWaiting, ID: d.Unsigned.Terms.ID, Statement: d.Unsigned.Hash, Peers: to, Stage: "release", Rules: rules, Private: private}))
	})
	return d
}

func (h *home) lapse(d draft) {
	h.t.Helper()
	m := d.Unsigned.Terms
	h.update(func(tx *store.Tx) error {
		return steps(func() error { return tx.EndWaiting(d.Unsigned.Hash, store.Lapsed) },
			h.record(tx, statement.Event{Kind: statement.EventLapsed, ID: m.ID, Statement: d.Unsigned.Hash, Peers: m.To}))
	})
	check(h.t, h.blobs.Remove(d.Unsigned.Hash))
}

// approve has ann approve it. edit may change what is signed and what stands behind the leaf.
func (h *home) approve(d draft, edit func(*statement.Manifest, *statement.Event)) {
	h.t.Helper()
	m := d.Unsigned.Terms
	ann := policy.Person{Name: "ann", Roles: []string{policy.Approver}, Labels: []string{"TLP:RED"}, TrainedUntil: h.now.AddDate(1, 0, 0)}
	_, private := h.decidedBy(policy.Approve, m, &ann, nil)
	approval := private[1].Value
	m.Approval = statement.Approval{By: "spiffe://alpha/person/ann", At: h.now}
	e := statement.Event{Kind: statement.EventReleased, ID: m.ID, Peers: m.To, Stage: "release"}
	m.Approval.By = "spiffe://alpha/person/ann"
	alice := h.alice()
	e.Rules, e.Private = h.decidedBy(policy.Release, m, &alice, &ann)
	e.Private = append(e.Private, statement.Private{Field: "approver", Value: []byte(m.Approval.By)}, statement.Private{Field: "approval", Value: approval})
	if edit != nil {
		edit(&m, &e)
	}
	signed := must[*statement.Signed[statement.Manifest]](h.t)(statement.Sign(m, h.parties["alpha"].statement))
	e.Manifest = signed.Hash
	check(h.t, h.blobs.Link(d.Unsigned.Hash, signed.Hash))
	h.update(func(tx *store.Tx) error {
		err := steps(func() error { return tx.EndWaiting(d.Unsigned.Hash, store.Approved) },
			func() error { return tx.PutManifest(signed, d.header, d.salt, nil) })
		for _, to := range m.To {
			if err == nil {
				err = steps(func() error { return tx.PutExchange(signed.Hash, to, store.Queued, h.now) },
					func() error {
						return tx.Enqueue(store.Outgoing{Peer: to, Kind: store.OutgoingDocument, Statement: signed.Hash, Due: h.now})
					})
			}
		}
		if err != nil {
			return err
		}
		return h.record(tx, e)()
	})
	check(h.t, h.blobs.Remove(d.Unsigned.Hash))
}

// waiting makes a release of each state.
func (h *home) waiting() {
	h.t.Helper()
	h.hold("bravo")
	h.lapse(h.hold("bravo", "charlie"))
	h.approve(h.hold("charlie"), nil)
	h.publish()
}

// What a home says of a second person must be true.
func TestVerifyHomeFindsUntrueApprovals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(h *home, m *statement.Manifest, e *statement.Event)
		ok   bool
	}{
		"nothing changed": {func(*home, *statement.Manifest, *statement.Event) {}, true},
		"another approver in the manifest": {func(_ *home, m *statement.Manifest, _ *statement.Event) {
			m.Approval.By = "spiffe://alpha/person/adam"
		}, false},
		"another approver behind the leaf": {func(_ *home, m *statement.Manifest, e *statement.Event) {
			m.Approval.By = "spiffe://alpha/person/adam"
			e.Private[2].Value = []byte(m.Approval.By)
		}, false},
		"no decision about the approval": {func(_ *home, _ *statement.Manifest, e *statement.Event) { e.Private = e.Private[:3] }, false},
		"no approver behind the leaf": {func(_ *home, _ *statement.Manifest, e *statement.Event) {
			e.Private = append(e.Private[:2:2], e.Private[3])
		}, false},
		"the release's decision in place of the approval's": {func(_ *home, _ *statement.Manifest, e *statement.Event) { e.Private[3].Value = e.Private[1].Value }, false},
		"a release that was decided without approver": {func(h *home, m *statement.Manifest, e *statement.Event) {
			rules, private := h.decided(policy.Release, *m)
			e.Rules, e.Private[1] = rules, private[1]
		}, false},
		"another approver of the release": {func(h *home, m *statement.Manifest, e *statement.Event) {
			alice, adam := h.alice(), policy.Person{Name: "adam", Roles: []string{policy.Approver}, Labels: []string{"TLP:RED"}, TrainedUntil: h.now.AddDate(1, 0, 0)}
			_, private := h.decidedBy(policy.Release, *m, &alice, &adam)
			e.Private[1] = private[1]
		}, false},
		"another purpose": {func(_ *home, m *statement.Manifest, _ *statement.Event) { m.Purpose = "exercise" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newWorld(t).home()
			h.found()
			h.approve(h.hold("bravo"), func(m *statement.Manifest, e *statement.Event) { c.edit(h, m, e) })
			h.publish()
			if r := h.verify(); r.OK() != c.ok {
				t.Errorf("problems: %v", r.Problems)
			}
		})
	}
}

// A release waits only where a second person cures all that stands against it.
func TestVerifyHomeFindsReleasesThatNeedNotWait(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.found()
	d := h.hold("bravo")
	h.sound()
	h.lapse(d)
	h.sound()
	h.tweakManifest = func(m *statement.Manifest) { m.Label = "TLP:RED" }
	h.hold("bravo")
	if h.verify().OK() {
		t.Error("a release above the ceiling waits for an approval that would not cure it, and that was not found")
	}
}

// What a member said that it would decide is verified like what it decided.
func TestVerifyHomeFindsUntrueRehearsals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*statement.Event)
		ok   bool
	}{
		"nothing changed": {nil, true},
		"other rules":     {func(e *statement.Event) { e.Rules = []string{"base/label-ceiling"} }, false},
		"no record":       {func(e *statement.Event) { e.Private = nil }, false},
		"another stage":   {func(e *statement.Event) { e.Stage = "open" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newWorld(t).home()
			h.found()
			for _, label := range []string{"TLP:AMBER", "TLP:RED"} {
				m := h.document("bravo", "", "alpha").Terms
				m.ID, m.Label, m.SealedFor, m.Content = "", label, nil, statement.Content{}
				e := statement.Event{Kind: statement.EventRehearsed, Peers: []string{"bravo"}, Stage: "accept"}
				e.Rules, e.Private = h.decided(policy.Accept, m)
				if c.edit != nil {
					c.edit(&e)
				}
				h.update(func(tx *store.Tx) error { return h.record(tx, e)() })
			}
			h.publish()
			if r := h.verify(); r.OK() != c.ok {
				t.Errorf("problems: %v", r.Problems)
			}
		})
	}
}
