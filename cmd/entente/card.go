package main

import (
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func (p *program) cardCommand() *cobra.Command {
	var out string
	var force bool
	cmd := &cobra.Command{
		Use:   "card",
		Short: "Show this member's card and its fingerprint, or write the card to a file",
		Long: `A card is a member's own statement of its address and its public keys. Card
shows whose it is and its fingerprint, which is what people compare on the
telephone: nobody can make another card with the same fingerprint.

With -o FILE it also writes the card itself, to be mailed to the other members.
It contains no secret.

What comes next: whoever drafts the charter collects the cards of all members
and runs "entente charter draft".

With --json: member, version, address, jurisdiction, fingerprint, sha256, file.`,
		Example: `entente card
entente card -o alpha.card`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := p.read(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			card, err := h.Card()
			if err != nil {
				return err
			}
			if out != "" {
				if err := writeFile(out, card.Raw, force); err != nil {
					return err
				}
			}
			return p.showCard(card, out)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the FILE to write the card to")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	cmd.AddCommand(p.cardRenew(), p.cardAdopt())
	return cmd
}

func (p *program) cardRenew() *cobra.Command {
	var o node.RenewOptions
	var compromised bool
	var since string
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Replace this member's statement key, with a new card",
		Long: `Renew gives this member a new statement key, and a card that says so. Nobody else
can do it, and it takes the recovery key, which "entente init" wrote outside the
home. The node must be stopped; when it runs again it tells all others.

What was signed with the old key is accepted for 30 more days. If somebody else
may have had it, say --compromised --since TIME: then nothing that is signed with
it is accepted any more, and evidence counts only what witnesses saw before.

What comes next: take the recovery key offline again, and start the node.

With --json: as "card".`,
		Example: `entente card renew --recovery /media/key/alpha.key
entente card renew --recovery /media/key/alpha.key --compromised \
--since 2026-11-23T09:00:00Z`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if compromised != (since != "") {
				return fault.New(fault.Misused, "say both, or neither", "--compromised and --since TIME belong together")
			}
			if since != "" {
				t, err := time.Parse(time.RFC3339, since)
				if err != nil {
					return fault.New(fault.Misused, "write it as 2026-11-23T09:00:00Z", "%.80q is no time", since)
				}
				o.CompromisedSince = t
			}
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			card, err := h.RenewCard(cmd.Context(), p.now(), o)
			if err != nil {
				return err
			}
			if err := p.showCard(card, ""); err != nil {
				return err
			}
			p.next("take the recovery key offline again", p.self()+" node")
			return nil
		},
	}
	cmd.Flags().StringVar(&o.RecoveryFile, "recovery", "", "the FILE with the recovery key (required)")
	cmd.Flags().BoolVar(&compromised, "compromised", false, "somebody else may have had the old key")
	cmd.Flags().StringVar(&since, "since", "", "since what TIME, such as 2026-11-23T09:00:00Z")
	required(cmd, "recovery")
	return cmd
}

func (p *program) cardAdopt() *cobra.Command {
	return &cobra.Command{
		Use:   "adopt FILE...",
		Short: "Take in newer cards of other members, which they mailed",
		Long: `Adopt takes in newer cards of members. Nodes tell each other of their cards by
themselves; it is for a card that came by mail, because its owner's node cannot
be reached at its old address, say. Each is verified against the cards before it.
Adopting a card again changes nothing.

With --json: as "charter show".`,
		Example: `entente card adopt bravo-2.card`,
		Args:    args("FILE..."),
		RunE: func(cmd *cobra.Command, given []string) error {
			cards, err := readFiles(given, limit.Statement)
			if err != nil {
				return err
			}
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			out, err := h.AdoptCards(cmd.Context(), p.now(), cards...)
			if err != nil {
				return err
			}
			return p.showCharter(h.Config.Member, out.History)
		},
	}
}

func (p *program) showCard(card *statement.Signed[statement.Card], file string) error {
	c := card.Terms
	if p.json {
		return p.emit(struct {
			Member       string `json:"member"`
			Version      int64  `json:"version"`
			Address      string `json:"address"`
			Jurisdiction string `json:"jurisdiction,omitempty"`
			Fingerprint  string `json:"fingerprint"`
			Hash         string `json:"sha256"`
			File         string `json:"file,omitempty"`
		}{c.Member, c.Version, c.Address, c.Jurisdiction, statement.Fingerprint(card.Hash), card.Hash.String(), file})
	}
	p.fields(field{"member", c.Member}, field{"address", c.Address}, field{"jurisdiction", c.Jurisdiction},
		field{"fingerprint", styled(bold.Render(statement.Fingerprint(card.Hash)))}, field{"file", file})
	if file != "" {
		p.next("mail " + file + " to whoever drafts the charter, and read the fingerprint out to the others on the telephone")
	}
	return nil
}
