package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/seal"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// A release that takes two people waits here for the second, sealed like any other; approve.go ends the wait. While it waits there is no
// manifest, only its draft, and nothing that another member could be shown.

// mayWait refuses to keep more releases waiting than people can look at.
func (n *node) mayWait(ctx context.Context) error {
	var waiting int64
	err := n.DB.View(ctx, func(v *store.View) (err error) { waiting, err = v.CountWaiting(); return err })
	if err != nil {
		return fmt.Errorf("count what waits: %w", err)
	}
	return tooMany(waiting)
}

func tooMany(waiting int64) error {
	if waiting >= limit.Waiting {
		return fault.New(fault.Failed, "have somebody look at them: entente approvals", "%d releases wait for a second person, and no more can", waiting)
	}
	return nil
}

// hold keeps a document that is sealed until a second person has approved its release, or until its time is over.
func (n *node) hold(ctx context.Context, s *submission, d policy.Decision, sealed *seal.Sealed, g *gathering, began time.Time) (*ententev1.SendResponse, error) {
	raw, err := statement.Draft(s.manifest)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("draft manifest: %w", err), g.discard())
	}
	draft, err := statement.ParseDraft[statement.Manifest](raw)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("draft manifest: %w", err), g.discard())
	}
	// A crash after this leaves a blob without a row, which recover removes. Nobody was told about it.
	if err := g.spill(); err != nil {
		return nil, err
	}
	if err := g.commit(draft.Hash); err != nil {
		return nil, fmt.Errorf("store document: %w", err)
	}
	err = n.commit(ctx, func(tx *store.Tx) error {
		waiting, err := tx.CountWaiting()
		if err == nil {
			err = tooMany(waiting)
		}
		if err != nil {
			return err
		}
		if err := tx.PutWaiting(draft, sealed.Header, sealed.Salt[:]); err != nil {
			return err
		}
		_, err = tx.Record(statement.Event{Kind: statement.EventWaiting, Time: n.now(), ID: draft.Terms.ID, Statement: draft.Hash, Peers: draft.Terms.To,
			Stage: string(policy.Release), Rules: n.rules(d), Private: n.private(s.person, d)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("record that a release waits: %w", err) // recover removes the blob
	}
	for _, to := range draft.Terms.To {
		n.stepped(string(statement.EventWaiting), &draft.Terms, to, to, began)
	}
	poke(n.held)
	return waits(draft.Terms, d.Reasons), nil
}

// waits is the answer about a release that waits, and why it does.
func waits(m statement.Manifest, why []statement.Reason) *ententev1.SendResponse {
	return &ententev1.SendResponse{Exchanges: refs(m), Waits: reasonMessages(why), WaitsUntil: timestamppb.New(store.WaitsUntil(m))}
}

// stillWaits answers somebody who asks again for a sending that waits.
func (n *node) stillWaits(ctx context.Context, r store.Release) (*ententev1.SendResponse, error) {
	if r.State == store.Lapsed || n.now().After(r.Ends) {
		return nil, hasLapsed(r)
	}
	var why []statement.Reason
	err := n.DB.View(ctx, func(v *store.View) error {
		for leaf, err := range v.LeavesAbout(r.Hash[:], 0) {
			if err != nil {
				return err
			}
			if record, err := v.PrivateField(leaf.Idx, "decision"); err == nil {
				d, _ := policy.Replay(record, policy.Sources{}) // what was decided then is there in any case
				why = d.Recorded.Reasons
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look why it waits: %w", err)
	}
	return waits(r.Draft.Terms, why), nil
}

// findSent finds an exchange for those to whom a release that waits, or has lapsed, is none. They are told which it is.
func findSent(v *store.View, self, ref string) (store.Exchange, error) {
	e, err := v.FindExchange(ref)
	if !errors.Is(err, store.ErrNotFound) {
		return e, err
	}
	r, waiting := findWaiting(v, self, ref)
	switch {
	case errors.Is(waiting, store.ErrNotFound) || waiting == nil && r.State == store.Approved:
		return e, err
	case waiting != nil:
		return e, waiting
	case r.State == store.Lapsed:
		return e, hasLapsed(r)
	}
	m := r.Draft.Terms
	return e, fault.New(fault.Conflict, "somebody with the role approver says: entente approve "+m.ID+" --document FILE",
		"%s/%s waits for a second person until %s; nothing was sent yet", m.From, m.ID, r.Ends.Format(time.RFC3339))
}

func hasLapsed(r store.Release) error {
	m := r.Draft.Terms
	return fault.New(fault.Conflict, "send the document again, and tell somebody who may approve it", "%s/%s waited for a second person until %s, and nobody approved it; nothing was sent",
		m.From, m.ID, r.Ends.Format(time.RFC3339))
}

// lapses ends what nobody has approved in time, until ctx ends.
func (n *node) lapses(ctx context.Context) error {
	for ctx.Err() == nil {
		next, err := n.lapse(ctx)
		if err != nil && ctx.Err() == nil {
			n.log.Error("cannot end what waits too long", "error", err)
		}
		pause := limit.RetryMost // a clock may be set
		if !next.IsZero() {
			pause = min(pause, max(next.Sub(n.now()), limit.RetryFirst))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-n.held:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// lapse ends every release whose time is over, and tells when that of the next one is; zero if none waits.
func (n *node) lapse(ctx context.Context) (next time.Time, err error) {
	for {
		var list []store.Release
		err := n.DB.View(ctx, func(v *store.View) (err error) { list, err = v.WaitingByEnd(1); return err })
		if err != nil || len(list) == 0 {
			return time.Time{}, err
		}
		r := list[0]
		if now := n.now(); !now.After(r.Ends) {
			return r.Ends.Add(time.Millisecond), nil
		}
		err = n.commit(ctx, func(tx *store.Tx) error {
			if err := tx.EndWaiting(r.Hash, store.Lapsed); err != nil {
				return err
			}
			_, err := tx.Record(statement.Event{Kind: statement.EventLapsed, Time: n.now(), ID: r.Draft.Terms.ID, Statement: r.Hash, Peers: r.Draft.Terms.To})
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			continue // approved at the last moment
		}
		if err != nil {
			return r.Ends, fmt.Errorf("record that %s has lapsed: %w", r.Draft.Terms.ID, err)
		}
		for _, to := range r.Draft.Terms.To {
			n.stepped(string(statement.EventLapsed), &r.Draft.Terms, to, to, time.Time{})
		}
		// A crash before this leaves a blob that no row names, which recover removes. Its header is gone already.
		if err := n.Blobs.Remove(r.Hash); err != nil {
			return r.Ends, err
		}
	}
}
