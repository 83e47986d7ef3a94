package evidence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// ClaimReconciliation is the claim of a bundle about a reconciliation.
const ClaimReconciliation = "reconciliation"

// reconciliation verifies a bundle about what two members signed about their logs, with their leaves `reconciled` that name it, if any.
func (t *trust) reconciliation(b *Bundle, o Options, v *Verdict) error {
	if o.Document != nil || b.Agreement != nil || b.Manifest != nil || len(b.Receipts)+len(b.Opened) > 0 || b.Fork != nil || b.Recipient != "" {
		return fmt.Errorf("it has parts that do not belong to a reconciliation, or was given a document")
	}
	if hash, err := statement.HashOf(b.Reconciliation); err != nil || hash != b.About || !slices.Equal(b.Claims, []string{ClaimReconciliation}) {
		return fmt.Errorf("it is about something else than the reconciliation in it")
	}
	r, err := statement.Open[statement.Reconciliation](b.Reconciliation, t.h.AllVerifiers())
	if err != nil {
		return err
	}
	if r.Terms.Alliance != t.h.Alliance() {
		return fmt.Errorf("the reconciliation belongs to another alliance")
	}
	t.parties = r.Terms.Parties
	c := Claim{Claim: ClaimReconciliation, Statement: r.Hash, SignedBy: r.By, Says: reconciled(r.Terms)}
	var leaves []*proved
	for _, l := range b.Leaves {
		p, err := t.prove(l, func(owner string, leaf statement.Leaf) bool {
			return leaf.Kind == statement.EventReconciled && leaf.Statement != nil && *leaf.Statement == r.Hash && slices.Contains(r.Terms.Parties, owner)
		})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(leaves, func(other *proved) bool { return other.owner == p.owner }) {
			return fmt.Errorf("two leaves of %s name it", p.owner)
		}
		leaves = append(leaves, p)
		c.Leaves = append(c.Leaves, p.Witnessed)
		if !p.Since.IsZero() && (c.Since.IsZero() || p.Since.Before(c.Since)) {
			c.Since = p.Since
		}
	}
	if err := t.signedInTime("the reconciliation", r.By, leaves); err != nil {
		return err
	}
	v.Claims = []Claim{c}
	switch {
	case c.Since.IsZero():
		v.NotProved = append(v.NotProved, "When it was signed: no quorum of witnesses has co-signed a leaf about it.")
	case !slices.ContainsFunc(leaves, func(p *proved) bool { return !p.Since.IsZero() && !p.OnlyParties }):
		v.NotProved = append(v.NotProved, "When it was signed, to somebody who trusts neither party: only a party witnessed this.")
	}
	v.NotProved = append(v.NotProved, "That the leaves are as it says: the file shows what both signed about their logs, and not the logs.")
	if slices.ContainsFunc(leaves, func(p *proved) bool { return p.PQ }) {
		v.Anchored = []string{ClaimReconciliation}
	} else {
		v.NotAnchored = []string{ClaimReconciliation}
	}
	return nil
}

// reconciled says what came out.
func reconciled(r statement.Reconciliation) string {
	sides := make([]string, len(r.Sides))
	for i, s := range r.Sides {
		sides[i] = fmt.Sprintf("of %d leaves of %s %d matched, %d were open, %d stood only there and %d differed", s.Leaves, s.Member, s.Matched, s.Open, s.Only, s.Differing)
	}
	return fmt.Sprintf("%s signed that they compared what their logs say of exchanges from %s until %s: %s.", strings.Join(r.Parties, " and "),
		r.Since.Format(time.RFC3339), r.Until.Format(time.RFC3339), strings.Join(sides, "; "))
}

// Reconciliation makes a bundle of a reconciliation that both have signed, with the leaves `reconciled` that name it, which may be none.
// It verifies the bundle, as of now.
func Reconciliation(h *member.History, raw []byte, leaves []Leaf, now time.Time) ([]byte, Verdict, error) {
	hash, err := statement.HashOf(raw)
	if err != nil {
		return nil, Verdict{}, fmt.Errorf("make evidence: %w", err)
	}
	b := alliance(h, KindReconciliation, hash)
	b.Reconciliation, b.Leaves, b.Claims = raw, leaves, []string{ClaimReconciliation}
	return b.finish(now, nil)
}
