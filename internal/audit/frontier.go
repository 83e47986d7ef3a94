package audit

import "golang.org/x/mod/sumdb/tlog"

// frontier is the right edge of a growing tree: the roots of its complete subtrees, largest first.
type frontier struct {
	size  int64
	roots []tlog.Hash
}

// add appends a leaf. It calls stored for each hash that the leaf completes, its own first, with level and number as in
// tlog.StoredHashIndex, and goes on with what that returns.
func (f *frontier) add(leaf tlog.Hash, stored func(level int, n int64, want tlog.Hash) tlog.Hash) {
	h := stored(0, f.size, leaf)
	n := f.size
	for level := 1; n&1 == 1; level++ {
		n >>= 1
		last := len(f.roots) - 1
		h = stored(level, n, tlog.NodeHash(f.roots[last], h))
		f.roots = f.roots[:last]
	}
	f.roots = append(f.roots, h)
	f.size++
}

// root is the root of the tree so far.
func (f *frontier) root() tlog.Hash {
	if f.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // reads nothing
		return h
	}
	h := f.roots[len(f.roots)-1]
	for i := len(f.roots) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.roots[i], h)
	}
	return h
}

// Frontier computes the root of a log leaf by leaf, in memory that grows with the logarithm of its size. The zero value is an empty log.
type Frontier struct{ edge frontier }

// Add appends a leaf, by its hash as tlog.RecordHash gives it.
func (f *Frontier) Add(leaf tlog.Hash) {
	f.edge.add(leaf, func(_ int, _ int64, h tlog.Hash) tlog.Hash { return h })
}

// Size is the number of leaves.
func (f *Frontier) Size() int64 { return f.edge.size }

// Root is the root of the log so far. RFC 9162, section 2.1.1.
func (f *Frontier) Root() tlog.Hash { return f.edge.root() }
