package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
)

func (p *program) labelCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "label",
		Short: "Look at label schemes, and write labels for other programs",
		Long: `A label says how closely a document is held: a level of a label scheme, such as
TLP:AMBER, with categories if the scheme has some, such as NAVY:SECRET/CRYPTO.
TLP 2.0 is built in. Other schemes are fixed by an agreement, together with what
their levels mean in its common scheme, which is that of its ceiling.

Schemes of your own are TOML files, by custom in the folder schemes of the home.`,
		Example: `entente label scheme schemes/navy.toml
entente label export NAVY:SECRET/CRYPTO --agreement harbour-watch -o l.xml
entente label read l.xml`,
	}, p.labelScheme(), p.labelExport(), p.labelRead())
}

func (p *program) labelScheme() *cobra.Command {
	return &cobra.Command{
		Use:   "scheme FILE",
		Short: "Check a file with a label scheme, and show its labels",
		Long: `Scheme reads a label scheme: a TOML file with name, levels from the most open to
the most closed, and restrictive and permissive categories. It says in which
line something is wrong, and prints the scheme's labels.

What comes next: copy it into an agreement as a [[scheme]], with an
[[equivalent]] for each of its levels that is to be used.

With --json: name, levels, restrictive, permissive.`,
		Example: `entente label scheme schemes/navy.toml`,
		Args:    args("FILE"),
		RunE: func(_ *cobra.Command, given []string) error {
			s, err := node.ReadScheme(given[0])
			if err != nil {
				return err
			}
			if p.json {
				return p.emit(schemeJSON(s))
			}
			fields := []field{{"scheme", s.Name}}
			for i, level := range s.Levels {
				name := ""
				switch i {
				case 0:
					name = "most open"
				case len(s.Levels) - 1:
					name = "most closed"
				}
				fields = append(fields, field{name, p.label(s.Name + ":" + level)})
			}
			p.fields(append(fields, field{"all of", words(s.Restrictive).join()}, field{"one of", words(s.Permissive).join()})...)
			return nil
		},
	}
}

type schemeJSON struct {
	Name        string   `json:"name"`
	Levels      []string `json:"levels"`
	Restrictive []string `json:"restrictive,omitempty"`
	Permissive  []string `json:"permissive,omitempty"`
}

type equivalentJSON struct {
	Label string `json:"label"`
	Means string `json:"means"`
}

// schemes shows the label schemes of an agreement: each level with what it means, then the categories.
func (p *program) schemes(schemes []schemeJSON, equivalents []equivalentJSON) (list []field) {
	for _, s := range schemes {
		list = append(list, field{"labels", s.Name})
		for _, level := range s.Levels {
			label := s.Name + ":" + level
			shown := p.label(label)
			if i := slices.IndexFunc(equivalents, func(e equivalentJSON) bool { return e.Label == label }); i >= 0 {
				means := equivalents[i].Means
				shown = p.labelAs(label, means) + " means " + p.label(means)
			}
			list = append(list, field{"", shown})
		}
		list = append(list, field{"all of", words(s.Restrictive).join()}, field{"one of", words(s.Permissive).join()})
	}
	return list
}

