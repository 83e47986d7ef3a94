package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/client"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// recipient is a member's node played by the test, with its real keys and at its real address.
type recipient struct {
	ententev1.UnimplementedPeerServiceServer
	calls   atomic.Int64
	books   func(s grpc.BidiStreamingServer[ententev1.ReconcileRequest, ententev1.ReconcileResponse]) error
	deliver func(m *statement.Unsigned[statement.Manifest], s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error
}

// Deliver reads the offer and leaves the rest to the test.
func (r *recipient) Deliver(s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
	r.calls.Add(1)
	req, err := s.Recv()
	if err != nil {
		return err
	}
	m, err := statement.ParseDraft[statement.Manifest](req.GetOffer().GetManifest())
	if err != nil {
		return err
	}
	return r.deliver(m, s)
}

// Reconcile leaves everything to the test.
func (r *recipient) Reconcile(s grpc.BidiStreamingServer[ententev1.ReconcileRequest, ententev1.ReconcileResponse]) error {
	return r.books(s)
}

// play serves a member's peer port until the test ends.
func (w *world) play(name string, r ententev1.PeerServiceServer) {
	w.t.Helper()
	m, _ := w.history.Member(name)
	// The port is held since founding, for the node that does not start.
	w.start(name)
	w.stop(name)
	l, err := rpc.Listen(w.t.Context(), m.Address)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := rpc.NewPeerServer(w.config(name))
	if err != nil {
		w.t.Fatal(err)
	}
	ententev1.RegisterPeerServiceServer(s, r)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	w.t.Cleanup(func() { s.Stop(); <-ended })
}

func answerReceipt(s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse], raw []byte) error {
	return s.Send(&ententev1.DeliverResponse{Part: &ententev1.DeliverResponse_Receipt{Receipt: raw}})
}

// unasked is too large for its payload to follow the offer unasked.
var unasked = bytes.Repeat([]byte("a document "), limit.FirstChunk/8)

func answerOffset(s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse], offset int64) error {
	return s.Send(&ententev1.DeliverResponse{Part: &ententev1.DeliverResponse_Offset{Offset: offset}})
}

// receiptOf is what an honest bravo would answer alpha.
func receiptOf(m statement.Hash, id string) statement.Receipt {
	return statement.Receipt{Kind: statement.Stored, From: "bravo", To: "alpha", Manifest: m, ID: id, At: time.Now().UTC().Truncate(time.Second),
		Log: "bravo/log/1", Leaf: 7}
}

