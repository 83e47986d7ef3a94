package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/crash"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/seal"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// receivingFrom begins the names of staging files of one peer's deliveries. The length stands in front because one
// member's name may begin with another's: without it, alpha-two would use up the quota of alpha.
func receivingFrom(peer string) string {
	return fmt.Sprintf("%s%02d-%s-", receivingPrefix, len(peer), peer)
}

// receivingPrefix begins the names of all of them.
const receivingPrefix = "receiving-"

// offer is a delivery whose manifest was verified.
type offer struct {
	peer     string
	manifest *statement.Signed[statement.Manifest]
	header   []byte
	follows  bool   // the payload comes without our asking for it
	payload  []byte // of a document that is for a row, when it has come
	history  *member.History
	taken    statement.Hash  // another manifest that has this one's id already
	decision policy.Decision // set when the policies have decided
	began    time.Time
}

// Deliver takes one document from another member, as proto/entente/v1/peer.proto says. What is decided for good is
// answered with a receipt; whatever is an error may be tried again.
//
// The order of the checks is that of the design, section 4: nothing of a manifest is believed before its signature is
// good under the key of the member that the connection belongs to, and no byte of the payload is taken before every
// check that needs none has passed.
func (n *node) Deliver(stream grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
	ctx := stream.Context()
	peer := rpc.CallerFrom(ctx).Member
	req, err := n.next(ctx, peer, stream)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("receive offer: %w", err)
	}
	if req.GetOffer() == nil {
		return n.reject(ctx, peer, fault.New(fault.Invalid, "", "an offer comes before the payload"))
	}
	o, err := n.verifyOffer(ctx, peer, req.GetOffer())
	if err != nil {
		return err
	}
	m := o.manifest
	// By id and not by hash: of two manifests with one id only the first may be stored, also if they come at once.
	end, ok := n.busy.begin("receiving " + peer + " " + m.Terms.ID)
	if !ok {
		return fault.New(fault.Transient, "", "this document is being delivered right now")
	}
	end = sync.OnceFunc(end)
	defer end()
	receipt, err := n.answered(ctx, o)
	if err != nil {
		return err
	}
	defer n.quota.release(peer, m.Hash)
	if receipt == nil {
		receipt, err = n.judge(ctx, o)
		if err != nil {
			return err
		}
	}
	if receipt == nil {
		if receipt, err = n.take(ctx, o, stream); err != nil {
			return err
		}
	}
	// No receipt leaves before the head covers its leaf.
	if err := n.Log.Cover(ctx); err != nil {
		// A failure of ours, whatever kind it is: nobody may take it for an answer about the document, which is here.
		return fault.New(fault.Failed, "", "publish log: %w", err)
	}
	end() // who has the receipt may ask again at once
	return crash.Step(crash.AnswerDeliver, func() error {
		return stream.Send(&ententev1.DeliverResponse{Part: &ententev1.DeliverResponse_Receipt{Receipt: receipt}})
	})
}

// next receives one message. One that breaks the rules of peer.proto, such as the bounds on its sizes, is a bad request;
// that a connection broke is not.
func (n *node) next(ctx context.Context, peer string, stream grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) (*ententev1.DeliverRequest, error) {
	req, err := stream.Recv()
	if err == nil {
		return req, nil
	}
	err = rpc.FromStatus(err)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.Invalid {
		return nil, n.reject(ctx, peer, f)
	}
	return nil, err
}

// verifyOffer checks who signed. Without that no receipt is due to anybody, so what is wrong here is an error, and a leaf
// `rejected` as far as the peer's quota of leaves goes.
func (n *node) verifyOffer(ctx context.Context, peer string, in *ententev1.Offer) (*offer, error) {
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	m, err := statement.Open[statement.Manifest](in.GetManifest(), h.Verifiers(peer))
	if err == nil {
		err = current(h, peer, m.By, n.now())
	}
	if err != nil {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "%w", err))
	}
	if m.Terms.From != peer {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "the manifest is from %s, and the connection from %s", m.Terms.From, peer))
	}
	if in.GetFollows() && m.Terms.Content.CiphertextSize > limit.FirstChunk {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "a payload of %d bytes may not follow unasked", m.Terms.Content.CiphertextSize))
	}
	return &offer{peer: peer, manifest: m, header: in.GetHeader(), follows: in.GetFollows(), history: h, began: time.Now()}, nil
}

