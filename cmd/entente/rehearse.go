package main

import (
	"context"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// rehearsalJSON is what would happen to a sending, as --json prints it.
type rehearsalJSON struct {
	Reasons    []statement.Reason `json:"reasons,omitempty"`
	Waits      []statement.Reason `json:"waits,omitempty"`
	Recipients []rehearsedJSON    `json:"recipients"`
}

type rehearsedJSON struct {
	Member  string             `json:"member"`
	Answer  string             `json:"answer"`
	Reasons []statement.Reason `json:"reasons,omitempty"`
	Error   string             `json:"error,omitempty"`
}

func (p *program) whoMayCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "who-may",
		Short: "Say which members would accept a document, without sending one",
		Long: `Who-may asks about every other member of the alliance whether a document could
be sent to it under this agreement, with this purpose and this label: whether our
own node would release it, and whether the member's would take it. Who is no
party to the agreement is not asked. The members that are asked write down that
they were; of a member's own rules they say only that one refuses.

The answers hold for this moment, and for a document to that member alone.

What comes next: "entente send FILE --dry-run" for one document and all its
recipients.

With --json: reasons, waits, recipients (member, answer, reasons, error).`,
		Example: `entente who-may --agreement harbour-watch --purpose incident-response \
--label TLP:AMBER`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := p.read(cmd.Context())
			if err != nil {
				return err
			}
			f.to, f.name = words{home.Config.Member}, "document" // not looked at
			if err := home.Close(); err != nil {
				return err
			}
			if err := f.check(); err != nil {
				return err
			}
			_, err = p.rehearse(cmd.Context(), f, true)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.agreement, "agreement", "", "the NAME of the agreement under which it would be sent (required)")
	flags.StringVar(&f.purpose, "purpose", "", "what it would be sent for, a WORD of the agreement (required)")
	flags.StringVar(&f.label, "label", "", "how confidential it would be: the LABEL, such as TLP:AMBER (required)")
	required(cmd, "agreement", "purpose", "label")
	_ = cmd.RegisterFlagCompletionFunc("agreement", p.completeAgreements)
	_ = cmd.RegisterFlagCompletionFunc("purpose", p.completePurposes)
	_ = cmd.RegisterFlagCompletionFunc("label", p.completeAgreed)
	return cmd
}

// rehearseSend is send --dry-run.
func (p *program) rehearseSend(ctx context.Context, f sendFlags) error {
	if f.wait {
		return fault.New(fault.Misused, "leave one of them out", "--dry-run sends nothing that --wait could wait for")
	}
	if err := validDocument(f.name); err != nil {
		return err
	}
	r, err := p.rehearse(ctx, f, false)
	if err != nil {
		return err
	}
	var refuse, quiet words
	for _, to := range r.Recipients {
		switch to.Answer {
		case "refuses":
			refuse = append(refuse, to.Member)
		case "silent":
			quiet = append(quiet, to.Member)
		}
	}
	switch {
	case len(r.Reasons) > 0:
		return fault.New(fault.Refused, "nothing was sent, and nobody's answer binds them", "our own policies would not release this document")
	case len(refuse) > 0:
		return fault.New(fault.Refused, "nothing was sent", "%s would refuse this document", refuse.join())
	case len(r.Waits) > 0:
		return fault.New(fault.Refused, "nothing was sent; when it is, it waits for: entente approve", "this document would wait for a second person")
	case len(quiet) > 0:
		return fault.New(fault.Failed, "nothing was sent; when it is, the node goes on trying until the deadline", "what %s would do is not known", quiet.join())
	}
	p.note("Nothing was sent.\n")
	return nil
}

// rehearse asks the node, and prints what it says.
func (p *program) rehearse(ctx context.Context, f sendFlags, everybody bool) (rehearsalJSON, error) {
	var out rehearsalJSON
	sub, err := f.submission()
	if err != nil {
		return out, err
	}
	var resp *ententev1.RehearseSendResponse
	err = p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		resp, err = c.RehearseSend(ctx, &ententev1.RehearseSendRequest{Submission: sub, Everybody: everybody})
		return err
	})
	if err != nil {
		return out, err
	}
	out = rehearsalJSON{reasonsOf(resp.GetReasons()), reasonsOf(resp.GetWaits()), []rehearsedJSON{}}
	for _, r := range resp.GetRecipients() {
		out.Recipients = append(out.Recipients, rehearsedJSON{r.GetMember(), r.GetAnswer(), reasonsOf(r.GetReasons()), r.GetError()})
	}
	if p.json {
		return out, p.emit(out)
	}
	p.showRehearsal(out)
	return out, nil
}

// showRehearsal prints who would do what, and then why.
func (p *program) showRehearsal(r rehearsalJSON) {
	rows := [][]any{{"this node", answer("releases"), ""}}
	switch {
	case len(r.Reasons) > 0:
		rows[0] = []any{"this node", answer("refuses"), ruleNames(r.Reasons)}
	case len(r.Waits) > 0:
		rows[0] = []any{"this node", answer("waits"), ruleNames(r.Waits)}
	}
	for _, to := range r.Recipients {
		why := ruleNames(to.Reasons)
		if to.Error != "" {
			why = to.Error
		}
		rows = append(rows, []any{to.Member, answer(to.Answer), why})
	}
	p.table([]string{"WHO", "ANSWER", "WHY"}, rows)
	p.because("this node", append(r.Reasons, r.Waits...))
	for _, to := range r.Recipients {
		p.because(to.Member, to.Reasons)
	}
}

// because prints somebody's reasons.
func (p *program) because(who string, why []statement.Reason) {
	for _, r := range why {
		p.printf("\n%s, %s: %s\n", who, styled(bold.Render(plain(r.Set+"/"+r.Rule))), r.Text)
		if r.Needs != "" {
			p.printf("  needed: %s\n", r.Needs)
		}
	}
}

func ruleNames(why []statement.Reason) string {
	var names words
	for _, r := range why {
		names = append(names, r.Set+"/"+r.Rule)
	}
	return names.join()
}

// answer shows what somebody would do.
func answer(s string) styled {
	switch s {
	case "releases", "accepts":
		return styled(good.Render(s))
	case "refuses":
		return styled(bad.Render(s))
	}
	return styled(wait.Render(plain(s)))
}
