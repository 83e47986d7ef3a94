package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc"

	"entente.example/internal/checkpoint"
	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// proving is an exchange that is to be proved, as we know it.
type proving struct {
	history *member.History
	about   store.Exchange
	peer    string // the other party
	parts   evidence.Parts
}

// Evidence makes a file that proves an exchange of ours, for people with the role releaser, reader or auditor. That it was made is
// written down before any of it leaves: with the content's salt, whoever has the file can test guesses at the document.
func (n *node) Evidence(req *ententev1.EvidenceRequest, stream grpc.ServerStreamingServer[ententev1.EvidenceResponse]) error {
	ctx := stream.Context()
	roles := []string{"releaser", "reader", "auditor"}
	if req.GetContent() {
		roles = []string{"releaser", "auditor"}
	}
	who, err := n.entitled(ctx, "export such evidence", roles...)
	if err != nil {
		return err
	}
	p, err := n.findProving(ctx, req.GetExchange())
	if err != nil {
		return err
	}
	if req.GetContent() && p.about.From != n.Config.Member {
		return fault.New(fault.Misused, "ask "+p.about.From+" for evidence with the content, or leave out --content",
			"only the sender of %s can open its commitment to the content", p.about.Ref())
	}
	raw, missing, err := n.prove(ctx, p, req.GetContent())
	if err != nil {
		return err
	}
	err = n.commit(ctx, func(tx *store.Tx) error {
		_, err := tx.Record(statement.Event{Kind: statement.EventExported, Time: n.now(), ID: p.about.ID, Manifest: p.about.Manifest, Peers: []string{p.peer},
			Private: []statement.Private{{Field: "person", Value: []byte(n.spiffe(who.Name))}}})
		return err
	})
	if err != nil {
		return fmt.Errorf("record export: %w", err)
	}
	for chunk := range slices.Chunk(raw, limit.Chunk) {
		if err := stream.Send(&ententev1.EvidenceResponse{Part: &ententev1.EvidenceResponse_Chunk{Chunk: chunk}}); err != nil {
			return err
		}
	}
	return stream.Send(&ententev1.EvidenceResponse{Part: &ententev1.EvidenceResponse_Complete{
		Complete: &ententev1.EvidenceComplete{OtherSideMissing: missing, Ref: p.about.Ref()}}})
}

// findProving reads what we have about an exchange, but the leaves.
func (n *node) findProving(ctx context.Context, ref string) (*proving, error) {
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	p := &proving{history: h, parts: evidence.Parts{History: h}}
	err = n.DB.View(ctx, func(v *store.View) (err error) {
		if p.about, err = v.FindExchange(ref); err != nil {
			return err
		}
		row, err := v.Manifest(p.about.Manifest)
		if err != nil {
			return err
		}
		p.parts.Manifest = row.Raw
		if p.parts.Receipts, err = v.Receipts(p.about.Manifest, p.about.To); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		m, err := statement.ParseDraft[statement.Manifest](row.Raw)
		if err != nil {
			return err
		}
		// A refusal may be just because we do not know the agreement.
		a, err := v.AgreementByHash(m.Terms.AgreementHash)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		p.parts.Agreement = a.Raw
		return err
	})
	if err != nil {
		return nil, exchangeError(ref, err)
	}
	p.parts.Recipient, p.peer = p.about.To, p.about.From
	if p.peer == n.Config.Member {
		p.peer = p.about.To
	}
	return p, nil
}

// prove makes the file. If the other side's leaves do not come or do not prove anything, it is made without them, and missing says why.
func (n *node) prove(ctx context.Context, p *proving, content bool) (raw []byte, missing string, err error) {
	ours, err := n.provedLeaves(ctx, p.about.Manifest, p.peer)
	if err != nil {
		return nil, "", err
	}
	p.parts.Leaves = ours
	if content {
		if p.parts.Opened, err = n.openSalt(ctx, ours); err != nil {
			return nil, "", err
		}
	}
	theirs, err := n.askProof(ctx, p)
	if err == nil && len(theirs) == 0 {
		err = errors.New("it has no leaf about it")
	}
	if err == nil {
		p.parts.Leaves = slices.Concat(ours, theirs)
		if raw, _, err = p.parts.Build(n.now()); err == nil {
			return raw, "", nil
		}
		p.parts.Leaves = ours
	}
	missing = fault.New(fault.Transient, "", "the log of %s is not in it: %w", p.peer, err).Error()
	n.log.Warn("evidence without the other side's leaves", "peer", p.peer, "id", p.about.ID, "error", err)
	if raw, _, err = p.parts.Build(n.now()); err != nil {
		return nil, "", fault.New(fault.Failed, "see what is wrong with: entente audit verify, and who co-signs with: entente audit witnesses", "prove %s: %w", p.about.Ref(), err)
	}
	return raw, missing, nil
}

