package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"modernc.org/sqlite"

	"entente.example/internal/store/sqlc"
)

// session is one connection with the queries that were asked on it, prepared: parsing them each time takes longer than running them. It is
// for one goroutine at a time, and begins and ends its transactions itself: a transaction of database/sql costs a goroutine, and one more for
// each question within it, which is more than most of our questions cost.
type session struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
	q        *sqlc.Queries // that ask here
	// undone says that SQLite has undone the transaction, as it does by itself after some errors. What is asked from then on until the next one begins
	// fails: it would be a transaction of its own. Only the session of the writer knows, see watchUndone.
	undone bool
	// long has a question that runs stopped when its caller's context ends, for which the driver starts a goroutine. Otherwise
	// the context is looked at before each question, and our questions are short.
	long bool
}

func newSession(ctx context.Context, pool *sql.DB) (*session, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, prepared: map[string]*sql.Stmt{}}
	s.q = sqlc.New(s)
	return s, nil
}

// watchUndone keeps undone.
func (s *session) watchUndone() error {
	return s.conn.Raw(func(c any) error {
		hooks, ok := c.(sqlite.HookRegisterer)
		if !ok {
			return errors.New("the driver cannot tell when a transaction is undone")
		}
		hooks.RegisterRollbackHook(func() { s.undone = true })
		return nil
	})
}

var errUndone = errors.New("the database has undone the transaction")

// undone is a context that has ended with errUndone.
type undone struct{ context.Context }

func (undone) Err() error { return errUndone }

func (undone) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// prepareAll prepares all queries, and so finds out whether the database has all that they ask for.
func (s *session) prepareAll(ctx context.Context) error {
	_, err := sqlc.Prepare(ctx, s)
	return err
}

// PrepareContext gives a query prepared. It stays so until the session ends.
func (s *session) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if p := s.prepared[query]; p != nil {
		return p, nil
	}
	p, err := s.conn.PrepareContext(ctx, query)
	if err == nil {
		s.prepared[query] = p
	}
	return p, err
}

// bound gives the context for one question. One that has ended is handed on, and the driver refuses it.
func (s *session) bound(ctx context.Context) context.Context {
	if s.long || ctx.Err() != nil {
		return ctx
	}
	return context.Background()
}

// ExecContext runs a query that gives no rows.
func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if s.undone {
		return nil, errUndone
	}
	return s.exec(ctx, query, args...)
}

func (s *session) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx = s.bound(ctx)
	p, err := s.PrepareContext(ctx, query) //nolint:sqlclosecheck // it stays prepared
	if err != nil {
		return nil, err
	}
	return p.ExecContext(ctx, args...)
}

// QueryContext runs a query that gives rows.
func (s *session) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s.undone {
		return nil, errUndone
	}
	ctx = s.bound(ctx)
	p, err := s.PrepareContext(ctx, query) //nolint:sqlclosecheck // it stays prepared
	if err != nil {
		return nil, err
	}
	return p.QueryContext(ctx, args...)
}

// QueryRowContext runs a query that gives one row.
func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if s.undone {
		return s.conn.QueryRowContext(undone{ctx}, query, args...) // only this can put an error into a row
	}
	ctx = s.bound(ctx)
	p, err := s.PrepareContext(ctx, query) //nolint:sqlclosecheck // it stays prepared
	if err != nil {
		return s.conn.QueryRowContext(ctx, query, args...) // only this can put the error into a row
	}
	return p.QueryRowContext(ctx, args...)
}

// do runs what begins, ends or divides a transaction. Nothing stops it.
func (s *session) do(statement string) error {
	_, err := s.exec(context.Background(), statement)
	return err
}

// drop closes the connection, whatever state it is in; SQLite then undoes what was not committed.
func (s *session) drop() error {
	// One by one, because database/sql forgets those of a connection that somebody holds; and as long as one is open, SQLite keeps the files.
	for _, p := range s.prepared {
		_ = p.Close() // it says again what its last run said
	}
	clear(s.prepared)
	err := s.conn.Raw(func(any) error { return driver.ErrBadConn })
	if errors.Is(err, driver.ErrBadConn) {
		err = nil
	}
	return err
}

// sessions are those that views take turns with, at most `readers`. The one that was used last is used next: its cache is the warmest.
type sessions struct {
	pool   *sql.DB
	places chan struct{} // one for each view that runs

	mu     sync.Mutex
	free   []*session
	closed bool
}

func newSessions(pool *sql.DB) *sessions {
	return &sessions{pool: pool, places: make(chan struct{}, readers)}
}

// take waits for a place. Each session that was taken is to be given back.
func (s *sessions) take(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if one := s.idle(); one != nil {
		return one, nil
	}
	one, err := newSession(ctx, s.pool)
	if err != nil {
		<-s.places
	}
	return one, err
}

// prepareAll is that of one session, which is kept.
func (s *sessions) prepareAll(ctx context.Context) error {
	one, err := s.take(ctx)
	if err != nil {
		return err
	}
	err = one.prepareAll(ctx)
	s.give(one, err == nil)
	return err
}

// idle gives one that is free, or nil.
func (s *sessions) idle() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 {
		return nil
	}
	one := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return one
}

// give takes a session back. One that is not sound is dropped: its transaction did not end, or it was stopped within a question.
func (s *sessions) give(one *session, sound bool) {
	s.mu.Lock()
	keep := sound && !s.closed
	if keep {
		one.long = false
		s.free = append(s.free, one)
	}
	s.mu.Unlock()
	if !keep {
		_ = one.drop() // it has written nothing
	}
	<-s.places
}

// close closes those that are free; those that are in use close when they come back.
func (s *sessions) close() error {
	s.mu.Lock()
	free := s.free
	s.free, s.closed = nil, true
	s.mu.Unlock()
	var err error
	for _, one := range free {
		err = errors.Join(err, one.drop())
	}
	return errors.Join(err, s.pool.Close())
}

// view runs fn in a transaction that reads.
func (s *sessions) view(ctx context.Context, long bool, fn func(*View) error) error {
	one, err := s.take(ctx)
	if err != nil {
		return fmt.Errorf("begin reading the database: %w", explain(err))
	}
	sound := false
	defer func() { s.give(one, sound) }()
	if err := one.do("BEGIN"); err != nil {
		return fmt.Errorf("begin reading the database: %w", explain(err))
	}
	one.long = long
	v := &View{q: one.q, ctx: ctx}
	defer func() {
		v.q = nil // whoever kept it asks nobody
		one.long = false
		sound = one.do("ROLLBACK") == nil && (!long || ctx.Err() == nil) // nothing was written
	}()
	return fn(v)
}
