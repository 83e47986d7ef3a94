package main

import (
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
		Short: "Say who works for this member: add and list persons",
		Long: `A person is somebody who works for the member and talks to its node, with a
certificate of their own and with roles. A releaser may send documents, a
reader may open them. Roles stand in people.toml in the home, where they can be
changed; changes take effect at once.`,
		Example: `entente person add alice --role releaser,reader
entente person list`,
	}, p.personAdd(), p.personList())
}

func (p *program) personAdd() *cobra.Command {
	var roles words
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Give somebody a certificate and roles",
		Long: `Add issues a certificate to a person called NAME, one lower-case word, and enters
the person with these roles into people.toml. The certificate lives a year.

For somebody who is listed already it issues a new certificate: leave --role
out, or give the same roles. To change roles, edit people.toml.

Roles: ` + strings.Join(node.Roles, ", ") + `.
A releaser may send, a reader may open; the others are for what comes later.

What comes next: start the node with "entente node", then send. With several
persons in one home, commands say who asks with --as NAME.

With --json: name, roles.`,
		Example: `entente person add alice --role releaser,reader
# A new certificate, before the old one ends or after
entente person add alice`,
		Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			if err := h.AddPerson(cmd.Context(), p.now(), given[0], roles); err != nil {
				return err
			}
			if len(roles) == 0 { // a new certificate for somebody who has them
				if roles, err = rolesOf(h, given[0]); err != nil {
					return err
				}
			}
			if p.json {
				return p.emit(struct {
					Name  string   `json:"name"`
					Roles []string `json:"roles"`
				}{given[0], roles})
			}
			p.printf("%s may act for %s as %s\n", given[0], h.Config.Member, roles.join())
			if _, err := h.History(cmd.Context()); fault.KindOf(err) == fault.NotFound {
				p.next("a node needs an alliance first; begin with: "+p.self()+" card -o "+h.Config.Member+".card",
					"the whole way: docs/founding.md, or "+p.self()+" charter --help")
				return nil
			}
			p.next(p.self()+" node, in a terminal of its own", p.self()+" send FILE …, or "+p.self()+" inbox")
			return nil
		},
	}
	cmd.Flags().Var(&roles, "role", "one or more of "+strings.Join(node.Roles, ",")+" (required for somebody new)")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(node.Roles, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func rolesOf(h *node.Home, name string) (words, error) {
	list, err := h.People()
	for _, one := range list {
		if one.Name == name {
			return one.Roles, nil
		}
	}
	return nil, err
}

func (p *program) personList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the persons of this member, their roles and certificates",
		Long: `List prints who works for this member, in which roles, and until when their
certificates are valid.

With --json: an object a line with name, roles, certificate_ends.`,
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
		p.note("Nobody yet. Add somebody with: %s person add NAME --role releaser,reader\n", p.self())
		return nil
	}
	var rows [][]any
	for _, one := range list {
		if p.json {
			if err := p.emit(struct {
				Name  string    `json:"name"`
				Roles []string  `json:"roles"`
				Ends  time.Time `json:"certificate_ends,omitzero"`
			}{one.Name, one.Roles, one.CertificateEnds.UTC()}); err != nil {
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
		rows = append(rows, []any{one.Name, words(one.Roles).join(), ends})
	}
	if !p.json {
		p.table([]string{"PERSON", "ROLES", "CERTIFICATE UNTIL"}, rows)
	}
	return nil
}
