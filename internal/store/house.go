package store

import (
	"fmt"
	"iter"

	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// House gives the text of house rules that something was decided by, or ErrNotFound.
func (v *View) House(hash statement.Hash) (string, error) { return row(v.q.House(v.ctx, hash[:])) }

// HouseRows gives all rows of table house.
func (v *View) HouseRows() iter.Seq2[sqlc.House, error] {
	return pages(pageRows, func(last *sqlc.House) ([]sqlc.House, error) {
		p := sqlc.HouseFromParams{Sha256: []byte{}, Limit: pageRows}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.HouseFrom(v.ctx, p)
	})
}

// PutHouse keeps the text of house rules. It may be there already. It is no fact: what was decided by it is.
func (tx *Tx) PutHouse(hash statement.Hash, text string) error {
	if err := tx.q.InsertHouse(tx.ctx, sqlc.InsertHouseParams{Sha256: hash[:], Text: text}); err != nil {
		return fmt.Errorf("put house rules %s: %w", hash.Short(), explain(err))
	}
	return nil
}
