package store

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/statement"
)

// together has all of these run in one commit: the first holds the writer until the others wait. It gives their errors, and what they panicked with.
func together(t *testing.T, db *DB, fns ...func(*Tx) error) (errs []error, panics []any) {
	t.Helper()
	errs, panics = make([]error, len(fns)), make([]any, len(fns))
	var all sync.WaitGroup
	holding, let := make(chan struct{}), make(chan struct{})
	all.Go(func() { check(t, db.Update(t.Context(), func(*Tx) error { close(holding); <-let; return nil })) })
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
