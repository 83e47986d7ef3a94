package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// say sends these messages after each other in one call, closes our side, and gives what came last.
func (p *peer) say(ctx context.Context, messages ...*ententev1.DeliverRequest) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := p.conn.Deliver(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if err := s.Send(m); err != nil {
			break // Recv tells why
		}
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	for {
		answer, err := s.Recv()
		if err != nil || answer.GetReceipt() != nil {
			return answer.GetReceipt(), err
		}
	}
}

// What comes instead of the payload that the manifest names is not kept, whatever it is, and does not stand in the way of
// the right one.
func TestPayloads(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	flipped := func(b []byte) []byte { c := bytes.Clone(b); c[len(c)/2] ^= 1; return c }
	for _, c := range []struct {
		name string
		say  func(*document) []*ententev1.DeliverRequest
		kind fault.Kind
		text string
		leaf string
	}{
		{"nothing at all", func(*document) []*ententev1.DeliverRequest { return nil }, fault.Invalid, "an offer comes before the payload", "rejected"},
		{"no offer", func(d *document) []*ententev1.DeliverRequest {
			return []*ententev1.DeliverRequest{chunkOf(d.payload)}
		}, fault.Invalid, "an offer comes before the payload", "rejected"},
		{"an empty message", func(*document) []*ententev1.DeliverRequest { return []*ententev1.DeliverRequest{{}} }, fault.Invalid, "part", "rejected"},
		{"two offers", func(d *document) []*ententev1.DeliverRequest {
			return []*ententev1.DeliverRequest{offerOf(d), offerOf(d)}
		}, fault.Invalid, "a second offer", "rejected"},
		{"an empty chunk", func(d *document) []*ententev1.DeliverRequest {
			return []*ententev1.DeliverRequest{offerOf(d), {Part: &ententev1.DeliverRequest_Chunk{}}}
		}, fault.Invalid, "at least 1 byte", "rejected"},
		{"a chunk too large", func(d *document) []*ententev1.DeliverRequest {
			return []*ententev1.DeliverRequest{offerOf(d), chunkOf(make([]byte, 256<<10+1))}
		}, fault.Invalid, "at most 262144 bytes", "rejected"},
		{"too long", func(d *document) []*ententev1.DeliverRequest {
			return []*ententev1.DeliverRequest{offerOf(d), chunkOf(d.payload), chunkOf([]byte("x"))}
		}, fault.Invalid, "the payload is longer than", "rejected"},
		{"too short", func(d *document) []*ententev1.DeliverRequest {
			return []*ententev1.DeliverRequest{offerOf(d), chunkOf(d.payload[:len(d.payload)-1])}
		}, fault.Transient, "the payload ended after", ""},
		{"missing", func(d *document) []*ententev1.DeliverRequest { return []*ententev1.DeliverRequest{offerOf(d)} },
			fault.Transient, "the payload ended after 0 of", ""},
		{"one bit flipped", func(d *document) []*ententev1.DeliverRequest {
			return []*ententev1.DeliverRequest{offerOf(d), chunkOf(flipped(d.payload))}
		}, fault.Invalid, "the payload is not the one in manifest", "rejected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := w.document("alpha", []string{"bravo"}, "for bravo")
			before := w.state("bravo")
			_, err := alpha.say(t.Context(), c.say(d)...)
			wantFault(t, err, c.kind, c.text)
			after := w.state("bravo")
			if got := after.kinds(len(before.leaves)); got != c.leaf || len(after.exchanges) != len(before.exchanges) {
				t.Errorf("leaves %q, want %q; exchanges %v", got, c.leaf, after.exchanges)
			}
			if len(after.blobs) != len(before.blobs) || len(after.staging) != 0 {
				t.Errorf("blobs %v, staging %v", after.blobs, after.staging)
			}
			raw, err := alpha.deliver(t.Context(), d)
			if err != nil || alpha.receipt(raw, d).Kind != statement.Stored {
				t.Errorf("the right payload afterwards: %v", err)
			}
		})
	}
}

