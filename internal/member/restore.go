package member

import (
	"cmp"
	"slices"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// Restore makes a history of the texts that it follows from: the founding charter and its amendments, and all cards, each in
// any order. It verifies all signatures. Whoever restores from what it did not keep itself must compare the history's
// Alliance with a hash that it trusts, for a founding charter brings its own keys. A text without a place in the history
// is an error.
func Restore(charters, cards [][]byte) (*History, error) {
	var founding *statement.Signed[statement.Charter]
	var amendments [][]byte
	for _, raw := range charters {
		if kind, err := statement.KindOf(raw); err != nil || kind != statement.KindCharter {
			amendments = append(amendments, raw)
			continue
		}
		if founding != nil {
			return nil, fault.New(fault.Invalid, "give the texts of one alliance", "restore alliance: there are two founding charters")
		}
		c, err := statement.OpenSelfSigned[statement.Charter](raw)
		if err != nil {
			return nil, fault.New(fault.Invalid, "ask another member for the charter", "restore alliance: %w", err)
		}
		founding = c
	}
	if founding == nil {
		return nil, fault.New(fault.Invalid, "give the charter that all members signed", "restore alliance: there is no founding charter")
	}
	first, later, err := sortOut(founding.Terms, cards)
	if err != nil {
		return nil, err
	}
	h, err := Found(founding, first...)
	if err != nil {
		return nil, err
	}
	return h.replay(later, amendments)
}

// sortOut opens cards and separates those that the founding charter pins from later ones, which it sorts by version.
func sortOut(founding statement.Charter, cards [][]byte) (first, later []*statement.Signed[statement.Card], err error) {
	for _, raw := range cards {
		c, err := statement.OpenSelfSigned[statement.Card](raw)
		if err != nil {
			return nil, nil, fault.New(fault.Invalid, "ask the member for its card", "restore alliance: %w", err)
		}
		if slices.ContainsFunc(founding.Members, func(m statement.CharterMember) bool { return m.Card == c.Hash }) {
			first = append(first, c)
		} else {
			later = append(later, c)
		}
	}
	slices.SortFunc(later, func(a, b *statement.Signed[statement.Card]) int {
		return cmp.Or(cmp.Compare(a.Terms.Member, b.Terms.Member), cmp.Compare(a.Terms.Version, b.Terms.Version))
	})
	return first, later, nil
}

// replay takes cards and amendments, round after round, until all have found their place or none does any more: an
// amendment may need a card before it, and a card the amendment that admits its member.
func (h *History) replay(cards []*statement.Signed[statement.Card], amendments [][]byte) (*History, error) {
	all := slices.Clone(cards)
	for {
		var open []*statement.Signed[statement.Card]
		var unread [][]byte
		var last error
		for _, c := range cards {
			next, err := h.Renew(c)
			if err != nil {
				open, last = append(open, c), err
				continue
			}
			h = next
		}
		for _, raw := range amendments {
			a, err := h.OpenAmendment(raw)
			next := h
			if err == nil {
				next, err = h.Amend(a, all...)
			}
			if err != nil {
				unread, last = append(unread, raw), err
				continue
			}
			h = next
		}
		switch {
		case last == nil:
			return h, nil
		case len(open) == len(cards) && len(unread) == len(amendments):
			return nil, last
		}
		cards, amendments = open, unread
	}
}
