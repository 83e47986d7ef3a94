package store

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// errHeld is that of an update that only keeps the others waiting: one that fails alone takes nobody with it.
var errHeld = errors.New("held")

// together has all of these run in one commit: the first holds the writer until the others wait. It gives their errors, and what they panicked with.
func together(t *testing.T, db *DB, fns ...func(*Tx) error) (errs []error, panics []any) {
	t.Helper()
	errs, panics = make([]error, len(fns)), make([]any, len(fns))
	var all sync.WaitGroup
	holding, let := make(chan struct{}), make(chan struct{})
	all.Go(func() {
		if err := db.Update(t.Context(), func(*Tx) error { close(holding); <-let; return errHeld }); !errors.Is(err, errHeld) {
			t.Error(err)
		}
	})
	<-holding
	for i, fn := range fns {
		all.Go(func() {
			defer func() { panics[i] = recover() }()
			errs[i] = db.Update(t.Context(), fn)
		})
		for waiting := 0; waiting <= i; time.Sleep(time.Millisecond) { // one after the other, so that the order is known
			db.group.mu.Lock()
			waiting = len(db.group.waiting)
			db.group.mu.Unlock()
		}
	}
	close(let)
	all.Wait()
	return errs, panics
}

func size(t *testing.T, db *DB) (n int64) {
	t.Helper()
	view(t, db, func(v *View) (err error) { n, err = v.Size(); return err })
	return n
}

func TestSharedCommitKeepsEachApart(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	no := errors.New("no")
	errs, panics := together(t, db,
		record,
		func(tx *Tx) error { check(t, record(tx)); return no },
		func(tx *Tx) error { check(t, record(tx)); panic("oh") },
		record,
	)
	if errs[0] != nil || !errors.Is(errs[1], no) || errs[3] != nil || panics[2] != "oh" {
		t.Errorf("errors %v, panics %v", errs, panics)
	}
	if n := size(t, db); n != 2 {
		t.Errorf("the log has %d leaves, want the two of those that succeeded", n)
	}
	update(t, db, record) // it goes on
}

// Whoever shares a commit sees what others did before it was durable. If the commit fails, nobody may be told anything else: an "is
// there already" would be taken for success.
func TestSharedCommitThatFailsIsEverybodys(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	// What is put into the outbox makes the commit fail, and nothing before it.
	_, err := db.writes.conn.ExecContext(t.Context(), "CREATE TABLE later (n BYTEA REFERENCES statement (sha256) DEFERRABLE INITIALLY DEFERRED); CREATE TRIGGER late AFTER INSERT ON outbox BEGIN INSERT INTO later VALUES (x'00'); END")
	check(t, err)
	errs, _ := together(t, db,
		record,
		func(tx *Tx) error { return ErrExists },
		func(tx *Tx) error { return tx.Enqueue(Outgoing{Peer: "bravo", Kind: OutgoingDocument, Due: someday}) },
		record,
	)
	for i, err := range errs {
		if err == nil || errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "commit") {
			t.Errorf("update %d: %v, want the error of the commit", i, err)
		}
	}
	if n := size(t, db); n != 0 {
		t.Errorf("the log has %d leaves, want none", n)
	}
	update(t, db, record)
}

