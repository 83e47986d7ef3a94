package evidence

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/statement"
)

// content checks the opening of the content's commitment, and the document that was given, if any. It comes last: a document may be
// large, and must not be read for a file that is not valid anyway.
func (x *inquiry) content(b *Bundle, o Options) error {
	if len(b.Opened) == 0 {
		if o.Document != nil {
			return fmt.Errorf("the file does not open the commitment to the content, so it proves nothing about a document; the sender makes one that does with --content")
		}
		return nil
	}
	released := x.of(statement.EventReleased)
	one := b.Opened[0]
	if len(b.Opened) > 1 || len(released) != 1 || one.Origin != released[0].Log || one.Index != released[0].Witnessed.Leaf || one.Field != saltField || len(one.Value) != 32 {
		return fmt.Errorf("it opens something else than the salt in the leaf `released`")
	}
	if released[0].leaf.Private[saltField] != one.Commitment() {
		return fmt.Errorf("the salt is not the one that the leaf `released` commits to")
	}
	claim := &x.v.Claims[len(x.v.Claims)-1]
	claim.Leaves, claim.Since = []Witnessed{released[0].Witnessed}, released[0].Since
	if o.Document == nil {
		x.v.NotProved = append(x.v.NotProved, "What the document says: give it with its name and media type, and it is compared.")
		return nil
	}
	m := x.manifest.Terms
	got, err := statement.Inner{Core: m.Core(), Name: o.Name, MediaType: o.MediaType}.Commitment([32]byte(one.Value), o.Document)
	if err != nil {
		return err
	}
	if got != m.Content.Commitment {
		return fmt.Errorf("the document, its name or its media type is not what %s committed to; it was compared as %s of type %s", m.From, o.Name, o.MediaType)
	}
	claim.Says = fmt.Sprintf("The document given, with its name and media type, is exactly what %s committed to in the manifest.", m.From)
	return nil
}

// caveats says what is not proved.
func (x *inquiry) caveats() {
	note := func(format string, args ...any) { x.v.NotProved = append(x.v.NotProved, fmt.Sprintf(format, args...)) }
	m := x.manifest.Terms
	has := func(owner string) bool {
		return slices.ContainsFunc(x.leaves, func(p *proved) bool { return p.owner == owner })
	}
	if !has(m.From) {
		note("What %s recorded: its log is not in the file, only its signature under the manifest.", m.From)
	}
	switch {
	case !has(x.to) && len(x.receipts) > 0:
		note("What %s recorded: its log is not in the file, only its signed receipts.", x.to)
	case !has(x.to):
		note("What %s did: there is neither a receipt nor a leaf of it in the file.", x.to)
	}
	if !slices.Contains(m.To, x.to) {
		note("That it was meant for %s: the manifest does not name it as a recipient.", x.to)
	}
	if len(x.of(statement.EventExpired)) > 0 {
		note("That %s did not get the document: that no receipt came is the word of %s alone.", x.to, m.From)
	}
	for _, c := range x.v.Claims {
		switch {
		case len(c.Leaves) == 0:
		case c.Since.IsZero():
			note("When it was %s: no quorum of witnesses has co-signed it, so it is only the parties' word.", c.Claim)
		case !slices.ContainsFunc(c.Leaves, func(l Witnessed) bool { return !l.Since.IsZero() && !l.OnlyParties }):
			note("That it was %s, to somebody who trusts neither party: only a party witnessed this.", c.Claim)
		}
	}
	x.agreed(note)
	if !slices.ContainsFunc(x.v.Claims, func(c Claim) bool { return c.Claim == ClaimContent }) {
		note("What the document says: the file does not open the commitment to its content.")
	}
}

// agreed says what the agreement has to do with it. Evidence of a breach is evidence too, so nothing here makes a bundle not valid.
func (x *inquiry) agreed(note func(format string, args ...any)) {
	m := x.manifest.Terms
	x.standing(note)
	if x.agreement == nil {
		note("What was agreed: the agreement %s is not in the file.", m.Agreement)
		return
	}
	a := x.agreement.Terms
	for _, p := range x.parties {
		if !slices.Contains(a.Parties, p) {
			note("That the agreement covers it: %s is no party of %s.", p, a.Name)
		}
	}
	if !slices.Contains(a.Purposes, m.Purpose) {
		note("That the agreement covers it: %s does not list the purpose %s.", a.Name, m.Purpose)
	}
	if m.RetainUntil.Sub(m.Created) > time.Duration(a.RetainDays)*24*time.Hour {
		note("That the agreement covers it: it may be retained until %s, and %s allows %d days.", m.RetainUntil.Format(time.RFC3339), a.Name, a.RetainDays)
	}
	if m.Created.Before(a.NotBefore) || m.Created.After(a.NotAfter) {
		note("That the agreement covers it: %s was in force from %s to %s, and the manifest was made %s.", a.Name,
			a.NotBefore.Format(time.RFC3339), a.NotAfter.Format(time.RFC3339), m.Created.Format(time.RFC3339))
	}
}

// standing says who was not in good standing, and where the charter changed since the version that the sender chose to name.
func (x *inquiry) standing(note func(format string, args ...any)) {
	named, newest := x.manifest.Terms.Charter, x.h.Newest()
	for _, p := range x.parties {
		switch {
		case x.h.StandingAt(named, p) != statement.GoodStanding:
			note("That it was allowed: as of the charter that the manifest names, %s was not in good standing.", p)
		case x.h.StandingAt(newest, p) != statement.GoodStanding:
			note("That it was allowed: as of the newest charter in the file, %s is not in good standing. The manifest names an older one.", p)
		}
	}
	least := x.h.Quorum()
	for _, p := range x.leaves {
		least = min(least, p.Needs)
	}
	if least < x.h.Quorum() {
		note("That enough members witnessed it by today's measure: a quorum is %d now, and was %d then.", x.h.Quorum(), least)
	}
}

