package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// proofKinds are the leaves that say something about an exchange with one peer. Others, such as later openings, say what
// concerns nobody else.
var proofKinds = []statement.EventKind{statement.EventReleased, statement.EventReceived, statement.EventRefused, statement.EventDelivered, statement.EventReturned,
	statement.EventExpired, statement.EventOpened, statement.EventUndecryptable, statement.EventConfirmed}

// leavesAbout gives our leaves about an exchange with a peer, and our adoption of its agreement.
func (h *Home) leavesAbout(ctx context.Context, manifest statement.Hash, peer string) (found []store.Indexed, err error) {
	err = h.DB.View(ctx, func(v *store.View) error {
		row, err := v.Manifest(manifest)
		if err != nil {
			return err
		}
		m, err := statement.ParseDraft[statement.Manifest](row.Raw)
		if err != nil {
			return err
		}
		for _, about := range []statement.Hash{m.Terms.AgreementHash, manifest} {
			list, err := v.LeavesOf(about)
			if err != nil {
				return err
			}
			for _, l := range list {
				leaf, err := statement.ParseLeaf(l.Body)
				if err != nil {
					return fmt.Errorf("leaf %d: %w", l.Index, err)
				}
				if leaf.Kind == statement.EventAgreement || slices.Contains(proofKinds, leaf.Kind) && slices.Contains(leaf.Peers, peer) {
					found = append(found, l)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	return found, nil
}

// ErrUncovered says that no checkpoint covers a leaf yet, so that nothing proves where it stands. A node signs one when it starts, and after every leaf.
var ErrUncovered = errors.New("no checkpoint covers it yet")

// proveLeaves proves where leaves of ours stand, each under the first checkpoint that a quorum co-signed and that covers it, or else under
// the newest that our log signed. It waits for nothing.
func (h *Home) proveLeaves(ctx context.Context, found []store.Indexed) (leaves []evidence.Leaf, err error) {
	err = h.DB.View(ctx, func(v *store.View) error {
		for _, l := range found {
			c, err := v.CosignedAfter(l.Index)
			if errors.Is(err, store.ErrNotFound) {
				c.Size, c.Note, err = v.Checkpoint()
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if l.Index >= c.Size {
				return fmt.Errorf("prove leaf %d: %w", l.Index, ErrUncovered)
			}
			origin, tree, err := checkpoint.Head(c.Note)
			if err != nil {
				return fmt.Errorf("read our checkpoint: %w", err)
			}
			proof := checkpoint.Proof{Index: l.Index, Checkpoint: c.Note}
			if proof.Hashes, err = tlog.ProveRecord(tree.N, l.Index, v.Hashes()); err != nil {
				return fmt.Errorf("prove leaf %d: %w", l.Index, err)
			}
			leaves = append(leaves, evidence.Leaf{Origin: origin, Index: l.Index, Raw: l.Body, Proof: proof.Format()})
		}
		return nil
	})
	return leaves, err
}

// provedLeaves gives our leaves about an exchange with their proofs. Where no quorum has co-signed them all within limit.ProveWait, our
// log's own signature must do for the others. That is one wait for all of them: what covers the newest leaf covers the rest.
func (n *node) provedLeaves(ctx context.Context, manifest statement.Hash, peer string) ([]evidence.Leaf, error) {
	found, err := n.leavesAbout(ctx, manifest, peer)
	if err != nil {
		return nil, err
	}
	newest := int64(-1)
	for _, l := range found {
		newest = max(newest, l.Index)
	}
	if newest < 0 {
		return nil, nil
	}
	if _, err := n.cosignedFor(ctx, newest, limit.ProveWait); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := n.Log.Publish(ctx); err != nil {
			return nil, fmt.Errorf("publish log: %w", err)
		}
	}
	return n.proveLeaves(ctx, found)
}

// StoredEvidence makes evidence about an exchange of ours from what is stored, while nodes may run or not: without waiting for anybody, and
// without a leaf that says so. So it is for those who have the homes of both parties at hand, as a lesson or a test has; other is
// the other party's home, or nil if there is none. The error wraps ErrUncovered if a log has not signed yet what it recorded last.
func (h *Home) StoredEvidence(ctx context.Context, ref string, other *Home, now time.Time) ([]byte, evidence.Verdict, error) {
	history, err := h.History(ctx)
	if err != nil {
		return nil, evidence.Verdict{}, err
	}
	p, err := h.findProving(ctx, history, ref)
	if err != nil {
		return nil, evidence.Verdict{}, err
	}
	for _, side := range []struct {
		home *Home
		peer string
	}{{h, p.peer}, {other, h.Config.Member}} {
		if side.home == nil {
			continue
		}
		found, err := side.home.leavesAbout(ctx, p.about.Manifest, side.peer)
		if errors.Is(err, store.ErrNotFound) {
			continue // it never heard of it
		}
		var leaves []evidence.Leaf
		if err == nil {
			leaves, err = side.home.proveLeaves(ctx, found)
		}
		if err != nil {
			return nil, evidence.Verdict{}, fmt.Errorf("%s: %w", side.home.Config.Member, err)
		}
		p.parts.Leaves = append(p.parts.Leaves, leaves...)
	}
	return p.parts.Build(now)
}

// ReconciliationEvidence makes evidence of a reconciliation that both have signed, with our leaf about it, so that it tells since when it is signed.
// The home's node brings the leaf to its witnesses meanwhile: it is waited for at most limit.ProveWait.
func (h *Home) ReconciliationEvidence(ctx context.Context, signed []byte, now time.Time) ([]byte, evidence.Verdict, error) {
	history, err := h.History(ctx)
	if err != nil {
		return nil, evidence.Verdict{}, err
	}
	hash, err := statement.HashOf(signed)
	if err != nil {
		return nil, evidence.Verdict{}, fmt.Errorf("read reconciliation: %w", err)
	}
	var found []store.Indexed
	for until := time.Now().Add(limit.ProveWait); ; {
		covered := false
		err := h.DB.View(ctx, func(v *store.View) (err error) {
			found, err = v.LeavesOf(hash)
			found = found[:min(len(found), 1)]
			if err != nil || len(found) == 0 {
				return err
			}
			_, err = v.CosignedAfter(found[0].Index)
			if covered = err == nil; errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, evidence.Verdict{}, fmt.Errorf("read leaves: %w", err)
		}
		if covered || time.Now().After(until) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, evidence.Verdict{}, ctx.Err()
		case <-time.After(limit.ProveLook):
		}
	}
	leaves, err := h.proveLeaves(ctx, found)
	if err != nil && !errors.Is(err, ErrUncovered) {
		return nil, evidence.Verdict{}, err
	}
	return evidence.Reconciliation(history, signed, leaves, now)
}

// askProof asks the other party's node for its leaves. They are not verified: that is Build's part.
func (n *node) askProof(ctx context.Context, p *proving) ([]evidence.Leaf, error) {
	ctx, cancel := context.WithTimeout(ctx, limit.ProveCall)
	defer cancel()
	peer, ok := p.history.Member(p.peer)
	if !ok {
		return nil, fmt.Errorf("%s is no member any more", p.peer)
	}
	conn, err := n.dial(ctx, peer)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	out, err := ententev1.NewPeerServiceClient(conn).Prove(ctx, &ententev1.ProveRequest{ManifestSha256: p.about.Manifest[:]})
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	if len(out.GetLeaves()) > limit.ExchangeLeaves {
		return nil, fmt.Errorf("it sent %d leaves, at most %d are allowed", len(out.GetLeaves()), limit.ExchangeLeaves)
	}
	var leaves []evidence.Leaf
	for _, l := range out.GetLeaves() {
		proof, err := checkpoint.ParseProof(l.GetProof())
		if err != nil {
			return nil, err
		}
		origin, _, err := checkpoint.Head(proof.Checkpoint)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, evidence.Leaf{Origin: origin, Index: proof.Index, Raw: l.GetLeaf(), Proof: l.GetProof()})
	}
	return leaves, nil
}

// Prove gives the other party of an exchange our leaves about it. Of exchanges between others, or of none, it says the same.
func (n *node) Prove(ctx context.Context, req *ententev1.ProveRequest) (*ententev1.ProveResponse, error) {
	peer, manifest := rpc.CallerFrom(ctx).Member, statement.Hash(req.GetManifestSha256())
	err := n.DB.View(ctx, func(v *store.View) error {
		// We are its recipient and the caller its sender, or the reverse.
		if e, err := v.Exchange(manifest, n.Config.Member); err == nil && e.From == peer {
			return nil
		} else if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		e, err := v.Exchange(manifest, peer)
		if err == nil && e.From != n.Config.Member {
			return store.ErrNotFound
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, fault.New(fault.NotFound, "", "there is no exchange %s between %s and us", manifest.Short(), peer)
	}
	if err != nil {
		return nil, fmt.Errorf("find exchange: %w", err)
	}
	leaves, err := n.provedLeaves(ctx, manifest, peer)
	if err != nil {
		return nil, err
	}
	out := &ententev1.ProveResponse{}
	size := 0
	for _, l := range leaves[:min(len(leaves), limit.ExchangeLeaves)] {
		// A co-signed checkpoint of the largest alliance takes 110 KiB, so all that an honest log has about an exchange fits.
		if size += len(l.Raw) + len(l.Proof); size > limit.Message*3/4 {
			break
		}
		out.Leaves = append(out.Leaves, &ententev1.ProvedLeaf{Leaf: l.Raw, Proof: l.Proof})
	}
	return out, nil
}
