package audit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	"entente.example/internal/store/sqlc"
)

func (v *homeVerifier) verifyAgreements() {
	rows, err := v.view.AgreementRows()
	v.failed("agreement", err)
	for _, r := range rows {
		where := fmt.Sprintf("agreement %s %d", r.Name, r.Version)
		s, err := openWith[statement.Agreement](v, r.Raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256)
		v.equal(where, "name", r.Name, s.Terms.Name)
		v.equal(where, "version", r.Version, s.Terms.Version)
		if at := v.adopted(where, statement.EventAgreement, s.Hash); !at.IsZero() {
			v.equal(where, "at", r.At, at.UnixMicro())
		}
	}
	v.verifyProposals()
	v.verifyNotices()
}

// verifyProposals checks agreements on their way: their signatures as far as they go, and what became of them.
func (v *homeVerifier) verifyProposals() {
	for r, err := range v.view.ProposalRows() {
		if v.failed("proposal", err) {
			return
		}
		where := fmt.Sprintf("proposal %.6x", r.Sha256)
		d, err := v.openProposal(r.Raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, d.Hash, r.Sha256)
		v.equal(where, "name", r.Name, d.Terms.Name)
		v.equal(where, "version", r.Version, d.Terms.Version)
		v.proposal(where, r, d)
		v.failed(where, v.proposalState(where, r, d))
	}
}

// openProposal verifies the signatures that a proposal has.
func (v *homeVerifier) openProposal(raw []byte) (*statement.Unsigned[statement.Agreement], error) {
	d, err := statement.ParseDraft[statement.Agreement](raw)
	if err != nil {
		return nil, err
	}
	if v.history == nil {
		return nil, errors.New("its signatures cannot be verified without a sound charter")
	}
	v.report.Statements++
	if len(d.Signed)+len(d.Missing) != len(d.Terms.Parties) {
		return nil, errors.New("it bears a signature that is no party's")
	}
	return d, d.Verify(v.history.AllVerifiers(d.Terms.Parties...))
}

// proposal compares a proposal with the leaves about it: who proposed it, and whether we have signed it.
func (v *homeVerifier) proposal(where string, r sqlc.Proposal, d *statement.Unsigned[statement.Agreement]) {
	l := v.leafAbout(where, statement.EventProposed, d.Hash)
	if l == nil {
		v.report.add(where, "the log has no leaf %q about it", statement.EventProposed)
		return
	}
	v.equal(where, "at", r.At, l.Time.UnixMicro())
	proposer := onlyPeer(l.Peers)
	if _, own := l.Private["person"]; own {
		proposer = v.self
	}
	v.equal(where, "proposer", r.Proposer, proposer)
	v.signatures(where, d, proposer)
}

// signatures compares the signatures on a proposal with the leaves about them: each has one, and the proposer's is that of the proposal.
func (v *homeVerifier) signatures(where string, d *statement.Unsigned[statement.Agreement], proposer string) {
	logged := []string{proposer + "/statement"}
	for r, err := range v.view.LeavesAbout(d.Hash[:], 0) {
		if v.failed(where, err) {
			return
		}
		l, err := statement.ParseLeaf(r.Body)
		if err != nil || l.Kind != statement.EventSigned {
			continue // what is wrong with the leaf is found where the log is read
		}
		signer := onlyPeer(l.Peers)
		if _, own := l.Private["person"]; own {
			signer = v.self
		}
		logged = append(logged, signer+"/statement")
	}
	if slices.Sort(logged); !slices.Equal(logged, d.Signed) {
		v.report.add(where, "it bears the signatures of %v, and the log speaks of %v", d.Signed, logged)
	}
}

// proposalState compares the state with what it follows from.
func (v *homeVerifier) proposalState(where string, r sqlc.Proposal, d *statement.Unsigned[statement.Agreement]) error {
	concluded, err := v.view.HasAgreementRow(d.Hash)
	if err != nil {
		return err
	}
	notices, err := v.view.NoticesAbout(d.Hash)
	if err != nil {
		return err
	}
	declined := slices.ContainsFunc(notices, func(n store.Notice) bool { return n.Kind == statement.Decline })
	newest, err := v.view.AgreementByName(d.Terms.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	over := newest.Version >= d.Terms.Version || v.Now.Add(limit.ClockSkew).Sub(time.UnixMicro(r.At)) >= limit.ProposalAge
	switch state := store.ProposalState(r.State); {
	case state == store.ProposalConcluded && concluded:
	case state == store.ProposalDeclined && declined && !concluded:
	case state == store.ProposalEnded && over && !concluded:
	case state == store.ProposalOpen && !declined && !concluded:
	default:
		v.report.add(where, "its state is %.40q, it is in force: %t, and a party declined: %t", r.State, concluded, declined)
	}
	return nil
}

// verifyNotices checks what parties told each other about agreements.
func (v *homeVerifier) verifyNotices() {
	kinds := map[statement.NoticeKind]statement.EventKind{statement.Decline: statement.EventDeclined, statement.Withdraw: statement.EventWithdrawn}
	for r, err := range v.view.NoticeRows() {
		if v.failed("notice", err) {
			return
		}
		where := fmt.Sprintf("notice %.6x", r.Sha256)
		raw, err := v.statement(r.Sha256)
		if v.failed(where, err) {
			continue
		}
		s, err := openWith[statement.Notice](v, raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		t, ends := s.Terms, int64(0)
		if t.Kind == statement.Withdraw {
			ends = t.Ends.UnixMicro()
		}
		v.row(where, s.Hash, r.Sha256)
		v.equal(where, "kind", r.Kind, string(t.Kind))
		v.equal(where, "member", r.Member, t.From)
		v.equal(where, "about", fmt.Sprintf("%x", r.About), t.AgreementHash.String())
		v.equal(where, "ends", r.Ends, ends)
		v.adopted(where, kinds[t.Kind], s.Hash)
		if _, err := v.view.OfAgreement(t.AgreementHash); err != nil {
			v.report.add(where, "the agreement that it is about is missing")
		}
	}
}

// outgoingAgreement checks an agreement that is to be handed in.
func (v *homeVerifier) outgoingAgreement(r sqlc.Outbox) error {
	var hash statement.Hash
	if copy(hash[:], r.Statement) != len(r.Statement) || len(r.Statement) != len(hash) {
		return fmt.Errorf("a hash has %d bytes instead of %d", len(r.Statement), len(hash))
	}
	raw, err := v.view.OfAgreement(hash)
	if err != nil {
		return err
	}
	d, err := v.openProposal(raw)
	if err != nil {
		return err
	}
	if !slices.Contains(d.Terms.Parties, r.Peer) || r.Peer == v.self || !slices.Contains(d.Signed, v.self+"/statement") {
		return fmt.Errorf("the agreement is between %v, and signed by %v", d.Terms.Parties, d.Signed)
	}
	return nil
}

// outgoingNotice checks a notice of ours.
func (v *homeVerifier) outgoingNotice(r sqlc.Outbox, raw []byte) error {
	s, err := openWith[statement.Notice](v, raw, v.self)
	if err != nil {
		return err
	}
	if !slices.Contains(s.Terms.To, r.Peer) {
		return fmt.Errorf("the notice goes to %v", s.Terms.To)
	}
	return nil
}
