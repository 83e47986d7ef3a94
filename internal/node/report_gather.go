package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/audit"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/report"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// gatherer reads what a report is made of, page by page.
type gatherer struct {
	home     *Home
	maker    *report.Maker
	persons  bool
	now      time.Time
	versions map[statement.Hash]*statement.Signed[statement.Agreement]
	// known holds manifests that were read, nil for those under other agreements. It is emptied when it is full.
	known map[statement.Hash]*report.Subject
}

// leaves reads every leaf up to the checkpoint, and compares the root.
func (g *gatherer) leaves(ctx context.Context, head *report.Report) error {
	var tree audit.Frontier
	for tree.Size() < head.Log.Size {
		err := g.home.DB.View(ctx, func(v *store.View) error {
			page, err := v.Leaves(tree.Size(), int(min(head.Log.Size-tree.Size(), limit.Page)))
			if err == nil && len(page) == 0 {
				err = unsound("the log ends after %d leaves, and its checkpoint names %d", tree.Size(), head.Log.Size)
			}
			for _, body := range page {
				if err != nil {
					break
				}
				index := tree.Size()
				tree.Add(tlog.RecordHash(body))
				err = g.leaf(v, index, body, head)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if got := tree.Root().String(); got != head.Log.Root {
		return unsound("the %d leaves of the log hash to %s, and its checkpoint says %s", head.Log.Size, got, head.Log.Root)
	}
	return nil
}

func (g *gatherer) leaf(v *store.View, index int64, body []byte, head *report.Report) error {
	l, err := statement.ParseLeaf(body)
	if err != nil {
		return unsound("leaf %d: %w", index, err)
	}
	if l.Time.Before(head.From) || !l.Time.Before(head.To) {
		return nil
	}
	e := report.Event{Index: index, Leaf: l}
	about, err := g.about(v, &e)
	if err == nil && about {
		err = g.maker.Add(e)
	}
	switch {
	case errors.Is(err, report.ErrTooMany):
		return fault.New(fault.Misused, "make reports on shorter periods", "%w", err)
	case errors.Is(err, store.ErrNotFound):
		return unsound("leaf %d names what is not there: %w", index, err)
	case err != nil:
		return fmt.Errorf("leaf %d: %w", index, err)
	}
	return nil
}

// about finds out whether a leaf is about the agreement, and what stands behind its hashes and commitments.
func (g *gatherer) about(v *store.View, e *report.Event) (bool, error) {
	l := e.Leaf
	switch {
	case l.Kind == statement.EventAgreement:
		return l.Statement != nil && g.versions[*l.Statement] != nil, nil
	case l.Kind == statement.EventRejected: // which of them are of parties, the report decides
		private, err := opened(v, e)
		e.Text = unnamed(string(private["error"]), g.persons, "")
		return true, err
	case l.Kind == statement.EventDenied && l.Manifest == nil:
		return g.denial(v, e)
	case l.Manifest == nil:
		return false, nil
	}
	var err error
	if e.Subject, err = g.subject(v, *l.Manifest); err != nil || e.Subject == nil {
		return false, err
	}
	return true, g.behind(v, e)
}

// behind reads the private fields and the receipt of a leaf about a manifest.
func (g *gatherer) behind(v *store.View, e *report.Event) error {
	private, err := opened(v, e)
	if err != nil {
		return err
	}
	e.Person = personOf(private)
	var receipt []byte
	switch l := e.Leaf; {
	case l.Kind == statement.EventDenied:
		var d deniedRecord
		if err := json.Unmarshal(private["decision"], &d); err != nil {
			return unsound("its decision record: %w", err)
		}
		e.Text = reasons(d.Reasons, g.persons, e.Person)
	case l.Kind == statement.EventUndecryptable:
		e.Text = unnamed(string(private["error"]), g.persons, e.Person)
	case l.Kind == statement.EventRefused:
		receipt, err = v.Receipt(*l.Manifest, g.home.Config.Member, statement.Refused)
	case l.Receipt != nil:
		receipt, err = v.Statement(*l.Receipt)
	}
	if err != nil || receipt == nil {
		return err
	}
	r, err := statement.ParseDraft[statement.Receipt](receipt)
	if err != nil {
		return unsound("%w", err)
	}
	e.Receipt = r.Terms.Kind
	e.Text = reasons(r.Terms.Reasons, g.persons, e.Subject.ReleasedBy)
	return nil
}

// deniedRecord is what a report takes from a decision record.
type deniedRecord struct {
	Manifest struct {
		ID            string         `json:"id"`
		From          string         `json:"from"`
		AgreementHash statement.Hash `json:"agreement_sha256"`
		Purpose       string         `json:"purpose"`
		Label         string         `json:"label"`
	} `json:"manifest"`
	Reasons []statement.Reason `json:"reasons"`
}

// denial reads what a person wanted to release and was not let. There is no manifest; the decision record says what was asked.
func (g *gatherer) denial(v *store.View, e *report.Event) (bool, error) {
	private, err := opened(v, e)
	if err != nil {
		return false, err
	}
	var d deniedRecord
	if err := json.Unmarshal(private["decision"], &d); err != nil {
		return false, unsound("its decision record: %w", err)
	}
	if d.Manifest.AgreementHash.IsZero() {
		g.maker.Unplaced(e.Leaf.Time)
		return false, nil
	}
	a := g.versions[d.Manifest.AgreementHash]
	if a == nil {
		return false, nil
	}
	e.Person = personOf(private)
	e.Text = reasons(d.Reasons, g.persons, e.Person)
	e.Subject = &report.Subject{ID: d.Manifest.ID, From: d.Manifest.From, Version: a.Terms.Version, Label: d.Manifest.Label, Purpose: d.Manifest.Purpose}
	return true, nil
}

// opened gives the private fields of a leaf, each checked against its commitment.
func opened(v *store.View, e *report.Event) (map[string][]byte, error) {
	list, err := v.Private(e.Index)
	if err != nil {
		return nil, err
	}
	fields := map[string][]byte{}
	for _, c := range list {
		if c.Commitment() != e.Leaf.Private[c.Field] {
			return nil, unsound("its private field %s is not the one that it commits to", c.Field)
		}
		fields[c.Field] = c.Value
	}
	for field := range e.Leaf.Private {
		if _, there := fields[field]; !there {
			return nil, unsound("its private field %s is missing", field)
		}
	}
	return fields, nil
}

// mostKnown bounds the manifests that are remembered, at about 500 bytes each. Leaves about one manifest stand close together.
const mostKnown = 10000

// subject reads a manifest, and gives nil if it is under another agreement.
func (g *gatherer) subject(v *store.View, hash statement.Hash) (*report.Subject, error) {
	if s, there := g.known[hash]; there {
		return s, nil
	}
	raw, err := v.Statement(hash)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", hash.Short(), err)
	}
	d, err := statement.ParseDraft[statement.Manifest](raw)
	if err != nil {
		return nil, unsound("manifest %s: %w", hash.Short(), err)
	}
	if d.Hash != hash {
		return nil, unsound("manifest %s hashes to %s", hash.Short(), d.Hash.Short())
	}
	var s *report.Subject
	if m := d.Terms; g.versions[m.AgreementHash] != nil {
		a := g.versions[m.AgreementHash].Terms
		s = &report.Subject{Manifest: hash, ID: m.ID, From: m.From, Version: a.Version, Label: m.Label, Purpose: m.Purpose, Created: m.Created, DeliverBy: m.DeliverBy,
			RetainUntil: m.RetainUntil, Size: m.Content.CiphertextSize, ReleasedBy: nameOf(m.ReleasedBy), Breach: breach(a, m)}
	}
	if len(g.known) == mostKnown {
		clear(g.known)
	}
	g.known[hash] = s
	return s, nil
}

// breach says in which way a manifest is outside the terms of its agreement, without asking the policies again: whoever changed
// those can have changed what they say. Empty if it is inside.
func breach(a statement.Agreement, m statement.Manifest) string {
	var list []string
	schemes := policy.SchemesOf(&a)
	label, err := schemes.Parse(m.Label)
	level, known := schemes.Level(label)
	if ceiling, ok := schemes.LevelOf(a.Ceiling); err != nil || !known || !ok || level > ceiling {
		list = append(list, "label "+m.Label+" is not at or under "+a.Ceiling)
	}
	if !slices.Contains(a.Purposes, m.Purpose) {
		list = append(list, "purpose "+m.Purpose+" is not listed")
	}
	if most := m.Created.AddDate(0, 0, int(a.RetainDays)); m.RetainUntil.After(most) {
		list = append(list, fmt.Sprintf("kept for more than %d days", a.RetainDays))
	}
	if m.Created.Before(a.NotBefore.Add(-limit.ClockSkew)) || m.Created.After(a.NotAfter.Add(limit.ClockSkew)) {
		list = append(list, "created while the agreement was not in force")
	}
	for _, name := range append([]string{m.From}, m.To...) {
		if !slices.Contains(a.Parties, name) {
			list = append(list, name+" is no party")
		}
	}
	return strings.Join(list, "; ")
}

// states reads how far every exchange under the agreement has come by now, oldest period included: what is overdue may have begun
// long before.
func (g *gatherer) states(ctx context.Context, to time.Time) error {
	for after := ""; ; {
		var page []store.Exchange
		err := g.home.DB.View(ctx, func(v *store.View) (err error) {
			if page, err = v.Exchanges(store.Filter{After: after}); err != nil {
				return err
			}
			for _, e := range page {
				if err := g.state(v, e, to); err != nil {
					return fmt.Errorf("exchange %s: %w", e.Ref(), err)
				}
			}
			return nil
		})
		if err != nil || len(page) < limit.Page {
			return err
		}
		after = page[len(page)-1].Cursor()
	}
}

func (g *gatherer) state(v *store.View, e store.Exchange, to time.Time) error {
	if e.Created.After(to.Add(limit.ClockSkew)) {
		return nil
	}
	s, err := g.subject(v, e.Manifest)
	if err != nil || s == nil {
		return err
	}
	state, kept := string(e.State), false
	if e.State == store.Delivered {
		// What was delivered goes on at the recipient; its later receipts say how.
		for _, kind := range []statement.ReceiptKind{statement.Undecryptable, statement.Opened} {
			_, err := v.Receipt(e.Manifest, e.To, kind)
			if err == nil {
				state = string(kind)
			} else if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
	}
	if e.To == g.home.Config.Member && g.now.After(s.RetainUntil) {
		switch _, err := v.Header(e.Manifest); {
		case err == nil:
			kept = true
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	g.maker.State(*s, e.To, state, kept)
	return nil
}

// personOf is the name of the person behind a leaf, or empty.
func personOf(private map[string][]byte) string { return nameOf(string(private["person"])) }

func nameOf(spiffe string) string { return spiffe[strings.LastIndex(spiffe, "/")+1:] }

// reasons puts reasons into one text. One that names a person is left to its rule, unless people are named.
func reasons(list []statement.Reason, persons bool, person string) string {
	var texts []string
	for _, r := range list {
		text := unnamed(r.Text, persons, person)
		if text == "" {
			text = "rule " + r.Rule
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// unnamed is a text, or empty if people are not to be named and it names this person, or anybody by their SPIFFE ID.
func unnamed(text string, persons bool, person string) string {
	if !persons && (strings.Contains(text, "/person/") || person != "" && strings.Contains(text, person)) {
		return ""
	}
	return text
}
