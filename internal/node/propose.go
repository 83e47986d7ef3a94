package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// signerRole is what takes to bind the member: to propose, sign and decline agreements, and to withdraw from them.
const signerRole = "signer"

// Propose signs an agreement in the member's name and has the outbox bring it to its other parties. The same text again changes nothing.
func (n *node) Propose(ctx context.Context, req *ententev1.ProposeRequest) (*ententev1.ProposeResponse, error) {
	who, err := n.entitled(ctx, "propose an agreement", signerRole)
	if err != nil {
		return nil, err
	}
	d, err := statement.ParseDraft[statement.Agreement](req.GetAgreement())
	if err != nil {
		return nil, fault.New(fault.Misused, "propose the file that `entente agreement draft` wrote: entente agreement propose FILE", "%w", err)
	}
	if len(d.Signed) > 0 {
		return nil, fault.New(fault.Misused, "propose the text without signatures", "the agreement bears signatures already")
	}
	if err := n.changes(ctx, d.Terms); err != nil {
		return nil, err
	}
	p, err := n.signProposal(ctx, who, func(v *store.View) (store.Proposal, error) {
		p, err := v.Proposal(d.Hash)
		if errors.Is(err, store.ErrNotFound) {
			return store.Proposal{Hash: d.Hash, Name: d.Terms.Name, Version: d.Terms.Version, State: store.ProposalOpen, Raw: d.Raw}, nil
		}
		return p, err
	})
	if err != nil {
		return nil, err
	}
	return &ententev1.ProposeResponse{Proposal: p}, nil
}