// current refuses what was signed with a key that its owner has replaced too long ago, or called compromised: online, time that is claimed
// counts for nothing.
func current(h *member.History, peer string, by []string, now time.Time) error {
	for _, id := range by {
		if !h.Current(peer, id, now) {
			return fmt.Errorf("it is signed with the key %.80q, which %s does not use any more", id, peer)
		}
	}
	return nil
}

// answered gives the receipt that this manifest already got, byte for byte. It also finds another manifest that has this one's id already.
func (n *node) answered(ctx context.Context, o *offer) (receipt []byte, err error) {
	m := o.manifest
	err = n.DB.View(ctx, func(v *store.View) error {
		switch known, err := v.ManifestByID(m.Terms.From, m.Terms.ID); {
		case errors.Is(err, store.ErrNotFound):
			return nil // nothing is known of it
		case err != nil:
			return err
		case known.Hash != m.Hash:
			o.taken = known.Hash
		}
		for _, kind := range []statement.ReceiptKind{statement.Stored, statement.Refused} {
			if receipt, err = v.Receipt(m.Hash, n.Config.Member, kind); !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for the manifest and its receipt: %w", err)
	}
	return receipt, nil
}

// judge makes every check that needs no payload. It gives a receipt if the document is refused for good, an error if the
// cause may pass, and neither if the payload may come.
func (n *node) judge(ctx context.Context, o *offer) (receipt []byte, err error) {
	m := o.manifest.Terms
	if !o.taken.IsZero() {
		return n.refuse(ctx, o, base("id-unique", fmt.Sprintf("id %s of %s is taken by manifest %s", m.ID, m.From, o.taken), "an id that was not used before"))
	}
	if !slices.Contains(m.To, n.Config.Member) {
		return n.refuse(ctx, o, base("recipient-here", fmt.Sprintf("%s is not among the recipients", n.Config.Member), "a manifest that lists this member"))
	}
	if !n.holdsKey(m) {
		return n.refuse(ctx, o, base("sealed-for", "the manifest names a sealing key that this member does not hold", "a document sealed for the key on the newest card"))
	}
	header := meanwhile(func() error { return seal.CheckHeader(o.header, &m, n.sealing...) })
	if o.decision, err = n.decide(ctx, policy.Accept, o.history, m, nil, nil); err != nil {
		if errors.Is(err, errHouse) { // what is wrong there is not the peer's business, and somebody will correct it
			return nil, fault.New(fault.Transient, "", "%s cannot decide about documents at present", n.Config.Member)
		}
		return nil, err
	}
	_, reasons := o.decision.Outward(n.Config.Member)
	if o.decision.Transient {
		// A charter that has not arrived here yet, or a clock: that passes, so it is no refusal.
		return nil, fault.New(fault.Transient, "", "%s", reasons[0].Text)
	}
	if !o.decision.Permit {
		return n.refuse(ctx, o, reasons...)
	}
	if m.Content.CiphertextSize < seal.LeastPayload {
		return n.refuse(ctx, o, base("payload", fmt.Sprintf("a payload of %d bytes holds no document", m.Content.CiphertextSize), fmt.Sprintf("an age payload, which has at least %d bytes", seal.LeastPayload)))
	}
	if err := n.reserve(ctx, o); err != nil {
		return nil, err
	}
	switch err := header(); {
	case errors.Is(err, seal.ErrHeader):
		// The sender signed another header, so it is not to blame for this one.
		return nil, n.reject(ctx, o.peer, fault.New(fault.Invalid, "", "%w", err))
	case err != nil:
		return n.refuse(ctx, o, base("header", err.Error(), "a header with one post-quantum hybrid stanza for each recipient, which opens with this member's key"))
	}
	return nil, nil
}

// meanwhile computes what will be asked for on another processor, if one is free. A panic is that of whoever asks.
func meanwhile[T any](compute func() T) (ask func() T) {
	ask = sync.OnceValue(compute)
	go func() {
		defer func() { _ = recover() }()
		ask()
	}()
	return ask
}

// base makes a reason for what the node itself checks beside the policies.
func base(rule, text, needs string) statement.Reason {
	return statement.Reason{Set: "base", Rule: rule, Text: text, Needs: needs}
}

// holdsKey tells whether we hold the key that sealed_for names for us.
func (n *node) holdsKey(m statement.Manifest) bool {
	at := slices.Index(m.To, n.Config.Member)
	return slices.ContainsFunc(n.sealing, func(k *seal.Key) bool { return k.Hash() == m.SealedFor[at] })
}

// take receives the payload, makes it durable, and then, in one transaction, writes down that it is here.
func (n *node) take(ctx context.Context, o *offer, stream grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) ([]byte, error) {
	m := o.manifest
	want := m.Terms.Content.CiphertextSize
	staging, err := n.stage(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("stage payload: %w", err)
	}
	defer func() { n.leave(staging) }()
	offset := staging.Size()
	if offset > 0 {
		n.log.Info("goes on with a document", "peer", o.peer, "id", m.Terms.ID, "offset", offset, "size", want)
	}
	room, err := n.promiseRoom(want - offset)
	if err != nil {
		n.log.Warn("cannot take a document", "peer", o.peer, "id", m.Terms.ID, "error", err)
		return nil, fault.New(fault.Transient, "", "%s has no room for a document of %d bytes at present", n.Config.Member, want)
	}
	defer room.end()
	if !o.follows {
		err = stream.Send(&ententev1.DeliverResponse{Part: &ententev1.DeliverResponse_Offset{Offset: offset}})
	}
	if err != nil {
		return nil, fmt.Errorf("answer offset: %w", err)
	}
	if err := n.copyChunks(ctx, o, staging, room, stream); err != nil {
		return nil, err
	}
	if staging.Size() < want {
		return nil, fault.New(fault.Transient, "", "the payload ended after %d of %d bytes", staging.Size(), want)
	}
	if staging.Sum() != m.Terms.Content.CiphertextHash {
		err := error(fault.New(fault.Transient, "", "the payload does not fit what was here from before; it begins anew"))
		if offset == 0 {
			err = n.reject(ctx, o.peer, fault.New(fault.Invalid, "", "the payload is not the one in manifest %s", m.Hash))
		}
		return nil, errors.Join(err, staging.Discard())
	}
	// From here on the sender cannot end the call in between: its blob would stay, in no quota, until the next start.
	ctx = context.WithoutCancel(ctx)
	// A crash after this leaves a blob without a row, which recover removes; the sender has no receipt and tries again.
	if err := staging.Commit(m.Hash); err != nil {
		return nil, fmt.Errorf("store payload: %w", n.explainFull(err))
	}
	if r, ok := staging.(*row); ok {
		o.payload = r.payload
	}
	receipt, err := n.settle(ctx, o, statement.Stored, nil)
	n.quota.keep(o.peer, m.Hash, err)
	return receipt, err
}

// stage gives the place for a payload: memory if it is so small that it comes at once, or else the staging file, which goes on where an earlier
// delivery broke off.
func (n *node) stage(ctx context.Context, o *offer) (arriving, error) {
	size := o.manifest.Terms.Content.CiphertextSize
	if o.follows {
		return &row{make([]byte, 0, size)}, nil // verifyOffer has bounded it
	}
	staging, err := n.Blobs.Resume(ctx, receivingFrom(o.peer)+o.manifest.Hash.String())
	if err != nil {
		return nil, err
	}
	if staging.Size() > size {
		if err := staging.Truncate(0); err != nil {
			n.leave(staging)
			return nil, err
		}
	}
	return staging, nil
}

// leave keeps what is worth going on with, and only that. After Commit and Discard there is nothing to do.
func (n *node) leave(staging arriving) {
	end := staging.Close
	if staging.Size() < limit.FirstChunk {
		end = staging.Discard
	}
	if err := end(); err != nil {
		n.log.Error("cannot leave a staging file", "error", err)
	}
}

// copyChunks appends what comes, never more than the manifest's size in all. Whoever sends more, or breaks the protocol,
// begins anew.
func (n *node) copyChunks(ctx context.Context, o *offer, staging arriving, room *promise, stream grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
	want := o.manifest.Terms.Content.CiphertextSize
	for {
		req, err := n.next(ctx, o.peer, stream)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive payload: %w", err)
		}
		part, ok := req.GetPart().(*ententev1.DeliverRequest_Chunk)
		if !ok {
			err := n.reject(ctx, o.peer, fault.New(fault.Invalid, "", "a second offer in one call"))
			return errors.Join(err, staging.Discard())
		}
		if int64(len(part.Chunk)) > want-staging.Size() {
			err := n.reject(ctx, o.peer, fault.New(fault.Invalid, "", "the payload is longer than the %d bytes of its manifest", want))
			return errors.Join(err, staging.Discard())
		}
		if _, err := staging.Write(part.Chunk); err != nil {
			return fmt.Errorf("stage payload: %w", n.explainFull(err))
		}
		room.fill(len(part.Chunk))
	}
}

// refuse answers for good, with reasons. Since every refusal is kept, a peer gets only so many in a minute.
func (n *node) refuse(ctx context.Context, o *offer, reasons ...statement.Reason) ([]byte, error) {
	if !n.leaves.allow(o.peer, n.now()) {
		return nil, fault.New(fault.Transient, "try again in a minute", "%s caused %d leaves in this minute already", o.peer, limit.PeerLeavesPerMinute)
	}
	return n.settle(ctx, o, statement.Refused, reasons)
}

// settle is the one transaction in which a document is received or refused: manifest, exchange, leaf, receipt.
func (n *node) settle(ctx context.Context, o *offer, kind statement.ReceiptKind, reasons []statement.Reason) ([]byte, error) {
	m, now := o.manifest, n.now()
	event := statement.Event{Kind: statement.EventReceived, Time: now, ID: m.Terms.ID, Manifest: m.Hash, Peers: []string{o.peer}, Stage: string(policy.Accept), Rules: n.rules(o.decision)}
	state, header := store.Stored, o.header
	if kind == statement.Refused {
		n.refusedBy(reasons)
		event.Kind, event.Rules, state, header = statement.EventRefused, nil, store.Refused, nil
		for _, r := range reasons {
			event.Rules = append(event.Rules, r.Set+"/"+r.Rule)
		}
	}
	if o.decision.Record != nil {
		event.Private = n.private(nil, o.decision)
	}
	var raw []byte
	err := n.commitAs(ctx, crash.Received, func(tx *store.Tx) error {
		if err := n.putReceived(tx, o, header, state); err != nil {
			return err
		}
		receipt, err := n.recordReceipt(tx, event, m, kind, reasons)
		if err == nil {
			raw = receipt.Raw
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", event.Kind, err)
	}
	n.judged(o, event)
	return raw, nil
}

// judged tells what became of a delivery.
func (n *node) judged(o *offer, event statement.Event) {
	m := &o.manifest.Terms
	if event.Kind == statement.EventRefused {
		n.stepped(string(event.Kind), m, n.Config.Member, o.peer, o.began, "rules", event.Rules)
		return
	}
	n.metrics.In(o.peer, m.Content.CiphertextSize)
	n.stepped(string(event.Kind), m, n.Config.Member, o.peer, o.began)
}

// putReceived adds the rows of a document that was received or refused. A second manifest of one id gets no exchange; it is
// kept, since the two together prove what its sender did.
func (n *node) putReceived(tx *store.Tx, o *offer, header []byte, state store.State) error {
	if !o.taken.IsZero() {
		return tx.KeepManifest(o.manifest)
	}
	if err := tx.PutManifest(o.manifest, header, nil, o.payload); err != nil {
		return err
	}
	return tx.PutExchange(o.manifest.Hash, n.Config.Member, state, n.now())
}

// recordReceipt records an event and signs the receipt that names its leaf, both in the caller's transaction.
func (n *node) recordReceipt(tx *store.Tx, event statement.Event, m *statement.Signed[statement.Manifest], kind statement.ReceiptKind, reasons []statement.Reason) (*statement.Signed[statement.Receipt], error) {
	leaf, err := tx.Record(event)
	if err != nil {
		return nil, err
	}
	receipt, err := statement.Sign(statement.Receipt{Kind: kind, From: n.Config.Member, To: m.Terms.From, Manifest: m.Hash, ID: m.Terms.ID,
		At: event.Time.UTC().Truncate(time.Second), Log: n.Keys.Log.Name(), Leaf: leaf, Reasons: reasons}, n.Keys.Statement)
	if err != nil {
		return nil, err
	}
	return receipt, tx.PutReceipt(receipt)
}
