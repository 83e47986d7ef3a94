package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Entry is one leaf of a member's log that is to be compared, and its index there.
type Entry struct {
	Index int64
	Leaf  statement.Leaf
}

// Book is what one party says of its log: the tree of its newest checkpoint, and its leaves about the other party, in the
// order of the log. Which leaves belong into it is in docs/formats/reconciliation.md; a party that leaves one out, or puts one in
// that is not in its log, signs that as well.
type Book struct {
	Member  string
	Log     string // its name, MEMBER/log/N
	Size    int64
	Root    statement.Hash
	Entries []Entry
}

// Period is what two books are compared about: exchanges whose manifests were created from Since on and before Until, in the
// alliance with that founding charter. Created is when, to the second.
type Period struct {
	Alliance              statement.Hash
	Since, Until, Created time.Time
}

// ParseEntry reads a leaf strictly.
func ParseEntry(index int64, leaf []byte) (Entry, error) {
	l, err := statement.ParseLeaf(leaf)
	if err != nil {
		return Entry{}, fmt.Errorf("entry %d: %w", index, err)
	}
	return Entry{index, l}, nil
}

// Concerns tells whether a leaf is one of those that a reconciliation with that member compares.
func (e Entry) Concerns(other string) bool {
	return e.Leaf.Manifest != nil && e.Leaf.ID != "" && slices.Contains(statement.Reconciled, e.Leaf.Kind) && slices.Contains(e.Leaf.Peers, other)
}

// Reconcile compares the books of two parties, in either order: whoever computes it comes to the same terms. It looks at each
// exchange by itself. Each leaf is matched, open, only one side's, or differing:
//
//	sender's     released                matched by received or refused, and by its own expired if neither is there; without
//	                                     anything else it is open
//	             delivered               matched by received
//	             returned                matched by refused
//	             expired                 matched if the recipient has neither received nor refused
//	             confirmed               matched by opened or undecryptable
//	recipient's  received                matched by released and delivered; open while the sender has no outcome
//	             refused                 matched by released and returned; open while the sender has no outcome
//	             opened, undecryptable   matched by confirmed; open until then
//
// Where the other side has another leaf than that, or another id, both differ; so do released and received, if the recipient's
// clock was further behind the sender's than limit.ClockSkew. A leaf without its cause on the other side is only one side's. A
// second leaf of one sort about an exchange is only one side's too, unless it contradicts the first: then it differs.
//
// The error is a *fault.Error of kind Invalid that names the book, for one that cannot be true.
func Reconcile(p Period, a, b Book) (statement.Reconciliation, error) {
	if a.Member > b.Member {
		a, b = b, a
	}
	for _, one := range []struct {
		book  Book
		other string
	}{{a, b.Member}, {b, a.Member}} {
		if err := one.book.check(one.other, p.Created); err != nil {
			return statement.Reconciliation{}, err
		}
	}
	r := statement.Reconciliation{Parties: []string{a.Member, b.Member}, Alliance: p.Alliance, Since: p.Since, Until: p.Until, Created: p.Created,
		Sides: []statement.Side{a.side(), b.side()}}
	cases := map[statement.Hash]*pair{}
	for i, book := range []Book{a, b} {
		for _, e := range book.Entries {
			m := *e.Leaf.Manifest
			if cases[m] == nil {
				cases[m] = &pair{}
			}
			cases[m][i] = append(cases[m][i], &judged{Entry: e})
		}
	}
	for _, c := range cases {
		exchange(c[0], c[1])
		exchange(c[1], c[0])
		for i := range c {
			for _, j := range c[i] {
				put(&r, i, j)
			}
		}
	}
	for _, list := range []*[]statement.ReconciledLeaf{&r.Open, &r.Only, &r.Differing} {
		slices.SortFunc(*list, statement.ReconciledLeaf.Compare)
		*list = (*list)[:min(len(*list), limit.ReconcileListed)]
	}
	return r, nil
}

func (b Book) side() statement.Side {
	return statement.Side{Member: b.Member, Log: b.Log, Size: b.Size, Root: b.Root, Leaves: int64(len(b.Entries))}
}

