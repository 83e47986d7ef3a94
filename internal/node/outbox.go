package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// outbox sends what is due until ctx ends. An attempt that fails is repeated after a pause that doubles, with jitter;
// nothing leaves the outbox but by a receipt, or when its time is over. All state is in the database, so a restart
// changes nothing.
func (n *node) outbox(ctx context.Context) error {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	p := &places{under: map[string]int{}}
	for ctx.Err() == nil {
		next, err := n.dispatch(ctx, p, &attempts)
		if err != nil && ctx.Err() == nil {
			n.log.Error("cannot read the outbox", "error", err)
			next = n.now().Add(limit.RetryFirst)
		}
		pause := limit.RetryMost // a nudge ends it
		if !next.IsZero() {
			pause = min(pause, max(next.Sub(n.now()), 10*time.Millisecond))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-n.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// places counts the attempts under way with each peer, so that one that is slow or silent keeps none of the others waiting.
type places struct {
	mu    sync.Mutex
	under map[string]int
}

// take takes a place; ok tells whether there was one, and then leave gives it back.
func (p *places) take(peer string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.under[peer] >= limit.Deliveries {
		return nil, false
	}
	p.under[peer]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.under[peer]--
	}, true
}

// dispatch starts an attempt for everything that is due and not under way, as far as there are places, and tells when
// the next item is due. A finished attempt nudges, so what found no place is looked at again then.
func (n *node) dispatch(ctx context.Context, p *places, attempts *sync.WaitGroup) (next time.Time, err error) {
	var due []store.Outgoing
	now := n.now()
	err = n.DB.View(ctx, func(v *store.View) error {
		if due, err = v.Due(now, limit.Page); err != nil {
			return err
		}
		if next, err = v.NextDue(now); err != nil || next.Sub(now) <= 2*limit.RetryMost {
			return err
		}
		// No pause is that long: the clock was ahead when this was noted.
		due, err = v.Due(next, limit.Page)
		return err
	})
	if err != nil {
		return next, fmt.Errorf("look into the outbox: %w", err)
	}
	for _, o := range due {
		end, ok := n.busy.begin(fmt.Sprintf("%s %s %s", o.Kind, o.Statement, o.Peer))
		if !ok {
			continue
		}
		leave, ok := p.take(o.Peer)
		if !ok {
			end()
			continue
		}
		attempts.Go(func() {
			defer n.nudge()
			defer leave()
			defer end()
			n.attempt(ctx, o)
		})
	}
	return next, nil
}

// attempt tries one item once, and notes a failure.
func (n *node) attempt(ctx context.Context, o store.Outgoing) {
	var by time.Time
	var err error
	switch o.Kind {
	case store.OutgoingDocument:
		by, err = n.deliver(ctx, o)
	case store.OutgoingAgreement:
		err = n.handInAgreement(ctx, o)
	case store.OutgoingNotice:
		err = n.handInNotice(ctx, o)
	default:
		err = n.handIn(ctx, o)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, errSettled) {
		return // done, or we are stopping, which is no failure of the peer's
	}
	o.Attempts++
	o.Due = n.now().Add(backoff(o.Attempts))
	if kind := fault.KindOf(rpc.FromStatus(err)); o.Kind == store.OutgoingAgreement && (kind == fault.Invalid || kind == fault.Conflict || kind == fault.Misused) {
		o.Due = n.now().Add(limit.RetryRefused)
	}
	if by.After(n.now()) && o.Due.After(by) {
		o.Due = by.Add(time.Millisecond) // to expire at its time and not at the end of the pause
	}
	o.LastError = describe(err)
	n.log.Info("will try again", "peer", o.Peer, "item", string(o.Kind), "statement", o.Statement.Short(), "attempt", o.Attempts, "at", o.Due, "error", o.LastError)
	err = n.DB.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Retry(o); err != nil {
			return err
		}
		if o.Kind != store.OutgoingDocument {
			return nil
		}
		return tx.SetState(o.Statement, o.Peer, store.Queued, n.now())
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		n.log.Error("cannot note a failed attempt", "error", err)
	}
}

// backoff is the pause after so many failed attempts: it doubles, up to limit.RetryMost, and varies by a quarter so that
// nodes that failed together do not come back together.
func backoff(attempts int64) time.Duration {
	pause := limit.RetryMost
	if attempts < 16 {
		pause = min(limit.RetryFirst<<(attempts-1), limit.RetryMost)
	}
	return pause*3/4 + rand.N(pause/2) //nolint:gosec // jitter is no secret
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
	if _, err := n.Log.Publish(ctx); err != nil {
		return fmt.Errorf("publish log: %w", err)
	}
	if err := n.callWith(ctx, o, raw); err != nil {
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
