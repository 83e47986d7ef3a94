// Package member knows the members of an alliance: who they are, with which keys, in which standing.
//
// What it knows it takes from a charter, its amendments and the members' cards, whose signatures package statement has verified. What no
// single text can show is checked here: that every member of the charter has exactly the card that the charter pins,
// and that no public key occurs twice in the alliance. The second matters because the signature on a note does not cover
// the key's name. Whoever could list another member's key as its own would have one signature counted for two members.
//
//	h, err := member.Found(charter, alphaCard, bravoCard)
//	receipt, err := statement.Open[statement.Receipt](raw, h.Verifiers("bravo"))
//	card, err := h.OpenCard(raw)
//	h, err = h.Renew(card)
//
// The package does no I/O. A History never changes after it was made, so it may be used concurrently.
package member

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Member is one member as its charter and its newest card describe it.
type Member struct {
	Name         string
	Standing     string // statement.GoodStanding if it may exchange documents; else statement.Suspended, statement.Left or InDoubt
	Address      string // HOST:PORT of its peer port
	Jurisdiction string // ISO 3166-1 alpha-2, or empty
	Statement    note.Verifier
	Recovery     note.Verifier
	Log          note.Verifier
	Witness      note.Verifier
	StatementKey string // the same keys in the notation of signed notes, NAME+HASH+BASE64
	RecoveryKey  string
	LogKey       string // its name is the origin of the member's log
	WitnessKey   string
	LogMLDSA     string // post-quantum, for the second signature on checkpoints; see statement.MLDSAKeyBytes
	WitnessMLDSA string
	Sealing      []statement.SealingKey // newest epoch first
	CA           []byte                 // certificates in PEM, opaque here
	Card         statement.Hash
}

// History is who was a member, when, with which keys, and in what standing: the founding charter, the amendments after it, and
// every member's cards. It is a function of these texts alone; in which order they came makes no difference to what it
// says of charters and standing.
type History struct {
	founding   *statement.Signed[statement.Charter]
	chains     map[statement.Hash][]*statement.Signed[statement.Card] // by the hash of the first card; oldest card first
	seen       map[string]use                                         // every public key that was ever on a card
	rings      map[statement.Hash][]Key                               // the keys of each chain, by the same hash
	amendments map[statement.Hash]*statement.Signed[statement.Amendment]

	// What follows from these, see derive.
	newest  *state
	states  map[statement.Hash]*state
	fork    *Fork
	members []Member         // sorted by name
	keys    map[string][]Key // by member; not to be changed
}

// Found begins the history of an alliance with its founding charter and the first cards of all its members, in any order.
// Charter and cards must come from statement.Open or statement.OpenSelfSigned; their signatures are not verified again.
// Every error is a *fault.Error of kind Invalid that names the member concerned and says what to do.
func Found(charter *statement.Signed[statement.Charter], cards ...*statement.Signed[statement.Card]) (*History, error) {
	if charter == nil {
		return nil, fault.New(fault.Invalid, "give the charter that all members signed", "found alliance: there is no charter")
	}
	if err := checkNames(charter.Terms.Members); err != nil {
		return nil, err
	}
	byMember, err := sortCards(charter, cards)
	if err != nil {
		return nil, err
	}
	h := &History{founding: charter, chains: map[statement.Hash][]*statement.Signed[statement.Card]{}, seen: map[string]use{},
		rings: map[statement.Hash][]Key{}, amendments: map[statement.Hash]*statement.Signed[statement.Amendment]{}}
	for _, listed := range charter.Terms.Members {
		card := byMember[listed.Name]
		if err := fits(listed, card); err != nil {
			return nil, err
		}
	}
	for _, listed := range charter.Terms.Members {
		card := byMember[listed.Name]
		if err := claimCard("found alliance", h.seen, card.Terms, nil); err != nil {
			return nil, err
		}
		if err := h.setChain(card.Hash, []*statement.Signed[statement.Card]{card}); err != nil {
			return nil, err
		}
	}
	for _, w := range charter.Terms.Witnesses {
		if err := claimOutside(h.seen, w); err != nil {
			return nil, err
		}
	}
	if err := h.derive(); err != nil {
		return nil, err
	}
	return h, nil
}

// checkNames repeats what parsing a charter checks, because everything below relies on it.
func checkNames(members []statement.CharterMember) error {
	const hint = "draft the charter again with `entente charter draft`"
	if len(members) < 2 || len(members) > limit.Members {
		return fault.New(fault.Invalid, hint, "found alliance: the charter has %d members, it must have between 2 and %d", len(members), limit.Members)
	}
	for i := 1; i < len(members); i++ {
		if members[i-1].Name >= members[i].Name {
			return fault.New(fault.Invalid, hint, "found alliance: the charter's members are not sorted without repetition: %q after %q", members[i].Name, members[i-1].Name)
		}
	}
	return nil
}

// sortCards finds each member's card: one for every member, and none for anybody else.
func sortCards(charter *statement.Signed[statement.Charter], cards []*statement.Signed[statement.Card]) (map[string]*statement.Signed[statement.Card], error) {
	byMember := make(map[string]*statement.Signed[statement.Card], len(cards))
	for _, card := range cards {
		if card == nil {
			return nil, fault.New(fault.Invalid, "give the card of every member", "found alliance: one of the cards is missing")
		}
		name := card.Terms.Member
		if !slices.ContainsFunc(charter.Terms.Members, func(m statement.CharterMember) bool { return m.Name == name }) {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("leave out the card of %s, or draft a charter that lists %s", name, name),
				"found alliance: there is a card of %q, which the charter does not list", name)
		}
		if byMember[name] != nil {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("keep the card of %s that the charter names, and leave out the other", name),
				"found alliance: there are two cards of %q", name)
		}
		byMember[name] = card
	}
	for _, m := range charter.Terms.Members {
		if byMember[m.Name] == nil {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("ask %s for its card and add it; %s prints it with `entente card`", m.Name, m.Name),
				"found alliance: the card of %q is missing", m.Name)
		}
	}
	return byMember, nil
}

