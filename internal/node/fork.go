package node

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// learnFork takes in a proof that a member's log forked, whoever brings it: it is verified, written down with a leaf, and told to all others,
// except to who told us. One proof for each log is enough; more change nothing. If it is our own log, it signs nothing any more from then on.
func (n *node) learnFork(ctx context.Context, raw []byte, teller string) error {
	f, err := checkpoint.ParseFork(raw)
	if err != nil {
		return fault.New(fault.Invalid, "", "%w", err)
	}
	origin, err := f.Origin()
	if err != nil {
		return fault.New(fault.Invalid, "", "%w", err)
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	owner, log, ok := logOf(h, origin)
	if !ok {
		return fault.New(fault.Invalid, "", "the log %.80q is no member's", origin)
	}
	says, err := f.Check(log)
	if err != nil {
		return fault.New(fault.Invalid, "", "%w", err)
	}
	own := origin == n.ownLog().Origin()
	if own { // first: what is written down below must not be signed for any more
		if err := n.Log.Stop(raw); err != nil {
			return err
		}
	}
	kept, err := n.keepFork(ctx, origin, owner, raw)
	if err != nil || !kept {
		return err
	}
	n.log.Error("a log forked", "log", origin, "owner", owner, "proof", says, "told_by", teller, "see", "entente audit forks")
	n.gossip.forked(raw, teller)
	return nil
}

// keepFork writes a proof down, with its leaf, unless there is one about that log. A crash before it commits loses what whoever told us
// tells again.
func (n *node) keepFork(ctx context.Context, origin, owner string, raw []byte) (kept bool, err error) {
	event := statement.Event{Kind: statement.EventForked, Time: n.now(), Statement: statement.HashBytes(raw)}
	if owner != n.Config.Member {
		event.Peers = []string{owner}
	}
	err = n.DB.Update(ctx, func(tx *store.Tx) error {
		kept = false // it may be run twice
		forks, err := tx.Forks(origin)
		if err != nil || len(forks) > 0 {
			return err
		}
		kept = true
		if _, err := tx.PutFork(origin, raw); err != nil {
			return err
		}
		_, err = tx.Record(event)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("keep the proof that %s forked: %w", origin, err)
	}
	if n.Log.Stopped() == nil {
		if _, err := n.Log.Publish(ctx); err != nil {
			n.log.Error("cannot publish the log", "error", err) // the next commit does
		}
		n.rounds.nudge()
	}
	return kept, nil
}

// compareOwn judges a checkpoint that our own log signed and that somebody else holds. It gives nil if our log began with it. If it did not,
// our log forked: most likely somebody has put this home back to what it was. Then the log is stopped with the proof, or, as long
// as nothing can be proved because both were signed in the same second, nothing is exchanged any more.
func (n *node) compareOwn(ctx context.Context, raw []byte) error {
	held, err := checkpoint.Open(raw, n.ownLog())
	if err != nil {
		return fmt.Errorf("it shows what our log did not sign: %w", err)
	}
	newest, err := n.Log.Publish(ctx) // not below what we have signed before
	if err != nil {
		return err
	}
	ours, err := checkpoint.Open(newest, n.ownLog())
	if err != nil {
		return err
	}
	var old tlog.Tree
	var proof tlog.TreeProof
	if held.Tree.N <= ours.Tree.N {
		err := n.DB.View(ctx, func(v *store.View) (err error) { old, proof, err = prove(v, held.Tree.N, ours.Tree.N); return err })
		if err != nil {
			return err
		}
		if old == held.Tree {
			return nil
		}
	} else if newest, err = n.Log.Renew(ctx); err != nil { // as of now, ours is the largest tree: that contradicts the larger one
		return err
	}
	behind := fault.New(fault.Conflict, "do not go on with this home; was it restored from a backup, or does a copy of it run?",
		"our log has %d leaves, and others hold one of %d that it signed and does not begin with", ours.Tree.N, held.Tree.N)
	fork := audit.Contradiction(n.ownLog(), raw, newest, old.Hash, proof)
	n.rounds.lag(behind)
	if fork == nil {
		return behind
	}
	return errors.Join(behind, n.learnFork(ctx, fork, ""))
}
