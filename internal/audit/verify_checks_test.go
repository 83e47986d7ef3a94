package audit

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// replaced is a private value, changed before the leaf commits to it.
func replaced(field, old, changed string) func(*statement.Event) {
	return func(e *statement.Event) {
		for i, p := range e.Private {
			if p.Field == field {
				e.Private[i].Value = bytes.Replace(p.Value, []byte(old), []byte(changed), 1)
			}
		}
	}
}

// recorded puts another decision behind an event.
func (h *home) recorded(stage policy.Stage, change func(*statement.Manifest)) func(*statement.Event) {
	return func(e *statement.Event) {
		m := h.document("alpha", e.ID, e.Peers...).Terms
		change(&m)
		e.Rules, e.Private = h.decided(stage, m)
	}
}

// TestVerifyHomeFindsUntruth lets a home record what no node would, everything signed and committed to as it must be, and
// expects just the problem that names it.
func TestVerifyHomeFindsUntruth(t *testing.T) {
	t.Parallel()
	release := func(h *home) { h.release("bravo") }
	dated := func(d time.Duration) func(h *home) {
		return func(h *home) {
			doc := h.release("bravo")
			h.tweakReceipt = func(r *statement.Receipt) { r.At = r.At.Add(d) }
			h.settle(doc, "bravo", store.Delivered, statement.EventDelivered, h.receipt(statement.Stored, "bravo", doc, 1))
		}
	}
	for name, test := range map[string]struct {
		tweak func(h *home) // before
		act   func(h *home)
		want  string // part of a problem
	}{
		"decision without a record": {func(h *home) { h.tweak = func(e *statement.Event) { e.Private = nil } }, release, `there is no record of the decision behind "released"`},
		"refusal without a record": {func(h *home) { h.tweak = func(e *statement.Event) { e.Rules = []string{"base/label-ceiling"} } },
			func(h *home) { h.refuse(h.document("bravo", "", "alpha"), false) }, `there is no record of the decision behind "refused"`},
		"a record that is none": {func(h *home) { h.tweak = replaced("decision", `{"v":1`, `{"v":7`) }, release, "version 7 is unknown"},
		"permitted against the rules": {func(h *home) { h.tweak = replaced("decision", `"label":"TLP:AMBER"`, `"label":"TLP:RED"`) }, release,
			"by the same facts and policies it is [base/label-ceiling base/two-keys] (permit: false)"},
		"released though denied": {func(h *home) {
			h.tweak = h.recorded(policy.Release, func(m *statement.Manifest) { m.Label = "TLP:RED" })
		}, release, `it says "released", and the decision behind it was permit: false`},
		"denied though permitted": {nil, func(h *home) {
			h.update(func(tx *store.Tx) error {
				m := h.document("alpha", "", "bravo").Terms
				rules, private := h.decided(policy.Release, m)
				return h.record(tx, statement.Event{Kind: statement.EventDenied, ID: m.ID, Stage: "release", Rules: rules, Private: private})()
			})
		}, `it says "denied", and the decision behind it was permit: true`},
		"other rules in the leaf": {func(h *home) { h.tweak = func(e *statement.Event) { e.Rules = []string{"base/open"} } }, release, "it gives the rules [base/open]"},
		"decided about another manifest": {func(h *home) {
			h.tweak = h.recorded(policy.Release, func(m *statement.Manifest) { m.Purpose, m.Label = "incident-response", "TLP:GREEN" })
		}, release, "is about another manifest than"},
		"other facts under the same core": {func(h *home) { h.tweak = replaced("decision", `"label":"TLP:AMBER"`, `"label":"TLP:GREEN"`) }, release,
			"is about another manifest than"},
		"decided about another id": {func(h *home) {
			h.tweak = h.recorded(policy.Release, func(m *statement.Manifest) { m.ID = "01K7XQ3W0V6N2T9R4M99999999" })
		}, release, `is about the id "01K7XQ3W0V6N2T9R4M99999999"`},
		"decided at another stage":  {func(h *home) { h.tweak = func(e *statement.Event) { e.Stage = "approve" } }, release, `is for the stage "release", and the leaf for "approve"`},
		"decided by another member": {func(h *home) { h.tweak = replaced("decision", `"self":"alpha"`, `"self":"bravo"`) }, release, `is one of "bravo"`},
		"decided for another person": {func(h *home) { h.tweak = replaced("person", "alice", "mallory") }, release,
			`names the person "spiffe://alpha/person/alice", and the leaf is committed to "spiffe://alpha/person/mallory"`},
		"decided after it was done": {func(h *home) {
			h.tweak = replaced("decision", `"now":"2026-11-23T09:00:00Z"`, `"now":"2026-11-23T09:05:01Z"`)
		}, release, "after the leaf"},
		"other terms of the agreement": {func(h *home) { h.tweak = replaced("decision", `"retain_days_max":90`, `"retain_days_max":900`) }, release,
			"has other terms than the agreement"},
		"an agreement that is not here": {func(h *home) {
			unknown := *h.agreement
			unknown.Hash[0] ^= 1
			known := h.agreement
			h.tweakManifest = func(m *statement.Manifest) { m.AgreementHash = unknown.Hash }
			h.tweak = func(e *statement.Event) {
				h.agreement = &unknown
				e.Rules, e.Private = h.decided(policy.Release, h.document("alpha", e.ID, e.Peers...).Terms)
				h.agreement = known
			}
		}, release, "which is not here"},

		"event of a manifest that is not here": {nil, func(h *home) {
			h.update(func(tx *store.Tx) error {
				return h.record(tx, statement.Event{Kind: statement.EventReopened, ID: "01K7XQ3W0V6N2T9R4M5B8C1D2E", Manifest: statement.HashBytes([]byte("none"))})()
			})
		}, "there are leaves about it, and it is missing"},
		"event without a manifest": {nil, func(h *home) {
			h.update(func(tx *store.Tx) error {
				return h.record(tx, statement.Event{Kind: statement.EventReopened, Stage: "open"})()
			})
		}, `a leaf "reopened" must name the manifest that it is about`},
		"adoption without a statement": {nil, func(h *home) {
			h.update(func(tx *store.Tx) error { return h.record(tx, statement.Event{Kind: statement.EventCard})() })
		}, `a leaf "card" must name the statement`},
		"adopted twice": {nil, func(h *home) {
			h.update(func(tx *store.Tx) error {
				return h.record(tx, statement.Event{Kind: statement.EventAgreement, Statement: h.agreement.Hash})()
			})
		}, "it records what leaf 4 records"},
		"adopted, and all traces gone but the leaf": {nil, func(h *home) {
			h.exec("DELETE FROM agreement")
			h.exec("DELETE FROM statement WHERE kind = 'agreement'")
		}, `it says "agreement", and the row about that is missing`},
		"delivered before it was released": {nil, func(h *home) {
			d := h.receive("bravo", "alpha")
			h.update(func(tx *store.Tx) error {
				receipt := statement.HashBytes([]byte("a receipt"))
				return h.record(tx, statement.Event{Kind: statement.EventDelivered, ID: d.Terms.ID, Manifest: d.Hash, Receipt: receipt, Peers: []string{"bravo"}})()
			})
		}, "of a document that was not released before"},
		"times that run backwards": {nil, func(h *home) {
			d := h.release("bravo")
			h.now = h.now.Add(-6 * time.Minute)
			h.settle(d, "bravo", store.Expired, statement.EventExpired, nil)
			h.now = h.now.Add(6 * time.Minute)
		}, "it is dated 2026-11-23T08:54:00Z, and a leaf before it about the same manifest 2026-11-23T09:00:00Z"},

		"own receipt of another time": {func(h *home) { h.tweakReceipt = func(r *statement.Receipt) { r.At = r.At.Add(time.Second) } },
			func(h *home) { h.receive("bravo", "alpha") }, "it is dated 2026-11-23T09:00:01Z, and leaf"},
		"receipt from the future":      {nil, dated(6 * time.Minute), "it is dated 2026-11-23T09:06:00Z, and came before that"},
		"receipt before the manifest":  {nil, dated(-6 * time.Minute), "and the manifest was only made"},
		"receipt with other reasons":   {nil, otherReasons, "it gives the rules [base/deadline], and leaf"},
		"receipt of nobody's document": {nil, strangersReceipt, "charlie signed it about"},

		"charter that nobody knows": {func(h *home) {
			h.tweakManifest = func(m *statement.Manifest) { m.Charter = statement.HashBytes([]byte("another")) }
		}, release, "which is none of this alliance"},
		"sent to no member": {func(h *home) {
			h.tweakManifest = func(m *statement.Manifest) { m.To = []string{"delta"} }
		}, func(h *home) { h.release("delta") }, "delta was no member in good standing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newWorld(t).home()
			h.found()
			if test.tweak != nil {
				test.tweak(h)
			}
			test.act(h)
			h.tweak, h.tweakManifest, h.tweakReceipt = nil, nil, nil
			problems := h.verify().Problems
			if !slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.String(), test.want) }) {
				t.Errorf("not found: %v", problems)
			}
		})
	}
}

