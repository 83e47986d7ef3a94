package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// DeclineProposal says to all parties of a proposal that this member will not sign it. That is final for that text.
func (n *node) DeclineProposal(ctx context.Context, req *ententev1.DeclineProposalRequest) (*ententev1.DeclineProposalResponse, error) {
	who, err := n.entitled(ctx, "decline an agreement", signerRole)
	if err != nil {
		return nil, err
	}
	now := n.now()
	var hash statement.Hash
	err = n.commit(ctx, func(tx *store.Tx) error {
		p, err := findProposal(&tx.View, req.GetProposal())
		if err != nil {
			return err
		}
		hash = p.Hash
		d, err := statement.ParseDraft[statement.Agreement](p.Raw)
		if err != nil {
			return err
		}
		notices, err := tx.NoticesAbout(p.Hash)
		switch {
		case err != nil:
			return err
		case slices.ContainsFunc(notices, func(n1 store.Notice) bool { return n1.Kind == statement.Decline && n1.Member == n.Config.Member }):
			return errUnchanged
		case slices.Contains(d.Signed, n.Keys.Statement.Name()):
			return fault.New(fault.Conflict, "once it is in force: entente agreement withdraw "+p.Name, "%s has signed this proposal of %s, and a signature binds", n.Config.Member, p.Name)
		case p.State != store.ProposalOpen && p.State != store.ProposalDeclined:
			return fault.New(fault.Conflict, "", "this proposal of %s is %s", p.Name, p.State)
		}
		p.State = store.ProposalDeclined
		if err := tx.SetProposal(p); err != nil {
			return err
		}
		_, err = n.giveNotice(tx, who, statement.Notice{Kind: statement.Decline, To: others(d.Terms.Parties, n.Config.Member), Agreement: p.Name, Version: p.Version,
			AgreementHash: p.Hash, At: now, Reason: req.GetReason()})
		return err
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return nil, asFault("decline", err)
	}
	n.nudge()
	shown, err := n.proposal(ctx, hash)
	if err != nil {
		return nil, err
	}
	return &ententev1.DeclineProposalResponse{Proposal: shown}, nil
}

// giveNotice signs a notice and writes it down, with its leaf and what the outbox has to bring to the others.
func (n *node) giveNotice(tx *store.Tx, who *policy.Person, t statement.Notice) (*statement.Signed[statement.Notice], error) {
	event := statement.EventDeclined
	if t.Kind == statement.Withdraw {
		event = statement.EventWithdrawn
	}
	t.From, t.At = n.Config.Member, t.At.UTC().Truncate(time.Second)
	s, err := statement.Sign(t, n.Keys.Statement)
	if err != nil {
		return nil, fault.New(fault.Misused, "say it in one line of plain text", "%w", err)
	}
	if err := tx.PutNotice(s); err != nil {
		return nil, err
	}
	for _, peer := range t.To {
		if err := tx.Enqueue(store.Outgoing{Peer: peer, Kind: store.OutgoingNotice, Statement: s.Hash, Due: t.At}); err != nil {
			return nil, err
		}
	}
	_, err = tx.Record(statement.Event{Kind: event, Time: t.At, Statement: s.Hash, Peers: t.To,
		Private: []statement.Private{{Field: "person", Value: []byte(n.spiffe(who.Name))}}})
	return s, err
}

// Withdraw says to all parties of an agreement that this member leaves it, as soon as its notice period allows or later. It concerns the
// version that has begun, and those that have been signed and are to begin.
func (n *node) Withdraw(ctx context.Context, req *ententev1.WithdrawRequest) (*ententev1.WithdrawResponse, error) {
	who, err := n.entitled(ctx, "withdraw from an agreement", signerRole)
	if err != nil {
		return nil, err
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	versions, err := n.versions(ctx, h, req.GetAgreement())
	if err != nil {
		return nil, err
	}
	now := n.now().UTC().Truncate(time.Second)
	versions = binding(versions, n.Config.Member, now)
	if len(versions) == 0 {
		return nil, fault.New(fault.NotFound, "entente agreement list shows those in force", "there is no agreement %.80q here that binds %s", req.GetAgreement(), n.Config.Member)
	}
	var out *ententev1.WithdrawResponse
	err = n.commit(ctx, func(tx *store.Tx) error {
		for _, a := range versions {
			t := statement.Notice{Kind: statement.Withdraw, To: others(a.Terms.Parties, n.Config.Member), Agreement: a.Terms.Name, Version: a.Terms.Version,
				AgreementHash: a.Hash, At: now, Ends: now.AddDate(0, 0, int(a.Terms.NoticeDays)), Reason: req.GetReason()}
			if req.GetEnds() != nil {
				if wanted := req.GetEnds().AsTime().Truncate(time.Second); wanted.Before(t.Ends) {
					return fault.New(fault.Misused, "choose "+t.Ends.AddDate(0, 0, 1).Format(time.DateOnly)+" or later, or leave --on out: then it ends as soon as it can", "the notice period of %s is %dd", t.Agreement, a.Terms.NoticeDays)
				}
				t.Ends = req.GetEnds().AsTime().Truncate(time.Second)
			}
			left, err := withdrawals(&tx.View, a.Hash)
			if err != nil {
				return err
			}
			if at := slices.IndexFunc(left, func(n1 store.Notice) bool { return n1.Member == n.Config.Member }); at >= 0 {
				out = &ententev1.WithdrawResponse{Ends: timestamppb.New(left[at].Ends), NoticeSha256: left[at].Hash.String()}
				continue // said already, and final
			}
			s, err := n.giveNotice(tx, who, t)
			if err != nil {
				return err
			}
			out = &ententev1.WithdrawResponse{Ends: timestamppb.New(t.Ends), NoticeSha256: s.Hash.String()}
		}
		return nil
	})
	if err != nil {
		return nil, asFault("withdraw from", err)
	}
	n.nudge()
	return out, nil
}

// binding gives the versions of an agreement under which a member has something to leave: the newest that has begun, and those to begin.
func binding(versions []version, self string, now time.Time) (list []version) {
	newest := begun(versions, now)
	for _, a := range versions {
		if (newest == nil || a.Terms.Version >= newest.Terms.Version) && a.Terms.NotAfter.After(now) && slices.Contains(a.Terms.Parties, self) {
			list = append(list, a)
		}
	}
	return list
}

// Notify takes a notice from a party, as proto/entente/v1/peer.proto says. The same notice again is answered in the same way and changes
// nothing.
func (n *node) Notify(ctx context.Context, req *ententev1.NotifyRequest) (*ententev1.NotifyResponse, error) {
	peer := rpc.CallerFrom(ctx).Member
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	s, err := statement.Open[statement.Notice](req.GetNotice(), h.Verifiers(peer))
	if err == nil {
		err = current(h, peer, s.By, n.now())
	}
	if err != nil {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "%w", err))
	}
	taken := false
	allowed := sync.OnceValue(func() bool { return n.leaves.allow(peer, n.now()) }) // a transaction that is tried again counts once
	err = n.commit(ctx, func(tx *store.Tx) error {
		taken = false
		if there, err := tx.HasNoticeRow(s.Hash); err != nil || there {
			return err
		}
		taken = true
		return n.takeNotice(tx, h, peer, s, allowed)
	})
	switch {
	case errors.Is(err, store.ErrConflict):
		err = fault.New(fault.Invalid, "", "%s gave another notice %q about %s before", peer, s.Terms.Kind, s.Terms.AgreementHash.Short())
		return nil, n.rejectInvalid(ctx, peer, err)
	case err != nil:
		return nil, n.rejectInvalid(ctx, peer, asFault("take a notice about an", err))
	}
	if taken {
		t := s.Terms
		about := []any{"peer", peer, "agreement", t.Agreement, "version", t.Version, "reason", t.Reason}
		if t.Kind == statement.Withdraw {
			n.log.Info("a party withdraws from an agreement", append(about, "ends", t.Ends)...)
		} else {
			n.log.Info("a party declined a proposed agreement", about...)
		}
	}
	return &ententev1.NotifyResponse{}, nil
}

