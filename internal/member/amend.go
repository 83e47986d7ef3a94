package member

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// InDoubt is the standing, while a fork is open, of a member that signed both successors, and of every member that is not in
// good standing in both.
const InDoubt = "in-doubt"

// Fork is two valid successors of one version of the charter. It is open until an amendment settles it.
type Fork struct {
	Of        statement.Hash    // the version that both follow
	Hashes    [2]statement.Hash // of the successors, sorted; of three or more, the first two
	Concerned []string          // the members that signed more than one successor, sorted
}

// OpenAmendment opens an amendment with the statement keys of all members, old and new, and that of the newcomer whom it
// admits. Amend judges which of the keys could be used. Every error is a *fault.Error: Transient if the version before it is
// not known, because then its signers may not be known either; Invalid otherwise.
func (h *History) OpenAmendment(raw []byte) (*statement.Signed[statement.Amendment], error) {
	const hint = "ask for the amendment again; if it names a newer charter than yours, bring that first"
	draft, err := statement.ParseDraft[statement.Amendment](raw)
	if err != nil {
		return nil, fault.New(fault.Invalid, hint, "open amendment: %w", err)
	}
	if !h.Knows(draft.Terms.Previous) {
		return nil, unknownVersion("open amendment", draft.Terms.Previous)
	}
	// Also the keys of those who are members on one branch of a fork only.
	var list []note.Verifier
	for _, ring := range h.rings {
		for _, k := range ring {
			if k.Purpose == PurposeStatement {
				list = append(list, k.verifier)
			}
		}
	}
	// On another branch of a fork the newcomer may be a member already, so its key may be among them.
	if t := draft.Terms; t.Change == statement.Admit {
		v, err := note.NewVerifier(t.Statement)
		if err != nil {
			return nil, fault.New(fault.Invalid, hint, "open amendment: read the statement key of %q: %w", t.Member, err)
		}
		if !slices.ContainsFunc(list, func(k note.Verifier) bool { return k.Name() == v.Name() && k.KeyHash() == v.KeyHash() }) {
			list = append(list, v)
		}
	}
	a, err := statement.Open[statement.Amendment](raw, note.VerifierList(list...))
	if err != nil {
		return nil, fault.New(fault.Invalid, hint, "open amendment: %w", err)
	}
	return a, nil
}

// Amend gives the history with one more amendment, which must come from OpenAmendment; for an admission, the newcomer's first
// card must be among the cards. One that the history has already changes nothing.
//
// An amendment that is valid is kept even if it has no effect: because a fork is open, which only a settlement ends, or because
// it follows a version that a settlement has discarded. So the order in which amendments arrive makes no difference. Whether it
// took effect, Newest and Fork say.
//
// Every error is a *fault.Error: Transient if the version before it is not known, Invalid otherwise.
func (h *History) Amend(a *statement.Signed[statement.Amendment], cards ...*statement.Signed[statement.Card]) (*History, error) {
	if a == nil {
		return nil, fault.New(fault.Invalid, "give the amendment that a quorum signed", "amend charter: there is no amendment")
	}
	if h.amendments[a.Hash] != nil {
		return h, nil
	}
	if err := h.room(a.Terms); err != nil {
		return nil, err
	}
	next := h.clone()
	if a.Terms.Change == statement.Admit {
		if err := next.welcome(a.Terms, cards); err != nil {
			return nil, err
		}
	}
	before, ok := h.states[a.Terms.Previous]
	if !ok {
		return nil, unknownVersion("amend charter", a.Terms.Previous)
	}
	if err := next.judge(before, a); err != nil {
		return nil, err
	}
	next.amendments[a.Hash] = a
	if err := next.derive(); err != nil {
		return nil, err
	}
	if _, took := next.states[a.Hash]; !took {
		for _, fork := range a.Terms.Forks {
			if !h.Knows(fork) {
				return nil, fault.New(fault.Transient, "bring both forks first", "amend charter: it settles a fork of which %s is not known here", fork.Short())
			}
		}
		return nil, fault.New(fault.Invalid, "draft it again, above the versions of both forks, with more than half of those who signed only one of them",
			"amend charter: it does not settle a fork of version %s, or is not signed by enough members without a double signer", a.Terms.Previous.Short())
	}
	return next, nil
}