func otherReasons(h *home) {
	d := h.release("bravo")
	r := h.receipt(statement.Refused, "bravo", d, 1)
	h.tweakReceipt = func(r *statement.Receipt) { r.Reasons[0].Rule = "deadline" }
	other := h.receipt(statement.Refused, "bravo", d, 1)
	h.tweak = func(e *statement.Event) { e.Rules = []string{"base/" + r.Terms.Reasons[0].Rule} }
	h.settle(d, "bravo", store.Refused, statement.EventReturned, other)
}

func strangersReceipt(h *home) {
	d := h.release("bravo")
	h.update(func(tx *store.Tx) error {
		r := h.receipt(statement.Opened, "charlie", d, 1)
		return steps(func() error { return tx.PutReceipt(r) },
			h.record(tx, statement.Event{Kind: statement.EventConfirmed, ID: d.Terms.ID, Manifest: d.Hash, Receipt: r.Hash, Peers: []string{"charlie"}}))
	})
}

func TestVerifyHomeNotes(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.found()
	h.release("bravo")
	h.receive("bravo", "alpha")
	h.tweak = func(e *statement.Event) {
		for _, p := range e.Private {
			// The digits of the base policy's hash in reverse: another version of the program decided.
			const mark = `{"set":"base","sha256":"`
			if at := bytes.LastIndex(p.Value, []byte(mark)) + len(mark); p.Field == "decision" {
				slices.Reverse(p.Value[at : at+64])
			}
		}
	}
	h.release("charlie")
	count := func(at time.Time) map[NoteKind]int {
		c := h.verification()
		c.Now = at
		r := must[*Report](t)(VerifyHome(t.Context(), c))
		if !r.OK() {
			t.Errorf("a note is no problem: %v", r.Problems)
		}
		kinds := map[NoteKind]int{}
		for _, n := range r.Notes {
			kinds[n.Kind]++
		}
		return kinds
	}
	if got := count(h.now.AddDate(0, 0, 31)); got[NoteOverdue] != 0 || got[NoteNotReplayed] != 1 {
		t.Errorf("on the last day: %v", got)
	}
	if got := count(h.now.AddDate(0, 0, 31).Add(time.Second)); got[NoteOverdue] != 3 {
		t.Errorf("a day and a second after retention: %v", got)
	}
}

