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
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/seal"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// opening is a document that a person asks for.
type opening struct {
	exchange store.Exchange
	manifest *statement.Signed[statement.Manifest]
	sealed   store.Sealed
	means    string // the label, in the agreement's common scheme
	person   *policy.Person
	decision policy.Decision
}

// Open gives a document to a person, as proto/entente/v1/node.proto says. Nothing of it leaves before it was decided,
// verified whole, and written down.
func (n *node) Open(req *ententev1.OpenRequest, stream grpc.ServerStreamingServer[ententev1.OpenResponse]) error {
	ctx, began := stream.Context(), time.Now()
	o, err := n.findOpening(ctx, rpc.CallerFrom(ctx).Person, req.GetExchange())
	if err != nil {
		return err
	}
	if !o.decision.Permit {
		return n.deny(ctx, o.manifest.Terms, o.manifest.Hash, []string{o.manifest.Terms.From}, policy.Open, o.person, o.decision)
	}
	blob, _, err := n.openPayload(o.manifest.Hash, o.sealed)
	if errors.Is(err, store.ErrNotFound) {
		return damaged(o, err)
	}
	if err != nil {
		return fmt.Errorf("open payload: %w", err)
	}
	defer blob.Close()
	doc, err := seal.Verify(o.sealed.Header, interruptible{ctx, blob}, &o.manifest.Terms, n.sealing...)
	if err != nil {
		return n.undecryptable(ctx, o, err)
	}
	if req.GetOffset() > doc.Size {
		return fault.New(fault.Misused, "open it again, from its start", "%s has %d bytes, and cannot go on at byte %d", o.exchange.Ref(), doc.Size, req.GetOffset())
	}
	// Reading the whole document may have taken minutes: what was permitted then is asked again.
	if o, err = n.findOpening(ctx, o.person.Name, o.exchange.Ref()); err != nil {
		return err
	}
	if !o.decision.Permit {
		return n.deny(ctx, o.manifest.Terms, o.manifest.Hash, []string{o.manifest.Terms.From}, policy.Open, o.person, o.decision)
	}
	if err := n.recordOpening(ctx, o, began); err != nil {
		return err
	}
	n.nudge()
	return release(stream, o, doc, req.GetOffset())
}

