package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

const jsonProposal = `With --json: an object with id, state, came_from, proposed, the fields of
"agreement show", declined (member, reason, at) and untold (member, attempts,
error).`

func (p *program) agreementPropose() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "propose FILE",
		Short: "Sign an agreement that was drafted, and send it to its other parties",
		Long: `Propose reads what "agreement draft" or "agreement amend" wrote and you filled
in, makes the one text of it that all parties sign, checks it, shows it, asks.
Then your node signs it in your member's name and brings it to the nodes of the
other parties, also of those that are away now. It takes the role signer.

A text that is wrong is refused with its line, and nothing has changed.

What comes next: at each other party, "entente agreement pending", and sign or
decline. "agreement pending" here says who has signed, and whom it has not
reached. Scripts, which nobody can ask, say --yes.

` + jsonProposal,
		Example: `entente agreement propose harbour-watch.txt
entente agreement propose harbour-watch.txt --yes`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return p.proposeAgreement(cmd.Context(), given[0], yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask: this was decided")
	return cmd
}

func (p *program) proposeAgreement(ctx context.Context, file string, yes bool) error {
	text, err := readFile(file, limit.Agreement)
	if err != nil {
		return err
	}
	a, err := node.ReadDraft(file, text)
	if err != nil {
		return err
	}
	if a.Alliance.IsZero() || a.Version == 0 || a.Version > 1 && a.Previous.IsZero() { // a draft of ours says all of it
		h, err := p.read(ctx)
		if err != nil {
			return err
		}
		defer h.Close()
		if a, err = h.Identify(ctx, a); err != nil {
			return err
		}
	}
	raw, err := node.RenderDraft(file, text, a)
	if err != nil {
		return err
	}
	if err := node.CheckDraft(file, text, &a); err != nil {
		return err
	}
	if err := p.toSign(ctx, raw, "Propose it, and so sign it in your member's name?", yes); err != nil {
		return err
	}
	var out *ententev1.ProposeResponse
	err = p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		out, err = c.Propose(ctx, &ententev1.ProposeRequest{Agreement: raw})
		return err
	})
	if err != nil {
		return err
	}
	return p.showProposal(out.GetProposal())
}

// toSign shows a text to whoever is to sign it, and asks. Only a person in front of the program can answer.
func (p *program) toSign(ctx context.Context, raw []byte, question string, yes bool) error {
	text, _, _ := strings.Cut(string(raw), "\n\n— ")
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		p.note("%s\n", strings.TrimSuffix(line, "\n"))
	}
	if yes {
		return nil
	}
	if !p.interactive() || p.json {
		return fault.New(fault.Misused, "run it in a terminal, or say --yes if this was decided", "somebody must say yes to the text, and nobody can be asked here")
	}
	if p.confirmed(ctx, question) {
		return nil
	}
	return fault.New(fault.Failed, "nothing is lost by waiting", "not signed")
}

func (p *program) agreementPending() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "pending",
		Short: "List the agreements that are proposed, and who has yet to sign",
		Long: `Pending lists the proposals that wait for a signature, here or elsewhere, the
newest first. It asks the running node.

The ID is the beginning of the hash of the text. It came from the party that told
this node of it first. The note says which parties' nodes have not taken it from
this one yet, which goes on trying; or who declined it, and why. A proposal that
not all have signed within 90 days ends.

What comes next: "entente agreement sign ID", which shows the text first, or
"entente agreement decline ID --reason TEXT".

` + strings.Replace(jsonProposal, "an object", "an object a line", 1),
		Example: `entente agreement pending
entente agreement pending --all`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := p.proposals(cmd.Context(), all)
			if err != nil {
				return err
			}
			return p.listProposals(list)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that were concluded or declined, or have ended")
	return cmd
}

func (p *program) proposals(ctx context.Context, all bool) ([]*ententev1.Proposal, error) {
	var out *ententev1.ProposalsResponse
	err := p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		out, err = c.Proposals(ctx, &ententev1.ProposalsRequest{All: all})
		return err
	})
	return out.GetProposals(), err
}

func (p *program) listProposals(list []*ententev1.Proposal) error {
	var rows [][]any
	for _, one := range list {
		j, err := proposalOf(one)
		if err != nil {
			return err
		}
		if p.json {
			j.Prose = ""
			if err := p.emit(j); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []any{j.ID, fmt.Sprintf("%s v%d", j.Name, j.Version), proposalState(j.State), j.CameFrom, j.Proposed, owners(j.Missing), j.note()})
	}
	if len(list) == 0 {
		p.note("Nothing is proposed.\n")
	} else if !p.json {
		p.table([]string{"ID", "AGREEMENT", "STATE", "CAME FROM", "SINCE", "TO SIGN YET", "NOTE"}, rows)
	}
	return nil
}

