package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entente.example/internal/crash"
	"entente.example/internal/fault"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Retry has what waits tried at once, for anybody who is listed in people.toml: one exchange, those of one id, or all that waits for one member or
// for any, receipts and agreements with it. It is bookkeeping, and has no leaf.
func (n *node) Retry(ctx context.Context, req *ententev1.RetryRequest) (*ententev1.RetryResponse, error) {
	if _, err := person(n.Dir, rpc.CallerFrom(ctx).Person); err != nil {
		return nil, err
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	to := req.GetTo()
	if _, ok := h.Member(to); !ok && to != "" {
		return nil, fault.New(fault.Misused, "", "there is no member %.80q in alliance %s", to, h.Name())
	}
	out := &ententev1.RetryResponse{}
	now := n.now()
	err = n.DB.Update(ctx, func(tx *store.Tx) error {
		out.Exchanges = 0
		if req.GetExchange() != "" {
			list, err := n.underwayOf(&tx.View, req.GetExchange(), to)
			for _, e := range list {
				o := store.Outgoing{Peer: e.To, Kind: store.OutgoingDocument, Statement: e.Manifest, Attempts: e.Attempts, Due: now, LastError: e.LastError}
				err = errors.Join(err, tx.Retry(o))
			}
			out.Exchanges = int64(len(list))
			return err
		}
		for _, m := range h.Members() {
			if to != "" && m.Name != to {
				continue
			}
			if _, err := tx.Hasten(m.Name, now); err != nil {
				return err
			}
			count, err := tx.Documents(m.Name)
			if err != nil {
				return err
			}
			out.Exchanges += count
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.nudge()
	return out, nil
}

// underwayOf gives the deliveries of ours under way that a reference fits, to one member if one is named. That there are none is a fault that says what has
// become of them.
func (n *node) underwayOf(v *store.View, ref, to string) ([]store.Exchange, error) {
	list, err := n.ours(v, ref)
	if err != nil {
		return nil, exchangeError(ref, err)
	}
	if to != "" {
		list = slices.DeleteFunc(list, func(e store.Exchange) bool { return e.To != to })
	}
	if len(list) == 0 {
		return nil, fault.New(fault.NotFound, "entente show "+ref+" lists its recipients", "%.128q does not go to %s", ref, to)
	}
	last := list[0]
	list = slices.DeleteFunc(list, func(e store.Exchange) bool { return !e.State.Underway() })
	if len(list) == 0 {
		return nil, fault.New(fault.Conflict, "entente show "+last.Ref()+" tells the whole of it", "%s is %s already", last.Ref(), last.State)
	}
	return list, nil
}

// ours finds the exchanges that a reference fits, all recipients of one id or one of them, as long as this member is their sender.
func (n *node) ours(v *store.View, ref string) ([]store.Exchange, error) {
	e, err := findSent(v, n.Config.Member, ref)
	list := []store.Exchange{e}
	if statement.ValidID(ref) == nil && (err == nil || errors.Is(err, store.ErrAmbiguous)) {
		list, err = v.Exchanges(store.Filter{From: n.Config.Member, ID: ref})
	}
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || list[0].From != n.Config.Member {
		return nil, fault.New(fault.Misused, "entente outbox lists what was sent", "%.128q was not sent by this member", ref)
	}
	return list, nil
}

// Cancel gives deliveries up, for who released the document or has the role releaser or admin: they expire now, with a leaf that is committed to who said so
// and why. The attempt under way ends. Whichever is committed first, this or the receipt, is what happened: a receipt that comes later is dropped, as one
// that is lost on the way would be, and the log never says both.
func (n *node) Cancel(ctx context.Context, req *ententev1.CancelRequest) (*ententev1.CancelResponse, error) {
	who, err := person(n.Dir, rpc.CallerFrom(ctx).Person)
	if err != nil {
		return nil, err
	}
	reason := req.GetReason()
	if err := statement.ValidLine(reason); err != nil {
		return nil, fault.New(fault.Misused, "--reason TEXT, for your own records", "the reason: %w", err)
	}
	private := []statement.Private{{Field: "person", Value: []byte(n.spiffe(who.Name))}, {Field: "reason", Value: []byte(reason)}}
	var given []store.Exchange
	err = n.commitAs(ctx, crash.Expired, func(tx *store.Tx) error {
		if given, err = n.underwayOf(&tx.View, req.GetExchange(), ""); err != nil {
			return err
		}
		m, err := manifestOf(&tx.View, given[0])
		if err != nil {
			return err
		}
		if m.Terms.ReleasedBy != n.spiffe(who.Name) && !slices.Contains(who.Roles, "releaser") && !slices.Contains(who.Roles, "admin") {
			return fault.New(fault.Forbidden, "ask them, or somebody with the role releaser or admin", "%s may not cancel what %s has released", who.Name, nameOf(m.Terms.ReleasedBy))
		}
		for _, e := range given {
			if err := expired(tx, e.To, e.Manifest, e.ID, n.now(), private...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return n.cancelled(ctx, given)
}

// cancelled ends the attempts at what was given up, and tells what has become of it.
func (n *node) cancelled(ctx context.Context, given []store.Exchange) (*ententev1.CancelResponse, error) {
	out := &ententev1.CancelResponse{}
	for _, e := range given {
		n.tries.end(attemptName(store.OutgoingDocument, e.Manifest, e.To))
		n.settled.ring(e.Manifest, ending{e.To, store.Expired})
		if e.State == store.Unconfirmed {
			out.Unconfirmed = append(out.Unconfirmed, e.Ref())
		}
	}
	err := n.DB.View(ctx, func(v *store.View) error {
		for _, e := range given {
			now, err := v.Exchange(e.Manifest, e.To)
			if err != nil {
				return err
			}
			m, err := manifestOf(v, e)
			if err != nil {
				return err
			}
			n.stepped(stepCancelled, &m.Terms, e.To, e.To, time.Time{})
			about, err := describeExchange(v, now)
			if err != nil {
				return err
			}
			out.Exchanges = append(out.Exchanges, about)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what was cancelled: %w", err)
	}
	return out, nil
}

// gaveUp says who gave a delivery up, and why; "" if nobody did.
func gaveUp(v *store.View, e store.Exchange) (string, error) {
	for r, err := range v.LeavesAbout(e.Manifest[:], 0) {
		if err != nil {
			return "", err
		}
		l, err := statement.ParseLeaf(r.Body)
		if err != nil {
			return "", err
		}
		if !l.GaveUp() || !slices.Equal(l.Peers, []string{e.To}) {
			continue
		}
		who, err := v.PrivateField(r.Idx, "person")
		if err != nil {
			return "", err
		}
		why, err := v.PrivateField(r.Idx, "reason")
		return fmt.Sprintf("%s cancelled it: %s", nameOf(string(who)), why), err
	}
	return "", nil
}
