package node_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/node"
	ententev1 "entente.example/proto/entente/v1"
)

// within is how soon somebody who was removed can do nothing any more, also on streams that are open.
const within = 5 * time.Second

// trickle is a document that never ends: a little every so often, so that nobody takes it for stalled.
type trickle struct{ begun chan<- struct{} }

func (r *trickle) Read(p []byte) (int, error) {
	if r.begun != nil {
		close(r.begun)
		r.begun = nil
	}
	time.Sleep(20 * time.Millisecond)
	return len(p), nil
}

func (r *trickle) Seek(int64, int) (int64, error) { return 0, nil }

// removed takes somebody out as the command does, beside the node, and gives the time.
func (w *world) removed(m, name string) time.Time {
	w.t.Helper()
	h, err := node.OpenHome(w.t.Context(), w.Home(m))
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	if err := h.RemovePerson(w.t.Context(), name); err != nil {
		w.t.Fatal(err)
	}
	return time.Now()
}

// An upload under way breaks off when its person is removed, and leaves nothing.
func TestRemovedWhileSending(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	begun, ended := make(chan struct{}), make(chan error, 1)
	alice := w.person("alpha")
	before := w.state("alpha")
	go func() {
		_, err := alice.Send(t.Context(), submission("bravo"), &trickle{begun})
		ended <- err
	}()
	<-begun
	at := w.removed("alpha", "alice")
	select {
	case err := <-ended:
		wantFault(t, err, fault.Forbidden, "alice has no entry in people.toml")
	case <-time.After(within):
		t.Fatalf("still sending after %s", within)
	}
	if after := time.Since(at); after > within {
		t.Errorf("ended only after %s", after)
	}
	if !eventually(func() bool { return len(w.state("alpha").staging) == 0 }) {
		t.Errorf("left in staging: %v", w.state("alpha").staging)
	}
	if after := w.state("alpha"); len(after.exchanges)+len(after.blobs) != 0 || after.kinds(len(before.leaves)) != "" {
		t.Errorf("left: exchanges %v, blobs %v, leaves %q", after.exchanges, after.blobs, after.kinds(len(before.leaves)))
	}
}

// An opening under way breaks off too, although nobody reads what was sent.
func TestRemovedWhileOpening(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	document := bytes.Repeat([]byte("a long document\n"), 1<<20) // far more than waits on the way
	ref := w.send("alpha", submission("bravo"), document)[0]
	w.await("alpha", ref, "delivered")
	bob := w.person("bravo")
	stream, err := bob.Node().Open(t.Context(), &ententev1.OpenRequest{Exchange: ref})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetOpened() == nil {
		t.Fatalf("the node begins with %v, %v", first, err)
	}
	w.removed("bravo", "bob")
	time.Sleep(within) // nobody reads meanwhile
	size := 0
	for err == nil {
		var part *ententev1.OpenResponse
		if part, err = stream.Recv(); part.GetComplete() {
			t.Fatal("the document was released whole")
		}
		size += len(part.GetChunk())
	}
	if err == io.EOF || size >= len(document) { //nolint:errorlint // exactly this
		t.Errorf("%d of %d bytes, then %v", size, len(document), err)
	}
	if !strings.Contains(err.Error(), "bob has no entry in people.toml") {
		t.Errorf("it ended with: %v", err)
	}
}
