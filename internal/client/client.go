// Package client is a person's side of node.proto: hand in a document, look at exchanges, open what came.
//
// The program, the lessons and the tests all speak to a node through it.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	ententev1 "entente.example/proto/entente/v1"
)

// Client is a connection of one person to their member's node. It may be used concurrently.
type Client struct {
	conn *grpc.ClientConn
	node ententev1.NodeServiceClient
}

// Dial prepares a connection as a person of a member, whose certificate is in the home dir, to the node at address. It
// connects with the first call, and every error of a call is a fault.
func Dial(dir, member, address, person string) (*Client, error) {
	cert, err := identity.LoadPerson(dir, member, person)
	if err != nil {
		return nil, err
	}
	ca, err := identity.LoadCA(dir, member)
	if err != nil {
		return nil, err
	}
	conn, err := rpc.DialNode(address, rpc.Config{Self: member, Cert: cert, CA: ca, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("dial node: %w", err)
	}
	return &Client{conn: conn, node: ententev1.NewNodeServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Node gives the service itself, for calls without more to them: List and Show.
func (c *Client) Node() ententev1.NodeServiceClient { return c.node }

// NewID makes the id of a new sending. The client chooses it once, so that asking again is the same sending.
func NewID() string { return ulid.Make().String() }

// attempts is how often Send tries, with the same id, when the connection breaks, and Open, once it has begun, without getting any further.
const attempts = 4

// Send hands in a document and returns when it is durable at the node. When the connection breaks it begins again, with
// the same id, so that the document is sent once. doc is read from its start each time.
func (c *Client) Send(ctx context.Context, sub *ententev1.Submission, doc io.ReadSeeker) (*ententev1.SendResponse, error) {
	return again(ctx, doc, func(ctx context.Context) (*ententev1.SendResponse, error) {
		stream, err := c.node.Send(ctx)
		if err != nil {
			return nil, err
		}
		return upload(stream, &ententev1.SendRequest{Part: &ententev1.SendRequest_Submission{Submission: sub}}, doc, func(b []byte) *ententev1.SendRequest {
			return &ententev1.SendRequest{Part: &ententev1.SendRequest_Chunk{Chunk: b}}
		})
	})
}

// Approve approves a release that waits, with the approver's own copy of its document, and returns when the manifest is durable at the
// node. When the connection breaks it begins again: to approve twice is to approve once. doc is read from its start each time.
func (c *Client) Approve(ctx context.Context, what *ententev1.Approving, doc io.ReadSeeker) (*ententev1.ApproveResponse, error) {
	return again(ctx, doc, func(ctx context.Context) (*ententev1.ApproveResponse, error) {
		stream, err := c.node.Approve(ctx)
		if err != nil {
			return nil, err
		}
		return upload(stream, &ententev1.ApproveRequest{Part: &ententev1.ApproveRequest_Approving{Approving: what}}, doc, func(b []byte) *ententev1.ApproveRequest {
			return &ententev1.ApproveRequest{Part: &ententev1.ApproveRequest_Chunk{Chunk: b}}
		})
	})
}

// again calls once, and again after an error that may pass, each time from the start of the document.
func again[R any](ctx context.Context, doc io.Seeker, once func(context.Context) (R, error)) (R, error) {
	attempt := func() (R, error) {
		if _, err := doc.Seek(0, io.SeekStart); err != nil {
			var none R
			return none, fmt.Errorf("read document: %w", err)
		}
		// Without this, a document that cannot be read to its end would look complete to the node.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return once(ctx)
	}
	for n := 1; ; n++ {
		out, err := attempt()
		if err == nil || n == attempts || fault.KindOf(err) != fault.Transient {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, err
		case <-time.After(time.Duration(n) * 200 * time.Millisecond):
		}
	}
}

// upload sends what comes first, then the document in chunks, and gives the answer.
func upload[Q, R any](stream grpc.ClientStreamingClient[Q, R], first *Q, doc io.Reader, chunk func([]byte) *Q) (*R, error) {
	err := stream.Send(first)
	buf := make([]byte, limit.FirstChunk) // enough for most
	for err == nil {
		n, end := io.ReadFull(doc, buf)
		if n > 0 {
			err = stream.Send(chunk(buf[:n]))
		}
		if errors.Is(end, io.EOF) || errors.Is(end, io.ErrUnexpectedEOF) {
			break
		}
		if end != nil {
			return nil, fmt.Errorf("read document: %w", end)
		}
		if len(buf) < limit.Chunk {
			buf = make([]byte, limit.Chunk)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the node has answered already, and CloseAndRecv tells what
		return nil, err
	}
	return stream.CloseAndRecv()
}

// Open asks for a document. begin is called once the node has verified the whole of it and written down that it was
// opened; it gives the writer for the content. Only if Open returns no error is the document complete; otherwise what
// was written must be thrown away, or kept for OpenFrom. When the connection breaks it goes on where it was, which the node writes down as another opening.
func (c *Client) Open(ctx context.Context, ref string, begin func(*ententev1.Opened) (io.Writer, error)) (*ententev1.Opened, error) {
	return c.OpenFrom(ctx, ref, strings.NewReader(""), begin)
}

// OpenFrom is Open for somebody who has the beginning of the document. It is read to its end, and the writer gets what follows. Only after an error
// that is Transient is there something to go on with: the whole must have the hash that the node found, and where it has another, nobody knows
// which part is wrong.
func (c *Client) OpenFrom(ctx context.Context, ref string, beginning io.Reader, begin func(*ententev1.Opened) (io.Writer, error)) (*ententev1.Opened, error) {
	d := &download{ref: ref, begin: begin, sum: sha256.New()}
	var err error
	if d.size, err = io.Copy(d.sum, beginning); err != nil {
		return nil, fmt.Errorf("read the beginning: %w", err)
	}
	for n := 1; ; n++ {
		before := d.size
		err := c.openOnce(ctx, d)
		if err == nil {
			return d.opened, nil
		}
		if d.size > before {
			n = 1 // a line that carries something each time may break as often as it likes
		}
		if d.opened == nil || n == attempts || fault.KindOf(err) != fault.Transient {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Duration(n) * 200 * time.Millisecond):
		}
	}
}

// download is a document as far as it has come, over one stream or several.
type download struct {
	ref    string
	begin  func(*ententev1.Opened) (io.Writer, error)
	opened *ententev1.Opened // nil before the first stream has begun
	to     io.Writer
	size   int64     // how much there is
	sum    hash.Hash // of that
}

// openOnce asks for what is missing of a document.
func (c *Client) openOnce(ctx context.Context, d *download) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.node.Open(ctx, &ententev1.OpenRequest{Exchange: d.ref, Offset: d.size})
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	opened := first.GetOpened()
	if opened == nil || len(opened.GetSha256()) != sha256.Size || d.size > opened.GetSize() {
		return fault.New(fault.Failed, "compare the versions of the two programs: entente version", "the node began with something else than what it opened")
	}
	if d.opened != nil && (opened.GetSize() != d.opened.GetSize() || !bytes.Equal(opened.GetSha256(), d.opened.GetSha256())) {
		return fault.New(fault.Failed, "open it again, from its start", "the node went on with another document")
	}
	if d.opened == nil {
		if d.to, err = d.begin(opened); err != nil {
			return err
		}
	}
	d.opened = opened
	for {
		msg, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = fault.New(fault.Failed, "open it again, from its start", "the document ended before it was complete")
			}
			return err
		}
		if msg.GetComplete() {
			break
		}
		n, err := d.to.Write(msg.GetChunk())
		d.sum.Write(msg.GetChunk()[:n])
		d.size += int64(n)
		if err != nil {
			return fmt.Errorf("write document: %w", err)
		}
	}
	if d.size != opened.GetSize() {
		return fault.New(fault.Failed, "open it again, from its start", "the document has %d bytes, and the node announced %d", d.size, opened.GetSize())
	}
	if !bytes.Equal(d.sum.Sum(nil), opened.GetSha256()) {
		return fault.New(fault.Failed, "open it again, from its start", "what was put together is not the document that the node has verified")
	}
	return nil
}

