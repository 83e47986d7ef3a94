package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

func (p *program) auditCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "audit",
		Short: "Read, verify and export the log of what happened",
		Long: `Every fact about an exchange is a leaf of this member's log, a Merkle tree that
only grows. No leaf contains content, a file name or a person's name; what is
private stands in the database, and enters the leaf as a salted commitment.

Most of these commands read the home itself: they need neither node nor person,
and work beside a running node. Reconcile and fetch ask the node.`,
		Example: `entente audit tail -n 20
entente audit verify
entente audit witnesses
entente audit report --agreement harbour-watch -o report.html
entente audit export ./alpha-log`,
	}, p.auditTail(), p.auditVerify(), p.auditReport(), asPerson(p.auditReconcile()), p.auditDisclose(), p.auditExport(), asPerson(p.auditFetch()), p.auditWitnesses(), p.auditForks(), p.auditDamage())
}

func (p *program) auditTail() *cobra.Command {
	var count int
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the newest leaves of the log",
		Long: `Tail prints the newest leaves, oldest first: their index, time, kind, id, the
other members concerned, who did it as far as this home knows, and which rules
refused. With -f it goes on printing as leaves are added, until interrupted.

With --json: an object a line with index, leaf (the leaf itself, as it is
hashed), and private (what stands behind its commitments).`,
		Example: `entente audit tail
entente audit tail -n 100
entente audit tail -f --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if count < 0 {
				return misused(cmd, "--lines must not be negative")
			}
			return p.tail(cmd.Context(), int64(count), follow)
		},
	}
	cmd.Flags().IntVarP(&count, "lines", "n", 10, "how many leaves, N")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as leaves are added")
	return cmd
}

// followPause is how often tail -f looks. Reading the size of the log costs next to nothing.
const followPause = 300 * time.Millisecond

func (p *program) tail(ctx context.Context, count int64, follow bool) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	from := int64(-1)
	for {
		from, err = p.leaves(ctx, h, from, count)
		if follow && ctx.Err() != nil {
			return nil // that is how one ends it
		}
		if err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPause):
		}
	}
}

type leafJSON struct {
	Index   int64           `json:"index"`
	Leaf    json.RawMessage `json:"leaf"`
	Private map[string]any  `json:"private,omitempty"`
}

// leaves prints the leaves from an index on, the last `count` if it is negative, and gives the index to go on with. What
// is read is printed after the view is closed: a slow terminal must not hold the database.
func (p *program) leaves(ctx context.Context, h *node.Home, from, count int64) (int64, error) {
	for {
		var page []leafJSON
		err := h.DB.View(ctx, func(v *store.View) error {
			size, err := v.Size()
			if err != nil {
				return err
			}
			if from < 0 {
				from = max(0, size-count)
			}
			page, err = readLeaves(v, from, int(min(size-from, 100)))
			return err
		})
		if err != nil {
			return from, err
		}
		for _, l := range page {
			if err := p.leaf(l); err != nil {
				return from, err
			}
		}
		from += int64(len(page))
		if len(page) == 0 {
			return from, nil
		}
	}
}

func readLeaves(v *store.View, from int64, most int) ([]leafJSON, error) {
	if most <= 0 {
		return nil, nil
	}
	bodies, err := v.Leaves(from, most)
	if err != nil {
		return nil, err
	}
	var page []leafJSON
	for i, body := range bodies {
		l := leafJSON{Index: from + int64(i), Leaf: body}
		private, err := v.Private(l.Index)
		if err != nil {
			return nil, err
		}
		for _, c := range private {
			if l.Private == nil {
				l.Private = map[string]any{}
			}
			if l.Private[c.Field] = string(c.Value); json.Valid(c.Value) {
				l.Private[c.Field] = json.RawMessage(c.Value)
			}
		}
		page = append(page, l)
	}
	return page, nil
}

func (p *program) leaf(l leafJSON) error {
	leaf, err := statement.ParseLeaf(l.Leaf)
	if err != nil {
		return fault.New(fault.Invalid, "run: entente audit verify", "leaf %d: %w", l.Index, err)
	}
	if p.json {
		return p.emit(l)
	}
	about := []string{}
	if leaf.ID != "" {
		about = append(about, leaf.ID)
	}
	if leaf.Statement != nil {
		about = append(about, leaf.Statement.Short())
	}
	if len(leaf.Peers) > 0 {
		about = append(about, words(leaf.Peers).join())
	}
	for _, f := range []struct{ field, says string }{{"person", "by "}, {"approver", "approved by "}} {
		if who, ok := l.Private[f.field].(string); ok {
			about = append(about, f.says+who[strings.LastIndex(who, "/")+1:])
		}
	}
	if which, ok := l.Private["leaf"].(json.RawMessage); ok && leaf.Kind == statement.EventDisclosed {
		about = append(about, "leaf "+string(which))
		if fields, ok := l.Private["fields"].(string); ok && fields != "" {
			about = append(about, fields)
		}
	}
	if unwelcome(leaf.Kind) && len(leaf.Rules) > 0 { // which rules permitted, --json tells
		about = append(about, strings.Join(leaf.Rules, " "))
	}
	p.printf("%6d  %s  %s  %s\n", l.Index, leaf.Time, styled(kind(leaf.Kind)), strings.Join(about, "  "))
	return nil
}

// kind pads a leaf's kind to the longest there is.
func kind(k statement.EventKind) string {
	text := plain(string(k)) + strings.Repeat(" ", max(0, len(statement.EventUndecryptable)-len(k)))
	if unwelcome(k) {
		return bad.Render(text)
	}
	return good.Render(text)
}

// unwelcome tells whether something did not go as somebody wished.
func unwelcome(k statement.EventKind) bool {
	switch k {
	case statement.EventDenied, statement.EventRefused, statement.EventReturned, statement.EventExpired, statement.EventUndecryptable, statement.EventRejected, statement.EventForked:
		return true
	}
	return false
}

func (p *program) auditExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export DIR",
		Short: "Write the log to files that other programs can check",
		Long: `Export signs a checkpoint of the log as it is now, and writes the log into a new
folder in the layout of C2SP tlog-tiles: checkpoint, tile/…, and the verifier key
in log.vkey. It contains the leaves and nothing private.

What comes next: give the folder to whoever wants to check it, with this program
("entente audit verify DIR") or with any other that knows the layout.

With --json: log, directory, leaves, root.`,
		Example: `entente audit export ./alpha-log
entente audit verify ./alpha-log`,
		Args: args("DIR"),
		RunE: func(cmd *cobra.Command, given []string) error {
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			// An export ends with a checkpoint; this makes one that covers everything until now.
			if _, err := h.Log.Publish(cmd.Context()); err != nil {
				return err
			}
			card, err := h.Card()
			if err != nil {
				return err
			}
			tree, err := audit.Export(cmd.Context(), h.DB, checkpoint.Log{Ed25519: card.Terms.Log, MLDSA: card.Terms.LogMLDSA}, given[0])
			if err != nil {
				return err
			}
			log, _, _ := strings.Cut(card.Terms.Log, "+")
			if p.json {
				return p.emit(struct {
					Log    string `json:"log"`
					Dir    string `json:"directory"`
					Leaves int64  `json:"leaves"`
					Root   string `json:"root"`
				}{log, given[0], tree.N, tree.Hash.String()})
			}
			p.fields(field{"log", log}, field{"folder", given[0]}, field{"leaves", tree.N}, field{"root", tree.Hash.String()})
			p.next("entente audit verify " + given[0])
			return nil
		},
	}
}
