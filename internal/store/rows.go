package store

import (
	"iter"
	"math"
	"slices"

	"entente.example/internal/limit"
	"entente.example/internal/store/sqlc"
)

// The iterators of this file give every row of a table as it stands, damaged or not, for whoever verifies. They read page
// by page, sorted by primary key, and end after the first error. Hash columns may have any length here.

// StatementRows gives all rows of table statement.
func (v *View) StatementRows() iter.Seq2[sqlc.Statement, error] {
	return pages(func(last *sqlc.Statement) ([]sqlc.Statement, error) {
		p := sqlc.StatementsFromParams{Sha256: []byte{}, Limit: limit.Page}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.StatementsFrom(v.ctx, p)
	})
}

// CharterRows gives all rows of table charter with their statements.
func (v *View) CharterRows() ([]sqlc.ChartersRow, error) { return v.q.Charters(v.ctx) }

// CardRows gives all rows of table card with their statements.
func (v *View) CardRows() ([]sqlc.CardsRow, error) { return v.q.Cards(v.ctx) }

// AgreementRows gives all rows of table agreement with their statements.
func (v *View) AgreementRows() ([]sqlc.AgreementsRow, error) { return v.q.Agreements(v.ctx) }

// ManifestRows gives all rows of table manifest.
func (v *View) ManifestRows() iter.Seq2[sqlc.Manifest, error] {
	return pages(func(last *sqlc.Manifest) ([]sqlc.Manifest, error) {
		p := sqlc.ManifestsFromParams{Sha256: []byte{}, Limit: limit.Page}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.ManifestsFrom(v.ctx, p)
	})
}

// ExchangesOf gives the rows of table exchange with that manifest.
func (v *View) ExchangesOf(manifest []byte) ([]sqlc.ExchangesOfRow, error) {
	return v.q.ExchangesOf(v.ctx, manifest)
}

// ReceiptRows gives all rows of table receipt.
func (v *View) ReceiptRows() iter.Seq2[sqlc.Receipt, error] {
	return pages(func(last *sqlc.Receipt) ([]sqlc.Receipt, error) {
		p := sqlc.ReceiptsFromParams{Sha256: []byte{}, Limit: limit.Page}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.ReceiptsFrom(v.ctx, p)
	})
}

// OutboxRows gives all rows of table outbox.
func (v *View) OutboxRows() iter.Seq2[sqlc.Outbox, error] {
	return pages(func(last *sqlc.Outbox) ([]sqlc.Outbox, error) {
		p := sqlc.OutboxFromParams{Statement: []byte{}, Most: limit.Page}
		if last != nil {
			p.Peer, p.Kind, p.Statement = last.Peer, last.Kind, next(last.Statement)
		}
		return v.q.OutboxFrom(v.ctx, p)
	})
}

// LeafRows gives all rows of table leaf.
func (v *View) LeafRows() iter.Seq2[sqlc.Leaf, error] {
	return pages(func(last *sqlc.Leaf) ([]sqlc.Leaf, error) {
		p := sqlc.LeavesParams{Idx: math.MinInt64, Limit: limit.Page}
		if last != nil {
			p.Idx = last.Idx + 1
		}
		return v.q.Leaves(v.ctx, p)
	})
}

// PrivateRows gives all rows of table private.
func (v *View) PrivateRows() iter.Seq2[sqlc.Private, error] {
	return pages(func(last *sqlc.Private) ([]sqlc.Private, error) {
		p := sqlc.PrivateAfterParams{Leaf: math.MinInt64, Most: limit.Page}
		if last != nil {
			p.Leaf, p.Field = last.Leaf, last.Field
		}
		return v.q.PrivateAfter(v.ctx, p)
	})
}

// TreeRows gives all rows of table tree.
func (v *View) TreeRows() iter.Seq2[sqlc.Tree, error] {
	return pages(func(last *sqlc.Tree) ([]sqlc.Tree, error) {
		p := sqlc.HashesFromParams{Idx: math.MinInt64, Limit: limit.Page}
		if last != nil {
			p.Idx = last.Idx + 1
		}
		return v.q.HashesFrom(v.ctx, p)
	})
}

// CheckpointRows gives all rows of table checkpoint.
func (v *View) CheckpointRows() ([]sqlc.Checkpoint, error) { return v.q.Checkpoints(v.ctx) }

// pages iterates over what after gives for the last row of the page before, at first for nil.
func pages[R any](after func(last *R) ([]R, error)) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var last *R
		for {
			page, err := after(last)
			if err != nil {
				var none R
				yield(none, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
			if len(page) < limit.Page {
				return
			}
			last = &page[len(page)-1]
		}
	}
}

// next gives the key that follows directly upon another. So a table is read from the empty key on, and a row that has it is not
// passed over.
func next(key []byte) []byte { return append(slices.Clip(key), 0) }
