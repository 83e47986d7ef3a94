package main

import (
	"context"
	"fmt"
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
		Short: "Agree on what may be shared: draft, propose, sign, amend and leave agreements",
		Long: `An agreement says what its parties may share: for which purposes, up to which
label, to be kept for how long, and from when until when. All parties sign the
same text; then the nodes of sender and recipient both enforce it.

It goes from node to node. Somebody drafts it and proposes it; at each party a
person with the role signer reads it and signs or declines; with the last
signature it is in force at every party. Nobody else ever sees it. To change it
is to agree on its next version, and any party may leave it by itself.`,
		Example: `entente agreement draft harbour-watch --parties alpha,bravo \
--purposes incident-response --ceiling TLP:AMBER --retain 90d \
--until 2027-12-31 -o harbour-watch.txt
entente agreement propose harbour-watch.txt
entente agreement pending
entente agreement sign harbour-watch`,
	}, p.agreementDraft(), asPerson(p.agreementPropose()), asPerson(p.agreementPending()), asPerson(p.agreementSign()), asPerson(p.agreementDecline()), p.agreementAmend(),
		asPerson(p.agreementWithdraw()),
		p.agreementList(), p.agreementShow(), p.agreementDiff())
}

type agreementFlags struct {
	parties, purposes words
	ceiling           string
	schemes           []string
	retain, notice    duration
	from, until       moment
	prose, policy     string
	out               string
	force             bool
}

func (p *program) agreementDraft() *cobra.Command {
	f := agreementFlags{from: moment{now: p.now}, until: moment{now: p.now, end: true}}
	cmd := &cobra.Command{
		Use:   "draft NAME",
		Short: "Write an agreement to fill in",
		Long: `Draft writes the text of an agreement called NAME, one lower-case word, with
comments that say what each line means. Fill it in with an editor; what is given
with flags stands there already. It needs the home of a member of an alliance,
because an agreement belongs to one.

Dates are days such as 2027-01-31, from the first second of --from to the last
second of --until, in UTC; or times such as 2027-01-31T12:00:00Z.

--scheme puts a label scheme of a party into it, from a file as "label scheme"
reads it; what its levels mean in the scheme of the ceiling is to be filled in.

What comes next: "entente agreement propose FILE".

With --json: name, version and file.`,
		Example: `entente agreement draft harbour-watch -o harbour-watch.txt
entente agreement draft harbour-watch --parties alpha,bravo \
--purposes incident-response,training --ceiling TLP:AMBER --retain 90d \
--notice 30d --from 2026-12-01 --until 2027-11-30 -o harbour-watch.txt`,
		Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error { return p.draftAgreement(cmd.Context(), given[0], f) },
	}
	flags := cmd.Flags()
	flags.Var(&f.parties, "parties", "the members that are parties, such as alpha,bravo (default: this one)")
	flags.Var(&f.purposes, "purposes", "what documents may be shared for, such as incident-response,training")
	flags.StringVar(&f.ceiling, "ceiling", "", "the highest LABEL that may be shared, such as TLP:AMBER")
	flags.StringArrayVar(&f.schemes, "scheme", nil, "a FILE with a label scheme beside TLP; may be repeated")
	flags.Var(&f.retain, "retain", "how long a recipient may keep a document at most (default 90d)")
	flags.Var(&f.notice, "notice", "how long before it ends for a party that party says that it leaves (default: at once)")
	flags.Var(&f.from, "from", "the day or time from which it holds (default: today)")
	flags.Var(&f.until, "until", "the day or time until which it holds (default: in a year)")
	flags.StringVar(&f.prose, "prose", "", "a text FILE with what the parties say to each other in words")
	flags.StringVar(&f.policy, "policy", "", "a FILE with rules of the agreement's own, in Cedar")
	p.draftOutput(cmd, &f.out, &f.force)
	_ = cmd.RegisterFlagCompletionFunc("parties", p.completeMembers)
	_ = cmd.RegisterFlagCompletionFunc("ceiling", completeLabels)
	return cmd
}

func (p *program) draftOutput(cmd *cobra.Command, out *string, force *bool) {
	cmd.Flags().StringVarP(out, "output", "o", "", "the FILE to write (default: print it)")
	cmd.Flags().BoolVar(force, "force", false, "replace a file that is there already")
}

