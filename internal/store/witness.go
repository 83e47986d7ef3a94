package store

import (
	"fmt"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// Cosigned is a checkpoint of our log with one quorum's co-signatures.
type Cosigned struct {
	Size int64
	At   time.Time // when we had the quorum, by our clock
	Note []byte
}

// PutCosigned adds a co-signed checkpoint. If there is one of that size the first one stays: it says since when.
func (tx *Tx) PutCosigned(c Cosigned) error {
	if err := tx.q.InsertCosigned(tx.ctx, sqlc.InsertCosignedParams{Size: c.Size, At: c.At.UnixMicro(), Note: c.Note}); err != nil {
		return fmt.Errorf("put co-signed checkpoint: %w", explain(err))
	}
	return nil
}

// ExtendCosigned replaces a co-signed checkpoint by the same with more co-signatures, or adds it if before was not put yet: then that has no
// effect any more. If there was another one of that size, it stays.
func (tx *Tx) ExtendCosigned(c Cosigned, before []byte) error {
	if err := tx.PutCosigned(Cosigned{Size: c.Size, At: c.At, Note: before}); err != nil {
		return err
	}
	if err := tx.q.ExtendCosigned(tx.ctx, sqlc.ExtendCosignedParams{Size: c.Size, Note: c.Note, Before: before}); err != nil {
		return fmt.Errorf("extend co-signed checkpoint: %w", explain(err))
	}
	return nil
}

// ThinCosigned keeps, of the co-signed checkpoints, the newest, the first of each second, and the fewer the older they are at now: see
// limit.CosignedSpans. It is bookkeeping, for a node to do from time to time.
func (tx *Tx) ThinCosigned(now time.Time) (removed int64, err error) {
	for _, s := range limit.CosignedSpans {
		n, err := tx.q.ThinCosigned(tx.ctx, sqlc.ThinCosignedParams{Older: now.Add(-s.Older).UnixMicro(), Span: s.Span.Microseconds()})
		if err != nil {
			return 0, fmt.Errorf("thin out co-signed checkpoints: %w", explain(err))
		}
		removed += n
	}
	return removed, nil
}

// CosignedAfter gives the first co-signed checkpoint that covers the leaf of that index, or ErrNotFound.
func (v *View) CosignedAfter(leaf int64) (Cosigned, error) {
	rows, err := v.q.CosignedFrom(v.ctx, sqlc.CosignedFromParams{Size: leaf, Limit: 1})
	if err != nil {
		return Cosigned{}, err
	}
	if len(rows) == 0 {
		return Cosigned{}, ErrNotFound
	}
	return Cosigned{rows[0].Size, time.UnixMicro(rows[0].At).UTC(), rows[0].Note}, nil
}

// NewestCosigned gives the co-signed checkpoint of the largest tree, or ErrNotFound.
func (v *View) NewestCosigned() (Cosigned, error) {
	r, err := row(v.q.NewestCosigned(v.ctx))
	return Cosigned{r.Size, time.UnixMicro(r.At).UTC(), r.Note}, err
}

// Witness is what is known of a witness of our log.
type Witness struct {
	Name      string
	Size      int64     // that it last co-signed
	At        time.Time // when, by its clock; the zero time if never
	Asked     time.Time // when we last asked it
	LastError string    // of the last question, or empty
}

// PutWitness notes what is known of a witness. It is bookkeeping and needs no leaf.
func (tx *Tx) PutWitness(w Witness) error {
	err := tx.q.PutWitness(tx.ctx, sqlc.PutWitnessParams{Name: w.Name, Size: w.Size, At: micro(w.At), Asked: micro(w.Asked), LastError: w.LastError})
	if err != nil {
		return fmt.Errorf("put witness %s: %w", w.Name, explain(err))
	}
	return nil
}

// micro keeps the zero time as 0.
func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicro(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// Witnesses gives what is known of the witnesses, sorted by name.
func (v *View) Witnesses() ([]Witness, error) {
	rows, err := v.q.Witnesses(v.ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Witness, len(rows))
	for i, r := range rows {
		list[i] = Witness{r.Name, r.Size, fromMicro(r.At), fromMicro(r.Asked), r.LastError}
	}
	return list, nil
}

// Fork is a stored proof that a log forked.
type Fork struct {
	Hash statement.Hash // SHA-256 of Raw
	Log  string
	Raw  []byte
}

// PutFork keeps a proof that a log forked, which the caller has verified. ErrExists if it is there.
func (tx *Tx) PutFork(log string, raw []byte) (statement.Hash, error) {
	hash := statement.HashBytes(raw)
	n, err := tx.q.InsertFork(tx.ctx, sqlc.InsertForkParams{Sha256: hash[:], Log: log, Raw: raw})
	if err != nil {
		return hash, fmt.Errorf("put fork of %s: %w", log, explain(err))
	}
	if n == 0 {
		return hash, fmt.Errorf("put fork of %s: it %w", log, ErrExists)
	}
	return hash, nil
}

// Forks gives all proofs, sorted by log, or those of one log if one is named.
func (v *View) Forks(log string) ([]Fork, error) {
	rows, err := v.q.Forks(v.ctx)
	if log != "" {
		rows, err = v.q.ForksOf(v.ctx, log)
	}
	if err != nil {
		return nil, err
	}
	list := make([]Fork, len(rows))
	for i, r := range rows {
		h, err := toHash(r.Sha256)
		if err != nil {
			return nil, err
		}
		list[i] = Fork{h, r.Log, r.Raw}
	}
	return list, nil
}
