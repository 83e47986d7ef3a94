package member

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// What a key is for.
const (
	PurposeStatement    = "statement"
	PurposeRecovery     = "recovery"
	PurposeLog          = "log"
	PurposeLogMLDSA     = "log-mldsa"
	PurposeWitness      = "witness"
	PurposeWitnessMLDSA = "witness-mldsa"
)

// Key is a signing key that stands or stood on a member's cards. All times are those that the cards claim.
type Key struct {
	Purpose string // one of the purposes above
	Vkey    string // NAME+HASH+BASE64
	ID      string // NAME+HASH, as in statement.Signed.By
	From    time.Time
	// Replaced is when the first card without it was created; zero if the newest card lists it.
	Replaced time.Time
	// Compromised is since when it must not be trusted, the earliest time that any card gives; zero if none does.
	Compromised time.Time
	// Declared is when the first card that calls it compromised was created; zero if none does.
	Declared time.Time

	verifier note.Verifier // nil for ML-DSA
}

// LogKeys are the keys of one log of a member.
type LogKeys struct {
	Origin string // MEMBER/log/N, also the name of both keys
	Vkey   string // Ed25519
	MLDSA  string // ML-DSA-44
}

// WitnessKeys are the keys with which a member co-signed, as one of its cards lists them.
type WitnessKeys struct {
	Name  string // MEMBER/witness, also the name of both keys
	Vkey  string // Ed25519
	MLDSA string // ML-DSA-44
}

// OpenCard opens a member's newer card. All Ed25519 keys on it have signed it, and among them is the recovery key that the
// charter names: so whoever has stolen a statement key can make no card.
func (h *History) OpenCard(raw []byte) (*statement.Signed[statement.Card], error) {
	card, err := statement.OpenSelfSigned[statement.Card](raw)
	if err != nil {
		return nil, fault.New(fault.Invalid, "ask the member for the card again", "open card: %w", err)
	}
	if err := h.checkRoot(card); err != nil {
		return nil, err
	}
	return card, nil
}

func (h *History) checkRoot(card *statement.Signed[statement.Card]) error {
	m, ok := h.Member(card.Terms.Member)
	if !ok {
		return fault.New(fault.Invalid, "take only cards of members", "open card: %q is no member", card.Terms.Member)
	}
	if card.Terms.Recovery != m.RecoveryKey {
		return fault.New(fault.Invalid, "tell "+m.Name+" that somebody made a card in its name, or that its recovery key cannot change",
			"open card: it has another recovery key than the one that the charter knows %q by", m.Name)
	}
	return nil
}

// Renew gives the history with a member's next card. The card must come from OpenCard. A card that the history has already
// changes nothing. Every error is a *fault.Error: Transient if cards in between are missing, Conflict if the member made
// two cards of one version, of which the one that came first stays, Invalid otherwise.
func (h *History) Renew(card *statement.Signed[statement.Card]) (*History, error) {
	if card == nil {
		return nil, fault.New(fault.Invalid, "give the card that the member made", "renew card: there is no card")
	}
	if err := h.checkRoot(card); err != nil {
		return nil, err
	}
	c, chain := card.Terms, h.Cards(card.Terms.Member)
	if slices.ContainsFunc(chain, func(old *statement.Signed[statement.Card]) bool { return old.Hash == card.Hash }) {
		return h, nil
	}
	newest := chain[len(chain)-1]
	switch {
	case c.Version <= newest.Terms.Version:
		return nil, fault.New(fault.Conflict, "ask "+c.Member+" why it made two cards of one version; the first one stays",
			"renew card: version %d of the card of %q is another one than the one known", c.Version, c.Member)
	case c.Version > newest.Terms.Version+1:
		return nil, fault.New(fault.Transient, "bring the cards in between first",
			"renew card: version %d of the card of %q is here, and version %d is known", c.Version, c.Member, newest.Terms.Version)
	case c.Previous != newest.Hash:
		return nil, fault.New(fault.Conflict, "ask "+c.Member+" why it made two cards of one version; the first one stays",
			"renew card: version %d of the card of %q follows another card than the one known", c.Version, c.Member)
	case c.Created.Before(newest.Terms.Created):
		return nil, fault.New(fault.Invalid, "ask "+c.Member+" to set its clock and make the card again",
			"renew card: version %d of the card of %q was created before version %d", c.Version, c.Member, newest.Terms.Version)
	}
	if err := checkRenewal(chain, c); err != nil {
		return nil, err
	}
	next := h.clone()
	if err := claimCard("renew card", next.seen, c, &newest.Terms); err != nil {
		return nil, err
	}
	if err := next.setChain(chain[0].Hash, append(slices.Clip(chain), card)); err != nil {
		return nil, err
	}
	if err := next.derive(); err != nil {
		return nil, err
	}
	return next, nil
}

