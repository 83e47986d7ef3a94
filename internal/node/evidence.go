package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
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
	history, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	p, err := n.findProving(ctx, history, req.GetExchange())
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
func (h *Home) findProving(ctx context.Context, history *member.History, ref string) (*proving, error) {
	p := &proving{history: history, parts: evidence.Parts{History: history}}
	err := h.DB.View(ctx, func(v *store.View) (err error) {
		if p.about, err = findSent(v, h.Config.Member, ref); err != nil {
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
		if err != nil {
			return err
		}
		// Where name or alliance are others, this is why it was refused: it is not the agreement that the manifest means.
		terms, err := statement.ParseDraft[statement.Agreement](a.Raw)
		if err == nil && terms.Terms.Name == m.Terms.Agreement && terms.Terms.Alliance == history.Alliance() {
			p.parts.Agreement = a.Raw
		}
		return err
	})
	if err != nil {
		return nil, exchangeError(ref, err)
	}
	p.parts.Recipient, p.peer = p.about.To, p.about.From
	if p.peer == h.Config.Member {
		p.peer = p.about.To
	}
	return p, nil
}

// prove makes the file. If the other side's leaves do not come or do not prove anything, it is made without them, and missing says why.
func (n *node) prove(ctx context.Context, p *proving, content bool) (raw []byte, missing string, err error) {
	// Both sides may have to wait for their witnesses, so they wait at once.
	var theirs []evidence.Leaf
	var refused error
	asked := make(chan struct{})
	asking, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(asked)
		theirs, refused = n.askProof(asking, p)
	}()
	ours, err := n.provedLeaves(ctx, p.about.Manifest, p.peer)
	if err != nil {
		stop()
	}
	<-asked // bounded by limit.ProveCall
	if err != nil {
		return nil, "", err
	}
	p.parts.Leaves = ours
	if content {
		if p.parts.Opened, err = n.openSalt(ctx, ours); err != nil {
			return nil, "", err
		}
	}
	if err = refused; err == nil && len(theirs) == 0 {
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
