package node_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// holdDatabase keeps a member's node from writing anything down until release is called, which must be within the five
// seconds that writers wait for each other.
func (w *world) holdDatabase(m string) (release func()) {
	w.t.Helper()
	h, err := node.OpenHome(w.t.Context(), w.Home(m))
	if err != nil {
		w.t.Fatal(err)
	}
	held, end, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- h.DB.Update(w.t.Context(), func(*store.Tx) error {
			close(held)
			<-end
			return nil
		})
	}()
	select {
	case <-held:
	case err := <-ended:
		w.t.Fatalf("hold the database: %v", err)
	}
	return func() {
		close(end)
		if err := errors.Join(<-ended, h.Close()); err != nil {
			w.t.Errorf("let go of the database: %v", err)
		}
	}
}

// cancelAtCommit cancels a call when the member's blob is in its place, if there is to be one, and the transaction about it waits for its turn,
// behind that about something else which other says.
func (w *world) cancelAtCommit(m, other string, blob bool, call func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	before := w.peer(other, m)
	release := w.holdDatabase(m)
	rejected := make(chan struct{})
	go func() {
		defer close(rejected)
		_, _ = before.conn.Return(w.t.Context(), &ententev1.ReturnRequest{Receipt: []byte("no receipt")})
	}()
	time.Sleep(300 * time.Millisecond) // until it holds the node's turn, and waits for the database
	ended := make(chan error, 1)
	go func() { ended <- call(ctx) }()
	time.Sleep(300 * time.Millisecond) // a payload in memory nobody sees from outside
	there := !blob || eventually(func() bool { return len(w.files(m, "blobs")) > 0 })
	cancel()
	err := <-ended
	time.Sleep(300 * time.Millisecond) // until the node has heard of it
	release()
	<-rejected
	if !there || err == nil {
		w.t.Fatalf("a blob was there: %v; the call: %v", there, err)
	}
}

// A call that is cancelled between the payload and the transaction leaves no blob that nothing refers to and no quota counts:
// what the other side completed is written down, although nobody waits for the answer.
func TestCancelledAtCommit(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"row": 1000, "blob": 2 * limit.PayloadRow} {
		t.Run("deliver/"+name, func(t *testing.T) {
			t.Parallel()
			w := found(t, "alpha", "bravo")
			w.start("bravo")
			d := w.document("alpha", []string{"bravo"}, strings.Repeat("x", size))
			alpha := w.peer("alpha", "bravo")
			w.cancelAtCommit("bravo", "alpha", name == "blob", func(ctx context.Context) error { _, err := alpha.deliver(ctx, d); return err })
			if !eventually(func() bool { return len(w.state("bravo").exchanges) == 1 }) {
				t.Errorf("%d blobs, and no exchange", len(w.files("bravo", "blobs")))
			}
			raw, err := alpha.patiently(d)
			if err != nil || alpha.receipt(raw, d).Kind != statement.Stored {
				t.Errorf("the receipt of then: %v", err)
			}
		})
		t.Run("send/"+name, func(t *testing.T) {
			t.Parallel()
			w := found(t, "alpha", "bravo")
			w.start("alpha", "bravo")
			alice, sub := w.person("alpha"), submission("bravo")
			w.cancelAtCommit("alpha", "bravo", name == "blob", func(ctx context.Context) error {
				_, err := alice.Send(ctx, sub, bytes.NewReader(random(size)))
				return err
			})
			if !eventually(func() bool { return len(w.state("alpha").exchanges) == 1 }) {
				t.Fatalf("%d blobs, and no exchange", len(w.files("alpha", "blobs")))
			}
			w.await("alpha", "alpha/"+sub.GetId()+"/bravo", "delivered")
		})
	}
}

// An attempt that begins with what the outbox held a while ago does not touch what has been settled since.
func TestLateAttempt(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	w.stop("bravo")
	ref := w.send("alpha", submission("bravo"), []byte("a document"))[0]
	h, err := node.OpenHome(t.Context(), w.Home("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	old := w.outgoing(h)
	if len(old) != 1 {
		t.Fatalf("in the outbox: %v", old)
	}
	w.start("bravo")
	w.await("alpha", ref, "delivered")
	before := w.state("alpha")
	h.Attempt(t.Context(), old[0]) // bravo answers
	w.stop("bravo")
	h.Attempt(t.Context(), old[0]) // it does not
	after := w.state("alpha")
	if s := after.exchanges[ref]; s != store.Delivered || len(after.leaves) != len(before.leaves) || len(w.outgoing(h)) != 0 {
		t.Errorf("now it is %s, new leaves %q, in the outbox %v", s, after.kinds(len(before.leaves)), w.outgoing(h))
	}
}

// outgoing is the whole outbox of a home.
func (w *world) outgoing(h *node.Home) (list []store.Outgoing) {
	w.t.Helper()
	err := h.DB.View(w.t.Context(), func(v *store.View) (err error) {
		list, err = v.Due(time.Now().AddDate(1, 0, 0))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// No receipt leaves before the recipient's head covers its leaf. The sender's own head keeps nobody waiting: nothing of its log is shown.
func TestNoReceiptBeforeTheHead(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	hold := func(member string) *flock.Flock {
		head := flock.New(filepath.Join(w.Home(member), "head", "lock"))
		for ok := false; !ok; time.Sleep(time.Millisecond) {
			var err error
			if ok, err = head.TryLock(); err != nil {
				t.Fatal(err)
			}
		}
		return head
	}
	alpha, bravo := hold("alpha"), hold("bravo")
	ref := w.send("alpha", submission("bravo"), []byte("a document"))[0] // is acknowledged
	for begun := time.Now(); time.Since(begun) < time.Second; time.Sleep(10 * time.Millisecond) {
		if s := w.state("alpha").exchanges[ref]; s != store.Queued && s != store.Delivering {
			t.Fatalf("it is %s, although bravo's head does not cover its leaf", s)
		}
	}
	if s := w.state("bravo").exchanges[ref]; s != store.Stored {
		t.Errorf("at bravo it is %q, want stored", s)
	}
	if err := errors.Join(alpha.Close(), bravo.Close()); err != nil {
		t.Fatal(err)
	}
	w.await("alpha", ref, "delivered")
}

type brokenListener struct{ net.Listener }

// Accept fails.
func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("the listener broke") }

// A node whose listener fails by itself ends, and says why: whoever supervises it must see that.
func TestBrokenListener(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	for _, broken := range []string{"peers", "people"} {
		h, err := node.OpenHome(t.Context(), w.Home("alpha"))
		if err != nil {
			t.Fatal(err)
		}
		listen := func(which string) net.Listener {
			l, err := rpc.Listen(t.Context(), "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if which == broken {
				return brokenListener{l}
			}
			return l
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err = h.Serve(ctx, node.Options{PeerListener: listen("peers"), NodeListener: listen("people"), Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "the listener broke") {
			t.Errorf("the listener for %s: %v", broken, err)
		}
		cancel()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}