func unknownVersion(doing string, previous statement.Hash) error {
	return fault.New(fault.Transient, "bring the version before it first", "%s: the amendment follows version %s, which is not known here", doing, previous.Short())
}

// room keeps a member that signs one farewell after the other from filling memory.
func (h *History) room(a statement.Amendment) error {
	farewells := 0
	for _, known := range h.amendments {
		if known.Terms.Change == statement.Leave && known.Terms.Member == a.Member {
			farewells++
		}
	}
	if a.Change == statement.Leave && farewells >= limit.Leaves || len(h.amendments) >= limit.Amendments {
		return fault.New(fault.Invalid, "found a new alliance with those who are left", "amend charter: there are too many amendments already")
	}
	return nil
}

// welcome takes the newcomer's first card among the chains. It checks everything that needs no signatures of others.
func (h *History) welcome(a statement.Amendment, cards []*statement.Signed[statement.Card]) error {
	i := slices.IndexFunc(cards, func(c *statement.Signed[statement.Card]) bool { return c != nil && c.Hash == a.Card })
	if len(h.chains[a.Card]) > 0 {
		return nil
	}
	if i < 0 {
		return fault.New(fault.Invalid, "ask "+a.Member+" for its card and give it too", "amend charter: the card of %q is missing", a.Member)
	}
	c := cards[i].Terms
	if c.Member != a.Member || c.Statement != a.Statement || c.Recovery != a.Recovery {
		return fault.New(fault.Invalid, "draft the amendment again from the card of "+a.Member, "amend charter: member, statement key or recovery key of %q are not the same in the amendment and on its card", a.Member)
	}
	if err := claimCard("amend charter", h.seen, c, nil); err != nil {
		return err
	}
	return h.setChain(a.Card, []*statement.Signed[statement.Card]{cards[i]})
}

// judge decides whether an amendment is a valid successor of a version. That the forks of a settlement exist, derive says.
func (h *History) judge(before *state, a *statement.Signed[statement.Amendment]) error {
	t := a.Terms
	bad := func(hint, format string, args ...any) error {
		return fault.New(fault.Invalid, hint, "amend charter: "+format, args...)
	}
	switch {
	case t.Alliance != h.founding.Hash:
		return bad("take only amendments of your own alliance", "it belongs to another alliance")
	case t.Previous != before.hash:
		return bad("draft it again", "it follows another version")
	case t.Change != statement.Settle && t.Version != before.version+1:
		return bad("draft it again", "it has version %d and follows version %d", t.Version, before.version)
	case t.Created.Before(before.created):
		return bad("set the clock and draft it again", "it was created before the version that it follows")
	}
	p, known := before.place(t.Member)
	switch t.Change {
	case statement.Suspend:
		if !before.good(t.Member) {
			return bad("suspend only who is in good standing", "%q is not in good standing", t.Member)
		}
	case statement.Reinstate:
		if p.standing != statement.Suspended {
			return bad("reinstate only who is suspended", "%q is not suspended", t.Member)
		}
	case statement.Leave:
		if !known || p.standing == statement.Left {
			return bad("only a member can leave", "%q is no member", t.Member)
		}
	case statement.Admit:
		if known {
			return bad("admit a newcomer under a name that nobody had", "%q is or was a member", t.Member)
		}
		if len(before.places) >= limit.Members {
			return bad("found a second alliance", "there are %d members already", limit.Members)
		}
	case statement.Settle:
	default:
		return bad("draft it again", "it changes nothing that is known here")
	}
	if err := h.checkSigners(before, a); err != nil {
		return err
	}
	if t.Change == statement.Leave || t.Change == statement.Settle {
		return nil // the one is signed by the member alone, the other is counted without the double signers
	}
	signed, of := len(t.SignedBy), before.count(nil)
	switch t.Change {
	case statement.Admit:
		signed-- // the newcomer has no vote
	case statement.Reinstate:
		of++ // the one concerned counts
	}
	if 2*signed <= of {
		return bad("collect more signatures: draft it again with more members in signed_by", "%d members signed, and more than half of %d are needed", signed, of)
	}
	return nil
}