func (p *program) agreementSign() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "sign ID",
		Short: "Sign a proposed agreement in this member's name",
		Long: `Sign shows the whole text of a proposal, asks, and has your node sign it in your
member's name: the signature binds the member. It takes the role signer. ID is
what "agreement pending" prints, the first digits of it, or the agreement's name
if only one proposal of that name is open.

With the last signature the agreement is in force at every party, from its first
day on. For a new version, "agreement diff NAME" shows what would change.

What comes next: "entente agreement show NAME".

` + jsonProposal,
		Example: `entente agreement sign harbour-watch
entente agreement sign 9f2c41aa --yes`,
		Args:              args("ID"),
		ValidArgsFunction: first(p.completeProposals),
		RunE: func(cmd *cobra.Command, given []string) error {
			// What is shown is what is signed: by its whole hash.
			one, err := p.findProposal(cmd.Context(), given[0])
			if err != nil {
				return err
			}
			if err := p.toSign(cmd.Context(), one.GetAgreement(), "Sign it in your member's name?", yes); err != nil {
				return err
			}
			var out *ententev1.SignProposalResponse
			err = p.ask(cmd.Context(), func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
				out, err = c.SignProposal(ctx, &ententev1.SignProposalRequest{Proposal: one.GetSha256()})
				return err
			})
			if err != nil {
				return err
			}
			return p.showProposal(out.GetProposal())
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask: this was decided")
	return cmd
}

// findProposal finds the proposal that a person means, as the node would.
func (p *program) findProposal(ctx context.Context, ref string) (*ententev1.Proposal, error) {
	list, err := p.proposals(ctx, true)
	if err != nil {
		return nil, err
	}
	var found []*ententev1.Proposal
	for _, one := range list {
		j, err := proposalOf(one)
		if err != nil {
			return nil, err
		}
		if j.Name == ref && j.State == "open" || strings.HasPrefix(one.GetSha256(), ref) {
			found = append(found, one)
		}
	}
	switch len(found) {
	case 0:
		return nil, fault.New(fault.NotFound, "entente agreement pending --all lists them, also those that were concluded or declined", "no open proposal here is called %.80q", ref)
	case 1:
		return found[0], nil
	}
	return nil, fault.New(fault.Misused, "entente agreement pending lists them; give more digits of the ID", "%.80q fits %d proposals", ref, len(found))
}

func (p *program) agreementDecline() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "decline ID",
		Short: "Tell the parties of a proposed agreement that this member will not sign it",
		Long: `Decline tells all parties of a proposal that your member will not sign it, and
why. That is final for this text: whoever still wants an agreement proposes
another one. It takes the role signer. A member that has signed cannot decline.

What comes next: "entente agreement draft", with what was missing.

` + jsonProposal,
		Example:           `entente agreement decline harbour-watch --reason 'ninety days are too long'`,
		Args:              args("ID"),
		ValidArgsFunction: first(p.completeProposals),
		RunE: func(cmd *cobra.Command, given []string) error {
			var out *ententev1.DeclineProposalResponse
			err := p.ask(cmd.Context(), func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
				out, err = c.DeclineProposal(ctx, &ententev1.DeclineProposalRequest{Proposal: given[0], Reason: reason})
				return err
			})
			if err != nil {
				return err
			}
			return p.showProposal(out.GetProposal())
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in one line of TEXT that all parties read (required)")
	required(cmd, "reason")
	return cmd
}