// Evidence has the node make a file that proves an exchange, and writes it to w. Only if it returns no error is the file complete;
// otherwise what was written must be thrown away. content opens the commitment to the document's content.
func (c *Client) Evidence(ctx context.Context, ref string, content bool, w io.Writer) (*ententev1.EvidenceComplete, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.node.Evidence(ctx, &ententev1.EvidenceRequest{Exchange: ref, Content: content})
	if err != nil {
		return nil, err
	}
	for size := 0; ; {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = fault.New(fault.Failed, "ask for it again", "the file ended before it was complete")
		}
		if err != nil {
			return nil, err
		}
		if done := msg.GetComplete(); done != nil {
			return done, nil
		}
		if size += len(msg.GetChunk()); size > limit.Evidence {
			return nil, fault.New(fault.Invalid, "compare the versions of the two programs: entente version", "the node sends more than %d bytes of evidence", limit.Evidence)
		}
		if _, err := w.Write(msg.GetChunk()); err != nil {
			return nil, fmt.Errorf("write evidence: %w", err)
		}
	}
}

// Settled tells whether an exchange's delivery has come to its end, or will not begin.
func Settled(state string) bool {
	return state != "waiting" && state != "queued" && state != "delivering" && state != "unconfirmed"
}

// Settle waits until the delivery of an exchange has come to its end, or ctx ends. The node says so at once.
func (c *Client) Settle(ctx context.Context, ref string) (*ententev1.Exchange, error) {
	for {
		out, err := c.node.Show(ctx, &ententev1.ShowRequest{Exchange: ref, SettledWithin: settleWait})
		switch {
		case err == nil && len(out.GetExchanges()) == 1 && Settled(out.GetExchanges()[0].GetState()):
			return out.GetExchanges()[0], nil
		case err == nil && len(out.GetExchanges()) != 1:
			return nil, fault.New(fault.Misused, "write FROM/ID/TO", "%.128q is not one exchange", ref)
		case err != nil && ctx.Err() == nil && fault.KindOf(err) != fault.Transient:
			return nil, err
		case err == nil:
			continue
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Transient, "entente show "+ref, "waited for %s: %w", ref, ctx.Err())
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// settleWait is how many milliseconds the node may take to answer Settle each time: less than it bounds such a call.
const settleWait = 20000

// Await asks for an exchange until done says yes, or ctx ends.
func (c *Client) Await(ctx context.Context, ref string, done func(*ententev1.Exchange) bool) (*ententev1.Exchange, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		out, err := c.node.Show(ctx, &ententev1.ShowRequest{Exchange: ref})
		if err == nil && len(out.GetExchanges()) == 1 && done(out.GetExchanges()[0]) {
			return out.GetExchanges()[0], nil
		}
		if err != nil && fault.KindOf(err) != fault.Transient {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Transient, "entente show "+ref, "waited for %s: %w", ref, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// FetchLog asks for the whole log of a member. next gives file by file, the checkpoint first, each of at most limit.LogFile bytes,
// and io.EOF after the last; nothing of it is verified. Whoever asks calls stop in the end.
func (c *Client) FetchLog(ctx context.Context, member string) (next func() (path string, content []byte, err error), stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.node.FetchLog(ctx, &ententev1.FetchLogRequest{Member: member})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	next = func() (path string, content []byte, err error) {
		for {
			part, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF) && path != "":
				return "", nil, fault.New(fault.Failed, "ask again", "the log ended in the middle of %.80q", path)
			case err != nil:
				return "", nil, err
			case path != "" && part.GetPath() != path, len(content)+len(part.GetChunk()) > limit.LogFile:
				return "", nil, fault.New(fault.Invalid, "compare the versions of the two programs: entente version", "the parts of %.80q do not fit together, or are too many", part.GetPath())
			}
			if path, content = part.GetPath(), append(content, part.GetChunk()...); part.GetEnd() {
				return path, content, nil
			}
		}
	}
	return next, cancel, nil
}