// What comes while an update runs goes into its commit. If one of them fails then, all begin anew.
func TestUpdateJoinsCommitUnderWay(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	before := int64(0)
	db.Observe(func(time.Duration) { before++ })
	for _, bad := range []error{nil, errors.New("no")} {
		commits := before
		var all sync.WaitGroup
		holding, let, runs := make(chan struct{}), make(chan struct{}), 0
		all.Go(func() {
			check(t, db.Update(t.Context(), func(tx *Tx) error {
				if runs++; runs == 1 {
					close(holding)
					<-let
				}
				return record(tx)
			}))
		})
		<-holding
		was := size(t, db)
		all.Go(func() {
			if err := db.Update(t.Context(), func(tx *Tx) error { return errors.Join(record(tx), bad) }); !errors.Is(err, bad) {
				t.Errorf("got %v, want %v", err, bad)
			}
		})
		for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
			db.group.mu.Lock()
			waiting = len(db.group.waiting)
			db.group.mu.Unlock()
		}
		close(let)
		all.Wait()
		want, wantRuns := int64(2), 1
		if bad != nil {
			want, wantRuns = 1, 2
		}
		if n := size(t, db) - was; n != want || before-commits != 1 || runs != wantRuns {
			t.Errorf("with the error %v: %d new leaves in %d commits, and the first ran %d times", bad, n, before-commits, runs)
		}
	}
}

// After some errors SQLite undoes the transaction by itself. An update that overlooks such an error must not have what follows made durable, its own
// or that of others, each statement for itself.
func TestOverlookedErrorCommitsNothing(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]func(*Tx) error{
		"nothing more": func(*Tx) error { return nil },
		"more":         func(tx *Tx) error { _ = record(tx); return nil },
		"a row more": func(tx *Tx) error {
			_ = tx.q.InsertLeaf(tx.ctx, sqlc.InsertLeafParams{Idx: 0, Body: []byte("x"), About: []byte{1}})
			return nil
		},
		"a question": func(tx *Tx) error {
			if _, err := tx.Size(); !errors.Is(err, errUndone) {
				t.Errorf("asked for a row: %v", err)
			}
			if _, err := tx.Witnesses(); !errors.Is(err, errUndone) {
				t.Errorf("asked for rows: %v", err)
			}
			return nil
		},
	} {
		for _, others := range []int{0, 2} {
			db := open(t, t.TempDir())
			overlooks := func(tx *Tx) error {
				limited := func(pages string) { // of this connection
					var n int64
					check(t, db.writes.conn.QueryRowContext(t.Context(), "PRAGMA max_page_count="+pages).Scan(&n))
				}
				limited("1")
				err := tx.q.InsertLeaf(tx.ctx, sqlc.InsertLeafParams{Idx: 999, Body: make([]byte, 1<<20), About: []byte{1}})
				limited("1000000")
				if err == nil || !db.writes.undone {
					t.Errorf("%s: %v, undone: %v", name, err, db.writes.undone)
				}
				return after(tx)
			}
			fns := []func(*Tx) error{overlooks}
			for range others {
				fns = append(fns, record)
			}
			errs, _ := together(t, db, fns...)
			for i, err := range errs {
				if err == nil {
					t.Errorf("%s, %d others: update %d is said to be durable", name, others, i)
				}
			}
			if n := size(t, db); n != 0 {
				t.Errorf("%s, %d others: %d leaves are durable", name, others, n)
			}
			update(t, db, record) // it goes on
			if n := size(t, db); n != 1 {
				t.Errorf("%s, %d others: after one more the log has %d leaves", name, others, n)
			}
		}
	}
}

// A thousand updates from 32 goroutines, of which a third fail: what is there in the end is what was acknowledged.
func TestManyUpdatesAtOnce(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	var all sync.WaitGroup
	var mu sync.Mutex
	acknowledged := int64(0)
	for g := range 32 {
		all.Go(func() {
			for i := range 32 {
				err := db.Update(t.Context(), func(tx *Tx) error {
					if _, err := tx.Record(statement.Event{Kind: statement.EventRejected, Time: someday, Peers: []string{"bravo"}}); err != nil {
						return err
					}
					if (g+i)%3 == 0 {
						return errors.New("not this one")
					}
					return nil
				})
				if err == nil {
					mu.Lock()
					acknowledged++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if n := size(t, db); n != acknowledged || n == 0 {
		t.Errorf("%d updates were acknowledged, the log has %d leaves", acknowledged, n)
	}
	view(t, db, func(v *View) error { _, err := v.Root(); return err })
}
