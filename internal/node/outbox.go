package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"entente.example/internal/crash"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// outbox sends what is due until ctx ends. An attempt that fails is repeated after a pause that doubles, with jitter;
// nothing leaves the outbox but by a receipt, because somebody cancels it, or when its time is over. All state is in the
// database, so a restart changes nothing.
func (n *node) outbox(ctx context.Context) error {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	p := &places{under: map[place]int{}}
	p.anew(map[place]bool{})
	if err := n.allAbsent(ctx); err != nil {
		return err
	}
	begin := func(f fresh) { n.begin(ctx, p, &attempts, f) }
	for ctx.Err() == nil {
		next, err := n.dispatch(ctx, p, begin)
		if err != nil && ctx.Err() == nil {
			n.log.Error("cannot read the outbox", "error", err)
			next = n.now().Add(limit.RetryFirst)
		}
		pause := limit.RetryMost // a nudge ends it
		if !next.IsZero() {
			pause = min(pause, max(next.Sub(n.now()), 10*time.Millisecond))
		}
		n.rest(ctx, pause, func(f fresh) {
			if !p.wanted(f.place()) { // it comes after what dispatch will find
				begin(f)
			}
		})
	}
	return nil
}

// rest waits until somebody nudges, or for so long. What was put into the outbox meanwhile begins at once.
func (n *node) rest(ctx context.Context, pause time.Duration, begin func(fresh)) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
			return
		case <-timer.C:
			return
		case f := <-n.fresh:
			begin(f)
		}
	}
}

// fresh is something in the outbox, with the document that it is about if that is known already.
type fresh struct {
	store.Outgoing
	document *document
}

// document is one of ours with all that its delivery needs; what is in no row is a blob.
type document struct {
	manifest *statement.Signed[statement.Manifest]
	sealed   store.Sealed
}

func (f fresh) name() string { return attemptName(f.Kind, f.Statement, f.Peer) }

// start has a document that was just put into the outbox tried at once, which saves to look for it there. Where that is too much, it is looked for.
func (n *node) start(list []store.Outgoing, d *document) {
	for _, o := range list {
		select {
		case n.fresh <- fresh{o, d}:
		default:
			n.nudge()
		}
	}
}

// allAbsent has what waits since an earlier run tried when its addressee is first heard of.
func (n *node) allAbsent(ctx context.Context) error {
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	for _, m := range h.Members() {
		n.absent.leaves(m.Name)
	}
	return nil
}

// dispatch starts an attempt for everything that is due and not under way, as far as there are places, and tells when
// the next item is due.
func (n *node) dispatch(ctx context.Context, p *places, begin func(fresh)) (next time.Time, err error) {
	back := n.absent.back()
	if err := n.hasten(ctx, back); err != nil {
		n.absent.again(back)
		return next, err
	}
	p.anew(map[place]bool{})
	var due []store.Outgoing
	now := n.now()
	err = n.DB.View(ctx, func(v *store.View) error {
		if due, err = v.Due(now); err != nil {
			return err
		}
		if next, err = v.NextDue(now); err != nil || next.Sub(now) <= limit.RetryMost || now.Sub(p.ahead).Abs() < limit.RetryMost {
			return err
		}
		p.ahead = now
		later, err := v.DueLater(now)
		for _, o := range later {
			// No pause is that long: the clock was ahead when this was noted.
			if o.Due.Sub(now) > 2*longest(o) {
				due = append(due, o)
			}
		}
		return err
	})
	if err != nil {
		return next, fmt.Errorf("look into the outbox: %w", err)
	}
	count, short := map[place]int{}, map[place]bool{}
	for _, o := range due {
		at := fresh{Outgoing: o}.place()
		count[at]++
		short[at] = count[at] >= limit.DueEach // there may be more
	}
	p.anew(short)
	for _, o := range due {
		begin(fresh{Outgoing: o})
	}
	return next, nil
}

// begin starts an attempt, if none is under way and there is a place; otherwise it stands in line for one. Who has a place makes the next attempt that
// somebody stands in line for. An attempt that failed nudges: it is due at another time.
func (n *node) begin(ctx context.Context, p *places, attempts *sync.WaitGroup, f fresh) {
	end, ok := n.busy.begin(f.name())
	if !ok {
		return
	}
	if !p.take(f) {
		end()
		return
	}
	attempts.Go(func() {
		for ok {
			again := n.attempt(ctx, f)
			end()
			if again {
				n.nudge()
			}
			f, end, ok = n.another(ctx, p, f.place())
		}
	})
}