// check finds what no honest member hands in.
func (b Book) check(other string, now time.Time) error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "nothing was signed; ask "+b.Member+" which version of the program it runs",
			"the entries of %s cannot be true: %w", b.Member, fmt.Errorf(format, args...))
	}
	if b.Member == other {
		return bad("it is both parties")
	}
	if len(b.Entries) > limit.ReconcileEntries {
		return bad("there are %d, and at most %d are compared", len(b.Entries), limit.ReconcileEntries)
	}
	for i, e := range b.Entries {
		switch {
		case e.Index < 0 || e.Index >= b.Size:
			return bad("leaf %d is not in a log of %d", e.Index, b.Size)
		case i > 0 && b.Entries[i-1].Index >= e.Index:
			return bad("leaf %d follows leaf %d", e.Index, b.Entries[i-1].Index)
		case !e.Concerns(other):
			return bad("leaf %d is not about an exchange with %s", e.Index, other)
		case e.Leaf.Time.After(now.Add(limit.ClockSkew)):
			return bad("leaf %d is from the future", e.Index)
		}
	}
	return nil
}

// pair is the leaves of both parties about one manifest.
type pair [2][]*judged

// judged is a leaf with what became of it. The zero verdict is the worst.
type judged struct {
	Entry
	verdict verdict
}

type verdict int

const (
	only verdict = iota
	differing
	open
	matched
)

func put(r *statement.Reconciliation, side int, j *judged) {
	s := &r.Sides[side]
	l := statement.ReconciledLeaf{Manifest: *j.Leaf.Manifest, Member: s.Member, Leaf: j.Index, Kind: j.Leaf.Kind, ID: j.Leaf.ID, At: j.Leaf.Time}
	switch j.verdict {
	case matched:
		s.Matched++
	case open:
		s.Open++
		r.Open = append(r.Open, l)
	case only:
		s.Only++
		r.Only = append(r.Only, l)
	case differing:
		s.Differing++
		r.Differing = append(r.Differing, l)
	}
}

// exchange judges what one party says as the sender of a document and the other as its recipient.
func exchange(sender, recipient []*judged) {
	release := first(sender, statement.EventReleased)
	outcome := first(sender, statement.EventDelivered, statement.EventReturned, statement.EventExpired)
	arrival := first(recipient, statement.EventReceived, statement.EventRefused)
	switch {
	case arrival != nil:
		arrived(release, outcome, arrival)
	case outcome != nil && outcome.Leaf.Kind == statement.EventExpired:
		outcome.verdict = matched
		if release != nil {
			release.verdict = matched
		}
	case outcome == nil && release != nil:
		release.verdict = open
	}
	confirmed := all(sender, statement.EventConfirmed)
	for i, l := range all(recipient, statement.EventOpened, statement.EventUndecryptable) {
		switch {
		case i >= len(confirmed) && release != nil:
			l.verdict = open
		case i < len(confirmed):
			both(l, confirmed[i], l.Leaf.ID == confirmed[i].Leaf.ID)
		}
	}
}

// arrived judges what both say about a document that has come to its recipient.
func arrived(release, outcome, arrival *judged) {
	if release != nil {
		late := arrival.Leaf.Time.Before(release.Leaf.Time.Add(-limit.ClockSkew))
		both(release, arrival, release.Leaf.ID == arrival.Leaf.ID && !late)
	}
	if outcome != nil {
		fits := outcome.Leaf.Kind == statement.EventDelivered && arrival.Leaf.Kind == statement.EventReceived ||
			outcome.Leaf.Kind == statement.EventReturned && arrival.Leaf.Kind == statement.EventRefused
		before := arrival.verdict
		both(outcome, arrival, fits && outcome.Leaf.ID == arrival.Leaf.ID)
		if before == differing || release == nil {
			arrival.verdict = before // a fitting outcome does not heal a release that does not fit, nor one that is missing
		}
	} else if arrival.verdict == matched {
		arrival.verdict = open
	}
}

func both(a, b *judged, fit bool) {
	v := differing
	if fit {
		v = matched
	}
	a.verdict, b.verdict = v, v
}

// all gives the leaves of these kinds in the order of the log.
func all(list []*judged, kinds ...statement.EventKind) []*judged {
	var found []*judged
	for _, j := range list {
		if slices.Contains(kinds, j.Leaf.Kind) {
			found = append(found, j)
		}
	}
	slices.SortFunc(found, func(a, b *judged) int { return cmp.Compare(a.Index, b.Index) })
	return found
}

// first gives the first leaf of these kinds, or nil. A further one of another kind contradicts it.
func first(list []*judged, kinds ...statement.EventKind) *judged {
	found := all(list, kinds...)
	if len(found) == 0 {
		return nil
	}
	for _, j := range found[1:] {
		if j.Leaf.Kind != found[0].Leaf.Kind {
			j.verdict = differing
		}
	}
	return found[0]
}