// anchors says which statements keep their proof when Ed25519 falls: their hashes stand in a leaf under ML-DSA-44 signatures of the log
// and of a quorum, with keys that the founding charter's hash fixes. Hashes survive.
func (x *inquiry) anchors() {
	put := func(what string, leaves []*proved) {
		if slices.ContainsFunc(leaves, func(p *proved) bool { return p.PQ }) {
			x.v.Anchored = append(x.v.Anchored, what)
		} else {
			x.v.NotAnchored = append(x.v.NotAnchored, what)
		}
	}
	naming := func(match func(l statement.Leaf) bool) (list []*proved) {
		for _, p := range x.leaves {
			if match(p.leaf) {
				list = append(list, p)
			}
		}
		return list
	}
	manifest := naming(func(l statement.Leaf) bool { return l.Manifest != nil })
	put("manifest", manifest)
	if x.agreement != nil {
		put("agreement", x.leaves) // the manifest names its hash, as does a leaf `agreement`
	}
	for _, a := range answers {
		if r := x.receipts[a.receipt]; r != nil {
			put("receipt "+string(a.receipt), naming(func(l statement.Leaf) bool { return l.Receipt != nil && *l.Receipt == r.Hash }))
		}
	}
}

// Text says what a verdict means, in plain words, for a person.
func (v Verdict) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if !v.Valid {
		line("NOT VALID: %s.", strings.TrimSuffix(v.Why, "."))
		if v.strange && !v.Named.IsZero() {
			line("")
			line("The file names the founding charter %s.", v.Named)
			line("That proves nothing yet. Ask a member that you trust, by telephone, for the hash of its alliance's")
			line("founding charter (it prints it with `entente charter show`), and verify with --charter HASH.")
		}
		return b.String()
	}
	line("VALID: %s", v.about())
	line("as of charter %d of the alliance %s (founded by %s)", v.Version, v.Alliance, v.Named)
	var cards []string
	for _, c := range v.Cards {
		cards = append(cards, fmt.Sprintf("%s %d", c.Member, c.Version))
	}
	line("and the cards %s", strings.Join(cards, ", "))
	if x := v.Exchange; x != nil {
		line("")
		for _, f := range [][2]string{{"exchange", x.From + "/" + x.ID + "/" + x.To}, {"manifest", x.Manifest.String()}, {"released by", x.ReleasedBy},
			{"approved by", x.approved()}, {"agreement", x.Agreement + " " + x.AgreementHash.String()}, {"purpose", x.Purpose}, {"label", x.Label}} {
			if f[1] != "" {
				line("  %-12s %s", f[0], f[1])
			}
		}
	}
	line("\nProved")
	for _, c := range v.Claims {
		c.text(line)
	}
	line("\nNot proved")
	for _, n := range v.NotProved {
		line("  - %s", n)
	}
	if v.Anchored != nil || v.NotAnchored != nil {
		line("\nIf Ed25519 falls")
		line("  %-12s %s", "stay proved", words(v.Anchored))
		line("  %-12s %s", "do not", words(v.NotAnchored))
	}
	return b.String()
}

func words(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func (v Verdict) about() string {
	switch {
	case v.Exchange != nil:
		return fmt.Sprintf("evidence about a document from %s to %s", v.Exchange.From, v.Exchange.To)
	case v.Kind == KindFork:
		return "proof that a log contradicts itself"
	case v.Kind == KindReconciliation:
		return "a reconciliation of two logs"
	}
	return "one leaf of a log"
}

func (c Claim) text(line func(format string, args ...any)) {
	line("  %-13s %s", c.Claim, c.Says)
	for _, r := range c.Reasons {
		line("  %-13s   %s/%s: %s", "", r.Set, r.Rule, r.Text)
	}
	if c.Value != "" {
		line("  %-13s   %s", "", c.Value)
	}
	if len(c.SignedBy) > 0 {
		line("  %-13s signed with %s", "", strings.Join(c.SignedBy, ", "))
	}
	for _, l := range c.Leaves {
		by := make([]string, len(l.By))
		for i, w := range l.By {
			by[i] = w.Witness + " " + w.Time.Format(time.RFC3339)
			if w.Party {
				by[i] += " (a party)"
			}
		}
		line("  %-13s leaf %d of %s, %q, dated %s by its owner", "", l.Leaf, l.Log, l.Kind, l.Said.Format(time.RFC3339))
		switch {
		case l.Since.IsZero():
			line("  %-13s   not witnessed: of %d witnesses needed, %d co-signed: %s", "", l.Needs, len(l.By), words(by))
		default:
			line("  %-13s   witnessed since %s by %s (%d needed)", "", l.Since.Format(time.RFC3339), words(by), l.Needs)
		}
	}
}

// readable shows the value of a private field: text as it is, if nothing in it can mislead a terminal, otherwise hex digits.
func readable(value []byte) string {
	if len(value) > 0 && !bytes.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return string(value)
	}
	return hex.EncodeToString(value)
}

// approved is the second key, for people; "" if there was none.
func (x *Exchange) approved() string {
	if x.ApprovedBy == "" {
		return ""
	}
	return x.ApprovedBy + " at " + x.ApprovedAt.Format(time.RFC3339)
}
