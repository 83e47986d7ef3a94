package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"entente.example/internal/crash"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

// group is the updates that wait for their turn. A commit waits for the disk, which takes longer than all that an update does before; so
// those that came while the disk was busy run one after the other, each inside a savepoint of its own, and wait for one commit together. Each
// is still all or nothing, and none is told how it went before the disk has it. The zero value is ready.
type group struct {
	mu      sync.Mutex
	waiting []*turn
	running bool
	closed  bool      // nobody begins any more
	idle    sync.Cond // that running has become false; its lock is mu
}

// rest waits until nobody writes, and nobody will.
func (g *group) rest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.idle.L = &g.mu
	for g.running {
		g.idle.Wait()
	}
}

// turn is one call of Update.
type turn struct {
	ctx   context.Context
	fn    func(*Tx) error
	taken atomic.Bool // by whoever runs it, or by a caller that waits no more
	done  chan struct{}

	err   error
	panic any // what fn panicked with: its caller does, too
}

// Update runs fn in one transaction and commits it durably. If fn returns an error, nothing is changed and Update returns
// that error. fn must do no I/O of its own, must not call Update or View, and must not keep tx. ctx bounds the wait for the
// turn; what has begun is finished, so that a cancelled caller never wonders whether it was. If the commit itself fails, the
// change may yet be found after a restart: callers repeat what they did, and ErrExists tells them.
//
// fn sees what others that share the commit have done before it, which is not durable yet. That is why nobody is told anything before the
// commit, and why an error of the commit is everybody's, also of those that changed nothing.
//
// A crash before the commit leaves nothing. A crash after it leaves everything, whether or not the caller learnt of it.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	if db.writer == nil {
		return errors.New("update the database: it is open for reading only")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for the database: %w", err)
	}
	u := &turn{ctx: context.WithoutCancel(ctx), fn: fn, done: make(chan struct{})}
	lead, ok := db.group.add(u)
	if !ok {
		return errors.New("update the database: it is closed")
	}
	if lead {
		db.lead()
	}
	select {
	case <-u.done:
	case <-ctx.Done():
		if u.taken.CompareAndSwap(false, true) {
			return fmt.Errorf("wait for the database: %w", ctx.Err())
		}
		<-u.done
	}
	if u.panic != nil {
		panic(u.panic)
	}
	return u.err
}

// add queues an update, and tells its caller to lead if nobody writes; ok is false once the database is closed.
func (g *group) add(u *turn) (lead, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false, false
	}
	g.waiting = append(g.waiting, u)
	lead = !g.running
	g.running = true
	return lead, true
}

// next gives those that share the next commit, in the order in which they came; none if nobody waits, and then writing ends.
func (g *group) next() []*turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), limit.SharedCommit)
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	if n == 0 {
		g.waiting, g.running = nil, false
		g.idle.Broadcast()
	}
	return batch
}

// lead runs one batch, in which the caller's own update is, so that an update that is alone costs no goroutine. What came meanwhile is left
// to another one, because the caller has its answer.
func (db *DB) lead() {
	db.together(db.group.next())
	if batch := db.group.next(); len(batch) > 0 {
		go db.write(batch)
	}
}

// write runs a batch, and then what waits until nothing does.
func (db *DB) write(batch []*turn) {
	for ; len(batch) > 0; batch = db.group.next() {
		db.together(batch)
	}
}

// together runs a batch, but for those who wait no more, and tells each how it went.
func (db *DB) together(batch []*turn) {
	var began []*turn
	for _, u := range batch {
		if u.taken.CompareAndSwap(false, true) {
			began = append(began, u)
		}
	}
	if len(began) == 0 {
		return
	}
	err := db.commit(began)
	for _, u := range began {
		if err != nil {
			u.err = err
		}
		close(u.done)
	}
}

// commit runs a batch in one transaction. Its error is that of the whole batch, of which nothing may be taken for done.
func (db *DB) commit(batch []*turn) (err error) {
	if err := db.failed.Load(); err != nil {
		return restartNeeded(*err)
	}
	s := db.writes
	if err := s.do("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin updating the database: %w", explain(err))
	}
	committed := false
	defer func() {
		if !committed {
			_ = s.do("ROLLBACK") // fails where SQLite has undone it already
		}
	}()
	changed := false
	statements := false
	defer func() { // also after an error: nobody knows what the disk has
		if statements {
			db.changes.Add(1)
		}
	}()
	for _, u := range batch {
		run := func() {
			tx := &Tx{View: View{q: s.q, ctx: u.ctx}}
			u.run(tx)
			tx.q = nil // whoever kept it changes nothing
			statements = statements || tx.statements
		}
		if len(batch) == 1 {
			run()
		} else if err := apart(s, u, run); err != nil {
			return err
		}
		changed = changed || u.err == nil && u.panic == nil
	}
	if !changed {
		return nil
	}
	err = crash.Step(crash.DatabaseCommit, db.timed(func() error { return s.do("COMMIT") }))
	committed = err == nil
	if err != nil {
		if isIO(err) {
			// After a failed fsync the kernel may have dropped the pages, and asking again would report success.
			db.failed.CompareAndSwap(nil, &err)
			return restartNeeded(err)
		}
		return fmt.Errorf("commit to the database: %w", explain(err))
	}
	return nil
}

// run runs fn. A panic is kept for its caller.
func (u *turn) run(tx *Tx) {
	defer func() { u.panic = recover() }()
	u.err = u.fn(tx)
}

// apart runs one update of several inside a savepoint, so that it alone is undone if it fails. The error is the whole batch's: some errors,
// such as a full disk, have SQLite undo the whole transaction, and then what follows would no longer be part of any.
func apart(s *session, u *turn, run func()) error {
	if err := s.do("SAVEPOINT apart"); err != nil {
		return fmt.Errorf("begin updating the database: %w", explain(err))
	}
	run()
	if u.err != nil || u.panic != nil {
		if err := s.do("ROLLBACK TO apart"); err != nil {
			return fault.New(fault.Transient, "free some space if the disk is full, and try again", "an update that shared the commit failed, and took the others with it: %w", errors.Join(u.err, err))
		}
	}
	if err := s.do("RELEASE apart"); err != nil {
		return fmt.Errorf("update the database: %w", explain(err))
	}
	return nil
}
