package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/report"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// ReportOptions says what a compliance report is about.
type ReportOptions struct {
	// Agreement is a NAME, which stands for all its versions; NAME@VERSION; or at least 8 digits of a hash.
	Agreement string
	From, To  time.Time // To is exclusive; at most limit.ReportDays days
	Now       time.Time
	Persons   bool // name people
}

// Report makes a compliance report out of this home's log. It reads only, and works beside a running node.
//
// It reads every leaf that the newest checkpoint covers, and gives a fault of kind Invalid if they do not hash to the signed
// root, or if what a leaf names is not there: a report on a damaged log would say too little. Memory is bounded by what the report
// may list, whatever the log holds.
func (h *Home) Report(ctx context.Context, o ReportOptions) (*report.Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	list, err := h.Agreements(ctx, o.Now)
	if err != nil {
		return nil, err
	}
	versions, err := chosen(list, o.Agreement)
	if err != nil {
		return nil, err
	}
	if err := h.untilSigned(ctx); err != nil {
		return nil, err
	}
	g := &gatherer{home: h, persons: o.Persons, now: o.Now, versions: map[statement.Hash]*statement.Signed[statement.Agreement]{}, known: map[statement.Hash]*report.Subject{}}
	for _, a := range versions {
		g.versions[a.Hash] = a.Signed
	}
	head, err := h.reportHead(ctx, o, versions)
	if err != nil {
		return nil, err
	}
	g.maker = report.New(*head)
	if err := g.leaves(ctx, head); err != nil {
		return nil, fmt.Errorf("make report: %w", err)
	}
	if err := g.states(ctx, o.To); err != nil {
		return nil, fmt.Errorf("make report: %w", err)
	}
	return g.maker.Report(), nil
}

func (o ReportOptions) check() error {
	switch days := o.To.Sub(o.From).Hours() / 24; {
	case days <= 0:
		return fault.New(fault.Misused, "the end is exclusive: a report on one day ends on the next", "the period from %s to %s holds no time", o.From.Format(time.RFC3339), o.To.Format(time.RFC3339))
	case days > limit.ReportDays:
		return fault.New(fault.Misused, "make a report for each part of it", "the period has %.0f days; a report covers at most %d", days, limit.ReportDays)
	}
	return nil
}

// leastDigits of a hash name an agreement. Fewer could be a slip.
const leastDigits = 8

// chosen finds the versions of one agreement that somebody means, oldest first. A name goes before a hash that begins so.
func chosen(list []Agreement, ref string) ([]Agreement, error) {
	name, version, exact := strings.Cut(ref, "@")
	number, err := strconv.ParseInt(version, 10, 64)
	if exact && (err != nil || number < 1) {
		return nil, fault.New(fault.Misused, "write NAME@VERSION, such as harbour-watch@2", "%.80q is no version of an agreement", ref)
	}
	var found []Agreement
	for _, a := range list {
		if a.Terms.Name == name && (!exact || a.Terms.Version == number) {
			found = append(found, a)
		}
	}
	if len(found) == 0 && !exact && len(ref) >= leastDigits {
		for _, a := range list {
			if strings.HasPrefix(a.Hash.String(), ref) {
				found = append(found, a)
			}
		}
		if len(found) > 1 {
			return nil, fault.New(fault.Misused, "write more of it", "the hashes of several agreements begin with %.80q", ref)
		}
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "entente agreement list shows those that are", "there is no agreement %.80q here", ref)
	}
	slices.SortFunc(found, func(a, b Agreement) int { return int(a.Terms.Version - b.Terms.Version) })
	return found, nil
}

// reportHead says what the report is about and what it is made from. It verifies the checkpoint under the key of our own card.
func (h *Home) reportHead(ctx context.Context, o ReportOptions, versions []Agreement) (*report.Report, error) {
	history, err := h.History(ctx)
	if err != nil {
		return nil, err
	}
	r := &report.Report{Member: h.Config.Member, Alliance: history.Name(), Founding: history.Alliance().String(), Made: o.Now.UTC().Truncate(time.Second),
		From: o.From.UTC(), To: o.To.UTC(), Persons: o.Persons}
	for _, a := range versions {
		t := a.Terms
		described := report.Agreement{Name: t.Name, Version: t.Version, Hash: a.Hash.String(), Parties: t.Parties, Purposes: t.Purposes, Ceiling: t.Ceiling,
			RetainDays: t.RetainDays, NotBefore: t.NotBefore, NotAfter: t.NotAfter, Prose: len(t.Prose)}
		for _, p := range t.Parties {
			m, ok := history.Member(p)
			if !ok {
				return nil, fault.New(fault.Invalid, "run: entente audit verify", "agreement %s names %s, who is no member", t.Name, p)
			}
			described.SignedBy = append(described.SignedBy, keyName(m.Statement))
		}
		r.Agreements = append(r.Agreements, described)
	}
	for _, m := range history.Members() {
		r.Members = append(r.Members, describeMember(m, versions))
	}
	return r, h.reportLog(ctx, &r.Log)
}

func keyName(v note.Verifier) string { return fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash()) }

func describeMember(m member.Member, versions []Agreement) report.Member {
	party := slices.ContainsFunc(versions, func(a Agreement) bool { return slices.Contains(a.Terms.Parties, m.Name) })
	return report.Member{Name: m.Name, Standing: m.Standing, Jurisdiction: m.Jurisdiction, Party: party, Card: m.Card.String()}
}

func (h *Home) reportLog(ctx context.Context, l *report.Log) error {
	card, err := h.Card()
	if err != nil {
		return err
	}
	var size int64
	var signed []byte
	err = h.DB.View(ctx, func(v *store.View) (err error) {
		if _, signed, err = v.Checkpoint(); err == nil {
			size, err = v.Size()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("make report: read checkpoint: %w", err)
	}
	opened, err := checkpoint.Open(signed, checkpoint.Log{Ed25519: card.Terms.Log, MLDSA: card.Terms.LogMLDSA})
	if err != nil {
		return unsound("make report: %w", err)
	}
	tree := opened.Tree
	l.Origin = opened.Origin
	l.Size, l.Root, l.Checkpoint, l.Later = tree.N, tree.Hash.String(), string(signed), size-tree.N
	return nil
}

// unsound is the error where the log and what hangs on it do not fit each other.
func unsound(format string, args ...any) error {
	return fault.New(fault.Invalid, "run: entente audit verify", format, args...)
}

// untilSigned gives a node that runs beside the moment that it takes to sign what it has just recorded, so that whoever asks right after
// something finds it. What is recorded while it waits, it does not wait for: a busy log would never be signed.
func (h *Home) untilSigned(ctx context.Context) error {
	wanted := int64(-1)
	for began := time.Now(); time.Since(began) < limit.RoundPauseMost+2*limit.RoundPause; time.Sleep(limit.RoundPause / 5) {
		var signed int64
		err := h.DB.View(ctx, func(v *store.View) (err error) {
			if wanted < 0 {
				if wanted, err = v.Size(); err != nil {
					return err
				}
			}
			signed, _, err = v.Checkpoint()
			return err
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look how far the log is signed: %w", err)
		}
		if err == nil && signed >= wanted {
			return nil
		}
	}
	return nil
}
