package node_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/store"
)

// cosigned waits until a member's checkpoint covers its whole log with a quorum's co-signatures, and opens it.
func (w *world) cosigned(m string) *checkpoint.Checkpoint {
	w.t.Helper()
	h := w.reader(m)
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		var size int64
		var c store.Cosigned
		err := h.DB.View(ctx, func(v *store.View) (err error) {
			if size, err = v.Size(); err != nil {
				return err
			}
			c, err = v.CosignedAfter(size - 1)
			return err
		})
		if err == nil {
			self, _ := w.history.Member(m)
			got, err := checkpoint.Open(c.Note, checkpoint.Log{Ed25519: self.LogKey, MLDSA: self.LogMLDSA}, audit.Witnesses(w.history, m)...)
			if err != nil || got.Tree.N != size {
				w.t.Fatalf("co-signed checkpoint of %s: %+v, %v", m, got, err)
			}
			return got
		}
		if !errors.Is(err, store.ErrNotFound) {
			w.t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestWitnesses sends documents between members that witness each other: soon everybody's log is co-signed by one quorum, no more.
func TestWitnesses(t *testing.T) {
	t.Parallel()
	for _, members := range [][]string{{"alpha", "bravo"}, {"alpha", "bravo", "charlie"}, {"alpha", "bravo", "charlie", "delta", "echo"}} {
		w := found(t, members...)
		w.start(members...)
		for _, to := range members[1:] {
			w.await("alpha", w.send("alpha", submission(to), []byte("a document"))[0], "delivered")
		}
		for _, m := range members {
			got := w.cosigned(m)
			if len(got.Cosigned) != w.history.Quorum() {
				t.Errorf("%s with %d members: co-signed by %v", m, len(members), got.Cosigned)
			}
			for _, c := range got.Cosigned {
				if !c.PQ || time.Since(c.Time).Abs() > time.Minute {
					t.Errorf("%s: co-signature %+v", m, c)
				}
			}
		}
	}
}
