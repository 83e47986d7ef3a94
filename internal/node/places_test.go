package node_test

import (
	"testing"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// silent plays a member that takes offers and never answers. It gives the sizes of what it was offered, and how to end.
func (w *world) silent(m string) (offered <-chan int64, end func()) {
	w.t.Helper()
	hold, sizes := make(chan struct{}), make(chan int64, 100)
	w.play(m, &recipient{deliver: func(m *statement.Unsigned[statement.Manifest], s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
		sizes <- m.Terms.Content.CiphertextSize
		select {
		case <-hold:
		case <-s.Context().Done():
		}
		return nil
	}})
	return sizes, func() { close(hold) }
}

// atOnce is how long something may take for which nothing has to be waited, on a busy machine: far less than until the outbox looks by itself.
const atOnce = 20 * time.Second

// TestSilentHoldsNobody has all places with one member taken, and more waiting for them: what goes to others goes at once.
func TestSilentHoldsNobody(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	offered, end := w.silent("bravo")
	defer end()
	w.start("alpha", "charlie")
	for range 8 {
		w.send("alpha", submission("bravo"), []byte("to nobody"))
	}
	for range 7 {
		<-offered
	}
	for range 2 {
		began := time.Now()
		w.await("alpha", w.send("alpha", submission("charlie"), []byte("to somebody"))[0], "delivered")
		if took := time.Since(began); took > atOnce {
			t.Errorf("a document to somebody else took %s", took)
		}
	}
}

// TestLargeHoldNoSmall has more large documents under way to a member than there are places: a small one goes at once.
func TestLargeHoldNoSmall(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	offered, end := w.silent("bravo")
	defer end()
	w.start("alpha")
	const large = 2 << 20
	for range 8 {
		w.send("alpha", submission("bravo"), random(large))
	}
	for range 7 {
		<-offered
	}
	w.send("alpha", submission("bravo"), []byte("small"))
	select {
	case size := <-offered:
		if size > large {
			t.Error("an eighth large one was offered")
		}
	case <-time.After(atOnce):
		t.Error("the small one was not offered")
	}
}
