package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
)

func (p *program) auditDisclose() *cobra.Command {
	var fields words
	var out string
	var force bool
	cmd := &cobra.Command{
		Use:   "disclose LEAF",
		Short: "Show one leaf with its proof, and open private fields of it, without its neighbours",
		Long: `Disclose writes a file that shows one leaf of the log to somebody outside: the
leaf, a proof that it stands there under a checkpoint that witnesses have
co-signed, the charter and cards, and those private fields that --field names,
each with the salt of its commitment. Nothing else of the log is in the file, and
the other private fields stay closed. LEAF is an index as "entente audit tail"
prints it.

The home is changed: what was disclosed is recorded as a leaf of its own. If no
quorum of witnesses has co-signed the leaf yet, nothing is written.

What comes next: give away the file and, on another way, the hash of the founding
charter; entente-verify checks the file under it, without any network.

With --json: leaf, fields, file, charter_sha256, claims, not_proved.`,
		Example: `entente audit disclose 17 --field person -o leaf.txt
entente audit disclose 17 --field person --field decision -o leaf.txt
entente-verify leaf.txt --charter HASH`,
		Args: args("LEAF"),
		RunE: func(cmd *cobra.Command, given []string) error {
			index, err := strconv.ParseInt(given[0], 10, 64)
			if err != nil || index < 0 {
				return misused(cmd, "%.40q is not the index of a leaf", given[0])
			}
			return p.disclose(cmd.Context(), index, fields, out, force)
		},
	}
	cmd.Flags().Var(&fields, "field", "a private field to open, NAME; may be given more than once")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the FILE to write (required)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	required(cmd, "output")
	return cmd
}

func (p *program) disclose(ctx context.Context, index int64, fields words, out string, force bool) error {
	if err := free(out, force); err != nil {
		return err
	}
	h, err := p.change(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	raw, verdict, err := h.Disclose(ctx, index, fields, p.now())
	if err != nil {
		return err
	}
	if err := writeFile(out, raw, force); err != nil {
		return err
	}
	claims := []string{}
	for _, c := range verdict.Claims {
		claims = append(claims, c.Claim)
	}
	if p.json {
		return p.emit(struct {
			Leaf      int64    `json:"leaf"`
			Fields    []string `json:"fields"`
			File      string   `json:"file"`
			Charter   string   `json:"charter_sha256"`
			Claims    []string `json:"claims"`
			NotProved []string `json:"not_proved"`
		}{index, append([]string{}, fields...), out, verdict.Named.String(), claims, append([]string{}, verdict.NotProved...)})
	}
	p.fields(field{"leaf", index}, field{"opened", fields.join()}, field{"file", out}, field{"charter", verdict.Named.String()})
	for _, n := range verdict.NotProved {
		p.note("not proved: %s\n", n)
	}
	p.next("give away " + out + ", and tell the hash of the charter on another way; then: entente-verify " + out + " --charter " + verdict.Named.String())
	return nil
}
