package store

import (
	"errors"
	"testing"
	"time"

	"entente.example/internal/statement"
)

// TestOutgoingDamaged tells a document that waits no more from one whose manifest is missing.
func TestOutgoingDamaged(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	waits, gone := statement.HashBytes([]byte("waits")), statement.HashBytes([]byte("gone"))
	update(t, db, func(tx *Tx) error {
		return tx.Enqueue(Outgoing{Peer: "bravo", Kind: OutgoingDocument, Statement: waits, Due: time.Now()})
	})
	view(t, db, func(v *View) error {
		if _, _, err := v.Outgoing(gone, "bravo"); !errors.Is(err, ErrNotFound) {
			t.Errorf("what waits no more: %v, want ErrNotFound", err)
		}
		if _, _, err := v.Outgoing(waits, "bravo"); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("what waits and has no manifest: %v", err)
		}
		return nil
	})
}
