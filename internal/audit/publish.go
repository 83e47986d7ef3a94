// Package audit shows a member's log to others and checks it.
//
// The log itself lives in the database, see package store. Here is what makes it binding: the head, a small file outside
// the database that says how far the log has been shown; checkpoints, signed over what the head says; the export of
// the log as files that others' tools can read; and the verification of an export and of a whole home.
//
// Always: tree ≥ head ≥ checkpoint ≥ what anybody else has seen. So the order is commit → head → sign → store → show, and a
// crash anywhere leaves the inequalities true. A head that is missing or ahead of the tree means that the database is older
// than what was shown, and stops the start-up.
//
//	log, err := audit.OpenLog(ctx, db, filepath.Join(home, "head"), audit.Keys{Ed25519: keys.Log, MLDSA: keys.LogMLDSA})
//	…
//	err := log.Cover(ctx)               // the head covers everything committed before the call
//	checkpoint, err := log.Publish(ctx) // and so does a signed checkpoint
package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/crash"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/store"
)

// Log is a member's own log, ready to be published. It may be used concurrently, and by several processes.
type Log struct {
	db  *store.DB
	dir string
	key Keys

	// Now is the clock that checkpoints are dated by. Set it before the first Publish, or leave it: the system's clock. A checkpoint after
	// the first may be dated as the one before: then it gives the zero time.
	Now func() time.Time

	sync   func(*os.File) error // (*os.File).Sync, but in tests
	failed error                // of writing the head, after which nothing is known about the disk; only a round touches it
	synced tlog.Tree            // the head as we last synced it ourselves; only a round touches it

	rest sync.WaitGroup // counts rounds that run

	mu      sync.Mutex // guards what follows
	running bool       // a round is under way
	next    *round     // the round that a caller now joins; it has not begun
}

// round is one publication, shared by everybody who asked for one before it began.
type round struct {
	sign  bool // somebody wants a checkpoint; guarded by Log.mu until the round begins
	renew bool // even if nothing is new; likewise

	covered    chan struct{} // closed when the head covers what was committed, or when that failed
	uncovered  error         // why it failed
	done       chan struct{} // closed when the round is over
	checkpoint []byte
	err        error
}

// OpenLog opens the log of a database. headDir is the folder head/ of the home, and key the log's signing keys, whose name is the
// log's origin. For an empty log without a head it makes one, so it must be called before the first Record. It refuses with
// a hint if the head is missing, damaged, ahead of the tree or of another history.
//
// It also finishes what a crash interrupted: a slot that was being written, a checkpoint that was not stored yet.
func OpenLog(ctx context.Context, db *store.DB, headDir string, key Keys) (*Log, error) {
	l := &Log{db: db, dir: headDir, key: key, Now: time.Now, sync: (*os.File).Sync}
	if err := durable.MkdirAll(headDir); err != nil {
		return nil, fmt.Errorf("open log %s: %w", l.origin(), err)
	}
	unlock, err := lock(ctx, headDir)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", l.origin(), err)
	}
	defer unlock()
	if err := l.recover(ctx); err != nil {
		return nil, fmt.Errorf("open log %s: %w", l.origin(), err)
	}
	return l, nil
}

// patience is how long a round waits for another process that holds the head, which should take milliseconds.
const patience = 5 * time.Second

const restoreHint = "if this home was restored from a backup, its log must not be continued: others may have seen more of it; bring back the home as it was when the node last ran, with its folder head"

func (l *Log) recover(ctx context.Context) error {
	s := l.slots()
	at := s.newest()
	if at < 0 {
		return l.begin(ctx, &s)
	}
	h := s.head[at]
	now, err := l.check(ctx, h, true)
	if err != nil {
		return err
	}
	if now.checkpoint.N > h.Tree.N {
		return fault.New(fault.Conflict, restoreHint, "the checkpoint covers %d leaves and the head only %d; the head is older than what was shown", now.checkpoint.N, h.Tree.N)
	}
	if s.err[1-at] != nil { // torn by a crash
		if err := s.write(1-at, h); err != nil {
			return err
		}
	}
	if h.Tree.N > now.checkpoint.N { // a crash came between head and checkpoint
		if err := s.write(at, h); err != nil { // or before the head was synced
			return err
		}
		return l.catchUp(ctx, h.Tree, now.signed)
	}
	return nil
}

// catchUp signs the checkpoint that a crash left out. A log that was stopped is still opened, to be read.
func (l *Log) catchUp(ctx context.Context, t tlog.Tree, last time.Time) error {
	if l.Stopped() == nil {
		_, err := l.sign(ctx, t, last)
		return err
	}
	return nil
}

// origin is the log's name, such as alpha/log/1.
func (l *Log) origin() string { return l.key.Ed25519.Name() }