// takeNotice checks a party's notice against the agreement that it is about, and writes it down.
func (n *node) takeNotice(tx *store.Tx, h *member.History, peer string, s *statement.Signed[statement.Notice], allowed func() bool) error {
	t, now := s.Terms, n.now()
	bad := func(format string, args ...any) error { return fault.New(fault.Invalid, "", format, args...) }
	if t.From != peer {
		return bad("the notice is from %s, and the connection from %s", t.From, peer)
	}
	if t.At.After(now.Add(limit.ClockSkew)) {
		return fault.New(fault.Transient, "compare the clocks of the two machines", "the notice of %s is dated %s, which is in the future", peer, t.At.Format(time.RFC3339))
	}
	unknown := fault.New(fault.Transient, "", "the agreement %s is not here yet", t.AgreementHash.Short())
	raw, err := tx.OfAgreement(t.AgreementHash)
	if errors.Is(err, store.ErrNotFound) {
		return unknown
	}
	if err != nil {
		return err
	}
	d, err := n.openStored(h, raw)
	if err != nil {
		return err
	}
	a := d.Terms
	if !slices.Contains(a.Parties, peer) {
		return unknown // to others it is not there
	}
	if t.Agreement != a.Name || t.Version != a.Version || !slices.Equal(t.To, others(a.Parties, peer)) || !slices.Contains(t.To, n.Config.Member) {
		return bad("the notice of %s is not about version %d of %s and all its parties", peer, a.Version, a.Name)
	}
	if !allowed() {
		return fault.New(fault.Transient, "", "%s has caused too many leaves within a minute", peer)
	}
	event := statement.EventDeclined
	switch t.Kind {
	case statement.Decline:
		if slices.Contains(d.Signed, peer+"/statement") {
			return bad("%s declines what it has signed", peer)
		}
		p, err := tx.Proposal(d.Hash)
		if err == nil && p.State == store.ProposalOpen {
			p.State = store.ProposalDeclined
			err = tx.SetProposal(p)
		}
		if err != nil {
			return err
		}
	case statement.Withdraw:
		event = statement.EventWithdrawn
		if len(d.Missing) > 0 {
			return fault.New(fault.Transient, "", "version %d of %s is not in force here yet", a.Version, a.Name)
		}
		if t.Ends.Before(t.At.AddDate(0, 0, int(a.NoticeDays))) {
			return bad("%s withdraws from %s at %s, before its notice period of %d days is over", peer, a.Name, t.Ends.Format(time.RFC3339), a.NoticeDays)
		}
	}
	if err := tx.PutNotice(s); err != nil {
		return err
	}
	_, err = tx.Record(statement.Event{Kind: event, Time: now, Statement: s.Hash, Peers: []string{peer}})
	return err
}

