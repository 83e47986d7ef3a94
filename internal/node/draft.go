package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"entente.example/internal/fault"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// A draft file is what people write an agreement in: the terms as TOML, freely spelled and commented, then policy and prose verbatim. The
// one text that is signed is made from it; what stands in comments is not part of it.
type draftFile struct {
	Name          string                 `toml:"name"`
	Version       int64                  `toml:"version"`
	Previous      statement.Hash         `toml:"previous_sha256"`
	Alliance      statement.Hash         `toml:"alliance_sha256"`
	Parties       []string               `toml:"parties"`
	Purposes      []string               `toml:"purposes"`
	Ceiling       string                 `toml:"label_ceiling"`
	ApprovalAbove string                 `toml:"approval_above"`
	RetainDays    int64                  `toml:"retain_days_max"`
	NoticeDays    int64                  `toml:"notice_days"`
	NotBefore     any                    `toml:"not_before"`
	NotAfter      any                    `toml:"not_after"`
	Schemes       []statement.Scheme     `toml:"scheme"`
	Equivalents   []statement.Equivalent `toml:"equivalent"`
}

const policySection, proseSection = "--- policy\n", "--- prose\n"

// WriteDraft writes a draft file with what is known of an agreement, and comments on what is to be filled in.
func WriteDraft(a statement.Agreement) []byte {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	say(`# An agreement: what its parties may share, and on what terms. Fill it in, then: entente agreement propose FILE
# What follows a # is a comment; it is not part of the text that is signed.

name = %q

# Filled in already. Each version of an agreement names the one before it, and belongs to one alliance.
version = %d
`, a.Name, a.Version)
	if !a.Previous.IsZero() {
		say("previous_sha256 = %q\n", a.Previous.String())
	}
	say("alliance_sha256 = %q\n", a.Alliance.String())
	say(`
# The members that it binds: at least two, and this one among them. Whoever is not a party never sees it.
parties = %s

# What documents may be sent for: one or more lower-case words. Every document names one of them.
purposes = %s

# The highest label that may be sent. Built in, from the most open: TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT, TLP:RED.
label_ceiling = %q

`, tomlList(a.Parties), tomlList(a.Purposes), a.Ceiling)
	if a.ApprovalAbove != "" {
		say("# Above this label a second person of the sender approves every release.\napproval_above = %q\n", a.ApprovalAbove)
	} else {
		say("# Above this label a second person of the sender approves every release. Without this line, nobody has to.\n# approval_above = \"TLP:GREEN\"\n")
	}
	say(`
# For how many days a recipient may keep a document at most.
retain_days_max = %d

# How many days before it ends for a party that party says that it withdraws; 0: at once.
notice_days = %d

# From when until when it holds: days, in UTC, or times such as 2027-01-31T12:00:00Z.
not_before = %s
not_after = %s
`, a.RetainDays, a.NoticeDays, tomlDay(a.NotBefore, false), tomlDay(a.NotAfter, true))
	if len(a.Schemes)+len(a.Equivalents) == 0 {
		say(`
# A party's own labels, and what each means in the scheme of label_ceiling. The levels go from the most open to the most closed.
# [[scheme]]
# name = "NAVY"
# levels = ["OPEN", "RESTRICTED"]
# restrictive = []
# permissive = []
#
# [[equivalent]]
# label = "NAVY:RESTRICTED"
# means = "TLP:AMBER"
`)
	}
	for _, s := range a.Schemes {
		say("\n[[scheme]]\nname = %q\nlevels = %s\nrestrictive = %s\npermissive = %s\n", s.Name, tomlList(s.Levels), tomlList(s.Restrictive), tomlList(s.Permissive))
	}
	if len(a.Schemes) > 0 && len(a.Equivalents) == 0 {
		say("\n# What each level means in the scheme of label_ceiling. A level without an equivalent cannot be sent.\n")
		for _, s := range a.Schemes {
			if strings.HasPrefix(a.Ceiling, s.Name+":") {
				continue
			}
			for _, level := range s.Levels {
				say("#\n# [[equivalent]]\n# label = %q\n# means = \"\"\n", s.Name+":"+level)
			}
		}
	}
	for _, e := range a.Equivalents {
		say("\n[[equivalent]]\nlabel = %q\nmeans = %q\n", e.Label, e.Means)
	}
	say(`
# Below the next line: rules of this agreement in Cedar, which every party's node enforces beside the built-in ones; or nothing. Below the
# one after it: what the parties say to each other in words. Both are signed as they stand, comments in them too.
%s%s%s%s`, policySection, a.Policy, proseSection, a.Prose)
	return []byte(b.String())
}

