package main

import (
	"context"

	"github.com/spf13/cobra"

	"entente.example/internal/audit"
	"entente.example/internal/fault"
)

func (p *program) auditFetch() *cobra.Command {
	return &cobra.Command{
		Use:   "fetch MEMBER DIR",
		Short: "Get the whole log of a member, as an auditor, and verify it",
		Long: `Fetch asks the running node for a log, as a person with the role auditor: the log
of its own member, or that of another member if the charter names this person as
an auditor; the node then asks the other member's node. What comes is a folder as
"entente audit export" makes it: every leaf, and the newest checkpoint that a
quorum of witnesses has co-signed. No document and nothing private is in it. The
member whose log it is writes down that it was read, and by whom.

The folder appears only if everything in it fits the checkpoint, under the log
keys on the member's card as this home knows it.

What comes next: read the entries, or verify the folder again at any time.

With --json: member, log, directory, leaves, root, notes.`,
		Example: `entente audit fetch alpha ./alpha-log
entente audit fetch bravo ./bravo-log --as dave
entente audit verify ./bravo-log`,
		Args: args("MEMBER", "DIR"),
		RunE: func(cmd *cobra.Command, given []string) error { return p.fetch(cmd.Context(), given[0], given[1]) },
	}
}

func (p *program) fetch(ctx context.Context, name, dir string) error {
	history := p.history(ctx)
	if history == nil {
		return fault.New(fault.NotFound, "found one as docs/founding.md says", "this home has no charter to verify a log under")
	}
	trust, ok := audit.TrustIn(history, name)
	if !ok {
		return fault.New(fault.Misused, "entente charter show lists the members", "%.80q is no member of the alliance", name)
	}
	c, err := p.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	next, stop, err := c.FetchLog(ctx, name)
	if err != nil {
		return err
	}
	defer stop()
	report, err := audit.Import(dir, trust, next)
	if err != nil {
		return err
	}
	if p.json {
		notes := []string{}
		for _, n := range report.Notes {
			notes = append(notes, n.String())
		}
		return p.emit(struct {
			Member string   `json:"member"`
			Log    string   `json:"log"`
			Dir    string   `json:"directory"`
			Leaves int64    `json:"leaves"`
			Root   string   `json:"root"`
			Notes  []string `json:"notes"`
		}{name, report.Log, dir, report.Leaves, report.Root.String(), notes})
	}
	p.fields(field{"member", name}, field{"log", report.Log}, field{"folder", dir}, field{"leaves", report.Leaves}, field{"root", report.Root.String()})
	for _, n := range report.Notes {
		p.note("%s %s\n", styled(wait.Render("note:")), n.String())
	}
	p.printf("%s\n", styled(good.Render("sound: everything fits the checkpoint, under the keys on the card of "+plain(name))))
	p.next("entente audit verify " + dir)
	return nil
}