// openStored reads an agreement or proposal of this home, and verifies its signatures again.
func (n *node) openStored(h *member.History, raw []byte) (*statement.Unsigned[statement.Agreement], error) {
	d, err := statement.ParseDraft[statement.Agreement](raw)
	if err != nil {
		return nil, err
	}
	if err := d.Verify(h.AllVerifiers(d.Terms.Parties...)); err != nil {
		return nil, fmt.Errorf("read agreement: %w", err)
	}
	return d, nil
}

// handInNotice brings a notice of ours to a party. A decline of what has ended need not reach anybody any more.
func (n *node) handInNotice(ctx context.Context, o store.Outgoing) error {
	var raw []byte
	over := false
	err := n.DB.View(ctx, func(v *store.View) (err error) {
		if raw, err = v.Statement(o.Statement); err != nil {
			return err
		}
		s, err := statement.ParseDraft[statement.Notice](raw)
		if err != nil || s.Terms.Kind != statement.Decline {
			return err
		}
		over = n.now().Sub(s.Terms.At) > limit.ProposalAge
		return nil
	})
	if err != nil {
		return fmt.Errorf("read notice: %w", err)
	}
	if over {
		return n.handed(ctx, o)
	}
	if _, err := n.Log.Publish(ctx); err != nil {
		return fmt.Errorf("publish log: %w", err)
	}
	err = n.call(ctx, o.Peer, func(ctx context.Context, c ententev1.PeerServiceClient) error {
		_, err := c.Notify(ctx, &ententev1.NotifyRequest{Notice: raw})
		return err
	})
	if err != nil {
		return err
	}
	return n.handed(ctx, o)
}

// withdrawn lists the parties whose withdrawal from an agreement has taken effect, sorted.
func (n *node) withdrawn(ctx context.Context, h *member.History, hash statement.Hash, now time.Time) (list []string, err error) {
	left, err := n.leaving.Get(of[statement.Hash]{h, hash}, func() (left []store.Notice, err error) {
		err = n.DB.View(ctx, func(v *store.View) error { left, err = withdrawals(v, hash); return err })
		return left, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for withdrawals: %w", err)
	}
	for _, r := range left { // sorted by member
		if !now.Before(r.Ends) {
			list = append(list, r.Member)
		}
	}
	return list, nil
}
