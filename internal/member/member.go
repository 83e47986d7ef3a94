// Package member knows the members of an alliance: who they are, with which keys, in which standing.
//
// What it knows it takes from a charter and the members' cards, whose signatures package statement has verified. What no
// single text can show is checked here: that every member of the charter has exactly the card that the charter pins,
// and that no public key occurs twice in the alliance. The second matters because the signature on a note does not cover
// the key's name. Whoever could list another member's key as its own would have one signature counted for two members.
//
//	h, err := member.Found(charter, alphaCard, bravoCard)
//	receipt, err := statement.Open[statement.Receipt](raw, h.Verifiers("bravo"))
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
	Standing     string // statement.GoodStanding, if it may exchange documents
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

// History is who was a member, when, and in what standing. So far an alliance has one charter, the founding one.
type History struct {
	alliance string
	founding statement.Hash
	members  []Member // sorted by name
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
	h := &History{alliance: charter.Terms.Alliance, founding: charter.Hash}
	for _, listed := range charter.Terms.Members {
		m, err := join(listed, byMember[listed.Name])
		if err != nil {
			return nil, err
		}
		h.members = append(h.members, m)
	}
	if err := checkKeys(charter.Terms.Members, byMember); err != nil {
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

// join makes a member of its line in the charter and its card, which must agree.
func join(listed statement.CharterMember, card *statement.Signed[statement.Card]) (Member, error) {
	if card.Hash != listed.Card {
		return Member{}, fault.New(fault.Invalid,
			fmt.Sprintf("have %s read the fingerprint of its card to you over the telephone; if it is that of the card, draft the charter again", listed.Name),
			"found alliance: the card of %q has the fingerprint %s, but the charter names a card with %s",
			listed.Name, statement.Fingerprint(card.Hash), statement.Fingerprint(listed.Card))
	}
	for _, k := range []struct{ purpose, charter, card string }{
		{"statement", listed.Statement, card.Terms.Statement},
		{"recovery", listed.Recovery, card.Terms.Recovery},
	} {
		if k.charter != k.card {
			return Member{}, fault.New(fault.Invalid, "draft the charter again from the cards with `entente charter draft`",
				"found alliance: the %s key of %q is not the same in the charter and on its card", k.purpose, listed.Name)
		}
	}
	c := card.Terms
	m := Member{Name: listed.Name, Standing: listed.Standing, Address: c.Address, Jurisdiction: c.Jurisdiction,
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
			return Member{}, fault.New(fault.Invalid, askForCard(listed.Name), "found alliance: read the %s key of %q: %w", k.purpose, listed.Name, err)
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
func (h *History) Name() string { return h.alliance }

// Alliance is the hash of the founding charter, which identifies the alliance for ever.
func (h *History) Alliance() statement.Hash { return h.founding }

// Newest is the hash of the newest charter.
func (h *History) Newest() statement.Hash { return h.founding }

// Knows tells whether a charter belongs to this alliance's chain.
func (h *History) Knows(charter statement.Hash) bool { return charter == h.founding }

// InGoodStanding tells whether the newest charter has the member in good standing. Who is no member is not.
func (h *History) InGoodStanding(name string) bool {
	m, ok := h.Member(name)
	return ok && m.Standing == statement.GoodStanding
}

// Verifiers gives the statement keys of the named members, or of all members if none is named. Names that are not
// members' are left out, so a signature in such a name is one by an unknown key.
func (h *History) Verifiers(members ...string) note.Verifiers {
	var list []note.Verifier
	for _, m := range h.members {
		if len(members) == 0 || slices.Contains(members, m.Name) {
			list = append(list, m.Statement)
		}
	}
	return note.VerifierList(list...)
}
