package audit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// verifyTrust opens charter, amendments and cards, and builds the history that all other keys come from.
func (v *homeVerifier) verifyTrust() {
	var charters [][]byte
	rows, err := v.view.CharterRows()
	v.failed("charter", err)
	for _, r := range rows {
		where := fmt.Sprintf("charter %d", r.Version)
		s, err := statement.OpenSelfSigned[statement.Charter](r.Raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256)
		v.equal(where, "version", r.Version, s.Terms.Version)
		v.adopted(where, statement.EventCharter, s.Hash)
		charters = append(charters, r.Raw)
	}
	cards := v.verifyCards()
	charters = append(charters, v.verifyAmendments()...)
	if len(rows)+len(charters)+len(cards) > 0 {
		// This verifies the signatures of the amendments, too: under keys that follow from all the others.
		if v.history, err = member.Restore(charters, cards); err != nil {
			v.report.add("charter", "%v", err)
		} else {
			// What was signed before a key was called compromised stays in the home.
			v.verifiers = v.history.AllVerifiers()
		}
	}
	v.verifyAgreements()
	v.verifyReconciliations()
	v.verifyHouse()
}

func (v *homeVerifier) verifyCards() (cards [][]byte) {
	rows, err := v.view.CardRows()
	v.failed("card", err)
	for _, r := range rows {
		where := fmt.Sprintf("card %s %d", r.Member, r.Version)
		s, err := statement.OpenSelfSigned[statement.Card](r.Raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256)
		v.equal(where, "member", r.Member, s.Terms.Member)
		v.equal(where, "version", r.Version, s.Terms.Version)
		v.adopted(where, statement.EventCard, s.Hash)
		cards = append(cards, r.Raw)
	}
	return cards
}

func (v *homeVerifier) verifyAmendments() (amendments [][]byte) {
	rows, err := v.view.AmendmentRows()
	v.failed("amendment", err)
	for _, r := range rows {
		where := fmt.Sprintf("amendment %d %.6x", r.Version, r.Sha256)
		s, err := statement.ParseDraft[statement.Amendment](r.Raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256)
		v.equal(where, "version", r.Version, s.Terms.Version)
		v.equal(where, "previous", fmt.Sprintf("%x", r.Previous), s.Terms.Previous.String())
		v.adopted(where, statement.EventAmended, s.Hash)
		amendments = append(amendments, r.Raw)
	}
	return amendments
}

// verifyReconciliations checks what this member and others found when they compared their logs.
func (v *homeVerifier) verifyReconciliations() {
	for r, err := range v.view.ReconciliationRows() {
		if v.failed("reconciliation", err) {
			return
		}
		where := fmt.Sprintf("reconciliation %.6x", r.Sha256)
		raw, err := v.statement(r.Sha256)
		if v.failed(where, err) {
			continue
		}
		s, err := openWith[statement.Reconciliation](v, raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256)
		v.equal(where, "peer", r.Peer, other(s.Terms.Parties, v.self))
		v.equal(where, "since", r.Since, s.Terms.Since.UnixMicro())
		v.equal(where, "until", r.Until, s.Terms.Until.UnixMicro())
		v.adopted(where, statement.EventReconciled, s.Hash)
		if s.Terms.Alliance != v.history.Alliance() {
			v.report.add(where, "it belongs to another alliance")
		}
	}
}

// other gives the party that is not self; "" if self is none of two.
func other(parties []string, self string) string {
	if i := slices.Index(parties, self); i >= 0 && len(parties) == 2 {
		return parties[1-i]
	}
	return ""
}

// openWith opens a statement under the keys of these members, or of all.
func openWith[T statement.Terms](v *homeVerifier, raw []byte, members ...string) (*statement.Signed[T], error) {
	if v.history == nil {
		return nil, errors.New("its signatures cannot be verified without a sound charter")
	}
	v.report.Statements++
	if len(members) == 0 {
		return statement.Open[T](raw, v.verifiers)
	}
	return statement.Open[T](raw, v.history.AllVerifiers(members...))
}