// A receipt that is not exactly about this document, by exactly this recipient, is none: the sender goes on trying.
func TestForgedReceipts(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	bravo, charlie := w.keys("bravo"), w.keys("charlie")
	stranger, err := statement.GenerateKey(rand.Reader, "bravo/statement")
	if err != nil {
		t.Fatal(err)
	}
	edited := func(edit func(*statement.Receipt), key *statement.Key) func(statement.Receipt) []byte {
		return func(r statement.Receipt) []byte {
			edit(&r)
			s, err := statement.Sign(r, key)
			if err != nil {
				t.Error(err)
				return nil
			}
			return s.Raw
		}
	}
	honest := edited(func(*statement.Receipt) {}, bravo.Statement)
	forgeries := []struct {
		name string
		make func(statement.Receipt) []byte
		why  string // part of what the sender notes
	}{
		{"another manifest", edited(func(r *statement.Receipt) { r.Manifest = statement.HashBytes([]byte("another")) }, bravo.Statement), "about something else"},
		{"another id", edited(func(r *statement.Receipt) { r.ID = client.NewID() }, bravo.Statement), "about something else"},
		{"another sender", edited(func(r *statement.Receipt) { r.To = "charlie" }, bravo.Statement), "about something else"},
		{"another member, signed by it", edited(func(r *statement.Receipt) { r.From, r.Log = "charlie", "charlie/log/1" }, charlie.Statement), "unknown key charlie/statement+"},
		{"kind opened", edited(func(r *statement.Receipt) { r.Kind = statement.Opened }, bravo.Statement), `answered a delivery with a receipt "opened"`},
		{"kind undecryptable", edited(func(r *statement.Receipt) { r.Kind = statement.Undecryptable }, bravo.Statement), `answered a delivery with a receipt "undecryptable"`},
		{"another log", edited(func(r *statement.Receipt) { r.Log = "bravo/log/2" }, bravo.Statement), "not the log on its card"},
		{"another key of that name", edited(func(*statement.Receipt) {}, stranger), "unknown key bravo/statement+"},
		{"own key of another purpose", func(r statement.Receipt) []byte {
			text, _, _ := bytes.Cut(honest(r), []byte("— "))
			raw, err := statement.AddSignature(text, bravo.Log)
			if err != nil {
				t.Error(err)
			}
			return raw
		}, "unknown"},
		{"not signed", func(r statement.Receipt) []byte {
			text, _, _ := bytes.Cut(honest(r), []byte("— "))
			return text
		}, "it is not signed"},
		{"one more signature", func(r statement.Receipt) []byte {
			raw, err := statement.AddSignature(honest(r), charlie.Statement)
			if err != nil {
				t.Error(err)
			}
			return raw
		}, "unknown key charlie/statement+"},
		{"one byte changed", func(r statement.Receipt) []byte {
			return bytes.Replace(honest(r), []byte("leaf = 7"), []byte("leaf = 8"), 1)
		}, "verify signatures"},
		{"not its own rendering", func(r statement.Receipt) []byte {
			text, _, _ := bytes.Cut(honest(r), []byte("— "))
			raw, err := statement.AddSignature(bytes.Replace(text, []byte("leaf = 7"), []byte("leaf = 07"), 1), bravo.Statement)
			if err != nil {
				t.Error(err)
			}
			return raw
		}, "line 9"},
		{"nothing", func(statement.Receipt) []byte { return []byte("\n") }, "verify receipt of bravo"},
	}
	documents := map[string]func(statement.Receipt) []byte{} // by id
	w.play("bravo", &recipient{deliver: func(m *statement.Unsigned[statement.Manifest], s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
		return answerReceipt(s, documents[m.Terms.ID](receiptOf(m.Hash, m.Terms.ID)))
	}})
	w.damaged = true // bravo's home does not know of the one honest receipt below
	var refs []string
	subs := make([]*ententev1.Submission, len(forgeries)+1)
	for i := range subs {
		subs[i] = submission("bravo")
		if documents[subs[i].GetId()] = honest; i < len(forgeries) {
			documents[subs[i].GetId()] = forgeries[i].make
		}
	}
	w.start("alpha")
	for _, s := range subs {
		refs = append(refs, w.send("alpha", s, []byte("a document"))...)
	}
	w.await("alpha", refs[len(forgeries)], "delivered") // so that refusing everything would show
	for i, f := range forgeries {
		t.Run(f.name, func(t *testing.T) {
			x, err := w.person("alpha").Await(t.Context(), refs[i], func(x *ententev1.Exchange) bool {
				return x.GetAttempts() > 1 || client.Settled(x.GetState())
			})
			if err != nil {
				t.Fatal(err)
			}
			if client.Settled(x.GetState()) || len(x.GetReceipts()) != 0 || !strings.Contains(x.GetLastError(), f.why) {
				t.Errorf("after %d attempts: %s, receipts %v, %q; want %q", x.GetAttempts(), x.GetState(), x.GetReceipts(), x.GetLastError(), f.why)
			}
		})
	}
	if got := w.state("alpha").kinds(0); strings.Count(got, "delivered") != 1 || strings.Contains(got, "returned") || strings.Contains(got, "confirmed") {
		t.Errorf("leaves %q", got)
	}
}

// A recipient that takes everything and says nothing is tried until deliver_by. It keeps no other recipient waiting.
func TestSilentRecipients(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	quiet := make(chan struct{})
	defer close(quiet)
	var seen sync.Map // ids
	silent := &recipient{}
	silent.deliver = func(m *statement.Unsigned[statement.Manifest], s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
		if err := answerOffset(s, 0); err != nil {
			return err
		}
		for {
			if _, err := s.Recv(); err != nil {
				break
			}
		}
		seen.Store(m.Terms.ID, true)
		if silent.calls.Load() < 3 {
			return nil // no receipt
		}
		select { // no answer
		case <-quiet:
		case <-s.Context().Done():
		}
		return nil
	}
	w.play("bravo", silent)
	w.start("alpha", "charlie")
	ref := w.send("alpha", submission("bravo"), unasked)[0] // with days until its deadline
	x, err := w.person("alpha").Await(t.Context(), ref, func(x *ententev1.Exchange) bool {
		return x.GetAttempts() >= 2 || client.Settled(x.GetState())
	})
	if err != nil || client.Settled(x.GetState()) || !strings.Contains(x.GetLastError(), "bravo ended the call without a receipt") {
		t.Errorf("while it is tried: %v, %v", x, err)
	}
	if !eventually(func() bool { return silent.calls.Load() >= 3 }) {
		t.Fatalf("%d attempts", silent.calls.Load())
	}
	// One whose deadline ends an attempt that is under way. A slow machine may need longer until it is.
	var soon *ententev1.Submission
	begun := false
	for seconds := int64(3); !begun && seconds < 100; seconds *= 2 {
		soon = submission("bravo")
		soon.DeliverSeconds = seconds
		w.send("alpha", soon, unasked)
		for by := time.Now().Add(time.Duration(seconds) * time.Second); !begun && time.Now().Before(by); time.Sleep(10 * time.Millisecond) {
			_, begun = seen.Load(soon.GetId())
		}
	}
	if !begun {
		t.Fatal("no attempt began before its deadline")
	}
	// As many as would fill every place there is, if the places were for all peers together.
	for range 20 {
		w.send("alpha", submission("bravo"), unasked)
	}
	w.await("alpha", w.send("alpha", submission("charlie"), []byte("for charlie"))[0], "delivered")
	x = w.await("alpha", "alpha/"+soon.GetId()+"/bravo", "expired")
	if late := x.GetUpdated().AsTime().Sub(x.GetDeliverBy().AsTime()); late < 0 || late > 20*time.Second {
		t.Errorf("expired %s after its time", late)
	}
	s := w.state("alpha")
	last := slices.IndexFunc(s.leaves, func(l statement.Leaf) bool { return l.Kind == statement.EventExpired })
	if last < 0 || s.leaves[last].Peers[0] != "bravo" || strings.Contains(s.kinds(0), "confirmed") {
		t.Errorf("leaves %s", s.kinds(0))
	}
}