func TestCourse(t *testing.T) {
	t.Parallel()
	for order, want := range map[string]string{
		"released delivered:b confirmed:b returned:c": "", "released expired:b confirmed:b": "", "received opened reopened reopened": "",
		"received denied opened undecryptable": "", "refused": "", "received undecryptable": "",
		"delivered:b": "not released", "returned:b": "not released", "expired:b": "not released", "confirmed:b": "not released",
		"released confirmed:b": "before the delivery", "released delivered:c confirmed:b": "before the delivery",
		"released returned:b confirmed:b": "after b had refused", "released returned:b delivered:b": "after b had refused",
		"released returned:b expired:b": "after b had refused", "released delivered:b expired:b": `a leaf before it "delivered"`,
		"released expired:b delivered:b": `a leaf before it "expired"`,
		"opened":                         "not received", "undecryptable": "not received", "reopened": "not received", "denied": "not received",
		"received reopened": "not opened", "received undecryptable reopened": "not opened",
		"refused received": "after the document was refused", "refused opened": "after the document was refused",
		"refused denied": "after the document was refused", "received refused": "after the document was received",
	} {
		var c course
		got := ""
		for word := range strings.FieldsSeq(order) {
			kind, peer, _ := strings.Cut(word, ":")
			l := statement.Leaf{Kind: statement.EventKind(kind)}
			if peer != "" {
				l.Peers = []string{peer}
			}
			if got != "" {
				t.Errorf("%s: %q before its last leaf", order, got)
			}
			got = c.next(l)
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, expected %q", order, got, want)
		}
	}
}