// checkRenewal is what a card must not change or claim, beside what claimCard sees.
func checkRenewal(chain []*statement.Signed[statement.Card], c statement.Card) error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "ask "+c.Member+" for another card", "renew card: version %d of the card of %q "+format,
			append([]any{c.Version, c.Member}, args...)...)
	}
	newest := chain[len(chain)-1].Terms
	// A log's name is its key's: two keys of one log, or one key for two, would let two histories pass for one.
	if same := c.Log == newest.Log && c.LogMLDSA == newest.LogMLDSA; !same && logEpoch(c.Log) <= logEpoch(newest.Log) {
		return bad("has new log keys, and their name is not that of a later log than %s", strings.SplitN(newest.Log, "+", 2)[0])
	}
	var epoch int64
	for _, old := range chain {
		epoch = max(epoch, old.Terms.Sealing[0].Epoch)
	}
	for _, s := range c.Sealing {
		if s.Epoch <= epoch && !slices.Contains(newest.Sealing, s) {
			return bad("gives epoch %d to another sealing key than before", s.Epoch)
		}
	}
	for _, k := range c.Compromised {
		if !slices.ContainsFunc(chain, func(old *statement.Signed[statement.Card]) bool {
			o := old.Terms
			return slices.Contains([]string{o.Statement, o.Log, o.LogMLDSA, o.Witness, o.WitnessMLDSA}, k.Key)
		}) {
			return bad("calls the key %.80q compromised, which it never listed", statement.KeyID(k.Key))
		}
	}
	return nil
}