func (p *program) agreementWithdraw() *cobra.Command {
	var reason string
	var yes bool
	on := moment{now: p.now}
	cmd := &cobra.Command{
		Use:   "withdraw NAME",
		Short: "Leave an agreement, after the notice period that it names",
		Long: `Withdraw tells all parties that your member leaves an agreement, as soon as its
notice period allows or --on a later day. From then on your member is no party:
nothing new goes to it or comes from it under that agreement. What was delivered
before is kept on the terms under which it came. The others go on among
themselves; with fewer than two left the agreement has ended. It takes the role
signer, and cannot be taken back.

What comes next: nothing; all parties see it with "entente agreement show NAME".

With --json: agreement, ends and notice_sha256.`,
		Example: `entente agreement withdraw harbour-watch --reason 'we have sold the harbour'
entente agreement withdraw harbour-watch --on 2027-06-30 --yes`,
		Args:              args("NAME"),
		ValidArgsFunction: first(p.completeAgreements),
		RunE: func(cmd *cobra.Command, given []string) error {
			return p.withdraw(cmd.Context(), &ententev1.WithdrawRequest{Agreement: given[0], Reason: reason}, on, yes)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in one line of TEXT that all parties read")
	cmd.Flags().Var(&on, "on", "the day or time from which your member is no party (default: as soon as possible)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask: this was decided")
	return cmd
}

func (p *program) withdraw(ctx context.Context, req *ententev1.WithdrawRequest, on moment, yes bool) error {
	if !on.t.IsZero() {
		req.Ends = timestamppb.New(on.t)
	}
	if !yes {
		if !p.interactive() || p.json {
			return fault.New(fault.Misused, "run it in a terminal, or say --yes if this was decided", "somebody must confirm that the member leaves, and nobody can be asked here")
		}
		if !p.confirmed(ctx, "Leave "+plain(req.GetAgreement())+"? This cannot be taken back.") {
			return fault.New(fault.Failed, "nothing is lost by waiting", "not withdrawn")
		}
	}
	var out *ententev1.WithdrawResponse
	err := p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		out, err = c.Withdraw(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	if p.json {
		return p.emit(struct {
			Agreement string    `json:"agreement"`
			Ends      time.Time `json:"ends"`
			Notice    string    `json:"notice_sha256"`
		}{req.GetAgreement(), out.GetEnds().AsTime(), out.GetNoticeSha256()})
	}
	if !on.t.IsZero() && !out.GetEnds().AsTime().Equal(on.t.Truncate(time.Second)) {
		p.note("It had withdrawn before, and that stands: a withdrawal cannot be taken back or moved.\n")
	}
	p.fields(field{"agreement", req.GetAgreement()}, field{"no party from", out.GetEnds().AsTime()}, field{"notice sha256", out.GetNoticeSha256()})
	return nil
}

type proposalJSON struct {
	ID       string    `json:"id"`
	State    string    `json:"state"`
	CameFrom string    `json:"came_from"` // who told this node first; who signed first, nobody else can know
	Proposed time.Time `json:"proposed"`
	agreementJSON
	Declined []declinedJSON `json:"declined,omitempty"`
	Untold   []untoldJSON   `json:"untold,omitempty"`
}

type declinedJSON struct {
	Member string    `json:"member"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

type untoldJSON struct {
	Member   string `json:"member"`
	Attempts int64  `json:"attempts"`
	Error    string `json:"error,omitempty"`
}

// proposalOf reads what the node says of a proposal. The terms are those of the text itself.
func proposalOf(in *ententev1.Proposal) (proposalJSON, error) {
	d, err := statement.ParseDraft[statement.Agreement](in.GetAgreement())
	if err != nil {
		return proposalJSON{}, fault.New(fault.Failed, "compare the versions of the two programs: entente version", "read what the node sent: %w", err)
	}
	if d.Hash.String() != in.GetSha256() {
		return proposalJSON{}, fault.New(fault.Failed, "compare the versions of the two programs: entente version", "read what the node sent: %w", errors.New("a proposal has another hash than its text"))
	}
	j := proposalJSON{ID: d.Hash.Short(), State: in.GetState(), CameFrom: in.GetProposer(), Proposed: in.GetAt().AsTime(), agreementJSON: agreementOf(d, "")}
	for _, o := range in.GetDeclined() {
		j.Declined = append(j.Declined, declinedJSON{o.GetMember(), o.GetReason(), o.GetAt().AsTime()})
	}
	for _, o := range in.GetUntold() {
		j.Untold = append(j.Untold, untoldJSON{o.GetMember(), o.GetAttempts(), o.GetError()})
	}
	return j, nil
}

// note says what a proposal waits for besides signatures, or why there is nothing to wait for.
func (j proposalJSON) note() string {
	var list words
	for _, d := range j.Declined {
		list = append(list, d.Member+": "+d.Reason)
	}
	if len(list) == 0 && j.State == "open" {
		for _, u := range j.Untold {
			list = append(list, u.Member+" is not reached")
		}
	}
	return list.join()
}

func proposalState(s string) styled {
	switch s {
	case "concluded":
		return styled(good.Render(s))
	case "declined", "ended":
		return styled(bad.Render(s))
	}
	return styled(wait.Render(plain(s)))
}

func (p *program) showProposal(in *ententev1.Proposal) error {
	j, err := proposalOf(in)
	if err != nil {
		return err
	}
	if p.json {
		return p.emit(j)
	}
	p.fields(field{"agreement", j.Name}, field{"version", j.Version}, field{"id", j.ID}, field{"state", proposalState(j.State)}, field{"came from", j.CameFrom},
		field{"signed by", owners(j.SignedBy)}, field{"to sign yet", owners(j.Missing)})
	for _, d := range j.Declined {
		p.fields(field{"declined by", d.Member + ": " + d.Reason})
	}
	switch {
	case j.State == "concluded" && p.now().Before(j.NotBefore):
		p.next("nothing can be sent under it before " + when(j.NotBefore))
	case j.State == "concluded":
		p.next(p.self() + " send FILE --to MEMBER --agreement " + j.Name + " --purpose " + j.Purposes[0] + " --label LABEL")
	case j.State == "open" && slices.ContainsFunc(j.Missing, func(string) bool { return true }):
		p.next("at " + owners(j.Missing) + ": entente agreement sign " + j.ID)
	}
	return nil
}

func (p *program) completeProposals(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return p.look(prefix, func(ctx context.Context, h *node.Home) ([]string, error) { return h.OpenProposals(ctx) })
}