// changes refuses a version that says what the one before it says: somebody has forgotten to edit the draft, and a signature would keep the member
// from signing the text that was meant.
func (n *node) changes(ctx context.Context, a statement.Agreement) error {
	if a.Version == 1 {
		return nil
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	before, err := n.agreement(ctx, h, a.Previous)
	if err != nil || before == nil {
		return err // what it follows is checked where it is signed
	}
	version := a.Version
	a.Version, a.Previous = before.Terms.Version, before.Terms.Previous
	if text, err := statement.Draft(a); err != nil || !bytes.Equal(text, append(slices.Clip(before.Text), '\n')) {
		return nil //nolint:nilerr // whether the text is sound is checked where it is signed
	}
	return fault.New(fault.Misused, "edit the draft, then propose it again", "version %d of %s says nothing else than version %d", version, a.Name, before.Terms.Version)
}

// SignProposal signs an agreement that was proposed, and brings it into force here if that was the last signature.
func (n *node) SignProposal(ctx context.Context, req *ententev1.SignProposalRequest) (*ententev1.SignProposalResponse, error) {
	who, err := n.entitled(ctx, "sign an agreement", signerRole)
	if err != nil {
		return nil, err
	}
	p, err := n.signProposal(ctx, who, func(v *store.View) (store.Proposal, error) { return findProposal(v, req.GetProposal()) })
	if err != nil {
		return nil, err
	}
	return &ententev1.SignProposalResponse{Proposal: p}, nil
}

// signProposal adds our signature to a proposal, stored or new: in one transaction the signature, its leaf, what the outbox has to bring to
// the others, and, if it was the last one, the agreement.
func (n *node) signProposal(ctx context.Context, who *policy.Person, find func(*store.View) (store.Proposal, error)) (*ententev1.Proposal, error) {
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	own, err := n.Schemes()
	if err != nil {
		return nil, err
	}
	now := n.now()
	var concluded *statement.Signed[statement.Agreement]
	var hash statement.Hash
	err = n.commit(ctx, func(tx *store.Tx) error {
		concluded = nil // a transaction may be tried again
		p, err := find(&tx.View)
		if err != nil {
			return err
		}
		hash = p.Hash
		d, err := statement.ParseDraft[statement.Agreement](p.Raw)
		if err != nil {
			return err
		}
		if slices.Contains(d.Signed, n.Keys.Statement.Name()) || p.State == store.ProposalConcluded {
			return errUnchanged
		}
		if err := n.maySign(tx, h, p, d, now); err != nil {
			return err
		}
		if err := asOurs(own, &d.Terms); err != nil {
			return err
		}
		if p.Raw, err = statement.AddSignature(p.Raw, n.Keys.Statement); err != nil {
			return err
		}
		e := statement.Event{Kind: statement.EventSigned, Time: now, Statement: p.Hash, Peers: others(d.Terms.Parties, n.Config.Member),
			Private: []statement.Private{{Field: "person", Value: []byte(n.spiffe(who.Name))}}}
		if p.Proposer == "" {
			e.Kind, p.Proposer, p.At = statement.EventProposed, n.Config.Member, now
			err = tx.PutProposal(p)
		} else {
			err = tx.SetProposal(p)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Record(e); err != nil {
			return err
		}
		for _, peer := range e.Peers {
			err := tx.Enqueue(store.Outgoing{Peer: peer, Kind: store.OutgoingAgreement, Statement: p.Hash, Due: now})
			if err != nil {
				return err
			}
		}
		concluded, err = n.conclude(tx, h, p, now)
		return err
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return nil, asFault("sign", err)
	}
	n.concluded(concluded)
	n.nudge()
	return n.proposal(ctx, hash)
}

// maySign checks all that can be known before this member binds itself.
func (n *node) maySign(tx *store.Tx, h *member.History, p store.Proposal, d *statement.Unsigned[statement.Agreement], now time.Time) error {
	a := d.Terms
	if p.State != store.ProposalOpen {
		return fault.New(fault.Conflict, "propose another text: entente agreement propose FILE", "this proposal of %s is %s", a.Name, p.State)
	}
	if !slices.Contains(a.Parties, n.Config.Member) {
		return fault.New(fault.Misused, "only its parties propose and sign an agreement", "%s is no party of %s", n.Config.Member, a.Name)
	}
	if err := n.checkProposed(&tx.View, h, d, now); err != nil {
		return err
	}
	rivals, err := tx.ProposalsNamed(a.Name, store.ProposalOpen)
	if err != nil {
		return err
	}
	// Of two texts that say to be the same version all parties could sign both, and would disagree about which came first.
	for _, r := range rivals {
		other, err := statement.ParseDraft[statement.Agreement](r.Raw)
		if err != nil {
			return err
		}
		if r.Hash != p.Hash && r.Version == p.Version && slices.Contains(other.Signed, n.Keys.Statement.Name()) {
			return fault.New(fault.Conflict, "a party that has not signed it may decline it first; then sign this one", "%s has signed another text of version %d of %s, which is open: %s", n.Config.Member, r.Version, r.Name, r.Hash.Short())
		}
	}
	if p.Proposer != "" {
		return nil
	}
	return n.roomForProposal(&tx.View, n.Config.Member)
}

// checkProposed checks the text of a proposal against what is known here.
func (n *node) checkProposed(v *store.View, h *member.History, d *statement.Unsigned[statement.Agreement], now time.Time) error {
	a := d.Terms
	if err := parties(h, a); err != nil {
		return err
	}
	if !a.NotAfter.After(now) {
		return fault.New(fault.Misused, "choose a later not_after", "%s would end at %s, which is past", a.Name, a.NotAfter.Format(time.RFC3339))
	}
	return follows(v, h, n.Config.Member, a, d.Hash)
}

// roomForProposal bounds what one member can have open here, and what comes to nothing.
func (n *node) roomForProposal(v *store.View, proposer string) error {
	open, err := v.CountProposals(proposer, store.ProposalOpen)
	if err != nil {
		return err
	}
	over, err := v.CountProposals(proposer, store.ProposalDeclined, store.ProposalEnded)
	switch {
	case err != nil:
		return err
	case open >= limit.Proposals:
		return fault.New(fault.Conflict, "wait until some are signed or declined, or have ended", "%d proposals of %s are open here, and more are not taken", open, proposer)
	case over >= limit.ProposalsKept:
		return fault.New(fault.Conflict, "have another party propose it", "%d proposals of %s came to nothing here, and more are not taken", over, proposer)
	}
	return nil
}

// conclude brings a proposal with all its signatures into force; nil if some are missing, or if it is in force already.
func (n *node) conclude(tx *store.Tx, h *member.History, p store.Proposal, now time.Time) (*statement.Signed[statement.Agreement], error) {
	d, err := statement.ParseDraft[statement.Agreement](p.Raw)
	if err != nil || len(d.Missing) > 0 {
		return nil, err
	}
	// Who declined a text must not sign it later: the others may have signed another one since, and two of one version would be in force.
	notices, err := tx.NoticesAbout(p.Hash)
	if err != nil || slices.ContainsFunc(notices, func(n store.Notice) bool { return n.Kind == statement.Decline }) {
		return nil, err
	}
	a, err := statement.Open[statement.Agreement](p.Raw, h.Verifiers(d.Terms.Parties...))
	if err != nil {
		return nil, err
	}
	err = adopt(tx, h, n.Config.Member, a, now)
	if errors.Is(err, errUnchanged) {
		return nil, nil
	}
	return a, err
}

// concluded says in the node's log that an agreement came into force.
func (n *node) concluded(a *statement.Signed[statement.Agreement]) {
	if a != nil {
		n.log.Info("agreement in force: every party has signed", "agreement", a.Terms.Name, "version", a.Terms.Version, "parties", a.Terms.Parties,
			"from", a.Terms.NotBefore, "until", a.Terms.NotAfter, "statement", a.Hash.Short())
	}
}

// asFault passes on what a person can act upon as it is.
func asFault(doing string, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	return fmt.Errorf("%s agreement: %w", doing, err)
}

// findProposal finds a proposal by the first digits of its hash, or an open one by its agreement's name. A name may look like such digits, so
// what fits both ways is nobody's: otherwise a party could have another text signed than the one that was meant.
func findProposal(v *store.View, ref string) (store.Proposal, error) {
	list, err := v.Proposals("")
	if err != nil {
		return store.Proposal{}, err
	}
	found := slices.DeleteFunc(list, func(p store.Proposal) bool {
		return !strings.HasPrefix(p.Hash.String(), ref) && !(p.Name == ref && p.State == store.ProposalOpen)
	})
	switch len(found) {
	case 0:
		return store.Proposal{}, fault.New(fault.NotFound, "entente agreement pending --all lists them, also those that were concluded or declined", "no open proposal here is called %.80q", ref)
	case 1:
		return found[0], nil
	}
	return store.Proposal{}, fault.New(fault.Misused, "entente agreement pending lists them; give more digits of the ID", "%.80q fits %d proposals", ref, len(found))
}

// Proposals lists agreements that were proposed, for whoever works for the member in any role.
func (n *node) Proposals(ctx context.Context, req *ententev1.ProposalsRequest) (*ententev1.ProposalsResponse, error) {
	if _, err := n.entitled(ctx, "see proposals", Roles...); err != nil {
		return nil, err
	}
	out := &ententev1.ProposalsResponse{}
	err := n.DB.View(ctx, func(v *store.View) error {
		state := store.ProposalOpen
		if req.GetAll() {
			state = ""
		}
		list, err := v.Proposals(state)
		for _, p := range list {
			if err != nil {
				return err
			}
			var shown *ententev1.Proposal
			shown, err = showProposal(v, p)
			out.Proposals = append(out.Proposals, shown)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list proposals: %w", err)
	}
	return out, nil
}

// proposal gives one proposal as people see it.
func (n *node) proposal(ctx context.Context, hash statement.Hash) (shown *ententev1.Proposal, err error) {
	err = n.DB.View(ctx, func(v *store.View) error {
		p, err := v.Proposal(hash)
		if err == nil {
			shown, err = showProposal(v, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read proposal: %w", err)
	}
	return shown, nil
}

func showProposal(v *store.View, p store.Proposal) (*ententev1.Proposal, error) {
	d, err := statement.ParseDraft[statement.Agreement](p.Raw)
	if err != nil {
		return nil, err
	}
	out := &ententev1.Proposal{Sha256: p.Hash.String(), Agreement: p.Raw, Proposer: p.Proposer, State: string(p.State), At: timestamppb.New(p.At),
		Signed: membersOf(d.Signed), Missing: membersOf(d.Missing)}
	notices, err := v.NoticesAbout(p.Hash)
	if err != nil {
		return nil, err
	}
	for _, r := range notices {
		s, err := statement.ParseDraft[statement.Notice](r.Raw)
		if err != nil {
			return nil, err
		}
		if r.Kind == statement.Decline {
			out.Declined = append(out.Declined, &ententev1.Declined{Member: r.Member, Reason: s.Terms.Reason, At: timestamppb.New(s.Terms.At)})
		}
	}
	waiting, err := v.Waiting(store.OutgoingAgreement, p.Hash)
	for _, o := range waiting {
		out.Untold = append(out.Untold, &ententev1.Untold{Member: o.Peer, Attempts: o.Attempts, Error: o.LastError})
	}
	return out, err
}

// membersOf turns names of statement keys into names of members.
func membersOf(keys []string) []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = strings.TrimSuffix(k, "/statement")
	}
	return list
}

// endProposals ends what nobody concluded in time.
func (n *node) endProposals(ctx context.Context) error {
	var ended int64
	err := n.DB.Update(ctx, func(tx *store.Tx) (err error) {
		ended, err = tx.EndProposals(n.now().Add(-limit.ProposalAge))
		return err
	})
	if err != nil {
		return fmt.Errorf("end old proposals: %w", err)
	}
	if ended > 0 {
		n.log.Info("proposals ended that not all parties signed in time", "proposals", ended)
	}
	return nil
}
