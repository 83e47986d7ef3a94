package evidence

import (
	"fmt"
	"slices"
	"strings"

	"entente.example/internal/checkpoint"
	"entente.example/internal/statement"
)

// ClaimFork is the claim of a bundle about a fork.
const ClaimFork = "fork"

// fork verifies a bundle about a log that contradicts itself.
func (t *trust) fork(b *Bundle, o Options, v *Verdict) error {
	if err := b.only(o, "fork"); err != nil {
		return err
	}
	if statement.HashBytes(b.Fork) != b.About || !slices.Equal(b.Claims, []string{ClaimFork}) {
		return fmt.Errorf("it is about something else than the fork in it")
	}
	f, err := checkpoint.ParseFork(b.Fork)
	if err != nil {
		return err
	}
	origin, err := f.Origin()
	if err != nil {
		return err
	}
	owner, keys, err := t.log(origin)
	if err != nil {
		return err
	}
	says, err := f.Check(keys)
	if err != nil {
		return err
	}
	for _, raw := range [][]byte{f.Smaller, f.Larger} {
		c, err := checkpoint.Open(raw, keys)
		if err != nil {
			return err
		}
		if t.future(c.Time) {
			return fmt.Errorf("a checkpoint in it is from the future")
		}
	}
	// Nobody can be blamed with a key that others may have had. Witnessed time does not help: a fork need not have been witnessed.
	for _, k := range t.h.Keys(owner) {
		if (k.Vkey == keys.Ed25519 || k.Vkey == keys.MLDSA) && !k.Compromised.IsZero() {
			return fmt.Errorf("the log's key %s is compromised, so somebody else than %s can have signed", k.ID, owner)
		}
	}
	v.Claims = []Claim{{Claim: ClaimFork, Statement: b.About, SignedBy: []string{statement.KeyID(keys.Ed25519), statement.KeyID(keys.MLDSA)}, Says: says + "."}}
	v.NotProved = append(v.NotProved, "Which of the two is what happened.", "Who did it: whoever had the keys of "+origin+", which "+owner+" answers for.")
	return nil
}

// only refuses parts that do not belong to a bundle of that kind, and a document, which only an exchange has.
func (b *Bundle) only(o Options, kind Kind) error {
	if o.Document != nil {
		return fmt.Errorf("only evidence about an exchange proves anything about a document")
	}
	if b.Agreement != nil || b.Manifest != nil || len(b.Receipts) > 0 || b.Recipient != "" ||
		b.Reconciliation != nil || kind != KindFork && b.Fork != nil ||
		kind != KindDisclosure && len(b.Leaves)+len(b.Opened) > 0 {
		return fmt.Errorf("it has parts that do not belong to a %s", kind)
	}
	return nil
}

// ClaimLeaf is the first claim of a disclosure; a claim ClaimPrivate with the field's name behind it follows for each field that is opened.
const (
	ClaimLeaf    = "leaf"
	ClaimPrivate = "private/"
)

// disclosure verifies a bundle about one leaf.
func (t *trust) disclosure(b *Bundle, o Options, v *Verdict) error {
	if err := b.only(o, KindDisclosure); err != nil {
		return err
	}
	if len(b.Leaves) != 1 || statement.HashBytes(b.Leaves[0].Raw) != b.About {
		return fmt.Errorf("it must show exactly the leaf that it is about")
	}
	p, err := t.prove(b.Leaves[0], func(string, statement.Leaf) bool { return true })
	if err != nil {
		return err
	}
	if err := p.opens(b.Opened); err != nil {
		return err
	}
	if !slices.Equal(b.Claims, b.disclosed()) {
		return fmt.Errorf("it claims [%s], and what it holds proves [%s]", strings.Join(b.Claims, " "), strings.Join(b.disclosed(), " "))
	}
	v.Claims = []Claim{{Claim: ClaimLeaf, Statement: b.About, Says: fmt.Sprintf("%s's log holds this leaf.", p.owner), Value: string(p.raw),
		Leaves: []Witnessed{p.Witnessed}, Since: p.Since}}
	for _, o := range b.Opened {
		v.Claims = append(v.Claims, Claim{Claim: ClaimPrivate + o.Field, Since: p.Since, Value: readable(o.Value),
			Says: fmt.Sprintf("This is the private field %s that the leaf commits to.", o.Field)})
	}
	if p.Since.IsZero() {
		v.NotProved = append(v.NotProved, fmt.Sprintf("When it was recorded: no quorum of witnesses has co-signed it, so it is only the word of %s.", p.owner))
	}
	for field := range p.leaf.Private {
		if !slices.ContainsFunc(b.Opened, func(o Opening) bool { return o.Field == field }) {
			v.NotProved = append(v.NotProved, fmt.Sprintf("What the private field %s says: it is not opened.", field))
		}
	}
	slices.Sort(v.NotProved)
	v.NotProved = append(v.NotProved, fmt.Sprintf("That what %s recorded is true: a log proves what its owner said, and since when.", p.owner))
	if p.PQ {
		v.Anchored = []string{"leaf"}
	} else {
		v.NotAnchored = []string{"leaf"}
	}
	return nil
}

// opens checks openings against the commitments of the leaf.
func (p *proved) opens(list []Opening) error {
	for _, o := range list {
		if o.Origin != p.Log || o.Index != p.Witnessed.Leaf || p.leaf.Private[o.Field] != o.Commitment() {
			return fmt.Errorf("the private field %.40q is not the one that the leaf commits to", o.Field)
		}
	}
	return nil
}

// disclosed are the claims of a disclosure.
func (b *Bundle) disclosed() []string {
	claims := []string{ClaimLeaf}
	for _, o := range b.Opened {
		claims = append(claims, ClaimPrivate+o.Field)
	}
	return claims
}
