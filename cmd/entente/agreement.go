package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
)

func (p *program) agreementCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "agreement",
		Short: "Agree on what may be shared: draft, sign, adopt, list and show agreements",
		Long: `An agreement says what its parties may share: for which purposes, up to which
label, to be kept for how long, and from when until when. All parties sign the
same text; then the nodes of sender and recipient both enforce it.

It goes by file, as the charter does: one party drafts, every party signs and
mails its signed file to the others, every party adopts.`,
		Example: `entente agreement draft harbour-watch --parties alpha,bravo \
--purposes incident-response --ceiling TLP:AMBER --retain 90d \
--until 2027-12-31 -o harbour-watch.txt
entente agreement sign harbour-watch.txt
entente agreement adopt harbour-watch-alpha.txt harbour-watch-bravo.txt`,
	}, p.agreementDraft(), p.agreementSign(), p.agreementAdopt(), p.agreementList(), p.agreementShow())
}

type agreementFlags struct {
	parties, purposes words
	ceiling           string
	version           int64
	retain            duration
	from, until       moment
	prose, out        string
	force             bool
}

func (p *program) agreementDraft() *cobra.Command {
	f := agreementFlags{from: moment{now: p.now}, until: moment{now: p.now, end: true}}
	cmd := &cobra.Command{
		Use:   "draft NAME",
		Short: "Write an agreement for its parties to sign",
		Long: `Draft writes an agreement called NAME, one lower-case word. It needs a home that
has adopted a charter, because an agreement belongs to one alliance.

Dates are days such as 2027-01-31, from the first second of --from to the last
second of --until, in UTC; or times such as 2027-01-31T12:00:00Z. What the
parties want to say to each other in words goes below the terms with --prose.
New terms under an old name need a higher --version.

What comes next: mail the file to the parties; each signs it with "entente
agreement sign".

With --json: the agreement's fields, as in "agreement show", and file.`,
		Example: `entente agreement draft harbour-watch --parties alpha,bravo \
--purposes incident-response,training --ceiling TLP:AMBER --retain 90d \
--from 2026-12-01 --until 2027-11-30 -o harbour-watch.txt`,
		Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error { return p.draftAgreement(cmd.Context(), given[0], f) },
	}
	flags := cmd.Flags()
	flags.Var(&f.parties, "parties", "the members that are parties, such as alpha,bravo (required)")
	flags.Var(&f.purposes, "purposes", "what documents may be shared for, such as incident-response,training (required)")
	flags.StringVar(&f.ceiling, "ceiling", "", "the highest LABEL that may be shared, such as TLP:AMBER (required)")
	flags.Var(&f.retain, "retain", "how long a recipient may keep a document at most, such as 90d (required)")
	flags.Var(&f.from, "from", "the day or time from which it holds (default: today)")
	flags.Var(&f.until, "until", "the day or time until which it holds (required)")
	flags.StringVar(&f.prose, "prose", "", "a text FILE to stand below the terms")
	flags.Int64Var(&f.version, "version", 1, "the Nth version of the agreement of this name")
	flags.StringVarP(&f.out, "output", "o", "", "the FILE to write (required)")
	flags.BoolVar(&f.force, "force", false, "replace a file that is there already")
	required(cmd, "parties", "purposes", "ceiling", "retain", "until", "output")
	_ = cmd.RegisterFlagCompletionFunc("parties", p.completeMembers)
	_ = cmd.RegisterFlagCompletionFunc("ceiling", completeLabels)
	return cmd
}

func (p *program) draftAgreement(ctx context.Context, name string, f agreementFlags) error {
	a := statement.Agreement{Name: name, Version: f.version, Parties: f.parties, Purposes: f.purposes, Ceiling: f.ceiling,
		NotBefore: f.from.t, NotAfter: f.until.t}
	if a.NotBefore.IsZero() {
		a.NotBefore = p.now().UTC().Truncate(day)
	}
	if _, ok := policy.Rank(f.ceiling); !ok {
		return unknownLabel(f.ceiling)
	}
	var err error
	if a.RetainDays, err = f.retain.days("retain"); err != nil {
		return err
	}
	if f.prose != "" {
		prose, err := readFile(f.prose, limit.Agreement)
		if err != nil {
			return err
		}
		a.Prose = string(prose)
		if a.Prose != "" && a.Prose[len(a.Prose)-1] != '\n' {
			a.Prose += "\n"
		}
	}
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	raw, err := h.DraftAgreement(ctx, a)
	if err != nil {
		return err
	}
	if err := writeFile(f.out, raw, f.force); err != nil {
		return err
	}
	draft, err := statement.ParseDraft[statement.Agreement](raw)
	if err != nil {
		return err
	}
	if err := p.showAgreement(agreementOf(draft, f.out)); err != nil {
		return err
	}
	p.next("mail "+f.out+" to its parties", "every party reads it, then: entente agreement sign "+f.out)
	return nil
}