// openSalt opens the salt of the content's commitment in our leaf `released`.
func (n *node) openSalt(ctx context.Context, leaves []evidence.Leaf) (opened []evidence.Opening, err error) {
	for _, l := range leaves {
		leaf, err := statement.ParseLeaf(l.Raw)
		if err != nil {
			return nil, fmt.Errorf("read leaf %d: %w", l.Index, err)
		}
		if leaf.Kind != statement.EventReleased {
			continue
		}
		var private []statement.Committed
		if err := n.DB.View(ctx, func(v *store.View) (err error) { private, err = v.Private(l.Index); return err }); err != nil {
			return nil, fmt.Errorf("read leaf %d: %w", l.Index, err)
		}
		for _, c := range private {
			if c.Field == store.SaltField {
				opened = append(opened, evidence.Opening{Origin: l.Origin, Index: l.Index, Committed: c})
			}
		}
	}
	if len(opened) == 0 {
		return nil, fault.New(fault.Failed, "see what is wrong with: entente audit verify", "the salt of the content's commitment is not here")
	}
	return opened, nil
}

// proofKinds are the leaves that say something about an exchange with one peer. Others, such as later openings, say what
// concerns nobody else.
var proofKinds = []statement.EventKind{statement.EventReleased, statement.EventReceived, statement.EventRefused, statement.EventDelivered, statement.EventReturned,
	statement.EventExpired, statement.EventOpened, statement.EventUndecryptable, statement.EventConfirmed}

// provedLeaves gives our leaves about an exchange with a peer, and our adoption of its agreement, each with a proof under the first
// checkpoint that a quorum co-signed and that covers it. Where there is none within limit.ProveWait, the log's own signature must do.
func (n *node) provedLeaves(ctx context.Context, manifest statement.Hash, peer string) ([]evidence.Leaf, error) {
	var found []store.Indexed
	err := n.DB.View(ctx, func(v *store.View) error {
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
	var leaves []evidence.Leaf
	for _, l := range slices.Backward(found) { // the newest first: if that is co-signed, so are all, and only one waits
		proved, err := n.proveLeaf(ctx, l)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, proved)
	}
	slices.Reverse(leaves)
	return leaves, nil
}

// proveLeaf proves where one leaf of ours stands.
func (n *node) proveLeaf(ctx context.Context, l store.Indexed) (evidence.Leaf, error) {
	c, err := n.cosignedFor(ctx, l.Index, limit.ProveWait)
	note := c.Note
	if err != nil {
		if ctx.Err() != nil {
			return evidence.Leaf{}, ctx.Err()
		}
		if note, err = n.Log.Publish(ctx); err != nil {
			return evidence.Leaf{}, fmt.Errorf("publish log: %w", err)
		}
	}
	origin, tree, err := checkpoint.Head(note)
	if err != nil {
		return evidence.Leaf{}, fmt.Errorf("read our checkpoint: %w", err)
	}
	proof := checkpoint.Proof{Index: l.Index, Checkpoint: note}
	err = n.DB.View(ctx, func(v *store.View) (err error) {
		proof.Hashes, err = tlog.ProveRecord(tree.N, l.Index, v.Hashes())
		return err
	})
	if err != nil {
		return evidence.Leaf{}, fmt.Errorf("prove leaf %d: %w", l.Index, err)
	}
	return evidence.Leaf{Origin: origin, Index: l.Index, Raw: l.Body, Proof: proof.Format()}, nil
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
