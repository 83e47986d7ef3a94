package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/term"
	mango "github.com/muesli/mango-cobra"
	"github.com/muesli/roff"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Help never asks the terminal anything, such as its background colour: a terminal that does not answer makes people wait,
// and one that answers late has the answer typed into their shell. So there is weight here, and no colour.

// asks marks the commands for which --as means something: those that a person asks of the node.
const asks = "asks"

// asPerson marks a command as one of those.
func asPerson(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{asks: "the node"}
	return cmd
}

// widestHelp is how wide help is at most; wider is hard to read.
const widestHelp, narrowestHelp = 110, 40

// help prints what a command is for, how it is called, and its flags.
func (p *program) help(cmd *cobra.Command, _ []string) {
	p.lines(cmp.Or(cmd.Long, cmd.Short))
	p.title("usage")
	p.printf("  %s\n", usage(cmd))
	if cmd.Example != "" {
		p.title("examples")
		p.examples(cmd.Example)
	}
	var groups [][]entry
	titles := []string{"commands"}
	groups = append(groups, commandEntries(cmd, ""))
	for _, g := range cmd.Groups() {
		titles = append(titles, g.Title)
		groups = append(groups, commandEntries(cmd, g.ID))
	}
	titles = append(titles, "flags")
	groups = append(groups, flagEntries(cmd))
	width := 0
	for _, g := range groups {
		for _, e := range g {
			width = max(width, len(e.name))
		}
	}
	for i, g := range groups {
		if len(g) > 0 {
			p.title(titles[i])
			p.entries(g, width)
		}
	}
}

func (p *program) title(s string) {
	p.printf("\n%s\n", styled(bold.Render(strings.ToUpper(s))))
}

func usage(cmd *cobra.Command) string {
	line := cmd.CommandPath() + strings.TrimPrefix(cmd.Use, cmd.Name())
	if cmd.HasAvailableSubCommands() {
		line += " COMMAND"
	}
	return line + " [--flags]"
}

// examples prints the lines of an example; what goes on after a backslash is indented.
func (p *program) examples(text string) {
	indent := "  "
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			p.printf("%s%s\n", indent, styled(faint.Render(plain(line))))
		} else {
			p.printf("%s%s\n", indent, line)
		}
		if indent = "  "; strings.HasSuffix(line, `\`) {
			indent = "    "
		}
	}
}

// entry is a command or a flag, and what it does.
type entry struct{ name, text string }

func commandEntries(cmd *cobra.Command, group string) []entry {
	var list []entry
	for _, c := range cmd.Commands() {
		if c.GroupID == group && c.IsAvailableCommand() {
			list = append(list, entry{c.Use, c.Short})
		}
	}
	return list
}

func flagEntries(cmd *cobra.Command) []entry {
	var list []entry
	_, person := cmd.Annotations[asks]
	_ = cmd.InheritedFlags() // makes Flags hold them too
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "as" && !person && cmd.HasParent() {
			return
		}
		name := "    --" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", --" + f.Name
		}
		text := f.Usage
		switch f.DefValue {
		case "", "false", "0", "[]":
		default:
			text += " (default " + f.DefValue + ")"
		}
		list = append(list, entry{name, text})
	})
	return list
}

// entries prints them in two columns, the second folded to the terminal's width.
func (p *program) entries(list []entry, width int) {
	room := widestHelp
	if w, _, err := term.GetSize(os.Stdout.Fd()); err == nil && w > 0 { // some do not know
		room = min(w, widestHelp)
	}
	room = max(room-width-4, narrowestHelp)
	for _, e := range list {
		name := styled(bold.Render(fmt.Sprintf("%-*s", width, plain(e.name))))
		for line := range strings.Lines(lipgloss.Wrap(plain(e.text), room, " ")) {
			p.printf("  %s  %s\n", name, strings.TrimRight(line, " \n"))
			name = styled(strings.Repeat(" ", width))
		}
	}
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		Long: `Help explains a command, as COMMAND --help does.

With --json nothing else is printed: help is for people.`,
		Example: `entente help send
entente help charter sign`,
		RunE: func(cmd *cobra.Command, given []string) error {
			found, rest, err := cmd.Root().Find(given)
			if err != nil || len(rest) > 0 {
				return noSuchCommand(found, rest)
			}
			return found.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if found, _, err := cmd.Root().Find(given); err == nil {
				for _, c := range found.Commands() {
					if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), prefix) {
						names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// manCommand is hidden: it is for whoever packages the program.
func (p *program) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man",
		Short: "Print the manual page, for man",
		Long: `Man prints all help as one manual page, in the language of man.

With --json nothing else is printed: the page is a text.`,
		Example: `entente man > entente.1`,
		Hidden:  true,
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			page, err := mango.NewManPage(1, cmd.Root())
			if err != nil {
				return fmt.Errorf("make manual page: %w", err)
			}
			_, err = p.wrote.Write([]byte(page.Build(roff.NewDocument())))
			return err
		},
	}
}
