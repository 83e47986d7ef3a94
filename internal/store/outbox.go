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
	Large     bool           // a document that keeps a connection busy for long
	Attempts  int64          // that failed so far
	Due       time.Time      // not before
	LastError string
}

// Due gives what is due, for each peer first what is small and then what is large, of both the longest overdue first and at most
// limit.DueEach. So neither a peer that is silent nor a document that takes long hides anything else.
func (v *View) Due(now time.Time) (list []Outgoing, err error) {
	for peer := ""; ; {
		peer, err = row(v.q.NextPeer(v.ctx, peer))
		if errors.Is(err, ErrNotFound) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		for large := range int64(2) {
			rows, err := v.q.DueOf(v.ctx, sqlc.DueOfParams{Peer: peer, Large: large, Due: now.UnixMicro(), Limit: limit.DueEach})
			if err != nil {
				return nil, err
			}
			some, err := outgoing(rows)
			if err != nil {
				return nil, err
			}
			list = append(list, some...)
		}
	}
}

func outgoing(rows []sqlc.Outbox) ([]Outgoing, error) {
	list := make([]Outgoing, len(rows))
	for i, r := range rows {
		h, err := toHash(r.Statement)
		if err != nil {
			return nil, err
		}
		list[i] = Outgoing{r.Peer, OutgoingKind(r.Kind), h, r.Large != 0, r.Attempts, time.UnixMicro(r.Due).UTC(), r.LastError}
	}
	return list, nil
}

// Waiting gives what of that kind about a statement still has to reach a peer, sorted by peer.
func (v *View) Waiting(kind OutgoingKind, hash statement.Hash) ([]Outgoing, error) {
	rows, err := v.q.OutboxOf(v.ctx, sqlc.OutboxOfParams{Kind: string(kind), Statement: hash[:]})
	if err != nil {
		return nil, err
	}
	return outgoing(rows)
}

// Waits tells whether something is in the outbox, named by Peer, Kind and Statement, and was not tried since.
func (v *View) Waits(o Outgoing) (bool, error) {
	n, err := row(v.q.Attempts(v.ctx, sqlc.AttemptsParams{Peer: o.Peer, Kind: string(o.Kind), Statement: o.Statement[:]}))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && n == o.Attempts, err
}

// DueLater gives what is due after a time, the soonest first, at most limit.Page.
func (v *View) DueLater(now time.Time) ([]Outgoing, error) {
	rows, err := v.q.DueLater(v.ctx, sqlc.DueLaterParams{Due: now.UnixMicro(), Limit: limit.Page})
	if err != nil {
		return nil, err
	}
	return outgoing(rows)
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
	n, err := tx.q.Enqueue(tx.ctx, sqlc.EnqueueParams{Peer: o.Peer, Kind: string(o.Kind), Statement: o.Statement[:], Large: o.large(),
		Attempts: o.Attempts, Due: o.Due.UnixMicro(), LastError: o.LastError})
	return o.outcome("enqueue", n, err, ErrExists)
}

func (o Outgoing) large() int64 {
	if o.Large {
		return 1
	}
	return 0
}

// Done takes something out of the outbox, named by Peer, Kind and Statement. ErrNotFound if it is not there.
func (tx *Tx) Done(o Outgoing) error {
	n, err := tx.q.Dequeue(tx.ctx, sqlc.DequeueParams{Peer: o.Peer, Kind: string(o.Kind), Statement: o.Statement[:]})
	return o.outcome("take from the outbox", n, err, ErrNotFound)
}

// Hasten makes all that waits for a peer due now, and tells how much that is.
func (tx *Tx) Hasten(peer string, now time.Time) (int64, error) {
	n, err := tx.q.Hasten(tx.ctx, sqlc.HastenParams{Peer: peer, Now: now.UnixMicro()})
	if err != nil {
		return 0, fmt.Errorf("hasten what waits for %s: %w", peer, explain(err))
	}
	return n, nil
}

// Documents counts the documents that wait for a peer.
func (v *View) Documents(peer string) (int64, error) { return v.q.Documents(v.ctx, peer) }

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

// Depth is how much waits for one peer.
type Depth struct {
	Peer   string
	Items  int64
	Oldest time.Time // when the oldest document of it was signed; zero if no document waits
}

// Depths gives what waits, by peer. It reads the whole outbox, which takes a second for each million items.
func (v *View) Depths() ([]Depth, error) {
	rows, err := v.q.OutboxDepths(v.ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Depth, len(rows))
	for i, r := range rows {
		list[i] = Depth{Peer: r.Peer, Items: r.Items}
		if r.Oldest != 0 {
			list[i].Oldest = time.UnixMicro(r.Oldest).UTC()
		}
	}
	return list, nil
}
