package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/crash"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// deliver makes one attempt to hand a document of ours to one recipient. It is done when the recipient's receipt,
// stored or refused, is durable here, or when deliver_by has passed, which ends an attempt under way as well. It gives
// deliver_by, if it came to read it.
func (n *node) deliver(ctx context.Context, f fresh, t *trial) (by time.Time, err error) {
	d, err := n.outgoing(ctx, f)
	if err != nil {
		return by, err
	}
	o, m := f.Outgoing, d.manifest
	by = m.Terms.DeliverBy
	if n.now().After(by) {
		return by, n.expire(ctx, o, m)
	}
	if err := n.mayExchange(ctx); err != nil {
		return by, err
	}
	began := time.Now()
	attempt, cancel := context.WithTimeout(ctx, by.Sub(n.now()))
	defer cancel()
	receipt, err := n.offer(attempt, o, d, t)
	if err == nil {
		return by, n.delivered(ctx, o, m, receipt, began)
	}
	if ctx.Err() == nil && n.now().After(by) {
		return by, n.expire(ctx, o, m)
	}
	return by, err
}

// offer speaks to the recipient and gives its receipt, verified.
func (n *node) offer(ctx context.Context, o store.Outgoing, d *document, t *trial) (*statement.Signed[statement.Receipt], error) {
	m, sealed := d.manifest, d.sealed
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	to, ok := h.Member(o.Peer)
	if !ok {
		return nil, fmt.Errorf("%s is no member", o.Peer)
	}
	for _, name := range []string{o.Peer, n.Config.Member} {
		if !h.InGoodStanding(name) {
			return nil, fmt.Errorf("%s is not in good standing", name)
		}
	}
	if err := n.sound(m.Hash, ref(m.Terms, o.Peer)); err != nil {
		return nil, err
	}
	if sealed.Header == nil {
		return nil, errors.New("the age header is missing; run: entente audit verify")
	}
	blob, size, err := n.openPayload(m.Hash, sealed)
	if err != nil {
		return nil, fmt.Errorf("open payload: %w", err)
	}
	defer blob.Close()
	if size != m.Terms.Content.CiphertextSize {
		return nil, fmt.Errorf("the payload has %d bytes, and its manifest says %d", size, m.Terms.Content.CiphertextSize)
	}
	n.stepped(stepDelivering, &m.Terms, o.Peer, o.Peer, time.Time{}, "attempt", o.Attempts+1)
	raw, err := n.callDeliver(ctx, to, m, sealed.Header, blob, t)
	if err != nil {
		return nil, err
	}
	return openReceipt(h, raw, o.Peer, n.Config.Member, m, n.now())
}

var errSettled = errors.New("settled already")