func (p *program) labelExport() *cobra.Command {
	var agreement, out string
	var force bool
	cmd := &cobra.Command{
		Use:   "export LABEL",
		Short: "Write a label as XML for other programs",
		Long: `Export writes a label, as an agreement has it, as XML. The form is modelled on
STANAG 4774: PolicyIdentifier, Classification and Category of a
ConfidentialityLabel. The text of that standard is not public, and nothing here
claims to conform to it. Without -o the file goes to standard output.

What comes next: "entente label read FILE".

With --json: label, agreement_sha256, and file, or xml without -o.`,
		Example: `entente label export TLP:AMBER --agreement harbour-watch
entente label export NAVY:SECRET/CRYPTO --agreement harbour-watch -o l.xml`,
		Args: args("LABEL"),
		RunE: func(cmd *cobra.Command, given []string) error {
			a, err := p.agreementFor(cmd.Context(), agreement)
			if err != nil {
				return err
			}
			l, err := policy.SchemesOf(&a.Terms).Parse(given[0])
			if err != nil {
				return fault.New(fault.Misused, "entente agreement show "+agreement+" prints its label schemes", "%w", err)
			}
			text := l.XML(a.Hash)
			if out != "" {
				if err := writeFile(out, text, force); err != nil {
					return err
				}
				text = nil
			}
			if p.json {
				return p.emit(struct {
					Label     string `json:"label"`
					Agreement string `json:"agreement_sha256"`
					File      string `json:"file,omitempty"`
					XML       string `json:"xml,omitempty"`
				}{l.String(), a.Hash.String(), out, string(text)})
			}
			_, err = p.stdout.Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&agreement, "agreement", "", "the NAME of the agreement whose schemes count (required)")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the FILE to write (default: standard output)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	required(cmd, "agreement")
	_ = cmd.RegisterFlagCompletionFunc("agreement", p.completeAgreements)
	return cmd
}

func (p *program) labelRead() *cobra.Command {
	var agreement string
	cmd := &cobra.Command{
		Use:   "read FILE",
		Short: "Read a label that was exported, and check it",
		Long: `Read reads what "label export" wrote, strictly: a file that says anything else
than a label is refused. With --agreement it also checks that this agreement, in
the version that the file names, knows the label, and prints what the label
means in the agreement's common scheme.

With --json: label, scheme, level, restrictive, permissive, agreement_sha256,
means.`,
		Example: `entente label read l.xml
entente label read l.xml --agreement harbour-watch`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			b, err := readFile(given[0], limit.LabelFile)
			if err != nil {
				return err
			}
			l, hash, err := policy.ReadXML(b)
			if err != nil {
				return fault.New(fault.Invalid, "docs/formats/label.md has an example", "%s: %w", given[0], err)
			}
			means := ""
			if agreement != "" {
				a, err := p.agreementFor(cmd.Context(), agreement)
				if err != nil {
					return err
				}
				if l, means, err = knownLabel(a, l, hash); err != nil {
					return err
				}
			}
			return p.showLabel(l, hash, means)
		},
	}
	cmd.Flags().StringVar(&agreement, "agreement", "", "check it against the agreement NAME")
	_ = cmd.RegisterFlagCompletionFunc("agreement", p.completeAgreements)
	return cmd
}

// knownLabel checks a label against an agreement, and says what it means in its common scheme; nothing if it means nothing there.
func knownLabel(a *statement.Signed[statement.Agreement], l policy.Label, hash statement.Hash) (policy.Label, string, error) {
	if !hash.IsZero() && hash != a.Hash {
		return l, "", fault.New(fault.Invalid, "export it again under the version that is in force", "the label is of agreement %s, and %s here is %s", hash.Short(), a.Terms.Name, a.Hash.Short())
	}
	s := policy.SchemesOf(&a.Terms)
	l, err := s.Known(l)
	if err != nil {
		return l, "", fault.New(fault.Invalid, "entente agreement show "+a.Terms.Name+" prints its label schemes", "%w", err)
	}
	return l, s.Meaning(l), nil
}

func (p *program) showLabel(l policy.Label, hash statement.Hash, means string) error {
	agreement := ""
	if !hash.IsZero() {
		agreement = hash.String()
	}
	if p.json {
		return p.emit(struct {
			Label       string   `json:"label"`
			Scheme      string   `json:"scheme"`
			Level       string   `json:"level"`
			Restrictive []string `json:"restrictive,omitempty"`
			Permissive  []string `json:"permissive,omitempty"`
			Agreement   string   `json:"agreement_sha256,omitempty"`
			Means       string   `json:"means,omitempty"`
		}{l.String(), l.Scheme, l.Level, l.Restrictive, l.Permissive, agreement, means})
	}
	shown := field{"means", ""}
	if means != "" {
		shown.value = p.label(means)
	}
	p.fields(field{"label", p.labelAs(l.String(), means)}, field{"scheme", l.Scheme}, field{"level", l.Level}, field{"all of", words(l.Restrictive).join()},
		field{"one of", words(l.Permissive).join()}, shown, field{"agreement", agreement})
	return nil
}

// agreementFor finds the version of an agreement that is in force at this home, or else the newest.
func (p *program) agreementFor(ctx context.Context, name string) (*statement.Signed[statement.Agreement], error) {
	h, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	list, err := h.Agreements(ctx, p.now())
	if err != nil {
		return nil, err
	}
	var found *statement.Signed[statement.Agreement]
	for _, a := range list {
		if a.Terms.Name != name {
			continue
		}
		if found = a.Signed; a.InForce {
			break
		}
	}
	if found == nil {
		return nil, h.NoAgreement(ctx, name)
	}
	return found, nil
}
