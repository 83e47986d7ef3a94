package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// Parts is what a bundle about an exchange is made of.
type Parts struct {
	History   *member.History
	Manifest  []byte
	Recipient string // the exchange's; one of those in the manifest
	Agreement []byte // nil if it is not known
	Receipts  [][]byte
	Leaves    []Leaf    // of either side, in any order
	Opened    []Opening // the salt of the leaf `released`, or nothing
}

// Build makes a bundle about an exchange and verifies it, as of now. What it claims follows from the parts. Receipts for which no leaf
// vouches, and leaves that serve no claim, are left out.
func (p Parts) Build(now time.Time) ([]byte, Verdict, error) {
	manifest, err := statement.Open[statement.Manifest](p.Manifest, p.History.AllVerifiers())
	if err != nil {
		return nil, Verdict{}, fmt.Errorf("make evidence: %w", err)
	}
	b := alliance(p.History, KindExchange, manifest.Hash)
	b.Recipient, b.Manifest, b.Agreement, b.Opened = p.Recipient, p.Manifest, p.Agreement, p.Opened
	receipts := map[statement.ReceiptKind]*statement.Signed[statement.Receipt]{}
	for _, raw := range p.Receipts {
		r, err := statement.Open[statement.Receipt](raw, p.History.AllVerifiers(p.Recipient))
		if err != nil {
			return nil, Verdict{}, fmt.Errorf("make evidence: %w", err)
		}
		receipts[r.Terms.Kind] = r
	}
	vouched := map[statement.ReceiptKind]bool{}
	for _, l := range p.Leaves {
		leaf, err := statement.ParseLeaf(l.Raw)
		if err != nil {
			return nil, Verdict{}, fmt.Errorf("make evidence: %w", err)
		}
		kind, serves := serves(leaf, l, receipts)
		if !serves || slices.ContainsFunc(b.Leaves, func(other Leaf) bool { return other.Origin == l.Origin && other.Index == l.Index }) {
			continue
		}
		vouched[kind] = true
		b.Leaves = append(b.Leaves, l)
	}
	for _, a := range answers {
		if r := receipts[a.receipt]; r != nil && vouched[a.receipt] {
			b.Receipts = append(b.Receipts, Receipt{a.receipt, r.Raw})
		}
	}
	return b.finish(now, func(t *trust, v *Verdict) error { return t.exchange(b, Options{}, v) })
}

// serves tells whether a leaf serves a claim, and for which receipt it vouches, if for any.
func serves(leaf statement.Leaf, l Leaf, receipts map[statement.ReceiptKind]*statement.Signed[statement.Receipt]) (statement.ReceiptKind, bool) {
	switch leaf.Kind {
	case statement.EventReleased, statement.EventExpired, statement.EventAgreement:
		return "", true
	}
	for _, a := range answers {
		r := receipts[a.receipt]
		if r == nil {
			continue
		}
		if leaf.Kind == a.ours && r.Terms.Log == l.Origin && r.Terms.Leaf == l.Index || leaf.Kind == a.sent && leaf.Receipt != nil && *leaf.Receipt == r.Hash {
			return a.receipt, true
		}
	}
	return "", false
}

// Disclosure makes a bundle that shows one leaf, and opens private fields of it, which may be none. It verifies the bundle, as of now.
func Disclosure(h *member.History, leaf Leaf, opened []statement.Committed, now time.Time) ([]byte, Verdict, error) {
	b := alliance(h, KindDisclosure, statement.HashBytes(leaf.Raw))
	b.Leaves = []Leaf{leaf}
	for _, c := range opened {
		b.Opened = append(b.Opened, Opening{leaf.Origin, leaf.Index, c})
	}
	slices.SortFunc(b.Opened, func(a, b Opening) int { return cmp.Compare(a.Field, b.Field) })
	b.Claims = b.disclosed()
	return b.finish(now, nil)
}

// ForkProof makes a bundle of a proof that a member's log contradicts itself, as checkpoint.Fork renders it. It verifies the bundle, as of
// now.
func ForkProof(h *member.History, fork []byte, now time.Time) ([]byte, Verdict, error) {
	b := alliance(h, KindFork, statement.HashBytes(fork))
	b.Fork, b.Claims = fork, []string{ClaimFork}
	return b.finish(now, nil)
}

// alliance begins a bundle with everything that is known of the alliance.
func alliance(h *member.History, kind Kind, about statement.Hash) *Bundle {
	b := &Bundle{Kind: kind, Charter: h.Alliance(), About: about, Founding: h.Charter().Raw}
	for _, a := range h.Amendments() {
		b.Amendments = append(b.Amendments, a.Raw)
	}
	for _, m := range h.Members() {
		for _, c := range h.Cards(m.Name) {
			b.Cards = append(b.Cards, Card{m.Name, c.Terms.Version, c.Raw})
		}
	}
	return b
}

// errClaims is what a verification ends with that only asks for the claims.
var errClaims = errors.New("the claims differ")

// finish finds out the claims with judge, where they are not known yet, renders the bundle, and verifies what it rendered.
func (b *Bundle) finish(now time.Time, judge func(*trust, *Verdict) error) ([]byte, Verdict, error) {
	if b.Claims == nil {
		t, err := b.trust(now)
		if err != nil {
			return nil, Verdict{}, fmt.Errorf("make evidence: %w", err)
		}
		v := &Verdict{}
		if err := judge(t, v); err != nil && !errors.Is(err, errClaims) {
			return nil, Verdict{}, fmt.Errorf("make evidence: %w", err)
		}
		for _, c := range v.Claims {
			b.Claims = append(b.Claims, c.Claim)
		}
	}
	raw, err := b.Render()
	if err != nil {
		return nil, Verdict{}, fmt.Errorf("make evidence: %w", err)
	}
	v := Verify(raw, Options{Charter: b.Charter, Now: now})
	if !v.Valid {
		return nil, v, fmt.Errorf("make evidence: %s", v.Why)
	}
	return raw, v, nil
}