func unknownLabel(l string) error {
	hint := "the labels are, from the most open:"
	for _, known := range policy.Labels() {
		hint += " " + known
	}
	return fault.New(fault.Misused, hint, "%.80q is not a label", l)
}

func (p *program) agreementSign() *cobra.Command {
	var out string
	var force bool
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign an agreement in this member's name",
		Long: `Sign adds this member's signature to an agreement, in place or to -o FILE. Read
it first: it is plain text. The signature binds the member.

What comes next: mail the signed file to the other parties; adopt it with
"entente agreement adopt" when you have everybody's.

With --json: the agreement's fields, as in "agreement show", and file.`,
		Example: `entente agreement sign harbour-watch.txt
entente agreement sign harbour-watch.txt -o harbour-watch-alpha.txt`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			target, replace := out, force
			if target == "" {
				target, replace = given[0], true
			}
			raw, err := readFile(given[0], limit.Agreement)
			if err != nil {
				return err
			}
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			signed, err := h.SignAgreement(cmd.Context(), raw)
			if err != nil {
				return err
			}
			if err := writeFile(target, signed, replace); err != nil {
				return err
			}
			draft, err := statement.ParseDraft[statement.Agreement](signed)
			if err != nil {
				return err
			}
			if err := p.showAgreement(agreementOf(draft, target)); err != nil {
				return err
			}
			if len(draft.Missing) > 0 {
				p.next("mail " + target + " to the other parties; they sign it too")
			} else {
				p.next("every party has signed: " + p.self() + " agreement adopt " + target)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write the signed file to FILE (default: in place)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	return cmd
}

func (p *program) agreementAdopt() *cobra.Command {
	return &cobra.Command{
		Use:   "adopt FILE...",
		Short: "Merge the signatures of several copies, and bring the agreement into force here",
		Long: `Adopt merges the signatures of several copies of one agreement. If none is
missing, this member's node enforces it from now on, also if it is running.
Every party adopts it. Adopting it again changes nothing.

What comes next: "entente send --agreement NAME".

With --json: the agreement's fields, as in "agreement show".`,
		Example: `entente agreement adopt harbour-watch-alpha.txt harbour-watch-bravo.txt`,
		Args:    args("FILE..."),
		RunE: func(cmd *cobra.Command, given []string) error {
			files, err := readFiles(given, limit.Agreement)
			if err != nil {
				return err
			}
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			a, err := h.AdoptAgreement(cmd.Context(), p.now(), files...)
			if err != nil {
				return err
			}
			if err := p.showAgreement(p.adopted(a)); err != nil {
				return err
			}
			switch now := p.now(); {
			case now.Before(a.Terms.NotBefore):
				p.next("nothing can be sent under it before " + when(a.Terms.NotBefore))
			case !now.Before(a.Terms.NotAfter):
				p.next("it has ended, so nothing can be sent under it; for a new one: " + p.self() + " agreement draft " + a.Terms.Name + fmt.Sprintf(" --version %d …", a.Terms.Version+1))
			default:
				p.next(p.self() + " send FILE --to MEMBER --agreement " + a.Terms.Name + " --purpose " + a.Terms.Purposes[0] + " --label LABEL")
			}
			return nil
		},
	}
}

func (p *program) agreementList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the agreements of this member",
		Long: `List prints the agreements that this member has adopted, and whether they are in
force today.

With --json: an object a line with the fields of "agreement show", but prose.`,
		Example: `entente agreement list`,
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := p.read(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			list, err := h.Agreements(cmd.Context(), p.now())
			if err != nil {
				return err
			}
			return p.listAgreements(list)
		},
	}
}