// checkSigners demands that everybody who signed had a say, and used a key that could be used then.
func (h *History) checkSigners(before *state, a *statement.Signed[statement.Amendment]) error {
	t := a.Terms
	for _, name := range t.SignedBy {
		i := slices.IndexFunc(a.By, func(id string) bool { return strings.HasPrefix(id, name+"/statement+") })
		if i < 0 {
			return fault.New(fault.Invalid, "ask for the amendment again", "amend charter: %q has not signed it", name)
		}
		if t.Change == statement.Admit && name == t.Member {
			if a.By[i] != statement.KeyID(t.Statement) {
				return fault.New(fault.Invalid, "have "+name+" sign with the key on its card", "amend charter: %q signed with another key than the one it is admitted with", name)
			}
			continue
		}
		p, ok := before.place(name)
		if !ok || p.standing != statement.GoodStanding && t.Change != statement.Leave {
			return fault.New(fault.Invalid, "only members in good standing decide", "amend charter: %q signed it and is not in good standing", name)
		}
		if !slices.ContainsFunc(h.rings[p.card], func(k Key) bool { return k.Purpose == PurposeStatement && k.ID == a.By[i] && k.voted(t.Created) }) {
			return fault.New(fault.Invalid, "have "+name+" sign with the key on its newest card", "amend charter: %q signed it with the key %.80q, which could not be used then", name, a.By[i])
		}
	}
	return nil
}

// voted tells whether a signature of an amendment counts. It does not if the amendment is younger than the card that called
// the key compromised. What is older stays decided, whatever time the card gives: otherwise a member could undo a vote by
// declaring its key lost afterwards.
func (k Key) voted(created time.Time) bool {
	return k.serves(created) && (k.Declared.IsZero() || created.Before(k.Declared))
}

// Fork gives the open fork, or nil.
func (h *History) Fork() *Fork {
	if h.fork == nil {
		return nil
	}
	f := *h.fork
	f.Concerned = slices.Clone(f.Concerned)
	return &f
}

// Newest is the hash of the newest version of the charter; while a fork is open, of the version before the fork.
func (h *History) Newest() statement.Hash { return h.newest.hash }

// Version is the number of the newest version of the charter: 1 for the founding one.
func (h *History) Version() int64 { return h.newest.version }

// Knows tells whether a version of the charter, by its hash, is one that this alliance's members validly signed: on the chain,
// on a branch of a fork, or discarded by a settlement.
func (h *History) Knows(charter statement.Hash) bool {
	_, ok := h.states[charter]
	return ok
}

// StandingAt gives a member's standing as of a version of the charter; empty if it was no member then or the version is not
// known.
func (h *History) StandingAt(charter statement.Hash, member string) string {
	s, ok := h.states[charter]
	if !ok {
		return ""
	}
	return s.standing(member)
}

// VersionOf gives the number of a version of the charter, and false if it is not known.
func (h *History) VersionOf(charter statement.Hash) (int64, bool) {
	s, ok := h.states[charter]
	if !ok {
		return 0, false
	}
	return s.version, true
}

// Amendments gives all amendments that are known, each after the one that it follows, those of discarded branches among
// them. The caller owns the slice.
func (h *History) Amendments() []*statement.Signed[statement.Amendment] {
	list := make([]*statement.Signed[statement.Amendment], 0, len(h.amendments))
	for _, a := range h.amendments {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *statement.Signed[statement.Amendment]) int {
		return cmp.Or(cmp.Compare(a.Terms.Version, b.Terms.Version), slices.Compare(a.Hash[:], b.Hash[:]))
	})
	return list
}

// String names the fork for a person.
func (f *Fork) String() string {
	return fmt.Sprintf("version %s has two successors, %s and %s; both were signed by: %s", f.Of.Short(), f.Hashes[0].Short(), f.Hashes[1].Short(), strings.Join(f.Concerned, ", "))
}
