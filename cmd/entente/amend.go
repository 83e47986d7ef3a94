package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func (p *program) charterAmend() *cobra.Command {
	var card, out string
	var signers []string
	var days int
	var force bool
	cmd := &cobra.Command{
		Use:   "amend CHANGE [MEMBER]",
		Short: "Draft a change of the charter: suspend, reinstate, leave, admit or settle",
		Long: `Amend drafts a change of the charter, for a quorum to sign: more than half of
the members in good standing; with two members, both.

suspend MEMBER     nobody exchanges documents with it any more
reinstate MEMBER   it is in good standing again
admit --card FILE  a newcomer becomes a member; it signs as well
leave              this member leaves, for ever; it signs alone
settle             ends a fork of the charter: two changes above one version,
                   both validly signed. Signed without those who signed both,
                   whom it suspends.

Exactly those who are listed with --signers sign; by default everybody who may.
No change gives a member another key: that only the member itself can do, with
"entente card renew".

What comes next: mail the file to those who sign ("entente charter sign"), and
adopt it with all signatures ("entente charter adopt"). One node is enough: it
tells the others.

With --json: file, change, member, version, sha256, adopt_by, signed, missing.`,
		Example: `entente charter amend suspend charlie -o suspend.txt
entente charter amend admit --card delta.card --signers alpha,bravo -o admit.txt
entente charter amend leave -o leave.txt`,
		Args: args("CHANGE", "[MEMBER]"),
		RunE: func(cmd *cobra.Command, given []string) error {
			d := node.AmendmentDraft{Change: statement.Change(given[0]), Signers: signers, Wait: time.Duration(days) * 24 * time.Hour}
			if len(given) > 1 {
				d.Member = given[1]
			}
			if concerns := d.Change == statement.Suspend || d.Change == statement.Reinstate; concerns != (d.Member != "") {
				return fault.New(fault.Misused, "see entente charter amend --help", "suspend and reinstate name a member; leave, admit and settle do not")
			}
			if (d.Change == statement.Admit) != (card != "") {
				return fault.New(fault.Misused, "see entente charter amend --help", "admit, and nothing else, takes the newcomer's card, with --card FILE")
			}
			var err error
			if card != "" {
				if d.Card, err = readFile(card, limit.Statement); err != nil {
					return err
				}
			}
			return p.draftAmendment(cmd.Context(), d, out, force)
		},
	}
	cmd.Flags().StringVar(&card, "card", "", "the FILE with the newcomer's card")
	cmd.Flags().StringSliceVar(&signers, "signers", nil, "the MEMBERS who sign, separated by commas (default: all who may)")
	cmd.Flags().IntVar(&days, "wait", int(limit.AmendmentWait/(24*time.Hour)), "for how many DAYS it waits for signatures; its signers sign no other until then")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the FILE to write (required)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	required(cmd, "output")
	return cmd
}

func (p *program) draftAmendment(ctx context.Context, d node.AmendmentDraft, out string, force bool) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	file, err := h.DraftAmendment(ctx, p.now(), d)
	if err != nil {
		return err
	}
	if err := writeFile(out, file, force); err != nil {
		return err
	}
	f, err := node.ReadAmendment(file)
	if err != nil {
		return err
	}
	if err := p.showAmendmentFile(f, out); err != nil {
		return err
	}
	var steps, others []string
	for _, m := range f.Amendment.Terms.SignedBy {
		if m == h.Config.Member {
			steps = append(steps, "sign it: "+p.self()+" charter sign "+out)
		} else {
			others = append(others, m)
		}
	}
	if others != nil {
		steps = append(steps, "mail "+out+" to: "+strings.Join(others, ", "), "each signs it (charter sign), one after the other, or each a copy of its own")
	}
	p.next(steps...)
	return nil
}