func (p *program) listAgreements(list []node.Agreement) error {
	if len(list) == 0 {
		p.note("No agreement yet. One party begins with: %s agreement draft\n", p.self())
		return nil
	}
	var rows [][]any
	for _, a := range list {
		j := p.adopted(a.Signed)
		if p.json {
			j.Prose = ""
			if err := p.emit(j); err != nil {
				return err
			}
			continue
		}
		name := j.Name
		if j.Version > 1 {
			name = fmt.Sprintf("%s v%d", j.Name, j.Version)
		}
		rows = append(rows, []any{p.label(j.Ceiling), name, j.state(), words(j.Parties).join(), words(j.Purposes).join(),
			(*duration)(ptr(time.Duration(j.RetainDays) * day)).String(), j.NotAfter.Format(time.DateOnly)})
	}
	if !p.json {
		p.table([]string{"CEILING", "AGREEMENT", "STATE", "PARTIES", "PURPOSES", "RETAIN", "UNTIL"}, rows)
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

func (p *program) agreementShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show one agreement with its terms and its prose",
		Long: `Show prints the newest version of an agreement that this member has adopted.

With --json: name, version, sha256, parties, purposes, label_ceiling,
retain_days_max, not_before, not_after, in_force, signed_by, missing, prose.`,
		Example:           `entente agreement show harbour-watch`,
		Args:              args("NAME"),
		ValidArgsFunction: first(p.completeAgreements),
		RunE: func(cmd *cobra.Command, given []string) error {
			h, err := p.read(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			list, err := h.Agreements(cmd.Context(), p.now())
			if err != nil {
				return err
			}
			var found *node.Agreement
			for _, a := range list {
				if a.Terms.Name == given[0] && (found == nil || a.Terms.Version > found.Terms.Version) {
					found = &a
				}
			}
			if found == nil {
				return fault.New(fault.NotFound, "entente agreement list shows those that are", "there is no agreement %.80q here", given[0])
			}
			return p.showAgreement(p.adopted(found.Signed))
		},
	}
}

type agreementJSON struct {
	Name       string    `json:"name"`
	Version    int64     `json:"version"`
	Hash       string    `json:"sha256"`
	Parties    []string  `json:"parties"`
	Purposes   []string  `json:"purposes"`
	Ceiling    string    `json:"label_ceiling"`
	RetainDays int64     `json:"retain_days_max"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	InForce    *bool     `json:"in_force,omitempty"` // of an adopted one
	SignedBy   []string  `json:"signed_by"`
	Missing    []string  `json:"missing,omitempty"` // of a draft
	Prose      string    `json:"prose,omitempty"`
	File       string    `json:"file,omitempty"`
}

func agreementOf(d *statement.Unsigned[statement.Agreement], file string) agreementJSON {
	a := d.Terms
	return agreementJSON{Name: a.Name, Version: a.Version, Hash: d.Hash.String(), Parties: a.Parties, Purposes: a.Purposes, Ceiling: a.Ceiling,
		RetainDays: a.RetainDays, NotBefore: a.NotBefore, NotAfter: a.NotAfter, SignedBy: append([]string{}, d.Signed...), Missing: d.Missing, Prose: a.Prose, File: file}
}

// adopted describes an agreement that is complete: every party has signed it.
func (p *program) adopted(a *statement.Signed[statement.Agreement]) agreementJSON {
	d := statement.Unsigned[statement.Agreement]{Hash: a.Hash, Terms: a.Terms}
	for _, party := range a.Terms.Parties {
		d.Signed = append(d.Signed, party+"/statement")
	}
	j := agreementOf(&d, "")
	now := p.now()
	j.InForce = ptr(!now.Before(j.NotBefore) && now.Before(j.NotAfter))
	return j
}

func (a agreementJSON) state() styled {
	switch {
	case a.InForce == nil:
		return styled(wait.Render("draft"))
	case *a.InForce:
		return styled(good.Render("in force"))
	}
	return styled(bad.Render("not in force"))
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
	p.fields(field{"agreement", a.Name}, field{"version", a.Version}, field{"state", a.state()},
		field{"parties", words(a.Parties).join()}, field{"purposes", words(a.Purposes).join()}, field{"ceiling", p.label(a.Ceiling)},
		field{"retain at most", (*duration)(ptr(time.Duration(a.RetainDays) * day)).String()},
		field{"from", a.NotBefore}, field{"until", a.NotAfter},
		field{"signed by", owners(a.SignedBy)}, field{"to sign yet", owners(a.Missing)},
		field{"sha256", a.Hash}, field{"file", a.File})
	if a.Prose != "" {
		p.printf("\n")
		p.lines(a.Prose)
	}
	return nil
}
