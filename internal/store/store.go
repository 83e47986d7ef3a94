// Package store is one member's database, with the member's log inside it, and the blobs beside it.
//
// There is one way to change state:
//
//	err := db.Update(ctx, func(tx *store.Tx) error {
//		if err := tx.PutManifest(m, header, salt); err != nil {
//			return err
//		}
//		…
//		_, err := tx.Record(statement.Event{Kind: statement.EventReleased, …})
//		return err
//	})
//
// An Update is one transaction: a fact and the leaf that records it commit together or not at all, so the log cannot
// miss a fact and a fact cannot outrun the log. When Update has returned nil, all of it survives a power cut. Bookkeeping
// (attempts, due times) is no fact and needs no leaf.
//
// Several processes may update one database, a node and a command for instance. So nothing is kept in memory from one
// transaction to the next, the size of the tree included.
//
// Times are kept to the microsecond, in UTC.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"entente.example/internal/store/sqlc"
)

// What callers act upon.
var (
	// ErrNotFound: there is no such row or blob.
	ErrNotFound = errors.New("not found")
	// ErrExists: exactly this is there already. A caller that repeats itself takes it for success, and records no second leaf.
	ErrExists = errors.New("is there already")
	// ErrConflict: something else is there under the same name, such as another manifest under the same id.
	ErrConflict = errors.New("conflicts with what is there")
	// ErrAmbiguous: a reference fits several exchanges.
	ErrAmbiguous = errors.New("fits several exchanges")
	// ErrBusy: somebody else is writing the same staging file.
	ErrBusy = errors.New("in use")
)

// DB is an open database. It may be used concurrently.
type DB struct {
	writer *sql.DB // one connection, so that updates of this process queue here and not in SQLite; nil if read-only
	reader *sql.DB
	// The queries, prepared once on each connection: parsing them each time takes longer than running them.
	writes, reads *sqlc.Queries
	failed        atomic.Pointer[error] // a commit's I/O error, after which nothing is known about the disk
}

// Close waits for running transactions and closes the database.
func (db *DB) Close() error {
	err := shut(db.reads, db.reader)
	if db.writer != nil {
		// Last, because SQLite then folds the write-ahead log into the database file. If the program dies before that,
		// the next one to open the database does it.
		err = errors.Join(err, shut(db.writes, db.writer))
	}
	return err
}

func shut(q *sqlc.Queries, pool *sql.DB) error {
	if q != nil {
		return errors.Join(q.Close(), pool.Close())
	}
	return pool.Close()
}

// View is a consistent picture of the database, as it was at one moment. It is valid inside the function that it was given
// to, for one goroutine. Slices that it returns are the caller's.
type View struct {
	q *sqlc.Queries
	// ctx bounds this transaction, as a *sql.Tx has it too.
	ctx context.Context
}

// Tx is a View that can change things. What it reads includes its own changes.
type Tx struct {
	View
}

// View runs fn on a consistent picture of the database. It neither blocks updates nor is blocked by them, but as long as it
// runs SQLite cannot shorten its write-ahead log, so a long reader goes page by page in several views. It returns fn's error.
func (db *DB) View(ctx context.Context, fn func(*View) error) error {
	tx, err := db.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin reading the database: %w", explain(err))
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return fn(&View{q: db.reads.WithTx(tx), ctx: ctx})
}

// LongView is View for whoever asks very many questions. It prepares the queries for this one transaction, which takes some
// milliseconds; a View takes a little memory for each question, and gives none of it back before it ends.
func (db *DB) LongView(ctx context.Context, fn func(*View) error) (err error) {
	tx, err := db.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin reading the database: %w", explain(err))
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	q, err := sqlc.Prepare(ctx, tx)
	if err != nil {
		return fmt.Errorf("begin reading the database: %w", explain(err))
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	return fn(&View{q: q, ctx: ctx})
}

// Update runs fn in one transaction and commits it durably. If fn returns an error, nothing is changed and Update returns
// that error. fn must do no I/O of its own, must not call Update or View, and must not keep tx. ctx bounds the wait for the
// turn; what has begun is finished, so that a cancelled caller never wonders whether it was. If the commit itself fails, the
// change may yet be found after a restart: callers repeat what they did, and ErrExists tells them.
//
// A crash before the commit leaves nothing. A crash after it leaves everything, whether or not the caller learnt of it.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	if db.writer == nil {
		return errors.New("update the database: it is open for reading only")
	}
	if err := db.failed.Load(); err != nil {
		return restartNeeded(*err)
	}
	conn, err := db.writer.Conn(ctx)
	if err != nil {
		return fmt.Errorf("wait for the database: %w", explain(err))
	}
	defer func() { _ = conn.Close() }() // back into the pool
	ctx = context.WithoutCancel(ctx)
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin updating the database: %w", explain(err))
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := fn(&Tx{View{q: db.writes.WithTx(tx), ctx: ctx}}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		if isIO(err) {
			// After a failed fsync the kernel may have dropped the pages, and asking again would report success.
			db.failed.CompareAndSwap(nil, &err)
			return restartNeeded(err)
		}
		return fmt.Errorf("commit to the database: %w", explain(err))
	}
	return nil
}

// row turns the library's sentinel into ours.
func row[T any](v T, err error) (T, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return v, ErrNotFound
	}
	return v, err
}
