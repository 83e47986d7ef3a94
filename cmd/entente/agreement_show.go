package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func (p *program) agreementShow() *cobra.Command {
	var version int64
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show an agreement: terms, prose, who signed when, its history, what was exchanged",
		Long: `Show prints the newest version of an agreement that has begun here, or the Nth
with --version N: its terms, its rules and its prose, which party signed it when
by this node's clock, who leaves it, the versions before and after it, and how
much this member sent and received under it.

With --json: name, version, sha256, parties, purposes, label_ceiling,
approval_above, retain_days_max, notice_days, not_before, not_after, in_force,
since, signed_by, signed (party, at), missing, withdrawn (member, ends, reason),
versions (version, sha256, since), sent, delivered, received, sealed_bytes,
schemes (name, levels, restrictive, permissive), equivalents (label, means),
policy, prose.`,
		Example: `entente agreement show harbour-watch
entente agreement show harbour-watch --version 1`,
		Args:              args("NAME"),
		ValidArgsFunction: first(p.completeAgreements),
		RunE:              func(cmd *cobra.Command, given []string) error { return p.showOne(cmd.Context(), given[0], version) },
	}
	cmd.Flags().Int64Var(&version, "version", 0, "the Nth version (default: the newest that has begun)")
	return cmd
}

func (p *program) showOne(ctx context.Context, name string, version int64) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	list, err := h.Agreements(ctx, p.now())
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(a node.Agreement) bool { return a.Terms.Name != name })
	if len(list) == 0 {
		return h.NoAgreement(ctx, name)
	}
	found := list[0]
	for _, a := range list {
		if version == 0 && !p.now().Before(a.Terms.NotBefore) || a.Terms.Version == version {
			found = a
		}
	}
	if version != 0 && found.Terms.Version != version {
		return fault.New(fault.NotFound, "entente agreement show "+name+" lists the versions", "there is no version %d of %s here", version, name)
	}
	pasts, err := h.Pasts(ctx, name)
	if err != nil {
		return err
	}
	j := p.adopted(found)
	for _, a := range list {
		j.Versions = append(j.Versions, versionJSON{a.Terms.Version, a.Hash.String(), a.At})
	}
	if past := pasts[found.Hash]; past != nil {
		for _, party := range slices.Sorted(maps.Keys(past.Signed)) {
			j.Signed = append(j.Signed, signedJSON{party, past.Signed[party]})
		}
		j.Sent, j.Delivered, j.Received, j.Sealed = &past.Sent, &past.Delivered, &past.Received, &past.Bytes
	}
	return p.showAgreement(j)
}

func (p *program) agreementDiff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff NAME [VERSION] [VERSION]",
		Short: "Show what changes from one version of an agreement to another",
		Long: `Diff compares the texts of two versions line by line: lines with - are gone,
lines with + are new. Without VERSION it compares the newest version with what
is proposed in its place, or else with the version before it. A VERSION is a
number, or the ID of an open proposal.

With --json: from, to and diff.`,
		Example: `entente agreement diff harbour-watch
entente agreement diff harbour-watch 1 3`,
		Args:              args("NAME", "[VERSION]", "[VERSION]"),
		ValidArgsFunction: first(p.completeAgreements),
		RunE: func(cmd *cobra.Command, given []string) error {
			return p.diffAgreement(cmd.Context(), given[0], given[1:])
		},
	}
}

