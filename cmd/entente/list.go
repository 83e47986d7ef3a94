package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	ententev1 "entente.example/proto/entente/v1"
)

const jsonExchange = `With --json: an object a line with exchange, from, id, to, state, agreement,
purpose, label, created, deliver_by, retain_until, released_by, sealed_size,
manifest_sha256, updated, and where there are any: label_means, attempts,
next_attempt, last_error, approved_by, approved_at, waits_until, receipts (kind,
from, at, log, leaf, reasons).`

func (p *program) outboxCommand() *cobra.Command {
	return p.listCommand(ententev1.Direction_DIRECTION_OUT, &cobra.Command{
		Use:   "outbox",
		Short: "List the documents that this member has sent, and how far they have come",
		Long: `Outbox lists what was sent, newest first, a line for each recipient. It asks the
running node.

waiting means that a second person has to approve it, see "entente approvals",
and lapsed that nobody did in time. queued and delivering mean that the node is
trying, and goes on by itself until the deadline; unconfirmed, that it tries
too, but the recipient may have the whole document: only its receipt is missing.
delivered means that the recipient's signed receipt is here; refused, that its
signed refusal is; expired, that the deadline passed, or somebody cancelled it.

Of what was tried in vain it prints why, how often, and when it is tried next.

What comes next: "entente show EXCHANGE" for the receipts and reasons, "entente
retry" to have it tried now, "entente cancel" to give it up.

` + jsonExchange,
		Example: `entente outbox
entente outbox --limit 10 --json`,
	})
}

func (p *program) inboxCommand() *cobra.Command {
	return p.listCommand(ententev1.Direction_DIRECTION_IN, &cobra.Command{
		Use:   "inbox",
		Short: "List the documents that this member has received",
		Long: `Inbox lists what was received, newest first. It asks the running node.

stored means that the sealed document is here and can be opened; opened, that
somebody has opened it; refused, that our node refused it and signed why.

What comes next: "entente open EXCHANGE -o FILE".

` + jsonExchange,
		Example: `entente inbox
entente inbox --limit 10 --json`,
	})
}

func (p *program) listCommand(direction ententev1.Direction, cmd *cobra.Command) *cobra.Command {
	var most int
	cmd.Args = args()
	cmd.Flags().IntVar(&most, "limit", 50, "show at most N, the newest")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if most < 1 {
			return misused(cmd, "--limit must be at least 1")
		}
		return p.list(cmd.Context(), direction, most)
	}
	return cmd
}

func (p *program) list(ctx context.Context, direction ententev1.Direction, most int) error {
	var found []exchangeJSON
	req := &ententev1.ListRequest{Direction: direction}
	// The node's order within one second is any. To show the newest, the second that is cut must be here whole.
	for len(found) <= most || found[len(found)-1].Created.Equal(found[most-1].Created) {
		req.Limit = int32(min(max(most+1-len(found), 20), 100))
		var resp *ententev1.ListResponse
		err := p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
			resp, err = c.List(ctx, req)
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range resp.GetExchanges() {
			found = append(found, exchangeOf(e))
		}
		if req.Cursor = resp.GetCursor(); req.Cursor == "" {
			break
		}
	}
	slices.SortFunc(found, func(a, b exchangeJSON) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID), cmp.Compare(a.To, b.To))
	})
	more := len(found) > most || req.Cursor != ""
	found = found[:min(most, len(found))]
	var rows [][]any
	for _, e := range found {
		if p.json {
			if err := p.emit(e); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []any{p.labelAs(e.Label, e.LabelMeans), state(e.State), e.Ref, e.Purpose, size(e.Size), e.Created})
	}
	if len(found) == 0 {
		p.note("Nothing yet.\n")
	} else if !p.json {
		p.table([]string{"LABEL", "STATE", "EXCHANGE", "PURPOSE", "SEALED", "CREATED"}, rows)
		if more {
			p.note("There are more; --limit N shows them.\n")
		}
		p.showTrouble(found)
	}
	return nil
}

func (p *program) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show EXCHANGE",
		Short: "Show everything about an exchange but the document: terms, attempts, receipts",
		Long: `Show prints what the sender signed about a document, and what the recipient
signed back: which receipt, when, and as which leaf of its log; or why it
refused. It asks the running node.

EXCHANGE is FROM/ID/TO as inbox and outbox print it, any beginning of it that
fits only one, or the ID alone, which may show several recipients.

` + jsonExchange + `
Here also manifest, and receipt in each receipt: the signed texts.`,
		Example: `entente show alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo
entente show 01K7XQ --json`,
		Args:              args("EXCHANGE"),
		ValidArgsFunction: p.completeExchanges(false),
		RunE: func(cmd *cobra.Command, given []string) error {
			list, err := p.lookUp(cmd.Context(), given[0])
			if err != nil {
				return err
			}
			for i, e := range list {
				if p.json {
					if err := p.emit(e); err != nil {
						return err
					}
					continue
				}
				if i > 0 {
					p.printf("\n")
				}
				p.showExchange(e)
			}
			if !p.json && len(list) > 0 {
				p.showNext(list[0]) // the others are of the same release
			}
			return nil
		},
	}
}

// lookUp asks the node about an exchange, or several with one ID.
func (p *program) lookUp(ctx context.Context, ref string) ([]exchangeJSON, error) {
	if err := validRef(ref); err != nil {
		return nil, err
	}
	var resp *ententev1.ShowResponse
	err := p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		resp, err = c.Show(ctx, &ententev1.ShowRequest{Exchange: ref})
		return err
	})
	if err != nil {
		return nil, err
	}
	var list []exchangeJSON
	for _, e := range resp.GetExchanges() {
		j := exchangeOf(e)
		j.Signed = string(resp.GetManifest())
		list = append(list, j)
	}
	return list, nil
}

func validRef(ref string) error {
	if len(ref) > 128 {
		return fault.New(fault.Misused, "entente inbox and entente outbox print them", "%.40q… is too long for an exchange", ref)
	}
	return nil
}