// another gives a place back, and what stands in line for it; ok tells whether there is something, whose place is taken then, until end.
func (n *node) another(ctx context.Context, p *places, at place) (f fresh, end func(), ok bool) {
	for {
		f, ok, wanted := p.leave(at)
		if wanted {
			n.nudge()
		}
		if !ok || ctx.Err() != nil {
			return f, nil, false
		}
		if end, ok = n.busy.begin(f.name()); ok {
			return f, end, true
		}
		at = f.place()
	}
}

// hasten makes due what waits for members that were heard of again.
func (n *node) hasten(ctx context.Context, peers []string) error {
	if len(peers) == 0 {
		return nil
	}
	err := n.DB.Update(ctx, func(tx *store.Tx) error {
		for _, peer := range peers {
			if _, err := tx.Hasten(peer, n.now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("hasten what waits: %w", err)
	}
	n.log.Info("heard again of members for which something waits", "peers", peers)
	return nil
}

// heard notes that a member's node called, or answered: if it could not be reached before, what waits for it is tried at once.
func (n *node) heard(member string) {
	if n.absent.heard(member, n.now()) {
		n.nudge()
	}
}

// absent is the members that could not be reached, and those of them that have been heard of since. The zero value is ready.
type absent struct {
	mu       sync.Mutex
	gone     map[string]bool
	returned map[string]bool
	hastened map[string]time.Time
}

// leaves notes that a member could not be reached.
func (a *absent) leaves(member string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone == nil {
		a.gone, a.returned, a.hastened = map[string]bool{}, map[string]bool{}, map[string]time.Time{}
	}
	a.gone[member] = true
}

// heard tells whether a member is back, at most once each limit.RetryHeard.
func (a *absent) heard(member string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.gone[member] || now.Sub(a.hastened[member]).Abs() < limit.RetryHeard {
		return false
	}
	delete(a.gone, member)
	a.returned[member], a.hastened[member] = true, now
	return true
}

// back gives the members that are back, once.
func (a *absent) back() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Sorted(maps.Keys(a.returned))
	clear(a.returned)
	return list
}

// again has back give these members once more.
func (a *absent) again(members []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range members {
		a.returned[m] = true
	}
}

// attemptName is what an attempt under way is called in node.busy.
func attemptName(kind store.OutgoingKind, of statement.Hash, peer string) string {
	return fmt.Sprintf("%s %s %s", kind, of, peer)
}

// trial is what one attempt to deliver a document came to see.
type trial struct {
	answered bool  // the recipient said how much it holds
	offset   int64 // that much
	heard    bool  // it answered at all
	whole    bool  // all of the rest was sent
}

// state is what follows from an attempt that failed; "" if nothing does. Only the recipient knows whether it holds a document that was sent
// whole; if it asks for more of it, it does not.
func (t *trial) state() store.State {
	switch {
	case t.whole:
		return store.Unconfirmed
	case t.answered:
		return store.Queued
	}
	return ""
}

// hears takes an error that the recipient has given as its answer: it does not hold the document. Of a failure of its own it does not know itself what
// it did before.
func (t *trial) hears(err error) {
	if f, ok := errors.AsType[*fault.Error](err); ok && t.whole && f.Kind != fault.Failed && !errors.Is(err, rpc.ErrUnreached) {
		t.whole, t.answered = false, true
	}
}

// tries is the attempts to deliver documents: how to end those that are under way, and how far those before them came, by attemptName.
// The zero value is ready.
type tries struct {
	mu      sync.Mutex
	cancel  map[string]context.CancelFunc
	reached map[string]int64
}

// begin makes a context that end can cancel.
func (t *tries) begin(ctx context.Context, name string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel == nil {
		t.cancel, t.reached = map[string]context.CancelFunc{}, map[string]int64{}
	}
	t.cancel[name] = cancel
	return ctx, func() {
		cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.cancel, name)
	}
}

// end ends an attempt, if one is under way.
func (t *tries) end(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cancel := t.cancel[name]; cancel != nil {
		cancel()
	}
}

// further tells whether the recipient held more now than at the attempt before.
func (t *tries) further(name string, now *trial) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.answered {
		return false
	}
	before, known := t.reached[name]
	t.reached[name] = now.offset
	return known && now.offset > before
}

func (t *tries) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.reached, name)
}

