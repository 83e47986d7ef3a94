package audit

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/statement"
	"entente.example/internal/store"
	"entente.example/internal/store/sqlc"
)

// stream is a table read alongside another, with one row of look-ahead.
type stream[R any] struct {
	pull func() (R, error, bool)
	stop func()
	row  R
	ok   bool
	err  error
}

func newStream[R any](rows iter.Seq2[R, error]) *stream[R] {
	s := &stream[R]{}
	s.pull, s.stop = iter.Pull2(rows)
	s.next()
	return s
}

func (s *stream[R]) next() {
	if s.row, s.err, s.ok = s.pull(); s.err != nil {
		s.ok = false
	}
}

// begin decides from which leaf on the log is read, and gives the roots of the sizes before.
func (v *homeVerifier) begin() {
	size, err := v.view.Size()
	if v.failed("leaf", err) || v.Since == nil {
		return
	}
	s := v.Since
	when := s.Time.Format(time.RFC3339)
	switch edge, err := v.edgeAt(s.Tree.N); {
	case s.Log != v.log:
		v.report.add(VerifiedFile, "it is about the log %.80q, not about %s", s.Log, v.log)
	case size < s.Tree.N:
		v.report.add(VerifiedFile, "%d leaves were verified on %s, and the log has only %d", s.Tree.N, when, size)
	case err != nil:
		v.report.add("tree", "the hashes of the first %d leaves cannot be read: %v", s.Tree.N, err)
	case edge.root() != s.Tree.Hash:
		v.report.add("tree", "the first %d leaves are not those that were verified on %s", s.Tree.N, when)
	default:
		v.from, v.report.From, v.report.Earlier = s.Tree.N, s.Tree.N, s
		v.earlierRoots()
		return
	}
	v.Since = nil // everything is read, to say where it is
}

// edgeAt gives the frontier of the first n leaves from the stored hashes.
func (v *homeVerifier) edgeAt(n int64) (frontier, error) {
	edge := frontier{size: n}
	var at []int64
	for level, done := 62, int64(0); level >= 0; level-- {
		if n&(1<<level) != 0 {
			at = append(at, tlog.StoredHashIndex(level, done>>level))
			done += 1 << level
		}
	}
	var err error
	if len(at) > 0 {
		edge.roots, err = v.view.Hashes().ReadHashes(at)
	}
	return edge, err
}

// earlierRoots gives the roots of sizes that are not read again, as far as the stored hashes prove that the verified tree extends
// them. What they do not prove is left zero, which is no root.
func (v *homeVerifier) earlierRoots() {
	for n := range v.roots {
		if n > v.from {
			continue
		}
		if n == v.from {
			v.roots[n] = v.Since.Tree.Hash
			continue
		}
		root, err := tlog.TreeHash(n, v.view.Hashes())
		if err == nil && n > 0 {
			var proof tlog.TreeProof
			if proof, err = tlog.ProveTree(v.from, n, v.view.Hashes()); err == nil {
				err = tlog.CheckTree(proof, v.from, v.Since.Tree.Hash, n, root)
			}
		}
		if err == nil {
			v.roots[n] = root
		}
	}
}

// verifyLog reads leaves, tree and private values in one pass. A stored hash is compared with what the hashes below it give, as they
// are stored, so that one change shows as one problem; that the whole is right follows from the root.
func (v *homeVerifier) verifyLog() {
	edge, err := v.edgeAt(v.from)
	if v.failed("tree", err) {
		return
	}
	v.verifyLeaves(&edge, math.MaxInt64)
}

// verifyLeaves reads the log from an edge on, which grows, so many leaves or to the end. It tells whether that was the end, of the log or
// of what can be read of it.
func (v *homeVerifier) verifyLeaves(edge *frontier, most int64) (end bool) {
	hashes := newStream(v.view.TreeRows(tlog.StoredHashCount(edge.size)))
	defer hashes.stop()
	private := newStream(v.view.PrivateRows(edge.size))
	defer private.stop()
	if _, wanted := v.roots[0]; wanted && edge.size == 0 {
		v.roots[0] = edge.root()
	}
	size, _ := v.view.Size() // an error shows again at once
	gap := false
	for r, err := range v.view.LeafRows(edge.size) {
		if v.ctx.Err() != nil {
			return true
		}
		if most == 0 {
			return false
		}
		most--
		if v.failed("leaf", err) {
			gap = true
			break
		}
		if r.Idx != edge.size {
			v.report.add(fmt.Sprintf("leaf %d", edge.size), "it is missing; the next one there is %d", r.Idx)
			gap = true
			break // whatever follows is at another place than it says
		}
		edge.add(tlog.RecordHash(r.Body), func(level int, n int64, want tlog.Hash) tlog.Hash {
			return v.storedHash(hashes, level, n, want)
		})
		if _, wanted := v.roots[edge.size]; wanted {
			v.roots[edge.size] = edge.root()
		}
		v.leaf(r, privateOf(private, r.Idx))
		v.progress("leaves", edge.size, size)
	}
	v.tree = tlog.Tree{N: edge.size, Hash: edge.root()}
	v.report.Leaves, v.report.Root = v.tree.N, v.tree.Hash
	if gap {
		return true
	}
	v.failed("tree", hashes.err)
	if hashes.ok {
		v.report.add(fmt.Sprintf("tree %d", hashes.row.Idx), "a log of %d leaves has no such hash", edge.size)
	}
	v.failed("private", private.err)
	if private.ok {
		v.report.add(fmt.Sprintf("private %d %.40q", private.row.Leaf, private.row.Field), "there is no such leaf")
	}
	return true
}