func (l *Log) slots() slots {
	s := readSlots(l.dir)
	s.sync = l.sync
	return s
}

// begin makes the head of a new log. A crash between the two slots leaves an empty log with one, and a log with one slot
// torn is opened like any other.
func (l *Log) begin(ctx context.Context, s *slots) error {
	now, err := l.state(ctx, 0, true)
	if err != nil {
		return err
	}
	if now.tree.N > 0 {
		if s.absent() {
			return fault.New(fault.Conflict, restoreHint, "the log has %d leaves, but its head in %s is missing", now.tree.N, l.dir)
		}
		return fault.New(fault.Conflict, restoreHint, "both slots of the log's head in %s are damaged", l.dir)
	}
	for i := range s.head {
		if err := s.write(i, head{Log: l.origin(), Tree: now.tree}); err != nil {
			return err
		}
	}
	return nil
}

// state is what the database says at one moment. Without being asked for, the checkpoint is not read.
type state struct {
	tree       tlog.Tree
	atHead     tlog.Tree // the tree when it had the size of the head; zero if it is not that large
	checkpoint tlog.Tree
	signed     time.Time // when the checkpoint says that it was signed
	raw        []byte    // the checkpoint as it was signed; nil if there is none
}

func (l *Log) state(ctx context.Context, headSize int64, signed bool) (s state, err error) {
	err = l.db.View(ctx, func(v *store.View) error {
		size, err := v.Size()
		if err != nil {
			return missing(err)
		}
		t, err := trees(v.Hashes(), size, min(headSize, size))
		if err != nil {
			return missing(err)
		}
		s.tree = t[0]
		if headSize <= size {
			s.atHead = t[1]
		}
		if !signed {
			return nil
		}
		_, s.raw, err = v.Checkpoint()
		if errors.Is(err, store.ErrNotFound) {
			s.raw = nil
			return nil
		}
		if err != nil {
			return err
		}
		c, err := checkpoint.Open(s.raw, l.key.Verifiers())
		if err != nil {
			return damaged(err)
		}
		s.checkpoint, s.signed = c.Tree, c.Time
		return nil
	})
	return s, err
}

// trees gives the tree at several sizes. They share most of their hashes, so each is read once and all at the same time: a round takes longer to
// ask the database than to compute.
func trees(r tlog.HashReader, sizes ...int64) ([]tlog.Tree, error) {
	var need []int64
	note := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		need = append(need, indexes...)
		return make([]tlog.Hash, len(indexes)), nil
	})
	for _, n := range sizes {
		if _, err := tlog.TreeHash(n, note); err != nil { // it asks for all that it needs before it computes
			return nil, err
		}
	}
	slices.Sort(need)
	need = slices.Compact(need)
	found, err := r.ReadHashes(need)
	if err != nil {
		return nil, err
	}
	recall := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			at, _ := slices.BinarySearch(need, index)
			hashes[i] = found[at]
		}
		return hashes, nil
	})
	list := make([]tlog.Tree, len(sizes))
	for i, n := range sizes {
		list[i].N = n
		if list[i].Hash, err = tlog.TreeHash(n, recall); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// missing judges an error of computing a root: hashes that are not there are damage, anything else may pass.
func missing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return damaged(err)
	}
	return fmt.Errorf("compute root: %w", err)
}

func damaged(err error) error {
	return fault.New(fault.Failed, "run: entente audit verify", "the log's database is damaged: %w", err)
}

// check reads the database and compares it with the head. The head must have been read under the lock and before, so that
// nobody advances it in between.
func (l *Log) check(ctx context.Context, h head, signed bool) (state, error) {
	if h.Log != l.origin() {
		return state{}, fault.New(fault.Conflict, "give this home its own folder head", "the head in %s belongs to the log %.80q, not to %s", l.dir, h.Log, l.origin())
	}
	now, err := l.state(ctx, h.Tree.N, signed)
	if err != nil {
		return now, err
	}
	if h.Tree.N > now.tree.N {
		return now, fault.New(fault.Conflict, restoreHint, "the log has %d leaves, but %d were shown to others; the database is older than the head", now.tree.N, h.Tree.N)
	}
	if now.atHead != h.Tree {
		return now, fault.New(fault.Conflict, restoreHint, "the first %d leaves of the log are not those that were shown to others; run: entente audit verify", h.Tree.N)
	}
	return now, nil
}