func (p *program) signAmendment(ctx context.Context, file []byte, target string, replace, yes bool) error {
	f, err := node.ReadAmendment(file)
	if err != nil {
		return err
	}
	h, err := p.change(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	history, joining, err := h.Joining(ctx, f)
	if err != nil {
		return err
	}
	if joining && !p.json { // what a newcomer signs is that it joins these
		if err := p.showCharter(h.Config.Member, history); err != nil {
			return err
		}
		p.printf("\n")
	}
	if !yes {
		if err := p.agreed(ctx, f, joining); err != nil {
			return err
		}
	}
	signed, err := h.SignAmendment(ctx, p.now(), file)
	if err != nil {
		return err
	}
	if err := writeFile(target, signed, replace); err != nil {
		return err
	}
	if f, err = node.ReadAmendment(signed); err != nil {
		return err
	}
	if err := p.showAmendmentFile(f, target); err != nil {
		return err
	}
	if len(f.Amendment.Missing) > 0 {
		p.next("mail "+target+" to those who are still to sign: "+signersOf(f.Amendment.Missing),
			"the last one adopts it (charter adopt), or mails it to somebody who does")
	} else {
		p.next("everybody has signed: " + p.self() + " charter adopt " + target)
	}
	return nil
}

// agreed asks whether a member really wants a change. Only a person in front of the program can answer it.
func (p *program) agreed(ctx context.Context, f *node.AmendmentFile, joining bool) error {
	if !p.interactive() || p.json {
		return fault.New(fault.Misused, "run it in a terminal, or say --yes if this was decided", "somebody must confirm the change, and nobody can be asked here")
	}
	t := f.Amendment.Terms
	p.note("The change: %s %s, version %d of the charter of alliance %s\n", t.Change, t.Member, t.Version, t.Alliance)
	if joining {
		p.note("You join the alliance above. Call a member at a number you know, and compare its fingerprint and the hash of the founding charter:\n      %s\n", t.Alliance)
	} else if f.Card != nil {
		p.note("Call the newcomer at a number you know, and compare the fingerprint of its card:\n      %s\n", statement.Fingerprint(f.Card.Hash))
	}
	if p.confirmed(ctx, "Sign it?") {
		return nil
	}
	return fault.New(fault.Failed, "nothing is lost by waiting", "not signed")
}

func (p *program) adoptAmendment(ctx context.Context, files [][]byte) error {
	h, err := p.change(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	f, err := node.ReadAmendment(files[0])
	if err != nil {
		return err
	}
	_, joining, err := h.Joining(ctx, f)
	if err != nil {
		return err
	}
	history, err := h.AdoptAmendment(ctx, p.now(), files...)
	if err != nil {
		return err
	}
	if err := p.showCharter(h.Config.Member, history); err != nil {
		return err
	}
	if joining {
		p.next(p.self()+" person add NAME --role releaser,reader", p.self()+" node")
	} else {
		p.next("nobody else needs to adopt it: this member's node tells all others, now or when it is started")
	}
	return nil
}

// signersOf turns names of keys into names of members.
func signersOf(keys []string) string {
	return strings.ReplaceAll(strings.Join(keys, ", "), "/statement", "")
}

func (p *program) showAmendmentFile(f *node.AmendmentFile, file string) error {
	a := f.Amendment
	t := a.Terms
	if p.json {
		return p.emit(struct {
			File    string   `json:"file"`
			Change  string   `json:"change"`
			Member  string   `json:"member,omitempty"`
			Version int64    `json:"version"`
			Hash    string   `json:"sha256"`
			AdoptBy string   `json:"adopt_by"`
			Signed  []string `json:"signed"`
			Missing []string `json:"missing"`
		}{file, string(t.Change), t.Member, t.Version, a.Hash.String(), t.AdoptBy.Format(time.RFC3339), nonNil(a.Signed), nonNil(a.Missing)})
	}
	var fingerprint styled
	if f.Card != nil {
		fingerprint = styled(bold.Render(statement.Fingerprint(f.Card.Hash)))
	}
	p.fields(field{"change", string(t.Change)}, field{"member", t.Member}, field{"fingerprint", fingerprint}, field{"version", fmt.Sprint(t.Version)},
		field{"follows", t.Previous.String()}, field{"alliance", t.Alliance.String()}, field{"adopt by", t.AdoptBy}, field{"signed", signersOf(a.Signed)},
		field{"missing", signersOf(a.Missing)}, field{"file", file})
	return nil
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

type charterForkJSON struct {
	Of        string   `json:"of_sha256"`
	Hashes    []string `json:"sha256"`
	Concerned []string `json:"concerned"`
}

func describeFork(h *member.History) *charterForkJSON {
	f := h.Fork()
	if f == nil {
		return nil
	}
	return &charterForkJSON{f.Of.String(), []string{f.Hashes[0].String(), f.Hashes[1].String()}, f.Concerned}
}
