package store

import (
	"fmt"
	"iter"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// PutReconciliation adds a reconciliation with a peer. ErrExists if it is there.
func (tx *Tx) PutReconciliation(s *statement.Signed[statement.Reconciliation], peer string) error {
	if err := tx.putStatement(s.Hash, statement.KindReconciliation, s.Raw); err != nil {
		return err
	}
	n, err := tx.q.InsertReconciliation(tx.ctx, sqlc.InsertReconciliationParams{Sha256: s.Hash[:], Peer: peer,
		Since: s.Terms.Since.UnixMicro(), Until: s.Terms.Until.UnixMicro()})
	if err == nil && n == 0 {
		err = ErrExists
	}
	if err != nil {
		return fmt.Errorf("put reconciliation %s: %w", s.Hash.Short(), explain(err))
	}
	return nil
}

// ReconciliationRows gives all rows of table reconciliation.
func (v *View) ReconciliationRows() iter.Seq2[sqlc.Reconciliation, error] {
	return pages(limit.Page, func(last *sqlc.Reconciliation) ([]sqlc.Reconciliation, error) {
		p := sqlc.ReconciliationsFromParams{Sha256: []byte{}, Limit: limit.Page}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.ReconciliationsFrom(v.ctx, p)
	})
}

// HasReconciliationRow tells whether a row of table reconciliation names that statement.
func (v *View) HasReconciliationRow(hash statement.Hash) (bool, error) {
	return there(v.q.ReconciliationByHash(v.ctx, hash[:]))
}

// Dated is a manifest and when it was created.
type Dated struct {
	Manifest statement.Hash
	Created  time.Time
}

// ManifestsBetween gives the manifests that were exchanged with a peer, in either direction, and created from since on and before
// until, sorted by time and hash: at most limit.Page, and only those behind the last one seen, at first the zero value.
func (v *View) ManifestsBetween(peer string, since, until time.Time, last Dated) ([]Dated, error) {
	if last.Created.Before(since) {
		last = Dated{Created: since.Add(-time.Microsecond)}
	}
	rows, err := v.q.ManifestsBetween(v.ctx, sqlc.ManifestsBetweenParams{Peer: peer, Since: since.UnixMicro(), Until: until.UnixMicro(),
		After: last.Created.UnixMicro(), Manifest: last.Manifest[:], Most: limit.Page})
	if err != nil {
		return nil, err
	}
	list := make([]Dated, len(rows))
	for i, r := range rows {
		h, err := toHash(r.Sha256)
		if err != nil {
			return nil, err
		}
		list[i] = Dated{h, time.UnixMicro(r.Created).UTC()}
	}
	return list, nil
}
