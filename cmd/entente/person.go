package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
)

func (p *program) personCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "person",
		Short: "Say who works for this member: add, remove and list persons",
		Long: `A person is somebody who works for the member and talks to its node, with a
certificate of their own. A releaser may send documents, a reader may open them,
an approver may approve what others send: up to the label that they are cleared
for, and as long as their training counts. All of it stands in people.toml in
the home, where it can be changed. Changes take effect at once.`,
		Example: `entente person add alice --role releaser,reader \
--label TLP:AMBER --trained-until 2027-11-23
entente person list
entente person remove alice`,
	}, p.personAdd(), p.personRemove(), p.personList())
}

func (p *program) personAdd() *cobra.Command {
	var roles, labels words
	trained := moment{now: p.now, end: true}
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Give somebody a certificate, roles, and the label that they are cleared for",
		Long: `Add issues a certificate to a person called NAME, one lower-case word, and enters
the person into people.toml. The certificate lives a year.

Roles: ` + strings.Join(node.Roles, ", ") + `.
A releaser may send, a reader may open, an approver may approve the releases of
others, a signer may sign agreements, an auditor may read the whole log; admin
is for what comes later.

Releasers, readers and approvers need a --label, the highest that they may see,
with the categories that they are cleared for: TLP:AMBER, or NAVY:SECRET/CRYPTO
of a scheme of your own. Several schemes go with commas between them. And they
need --trained-until, the last day on which their training counts.

For somebody who is listed already it issues a new certificate: give the NAME
alone, or the same again. To change an entry, edit people.toml.

What comes next: start the node with "entente node", then what the role is for.
With several persons in one home, commands say who asks with --as NAME.

With --json: name, roles, labels, trained_until.`,
		Example: `entente person add alice --role releaser,reader \
--label TLP:AMBER --trained-until 2027-11-23
entente person add bob --role signer
# A new certificate, before the old one ends or after
entente person add alice`,
		Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			if err := h.AddPerson(cmd.Context(), p.now(), node.Person{Name: given[0], Roles: roles, Labels: labels, TrainedUntil: trained.t}); err != nil {
				return err
			}
			one, err := listed(h, given[0]) // with what they had already, if this is a new certificate
			if err != nil {
				return err
			}
			if p.json {
				j := personOf(one)
				j.Ends = nil
				return p.emit(j)
			}
			p.printf("%s may act for %s as %s\n", one.Name, h.Config.Member, words(one.Roles).join())
			if len(one.Labels) > 0 {
				over := ""
				if p.now().After(one.TrainedUntil) {
					over = " (over)"
				}
				p.printf("cleared for %s, trained until %s%s\n", words(one.Labels).join(), day10(one.TrainedUntil), over)
			}
			if _, err := h.History(cmd.Context()); fault.KindOf(err) == fault.NotFound {
				p.next("a node needs an alliance first; begin with: "+p.self()+" card -o "+h.Config.Member+".card",
					"the whole way: docs/founding.md, or "+p.self()+" charter --help")
				return nil
			}
			p.next(append([]string{p.self() + " node, in a terminal of its own"}, p.steps(one.Roles)...)...)
			return nil
		},
	}
	cmd.Flags().Var(&roles, "role", "one or more of "+strings.Join(node.Roles, ",")+" (required for somebody new)")
	cmd.Flags().Var(&labels, "label", "the highest LABEL of each scheme that they may see, such as TLP:AMBER")
	cmd.Flags().Var(&trained, "trained-until", "the last day on which their training counts")
	_ = cmd.RegisterFlagCompletionFunc("label", completeLabels)
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(node.Roles, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// steps says for what somebody with these roles can use the program.
func (p *program) steps(roles []string) (list []string) {
	for _, s := range []struct{ role, step string }{
		{"releaser", " send FILE …"},
		{"reader", " inbox"},
		{"approver", " approvals"},
		{"signer", " agreement pending, or " + p.self() + " agreement draft NAME"},
		{"auditor", " audit fetch MEMBER DIR"},
	} {
		if slices.Contains(roles, s.role) {
			list = append(list, p.self()+s.step)
		}
	}
	return list
}

func listed(h *node.Home, name string) (node.Person, error) {
	list, err := h.People()
	for _, one := range list {
		if one.Name == name {
			return one, nil
		}
	}
	return node.Person{Name: name}, err
}

func (p *program) personRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Take somebody's entry out, so that they may do nothing any more",
		Long: `Remove takes a person's entry out of people.toml. The running node sees it at
once: whoever is not listed may do nothing, and what the person is sending or
opening at that moment breaks off within 5 seconds. Their certificate stays
where it is, and entitles to nothing.

What they have done stays in the log.

With --json: name.`,
		Example:           `entente person remove alice`,
		Args:              args("NAME"),
		ValidArgsFunction: first(p.completePersons),
		RunE: func(cmd *cobra.Command, given []string) error {
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			if err := h.RemovePerson(cmd.Context(), given[0]); err != nil {
				return err
			}
			if p.json {
				return p.emit(struct {
					Name string `json:"name"`
				}{given[0]})
			}
			p.printf("%s may do nothing for %s any more\n", given[0], h.Config.Member)
			return nil
		},
	}
}