// fits checks that a member's line in the charter and its card agree.
func fits(listed statement.CharterMember, card *statement.Signed[statement.Card]) error {
	if card.Hash != listed.Card {
		return fault.New(fault.Invalid,
			fmt.Sprintf("have %s read the fingerprint of its card to you over the telephone; if it is that of the card, draft the charter again", listed.Name),
			"found alliance: the card of %q has the fingerprint %s, but the charter names a card with %s",
			listed.Name, statement.Fingerprint(card.Hash), statement.Fingerprint(listed.Card))
	}
	for _, k := range []struct{ purpose, charter, card string }{
		{"statement", listed.Statement, card.Terms.Statement},
		{"recovery", listed.Recovery, card.Terms.Recovery},
	} {
		if k.charter != k.card {
			return fault.New(fault.Invalid, "draft the charter again from the cards with `entente charter draft`",
				"found alliance: the %s key of %q is not the same in the charter and on its card", k.purpose, listed.Name)
		}
	}
	return nil
}

// describe makes a member of its standing and its newest card.
func describe(name, standing string, card *statement.Signed[statement.Card]) (Member, error) {
	c := card.Terms
	m := Member{Name: name, Standing: standing, Address: c.Address, Jurisdiction: c.Jurisdiction,
		StatementKey: c.Statement, RecoveryKey: c.Recovery, LogKey: c.Log, WitnessKey: c.Witness, LogMLDSA: c.LogMLDSA, WitnessMLDSA: c.WitnessMLDSA,
		Sealing: slices.Clone(c.Sealing), CA: []byte(c.CA), Card: card.Hash}
	for _, k := range []struct {
		purpose, vkey string
		to            *note.Verifier
	}{
		{"statement", c.Statement, &m.Statement}, {"recovery", c.Recovery, &m.Recovery},
		{"log", c.Log, &m.Log}, {"witness", c.Witness, &m.Witness},
	} {
		v, err := note.NewVerifier(k.vkey)
		if err != nil {
			return Member{}, fault.New(fault.Invalid, askForCard(name), "read the %s key of %q: %w", k.purpose, name, err)
		}
		*k.to = v
	}
	return m, nil
}

func askForCard(name string) string { return "ask " + name + " for a card with fresh keys of its own" }

// Member finds a member by its name, whatever its standing. The caller must not change the slices in it.
func (h *History) Member(name string) (Member, bool) {
	i, ok := slices.BinarySearchFunc(h.members, name, func(m Member, name string) int { return strings.Compare(m.Name, name) })
	if !ok {
		return Member{}, false
	}
	return h.members[i], true
}

// Members lists all members, sorted by name, whatever their standing. The caller owns the slice, not what it refers to.
func (h *History) Members() []Member { return slices.Clone(h.members) }

// Name is the alliance's name, for people. It identifies nothing.
func (h *History) Name() string { return h.founding.Terms.Alliance }

// Alliance is the hash of the founding charter, which identifies the alliance for ever.
func (h *History) Alliance() statement.Hash { return h.founding.Hash }

// Charter is the founding charter.
func (h *History) Charter() *statement.Signed[statement.Charter] { return h.founding }

// Auditors are the persons whom the founding charter lets read the logs of all members, as spiffe://MEMBER/person/NAME, sorted.
// The caller owns the slice.
func (h *History) Auditors() []string { return slices.Clone(h.founding.Terms.Auditors) }

// IsAuditor tells whether the founding charter names that person as an auditor, and its member is in good standing now.
func (h *History) IsAuditor(member, person string) bool {
	return slices.Contains(h.founding.Terms.Auditors, "spiffe://"+member+"/person/"+person) && h.InGoodStanding(member)
}

// OutsideWitnesses are the witnesses in the founding charter that are no members, sorted by name. The caller owns the slice.
func (h *History) OutsideWitnesses() []statement.OutsideWitness {
	return slices.Clone(h.founding.Terms.Witnesses)
}

// InGoodStanding tells whether the newest charter has the member in good standing. Who is no member is not, nor is
// anybody concerned in an open fork.
func (h *History) InGoodStanding(name string) bool {
	m, ok := h.Member(name)
	return ok && m.Standing == statement.GoodStanding
}

// Quorum is how many witnesses must have co-signed a member's checkpoint: one with up to three members in good standing,
// then more than half of the others.
func (h *History) Quorum() int {
	good := 0
	for _, m := range h.members {
		if m.Standing == statement.GoodStanding {
			good++
		}
	}
	return quorum(good)
}

// QuorumAt is Quorum as of a charter or amendment of this alliance's chain.
func (h *History) QuorumAt(charter statement.Hash) int {
	good := 0
	for _, m := range h.members {
		if h.StandingAt(charter, m.Name) == statement.GoodStanding {
			good++
		}
	}
	return quorum(good)
}

// quorum is how many witnesses are one where so many members are in good standing.
func quorum(good int) int {
	if good <= 3 {
		return 1
	}
	return (good-1)/2 + 1
}
