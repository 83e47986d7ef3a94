package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/member"
	"entente.example/internal/rpc"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Witness co-signs a checkpoint of the caller's log, as proto/entente/v1/peer.proto says.
func (n *node) Witness(ctx context.Context, req *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
	return n.witnessFor(ctx, rpc.CallerFrom(ctx).Member, req)
}

func (n *node) witnessFor(ctx context.Context, peer string, req *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	a, err := n.coSign(ctx, h, req.GetRequest(), req.GetOldRoot(), func(owner string) bool { return owner == peer }, nil)
	if err != nil {
		return nil, err
	}
	charter := h.Newest()
	out := &ententev1.WitnessResponse{Status: int32(a.Status), Body: a.Body, Held: a.Held, Fork: a.Fork, CharterSha256: charter[:]}
	if !a.Clock.IsZero() {
		out.Clock = a.Clock.UnixMicro()
	}
	return out, nil
}

// coSign has our witness look at a request about a member's log, or one of those whose verifier keys are in foreign, by origin. whose tells
// of which members' logs the caller may bring checkpoints.
// A contradiction that shows is acted upon before the answer leaves.
func (n *node) coSign(ctx context.Context, h *member.History, request, oldRoot []byte, whose func(owner string) bool, foreign map[string]string) (audit.Answer, error) {
	var trouble error
	var forked []byte // the proof that we have already
	a, err := n.witness.Add(ctx, func(origin string) (audit.Known, bool) {
		if vkey, ok := foreign[origin]; ok {
			return audit.Known{Foreign: vkey}, true
		}
		owner, log, ok := logOf(h, origin)
		if !ok || owner == n.Config.Member || !whose(owner) {
			return audit.Known{}, false
		}
		forked, trouble = n.forkOf(ctx, origin)
		return audit.Known{Log: log, Forked: forked}, true
	}, request, oldRoot)
	if err := errors.Join(trouble, err); err != nil {
		return a, err
	}
	if a.Fork != nil && forked == nil {
		if err := n.learnFork(ctx, a.Fork, ""); err != nil {
			n.log.Error("cannot keep the proof that a log forked", "log", a.Origin, "error", err)
		}
	}
	if a.Status == audit.StatusOK && a.Checkpoint != nil {
		n.gossip.saw(a.Origin, a.Tree, a.Checkpoint)
	}
	return a, nil
}

// forkOf gives the proof that a log forked, or nil.
func (n *node) forkOf(ctx context.Context, origin string) (raw []byte, err error) {
	err = n.DB.View(ctx, func(v *store.View) error {
		forks, err := v.Forks(origin)
		if len(forks) > 0 {
			raw = forks[0].Raw
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for forks of %s: %w", origin, err)
	}
	return raw, nil
}

// Consistency proves that our log, when it was larger, began with what it was when it was smaller.
func (n *node) Consistency(ctx context.Context, req *ententev1.ConsistencyRequest) (*ententev1.ConsistencyResponse, error) {
	if req.GetOldSize() > req.GetNewSize() {
		return nil, fault.New(fault.Misused, "", "the old size is larger than the new one")
	}
	var old tlog.Tree
	var proof tlog.TreeProof
	err := n.DB.View(ctx, func(v *store.View) error {
		size, _, err := v.Checkpoint()
		if err != nil {
			return err
		}
		if req.GetNewSize() > size {
			return fault.New(fault.NotFound, "", "the newest checkpoint covers %d leaves", size)
		}
		old, proof, err = prove(v, req.GetOldSize(), req.GetNewSize())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("prove consistency: %w", err)
	}
	out := &ententev1.ConsistencyResponse{OldRoot: old.Hash[:]}
	for _, h := range proof {
		out.Hashes = append(out.Hashes, h[:])
	}
	return out, nil
}

// prove gives our tree as it was at a size, and the proof that it grew into that of a larger one. Both may be 0, and then there is no proof.
func prove(v *store.View, oldSize, newSize int64) (old tlog.Tree, proof tlog.TreeProof, err error) {
	old.N = oldSize
	if old.Hash, err = tlog.TreeHash(oldSize, v.Hashes()); err != nil {
		return old, nil, fmt.Errorf("compute root of %d leaves: %w", oldSize, err)
	}
	if oldSize == 0 || oldSize == newSize {
		return old, nil, nil
	}
	if proof, err = tlog.ProveTree(newSize, oldSize, v.Hashes()); err != nil {
		return old, nil, fmt.Errorf("prove that the log grew from %d to %d leaves: %w", oldSize, newSize, err)
	}
	return old, proof, nil
}

// logOf finds whose log an origin names, and its keys, over all logs that members ever had.
func logOf(h *member.History, origin string) (owner string, log checkpoint.Log, ok bool) {
	for _, m := range h.Members() {
		for _, l := range h.Logs(m.Name) {
			if l.Origin == origin {
				return m.Name, checkpoint.Log{Ed25519: l.Vkey, MLDSA: l.MLDSA}, true
			}
		}
	}
	return "", checkpoint.Log{}, false
}

// ownLog gives the keys of our own log.
func (n *node) ownLog() checkpoint.Log {
	return audit.Keys{Ed25519: n.Keys.Log, MLDSA: n.Keys.LogMLDSA}.Verifiers()
}

// cosignedFor gives the first checkpoint with a quorum's co-signatures that covers a leaf of ours. If there is none yet it asks the
// witnesses now, and waits for them at most that long.
func (n *node) cosignedFor(ctx context.Context, leaf int64, wait time.Duration) (c store.Cosigned, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for asked := false; ; asked = true {
		reached := n.rounds.wait() // before looking, so that nothing is missed in between
		err := n.DB.View(ctx, func(v *store.View) error { c, err = v.CosignedAfter(leaf); return err })
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
			return c, fmt.Errorf("look for a co-signed checkpoint: %w", err)
		}
		if !asked {
			n.rounds.hurry(ctx)
		}
		select {
		case <-reached:
		case <-ctx.Done():
			return c, fault.New(fault.Transient, "see who answers with: entente audit witnesses; then try again", "no quorum of witnesses has co-signed leaf %d yet", leaf)
		}
	}
}
