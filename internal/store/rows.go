package store

import (
	"database/sql"
	"errors"
	"iter"
	"math"
	"slices"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// The iterators of this file give every row of a table as it stands, damaged or not, for whoever verifies. They read page
// by page, sorted by primary key, and end after the first error. Hash columns may have any length here.

// pageRows is how many rows are read at once where one may hold 64 KiB or more.
const pageRows = 100

// StatementRows gives the rows of table statement from a hash on, each with the number of rows that name it; all for an empty one.
func (v *View) StatementRows(from []byte) iter.Seq2[sqlc.StatementsFromRow, error] {
	return pages(pageRows, func(last *sqlc.StatementsFromRow) ([]sqlc.StatementsFromRow, error) {
		p := sqlc.StatementsFromParams{Sha256: key(from), Limit: pageRows}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.StatementsFrom(v.ctx, p)
	})
}

// CharterRows gives all rows of table charter with their statements.
func (v *View) CharterRows() ([]sqlc.ChartersRow, error) { return v.q.Charters(v.ctx) }

// AmendmentRows gives all rows of table amendment with their statements.
func (v *View) AmendmentRows() ([]sqlc.AmendmentsRow, error) { return v.q.Amendments(v.ctx) }

// CardRows gives all rows of table card with their statements.
func (v *View) CardRows() ([]sqlc.CardsRow, error) { return v.q.Cards(v.ctx) }

// AgreementRows gives all rows of table agreement with their statements.
func (v *View) AgreementRows() ([]sqlc.AgreementsRow, error) { return v.q.Agreements(v.ctx) }

// HasCharterRow tells whether a row of table charter names that statement.
func (v *View) HasCharterRow(hash statement.Hash) (bool, error) {
	return there(v.q.CharterByHash(v.ctx, hash[:]))
}

// HasAmendmentRow tells whether a row of table amendment names that statement.
func (v *View) HasAmendmentRow(hash statement.Hash) (bool, error) {
	return there(v.q.AmendmentByHash(v.ctx, hash[:]))
}

// HasCardRow tells whether a row of table card names that statement.
func (v *View) HasCardRow(hash statement.Hash) (bool, error) {
	return there(v.q.CardByHash(v.ctx, hash[:]))
}

// HasAgreementRow tells whether a row of table agreement names that statement.
func (v *View) HasAgreementRow(hash statement.Hash) (bool, error) {
	return there(v.q.AgreementByHash(v.ctx, hash[:]))
}

func there[R any](_ R, err error) (bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// CaseRows gives, sorted and each once, every hash that a row of manifest, exchange or receipt names as its manifest, and
// every hash that a leaf is about, which may be a statement's: from a hash on, or all for an empty one.
func (v *View) CaseRows(from []byte) iter.Seq2[[]byte, error] {
	return pages(limit.Page, func(last *[]byte) ([][]byte, error) {
		p := sqlc.CasesFromParams{First: key(from), Most: limit.Page}
		if last != nil {
			p.First = next(*last)
		}
		return v.q.CasesFrom(v.ctx, p)
	})
}

// ManifestRow gives the row of table manifest with that hash, or ErrNotFound.
func (v *View) ManifestRow(manifest []byte) (sqlc.Manifest, error) {
	return row(v.q.ManifestRow(v.ctx, manifest))
}

// ReceiptsOf gives the rows of table receipt with that manifest.
func (v *View) ReceiptsOf(manifest []byte) ([]sqlc.Receipt, error) {
	return v.q.ReceiptsAbout(v.ctx, manifest)
}

// Counts gives the numbers of rows of manifest, exchange and receipt.
func (v *View) Counts() (sqlc.CountsRow, error) { return v.q.Counts(v.ctx) }

// ExchangesOf gives the rows of table exchange with that manifest.
func (v *View) ExchangesOf(manifest []byte) ([]sqlc.ExchangesOfRow, error) {
	return v.q.ExchangesOf(v.ctx, manifest)
}

// OutboxRows gives the rows of table outbox behind one, or all for nil.
func (v *View) OutboxRows(behind *sqlc.Outbox) iter.Seq2[sqlc.Outbox, error] {
	return pages(limit.Page, func(last *sqlc.Outbox) ([]sqlc.Outbox, error) {
		p := sqlc.OutboxFromParams{Statement: []byte{}, Most: limit.Page}
		if last == nil {
			last = behind
		}
		if last != nil {
			p.Peer, p.Kind, p.Statement = last.Peer, last.Kind, next(last.Statement)
		}
		return v.q.OutboxFrom(v.ctx, p)
	})
}

// LeafRows gives the rows of table leaf from an index on, or all for a negative one.
func (v *View) LeafRows(from int64) iter.Seq2[sqlc.Leaf, error] {
	return pages(limit.Page, func(last *sqlc.Leaf) ([]sqlc.Leaf, error) {
		p := sqlc.LeavesFromParams{Idx: least(from), Limit: limit.Page}
		if last != nil {
			p.Idx = last.Idx + 1
		}
		return v.q.LeavesFrom(v.ctx, p)
	})
}

// LeavesAbout gives the leaves about a manifest, or about another statement, from an index on, oldest first.
func (v *View) LeavesAbout(hash []byte, from int64) iter.Seq2[sqlc.LeavesAboutRow, error] {
	return pages(limit.Page, func(last *sqlc.LeavesAboutRow) ([]sqlc.LeavesAboutRow, error) {
		p := sqlc.LeavesAboutParams{About: hash, Idx: from, Limit: limit.Page}
		if last != nil {
			p.Idx = last.Idx + 1
		}
		return v.q.LeavesAbout(v.ctx, p)
	})
}

// PrivateRows gives the rows of table private from a leaf on, or all for a negative one.
func (v *View) PrivateRows(from int64) iter.Seq2[sqlc.Private, error] {
	return pages(pageRows, func(last *sqlc.Private) ([]sqlc.Private, error) {
		p := sqlc.PrivateAfterParams{Leaf: least(from), Most: pageRows}
		if from > 0 {
			p.Leaf, p.Field = from-1, "\U0010ffff" // behind every field of the leaf before
		}
		if last != nil {
			p.Leaf, p.Field = last.Leaf, last.Field
		}
		return v.q.PrivateAfter(v.ctx, p)
	})
}

// PrivateField gives the value of one private field of a leaf, or ErrNotFound.
func (v *View) PrivateField(leaf int64, field string) ([]byte, error) {
	return row(v.q.PrivateField(v.ctx, sqlc.PrivateFieldParams{Leaf: leaf, Field: field}))
}

// TreeRows gives the rows of table tree from an index on, or all for a negative one.
func (v *View) TreeRows(from int64) iter.Seq2[sqlc.Tree, error] {
	return pages(limit.Page, func(last *sqlc.Tree) ([]sqlc.Tree, error) {
		p := sqlc.HashesFromParams{Idx: least(from), Limit: limit.Page}
		if last != nil {
			p.Idx = last.Idx + 1
		}
		return v.q.HashesFrom(v.ctx, p)
	})
}

// least makes room for rows under 0, which only damage makes.
func least(from int64) int64 {
	if from <= 0 {
		return math.MinInt64
	}
	return from
}

// CheckpointRows gives all rows of table checkpoint.
func (v *View) CheckpointRows() ([]sqlc.Checkpoint, error) { return v.q.Checkpoints(v.ctx) }

// CosignedSizes gives the sizes of all co-signed checkpoints.
func (v *View) CosignedSizes() ([]int64, error) { return v.q.CosignedSizes(v.ctx) }

// CosignedRows gives all rows of table cosigned. A page of them may take some megabytes.
func (v *View) CosignedRows() iter.Seq2[sqlc.Cosigned, error] {
	return func(yield func(sqlc.Cosigned, error) bool) {
		last := int64(math.MinInt64)
		for {
			page, err := v.q.CosignedFrom(v.ctx, sqlc.CosignedFromParams{Size: last, Limit: limit.Page / 10})
			if err != nil {
				yield(sqlc.Cosigned{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
				last = r.Size
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// HasForkRow tells whether there is a row of that proof.
func (v *View) HasForkRow(hash statement.Hash) (bool, error) {
	n, err := v.q.CountFork(v.ctx, hash[:])
	return n > 0, err
}

// pages iterates over what after gives for the last row of the page before, at first for nil: size rows, or fewer at the end.
func pages[R any](size int, after func(last *R) ([]R, error)) iter.Seq2[R, error] {
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
			if len(page) < size {
				return
			}
			last = &page[len(page)-1]
		}
	}
}

// next gives the key that follows directly upon another. So a table is read from the empty key on, and a row that has it is not
// passed over.
func next(key []byte) []byte { return append(slices.Clip(key), 0) }

// key is a key that a query can compare with: NULL is like nothing.
func key(k []byte) []byte {
	if k == nil {
		return []byte{}
	}
	return k
}
