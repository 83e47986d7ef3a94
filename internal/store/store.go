// Package store is one member's database, with the member's log inside it, and the blobs beside it.
//
// There is one way to change state:
//
//	err := db.Update(ctx, func(tx *store.Tx) error {
//		if err := tx.PutManifest(m, header, salt, nil); err != nil {
//			return err
//		}
//		…
//		_, err := tx.Record(statement.Event{Kind: statement.EventReleased, …})
//		return err
//	})
//
// An Update is one transaction: a fact and the leaf that records it commit together or not at all, so the log cannot
// miss a fact and a fact cannot outrun the log. When Update has returned nil, all of it survives a power cut. Bookkeeping
// (attempts, due times) is no fact and needs no leaf. Updates that wait at the same time share one wait for the disk; see group.go.
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
	"sync"
	"sync/atomic"
	"time"

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
	writer    *sql.DB  // one connection; nil if read-only
	writes    *session // that connection after Open, which only commit uses
	reader    *sql.DB
	views     *sessions             // of reader
	group     group                 // of updates that wait for their turn
	changes   *atomic.Int64         // see Changes
	failed    atomic.Pointer[error] // a commit's I/O error, after which nothing is known about the disk
	committed func(time.Duration)   // told of every commit, see Observe; or nil
}

// Close waits for running updates and closes the database.
func (db *DB) Close() error {
	err := db.views.close()
	db.group.rest()
	if db.writes != nil {
		err = errors.Join(err, db.writes.drop())
	}
	if db.writer != nil {
		// Last, because SQLite then folds the write-ahead log into the database file. If the program dies before that,
		// the next one to open the database does it.
		err = errors.Join(err, db.writer.Close())
	}
	return err
}

// Changes is a number that changes whenever this process may have changed Generation, which costs no query. It is otherwise without meaning.
func (db *DB) Changes() int64 { return db.changes.Load() }

// changesOf holds Changes of every database that this process has had open, by path.
var changesOf sync.Map

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
	statements bool // it has put some that Generation counts, or may have
}

// View runs fn on a consistent picture of the database. It neither blocks updates nor is blocked by them, but as long as it
// runs SQLite cannot shorten its write-ahead log, so a long reader goes page by page in several views. It returns fn's error.
// When ctx ends, the question that is being answered is finished, and the next one fails.
func (db *DB) View(ctx context.Context, fn func(*View) error) error {
	return db.views.view(ctx, false, fn)
}

// LongView is View for whoever asks questions that take long: it also stops within one.
func (db *DB) LongView(ctx context.Context, fn func(*View) error) (err error) {
	return db.views.view(ctx, true, fn)
}

// row turns the library's sentinel into ours.
func row[T any](v T, err error) (T, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return v, ErrNotFound
	}
	return v, err
}
