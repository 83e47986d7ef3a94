package store

import (
	"errors"
	"fmt"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// OutgoingKind says what waits in the outbox.
type OutgoingKind string

// What can wait.
const (
	OutgoingDocument       OutgoingKind = "document"       // a manifest of ours with its document
	OutgoingReceipt        OutgoingKind = "receipt"        // a receipt of ours that is not the answer to a call
	OutgoingReconciliation OutgoingKind = "reconciliation" // one that both have signed
	OutgoingAgreement      OutgoingKind = "agreement"      // an agreement with the signatures that we have; Statement is the hash of its text
	OutgoingNotice         OutgoingKind = "notice"         // that we decline or withdraw
)

// Outgoing is something that still has to reach a peer. Attempts, Due and LastError are bookkeeping.
type Outgoing struct {
	Peer      string
	Kind      OutgoingKind
	Statement statement.Hash // of the manifest, receipt, reconciliation, agreement or notice
	Attempts  int64          // that failed so far
	Due       time.Time      // not before
	LastError string
}

// Due gives what is due, the longest overdue first: for each peer at most limit.DueEach, so that one that is silent hides none
// of the others, and in all at most `most` and at most limit.Page.
func (v *View) Due(now time.Time, most int) ([]Outgoing, error) {
	rows, err := v.q.Due(v.ctx, sqlc.DueParams{Now: now.UnixMicro(), Each: limit.DueEach, Most: int32(min(most, limit.Page))})
	if err != nil {
		return nil, err
	}
	list := make([]Outgoing, len(rows))
	for i, r := range rows {
		if list[i], err = outgoing(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func outgoing(r sqlc.Outbox) (Outgoing, error) {
	h, err := toHash(r.Statement)
	return Outgoing{r.Peer, OutgoingKind(r.Kind), h, r.Attempts, time.UnixMicro(r.Due).UTC(), r.LastError}, err
}

// Waiting gives what of that kind about a statement still has to reach a peer, sorted by peer.
func (v *View) Waiting(kind OutgoingKind, hash statement.Hash) ([]Outgoing, error) {
	rows, err := v.q.OutboxOf(v.ctx, sqlc.OutboxOfParams{Kind: string(kind), Statement: hash[:]})
	if err != nil {
		return nil, err
	}
	list := make([]Outgoing, len(rows))
	for i, r := range rows {
		if list[i], err = outgoing(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// NextDue tells when the first thing that is due after a time is due; the zero time if there is none.
func (v *View) NextDue(after time.Time) (time.Time, error) {
	due, err := row(v.q.NextDue(v.ctx, after.UnixMicro()))
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	return time.UnixMicro(due).UTC(), err
}

// Enqueue puts something into the outbox. ErrExists if it is there.
func (tx *Tx) Enqueue(o Outgoing) error {
	n, err := tx.q.Enqueue(tx.ctx, sqlc.EnqueueParams{Peer: o.Peer, Kind: string(o.Kind), Statement: o.Statement[:],
		Attempts: o.Attempts, Due: o.Due.UnixMicro(), LastError: o.LastError})
	return o.outcome("enqueue", n, err, ErrExists)
}

// Done takes something out of the outbox, named by Peer, Kind and Statement. ErrNotFound if it is not there.
func (tx *Tx) Done(o Outgoing) error {
	n, err := tx.q.Dequeue(tx.ctx, sqlc.DequeueParams{Peer: o.Peer, Kind: string(o.Kind), Statement: o.Statement[:]})
	return o.outcome("take from the outbox", n, err, ErrNotFound)
}

// Retry notes Attempts, Due and LastError after a failed attempt. ErrNotFound if the item is not there any more.
func (tx *Tx) Retry(o Outgoing) error {
	n, err := tx.q.Retry(tx.ctx, sqlc.RetryParams{Peer: o.Peer, Kind: string(o.Kind), Statement: o.Statement[:],
		Attempts: o.Attempts, Due: o.Due.UnixMicro(), LastError: o.LastError})
	return o.outcome("retry", n, err, ErrNotFound)
}

func (o Outgoing) outcome(verb string, rows int64, err, ifNone error) error {
	if err == nil && rows == 0 {
		err = ifNone
	}
	if err != nil {
		return fmt.Errorf("%s %s %s for %s: %w", verb, o.Kind, o.Statement.Short(), o.Peer, explain(err))
	}
	return nil
}