// logEpoch is the N of MEMBER/log/N; the card was validated, so there is one.
func logEpoch(vkey string) int64 {
	name, _, _ := strings.Cut(vkey, "+")
	n, err := strconv.ParseInt(name[strings.LastIndexByte(name, '/')+1:], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// setChain notes the cards of a member, the oldest first, and the keys that follow from them.
func (h *History) setChain(first statement.Hash, chain []*statement.Signed[statement.Card]) error {
	keys, err := keysOf(chain)
	if err != nil {
		return err
	}
	h.chains[first], h.rings[first] = chain, keys
	return nil
}

func (h *History) clone() *History {
	return &History{founding: h.founding, chains: maps.Clone(h.chains), seen: maps.Clone(h.seen),
		rings: maps.Clone(h.rings), amendments: maps.Clone(h.amendments)}
}

// Cards gives all cards of a member, the oldest first; none if it is no member. The caller owns the slice.
func (h *History) Cards(member string) []*statement.Signed[statement.Card] {
	p, ok := h.newest.place(member)
	if !ok {
		return nil
	}
	return slices.Clone(h.chains[p.card])
}

// FirstCard finds the card with which somebody became a member, by its hash: at the founding or in an admission, discarded ones among them.
func (h *History) FirstCard(card statement.Hash) (*statement.Signed[statement.Card], bool) {
	chain := h.chains[card]
	if len(chain) == 0 {
		return nil, false
	}
	return chain[0], true
}

// CardAt gives the card of a member that was its newest at a time, by the times that its cards claim.
func (h *History) CardAt(member string, at time.Time) (*statement.Signed[statement.Card], bool) {
	for _, c := range slices.Backward(h.Cards(member)) {
		if !c.Terms.Created.After(at) {
			return c, true
		}
	}
	return nil, false
}

// Keys lists all signing keys that a member's cards list or listed, in the order in which they appeared. The caller owns
// the slice.
func (h *History) Keys(member string) []Key { return slices.Clone(h.keys[member]) }

// Key finds a member's key by its id, NAME+HASH.
func (h *History) Key(member, id string) (Key, bool) {
	i := slices.IndexFunc(h.keys[member], func(k Key) bool { return k.ID == id })
	if i < 0 {
		return Key{}, false
	}
	return h.keys[member][i], true
}

// Current tells whether a member's key of that id, NAME+HASH, may be used now: the newest card lists it, or it was replaced
// less than limit.KeyRetirement ago; and no card calls it compromised. Standing is another question.
func (h *History) Current(member, keyID string, now time.Time) bool {
	k, ok := h.Key(member, keyID)
	return ok && k.Compromised.IsZero() && k.serves(now)
}

// serves tells whether the key was listed, or had been not long ago.
func (k Key) serves(at time.Time) bool {
	return k.Replaced.IsZero() || at.Before(k.Replaced.Add(limit.KeyRetirement))
}

// keysOf lists the keys of a chain of cards.
func keysOf(chain []*statement.Signed[statement.Card]) ([]Key, error) {
	var keys []Key
	for _, card := range chain {
		c := card.Terms
		listed := map[string]bool{}
		for _, k := range []struct{ purpose, vkey string }{
			{PurposeStatement, c.Statement}, {PurposeRecovery, c.Recovery}, {PurposeLog, c.Log}, {PurposeLogMLDSA, c.LogMLDSA},
			{PurposeWitness, c.Witness}, {PurposeWitnessMLDSA, c.WitnessMLDSA},
		} {
			listed[k.vkey] = true
			if slices.ContainsFunc(keys, func(known Key) bool { return known.Vkey == k.vkey }) {
				continue
			}
			key := Key{Purpose: k.purpose, Vkey: k.vkey, ID: statement.KeyID(k.vkey), From: c.Created}
			if k.purpose != PurposeLogMLDSA && k.purpose != PurposeWitnessMLDSA {
				v, err := note.NewVerifier(k.vkey)
				if err != nil {
					return nil, fault.New(fault.Invalid, askForCard(c.Member), "read the %s key of %q: %w", k.purpose, c.Member, err)
				}
				key.verifier = v
			}
			keys = append(keys, key)
		}
		for i := range keys {
			k := &keys[i]
			if !listed[k.Vkey] && k.Replaced.IsZero() {
				k.Replaced = c.Created
			}
			for _, lost := range c.Compromised {
				if lost.Key != k.Vkey {
					continue
				}
				if k.Declared.IsZero() {
					k.Declared = c.Created
				}
				if k.Compromised.IsZero() || lost.Since.Before(k.Compromised) {
					k.Compromised = lost.Since
				}
			}
		}
	}
	return keys, nil
}

// Logs lists the logs of a member with their keys, over all cards, the newest last.
func (h *History) Logs(member string) []LogKeys {
	var list []LogKeys
	for _, card := range h.Cards(member) {
		l := LogKeys{strings.SplitN(card.Terms.Log, "+", 2)[0], card.Terms.Log, card.Terms.LogMLDSA}
		if !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	return list
}

// Witness lists the pairs of keys with which a member co-signed, over all cards, the newest last.
func (h *History) Witness(member string) []WitnessKeys {
	var list []WitnessKeys
	for _, card := range h.Cards(member) {
		w := WitnessKeys{member + "/witness", card.Terms.Witness, card.Terms.WitnessMLDSA}
		if !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// Verifiers gives the statement keys, old and new, of the named members, or of all members if none is named; but none that
// a card calls compromised. It is for opening what may have been signed at any time. Whether a key may still be used now says
// Current. Names that are not members' are left out, so a signature in such a name is one by an unknown key.
func (h *History) Verifiers(members ...string) note.Verifiers {
	return h.verifiers(members, func(k Key) bool { return k.Compromised.IsZero() })
}

// AllVerifiers is Verifiers with the compromised keys. Whoever uses it must judge, by witnessed time, whether the signature
// was made before Key.Compromised.
func (h *History) AllVerifiers(members ...string) note.Verifiers {
	return h.verifiers(members, func(Key) bool { return true })
}

func (h *History) verifiers(members []string, take func(Key) bool) note.Verifiers {
	var list []note.Verifier
	for _, m := range h.members {
		if len(members) > 0 && !slices.Contains(members, m.Name) {
			continue
		}
		for _, k := range h.keys[m.Name] {
			if k.Purpose == PurposeStatement && take(k) {
				list = append(list, k.verifier)
			}
		}
	}
	return note.VerifierList(list...)
}
