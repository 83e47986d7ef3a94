package store

import (
	"context"
	"sync"
	"testing"
	"time"
)

// endless is a question that takes longer than any test.
const endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

// TestViewStops has callers who wait no more.
func TestViewStops(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	update(t, db, record)

	ctx, cancel := context.WithCancel(t.Context())
	err := db.View(ctx, func(v *View) error {
		if n, err := v.Size(); n != 1 || err != nil {
			t.Errorf("before it was cancelled: %d, %v", n, err)
		}
		cancel()
		_, err := v.Size()
		wantErr(t, "a question after the cancellation", err, context.Canceled)
		_, err = v.Leaves(0, 10)
		wantErr(t, "another one", err, context.Canceled)
		return err
	})
	wantErr(t, "View", err, context.Canceled)

	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	next := db.views.free[len(db.views.free)-1]
	err = db.LongView(ctx, func(v *View) error {
		var n int64
		return next.QueryRowContext(v.ctx, endless).Scan(&n)
	})
	wantErr(t, "LongView within a question", err, context.DeadlineExceeded)

	// All connections are sound afterwards, and a transaction that was stopped is none any more.
	update(t, db, record)
	var together sync.WaitGroup
	for range 4 * readers {
		together.Go(func() {
			err := db.View(t.Context(), func(v *View) error {
				n, err := v.Size()
				if n != 2 {
					t.Errorf("%d leaves, want 2", n)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	if n := len(db.views.free); n == 0 || n > readers || len(db.views.places) != 0 {
		t.Errorf("%d connections are free, and %d places taken", n, len(db.views.places))
	}
}

// TestViewKept has somebody keep what ends, and ask it.
func TestViewKept(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	var kept *View
	var change *Tx
	view(t, db, func(v *View) error { kept = v; return nil })
	update(t, db, func(tx *Tx) error { change = tx; return nil })
	for name, use := range map[string]func(){"view": func() { _, _ = kept.Size() }, "update": func() { _ = record(change) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a %s that had ended was asked", name)
				}
			}()
			use()
		}()
	}
	if n, _ := counts(t, db); n != 0 {
		t.Errorf("%d leaves, want none", n)
	}
}

// TestViewPanics has a view end in a panic, and then another take its connection.
func TestViewPanics(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_ = db.View(t.Context(), func(*View) error { panic("as it happens") })
	}()
	update(t, db, record)
	if n, _ := counts(t, db); n != 1 {
		t.Errorf("%d leaves, want 1", n)
	}
}

// TestCloseBesideView closes a database in which somebody reads.
func TestCloseBesideView(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	update(t, db, record)
	view(t, db, func(v *View) error {
		check(t, db.Close())
		if n, err := v.Size(); n != 1 || err != nil {
			t.Errorf("a view that had begun: %d, %v", n, err)
		}
		return nil
	})
	if n := len(db.views.free); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
	if err := db.View(t.Context(), func(*View) error { return nil }); err == nil {
		t.Error("a closed database was read")
	}
	if err := db.Update(t.Context(), func(*Tx) error { return nil }); err == nil {
		t.Error("a closed database was updated")
	}
}
