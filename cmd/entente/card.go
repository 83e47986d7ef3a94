package main

import (
	"github.com/spf13/cobra"

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
		Args: args(),
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
	return cmd
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
