package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// outcomes says which events rest on a decision, and what it must have been. A refusal may rest on either, or on a check of
// the node's own; a rehearsal on either.
var outcomes = map[statement.EventKind]bool{
	statement.EventReleased: true, statement.EventReceived: true, statement.EventOpened: true, statement.EventReopened: true,
	statement.EventUndecryptable: true, statement.EventDenied: false, statement.EventRefused: false,
	statement.EventWaiting: false, statement.EventRehearsed: false,
}

// What a recipient's node checks itself, see docs/life-of-a-document.md: before the policies are asked, and after they have
// permitted.
var (
	rulesBefore = []string{"base/id-unique", "base/recipient-here", "base/sealed-for"}
	rulesAfter  = []string{"base/payload", "base/header"}
)

// decision makes the decision behind a leaf again, and compares it with the leaf and with the manifest, which is nil if there is none.
func (v *homeVerifier) decision(where string, idx int64, l statement.Leaf, m *statement.Signed[statement.Manifest]) {
	permit, due := outcomes[l.Kind]
	if !due {
		return
	}
	record, err := v.view.PrivateField(idx, "decision")
	if errors.Is(err, store.ErrNotFound) {
		if l.Kind != statement.EventRefused || !only(l.Rules, rulesBefore) {
			v.report.add(where, "there is no record of the decision behind %q", l.Kind)
		}
		return
	}
	if v.failed(where, err) {
		return
	}
	d, err := policy.Replay(record, policy.Sources{Agreement: v.agreement, House: v.house})
	other := errors.Is(err, policy.ErrOtherPolicy) || errors.Is(err, policy.ErrNoFacts)
	if err != nil && !other {
		v.report.add(where, "%v", err)
		return
	}
	v.outcome(where, l, d.Recorded, permit)
	v.houseReasons(where, idx, d.Recorded)
	if errors.Is(err, policy.ErrOtherPolicy) {
		if wrong := v.untrueAgreement(d.Request); wrong != "" {
			v.report.add(where, "the record of its decision %s", wrong)
		}
	}
	if other {
		v.report.note(NoteNotReplayed, where, "its decision cannot be made again: %v", err)
		return
	}
	v.report.Decisions++
	if !d.Agrees() {
		v.report.add(where, "its record says that %v decided (permit: %t), and by the same facts and policies it is %v (permit: %t)",
			d.Recorded.Rules, d.Recorded.Permit, d.Again.Rules, d.Again.Permit)
	}
	if l.Kind == statement.EventWaiting && !d.Again.Waits {
		v.report.add(where, "it waits, and by the same facts and policies the approval of a second person would not cure it")
	}
	if wrong := v.untrue(idx, l, d); wrong != "" {
		v.report.add(where, "the record of its decision %s", wrong)
	}
	if m != nil && (d.Core != m.Terms.Core() || !sameCore(d.Request.Manifest, m.Terms)) {
		v.report.add(where, "the record of its decision is about another manifest than %s", m.Hash.Short())
	}
}

// outcome compares a leaf with the outcome in the record.
func (v *homeVerifier) outcome(where string, l statement.Leaf, d policy.Decision, permit bool) {
	switch {
	case l.Kind == statement.EventRefused && d.Permit && only(l.Rules, rulesAfter): // by the node itself
	case d.Permit != permit && l.Kind != statement.EventRehearsed:
		v.report.add(where, "it says %q, and the decision behind it was permit: %t", l.Kind, d.Permit)
	default:
		if rules, _ := d.Outward(v.self); !slices.Equal(rules, l.Rules) {
			v.report.add(where, "it gives the rules %v, and the record of its decision %v", l.Rules, rules)
		}
	}
}

// houseReasons compares what the house rules said with the record.
func (v *homeVerifier) houseReasons(where string, idx int64, d policy.Decision) {
	kept, err := v.view.PrivateField(idx, "house")
	if !errors.Is(err, store.ErrNotFound) && v.failed(where, err) {
		return
	}
	if string(kept) != string(d.House()) {
		v.report.add(where, "its reasons of the house rules are not those in the record of its decision")
	}
}

func only(rules, these []string) bool {
	return len(rules) > 0 && !slices.ContainsFunc(rules, func(r string) bool { return !slices.Contains(these, r) })
}

// untrue compares the facts in a record with what this home knows otherwise, and says what differs; "" if nothing does.
func (v *homeVerifier) untrue(idx int64, l statement.Leaf, d policy.Replayed) string {
	r := d.Request
	person, err := v.view.PrivateField(idx, "person")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		v.failed(fmt.Sprintf("leaf %d", idx), err)
	}
	approver, err := v.view.PrivateField(idx, "approver")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		v.failed(fmt.Sprintf("leaf %d", idx), err)
	}
	who, second := v.spiffe(r.Person), v.spiffe(r.Approver)
	switch {
	case r.Self != v.self:
		return fmt.Sprintf("is one of %.80q", r.Self)
	case string(r.Stage) != l.Stage:
		return fmt.Sprintf("is for the stage %.80q, and the leaf for %q", r.Stage, l.Stage)
	case r.Manifest.ID != l.ID:
		return fmt.Sprintf("is about the id %.80q, and the leaf about %q", r.Manifest.ID, l.ID)
	case string(person) != who:
		return fmt.Sprintf("names the person %.80q, and the leaf is committed to %.80q", who, person)
	case string(approver) != second:
		return fmt.Sprintf("names the approver %.80q, and the leaf is committed to %.80q", second, approver)
	case r.Now.After(l.Time.Add(limit.ClockSkew)):
		return fmt.Sprintf("is dated %s, after the leaf", r.Now.Format(time.RFC3339))
	}
	return v.untrueAgreement(r)
}

// spiffe is the SPIFFE ID of one of our own people; "" for nobody.
func (v *homeVerifier) spiffe(p *policy.Person) string {
	if p == nil {
		return ""
	}
	return "spiffe://" + v.self + "/person/" + p.Name
}

// untrueAgreement compares the agreement in a record with the one that was signed.
func (v *homeVerifier) untrueAgreement(r policy.Request) string {
	if r.Agreement == nil {
		return ""
	}
	a, b := *r.Agreement, v.agreement(r.AgreementHash)
	if b == nil {
		return "rests on the agreement " + r.AgreementHash.Short() + ", which is not here"
	}
	if a.Name != b.Name || a.Version != b.Version || a.Alliance != b.Alliance || !slices.Equal(a.Parties, b.Parties) || !slices.Equal(a.Purposes, b.Purposes) ||
		a.Ceiling != b.Ceiling || a.ApprovalAbove != b.ApprovalAbove || a.RetainDays != b.RetainDays || !a.NotBefore.Equal(b.NotBefore) || !a.NotAfter.Equal(b.NotAfter) {
		return "has other terms than the agreement " + r.AgreementHash.Short() + " that was signed"
	}
	return ""
}

// sameCore compares what rules see of a manifest.
func sameCore(a, b statement.Manifest) bool {
	words := func(m statement.Manifest) string {
		return strings.Join([]string{m.ID, m.From, strings.Join(m.To, ","), m.Charter.String(), m.Agreement, m.AgreementHash.String(), m.Purpose, m.Label, m.ReleasedBy, m.Approval.By}, "\n")
	}
	return words(a) == words(b) && a.Created.Equal(b.Created) && a.DeliverBy.Equal(b.DeliverBy) && a.RetainUntil.Equal(b.RetainUntil)
}
