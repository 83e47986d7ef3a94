package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// What one peer may take of this node: bytes on its disk and leaves in its log. Connections and streams are bounded in
// package rpc.

// quota is the room that deliveries under way were promised, by peer, so that several at the same time do not count on the
// same room. The zero value is ready.
type quota struct {
	mu    sync.Mutex
	rooms map[string]*room
}

// room is what one peer has taken and was promised. Its lock is held while the peer's documents are added up, once, which takes longer the more
// there are; so each peer has its own, and waits for none of the others.
type room struct {
	mu       sync.Mutex
	promised map[statement.Hash]int64 // by manifest
	counted  bool                     // held is known
	doubt    bool                     // something was promised when it was added up, and may have been stored by then
	held     int64                    // by documents that are stored; only this node stores any
}

func (q *quota) of(peer string) *room {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.rooms == nil {
		q.rooms = map[string]*room{}
	}
	if q.rooms[peer] == nil {
		q.rooms[peer] = &room{promised: map[statement.Hash]int64{}}
	}
	return q.rooms[peer]
}

// release gives back what reserve has promised, if anything.
func (q *quota) release(peer string, m statement.Hash) {
	r := q.of(peer)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.promised, m)
}

// keep turns what was promised into what is held, because the document is stored. After an error nobody knows whether it is, and all is added up again.
func (q *quota) keep(peer string, m statement.Hash, err error) {
	r := q.of(peer)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.counted = false
		return
	}
	r.held += r.promised[m]
	delete(r.promised, m)
	if r.doubt { // it may have been counted already
		r.counted = false
	}
}

// reserve promises room for a document before anything is allocated for it. Being full passes, so it is no refusal.
func (n *node) reserve(ctx context.Context, o *offer) error {
	r := n.quota.of(o.peer)
	r.mu.Lock()
	defer r.mu.Unlock()
	used, err := n.used(ctx, o, r)
	if err != nil {
		return err
	}
	cost := o.manifest.Terms.Content.CiphertextSize + int64(len(o.header)) + limit.DocumentOverhead // as View.Held counts it
	if cost > n.Config.PeerBytes || used > n.Config.PeerBytes-cost {
		return fault.New(fault.Transient, "try again when documents were disposed of", "the quota of %s is used up: %d of %d bytes are stored, staged or promised, and this document takes %d", o.peer, used, n.Config.PeerBytes, cost)
	}
	r.promised[o.manifest.Hash] = cost
	return nil
}

// used adds up what a peer's documents that are stored take, what is staged from deliveries that broke off, and what is
// promised. What is staged of a document that is promised, or asked for now, is part of its size and counts once. The
// caller holds the room's lock.
func (n *node) used(ctx context.Context, o *offer, r *room) (sum int64, err error) {
	if !r.counted { // at first nothing was promised before, so nothing that is stored meanwhile is counted twice
		err = n.DB.View(ctx, func(v *store.View) (err error) { r.held, err = v.Held(o.peer); return err })
		if err != nil {
			return 0, fmt.Errorf("add up what is stored: %w", err)
		}
		r.counted, r.doubt = true, len(r.promised) > 0
	}
	sum = r.held
	staged, err := n.Blobs.Staged(receivingFrom(o.peer))
	if err != nil {
		return 0, fmt.Errorf("add up what is staged: %w", err)
	}
	delete(staged, o.manifest.Hash.String())
	for m := range staged {
		staged[m] += limit.DocumentOverhead // a file that is small is not free
	}
	for m, cost := range r.promised {
		staged[m.String()] = max(staged[m.String()], cost)
	}
	for _, size := range staged {
		sum += size
	}
	return sum, nil
}

// leaves counts the leaves that a peer's bad and refused requests cause, by peer and minute, so that they cannot fill the
// log. The zero value is ready.
type leaves struct {
	mu     sync.Mutex
	minute int64
	count  map[string]int
}

// allow tells whether one more leaf of this peer is within its quota.
func (l *leaves) allow(peer string, now time.Time) bool {
	return l.within(limit.PeerLeavesPerMinute, peer, now)
}

// within counts one more, and tells whether it is among the first so many of this minute.
func (l *leaves) within(most int, peer string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if minute := now.Unix() / 60; minute != l.minute || l.count == nil {
		l.minute, l.count = minute, map[string]int{}
	}
	l.count[peer]++
	return l.count[peer] <= most
}

// reject writes down a bad request that deserves no receipt, and gives the error to answer. Beyond the peer's quota of
// leaves it is only in the process's own log, and there one line stands for many.
func (n *node) reject(ctx context.Context, peer string, cause *fault.Error) error {
	n.seldom.Write(slog.LevelWarn, "rejected a request", peer, "peer", peer, "error", cause.Text)
	if !n.leaves.allow(peer, n.now()) {
		return cause
	}
	event := statement.Event{Kind: statement.EventRejected, Time: n.now(), Peers: []string{peer},
		Private: []statement.Private{{Field: "error", Value: bytes.ToValidUTF8([]byte(cause.Text), []byte("?"))}}}
	err := n.commit(ctx, func(tx *store.Tx) error { _, err := tx.Record(event); return err })
	if err != nil {
		return errors.Join(cause, fmt.Errorf("record rejection: %w", err))
	}
	return cause
}
