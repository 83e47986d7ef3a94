package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/tools/txtar"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// A founding file is what founders mail to each other: a txtar archive of the charter, signed or still to be signed, and
// every member's card. See docs/formats/founding.md and docs/founding.md.

const foundingComment = "An Entente founding file: a charter and the cards of its members.\n" +
	"Compare every fingerprint with its owner by telephone before you sign: entente charter sign FILE\n"

// Founding is a founding file, read. Nothing in it is verified but that the cards are signed by their own keys and fit
// the charter; who the founders really are is for people to compare.
type Founding struct {
	Charter  *statement.Unsigned[statement.Charter]
	Cards    []*statement.Signed[statement.Card]
	Founders []Founder
}

// Founder is what a person compares over the telephone.
type Founder struct {
	Name, Address, Jurisdiction string
	Fingerprint                 string // of the card
	Signed                      bool   // whether the charter bears a line of this member
}

// FoundingDraft says what alliance is to be founded.
type FoundingDraft struct {
	Alliance  string
	Cards     [][]byte                   // of all members, in any order
	Witnesses []statement.OutsideWitness // beside the members, in any order, or none
	Auditors  []string                   // spiffe://MEMBER/person/NAME, in any order, or none
}

// DraftFounding writes a founding file for the members whose cards are given. It waits limit.Adoption for signatures.
func DraftFounding(d FoundingDraft, now time.Time) ([]byte, error) {
	cards := d.Cards
	c := statement.Charter{Alliance: d.Alliance, Version: 1, Created: now.UTC().Truncate(time.Second), Quorum: statement.QuorumMajority,
		Auditors: slices.Clone(d.Auditors), Witnesses: slices.Clone(d.Witnesses)}
	slices.Sort(c.Auditors)
	slices.SortFunc(c.Witnesses, func(a, b statement.OutsideWitness) int { return strings.Compare(a.Name, b.Name) })
	c.AdoptBy = c.Created.Add(limit.Adoption)
	signed := make([]*statement.Signed[statement.Card], 0, len(cards))
	for i, raw := range cards {
		card, err := statement.OpenSelfSigned[statement.Card](raw)
		if err != nil {
			return nil, fault.New(fault.Invalid, "ask its owner for the file that `entente card -o FILE` writes", "read card %d: %w", i+1, err)
		}
		signed = append(signed, card)
	}
	slices.SortFunc(signed, func(a, b *statement.Signed[statement.Card]) int {
		return strings.Compare(a.Terms.Member, b.Terms.Member)
	})
	for _, card := range signed {
		c.Members = append(c.Members, statement.CharterMember{Name: card.Terms.Member, Standing: statement.GoodStanding,
			Statement: card.Terms.Statement, Recovery: card.Terms.Recovery, Card: card.Hash})
	}
	draft, err := statement.Draft(c)
	if err != nil {
		return nil, fault.New(fault.Misused, "an alliance needs a lower-case name and the cards of at least two different members; see entente charter draft --help", "%w", err)
	}
	file := packFounding(draft, signed)
	if _, err := ReadFounding(file); err != nil {
		return nil, err
	}
	return file, nil
}

func packFounding(charter []byte, cards []*statement.Signed[statement.Card]) []byte {
	a := &txtar.Archive{Comment: []byte(foundingComment), Files: []txtar.File{{Name: "charter", Data: charter}}}
	for _, c := range cards {
		a.Files = append(a.Files, txtar.File{Name: "cards/" + c.Terms.Member, Data: c.Raw})
	}
	return txtar.Format(a)
}

// ReadFounding reads a founding file strictly.
func ReadFounding(file []byte) (*Founding, error) {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "ask for the file that `entente charter draft` wrote", "read founding file: "+format, args...)
	}
	if len(file) > limit.Founding {
		return nil, bad("it has %d bytes, at most %d are allowed", len(file), limit.Founding)
	}
	a := txtar.Parse(file)
	if !bytes.Equal(txtar.Format(a), file) || len(a.Files) < 2 || a.Files[0].Name != "charter" || string(a.Comment) != foundingComment {
		return nil, bad("it is not a founding file")
	}
	charter, err := statement.ParseDraft[statement.Charter](a.Files[0].Data)
	if err != nil {
		return nil, bad("%w", err)
	}
	f := &Founding{Charter: charter}
	for _, file := range a.Files[1:] {
		card, err := statement.OpenSelfSigned[statement.Card](file.Data)
		if err != nil {
			return nil, bad("%s: %w", file.Name, err)
		}
		if file.Name != "cards/"+card.Terms.Member {
			return nil, bad("%s is the card of %s", file.Name, card.Terms.Member)
		}
		f.Cards = append(f.Cards, card)
		f.Founders = append(f.Founders, Founder{Name: card.Terms.Member, Address: card.Terms.Address, Jurisdiction: card.Terms.Jurisdiction,
			Fingerprint: statement.Fingerprint(card.Hash), Signed: slices.Contains(charter.Signed, card.Terms.Member+"/statement")})
	}
	// All but the missing signatures must already be as it must be in the end. Those that are there are checked with the
	// keys in the text, which the founders vouch for by comparing fingerprints.
	h, err := member.Found(&statement.Signed[statement.Charter]{Raw: charter.Raw, Text: charter.Text, Hash: charter.Hash, Terms: charter.Terms}, f.Cards...)
	if err == nil {
		err = charter.Verify(h.Verifiers())
	}
	if err != nil {
		return nil, bad("%w", err)
	}
	return f, nil
}