func tomlList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// tomlDay writes a day where the time is its first second, or its last.
func tomlDay(t time.Time, end bool) string {
	t = t.UTC()
	start := t
	if end {
		start = t.Add(time.Second)
	}
	if start.Equal(start.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return t.Format(time.RFC3339)
}

// ReadDraft makes an agreement from a draft file. Every error names the file and, where there is one, the line.
func ReadDraft(file string, b []byte) (statement.Agreement, error) {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) // editors of other systems
	terms, policy, prose := cutDraft(string(b))
	var f draftFile
	if err := toml.NewDecoder(strings.NewReader(terms)).DisallowUnknownFields().Decode(&f); err != nil {
		return statement.Agreement{}, tomlFault(file, err)
	}
	// The library takes a key in any case, and of two that differ by it the later one.
	for i, line := range strings.Split(terms, "\n") {
		if key, _, ok := strings.Cut(line, "="); ok && !strings.Contains(key, "#") && key != strings.ToLower(key) {
			return statement.Agreement{}, fault.New(fault.Misused, "correct that line", "%s: line %d: there is no field %.80q; all are in lower case", file, i+1, strings.TrimSpace(key))
		}
	}
	for _, s := range []struct{ before, text string }{{terms + policySection, policy}, {strings.TrimSuffix(string(b), prose), prose}} {
		var wrong *statement.LineError
		if err := statement.Readable([]byte(section(s.text) + "\n")); errors.As(err, &wrong) {
			return statement.Agreement{}, fault.New(fault.Misused, "correct that line", "%s: line %d: %s", file, strings.Count(s.before, "\n")+wrong.Line, wrong.Text)
		}
	}
	a := statement.Agreement{Name: f.Name, Version: f.Version, Previous: f.Previous, Alliance: f.Alliance, Parties: sorted(f.Parties), Purposes: sorted(f.Purposes),
		Ceiling: f.Ceiling, ApprovalAbove: f.ApprovalAbove, RetainDays: f.RetainDays, NoticeDays: f.NoticeDays,
		Schemes: f.Schemes, Equivalents: f.Equivalents, Policy: section(policy), Prose: section(prose)}
	slices.SortStableFunc(a.Schemes, func(x, y statement.Scheme) int { return strings.Compare(x.Name, y.Name) })
	slices.SortStableFunc(a.Equivalents, func(x, y statement.Equivalent) int { return strings.Compare(x.Label, y.Label) })
	var err error
	if a.NotBefore, err = draftTime(f.NotBefore, false); err != nil {
		return a, draftFault(file, b, statement.Wrong(0, "not_before", "%v", err))
	}
	if a.NotAfter, err = draftTime(f.NotAfter, true); err != nil {
		return a, draftFault(file, b, statement.Wrong(0, "not_after", "%v", err))
	}
	return a, nil
}

// draftFault says which line of a draft file is to blame for an error about the agreement that was made from it.
func draftFault(file string, b []byte, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	return fault.New(fault.Misused, "correct that line", "%s: %w", file, statement.Locate(b, err))
}

// RenderDraft makes the one text that is signed from an agreement that ReadDraft found in a draft file. Its errors are about the file.
func RenderDraft(file string, b []byte, a statement.Agreement) ([]byte, error) {
	raw, err := statement.Draft(a)
	if err != nil {
		return nil, draftFault(file, b, err)
	}
	return raw, nil
}

// CheckDraft makes the checks of policy.CheckAgreement on what ReadDraft found in a draft file. Its errors are about the file.
func CheckDraft(file string, b []byte, a *statement.Agreement) error {
	err := policy.CheckAgreement(a)
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*policy.TextError](err); ok && wrong.Line > 0 {
		before, _, _ := strings.Cut("\n"+string(b), "\n"+policySection)
		return fault.New(fault.Misused, "correct that line", "%s: line %d: %s", file, strings.Count(before, "\n")+1+wrong.Line, wrong.Text)
	}
	return fault.New(fault.Misused, "correct it in "+file, "%s: %w", file, statement.Locate(b, err))
}

// section is a part of a draft file below the terms: without what is empty at its end, and empty if there is nothing in it.
func section(s string) string {
	if s = strings.TrimRight(s, "\n \t"); s == "" {
		return ""
	}
	return s + "\n"
}

// cutDraft takes a draft file apart.
func cutDraft(s string) (terms, policy, prose string) {
	terms = s
	if at := strings.Index("\n"+terms, "\n"+proseSection); at >= 0 {
		terms, prose = terms[:at], terms[at+len(proseSection):]
	}
	if at := strings.Index("\n"+terms, "\n"+policySection); at >= 0 {
		terms, policy = terms[:at], terms[at+len(policySection):]
	}
	return terms, policy, prose
}

// draftTime reads a day or a time. A day means its first second, or its last.
func draftTime(v any, end bool) (t time.Time, err error) {
	day := func(t time.Time) time.Time {
		if end {
			t = t.AddDate(0, 0, 1).Add(-time.Second)
		}
		return t
	}
	switch v := v.(type) {
	case nil:
		return t, errors.New("is missing")
	case toml.LocalDate:
		return day(v.AsTime(time.UTC)), nil
	case time.Time:
		return v.UTC().Truncate(time.Second), nil
	case string:
		if t, err = time.Parse(time.DateOnly, v); err == nil {
			return day(t), nil
		}
		if t, err = time.Parse(time.RFC3339, v); err == nil {
			return t.UTC().Truncate(time.Second), nil
		}
	}
	return t, fmt.Errorf("%.80q is neither a day such as 2027-01-31 nor a time such as 2027-01-31T12:00:00Z", fmt.Sprint(v))
}

