package store

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// Size is the number of leaves.
func (v *View) Size() (int64, error) { return v.q.Size(v.ctx) }

// Leaf gives one leaf, or ErrNotFound.
func (v *View) Leaf(index int64) ([]byte, error) { return row(v.q.Leaf(v.ctx, index)) }

// Leaves gives consecutive leaves from an index on, at most `most` and at most limit.Page; none behind the end.
func (v *View) Leaves(from int64, most int) ([][]byte, error) {
	rows, err := v.q.Leaves(v.ctx, sqlc.LeavesParams{Idx: from, Limit: int32(min(most, limit.Page))})
	if err != nil {
		return nil, err
	}
	leaves := make([][]byte, len(rows))
	for i, r := range rows {
		if r.Idx != from+int64(i) {
			return nil, fmt.Errorf("read leaves: leaf %d is missing; run: entente audit verify", from+int64(i))
		}
		leaves[i] = r.Body
	}
	return leaves, nil
}

// Indexed is a leaf with its index.
type Indexed struct {
	Index int64
	Body  []byte
}

// LeavesOf gives the leaves about one manifest in the order of the log, at most limit.Page.
func (v *View) LeavesOf(manifest statement.Hash) ([]Indexed, error) {
	rows, err := v.q.LeavesAbout(v.ctx, sqlc.LeavesAboutParams{About: manifest[:], Limit: limit.Page})
	if err != nil {
		return nil, err
	}
	list := make([]Indexed, len(rows))
	for i, r := range rows {
		list[i] = Indexed{r.Idx, r.Body}
	}
	return list, nil
}

// Instant is a leaf with its time, from which LeavesBetween goes on.
type Instant struct {
	Indexed
	At time.Time
}

// LeavesBetween gives the leaves with times from since until before until, sorted by time and index, at most limit.Page and only those
// behind the last one seen; the first page is the one behind Instant{At: since, Indexed: Indexed{Index: -1}}.
func (v *View) LeavesBetween(since, until time.Time, last Instant) ([]Instant, error) {
	rows, err := v.q.LeavesBetween(v.ctx, sqlc.LeavesBetweenParams{Since: since.UnixMicro(), Until: until.UnixMicro(),
		After: last.At.UnixMicro(), Idx: last.Index, Most: limit.Page})
	if err != nil {
		return nil, err
	}
	list := make([]Instant, len(rows))
	for i, r := range rows {
		list[i] = Instant{Indexed{r.Idx, r.Body}, time.UnixMicro(r.At).UTC()}
	}
	return list, nil
}

// Private gives what stands behind the commitments of a leaf, sorted by field.
func (v *View) Private(leaf int64) ([]statement.Committed, error) {
	rows, err := v.q.Private(v.ctx, leaf)
	if err != nil {
		return nil, err
	}
	list := make([]statement.Committed, len(rows))
	for i, r := range rows {
		salt, err := toHash(r.Salt)
		if err != nil {
			return nil, err
		}
		list[i] = statement.Committed{Field: r.Field, Salt: salt, Value: r.Value}
	}
	return list, nil
}

// Hashes reads the stored hashes of the Merkle tree, for tlog.TreeHash and for proofs. It is valid as long as the view.
func (v *View) Hashes() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, idx := range indexes {
			b, err := row(v.q.Hash(v.ctx, idx))
			if err != nil {
				return nil, fmt.Errorf("read hash %d of the tree: %w", idx, err)
			}
			h, err := toHash(b)
			if err != nil {
				return nil, err
			}
			hashes[i] = tlog.Hash(h)
		}
		return hashes, nil
	})
}

// Root gives the size of the tree and its root.
func (v *View) Root() (tlog.Tree, error) {
	size, err := v.Size()
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.TreeHash(size, v.Hashes())
	return tlog.Tree{N: size, Hash: root}, err
}

// Checkpoint gives the newest checkpoint as it was signed, with the size that its row names, or ErrNotFound.
func (v *View) Checkpoint() (size int64, note []byte, err error) {
	r, err := row(v.q.Checkpoint(v.ctx))
	return r.Size, r.Note, err
}