// storedHash compares the next row of the tree with what must stand there, and gives what the tree goes on with.
func (v *homeVerifier) storedHash(s *stream[sqlc.Tree], level int, n int64, want tlog.Hash) tlog.Hash {
	idx := tlog.StoredHashIndex(level, n)
	for s.ok && s.row.Idx < idx {
		v.report.add(fmt.Sprintf("tree %d", s.row.Idx), "there should be no such hash")
		s.next()
	}
	if !s.ok || s.row.Idx != idx {
		v.report.add(fmt.Sprintf("tree %d", idx), "the hash is missing")
		return want
	}
	got := s.row.Hash
	s.next()
	if bytes.Equal(got, want[:]) {
		return want
	}
	if level == 0 {
		v.report.add(fmt.Sprintf("leaf %d", n), "it does not have the hash that the tree has for it")
	} else {
		v.report.add(fmt.Sprintf("tree %d", idx), "it is not the hash of the two below it")
	}
	if len(got) == len(want) {
		copy(want[:], got)
	}
	return want
}

// privateOf takes the rows of one leaf from the stream, and any of lower leaves that nobody took.
func privateOf(s *stream[sqlc.Private], leaf int64) (rows []sqlc.Private) {
	for s.ok && s.row.Leaf <= leaf {
		rows = append(rows, s.row)
		s.next()
	}
	return rows
}

func (v *homeVerifier) leaf(r sqlc.Leaf, private []sqlc.Private) {
	where := fmt.Sprintf("leaf %d", r.Idx)
	l, err := statement.ParseLeaf(r.Body)
	if err != nil {
		v.report.add(where, "%v", err)
		return
	}
	v.equal(where, "at", r.At, l.Time.UnixMicro())
	if !bytes.Equal(r.About, about(l)) {
		v.report.add(where, "the column about is not the hash that the leaf names")
	}
	opened := 0
	for _, p := range private {
		c := statement.Committed{Field: p.Field, Value: p.Value}
		copy(c.Salt[:], p.Salt)
		if p.Leaf != r.Idx || len(p.Salt) != len(c.Salt) || l.Private[p.Field] != c.Commitment() {
			v.report.add(fmt.Sprintf("private %d %.40q", p.Leaf, p.Field), "it is not what the leaf is committed to")
			continue
		}
		opened++
	}
	if opened != len(l.Private) {
		v.report.add(where, "%d of the %d private fields that it is committed to are there", opened, len(l.Private))
	}
	v.adoption(where, l)
	v.count(where, l)
	switch {
	case l.Manifest != nil:
		v.newest(where, r.Idx, *l.Manifest)
	case aboutExchange[l.Kind]:
		v.report.add(where, "a leaf %q must name the manifest that it is about", l.Kind)
	case l.Kind == statement.EventWaiting: // its decision is compared with the draft, see verifyWaiting
	default:
		v.decision(where, r.Idx, l, nil)
	}
}

// about is what the column of that name must hold.
func about(l statement.Leaf) []byte {
	switch {
	case l.Manifest != nil:
		return l.Manifest[:]
	case l.Statement != nil:
		return l.Statement[:]
	}
	return nil
}

// newest has the dossier of a manifest verified when its newest leaf is read, if not all dossiers are anyway.
func (v *homeVerifier) newest(where string, idx int64, manifest statement.Hash) {
	if v.from == 0 {
		return
	}
	for _, err := range v.view.LeavesAbout(manifest[:], idx+1) {
		v.failed(where, err)
		return // a later leaf is about it too
	}
	v.dossier(manifest[:])
}

// counts are numbers of rows.
type counts struct{ Manifests, Exchanges, Receipts int64 }

// count adds the rows that a leaf's transaction made.
func (v *homeVerifier) count(where string, l statement.Leaf) {
	switch l.Kind {
	case statement.EventReleased:
		v.grown.Manifests++
		v.grown.Exchanges += int64(len(l.Peers))
	case statement.EventReceived, statement.EventRefused:
		v.grown.Receipts++
		if l.Kind == statement.EventRefused && l.Manifest != nil { // there is no row if its id was taken
			if _, err := v.view.ManifestRow(l.Manifest[:]); errors.Is(err, store.ErrNotFound) || v.failed(where, err) {
				return
			}
		}
		v.grown.Manifests++
		v.grown.Exchanges++
	case statement.EventOpened, statement.EventUndecryptable, statement.EventDelivered, statement.EventReturned, statement.EventConfirmed:
		v.grown.Receipts++
	}
}

// verifyCounts compares the numbers of rows with what the leaves say. It is all that is seen of rows that were not read again.
func (v *homeVerifier) verifyCounts() {
	row, err := v.view.Counts()
	if v.failed("database", err) {
		return
	}
	got := counts{row.Manifests, row.Exchanges, row.Receipts}
	v.report.rows = got
	if v.from == 0 {
		return // each row was looked at
	}
	want := v.grown
	want.Manifests += v.Since.Rows.Manifests
	want.Exchanges += v.Since.Rows.Exchanges
	want.Receipts += v.Since.Rows.Receipts
	if got != want {
		v.report.add("database", "it has %d manifests, %d exchanges and %d receipts, and the log speaks of %d, %d and %d",
			got.Manifests, got.Exchanges, got.Receipts, want.Manifests, want.Exchanges, want.Receipts)
	}
}
