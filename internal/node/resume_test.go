package node_test

import (
	"errors"
	"testing"
	"time"

	"entente.example/internal/node"
)

// interrupt waits until so many bytes were carried from one member to another, and then does something.
func (w *world) interrupt(from, to string, bytes int64, do func()) {
	w.t.Helper()
	for end := time.Now().Add(patience); w.Carried(from, to) < bytes; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("only %d bytes were carried, and not %d", w.Carried(from, to), bytes)
		}
	}
	do()
}

// TestLittleIsSentTwice breaks a delivery in each way that there is, and counts on the wire what that costs: at most 4 MiB each time.
func TestLittleIsSentTwice(t *testing.T) {
	t.Parallel()
	const size, twice = 64 << 20, 4 << 20
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	w.Delay("alpha", "bravo", 60*time.Millisecond) // so that it does not end before it is interrupted
	before := w.Carried("alpha", "bravo")
	ref := w.send("alpha", submission("bravo"), random(size))[0]
	kill := func(m string) func() {
		return func() {
			if err := w.Kill(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			w.start(m)
		}
	}
	renew := func(m string) func() {
		return func() {
			w.stop(m)
			h := w.home(m)
			_, err := h.RenewCard(t.Context(), time.Now(), node.RenewOptions{RecoveryFile: w.recoveryFile(m)})
			if err == nil {
				_, err = h.Keys.RenewNode(h.Dir, time.Now())
			}
			if err := errors.Join(err, h.Close()); err != nil {
				t.Fatal(err)
			}
			w.start(m)
		}
	}
	cut := func() { w.Cut("alpha", "bravo") }
	faults := []func(){cut, cut, kill("bravo"), renew("bravo"), kill("alpha"), renew("alpha"), cut}
	for _, do := range faults {
		w.interrupt("alpha", "bravo", w.Carried("alpha", "bravo")+3<<20, do)
	}
	w.await("alpha", ref, "delivered")
	if more := w.Carried("alpha", "bravo") - before - size; more > int64(len(faults))*twice {
		t.Errorf("%d faults cost %d bytes", len(faults), more)
	} else {
		t.Logf("%d faults cost %d bytes", len(faults), more)
	}
}
