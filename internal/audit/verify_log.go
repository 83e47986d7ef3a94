package audit

import (
	"bytes"
	"fmt"
	"iter"

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

// verifyLog reads leaves, tree and private values in one pass. A stored hash is compared with what the hashes below it give, as they
// are stored, so that one change shows as one problem; that the whole is right follows from the root.
func (v *homeVerifier) verifyLog() {
	hashes := newStream(v.view.TreeRows())
	defer hashes.stop()
	private := newStream(v.view.PrivateRows())
	defer private.stop()
	var edge frontier
	if _, wanted := v.roots[0]; wanted {
		v.roots[0] = edge.root()
	}
	gap := false
	for r, err := range v.view.LeafRows() {
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
	}
	v.tree = tlog.Tree{N: edge.size, Hash: edge.root()}
	v.report.Leaves, v.report.Root = v.tree.N, v.tree.Hash
	if gap {
		return
	}
	v.failed("tree", hashes.err)
	if hashes.ok {
		v.report.add(fmt.Sprintf("tree %d", hashes.row.Idx), "a log of %d leaves has no such hash", edge.size)
	}
	v.failed("private", private.err)
	if private.ok {
		v.report.add(fmt.Sprintf("private %d %.40q", private.row.Leaf, private.row.Field), "there is no such leaf")
	}
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
	e := &entry{index: r.Idx, id: l.ID, peers: l.Peers}
	if l.Manifest != nil {
		e.manifest = *l.Manifest
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
		if p.Field == store.SaltField {
			e.salt = p.Value
		}
	}
	if opened != len(l.Private) {
		v.report.add(where, "%d of the %d private fields that it is committed to are there", opened, len(l.Private))
	}
	v.remember(where, l, e)
}

// remember files a leaf under the fact that it records.
func (v *homeVerifier) remember(where string, l statement.Leaf, e *entry) {
	subject := map[statement.EventKind]*statement.Hash{
		statement.EventCharter: l.Statement, statement.EventCard: l.Statement, statement.EventAgreement: l.Statement,
		statement.EventReleased: l.Manifest, statement.EventReceived: l.Manifest, statement.EventRefused: l.Manifest,
		statement.EventOpened: l.Manifest, statement.EventUndecryptable: l.Manifest, statement.EventExpired: l.Manifest,
		statement.EventDelivered: l.Receipt, statement.EventReturned: l.Receipt, statement.EventConfirmed: l.Receipt,
	}
	hash, hasRow := subject[l.Kind]
	if !hasRow {
		return // denied, reopened, rejected: the leaf is all there is
	}
	if hash == nil {
		v.report.add(where, "a leaf %q must name what it is about", l.Kind)
		return
	}
	f := fact{kind: l.Kind, hash: *hash}
	switch l.Kind {
	case statement.EventExpired:
		f.peer = onlyPeer(l.Peers)
		v.states[fact{hash: e.manifest, peer: f.peer}] = store.Expired
	case statement.EventDelivered:
		v.states[fact{hash: e.manifest, peer: onlyPeer(l.Peers)}] = store.Delivered
	case statement.EventReturned:
		v.states[fact{hash: e.manifest, peer: onlyPeer(l.Peers)}] = store.Refused
	case statement.EventReceived:
		v.states[fact{hash: e.manifest, peer: v.self}] = store.Stored
	case statement.EventRefused:
		v.states[fact{hash: e.manifest, peer: v.self}] = store.Refused
	case statement.EventOpened:
		v.states[fact{hash: e.manifest, peer: v.self}] = store.Opened
	case statement.EventUndecryptable:
		v.states[fact{hash: e.manifest, peer: v.self}] = store.Undecryptable
	}
	if first := v.facts[f]; first != nil {
		v.report.add(where, "it records what leaf %d records", first.index)
		return
	}
	v.facts[f] = e
}

// onlyPeer gives the one peer of a leaf that must have one; several match no row.
func onlyPeer(peers []string) string {
	if len(peers) != 1 {
		return ""
	}
	return peers[0]
}

// verifyLeaves reports the leaves that no row belongs to.
func (v *homeVerifier) verifyLeaves() {
	for f, e := range v.facts {
		if f.kind == statement.EventExpired && !e.matched {
			// The row is the exchange itself, whose state was compared; it only has to exist.
			if _, err := v.view.Exchange(f.hash, f.peer); err == nil {
				continue
			}
		}
		if !e.matched {
			v.report.add(fmt.Sprintf("leaf %d", e.index), "it says %q, and the row about that is missing", f.kind)
		}
	}
}
