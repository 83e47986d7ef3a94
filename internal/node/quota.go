package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// What one peer may take of this node: bytes on its disk and leaves in its log. Connections and streams are bounded in
// package rpc.

// quota is the room that deliveries under way were promised, by peer and manifest, so that several at the same time do not
// count on the same room. The zero value is ready.
type quota struct {
	mu       sync.Mutex
	promised map[string]map[statement.Hash]int64
}

// release gives back what reserve has promised, if anything.
func (q *quota) release(peer string, m statement.Hash) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.promised[peer], m)
}

// reserve promises room for a payload before anything is allocated for it. Being full passes, so it is no refusal.
func (n *node) reserve(ctx context.Context, o *offer) error {
	n.quota.mu.Lock()
	defer n.quota.mu.Unlock()
	used, err := n.used(ctx, o)
	if err != nil {
		return err
	}
	size := o.manifest.Terms.Content.CiphertextSize
	if size > n.Config.PeerBytes || used > n.Config.PeerBytes-size {
		return fault.New(fault.Transient, "try again when documents were disposed of", "the quota of %s is used up: %d of %d bytes are stored, staged or promised, and this document has %d", o.peer, used, n.Config.PeerBytes, size)
	}
	if n.quota.promised == nil {
		n.quota.promised = map[string]map[statement.Hash]int64{}
	}
	if n.quota.promised[o.peer] == nil {
		n.quota.promised[o.peer] = map[statement.Hash]int64{}
	}
	n.quota.promised[o.peer][o.manifest.Hash] = size
	return nil
}

// used adds up what is stored of a peer's documents, staged from deliveries that broke off, and promised. What is staged
// of a document that is promised, or asked for now, is part of its size and counts once. The caller holds the quota's lock.
func (n *node) used(ctx context.Context, o *offer) (sum int64, err error) {
	err = n.DB.View(ctx, func(v *store.View) (err error) { sum, err = v.Held(o.peer); return err })
	if err != nil {
		return 0, fmt.Errorf("add up what is stored: %w", err)
	}
	staged, err := n.Blobs.Staged(receivingFrom(o.peer))
	if err != nil {
		return 0, fmt.Errorf("add up what is staged: %w", err)
	}
	delete(staged, o.manifest.Hash.String())
	for m, size := range n.quota.promised[o.peer] {
		staged[m.String()] = max(staged[m.String()], size)
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
	l.mu.Lock()
	defer l.mu.Unlock()
	if minute := now.Unix() / 60; minute != l.minute || l.count == nil {
		l.minute, l.count = minute, map[string]int{}
	}
	l.count[peer]++
	return l.count[peer] <= limit.PeerLeavesPerMinute
}

// reject writes down a bad request that deserves no receipt, and gives the error to answer. Beyond the peer's quota of
// leaves it is only in the process's own log.
func (n *node) reject(ctx context.Context, peer string, cause *fault.Error) error {
	n.log.Warn("rejected a request", "peer", peer, "error", cause.Text)
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