// PutCheckpoint replaces the checkpoint. A smaller one than is there has no effect.
func (tx *Tx) PutCheckpoint(size int64, note []byte) error {
	if err := tx.q.InsertCheckpoint(tx.ctx, sqlc.InsertCheckpointParams{Size: size, Note: note}); err != nil {
		return fmt.Errorf("put checkpoint: %w", explain(err))
	}
	largest, _, err := tx.Checkpoint()
	if err != nil {
		return fmt.Errorf("put checkpoint: %w", err)
	}
	if err := tx.q.DeleteCheckpointsBelow(tx.ctx, largest); err != nil {
		return fmt.Errorf("put checkpoint: %w", explain(err))
	}
	return nil
}

// SaltField is the private field of a leaf `released` or `waiting` that holds the salt of the manifest's content commitment.
const SaltField = "salt"

// Record appends the leaf of an event to the log, keeps its private fields with fresh salts, and gives the leaf's index.
// The time is the event's. The index is final once the Update has committed; until then a crash leaves neither the leaf
// nor anything else of the transaction. Record costs one pass over the right edge of the tree, at most 63 reads.
//
// The leaves `released` and `waiting` commit to the salt of the manifest too, as the private field SaltField, so that a salt that was
// changed later is found. So PutManifest or PutWaiting comes before it.
func (tx *Tx) Record(e statement.Event) (int64, error) {
	index, err := tx.Size()
	if err != nil {
		return 0, fmt.Errorf("record %s: %w", e.Kind, err)
	}
	if e.Kind == statement.EventReleased || e.Kind == statement.EventWaiting {
		salt, err := tx.saltOf(e)
		if err != nil {
			return 0, fmt.Errorf("record %s: read the salt of what it is about: %w", e.Kind, err)
		}
		e.Private = append(slices.Clone(e.Private), statement.Private{Field: SaltField, Value: salt})
	}
	leaf, private, err := e.Leaf(newSalt)
	if err != nil {
		return 0, fmt.Errorf("record %s: %w", e.Kind, err)
	}
	if err := tx.append(sqlc.InsertLeafParams{Idx: index, At: e.Time.UTC().Truncate(time.Second).UnixMicro(), Body: leaf, About: about(e)}, private); err != nil {
		return 0, fmt.Errorf("record %s as leaf %d: %w", e.Kind, index, explain(err))
	}
	return index, nil
}

// saltOf gives the salt that a leaf commits to.
func (tx *Tx) saltOf(e statement.Event) ([]byte, error) {
	if e.Kind == statement.EventReleased {
		return tx.Salt(e.Manifest)
	}
	r, err := row(tx.q.Waiting(tx.ctx, e.Statement[:]))
	return present(r.Salt, err)
}

func newSalt() (salt [32]byte) {
	_, _ = rand.Read(salt[:]) // never fails: without randomness the program ends
	return salt
}

// about gives what the column of that name holds.
func about(e statement.Event) []byte {
	switch {
	case !e.Manifest.IsZero():
		return e.Manifest[:]
	case !e.Statement.IsZero():
		return e.Statement[:]
	}
	return nil
}

func (tx *Tx) append(leaf sqlc.InsertLeafParams, private []statement.Committed) error {
	index := leaf.Idx
	if err := tx.q.InsertLeaf(tx.ctx, leaf); err != nil {
		return err
	}
	for _, p := range private {
		value := p.Value
		if value == nil {
			value = []byte{} // an empty value, not NULL
		}
		if err := tx.q.InsertPrivate(tx.ctx, sqlc.InsertPrivateParams{Leaf: index, Field: p.Field, Salt: p.Salt[:], Value: value}); err != nil {
			return err
		}
	}
	hashes, err := tlog.StoredHashes(index, leaf.Body, tx.Hashes())
	if err != nil {
		return err
	}
	first := tlog.StoredHashIndex(0, index)
	for i, h := range hashes {
		if err := tx.q.InsertHash(tx.ctx, sqlc.InsertHashParams{Idx: first + int64(i), Hash: h[:]}); err != nil {
			return err
		}
	}
	return nil
}
