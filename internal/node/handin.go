package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Agree takes an agreement with the signatures that a party has, and answers with those of both sides, as proto/entente/v1/peer.proto says.
// With the last signature it comes into force here.
func (n *node) Agree(ctx context.Context, req *ententev1.AgreeRequest) (*ententev1.AgreeResponse, error) {
	peer := rpc.CallerFrom(ctx).Member
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	d, err := n.openProposed(h, req.GetAgreement())
	if err == nil && !slices.Contains(d.Signed, peer+"/statement") {
		err = fault.New(fault.Invalid, "", "%s brought an agreement that it has not signed", peer)
	}
	if err != nil {
		return nil, n.rejectInvalid(ctx, peer, err)
	}
	raw, err := n.merge(ctx, h, peer, d, nil)
	if err != nil {
		return nil, n.rejectInvalid(ctx, peer, asFault("take", err))
	}
	return &ententev1.AgreeResponse{Agreement: raw}, nil
}

// openProposed checks what an agreement on its way shows by itself: one text, signatures of parties and no others, all of them good.
func (n *node) openProposed(h *member.History, raw []byte) (*statement.Unsigned[statement.Agreement], error) {
	d, err := statement.ParseDraft[statement.Agreement](raw)
	if err != nil {
		return nil, fault.New(fault.Invalid, "", "%w", err)
	}
	if len(d.Signed)+len(d.Missing) != len(d.Terms.Parties) {
		return nil, fault.New(fault.Invalid, "", "agreement %s bears a signature that is no party's: %v", d.Terms.Name, d.Signed)
	}
	if !slices.Contains(d.Terms.Parties, n.Config.Member) {
		return nil, fault.New(fault.Invalid, "", "%s is no party of %s", n.Config.Member, d.Terms.Name)
	}
	if err := d.Verify(h.Verifiers(d.Terms.Parties...)); err != nil {
		return nil, fault.New(fault.Invalid, "", "%w", err)
	}
	return d, nil
}