func (p *program) personList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the persons of this member, their roles, labels, training and certificates",
		Long: `List prints who works for this member, in which roles, up to which labels, and
until when their training counts and their certificates are valid.

With --json: an object a line with name, roles, labels, trained_until,
certificate_ends.`,
		Example: `entente person list`,
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := p.read(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			list, err := h.People()
			if err != nil {
				return err
			}
			return p.listPeople(list)
		},
	}
}

func (p *program) listPeople(list []node.Person) error {
	if len(list) == 0 {
		p.note("Nobody yet. Add somebody with: %s person add NAME --role ROLE --label LABEL --trained-until DAY\n", p.self())
		return nil
	}
	var rows [][]any
	for _, one := range list {
		if p.json {
			if err := p.emit(personOf(one)); err != nil {
				return err
			}
			continue
		}
		ends := safe(one.CertificateEnds)
		switch {
		case one.CertificateEnds.IsZero():
			ends = "no certificate in this home"
		case p.now().Add(limit.CertificateWarning).After(one.CertificateEnds):
			ends += " (soon)"
		}
		rows = append(rows, []any{one.Name, words(one.Roles).join(), p.labels(one.Labels), p.trained(one.TrainedUntil), ends})
	}
	if !p.json {
		p.table([]string{"PERSON", "ROLES", "CLEARED FOR", "TRAINED UNTIL", "CERTIFICATE UNTIL"}, rows)
	}
	return nil
}

type personJSON struct {
	Name    string     `json:"name"`
	Roles   []string   `json:"roles"`
	Labels  []string   `json:"labels,omitempty"`
	Trained string     `json:"trained_until,omitempty"` // a day
	Ends    *time.Time `json:"certificate_ends,omitempty"`
}

func personOf(one node.Person) personJSON {
	j := personJSON{Name: one.Name, Roles: one.Roles, Labels: one.Labels, Trained: day10(one.TrainedUntil)}
	if !one.CertificateEnds.IsZero() {
		j.Ends = ptr(one.CertificateEnds.UTC())
	}
	return j
}

// day10 writes a day as people.toml does; nothing for none.
func day10(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// labels writes what somebody is cleared for, in colours.
func (p *program) labels(list []string) styled {
	shown := make([]string, len(list))
	for i, l := range list {
		shown[i] = string(p.label(l))
	}
	return styled(strings.Join(shown, ", "))
}

// trained tells until when training counts, and whether it is over.
func (p *program) trained(until time.Time) string {
	switch {
	case until.IsZero():
		return ""
	case p.now().After(until):
		return day10(until) + " (over)"
	}
	return day10(until)
}