// SignFounding adds this member's signature to the charter in a founding file. The caller has had a person compare the
// fingerprints.
func (h *Home) SignFounding(_ context.Context, file []byte) ([]byte, error) {
	f, err := ReadFounding(file)
	if err != nil {
		return nil, err
	}
	own, err := h.Card()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(f.Cards, func(c *statement.Signed[statement.Card]) bool { return c.Hash == own.Hash }) {
		return nil, fault.New(fault.Invalid, "send your card (entente card -o FILE) to whoever drafts the charter", "sign charter: it does not name the card of %s", h.Config.Member)
	}
	raw, err := statement.AddSignature(f.Charter.Raw, h.Keys.Statement)
	if err != nil {
		return nil, fmt.Errorf("sign charter: %w", err)
	}
	return packFounding(raw, f.Cards), nil
}

// AdoptFounding merges the signatures of several copies of one founding file and, when none is missing, makes the
// alliance this node's own. Adopting the same charter again changes nothing.
func (h *Home) AdoptFounding(ctx context.Context, now time.Time, files ...[]byte) (*member.History, error) {
	var copies [][]byte
	var first *Founding
	for _, file := range files {
		f, err := ReadFounding(file)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = f
		}
		copies = append(copies, f.Charter.Raw)
	}
	if first == nil {
		return nil, fault.New(fault.Misused, "name the founding files that the members signed", "adopt charter: no file given")
	}
	raw, err := statement.Merge(copies...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "all files must be copies of one draft", "adopt charter: %w", err)
	}
	draft, err := statement.ParseDraft[statement.Charter](raw)
	if err != nil {
		return nil, fmt.Errorf("adopt charter: %w", err)
	}
	if len(draft.Missing) > 0 {
		return nil, fault.New(fault.Invalid, "collect the missing signatures and give all files at once", "adopt charter: it still lacks the signatures of %s", strings.Join(draft.Missing, ", "))
	}
	charter, err := statement.OpenSelfSigned[statement.Charter](raw)
	if err != nil {
		return nil, fault.New(fault.Invalid, "somebody's copy is damaged or forged; ask everybody for theirs again", "adopt charter: %w", err)
	}
	history, err := member.Found(charter, first.Cards...)
	if err != nil {
		return nil, fmt.Errorf("adopt charter: %w", err)
	}
	own, err := h.Card()
	if err != nil {
		return nil, err
	}
	if me, ok := history.Member(h.Config.Member); !ok || me.Card != own.Hash {
		return nil, fault.New(fault.Invalid, "", "adopt charter: it does not name the card of %s", h.Config.Member)
	}
	if now.After(charter.Terms.AdoptBy) {
		if _, err := h.History(ctx); err != nil {
			return nil, fault.New(fault.Invalid, "draft the charter anew", "adopt charter: it had to be adopted by %s", charter.Terms.AdoptBy.Format(time.RFC3339))
		}
	}
	err = h.DB.Update(ctx, func(tx *store.Tx) error {
		known, err := tx.Charters()
		if err != nil {
			return err
		}
		if len(known) > 0 {
			if hash, err := statement.HashOf(known[0]); err == nil && hash == charter.Hash {
				return errUnchanged
			}
			return fault.New(fault.Conflict, "a home belongs to one alliance; make another home for another one", "adopt charter: %s already belongs to an alliance", h.Config.Member)
		}
		if err := tx.PutCharter(charter); err != nil {
			return err
		}
		if _, err := tx.Record(statement.Event{Kind: statement.EventCharter, Time: now, Statement: charter.Hash}); err != nil {
			return err
		}
		for _, c := range first.Cards {
			if err := tx.PutCard(c); err != nil {
				return err
			}
			if _, err := tx.Record(statement.Event{Kind: statement.EventCard, Time: now, Statement: c.Hash, Peers: []string{c.Terms.Member}}); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return history, nil
	}
	if err != nil {
		return nil, fmt.Errorf("adopt charter: %w", err)
	}
	if _, err := h.Log.Publish(ctx); err != nil {
		return nil, fmt.Errorf("adopt charter: %w", err)
	}
	return history, nil
}

// errUnchanged ends an Update that found everything as it should be.
var errUnchanged = errors.New("nothing to change")