// merge puts the signatures that came from a peer and those that are here together, in one transaction with what follows from that: a new
// proposal, or an agreement that is complete. It gives all signatures. sent is nil, or what the peer was sent and answers: then
// the item leaves the outbox, unless there is something that the peer still lacks.
func (n *node) merge(ctx context.Context, h *member.History, peer string, d *statement.Unsigned[statement.Agreement], sent *store.Outgoing) (raw []byte, err error) {
	now := n.now()
	var agreed *statement.Signed[statement.Agreement]
	var taken bool
	allowed := sync.OnceValue(func() bool { return n.leaves.allow(peer, now) }) // a transaction that is tried again counts once
	err = n.commit(ctx, func(tx *store.Tx) error {
		agreed, taken = nil, false // a transaction may be tried again
		had, err := tx.OfAgreement(d.Hash)
		var known []string
		switch {
		case errors.Is(err, store.ErrNotFound):
			taken = true
			if raw, err = d.Raw, n.takeProposal(tx, h, peer, d, allowed); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if raw, err = statement.Merge(had, d.Raw); err != nil {
				return fault.New(fault.Invalid, "", "%w", err)
			}
			before, err := statement.ParseDraft[statement.Agreement](had)
			if err != nil {
				return err
			}
			known = before.Signed
		}
		if err := newOnesCurrent(h, d, known, now); err != nil {
			return err
		}
		if taken {
			known = []string{peer + "/statement"} // whose leaf is that of the proposal
		}
		p, err := tx.Proposal(d.Hash)
		if err == nil && !bytes.Equal(p.Raw, raw) {
			p.Raw = raw
			err = tx.SetProposal(p)
		}
		if err == nil {
			err = signaturesCame(tx, d, known, now)
		}
		if err == nil {
			agreed, err = n.conclude(tx, h, p, now)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) { // it may have come as a file
			return err
		}
		if sent != nil && bytes.Equal(raw, d.Raw) {
			if err := tx.Done(*sent); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if taken {
		n.log.Info("an agreement was proposed", "agreement", d.Terms.Name, "version", d.Terms.Version, "peer", peer, "parties", d.Terms.Parties, "statement", d.Hash.Short())
	}
	n.concluded(agreed)
	return raw, nil
}

// newOnesCurrent refuses signatures that are new here and were made with keys that may not be used any more: whoever has found an old key of a
// party could bind it.
func newOnesCurrent(h *member.History, d *statement.Unsigned[statement.Agreement], known []string, now time.Time) error {
	for i, m := range membersOf(d.Signed) {
		if slices.Contains(known, d.Signed[i]) {
			continue
		}
		if err := current(h, m, d.By[i:i+1], now); err != nil {
			return fault.New(fault.Invalid, "", "agreement %s: %w", d.Terms.Name, err)
		}
	}
	return nil
}

// signaturesCame writes down whose signatures are new here, so that it can be told who signed when.
func signaturesCame(tx *store.Tx, d *statement.Unsigned[statement.Agreement], known []string, now time.Time) error {
	for i, m := range membersOf(d.Signed) {
		if slices.Contains(known, d.Signed[i]) {
			continue
		}
		_, err := tx.Record(statement.Event{Kind: statement.EventSigned, Time: now, Statement: d.Hash, Peers: []string{m}})
		if err != nil {
			return err
		}
	}
	return nil
}

// takeProposal takes a proposal that is new here.
func (n *node) takeProposal(tx *store.Tx, h *member.History, peer string, d *statement.Unsigned[statement.Agreement], allowed func() bool) error {
	now := n.now()
	for _, p := range d.Terms.Parties {
		if _, ok := h.Member(p); !ok { // the news that it is one may be on its way
			return fault.New(fault.Transient, "", "agreement %s names %q, who is no member that %s knows", d.Terms.Name, p, n.Config.Member)
		}
	}
	if err := n.checkProposed(&tx.View, h, d, now); fault.KindOf(err) == fault.Misused {
		// Of a person it is a mistake; a node that signed it had checked it.
		return hideOthers(tx, peer, d.Terms.Name, fault.New(fault.Invalid, "", "%w", err))
	} else if err != nil {
		return hideOthers(tx, peer, d.Terms.Name, err)
	}
	if err := n.roomForProposal(&tx.View, peer); err != nil {
		return err
	}
	if !allowed() {
		return fault.New(fault.Transient, "", "%s has caused too many leaves within a minute", peer)
	}
	err := tx.PutProposal(store.Proposal{Hash: d.Hash, Name: d.Terms.Name, Version: d.Terms.Version, Proposer: peer, State: store.ProposalOpen, At: now, Raw: d.Raw})
	if err != nil {
		return err
	}
	_, err = tx.Record(statement.Event{Kind: statement.EventProposed, Time: now, Statement: d.Hash, Peers: []string{peer}})
	return err
}

// hideOthers keeps from a peer what there is to say about an agreement of that name if it is no party to it. That the name is taken it learns:
// a name stands for one agreement.
func hideOthers(tx *store.Tx, peer, name string, why error) error {
	known, err := tx.AgreementByName(name)
	if errors.Is(err, store.ErrNotFound) {
		return why
	}
	if err != nil {
		return err
	}
	d, err := statement.ParseDraft[statement.Agreement](known.Raw)
	if err != nil || slices.Contains(d.Terms.Parties, peer) {
		return errors.Join(err, why)
	}
	return fault.New(fault.Conflict, "give the agreement another name", "no agreement of the name %s with %s can be taken", name, peer)
}

// refused is an error that a peer has answered, and that only people will change its mind about.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// handInAgreement brings an agreement with the signatures that are here to one of its parties, and takes those that the party has.
func (n *node) handInAgreement(ctx context.Context, o store.Outgoing) error {
	var raw []byte
	over := false
	err := n.DB.View(ctx, func(v *store.View) (err error) {
		if raw, err = v.OfAgreement(o.Statement); err != nil {
			return err
		}
		p, err := v.Proposal(o.Statement)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		// One that was declined is brought as well, so that the decline means something to whoever gets it.
		over = p.State == store.ProposalEnded || p.State == store.ProposalDeclined && n.now().Sub(p.At) > limit.ProposalAge
		return err
	})
	if err != nil {
		return fmt.Errorf("read agreement: %w", err)
	}
	if over {
		return n.handed(ctx, o)
	}
	// Nothing leaves before the head covers its leaf.
	if _, err := n.Log.Publish(ctx); err != nil {
		return fmt.Errorf("publish log: %w", err)
	}
	var answer *ententev1.AgreeResponse
	err = n.call(ctx, o.Peer, func(ctx context.Context, c ententev1.PeerServiceClient) (err error) {
		answer, err = c.Agree(ctx, &ententev1.AgreeRequest{Agreement: raw})
		return err
	})
	if kind := fault.KindOf(rpc.FromStatus(err)); err != nil && (kind == fault.Invalid || kind == fault.Conflict || kind == fault.Misused) {
		return refused{err}
	}
	if err != nil {
		return err
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	if answered := answer.GetAgreement(); len(answered) > 0 {
		if raw, err = statement.Merge(raw, answered); err != nil {
			return fmt.Errorf("answer of %s: %w", o.Peer, err)
		}
	}
	d, err := n.openProposed(h, raw)
	if err != nil {
		return fmt.Errorf("answer of %s: %w", o.Peer, err)
	}
	_, err = n.merge(ctx, h, o.Peer, d, &o)
	return err
}