// What is too short to be a payload is refused before anything is staged for it.
func TestEmptyPayload(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	for size, want := range map[int]statement.ReceiptKind{0: statement.Refused, 31: statement.Refused, 32: statement.Stored} {
		d := w.document("alpha", []string{"bravo"}, "for bravo")
		d.payload = random(size)
		w.resignContent(d)
		raw, err := alpha.deliver(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		r := alpha.receipt(raw, d)
		if r.Kind != want {
			t.Errorf("a payload of %d bytes is %s", size, r.Kind)
		}
		if want == statement.Refused && (len(r.Reasons) != 1 || r.Reasons[0].Rule != "payload" || !strings.Contains(r.Reasons[0].Needs, "at least 32 bytes")) {
			t.Errorf("reasons %+v", r.Reasons)
		}
	}
	if s := w.state("bravo"); len(s.blobs) != 1 || len(s.staging) != 0 {
		t.Errorf("blobs %v, staging %v", s.blobs, s.staging)
	}
}

// A delivery that broke off goes on where it was; if what is there from before is wrong, it begins anew.
func TestResume(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	const part = 2 * 200 << 10
	for _, garbage := range []bool{false, true} {
		t.Run(fmt.Sprintf("garbage %t", garbage), func(t *testing.T) {
			d := w.document("alpha", []string{"bravo"}, strings.Repeat("a long document\n", 50_000))
			begun := d.payload[:part]
			if garbage {
				begun = random(part)
			}
			alpha.breakOff(t, d, begun)
			if s := w.state("bravo"); len(s.staging) != 2 { // with its notes
				t.Fatalf("staging %v", s.staging)
			}
			w.stop("bravo")
			w.start("bravo")
			alpha = w.peer("alpha", "bravo")
			ctx, cancel := context.WithCancel(t.Context())
			_, answer, err := alpha.offer(ctx, d)
			if cancel(); err != nil || answer.GetOffset() != part {
				t.Fatalf("bravo answers %v, %v; want the offset %d", answer, err, part)
			}
			raw, err := alpha.patiently(d)
			if garbage {
				wantFault(t, err, fault.Transient, "it begins anew")
				if s := w.state("bravo"); len(s.staging) != 0 {
					t.Errorf("staging %v", s.staging)
				}
				raw, err = alpha.patiently(d)
			}
			if err != nil || alpha.receipt(raw, d).Kind != statement.Stored {
				t.Fatal(err)
			}
		})
	}
}

// breakOff delivers part of a payload and then cuts the call, when all of it has arrived.
func (p *peer) breakOff(t *testing.T, d *document, begun []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, answer, err := p.offer(ctx, d)
	if err != nil || answer.GetReceipt() != nil {
		t.Fatal(answer, err)
	}
	for c := range slices.Chunk(begun, 200<<10) {
		if err := s.Send(chunkOf(c)); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := statement.HashOf(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	arrived := func() bool {
		return slices.ContainsFunc(p.w.files(p.to, "staging"), func(name string) bool {
			info, err := os.Stat(name)
			return err == nil && strings.HasSuffix(name, hash.String()) && info.Size() == int64(len(begun))
		})
	}
	if !eventually(arrived) {
		t.Fatal("what was sent did not arrive")
	}
}

// patiently delivers, while the call before may not be over yet at the other side.
func (p *peer) patiently(d *document) (raw []byte, err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		raw, err = p.deliver(p.w.t.Context(), d)
		if f, ok := errors.AsType[*fault.Error](err); !ok || !strings.Contains(f.Text, "being delivered right now") {
			return raw, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return raw, err
}

// setQuota sets peer_bytes in a member's configuration, before its node starts.
func (w *world) setQuota(m string, bytes int) {
	w.t.Helper()
	name := filepath.Join(w.Home(m), node.ConfigFile)
	old, err := os.ReadFile(name)
	if err != nil {
		w.t.Fatal(err)
	}
	set := regexp.MustCompile(`(?m)^peer_bytes = \d+$`).ReplaceAll(old, fmt.Appendf(nil, "peer_bytes = %d", bytes))
	if err := os.WriteFile(name, set, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// One peer gets what is its quota and no more, also with several deliveries at once, and takes nothing from others.
func TestQuota(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "alpha-two", "bravo")
	d := w.document("alpha", []string{"bravo"}, strings.Repeat("a long document\n", 50_000)) // 800,000 bytes
	size := len(d.payload)
	cost := size + len(d.header) + limit.DocumentOverhead
	w.setQuota("bravo", 2*cost+cost/2)
	w.start("bravo")
	alpha, two := w.peer("alpha", "bravo"), w.peer("alpha-two", "bravo")

	// A part that is there from before is not counted again, and one of a member whose name begins alike not at all.
	other := w.document("alpha-two", []string{"bravo"}, strings.Repeat("a long document\n", 50_000))
	two.breakOff(t, other, other.payload[:size*3/4])
	alpha.breakOff(t, d, d.payload[:size*3/4])
	ctx, cancel := context.WithCancel(t.Context())
	var granted []*document
	var streams []delivery
	for range 6 {
		d := w.document("alpha", []string{"bravo"}, strings.Repeat("a long document\n", 50_000))
		s, answer, err := alpha.offer(ctx, d)
		if err == nil && answer.GetReceipt() == nil {
			granted, streams = append(granted, d), append(streams, s)
			continue
		}
		wantFault(t, err, fault.Transient, "the quota of alpha is used up")
	}
	if len(granted) != 1 {
		t.Errorf("%d of 6 deliveries at once were granted beside %d bytes staged of %d", len(granted), size*3/4, 2*cost+cost/2)
	}
	raw, err := alpha.patiently(d)
	if err != nil || alpha.receipt(raw, d).Kind != statement.Stored {
		t.Errorf("going on within the quota: %v", err)
	}
	raw, err = two.patiently(other)
	if err != nil || two.receipt(raw, other).Kind != statement.Stored {
		t.Errorf("another peer: %v", err)
	}
	cancel()
	for _, s := range streams {
		_, _ = s.Recv()
	}
	for _, d := range granted {
		if raw, err := alpha.patiently(d); err != nil || alpha.receipt(raw, d).Kind != statement.Stored {
			t.Errorf("what was granted: %v", err)
		}
	}
	before := w.state("bravo")
	_, err = alpha.deliver(t.Context(), w.document("alpha", []string{"bravo"}, strings.Repeat("a long document\n", 50_000)))
	wantFault(t, err, fault.Transient, fmt.Sprintf("the quota of alpha is used up: %d of %d bytes", 2*cost, 2*cost+cost/2))
	after := w.state("bravo")
	if len(after.leaves) != len(before.leaves) || len(after.exchanges) != 3 || len(after.blobs) != 3 || len(after.staging) != 0 {
		t.Errorf("new leaves %q, exchanges %v, blobs %v, staging %v", after.kinds(len(before.leaves)), after.exchanges, after.blobs, after.staging)
	}
}

// Tiny documents are not free: each takes its header and rows as well.
func TestQuotaOfTinyDocuments(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.setQuota("bravo", 3*limit.DocumentOverhead)
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	for i := range 3 {
		d := w.document("alpha", []string{"bravo"}, "x")
		raw, err := alpha.deliver(t.Context(), d)
		if i == 2 { // two overheads and three headers do not leave room for a third
			wantFault(t, err, fault.Transient, "the quota of alpha is used up")
		} else if err != nil || alpha.receipt(raw, d).Kind != statement.Stored {
			t.Errorf("document %d: %v", i, err)
		}
	}
}

// An upload that a person's program does not finish leaves nothing.
func TestInterruptedUpload(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha")
	before := w.state("alpha")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := w.person("alpha").Node().Send(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sub := submission("bravo")
	if err := s.Send(&ententev1.SendRequest{Part: &ententev1.SendRequest_Submission{Submission: sub}}); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if err := s.Send(&ententev1.SendRequest{Part: &ententev1.SendRequest_Chunk{Chunk: random(256 << 10)}}); err != nil {
			t.Fatal(err)
		}
	}
	if !eventually(func() bool { return len(w.files("alpha", "staging")) == 1 }) {
		t.Fatal("nothing is staged")
	}
	cancel()
	if !eventually(func() bool { return len(w.files("alpha", "staging")) == 0 }) {
		t.Errorf("staging %v", w.files("alpha", "staging"))
	}
	after := w.state("alpha")
	if len(after.leaves) != len(before.leaves) || len(after.exchanges)+len(after.blobs) != 0 {
		t.Errorf("leaves %q, exchanges %v, blobs %v", after.kinds(len(before.leaves)), after.exchanges, after.blobs)
	}
	// The same ID is free: nothing was acknowledged.
	if _, err := w.person("alpha").Send(t.Context(), sub, strings.NewReader("the whole")); err != nil {
		t.Errorf("sending again: %v", err)
	}
}

// A document whose reading fails on the way to the node is not sent as if it ended there.
func TestUnreadableDocument(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha")
	sub := submission("bravo")
	_, err := w.person("alpha").Send(t.Context(), sub, &failing{Reader: bytes.NewReader(make([]byte, 300<<10)), at: 280 << 10})
	if err == nil || !strings.Contains(err.Error(), "the disk is broken") {
		t.Errorf("got %v", err)
	}
	if !eventually(func() bool { return len(w.files("alpha", "staging")) == 0 }) {
		t.Errorf("staging %v", w.files("alpha", "staging"))
	}
	if s := w.state("alpha"); len(s.exchanges) != 0 || len(s.blobs) != 0 {
		t.Errorf("exchanges %v, blobs %v", s.exchanges, s.blobs)
	}
}

type failing struct {
	*bytes.Reader
	at int
}

func (f *failing) Read(p []byte) (int, error) {
	if f.at == 0 {
		return 0, errors.New("the disk is broken")
	}
	n, err := f.Reader.Read(p[:min(len(p), f.at)])
	f.at -= n
	return n, err
}

func (f *failing) Seek(o int64, whence int) (int64, error) { return f.Reader.Seek(o, whence) }

var _ io.ReadSeeker = (*failing)(nil)

// eventually waits until something is so.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

// What a crash leaves is gone after the next start: blobs that nothing names and uploads that nobody goes on with.
func TestRecovery(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	h, err := node.OpenHome(t.Context(), w.Home("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, name := range []string{"sending-01k7xq3w0v6n2t9r4m5b8c1d2e", "orphan"} {
		s, err := h.Blobs.Stage(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(random(1000)); err != nil {
			t.Fatal(err)
		}
		end := func() error { return s.Close() }
		if name == "orphan" {
			end = func() error { return s.Commit(statement.HashBytes([]byte("nobody's"))) }
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	w.start("alpha")
	if s := w.state("alpha"); len(s.blobs)+len(s.staging) != 0 {
		t.Errorf("blobs %v, staging %v", s.blobs, s.staging)
	}
}