// row checks that a row names its statement.
func (v *homeVerifier) row(where string, hash statement.Hash, column []byte) {
	if string(column) != string(hash[:]) {
		v.report.add(where, "its statement is %s, and not the one that the row names", hash.Short())
	}
}

// equal compares a column with what the statement says.
func (v *homeVerifier) equal(where, column string, got, want any) {
	if got != want {
		v.report.add(where, "the column %s says %.80q, the statement %.80q", column, fmt.Sprint(got), fmt.Sprint(want))
	}
}

// adopted looks for the leaf that says that a statement was adopted, and gives its time.
func (v *homeVerifier) adopted(where string, kind statement.EventKind, hash statement.Hash) (at time.Time) {
	l := v.leafAbout(where, kind, hash)
	if l == nil {
		v.report.add(where, "the log has no leaf %q about it", kind)
		return at
	}
	return l.Time
}

// leafAbout gives the leaf of that kind about a statement, of which there is at most one; nil if there is none.
func (v *homeVerifier) leafAbout(where string, kind statement.EventKind, hash statement.Hash) (found *statement.Leaf) {
	first := int64(-1)
	for r, err := range v.view.LeavesAbout(hash[:], 0) {
		if v.failed(where, err) {
			return found
		}
		l, err := statement.ParseLeaf(r.Body)
		if err != nil || l.Kind != kind || l.Statement == nil || *l.Statement != hash {
			continue // what is wrong with the leaf is found where the log is read
		}
		if first >= 0 {
			v.report.add(fmt.Sprintf("leaf %d", r.Idx), "it records what leaf %d records", first)
			return found
		}
		first, found = r.Idx, &l
	}
	return found
}

// adoption looks for the row of a leaf that says that a statement was adopted. A new kind of such leaves needs a line here.
func (v *homeVerifier) adoption(where string, l statement.Leaf) {
	rows := map[statement.EventKind]func(statement.Hash) (bool, error){
		statement.EventCharter: v.view.HasCharterRow, statement.EventCard: v.view.HasCardRow, statement.EventAgreement: v.view.HasAgreementRow,
		statement.EventAmended: v.view.HasAmendmentRow, statement.EventForked: v.view.HasForkRow, statement.EventReconciled: v.view.HasReconciliationRow,
		statement.EventProposed: v.view.HasProposalRow, statement.EventSigned: v.view.HasProposalRow,
		statement.EventDeclined: v.view.HasNoticeRow, statement.EventWithdrawn: v.view.HasNoticeRow,
		statement.EventWaiting: v.view.HasWaitingRow, statement.EventLapsed: v.view.HasWaitingRow,
	}
	has := rows[l.Kind]
	if has == nil {
		return
	}
	if l.Statement == nil || l.Manifest != nil {
		v.report.add(where, "a leaf %q must name the statement that it is about, and no manifest", l.Kind)
		return
	}
	if there, err := has(*l.Statement); !v.failed(where, err) && !there {
		v.report.add(where, "it says %q, and the row about that is missing", l.Kind)
	}
}

// mostAgreements bounds the agreements that are kept at hand. Most decisions are about the same few.
const mostAgreements = 64

// agreement gives an agreement that this home has, verified; nil if there is none, or none that is sound.
func (v *homeVerifier) agreement(hash statement.Hash) *statement.Agreement {
	if a, known := v.agreements[hash]; known {
		return a
	}
	if len(v.agreements) == mostAgreements {
		clear(v.agreements)
	}
	v.agreements[hash] = nil
	if row, err := v.view.AgreementByHash(hash); err == nil {
		if s, err := openWith[statement.Agreement](v, row.Raw); err == nil && s.Hash == hash {
			s.Terms.Prose = "" // the longest part, and nothing is decided by it
			v.agreements[hash] = &s.Terms
		}
	}
	return v.agreements[hash]
}
