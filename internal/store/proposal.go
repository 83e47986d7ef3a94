package store

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// ProposalState says what became of a proposal.
type ProposalState string

// The states of a proposal. A complete text is concluded whatever it was before: all its parties have signed it.
const (
	ProposalOpen      ProposalState = "open"
	ProposalConcluded ProposalState = "concluded" // it has every signature, and is in force
	ProposalDeclined  ProposalState = "declined"  // one of its parties will not sign
	ProposalEnded     ProposalState = "ended"     // too old, or another text of that version was concluded
)

// Proposal is an agreement that was proposed.
type Proposal struct {
	Hash     statement.Hash // of the text
	Name     string
	Version  int64
	Proposer string // the member that brought it here first; it has signed it
	State    ProposalState
	At       time.Time // when it was taken here, to the second, as its leaf has it
	Raw      []byte    // the text with the signatures so far
}

func proposal(r sqlc.Proposal) (Proposal, error) {
	h, err := toHash(r.Sha256)
	return Proposal{h, r.Name, r.Version, r.Proposer, ProposalState(r.State), time.UnixMicro(r.At).UTC(), r.Raw}, err
}

// Proposal gives one proposal, or ErrNotFound.
func (v *View) Proposal(hash statement.Hash) (Proposal, error) {
	r, err := row(v.q.Proposal(v.ctx, hash[:]))
	if err != nil {
		return Proposal{}, err
	}
	return proposal(r)
}

// Proposals gives the newest proposals in that state, or in any for an empty one: at most limit.Page.
func (v *View) Proposals(state ProposalState) ([]Proposal, error) {
	return proposals(v.q.Proposals(v.ctx, sqlc.ProposalsParams{State: string(state), Most: limit.Page}))
}

// ProposalsNamed gives the proposals of an agreement's name in that state, oldest first.
func (v *View) ProposalsNamed(name string, state ProposalState) ([]Proposal, error) {
	return proposals(v.q.ProposalsNamed(v.ctx, sqlc.ProposalsNamedParams{Name: name, State: string(state)}))
}