// outgoing gives a document of ours that waits in the outbox, and reads it if it is not known. It may have been settled since dispatch looked, or settled
// or tried since it was put there. If it is settled later, the receipt finds that.
func (n *node) outgoing(ctx context.Context, f fresh) (d *document, err error) {
	var raw []byte
	var sealed store.Sealed
	waits := true
	err = n.DB.View(ctx, func(v *store.View) error {
		if f.document != nil {
			waits, err = v.Waits(f.Outgoing)
		} else {
			raw, sealed, err = v.Outgoing(f.Statement, f.Peer)
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && !waits {
		return nil, errSettled
	}
	if err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	if f.document != nil {
		return f.document, nil
	}
	m, err := n.openOwn(raw)
	return &document{m, sealed}, err
}

// callDeliver speaks the protocol once. ctx ends it at any point; what the recipient holds then is where it goes on.
func (n *node) callDeliver(ctx context.Context, to member.Member, m *statement.Signed[statement.Manifest], header []byte, blob io.ReadSeeker, t *trial) (raw []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := n.lanes.take(ctx, n, to)
	if err != nil {
		return nil, err
	}
	defer func() { n.lanes.give(to.Name, conn, err) }()
	stream, err := ententev1.NewPeerServiceClient(conn).Deliver(ctx)
	if err != nil {
		return nil, err
	}
	size := m.Terms.Content.CiphertextSize
	follows := size <= limit.FirstChunk // waiting for the answer would take longer than to send it in vain
	// An error of Send is io.EOF; the cause comes from Recv.
	err = stream.Send(&ententev1.DeliverRequest{Part: &ententev1.DeliverRequest_Offer{Offer: &ententev1.Offer{Manifest: m.Raw, Header: header, Follows: follows}}})
	if err == nil && follows {
		t.whole, err = sendPayload(stream, blob, 0, size)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	answer, err := answerOf(stream, to.Name, cancel)
	if err != nil {
		return nil, err
	}
	t.heard = true
	if raw := answer.GetReceipt(); raw != nil {
		return raw, nil
	}
	if follows {
		return nil, fmt.Errorf("%s answered the payload without a receipt", to.Name)
	}
	t.answered, t.offset = true, answer.GetOffset()
	if t.whole, err = sendPayload(stream, blob, t.offset, size); err != nil {
		return nil, err
	}
	if answer, err = answerOf(stream, to.Name, cancel); err != nil {
		return nil, err
	}
	if answer.GetReceipt() == nil {
		return nil, fmt.Errorf("%s answered the payload without a receipt", to.Name)
	}
	return answer.GetReceipt(), nil
}

// answerOf waits for the recipient's next word, but not for ever: cancel ends the stream.
func answerOf(stream grpc.BidiStreamingClient[ententev1.DeliverRequest, ententev1.DeliverResponse], to string, cancel context.CancelFunc) (*ententev1.DeliverResponse, error) {
	late := time.AfterFunc(limit.Answer, cancel)
	answer, err := stream.Recv()
	switch inTime := late.Stop(); {
	case err != nil && !inTime:
		return nil, fmt.Errorf("%s did not answer within %s", to, limit.Answer)
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s ended the call without a receipt", to)
	}
	return answer, err
}

// sendPayload sends what the recipient has not, and tells whether all of it went out.
func sendPayload(stream grpc.BidiStreamingClient[ententev1.DeliverRequest, ententev1.DeliverResponse], blob io.ReadSeeker, offset, size int64) (whole bool, err error) {
	if offset < 0 || offset > size {
		return false, fmt.Errorf("the recipient asks for byte %d of %d", offset, size)
	}
	if _, err := blob.Seek(offset, io.SeekStart); err != nil {
		return false, fmt.Errorf("read payload: %w", err)
	}
	buf := make([]byte, min(limit.Chunk, size-offset+1)) // with room to find the end
	for next := limit.FirstChunk; ; next = min(2*next, limit.Chunk) {
		c, err := io.ReadFull(blob, buf[:min(next, len(buf))])
		if c > 0 {
			err := stream.Send(&ententev1.DeliverRequest{Part: &ententev1.DeliverRequest_Chunk{Chunk: buf[:c]}})
			if errors.Is(err, io.EOF) {
				return false, nil // Recv tells why
			}
			if err != nil {
				return false, err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, stream.CloseSend()
		}
		if err != nil {
			return false, fmt.Errorf("read payload: %w", err)
		}
	}
}

// openReceipt verifies a receipt and that it is about exactly this.
func openReceipt(h *member.History, raw []byte, from, to string, m *statement.Signed[statement.Manifest], now time.Time) (*statement.Signed[statement.Receipt], error) {
	r, err := statement.Open[statement.Receipt](raw, h.Verifiers(from))
	if err == nil {
		err = current(h, from, r.By, now)
	}
	if err != nil {
		return nil, fmt.Errorf("verify receipt of %s: %w", from, err)
	}
	if t := r.Terms; t.From != from || t.To != to || t.Manifest != m.Hash || t.ID != m.Terms.ID {
		return nil, fmt.Errorf("verify receipt of %s: it is about something else: %s %s from %s", from, t.Kind, t.Manifest.Short(), t.From)
	}
	return r, checkReceipt(h, r.Terms, m.Terms.Created, now)
}

// checkReceipt checks that a receipt names the log on its signer's card, since a leaf of another log could never be asked
// for, and a time between the manifest's and now, as far as honest clocks differ.
func checkReceipt(h *member.History, r statement.Receipt, created, now time.Time) error {
	if m, ok := h.Member(r.From); !ok || r.Log != m.Log.Name() {
		return fmt.Errorf("verify receipt of %s: it names %s, which is not the log on its card", r.From, r.Log)
	}
	if r.At.Before(created.Add(-limit.ClockSkew)) || r.At.After(now.Add(limit.ClockSkew)) {
		return fmt.Errorf("verify receipt of %s: it is dated %s, which is before the document or in the future", r.From, r.At.Format(time.RFC3339))
	}
	return nil
}

// delivered is the one transaction that ends an exchange's delivery: receipt, state, outbox, leaf.
func (n *node) delivered(ctx context.Context, o store.Outgoing, m *statement.Signed[statement.Manifest], r *statement.Signed[statement.Receipt], began time.Time) error {
	now := n.now()
	event := statement.Event{Time: now, ID: r.Terms.ID, Manifest: r.Terms.Manifest, Receipt: r.Hash, Peers: []string{r.Terms.From}}
	var state store.State
	switch r.Terms.Kind {
	case statement.Stored:
		event.Kind, state = statement.EventDelivered, store.Delivered
	case statement.Refused:
		event.Kind, state = statement.EventReturned, store.Refused
		for _, reason := range r.Terms.Reasons {
			if reason.Set != "house" { // a member's own rules are its own business
				event.Rules = append(event.Rules, reason.Set+"/"+reason.Rule)
			}
		}
	default:
		return fmt.Errorf("%s answered a delivery with a receipt %q", r.Terms.From, r.Terms.Kind)
	}
	err := n.commitAs(ctx, crash.Delivered, func(tx *store.Tx) error {
		if err := tx.PutReceipt(r); err != nil {
			return err
		}
		if err := tx.SetState(r.Terms.Manifest, r.Terms.From, state, now); err != nil {
			return err
		}
		if err := tx.Done(o); err != nil {
			return err
		}
		_, err := tx.Record(event)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return errSettled // somebody cancelled it just before
	}
	if err != nil {
		return fmt.Errorf("record receipt: %w", err)
	}
	n.settled.ring(r.Terms.Manifest, ending{r.Terms.From, state})
	if state == store.Refused {
		n.stepped(string(event.Kind), &m.Terms, o.Peer, o.Peer, began, "rules", event.Rules)
		return nil
	}
	n.metrics.Out(o.Peer, m.Terms.Content.CiphertextSize)
	n.stepped(string(event.Kind), &m.Terms, o.Peer, o.Peer, began)
	return nil
}

// expire gives up, with a leaf that says so.
func (n *node) expire(ctx context.Context, o store.Outgoing, m *statement.Signed[statement.Manifest]) error {
	now := n.now()
	err := n.commitAs(ctx, crash.Expired, func(tx *store.Tx) error { return expired(tx, o.Peer, m.Hash, m.Terms.ID, now) })
	if errors.Is(err, store.ErrNotFound) {
		return errSettled
	}
	if err != nil {
		return fmt.Errorf("record expiry: %w", err)
	}
	n.settled.ring(m.Hash, ending{o.Peer, store.Expired})
	n.stepped(string(statement.EventExpired), &m.Terms, o.Peer, o.Peer, time.Time{})
	return nil
}

// expired ends a delivery without a receipt, in the caller's transaction. ErrNotFound if it has ended already. What is private says who
// gave it up and why; nothing where its time was over.
func expired(tx *store.Tx, peer string, manifest statement.Hash, id string, now time.Time, private ...statement.Private) error {
	if err := tx.Done(store.Outgoing{Peer: peer, Kind: store.OutgoingDocument, Statement: manifest}); err != nil {
		return err
	}
	if err := tx.SetState(manifest, peer, store.Expired, now); err != nil {
		return err
	}
	_, err := tx.Record(statement.Event{Kind: statement.EventExpired, Time: now, ID: id, Manifest: manifest, Peers: []string{peer}, Private: private})
	return err
}

func (n *node) dial(ctx context.Context, to member.Member) (*grpc.ClientConn, error) {
	return rpc.DialPeer(to, n.rpcConfig(ctx))
}

// callWith hands one statement to its addressee.
func (n *node) callWith(ctx context.Context, o store.Outgoing, raw []byte) error {
	return n.call(ctx, o.Peer, func(ctx context.Context, c ententev1.PeerServiceClient) (err error) {
		if o.Kind == store.OutgoingReconciliation {
			_, err = c.Concluded(ctx, &ententev1.ConcludedRequest{Reconciliation: raw})
		} else {
			_, err = c.Return(ctx, &ententev1.ReturnRequest{Receipt: raw})
		}
		return err
	})
}

// call asks another member's node something that moves no document.
func (n *node) call(ctx context.Context, peer string, ask func(context.Context, ententev1.PeerServiceClient) error) error {
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	to, ok := h.Member(peer)
	if !ok {
		return fmt.Errorf("%s is no member", peer)
	}
	conn, err := n.dial(ctx, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, limit.Call)
	defer cancel()
	return ask(ctx, ententev1.NewPeerServiceClient(conn))
}

// Return takes a later receipt about a document of ours, as proto/entente/v1/peer.proto says. The same receipt again is
// answered in the same way and changes nothing.
func (n *node) Return(ctx context.Context, req *ententev1.ReturnRequest) (*ententev1.ReturnResponse, error) {
	peer := rpc.CallerFrom(ctx).Member
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	r, err := statement.Open[statement.Receipt](req.GetReceipt(), h.Verifiers(peer))
	if err == nil {
		err = current(h, peer, r.By, n.now())
	}
	if err != nil {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "%w", err))
	}
	t := r.Terms
	if t.Kind != statement.Opened && t.Kind != statement.Undecryptable || t.From != peer || t.To != n.Config.Member {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "receipt %q of %s for %s cannot be returned by %s", t.Kind, t.From, t.To, peer))
	}
	now := n.now()
	var size int64
	err = n.commitAs(ctx, crash.Confirmed, func(tx *store.Tx) error {
		exchange, err := tx.Exchange(t.Manifest, peer)
		if err == nil && (exchange.From != n.Config.Member || exchange.ID != t.ID) {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		size = exchange.Size
		if err := followsOn(tx, h, exchange, t, now); err != nil {
			return err
		}
		if err := tx.PutReceipt(r); err != nil {
			return err
		}
		_, err = tx.Record(statement.Event{Kind: statement.EventConfirmed, Time: now, ID: t.ID, Manifest: t.Manifest, Receipt: r.Hash, Peers: []string{peer}})
		return err
	})
	var cause *fault.Error
	switch {
	case errors.Is(err, store.ErrExists):
	case errors.As(err, &cause) && cause.Kind == fault.Invalid:
		return nil, n.reject(ctx, peer, cause)
	case errors.Is(err, store.ErrNotFound):
		return nil, n.reject(ctx, peer, fault.New(fault.NotFound, "", "no document %s was sent to %s", t.Manifest.Short(), peer))
	case errors.Is(err, store.ErrConflict):
		return nil, n.reject(ctx, peer, fault.New(fault.Conflict, "", "%s returned another receipt %q of %s before", peer, t.Kind, t.Manifest.Short()))
	case err != nil:
		return nil, fmt.Errorf("record receipt: %w", err)
	default:
		about := statement.Manifest{From: t.To, ID: t.ID, Content: statement.Content{CiphertextSize: size}}
		n.stepped(string(statement.EventConfirmed), &about, peer, peer, time.Time{}, "receipt", string(t.Kind))
	}
	return &ententev1.ReturnResponse{}, nil
}

// followsOn checks that a later receipt fits what is known of its exchange: there is a time and a log for it, it does not
// contradict an earlier one, and the document was stored before. The receipt `stored` may still be on its way.
func followsOn(tx *store.Tx, h *member.History, e store.Exchange, r statement.Receipt, now time.Time) error {
	if err := checkReceipt(h, r, e.Created, now); err != nil {
		return fault.New(fault.Invalid, "", "%w", err)
	}
	switch e.State {
	case store.Queued, store.Delivering, store.Unconfirmed:
		return fault.New(fault.Transient, "", "the receipt that %s is stored has not arrived yet", e.Ref())
	case store.Refused:
		return fault.New(fault.Invalid, "", "%s was refused, and cannot be %s", e.Ref(), r.Kind)
	}
	other := statement.Opened
	if r.Kind == other {
		other = statement.Undecryptable
	}
	switch _, err := tx.Receipt(r.Manifest, r.From, other); {
	case err == nil:
		return fault.New(fault.Invalid, "", "%s has a receipt %q, and cannot be %s", e.Ref(), other, r.Kind)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	return nil
}