// findOpening finds the document, verifies its manifest again, and has the policies decide.
func (n *node) findOpening(ctx context.Context, name, ref string) (*opening, error) {
	o := &opening{}
	var err error
	if o.person, err = person(n.Dir, name); err != nil {
		return nil, err
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	var row store.Manifest
	err = n.DB.View(ctx, func(v *store.View) (err error) {
		if o.exchange, err = findSent(v, n.Config.Member, ref); err != nil || o.exchange.To != n.Config.Member {
			return err
		}
		if row, err = v.Manifest(o.exchange.Manifest); err != nil {
			return err
		}
		o.sealed, err = v.Sealed(o.exchange.Manifest)
		if errors.Is(err, store.ErrNotFound) {
			err = nil // it was refused, which the state says below
		}
		return err
	})
	if err != nil {
		return nil, exchangeError(ref, err)
	}
	e := o.exchange
	switch {
	case e.To != n.Config.Member:
		return nil, fault.New(fault.Misused, "entente inbox lists what was received", "%s was sent by this member; only its recipient opens it", e.Ref())
	case e.State == store.Refused:
		return nil, fault.New(fault.NotFound, "entente show "+e.Ref()+" says why", "%s was refused; its content is not here", e.Ref())
	case e.State == store.Undecryptable:
		return nil, fault.New(fault.Failed, "ask "+e.From+" to send it again", "%s cannot be decrypted", e.Ref())
	}
	if err := n.sound(e.Manifest, e.Ref()); err != nil {
		return nil, err
	}
	if o.manifest, err = statement.Open[statement.Manifest](row.Raw, h.AllVerifiers(e.From)); err != nil {
		return nil, fmt.Errorf("open manifest: %w", err)
	}
	err = n.DB.View(ctx, func(v *store.View) (err error) { o.means, err = labelMeans(v, &o.manifest.Terms); return err })
	if err != nil {
		return nil, fmt.Errorf("look up label: %w", err)
	}
	o.decision, err = n.decide(ctx, policy.Open, h, o.manifest.Terms, o.person, nil)
	return o, err
}

// exchangeError says what a person can do about a reference that fits nothing or too much.
func exchangeError(ref string, err error) error {
	var said *fault.Error
	switch {
	case errors.As(err, &said):
		return err
	case errors.Is(err, store.ErrNotFound):
		return fault.New(fault.NotFound, "entente inbox and entente outbox list what there is", "there is no exchange %.128q", ref)
	case errors.Is(err, store.ErrAmbiguous):
		return fault.New(fault.Misused, "write more of it", "%w", err)
	}
	return fmt.Errorf("find exchange: %w", err)
}

// recordOpening is the one transaction without which nothing is released. The first opening signs the receipt `opened`;
// later ones are leaves only.
func (n *node) recordOpening(ctx context.Context, o *opening, began time.Time) error {
	now := n.now()
	event := statement.Event{Kind: statement.EventOpened, Time: now, ID: o.exchange.ID, Manifest: o.manifest.Hash, Peers: []string{o.exchange.From},
		Stage: string(policy.Open), Rules: n.rules(o.decision), Private: n.private(o.person, o.decision)}
	err := n.commitAs(ctx, crash.Opened, func(tx *store.Tx) error {
		event.Kind = statement.EventOpened // it may be run twice
		_, err := tx.Receipt(o.manifest.Hash, n.Config.Member, statement.Opened)
		if err == nil {
			event.Kind = statement.EventReopened
			_, err = tx.Record(event)
			return err
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return n.answerLater(tx, o, event, statement.Opened, store.Opened)
	})
	if err != nil {
		return fmt.Errorf("record opening: %w", err)
	}
	n.stepped(string(event.Kind), &o.manifest.Terms, n.Config.Member, o.exchange.From, began)
	return nil
}

// answerLater records, signs the receipt, and puts it into the outbox, in the caller's transaction.
func (n *node) answerLater(tx *store.Tx, o *opening, event statement.Event, kind statement.ReceiptKind, state store.State) error {
	receipt, err := n.recordReceipt(tx, event, o.manifest, kind, nil)
	if err != nil {
		return err
	}
	if err := tx.SetState(o.manifest.Hash, n.Config.Member, state, event.Time); err != nil {
		return err
	}
	return later(tx, receipt, event.Time)
}

// undecryptable answers for a document that verification failed on. Only if the sender's own statement is to blame is
// there a receipt; damage on our disk is our own failure.
func (n *node) undecryptable(ctx context.Context, o *opening, cause error) error {
	switch {
	case errors.Is(cause, seal.ErrUndecryptable), errors.Is(cause, seal.ErrCore), errors.Is(cause, seal.ErrCommitment):
	case errors.Is(cause, seal.ErrHeader), errors.Is(cause, seal.ErrPayload):
		return damaged(o, cause)
	default:
		return fmt.Errorf("verify document: %w", cause)
	}
	now := n.now()
	event := statement.Event{Kind: statement.EventUndecryptable, Time: now, ID: o.exchange.ID, Manifest: o.manifest.Hash, Peers: []string{o.exchange.From},
		Stage: string(policy.Open), Rules: n.rules(o.decision), Private: append(n.private(o.person, o.decision), statement.Private{Field: "error", Value: []byte(cause.Error())})}
	err := n.commitAs(ctx, crash.Undecryptable, func(tx *store.Tx) error {
		if _, err := tx.Receipt(o.manifest.Hash, n.Config.Member, statement.Undecryptable); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return n.answerLater(tx, o, event, statement.Undecryptable, store.Undecryptable)
	})
	if err != nil {
		return fmt.Errorf("record undecryptable: %w", err)
	}
	n.stepped(string(event.Kind), &o.manifest.Terms, n.Config.Member, o.exchange.From, time.Time{})
	n.nudge()
	return fault.New(fault.Failed, "ask "+o.exchange.From+" to send it again; a signed receipt tells it why", "%s cannot be decrypted: %w", o.exchange.Ref(), cause)
}

func damaged(o *opening, cause error) error {
	return fault.New(fault.Failed, "entente audit verify says what is damaged here; ask "+o.exchange.From+" to send it again", "%s is damaged on this node: %w", o.exchange.Ref(), cause)
}

// release gives the document out, from a byte on. Without the last message it is not a document; and one that goes on is only if its client finds
// the hash equal, for what was released before may have been lost or changed where it was written.
func release(stream grpc.ServerStreamingServer[ententev1.OpenResponse], o *opening, doc *seal.Document, offset int64) error {
	exchange := exchangeMessage(o.exchange, &o.manifest.Terms)
	exchange.LabelMeans = o.means
	err := stream.Send(&ententev1.OpenResponse{Part: &ententev1.OpenResponse_Opened{Opened: &ententev1.Opened{
		Exchange: exchange, FileName: doc.Name, MediaType: doc.MediaType, Size: doc.Size, Sha256: doc.SHA256[:]}}})
	if err != nil {
		return fmt.Errorf("release document: %w", err)
	}
	if offset == 0 {
		_, err = doc.WriteTo(chunkWriter{stream})
	} else {
		_, err = doc.WriteFrom(chunkWriter{stream}, offset)
	}
	if err != nil {
		return fmt.Errorf("release document: %w", err)
	}
	return stream.Send(&ententev1.OpenResponse{Part: &ententev1.OpenResponse_Complete{Complete: true}})
}

// chunkWriter sends each write as one chunk; seal writes limit.Chunk bytes at most.
type chunkWriter struct {
	stream grpc.ServerStreamingServer[ententev1.OpenResponse]
}

// Write sends p before it returns; gRPC has copied it then.
func (w chunkWriter) Write(p []byte) (int, error) {
	if err := w.stream.Send(&ententev1.OpenResponse{Part: &ententev1.OpenResponse_Chunk{Chunk: p}}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// interruptible lets a long pass over a payload end when nobody waits for it any more.
type interruptible struct {
	ctx context.Context
	io.ReaderAt
}

// ReadAt fails once the context has ended.
func (r interruptible) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.ReaderAt.ReadAt(p, off)
}
