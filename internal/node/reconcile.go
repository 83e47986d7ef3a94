package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

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

// reconciliationAttempts is how often a comparison begins anew because something was written in the meantime.
const reconciliationAttempts = 3

// ReconcileWith compares our log with a peer's, signs what comes out together with it, keeps it, and has the outbox hand it in. It
// is for people with the role auditor, releaser or admin.
func (n *node) ReconcileWith(ctx context.Context, req *ententev1.ReconcileWithRequest) (*ententev1.ReconcileWithResponse, error) {
	who, err := n.entitled(ctx, "compare logs with another member", "auditor", "releaser", "admin")
	if err != nil {
		return nil, err
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	with, ok := h.Member(req.GetWith())
	if !ok || with.Name == n.Config.Member {
		return nil, fault.New(fault.Misused, "entente charter show lists the members", "%.80q is no other member of the alliance", req.GetWith())
	}
	since, until := req.GetSince().AsTime().Truncate(time.Second), req.GetUntil().AsTime().Truncate(time.Second)
	if now := n.drawnUp(); until.After(now) {
		until = now
	}
	if !until.After(since) {
		return nil, fault.New(fault.Misused, "give a --since that lies before --until, and before now", "the period ends before it begins")
	}
	signed, err := n.reconcile(ctx, h, with, since, until)
	if err != nil {
		return nil, err
	}
	now := n.now()
	err = n.commit(ctx, func(tx *store.Tx) error {
		if err := tx.PutReconciliation(signed, with.Name); err != nil {
			return err
		}
		if err := tx.Enqueue(store.Outgoing{Peer: with.Name, Kind: store.OutgoingReconciliation, Statement: signed.Hash, Due: now}); err != nil {
			return err
		}
		_, err := tx.Record(statement.Event{Kind: statement.EventReconciled, Time: now, Statement: signed.Hash, Peers: []string{with.Name},
			Private: []statement.Private{{Field: "person", Value: []byte(n.spiffe(who.Name))}}})
		return err
	})
	// Twice within a second there is one text, and it is kept already.
	if err != nil && !errors.Is(err, store.ErrExists) {
		return nil, fmt.Errorf("record reconciliation: %w", err)
	}
	n.nudge()
	return &ententev1.ReconcileWithResponse{Reconciliation: signed.Raw}, nil
}

// drawnUp is the end of the present second, so that what was created in it is within a period that ends now.
func (n *node) drawnUp() time.Time { return n.now().UTC().Truncate(time.Second).Add(time.Second) }

// reconcile asks until nothing that was written meanwhile explains what does not match: the peer reads its log a little later than
// we do ours, so it may already know of what we had not written yet.
func (n *node) reconcile(ctx context.Context, h *member.History, with member.Member, since, until time.Time) (*statement.Signed[statement.Reconciliation], error) {
	var also []statement.Hash
	for attempt := 1; ; attempt++ {
		p := evidence.Period{Alliance: h.Alliance(), Since: since, Until: until, Created: n.drawnUp()}
		ours, err := n.book(ctx, with.Name, p, also)
		if err != nil {
			return nil, err
		}
		signed, err := n.askReconcile(ctx, h, with, p, ours)
		if err != nil {
			return nil, err
		}
		if signed.Terms.Agrees() || attempt == reconciliationAttempts {
			return signed, nil
		}
		also = nil
		for _, l := range slices.Concat(signed.Terms.Only, signed.Terms.Differing) {
			also = append(also, l.Manifest)
		}
		again, err := n.book(ctx, with.Name, p, also)
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(ours.Entries, again.Entries, func(a, b evidence.Entry) bool { return a.Index == b.Index }) {
			return signed, nil
		}
	}
}

// ourBook is our side of the books, as it is sent.
type ourBook struct {
	evidence.Book
	raw        []store.Indexed // its entries as they are hashed
	checkpoint []byte
}

// book gathers our leaves about a peer, as docs/formats/reconciliation.md says, and publishes a checkpoint that covers them. It
// reads page by page, and holds the database for none of them longer than it takes.
func (n *node) book(ctx context.Context, peer string, p evidence.Period, also []statement.Hash) (*ourBook, error) {
	b := &ourBook{Book: evidence.Book{Member: n.Config.Member}}
	seen := map[statement.Hash]bool{}
	take := func(v *store.View, m statement.Hash) error {
		if seen[m] {
			return nil
		}
		seen[m] = true
		return b.take(v, peer, m)
	}
	var last store.Dated
	for more := true; more; {
		err := n.DB.View(ctx, func(v *store.View) error {
			page, err := v.ManifestsBetween(peer, p.Since, p.Until, last)
			for _, d := range page {
				if err := take(v, d.Manifest); err != nil {
					return err
				}
				last = d
			}
			more = len(page) == limit.Page
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := n.untold(ctx, peer, p, take); err != nil {
		return nil, err
	}
	for _, m := range also {
		if err := n.DB.View(ctx, func(v *store.View) error { return take(v, m) }); err != nil {
			return nil, err
		}
	}
	return b, n.close(ctx, b)
}

// take adds our leaves about a manifest and a peer.
func (b *ourBook) take(v *store.View, peer string, m statement.Hash) error {
	for r, err := range v.LeavesAbout(m[:], 0) {
		if err != nil {
			return fmt.Errorf("read leaves about %s: %w", m.Short(), err)
		}
		e, err := evidence.ParseEntry(r.Idx, r.Body)
		if err != nil {
			return fault.New(fault.Invalid, "run: entente audit verify", "our own log is damaged: %w", err)
		}
		if !e.Concerns(peer) {
			continue
		}
		if len(b.Entries) == limit.ReconcileEntries {
			return fault.New(fault.Misused, "give a later --since or an earlier --until", "there are more than %d leaves about exchanges with %s in this period", limit.ReconcileEntries, peer)
		}
		b.raw = append(b.raw, store.Indexed{Index: r.Idx, Body: r.Body})
		b.Entries = append(b.Entries, e)
	}
	return nil
}

// refusedKind is in every leaf `refused`, and in few others. To look for it is faster than to parse every leaf.
var refusedKind = fmt.Appendf(nil, "\"kind\":%q", statement.EventRefused)

// untold takes manifests that have leaves in the period and no row, because they were refused when their id was taken.
func (n *node) untold(ctx context.Context, peer string, p evidence.Period, take func(*store.View, statement.Hash) error) error {
	last := store.Instant{At: p.Since, Indexed: store.Indexed{Index: -1}}
	for more := true; more; {
		err := n.DB.View(ctx, func(v *store.View) error {
			page, err := v.LeavesBetween(p.Since, p.Until, last)
			for _, l := range page {
				last = l
				if !bytes.Contains(l.Body, refusedKind) {
					continue
				}
				e, err := evidence.ParseEntry(l.Index, l.Body)
				if err != nil || !e.Concerns(peer) {
					continue // what is wrong with it, audit verify says
				}
				if _, err := v.ManifestRow(e.Leaf.Manifest[:]); !errors.Is(err, store.ErrNotFound) {
					if err != nil {
						return err
					}
					continue
				}
				if err := take(v, *e.Leaf.Manifest); err != nil {
					return err
				}
			}
			more = len(page) == limit.Page
			return err
		})
		if err != nil {
			return fmt.Errorf("read leaves of the period: %w", err)
		}
	}
	return nil
}

// close sorts the leaves and publishes a checkpoint that covers them.
func (n *node) close(ctx context.Context, b *ourBook) error {
	slices.SortFunc(b.raw, func(x, y store.Indexed) int { return cmp.Compare(x.Index, y.Index) })
	slices.SortFunc(b.Entries, func(x, y evidence.Entry) int { return cmp.Compare(x.Index, y.Index) })
	raw, err := n.Log.Publish(ctx)
	if err != nil {
		return fmt.Errorf("publish log: %w", err)
	}
	origin, tree, err := checkpoint.Head(raw)
	if err != nil {
		return fmt.Errorf("read our checkpoint: %w", err)
	}
	b.checkpoint, b.Log, b.Size, b.Root = raw, origin, tree.N, statement.Hash(tree.Hash)
	return nil
}

// askReconcile sends our side of the books, and gives the result with both signatures once it is the one that we compute ourselves.
func (n *node) askReconcile(ctx context.Context, h *member.History, with member.Member, p evidence.Period, ours *ourBook) (*statement.Signed[statement.Reconciliation], error) {
	ctx, cancel := context.WithTimeout(ctx, limit.Call)
	defer cancel()
	conn, err := n.dial(ctx, with)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stream, err := ententev1.NewPeerServiceClient(conn).Reconcile(ctx)
	if err != nil {
		return nil, err
	}
	opening := &ententev1.ReconcileRequest{Opening: &ententev1.ReconcileOpening{Since: p.Since.UnixMicro(), Until: p.Until.UnixMicro(), Created: p.Created.UnixMicro(), Checkpoint: ours.checkpoint}}
	err = stream.Send(opening)
	for page := range entryPages(ours.raw) {
		if err == nil {
			err = stream.Send(&ententev1.ReconcileRequest{Entries: page})
		}
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil && !errors.Is(err, io.EOF) { // io.EOF: Recv tells why
		return nil, err
	}
	var theirs evidence.Book
	var result []byte
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if c := answer.GetClosing(); c != nil {
			if theirs.Log, theirs.Size, theirs.Root, err = openBook(with, c.GetCheckpoint()); err != nil {
				return nil, err
			}
			theirs.Member, result = with.Name, c.GetReconciliation()
		}
		if theirs.Entries, err = readEntries(theirs.Entries, answer.GetEntries()); err != nil {
			return nil, fault.New(fault.Invalid, "", "%s sent what is no leaf: %w", with.Name, err)
		}
	}
	if result == nil {
		return nil, fault.New(fault.Invalid, "", "%s ended the comparison without a result", with.Name)
	}
	return n.countersign(h, p, ours.Book, theirs, result)
}

// countersign computes the result from both books and adds our signature to the peer's, which must cover the same text.
func (n *node) countersign(h *member.History, p evidence.Period, ours, theirs evidence.Book, result []byte) (*statement.Signed[statement.Reconciliation], error) {
	terms, err := evidence.Reconcile(p, ours, theirs)
	if err != nil {
		return nil, err
	}
	draft, err := statement.Draft(terms)
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	mine, err := statement.AddSignature(draft, n.Keys.Statement)
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	raw, err := statement.Merge(mine, result)
	if err != nil {
		return nil, fault.New(fault.Invalid, "nothing was signed; compare the versions of the two programs", "%s comes to another result than we do: %w", theirs.Member, err)
	}
	signed, err := statement.Open[statement.Reconciliation](raw, h.Verifiers(terms.Parties...))
	if err != nil {
		return nil, fault.New(fault.Invalid, "", "the signature of %s is not good: %w", theirs.Member, err)
	}
	return signed, nil
}

// openBook verifies a peer's checkpoint under the keys on its card.
func openBook(peer member.Member, raw []byte) (log string, size int64, root statement.Hash, err error) {
	c, err := checkpoint.Open(raw, checkpoint.Log{Ed25519: peer.LogKey, MLDSA: peer.LogMLDSA})
	if err != nil {
		return "", 0, root, fault.New(fault.Invalid, "", "the checkpoint of %s is not good: %w", peer.Name, err)
	}
	return peer.Log.Name(), c.Tree.N, statement.Hash(c.Tree.Hash), nil
}

// readEntries adds what came to a list, as long as there may be more.
func readEntries(list []evidence.Entry, page []*ententev1.ReconcileEntry) ([]evidence.Entry, error) {
	if len(list)+len(page) > limit.ReconcileEntries {
		return nil, fmt.Errorf("more than %d entries", limit.ReconcileEntries)
	}
	for _, in := range page {
		e, err := evidence.ParseEntry(in.GetIndex(), in.GetLeaf())
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// entryPages gives entries in messages of at most limit.Request.
func entryPages(list []store.Indexed) func(yield func([]*ententev1.ReconcileEntry) bool) {
	const most = limit.Request / 2 / limit.Leaf
	return func(yield func([]*ententev1.ReconcileEntry) bool) {
		for part := range slices.Chunk(list, most) {
			page := make([]*ententev1.ReconcileEntry, len(part))
			for i, e := range part {
				page[i] = &ententev1.ReconcileEntry{Index: e.Index, Leaf: e.Body}
			}
			if !yield(page) {
				return
			}
		}
	}
}

// Reconcile is the other side of it, as proto/entente/v1/peer.proto says. What we sign follows from both books; we keep it when it
// comes back with both signatures.
func (n *node) Reconcile(stream grpc.BidiStreamingServer[ententev1.ReconcileRequest, ententev1.ReconcileResponse]) error {
	ctx := stream.Context()
	peer := rpc.CallerFrom(ctx).Member
	end, ok := n.busy.begin("reconciling with " + peer)
	if !ok {
		return fault.New(fault.Transient, "", "%s is comparing logs with us right now", peer)
	}
	defer end()
	if !n.leaves.allow(peer, n.now()) { // it costs more than a leaf
		return fault.New(fault.Transient, "", "%s asks too often", peer)
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	p, theirs, err := n.theirBook(stream, h, peer)
	if err != nil {
		return err
	}
	var named []statement.Hash
	for _, e := range theirs.Entries {
		if !e.Concerns(n.Config.Member) {
			return n.reject(ctx, peer, fault.New(fault.Invalid, "", "leaf %d of %s is not about an exchange with us", e.Index, peer))
		}
		named = append(named, *e.Leaf.Manifest)
	}
	ours, err := n.book(ctx, peer, p, named)
	if err != nil {
		return err
	}
	terms, err := evidence.Reconcile(p, ours.Book, theirs)
	if err != nil {
		if f, ok := errors.AsType[*fault.Error](err); ok {
			return n.reject(ctx, peer, f)
		}
		return err
	}
	draft, err := statement.Draft(terms)
	if err != nil {
		return n.reject(ctx, peer, fault.New(fault.Invalid, "", "%w", err))
	}
	signed, err := statement.AddSignature(draft, n.Keys.Statement)
	if err != nil {
		return fmt.Errorf("reconcile: %w", err)
	}
	if err := stream.Send(&ententev1.ReconcileResponse{Closing: &ententev1.ReconcileClosing{Checkpoint: ours.checkpoint, Reconciliation: signed}}); err != nil {
		return err
	}
	for page := range entryPages(ours.raw) {
		if err := stream.Send(&ententev1.ReconcileResponse{Entries: page}); err != nil {
			return err
		}
	}
	return nil
}

// theirBook receives the caller's side of the books.
func (n *node) theirBook(stream grpc.BidiStreamingServer[ententev1.ReconcileRequest, ententev1.ReconcileResponse], h *member.History, peer string) (p evidence.Period, b evidence.Book, err error) {
	ctx := stream.Context()
	bad := func(err error) error { return n.reject(ctx, peer, fault.New(fault.Invalid, "", "%w", err)) }
	first, err := stream.Recv()
	if err != nil {
		return p, b, err
	}
	o := first.GetOpening()
	if o == nil {
		return p, b, bad(errors.New("the period comes before the entries"))
	}
	p = evidence.Period{Alliance: h.Alliance(), Since: time.UnixMicro(o.GetSince()).UTC(), Until: time.UnixMicro(o.GetUntil()).UTC(), Created: time.UnixMicro(o.GetCreated()).UTC()}
	for _, t := range []time.Time{p.Since, p.Until, p.Created} {
		if t.Nanosecond() != 0 {
			return p, b, bad(errors.New("times are in whole seconds"))
		}
	}
	if !p.Until.After(p.Since) || p.Until.After(p.Created) {
		return p, b, bad(errors.New("the period ends before it begins, or later than now"))
	}
	if apart := n.now().Sub(p.Created).Abs(); apart > limit.ClockSkew {
		return p, b, fault.New(fault.Transient, "compare the clocks of the two machines", "our clocks are %s apart", apart.Round(time.Second))
	}
	m, ok := h.Member(peer)
	if !ok {
		return p, b, fault.New(fault.Forbidden, "", "%s is no member", peer)
	}
	b.Member = peer
	if b.Log, b.Size, b.Root, err = openBook(m, o.GetCheckpoint()); err != nil {
		return p, b, bad(err)
	}
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return p, b, nil
		}
		if err != nil {
			return p, b, err
		}
		if b.Entries, err = readEntries(b.Entries, req.GetEntries()); err != nil {
			return p, b, bad(err)
		}
	}
}

// Concluded takes a reconciliation that both have signed. The same again is answered in the same way and changes nothing.
func (n *node) Concluded(ctx context.Context, req *ententev1.ConcludedRequest) (*ententev1.ConcludedResponse, error) {
	peer := rpc.CallerFrom(ctx).Member
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	// Our own signature on it says that we have computed it.
	s, err := statement.Open[statement.Reconciliation](req.GetReconciliation(), h.Verifiers(peer, n.Config.Member))
	if err != nil {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "%w", err))
	}
	if !slices.Contains(s.Terms.Parties, peer) || s.Terms.Alliance != h.Alliance() {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "the reconciliation is between %v of alliance %s", s.Terms.Parties, s.Terms.Alliance.Short()))
	}
	if !n.leaves.allow(peer, n.now()) {
		return nil, fault.New(fault.Transient, "", "%s has caused too many leaves within a minute", peer)
	}
	err = n.commit(ctx, func(tx *store.Tx) error {
		if err := tx.PutReconciliation(s, peer); err != nil {
			return err
		}
		_, err := tx.Record(statement.Event{Kind: statement.EventReconciled, Time: n.now(), Statement: s.Hash, Peers: []string{peer}})
		return err
	})
	if err != nil && !errors.Is(err, store.ErrExists) {
		return nil, fmt.Errorf("record reconciliation: %w", err)
	}
	return &ententev1.ConcludedResponse{}, nil
}
