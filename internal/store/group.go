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
// those that came while the disk was busy run one after the other, and wait for one commit together. If one of them fails, which is rare, all are
// undone and run again, each inside a savepoint of its own: savepoints for all of them, always, would have SQLite copy every page that each of
// them changes. So each is still all or nothing, and none is told how it went before the disk has it. The zero value is ready.
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
// that error. fn must do no I/O of its own, must not call Update or View, and must not keep tx. It may be run twice, the first time in vain, and
// so must begin anew with whatever it gives its caller. ctx bounds the wait for the turn; what has begun is finished, so that a cancelled caller never wonders whether it was. If the commit itself fails, the
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
	batch := g.take(limit.SharedCommit)
	if len(batch) == 0 {
		g.waiting, g.running = nil, false
		g.idle.Broadcast()
	}
	return batch
}

// more gives those that came since, for a commit that has room for so many.
func (g *group) more(room int) []*turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.take(room)
}

func (g *group) take(most int) []*turn {
	n := min(len(g.waiting), most)
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
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
	began := begin(nil, batch)
	if len(began) == 0 {
		return
	}
	began, err := db.commit(began)
	for _, u := range began {
		if err != nil {
			u.err = err
		}
		close(u.done)
	}
}

// begin adds to a batch those who wait still.
func begin(batch, more []*turn) []*turn {
	for _, u := range more {
		if u.taken.CompareAndSwap(false, true) {
			batch = append(batch, u)
		}
	}
	return batch
}

// commit runs a batch in one transaction, with those that come while it does, and gives all of them. Its error is that of the whole batch, of which
// nothing may be taken for done.
func (db *DB) commit(batch []*turn) (_ []*turn, err error) {
	if err := db.failed.Load(); err != nil {
		return batch, restartNeeded(*err)
	}
	spoilt, err := db.transact(&batch, false)
	if !spoilt {
		return batch, err
	}
	for _, u := range batch {
		u.err, u.panic = nil, nil
	}
	_, err = db.transact(&batch, true)
	return batch, err
}

// transact runs a batch in one transaction and commits it. An update that fails is undone alone if each is to be kept apart; otherwise, unless it
// is the only one, it has spoilt the transaction, and nothing is done.
func (db *DB) transact(batch *[]*turn, keptApart bool) (spoilt bool, err error) {
	s := db.writes
	if err := s.do("BEGIN IMMEDIATE"); err != nil {
		return false, fmt.Errorf("begin updating the database: %w", explain(err))
	}
	s.undone = false
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
	for i := 0; i < len(*batch); i++ {
		u := (*batch)[i]
		run := func() {
			tx := &Tx{View: View{q: s.q, ctx: u.ctx}}
			u.run(tx)
			tx.q = nil // whoever kept it changes nothing
			statements = statements || tx.statements
		}
		if !keptApart {
			run()
		} else if err := apart(s, u, run); err != nil {
			return false, err
		}
		failed := u.err != nil || u.panic != nil
		if failed && !keptApart {
			return len(*batch) > 1, nil
		}
		changed = changed || !failed
		if i == len(*batch)-1 && !keptApart {
			*batch = begin(*batch, db.group.more(limit.SharedCommit-len(*batch)))
		}
	}
	if !changed {
		return false, nil
	}
	err = crash.Step(crash.DatabaseCommit, db.timed(func() error { return s.do("COMMIT") }))
	committed = err == nil
	if err != nil {
		if isIO(err) {
			// After a failed fsync the kernel may have dropped the pages, and asking again would report success.
			db.failed.CompareAndSwap(nil, &err)
			return false, restartNeeded(err)
		}
		return false, fmt.Errorf("commit to the database: %w", explain(err))
	}
	return false, nil
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