func (p *program) draftAgreement(ctx context.Context, name string, f agreementFlags) error {
	if err := statement.ValidName(name); err != nil {
		return fault.New(fault.Misused, "choose one lower-case word, such as harbour-watch", "%w", err)
	}
	schemes, err := draftSchemes(f.schemes, f.ceiling)
	if err != nil {
		return err
	}
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	a, err := h.NewDraft(ctx, name, false)
	if err != nil {
		return err
	}
	a.Parties, a.Purposes, a.Ceiling, a.Schemes, a.RetainDays = []string{h.Config.Member}, f.purposes, f.ceiling, schemes, 90
	if len(f.parties) > 0 {
		a.Parties = f.parties
	}
	if f.retain > 0 {
		if a.RetainDays, err = f.retain.days("retain"); err != nil {
			return err
		}
	}
	if a.NoticeDays, err = f.notice.days("notice"); err != nil {
		return err
	}
	if a.NotBefore, a.NotAfter = f.from.t, f.until.t; f.from.t.IsZero() {
		a.NotBefore = p.now().UTC().Truncate(day)
	}
	if f.until.t.IsZero() {
		a.NotAfter = a.NotBefore.AddDate(1, 0, 0).Add(-time.Second)
	}
	for _, text := range []struct {
		file string
		to   *string
	}{{f.prose, &a.Prose}, {f.policy, &a.Policy}} {
		if text.file == "" {
			continue
		}
		b, err := readFile(text.file, limit.Agreement)
		if err != nil {
			return err
		}
		if *text.to = string(b); len(b) > 0 && b[len(b)-1] != '\n' {
			*text.to += "\n"
		}
	}
	return p.writeDraft(a, f.out, f.force)
}

// draftSchemes reads label schemes out of files, and looks whether they or TLP have the ceiling.
func draftSchemes(files []string, ceiling string) ([]statement.Scheme, error) {
	var list []statement.Scheme
	for _, file := range files {
		s, err := node.ReadScheme(file)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if ceiling == "" {
		return list, nil
	}
	if _, err := policy.SchemesOf(&statement.Agreement{Schemes: list}).Parse(ceiling); err != nil {
		if len(list) == 0 {
			return nil, unknownLabel(ceiling)
		}
		return nil, fault.New(fault.Misused, "entente label scheme FILE shows the labels of a scheme", "--ceiling: %w", err)
	}
	return list, nil
}

// writeDraft writes a draft to a file, or prints it.
func (p *program) writeDraft(a statement.Agreement, out string, force bool) error {
	text := node.WriteDraft(a)
	if out == "" && !p.json {
		p.lines(string(text))
		return nil
	}
	if out == "" {
		return fault.New(fault.Misused, "name a file with -o FILE", "with --json the text goes to a file")
	}
	if err := writeFile(out, text, force); err != nil {
		return err
	}
	if p.json {
		return p.emit(struct {
			Name    string `json:"name"`
			Version int64  `json:"version"`
			File    string `json:"file"`
		}{a.Name, a.Version, out})
	}
	p.fields(field{"agreement", a.Name}, field{"version", a.Version}, field{"file", out})
	p.next("fill in "+out+" with an editor, if there is anything to", p.self()+" agreement propose "+out)
	return nil
}

func (p *program) agreementAmend() *cobra.Command {
	var out string
	var force bool
	cmd := &cobra.Command{
		Use:   "amend NAME",
		Short: "Write the next version of an agreement, to change it",
		Long: `Amend writes the next version of an agreement, with the terms of the newest one,
for you to change. The next version names the one before it by its hash. It keeps
every party that has not withdrawn, may add others, and is signed by all of them.
Until it is in force and has begun, the version before it holds.

What comes next: "entente agreement propose FILE".

With --json: name, version and file.`,
		Example:           `entente agreement amend harbour-watch -o harbour-watch-2.txt`,
		Args:              args("NAME"),
		ValidArgsFunction: first(p.completeAgreements),
		RunE: func(cmd *cobra.Command, given []string) error {
			h, err := p.read(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			a, err := h.NewDraft(cmd.Context(), given[0], true)
			if err != nil {
				return err
			}
			return p.writeDraft(a, out, force)
		},
	}
	p.draftOutput(cmd, &out, &force)
	return cmd
}

func unknownLabel(l string) error {
	hint := "the labels are, from the most open:"
	for _, known := range policy.Labels() {
		hint += " " + known
	}
	return fault.New(fault.Misused, hint, "%.80q is not a label", l)
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
			open, err := h.OpenProposals(cmd.Context())
			if err != nil {
				return err
			}
			if err := p.listAgreements(list); err != nil {
				return err
			}
			if len(open) > 0 {
				p.note("More is proposed: %s agreement pending\n", p.self())
			}
			return nil
		},
	}
}

func (p *program) listAgreements(list []node.Agreement) error {
	if len(list) == 0 {
		p.note("No agreement yet. One party begins with: %s agreement draft NAME\n", p.self())
		return nil
	}
	var rows [][]any
	for _, a := range list {
		j := p.adopted(a)
		if p.json {
			j.Prose, j.Policy = "", ""
			if err := p.emit(j); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []any{p.label(j.Ceiling), fmt.Sprintf("%s v%d", j.Name, j.Version), j.state(), words(j.Parties).join(), words(j.Purposes).join(),
			(*duration)(ptr(time.Duration(j.RetainDays) * day)).String(), j.NotAfter.Format(time.DateOnly)})
	}
	if !p.json {
		p.table([]string{"CEILING", "AGREEMENT", "STATE", "PARTIES", "PURPOSES", "RETAIN", "UNTIL"}, rows)
	}
	return nil
}

func ptr[T any](v T) *T { return &v }
