package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

func (p *program) evidenceCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "evidence",
		Short: "Prove an exchange to somebody who trusts neither side",
		Long: `Evidence is one text file: manifest, receipts, agreement, charter and cards,
and leaves of both sides' logs with proofs under checkpoints that witnesses have
co-signed. Whoever knows the hash of the alliance's founding charter can verify
it without a network, with this program or with the small entente-verify.`,
		Example: `entente evidence export 01K7XQ -o exchange.evidence
entente evidence verify exchange.evidence --charter HASH`,
	}, asPerson(p.evidenceExport()), p.evidenceVerify())
}

func (p *program) evidenceExport() *cobra.Command {
	var out string
	var content, force bool
	cmd := &cobra.Command{
		Use:   "export EXCHANGE",
		Short: "Write a file that proves an exchange",
		Long: `Export has the running node make a file that proves an exchange of this
member. The node asks the other party's node for its leaves; if it does not
answer, the file is made without them and says so. What the file claims is what
it proves: released, stored, delivered, refused, opened, undecryptable, expired.

It takes the role releaser, reader or auditor. That evidence was made, and by
whom, is written into the log first.

--content also opens the sender's commitment to the document's content, so that
whoever has the document can show that it is the one. Only the sender can, and
it takes the role releaser or auditor. Whoever has such a file can also test
guesses at a document that it does not have.

EXCHANGE is FROM/ID/TO as "entente outbox" prints it, any beginning of it that
fits only one, or the ID alone.

With --json: exchange, file, charter_sha256, claims, other_side_missing.`,
		Example: `entente evidence export 01K7XQ -o exchange.evidence
entente evidence export alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo --content \
-o with-content.evidence`,
		Args:              args("EXCHANGE"),
		ValidArgsFunction: p.completeExchanges(false),
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := validRef(given[0]); err != nil {
				return err
			}
			if err := free(out, force); err != nil {
				return err
			}
			return p.exportEvidence(cmd.Context(), given[0], out, content, force)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the FILE to write (required)")
	cmd.Flags().BoolVar(&content, "content", false, "open the commitment to the content")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	required(cmd, "output")
	return cmd
}

func (p *program) exportEvidence(ctx context.Context, ref, out string, content, force bool) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	var file bytes.Buffer
	done, err := c.Evidence(ctx, ref, content, &file)
	if err != nil {
		return err
	}
	b, err := evidence.Parse(file.Bytes())
	if err != nil {
		return fault.New(fault.Failed, "compare the versions of the two programs: entente version", "the node made something else: %w", err)
	}
	if err := writeFile(out, file.Bytes(), force); err != nil {
		return err
	}
	if p.json {
		return p.emit(struct {
			Ref     string   `json:"exchange"`
			File    string   `json:"file"`
			Charter string   `json:"charter_sha256"`
			Claims  []string `json:"claims"`
			Missing string   `json:"other_side_missing,omitempty"`
		}{done.GetRef(), out, b.Charter.String(), b.Claims, done.GetOtherSideMissing()})
	}
	p.fields(field{"exchange", done.GetRef()}, field{"proves", strings.Join(b.Claims, ", ")}, field{"missing", done.GetOtherSideMissing()},
		field{"charter", b.Charter.String()}, field{"written to", out})
	p.next("verify it as anybody can: entente evidence verify "+out+" --charter "+b.Charter.String(),
		"tell whoever gets the file the charter's hash by another way than with the file")
	return nil
}

func (p *program) evidenceVerify() *cobra.Command {
	var charter, document, name, mediaType string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Say what an evidence file proves, and what it does not",
		Long: `Verify needs the file and the hash of the alliance's founding charter, and
nothing else: no home, no node, no network. It prints what is proved, by whom it
was signed, who witnessed it and since when; and what is not proved.

--charter is what the proof begins with. Learn the hash from a member that you
trust ("entente charter show" prints it), not from whoever gave you the file:
without it nothing is valid.

--document compares a document with what its sender committed to, if the file
was made with --content. --name and --media-type are as they were sent; they are
taken from the document's file name if they are not given.

The program entente-verify does the same with the same arguments. Exit code 0
means valid, and nothing else does.

With --json: valid, why, charter_sha256, kind, exchange, claims, not_proved,
anchored, not_anchored, charter_version, cards.`,
		Example: `entente evidence verify exchange.evidence --charter HASH
entente evidence verify with-content.evidence --charter HASH \
--document report.pdf --media-type application/pdf`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			o := evidence.Options{Now: p.now()}
			if charter != "" && o.Charter.UnmarshalText([]byte(charter)) != nil {
				return misused(cmd, "--charter must be 64 hex digits")
			}
			if document == "" && name+mediaType != "" {
				return misused(cmd, "--name and --media-type are those of a --document")
			}
			if document != "" {
				f, _, err := openFile(document)
				if err != nil {
					return err
				}
				defer f.Close()
				o.Document, o.Name, o.MediaType = f, name, mediaType
				if name == "" {
					o.Name = filepath.Base(document)
				}
				if mediaType == "" {
					o.MediaType = statement.MediaType(o.Name)
				}
			}
			return p.verifyEvidence(given[0], o)
		},
	}
	cmd.Flags().StringVar(&charter, "charter", "", "the founding charter's HASH, 64 hex digits")
	cmd.Flags().StringVar(&document, "document", "", "a FILE to compare with the content")
	cmd.Flags().StringVar(&name, "name", "", "the document's NAME, as it was sent")
	cmd.Flags().StringVar(&mediaType, "media-type", "", "the document's TYPE, as it was sent")
	return cmd
}

func (p *program) verifyEvidence(file string, o evidence.Options) error {
	raw, err := p.readEvidence(file)
	if err != nil {
		return err
	}
	v := evidence.Verify(raw, o)
	if p.json {
		if err := p.emit(v); err != nil {
			return err
		}
	} else {
		p.lines(v.Text())
	}
	if !v.Valid {
		return fault.New(fault.Invalid, "", "%s is not valid evidence", file)
	}
	return nil
}

// readEvidence reads a file, or standard input if it is -, and no more of it than evidence can be.
func (p *program) readEvidence(file string) ([]byte, error) {
	if file != "-" {
		return readFile(file, limit.Evidence)
	}
	raw, err := io.ReadAll(io.LimitReader(p.in, limit.Evidence+1))
	if err == nil && len(raw) > limit.Evidence {
		err = errors.New("it is larger than evidence can be")
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "", "read standard input: %w", err)
	}
	return raw, nil
}