// Between two attempts an exchange does not outlive deliver_by either: however long the pauses have become, none of them
// ends later than that.
func TestExpiresInTime(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	w.stop("bravo") // now nobody listens there, so attempts fail at once
	sub := submission("bravo")
	sub.DeliverSeconds = 5
	ref := w.send("alpha", sub, []byte("a document"))[0]
	home := w.reader("alpha")
	var latest time.Time
	x, err := w.person("alpha").Await(t.Context(), ref, func(x *ententev1.Exchange) bool {
		for _, o := range w.outgoing(home) {
			if o.Due.After(latest) {
				latest = o.Due
			}
		}
		return client.Settled(x.GetState())
	})
	if err != nil || x.GetState() != "expired" || x.GetAttempts() != 0 {
		t.Fatalf("%v: %v", x, err)
	}
	by := x.GetDeliverBy().AsTime()
	if late := latest.Sub(by); latest.IsZero() || late > 100*time.Millisecond {
		t.Errorf("a pause was to end %s after its time", late)
	}
	if late := x.GetUpdated().AsTime().Sub(by); late < 0 || late > 20*time.Second {
		t.Errorf("expired %s after its time", late)
	}
	if got := w.state("alpha").kinds(0); !strings.HasSuffix(got, "released expired") {
		t.Errorf("leaves %q", got)
	}
}

// A recipient that names an offset out of bounds gets nothing, and its sender does not panic.
func TestOffsets(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	offsets := []int64{-1, 1 << 62, -1 << 63}
	bad := &recipient{}
	bad.deliver = func(m *statement.Unsigned[statement.Manifest], s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
		n := int(bad.calls.Load()) - 1
		offset := m.Terms.Content.CiphertextSize + 1
		if n < len(offsets) {
			offset = offsets[n]
		}
		if err := answerOffset(s, offset); err != nil {
			return err
		}
		if got, err := s.Recv(); err == nil {
			t.Errorf("for offset %d the sender sent %d bytes", offset, len(got.GetChunk()))
		}
		return nil
	}
	w.play("bravo", bad)
	w.start("alpha")
	ref := w.send("alpha", submission("bravo"), unasked)[0]
	x, err := w.person("alpha").Await(t.Context(), ref, func(x *ententev1.Exchange) bool { return x.GetAttempts() > int64(len(offsets)) })
	if err != nil || !strings.Contains(x.GetLastError(), "asks for byte") {
		t.Errorf("%v %v", x, err)
	}
}

// What was cut goes on where the recipient says, and the bytes before are not sent again.
func TestResumeSending(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	const cut = 3 * 256 << 10
	var second atomic.Int64
	var first []byte
	bravo := &recipient{}
	done := make(chan struct{})
	var whole []byte
	var hash statement.Hash
	bravo.deliver = func(m *statement.Unsigned[statement.Manifest], s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
		if err := answerOffset(s, int64(len(first))); err != nil {
			return err
		}
		again := len(first) > 0
		got := bytes.Clone(first)
		for {
			req, err := s.Recv()
			if err != nil {
				break
			}
			got = append(got, req.GetChunk()...)
			if again {
				second.Add(int64(len(req.GetChunk())))
			}
			if !again && len(got) >= cut {
				first = got
				return context.Canceled
			}
		}
		if whole == nil {
			whole, hash = got, m.Terms.Content.CiphertextHash
			close(done)
		}
		return nil
	}
	w.play("bravo", bravo)
	w.start("alpha")
	w.send("alpha", submission("bravo"), random(2<<20))
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("there was no second attempt")
	}
	if int(second.Load()) != len(whole)-len(first) || statement.HashBytes(whole) != hash {
		t.Errorf("the second attempt sent %d bytes of %d; %d were there", second.Load(), len(whole), len(first))
	}
}