func proposals(rows []sqlc.Proposal, err error) ([]Proposal, error) {
	if err != nil {
		return nil, err
	}
	list := make([]Proposal, len(rows))
	for i, r := range rows {
		if list[i], err = proposal(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// CountProposals counts the proposals in one of these states that a member made here.
func (v *View) CountProposals(proposer string, states ...ProposalState) (sum int64, err error) {
	for _, s := range states {
		n, err := v.q.CountProposals(v.ctx, sqlc.CountProposalsParams{State: string(s), Proposer: proposer})
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// PutProposal adds a proposal. ErrExists if it is there.
func (tx *Tx) PutProposal(p Proposal) error {
	n, err := tx.q.InsertProposal(tx.ctx, sqlc.InsertProposalParams{Sha256: p.Hash[:], Name: p.Name, Version: p.Version, Proposer: p.Proposer,
		State: string(p.State), At: p.At.Truncate(time.Second).UnixMicro(), Raw: p.Raw})
	return p.outcome("put", n, err, ErrExists)
}

// SetProposal changes State and Raw of a proposal. ErrNotFound if it is not there.
func (tx *Tx) SetProposal(p Proposal) error {
	n, err := tx.q.SetProposal(tx.ctx, sqlc.SetProposalParams{Sha256: p.Hash[:], State: string(p.State), Raw: p.Raw})
	return p.outcome("set", n, err, ErrNotFound)
}

func (p Proposal) outcome(verb string, rows int64, err, ifNone error) error {
	if err == nil && rows == 0 {
		err = ifNone
	}
	if err != nil {
		return fmt.Errorf("%s proposal %s: %w", verb, p.Hash.Short(), explain(err))
	}
	return nil
}

// EndProposals ends open proposals that were taken before a time, and says how many.
func (tx *Tx) EndProposals(before time.Time) (int64, error) {
	n, err := tx.q.EndProposals(tx.ctx, sqlc.EndProposalsParams{Ended: string(ProposalEnded), Open: string(ProposalOpen), Before: before.UnixMicro()})
	return n, explain(err)
}

// SupersedeProposals ends the open proposals of a name up to a version, which is concluded now.
func (tx *Tx) SupersedeProposals(name string, version int64) error {
	_, err := tx.q.SupersedeProposals(tx.ctx, sqlc.SupersedeProposalsParams{Ended: string(ProposalEnded), Open: string(ProposalOpen), Name: name, Version: version})
	return explain(err)
}

// ProposalRows gives all rows of table proposal.
func (v *View) ProposalRows() iter.Seq2[sqlc.Proposal, error] {
	return pages(pageRows, func(last *sqlc.Proposal) ([]sqlc.Proposal, error) {
		p := sqlc.ProposalsFromParams{Sha256: []byte{}, Limit: pageRows}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.ProposalsFrom(v.ctx, p)
	})
}

// HasProposalRow tells whether a row of table proposal names that text.
func (v *View) HasProposalRow(hash statement.Hash) (bool, error) {
	return there(v.q.Proposal(v.ctx, hash[:]))
}

// Notice is a row of table notice with its statement.
type Notice struct {
	Hash   statement.Hash
	Kind   statement.NoticeKind
	Member string
	About  statement.Hash // the agreement's text
	Ends   time.Time      // of a withdrawal
	Raw    []byte
}

// NoticesAbout gives the notices about an agreement or proposal, sorted by kind and member.
func (v *View) NoticesAbout(hash statement.Hash) ([]Notice, error) {
	rows, err := v.q.NoticesAbout(v.ctx, hash[:])
	if err != nil {
		return nil, err
	}
	list := make([]Notice, len(rows))
	for i, r := range rows {
		n := Notice{Kind: statement.NoticeKind(r.Kind), Member: r.Member, About: hash, Raw: r.Raw}
		if n.Kind == statement.Withdraw {
			n.Ends = time.UnixMicro(r.Ends).UTC()
		}
		if n.Hash, err = toHash(r.Sha256); err != nil {
			return nil, err
		}
		list[i] = n
	}
	return list, nil
}

// PutNotice adds a notice. ErrExists if it is there, ErrConflict if its author gave another one of that kind about the same text.
func (tx *Tx) PutNotice(s *statement.Signed[statement.Notice]) error {
	if err := tx.putStatement(s.Hash, statement.KindNotice, s.Raw); err != nil {
		return err
	}
	t := s.Terms
	p := sqlc.InsertNoticeParams{Sha256: s.Hash[:], Kind: string(t.Kind), Member: t.From, About: t.AgreementHash[:]}
	if t.Kind == statement.Withdraw {
		p.Ends = t.Ends.UnixMicro()
	}
	n, err := tx.q.InsertNotice(tx.ctx, p)
	return tx.placed(n, err, "notice", s.Hash, func() ([]byte, error) {
		_, err := tx.q.NoticeByHash(tx.ctx, s.Hash[:])
		if err != nil {
			return nil, err
		}
		return s.Hash[:], nil
	})
}

// NoticeRows gives all rows of table notice.
func (v *View) NoticeRows() iter.Seq2[sqlc.Notice, error] {
	return pages(limit.Page, func(last *sqlc.Notice) ([]sqlc.Notice, error) {
		p := sqlc.NoticesFromParams{Sha256: []byte{}, Limit: limit.Page}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.NoticesFrom(v.ctx, p)
	})
}

// HasNoticeRow tells whether a row of table notice names that statement.
func (v *View) HasNoticeRow(hash statement.Hash) (bool, error) {
	return there(v.q.NoticeByHash(v.ctx, hash[:]))
}

// OfAgreement gives the newest signed bytes of an agreement that is on its way: those of the proposal, or else of the statement.
func (v *View) OfAgreement(hash statement.Hash) ([]byte, error) {
	p, err := v.Proposal(hash)
	if errors.Is(err, ErrNotFound) {
		return v.Statement(hash)
	}
	return p.Raw, err
}