// Cover makes the head cover everything that was committed before the call, durably, so that leaves may be named to others: a log that is
// put back to an older state afterwards is found out when the program starts. Callers at the same time share one round. It must
// not be called inside an Update. ctx bounds the wait; a round that has begun is finished. A log that was stopped covers nothing.
//
// A checkpoint comes with a later Publish: signing takes longer than all the rest, and nothing that is shown names one.
func (l *Log) Cover(ctx context.Context) error {
	r := l.join(ctx, false, false)
	select {
	case <-r.covered:
		return r.uncovered
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Publish covers, signs and stores a checkpoint of everything that was committed before the call, and returns it. Callers at the same time
// share one round. If nothing is new it returns the checkpoint that is there. It must not be called inside an Update. ctx
// bounds the wait; a round that has begun is finished. A log that was stopped publishes nothing.
func (l *Log) Publish(ctx context.Context) ([]byte, error) { return l.ask(ctx, false) }

// Renew is Publish, but signs even if nothing is new: an idle log says again, as of now, that this is its largest tree. A node does
// so when it starts and from time to time, and so a log that was put back to an older state contradicts itself. See checkpoint.Fork.
func (l *Log) Renew(ctx context.Context) ([]byte, error) { return l.ask(ctx, true) }

func (l *Log) ask(ctx context.Context, renew bool) ([]byte, error) {
	r := l.join(ctx, true, renew)
	select {
	case <-r.done:
		return r.checkpoint, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join gives the next round, and sees to it that there is one.
func (l *Log) join(ctx context.Context, sign, renew bool) *round {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		l.next = &round{covered: make(chan struct{}), done: make(chan struct{})}
	}
	l.next.sign, l.next.renew = l.next.sign || sign, l.next.renew || renew
	if !l.running {
		l.running = true
		ctx := context.WithoutCancel(ctx)
		l.rest.Go(func() { l.rounds(ctx) })
	}
	return l.next
}

// Close waits for the round that is under way, whoever stopped waiting for it: it must not write into a home that somebody
// else has opened since. No Publish may come after it.
func (l *Log) Close() { l.rest.Wait() }

// rounds runs rounds until nobody waits for one. A caller joins a round only before it begins, because one that has begun may
// have read the size of the tree before that caller's commit.
func (l *Log) rounds(ctx context.Context) {
	for {
		l.mu.Lock()
		r := l.next
		l.next = nil
		if r == nil {
			l.running = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if err := l.publish(ctx, r); err != nil {
			r.err = fmt.Errorf("publish log %s: %w", l.origin(), err)
		}
		r.cover(r.err)
		close(r.done)
	}
}

// cover says, once, that the head covers what the round is about, or why not. Only the goroutine of the rounds calls it.
func (r *round) cover(err error) {
	select {
	case <-r.covered: // what failed since is the checkpoint
	default:
		r.uncovered = err
		close(r.covered)
	}
}

func (l *Log) publish(ctx context.Context, r *round) error {
	if err := l.Stopped(); err != nil {
		return err
	}
	if l.failed != nil {
		return fault.New(fault.Failed, "see to the disk, then start the program again", "the log's head could not be written, and nothing is published since: %w", l.failed)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	unlock, err := lock(ctx, l.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.Stopped(); err != nil { // while we waited
		return err
	}
	s := l.slots()
	at := s.newest()
	if at < 0 {
		return fault.New(fault.Conflict, restoreHint, "the head in %s is missing or damaged", l.dir)
	}
	now, err := l.check(ctx, s.head[at], r.sign)
	if err != nil {
		return err
	}
	shown := now.raw != nil && now.checkpoint == now.tree
	if shown && !r.renew {
		r.checkpoint = now.raw
		return nil
	}
	// Somebody else may have written the newest slot and crashed before it was synced. Then the other one is all that a power cut would leave.
	if l.synced != s.head[at].Tree {
		err = s.write(at, s.head[at])
	}
	switch {
	case err != nil:
	case now.tree.N > s.head[at].Tree.N:
		// A crash before this leaves leaves that nobody was shown. A crash after it leaves a head without a checkpoint, and
		// the next round or OpenLog signs it.
		err = s.advance(head{Log: l.origin(), Tree: now.tree})
	}
	if errors.Is(err, errDoubtful) {
		l.failed = err
	}
	if err != nil {
		return err
	}
	l.synced = now.tree
	r.cover(nil)
	if !r.sign {
		return nil
	}
	r.checkpoint, err = l.sign(ctx, now.tree, now.signed)
	return err
}

// sign makes the checkpoint of a tree that the head covers, dated now, but not before the one that was signed last: a clock that was put
// back must not look like a log that was. A crash before the commit loses a signature that nobody has seen.
func (l *Log) sign(ctx context.Context, t tlog.Tree, last time.Time) ([]byte, error) {
	at := l.Now()
	if at.Before(last) {
		at = last
	}
	raw, err := checkpoint.Sign(t, at, l.key.Ed25519, l.key.MLDSA)
	if err != nil {
		return nil, err
	}
	err = crash.Step(crash.CheckpointStore, func() error {
		return l.db.Update(ctx, func(tx *store.Tx) error { return tx.PutCheckpoint(t.N, raw) })
	})
	return raw, err
}