// NewDraft fills in what a home knows of an agreement of that name: its alliance, and if it is there already, the next version with the
// terms of the newest one.
func (h *Home) NewDraft(ctx context.Context, name string, amend bool) (statement.Agreement, error) {
	history, err := h.History(ctx)
	if err != nil {
		return statement.Agreement{}, err
	}
	var row store.Agreement
	var left []store.Notice
	err = h.DB.View(ctx, func(v *store.View) (err error) {
		if row, err = v.AgreementByName(name); err == nil {
			left, err = withdrawals(v, row.Hash)
		}
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound) && !amend:
		return statement.Agreement{Name: name, Version: 1, Alliance: history.Alliance()}, nil
	case errors.Is(err, store.ErrNotFound):
		return statement.Agreement{}, h.NoAgreement(ctx, name)
	case err != nil:
		return statement.Agreement{}, fmt.Errorf("draft agreement: %w", err)
	case !amend:
		return statement.Agreement{}, fault.New(fault.Conflict, "for its next version: entente agreement amend "+name, "there is an agreement %s already, in version %d", name, row.Version)
	}
	known, err := openAgreement(history, row.Raw)
	if err != nil {
		return statement.Agreement{}, err
	}
	a := known.Terms
	a.Version, a.Previous = row.Version+1, row.Hash
	for _, n := range left { // the next version can do without them from when they have left
		a.Parties = others(a.Parties, n.Member)
		if a.NotBefore.Before(n.Ends) {
			a.NotBefore = n.Ends
		}
	}
	return a, nil
}

// NoAgreement says that no agreement of this name has been signed by all its parties here, and whether one is on its way.
func (h *Home) NoAgreement(ctx context.Context, name string) error {
	var open []store.Proposal
	err := h.DB.View(ctx, func(v *store.View) (err error) { open, err = v.ProposalsNamed(name, store.ProposalOpen); return err })
	if err != nil {
		return fmt.Errorf("find agreement %s: %w", name, err)
	}
	if len(open) > 0 {
		return fault.New(fault.NotFound, "entente agreement pending says who has yet to sign; entente agreement sign "+open[0].Hash.Short()+" shows the text, and asks",
			"there is no agreement %.80q here yet: it is proposed, and waits for signatures", name)
	}
	return fault.New(fault.NotFound, "entente agreement list shows those that are", "there is no agreement %.80q here", name)
}

// Identify fills in what a draft file leaves out: the alliance, and the version before.
func (h *Home) Identify(ctx context.Context, a statement.Agreement) (statement.Agreement, error) {
	known, err := h.NewDraft(ctx, a.Name, true)
	if fault.KindOf(err) == fault.NotFound {
		known, err = h.NewDraft(ctx, a.Name, false)
	}
	if err != nil {
		return a, err
	}
	if a.Alliance.IsZero() {
		a.Alliance = known.Alliance
	}
	if a.Version == 0 {
		a.Version = known.Version
	}
	if a.Version == known.Version && a.Previous.IsZero() {
		a.Previous = known.Previous
	}
	return a, nil
}

// OpenProposals names the proposals that are open here, by the agreement and by the first digits of the text's hash.
func (h *Home) OpenProposals(ctx context.Context) (names []string, err error) {
	err = h.DB.View(ctx, func(v *store.View) error {
		list, err := v.Proposals(store.ProposalOpen)
		for _, p := range list {
			names = append(names, p.Name, p.Hash.Short())
		}
		return err
	})
	return names, err
}

// Texts gives the texts of the versions of an agreement that are here, oldest first, and those of its open proposals, under the
// names "1", "2" and so on, and the first digits of a proposal's hash.
func (h *Home) Texts(ctx context.Context, name string) (names []string, texts [][]byte, err error) {
	add := func(name string, raw []byte) error {
		d, err := statement.ParseDraft[statement.Agreement](raw)
		if err == nil {
			names, texts = append(names, name), append(texts, d.Text)
		}
		return err
	}
	err = h.DB.View(ctx, func(v *store.View) error {
		rows, err := v.Agreements()
		for _, r := range rows {
			if err == nil && r.Name == name {
				err = add(fmt.Sprint(r.Version), r.Raw)
			}
		}
		if err != nil {
			return err
		}
		open, err := v.ProposalsNamed(name, store.ProposalOpen)
		for _, p := range open {
			if err == nil {
				err = add(p.Hash.Short(), p.Raw)
			}
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the versions of %s: %w", name, err)
	}
	if len(names) == 0 {
		return nil, nil, h.NoAgreement(ctx, name)
	}
	return names, texts, nil
}
