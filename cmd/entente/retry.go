package main

import (
	"context"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

func (p *program) retryCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "retry [EXCHANGE]",
		Short: "Have what waits in the outbox tried now",
		Long: `Retry asks the running node to try now what it would try later: the deliveries
of one exchange, or all that waits, for one member or for any. The node tries by
itself, after pauses that grow to an hour, and at once when it hears of the
member again; so this is for whoever knows better, and wants to see it.

EXCHANGE is FROM/ID/TO as "entente outbox" prints it, any beginning of it that
fits only one, or the ID alone, which means all its recipients.

It prints how many deliveries are tried. "entente outbox" tells how they went.

With --json: exchanges, a number.`,
		Example: `entente retry
entente retry --to bravo
entente retry 01K7XQ3W0V6N2T9R4M5B8C1D2E`,
		Args:              args("[EXCHANGE]"),
		ValidArgsFunction: p.completeExchanges(false),
		RunE: func(cmd *cobra.Command, given []string) error {
			ref := ""
			if len(given) > 0 {
				ref = given[0]
			}
			return p.retry(cmd.Context(), ref, to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "only what waits for this MEMBER")
	_ = cmd.RegisterFlagCompletionFunc("to", p.completeMembers)
	return cmd
}

func (p *program) retry(ctx context.Context, ref, to string) error {
	if err := validRef(ref); err != nil {
		return err
	}
	if to != "" {
		if err := statement.ValidMember(to); err != nil {
			return fault.New(fault.Misused, "entente charter show lists the members", "--to: %w", err)
		}
	}
	var resp *ententev1.RetryResponse
	err := p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		resp, err = c.Retry(ctx, &ententev1.RetryRequest{Exchange: ref, To: to})
		return err
	})
	if err != nil {
		return err
	}
	if p.json {
		return p.emit(struct {
			Exchanges int64 `json:"exchanges"`
		}{resp.GetExchanges()})
	}
	switch n := resp.GetExchanges(); n {
	case 0:
		p.printf("no document waits\n")
	case 1:
		p.printf("1 delivery is tried now\n")
	default:
		p.printf("%d deliveries are tried now\n", n)
	}
	return nil
}

func (p *program) cancelCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "cancel EXCHANGE --reason TEXT",
		Short: "Give up a delivery that has not come to its end",
		Long: `Cancel has the running node end a delivery now, as if its deadline had passed:
the exchange is expired, and the log is committed to who said so and why. It is
for who released the document, and for the roles releaser and admin.

It takes nothing back. A recipient may have the whole document although its
receipt never came; cancel says of which exchanges that is so. What was
delivered or refused already stays as it is.

EXCHANGE is FROM/ID/TO as "entente outbox" prints it, any beginning of it that
fits only one, or the ID alone, which means all its recipients.

With --json: an object a line for each exchange, as "entente show" prints it,
with unconfirmed, if its recipient may have the document all the same.`,
		Example:           `entente cancel alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo --reason "sent by courier"`,
		Args:              args("EXCHANGE"),
		ValidArgsFunction: p.completeExchanges(false),
		RunE:              func(cmd *cobra.Command, given []string) error { return p.cancel(cmd.Context(), given[0], reason) },
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, one line for your own records: a TEXT (required)")
	required(cmd, "reason")
	return cmd
}

func (p *program) cancel(ctx context.Context, ref, reason string) error {
	if err := validRef(ref); err != nil {
		return err
	}
	if err := statement.ValidLine(reason); err != nil {
		return fault.New(fault.Misused, "say in one line why", "--reason %w", err)
	}
	var resp *ententev1.CancelResponse
	err := p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		resp, err = c.Cancel(ctx, &ententev1.CancelRequest{Exchange: ref, Reason: reason})
		return err
	})
	if err != nil {
		return err
	}
	unsure := map[string]bool{}
	for _, ref := range resp.GetUnconfirmed() {
		unsure[ref] = true
	}
	for _, e := range resp.GetExchanges() {
		if p.json {
			if err := p.emit(struct {
				exchangeJSON
				Unconfirmed bool `json:"unconfirmed,omitempty"`
			}{exchangeOf(e), unsure[e.GetRef()]}); err != nil {
				return err
			}
			continue
		}
		p.printf("%s %s\n", e.GetRef(), state(e.GetState()))
		if unsure[e.GetRef()] {
			p.note("%s may have it all the same: the whole document was sent, and no receipt came.\n", e.GetTo())
		}
	}
	return nil
}

// showTrouble says of what was tried in vain why, and when it is tried next.
func (p *program) showTrouble(list []exchangeJSON) {
	some := false
	for _, e := range list {
		if e.LastError == "" || e.Attempts == 0 {
			continue
		}
		some = true
		p.note("%s: attempt %d: %s; next %s\n", e.Ref, e.Attempts, e.LastError, when(e.NextAttempt))
	}
	if some {
		p.next(p.self() + " retry has them tried now; " + p.self() + " cancel EXCHANGE gives one up")
	}
}