// attempt tries one item once, and notes a failure; again tells that the item may still wait.
func (n *node) attempt(ctx context.Context, f fresh) (again bool) {
	o, name := f.Outgoing, f.name()
	ctx, end := n.tries.begin(ctx, name)
	defer end()
	var t trial
	var by time.Time
	var err error
	switch o.Kind {
	case store.OutgoingDocument:
		by, err = n.deliver(ctx, f, &t)
	case store.OutgoingAgreement:
		err = n.handInAgreement(ctx, o)
	case store.OutgoingNotice:
		err = n.handInNotice(ctx, o)
	default:
		err = n.handIn(ctx, o)
	}
	if t.heard || err == nil && o.Kind != store.OutgoingDocument {
		n.heard(o.Peer)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, errSettled) {
		n.tries.forget(name)
		// A signature that came in the meantime keeps an agreement here.
		return err == nil && o.Kind == store.OutgoingAgreement // done, or we are stopping, or somebody cancelled it, which is no failure of the peer's
	}
	if errors.Is(err, rpc.ErrUnreached) && !t.heard {
		n.absent.leaves(o.Peer)
	}
	t.hears(err)
	o.Attempts++
	o.Due = n.now().Add(backoff(o.Attempts))
	if n.tries.further(name, &t) {
		o.Due = n.now().Add(limit.RetryProgress)
	}
	if _, ok := errors.AsType[refused](err); ok {
		o.Due = n.now().Add(limit.RetryRefused)
	}
	if by.After(n.now()) && o.Due.After(by) {
		o.Due = by.Add(time.Millisecond) // to expire at its time and not at the end of the pause
	}
	o.LastError = describe(err)
	n.metrics.FailedAttempt(o.Peer)
	n.log.Info("will try again", "peer", o.Peer, "item", string(o.Kind), "statement", o.Statement.Short(), "attempt", o.Attempts, "at", o.Due, "error", o.LastError)
	err = n.DB.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Retry(o); err != nil {
			return err
		}
		if o.Kind != store.OutgoingDocument || t.state() == "" {
			return nil
		}
		return tx.SetState(o.Statement, o.Peer, t.state(), n.now())
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
		n.log.Error("cannot note a failed attempt", "error", err)
	}
	return true
}

// backoff is the pause after so many failed attempts: it doubles, up to limit.RetryLongest, and varies by a quarter so that
// nodes that failed together do not come back together.
func backoff(attempts int64) time.Duration {
	pause := steady(attempts)
	return pause*3/4 + rand.N(pause/2) //nolint:gosec // jitter is no secret
}

func steady(attempts int64) time.Duration {
	if attempts < 1 || attempts >= 16 {
		return limit.RetryLongest
	}
	return min(limit.RetryFirst<<(attempts-1), limit.RetryLongest)
}

// longest is the longest pause that something can have come to.
func longest(o store.Outgoing) time.Duration {
	switch {
	case o.Kind == store.OutgoingAgreement:
		return max(limit.RetryLongest, limit.RetryRefused)
	case o.Attempts == 0:
		return 0
	}
	return steady(o.Attempts) * 5 / 4
}

// describe makes one readable line of an error, for people.
func describe(err error) string {
	text := rpc.FromStatus(err).Error()
	return strings.ToValidUTF8(text[:min(len(text), limit.Line)], "") // the cut may fall inside a character
}

// handIn brings a statement to a peer: a later receipt (opened, undecryptable) to the sender of the document, or a reconciliation.
func (n *node) handIn(ctx context.Context, o store.Outgoing) error {
	var raw []byte
	err := n.DB.View(ctx, func(v *store.View) (err error) { raw, err = v.Statement(o.Statement); return err })
	if err != nil {
		return fmt.Errorf("read %s: %w", o.Kind, err)
	}
	// Nothing leaves before the head covers its leaf.
	if err := n.Log.Cover(ctx); err != nil {
		return fmt.Errorf("publish log: %w", err)
	}
	if err := crash.Step(crash.HandIn, func() error { return n.callWith(ctx, o, raw) }); err != nil {
		return err
	}
	return n.handed(ctx, o)
}

// handed takes something out of the outbox that has reached the peer, or need not reach it any more.
func (n *node) handed(ctx context.Context, o store.Outgoing) error {
	err := n.DB.Update(ctx, func(tx *store.Tx) error { return tx.Done(o) })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("note that a %s is settled: %w", o.Kind, err)
	}
	return nil
}

// later puts a receipt of ours into the outbox, in the caller's transaction.
func later(tx *store.Tx, r *statement.Signed[statement.Receipt], now time.Time) error {
	return tx.Enqueue(store.Outgoing{Peer: r.Terms.To, Kind: store.OutgoingReceipt, Statement: r.Hash, Due: now})
}
