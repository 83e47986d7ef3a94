package audit

import (
	"sync/atomic"
	"testing"

	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// TestVerifyHomeBeside verifies over and over, as another process would, while the node releases, settles, receives and
// publishes: a sound home never gives an alarm.
func TestVerifyHomeBeside(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.running = true
	h.found()
	h.publish()
	reader := must[*store.DB](t)(store.OpenReader(t.Context(), h.dir))
	defer func() { check(t, reader.Close()) }()
	var stop atomic.Bool
	done := make(chan int)
	go func() {
		runs := 0
		defer func() { done <- runs }()
		for ; !stop.Load(); runs++ {
			c := h.verification()
			c.DB, c.Blobs = reader, store.ReadBlobs(h.dir)
			r, err := VerifyHome(t.Context(), c)
			if err != nil || !r.OK() {
				t.Errorf("run %d: %v, %v", runs, r, err)
				return
			}
		}
	}()
	for range 20 {
		d := h.release("bravo")
		h.publish()
		h.settle(d, "bravo", store.Delivered, statement.EventDelivered, h.receipt(statement.Stored, "bravo", d, 1))
		h.receive("charlie", "alpha")
		h.publish()
	}
	stop.Store(true)
	if runs := <-done; runs < 3 {
		t.Errorf("only %d verifications", runs)
	}
	h.sound()
}

// TestVerifyHomeBounds has more wrong with a home than a report lists.
func TestVerifyHomeBounds(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	_, err := h.raw().Exec("UPDATE leaf SET body = x'00'")
	check(t, err)
	r := h.verify()
	if len(r.Problems) > mostProblems || len(r.Problems) < 20 {
		t.Errorf("%d problems listed, %d more", len(r.Problems), r.More)
	}
	many := &Report{}
	for range mostProblems + 7 {
		many.add("here", "wrong")
	}
	if len(many.Problems) != mostProblems || many.More != 7 || many.OK() || many.Problems[0].String() != "here: wrong" {
		t.Errorf("%d problems, %d more", len(many.Problems), many.More)
	}
}
