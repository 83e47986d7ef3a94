package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/node"
)

func (p *program) auditDamage() *cobra.Command {
	return &cobra.Command{
		Use:   "damage",
		Short: "List what the node's own check has found damaged",
		Long: `Damage lists what the running node has found damaged in its home, and when its
check last went through everything. The check goes on in the background, slowly:
rows, leaves, hashes, documents, each against the others. A document that is
listed is neither opened nor sent; everything else goes on. Once it is well
again, because its file was brought back from a backup for instance, the node
finds that within a minute and goes on with it.

It reads the home itself and needs neither node nor person. To check everything
now: entente audit verify --all

With --json: checked (absent if not everything was gone through yet), damaged (a
list of manifest, where, what, found).`,
		Example: `entente audit damage
entente audit damage --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.damage(cmd.Context()) },
	}
}

func (p *program) damage(ctx context.Context) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	d, err := h.Damage()
	if err != nil {
		return err
	}
	if p.json {
		out := struct {
			Checked *time.Time     `json:"checked,omitempty"`
			Damaged []node.Damaged `json:"damaged"`
		}{Damaged: append([]node.Damaged{}, d.List...)}
		if !d.Checked.IsZero() {
			out.Checked = &d.Checked
		}
		return p.emit(out)
	}
	for _, one := range d.List {
		p.printf("%s: %s (found %s)\n", one.Where, one.What, one.Found.Format(time.RFC3339))
	}
	switch {
	case d.Checked.IsZero() && len(d.List) == 0:
		p.printf("nothing was found so far; the node has not gone through everything yet\n")
	case d.Checked.IsZero():
		p.note("The node has not gone through everything yet.\n")
	case len(d.List) == 0:
		p.printf("nothing is damaged, as of %s\n", d.Checked.Format(time.RFC3339))
	default:
		p.note("The node last went through everything at %s.\n", d.Checked.Format(time.RFC3339))
	}
	return nil
}