func (p *program) diffAgreement(ctx context.Context, name string, versions []string) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	names, texts, err := h.Texts(ctx, name)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		if _, notNumber := strconv.Atoi(names[0]); len(names) < 2 && notNumber != nil {
			return h.NoAgreement(ctx, name)
		}
		if len(names) < 2 {
			return fault.New(fault.NotFound, "entente agreement show "+name+" shows it", "there is only one version of %s here", name)
		}
		versions = names[len(names)-2:]
	}
	if len(versions) == 1 {
		versions = append(versions, names[len(names)-1])
	}
	var at [2]int
	for i, v := range versions {
		if at[i] = slices.Index(names, v); at[i] < 0 {
			return fault.New(fault.NotFound, "the versions here are "+strings.Join(names, ", "), "there is no version %.40q of %s here", v, name)
		}
	}
	text := string(diff.Diff(name+" "+versions[0], texts[at[0]], name+" "+versions[1], texts[at[1]]))
	if p.json {
		return p.emit(struct {
			From string `json:"from"`
			To   string `json:"to"`
			Diff string `json:"diff"`
		}{versions[0], versions[1], text})
	}
	if text == "" {
		p.note("They are the same.\n")
		return nil
	}
	_, text, _ = strings.Cut(text, "\n") // its first line names a program
	for line := range strings.Lines(text) {
		switch line = plain(strings.TrimSuffix(line, "\n")); {
		case strings.HasPrefix(line, "+"):
			p.printf("%s\n", styled(good.Render(line)))
		case strings.HasPrefix(line, "-"):
			p.printf("%s\n", styled(bad.Render(line)))
		default:
			p.printf("%s\n", styled(line))
		}
	}
	return nil
}

type agreementJSON struct {
	Name          string    `json:"name"`
	Version       int64     `json:"version"`
	Hash          string    `json:"sha256"`
	Parties       []string  `json:"parties"`
	Purposes      []string  `json:"purposes"`
	Ceiling       string    `json:"label_ceiling"`
	ApprovalAbove string    `json:"approval_above,omitempty"`
	RetainDays    int64     `json:"retain_days_max"`
	NoticeDays    int64     `json:"notice_days"`
	NotBefore     time.Time `json:"not_before"`
	NotAfter      time.Time `json:"not_after"`
	InForce       *bool     `json:"in_force,omitempty"` // of an adopted one
	why           string    // it is not in force, for people
	Since         time.Time `json:"since,omitzero"`
	SignedBy      []string  `json:"signed_by"`
	Missing       []string  `json:"missing,omitempty"` // of a draft

	Signed    []signedJSON    `json:"signed,omitempty"`
	Withdrawn []withdrawnJSON `json:"withdrawn,omitempty"`
	Versions  []versionJSON   `json:"versions,omitempty"`
	Sent      *int64          `json:"sent,omitempty"`
	Delivered *int64          `json:"delivered,omitempty"`
	Received  *int64          `json:"received,omitempty"`
	Sealed    *int64          `json:"sealed_bytes,omitempty"`

	Schemes     []schemeJSON     `json:"schemes,omitempty"`
	Equivalents []equivalentJSON `json:"equivalents,omitempty"`

	Policy string `json:"policy,omitempty"`
	Prose  string `json:"prose,omitempty"`
	File   string `json:"file,omitempty"`
}

type signedJSON struct {
	Party string    `json:"party"`
	At    time.Time `json:"at"`
}

type withdrawnJSON struct {
	Member string    `json:"member"`
	Ends   time.Time `json:"ends"`
	Reason string    `json:"reason,omitempty"`
}

type versionJSON struct {
	Version int64     `json:"version"`
	Hash    string    `json:"sha256"`
	Since   time.Time `json:"since"`
}

func agreementOf(d *statement.Unsigned[statement.Agreement], file string) agreementJSON {
	a := d.Terms
	j := agreementJSON{Name: a.Name, Version: a.Version, Hash: d.Hash.String(), Parties: a.Parties, Purposes: a.Purposes, Ceiling: a.Ceiling,
		ApprovalAbove: a.ApprovalAbove, RetainDays: a.RetainDays, NoticeDays: a.NoticeDays, NotBefore: a.NotBefore, NotAfter: a.NotAfter,
		SignedBy: append([]string{}, d.Signed...), Missing: d.Missing, Policy: a.Policy, Prose: a.Prose, File: file}
	for _, s := range a.Schemes {
		j.Schemes = append(j.Schemes, schemeJSON(s))
	}
	for _, e := range a.Equivalents {
		j.Equivalents = append(j.Equivalents, equivalentJSON(e))
	}
	return j
}

