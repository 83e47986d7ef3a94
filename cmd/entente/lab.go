package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/lab"
)

func (p *program) labCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Lessons that run: read the prose, watch the commands, see what they print",
		Long: `Lab holds lessons. Each one makes a small world of members on this machine, tells
what happens and why, and runs the commands that a person would type. Nothing is
staged: if anything came out otherwise than the lesson says, it fails.

Lessons need nothing but this program: no network, no administrator, no fixed
port. What they make is removed in the end.`,
		Example: `entente lab list
entente lab run first-exchange`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "List the lessons",
		Long:    "List prints the lessons, with what each is about.\n\nWith --json: an object a line with name, title.",
		Example: "entente lab list",
		Args:    args(),
		RunE:    func(*cobra.Command, []string) error { return p.labList() },
	}, &cobra.Command{
		Use:   "run NAME",
		Short: "Play a lesson",
		Long: `Run plays a lesson: its prose, its commands and what they print, as they happen.

With --json: an object a line with kind (prose, command, output, checked), text.`,
		Example: "entente lab run first-exchange",
		Args:    args("NAME"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, l := range lab.Lessons() {
				names = append(names, l.Name+"\t"+l.Title)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, given []string) error { return p.labRun(cmd.Context(), given[0]) },
	})
	return cmd
}

func (p *program) labList() error {
	var rows [][]any
	for _, l := range lab.Lessons() {
		if p.json {
			if err := p.emit(struct {
				Name  string `json:"name"`
				Title string `json:"title"`
			}{l.Name, l.Title}); err != nil {
				return err
			}
		}
		rows = append(rows, []any{l.Name, l.Title})
	}
	if !p.json {
		p.table([]string{"LESSON", "WHAT IT IS ABOUT"}, rows)
		p.next("entente lab run first-exchange")
	}
	return nil
}

func (p *program) labRun(ctx context.Context, name string) error {
	lesson, err := lab.FindLesson(name)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fault.New(fault.Failed, "", "find this program: %w", err)
	}
	return lesson.Play(ctx, self, func(l lab.Line) {
		switch {
		case p.json:
			kind := map[lab.LineKind]string{lab.Prose: "prose", lab.Command: "command", lab.Output: "output", lab.Checked: "checked"}[l.Kind]
			_ = p.emit(struct {
				Kind string `json:"kind"`
				Text string `json:"text"`
			}{kind, l.Text}) // the sticky writer remembers
		case l.Kind == lab.Command:
			p.printf("%s\n", styled(bold.Render("$ "+plain(l.Text))))
		case l.Kind == lab.Output:
			p.printf("%s\n", styled(faint.Render("    "+plain(l.Text))))
		case l.Kind == lab.Checked:
			p.printf("%s\n", styled(good.Render("  ok: "+plain(l.Text))))
		default:
			p.printf("%s\n", l.Text)
		}
	})
}