// adopted describes an agreement that is complete: every party has signed it.
func (p *program) adopted(a node.Agreement) agreementJSON {
	d := statement.Unsigned[statement.Agreement]{Hash: a.Hash, Terms: a.Terms}
	for _, party := range a.Terms.Parties {
		d.Signed = append(d.Signed, party+"/statement")
	}
	j := agreementOf(&d, "")
	j.InForce, j.Since = ptr(a.InForce), a.At
	switch now := p.now(); {
	case a.InForce:
	case now.Before(a.Terms.NotBefore):
		j.why = "has not begun"
	case a.Superseded:
		j.why = "superseded"
	default:
		j.why = "has ended"
	}
	for _, n := range a.Withdrawn {
		w := withdrawnJSON{Member: n.Member, Ends: n.Ends}
		if s, err := statement.ParseDraft[statement.Notice](n.Raw); err == nil {
			w.Reason = s.Terms.Reason
		}
		j.Withdrawn = append(j.Withdrawn, w)
	}
	return j
}

func (a agreementJSON) state() styled {
	switch {
	case a.InForce == nil:
		return styled(wait.Render("draft"))
	case *a.InForce:
		return styled(good.Render("in force"))
	}
	return styled(bad.Render("not in force, " + a.why))
}

// owners names the members whose statement keys these are.
func owners(keys []string) string {
	var names words
	for _, k := range keys {
		names = append(names, strings.TrimSuffix(k, "/statement"))
	}
	return names.join()
}

func (p *program) showAgreement(a agreementJSON) error {
	if p.json {
		return p.emit(a)
	}
	days := func(n int64) string { return (*duration)(ptr(time.Duration(n) * day)).String() }
	list := []field{{"agreement", a.Name}, {"version", a.Version}, {"state", a.state()}, {"parties", words(a.Parties).join()},
		{"purposes", words(a.Purposes).join()}, {"ceiling", p.label(a.Ceiling)}}
	if a.ApprovalAbove != "" {
		list = append(list, field{"two keys above", p.label(a.ApprovalAbove)})
	}
	list = append(list, field{"retain at most", days(a.RetainDays)}, field{"notice period", days(a.NoticeDays)},
		field{"from", a.NotBefore}, field{"until", a.NotAfter})
	if a.InForce == nil { // a draft or a copy, in a file
		list = append(list, field{"signed by", owners(a.SignedBy)}, field{"to sign yet", owners(a.Missing)}, field{"sha256", a.Hash}, field{"file", a.File})
	} else {
		list = append(append(list, field{"here since", a.Since}, field{"sha256", a.Hash}), a.past()...)
	}
	p.fields(append(list, p.schemes(a.Schemes, a.Equivalents)...)...)
	for _, s := range []struct{ name, text string }{{"policy", a.Policy}, {"prose", a.Prose}} {
		if s.text != "" {
			p.printf("\n%s\n", styled(faint.Render("--- "+s.name)))
			p.lines(s.text)
		}
	}
	return nil
}

// past shows who signed an agreement when, who leaves it, its other versions, and what was exchanged.
func (a agreementJSON) past() (list []field) {
	signed := map[string]time.Time{}
	for _, s := range a.Signed {
		signed[s.Party] = s.At
	}
	for _, party := range a.Parties {
		if at, known := signed[party]; known {
			list = append(list, field{"signed", party + ", " + when(at)})
		} else {
			list = append(list, field{"signed", party})
		}
	}
	for _, w := range a.Withdrawn {
		text := w.Member + ", no party from " + when(w.Ends)
		if w.Reason != "" {
			text += ": " + w.Reason
		}
		list = append(list, field{"withdrawn", text})
	}
	for _, v := range a.Versions {
		if v.Version != a.Version {
			list = append(list, field{fmt.Sprintf("version %d", v.Version), "here since " + when(v.Since)})
		}
	}
	if a.Sent != nil {
		list = append(list, field{"exchanged", fmt.Sprintf("%d sent, %d of them delivered; %d received; %s", *a.Sent, *a.Delivered, *a.Received, size(*a.Sealed))})
	}
	return list
}
