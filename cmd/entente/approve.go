package main

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// waitingJSON is a release that waits, or did, as --json prints it.
type waitingJSON struct {
	ID         string    `json:"id"`
	To         []string  `json:"to"`
	State      string    `json:"state"`
	Agreement  string    `json:"agreement"`
	Purpose    string    `json:"purpose"`
	Label      string    `json:"label"`
	ReleasedBy string    `json:"released_by"`
	Created    time.Time `json:"created"`
	Ends       time.Time `json:"waits_until"`
}

func (p *program) approvalsCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "List the releases that wait for a second person",
		Long: `Approvals lists what people of this member have released and somebody else has
to approve before it is sent: because the agreement says so for labels above
some level, or the member's own rules do. It asks the running node.

waiting means that the document lies here, sealed, until somebody approves it or
its time is over; with --all also those that were approved, and those that have
lapsed, of which nothing was sent.

What comes next: "entente approve ID --document FILE", with your own copy.

With --json: an object a line with id, to, state, agreement, purpose, label,
released_by, created, waits_until.`,
		Example: `entente approvals
entente approvals --all --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.approvals(cmd.Context(), all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what was approved, or has lapsed")
	return cmd
}

func (p *program) approvals(ctx context.Context, all bool) error {
	var resp *ententev1.ApprovalsResponse
	err := p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		resp, err = c.Approvals(ctx, &ententev1.ApprovalsRequest{All: all})
		return err
	})
	if err != nil {
		return err
	}
	var rows [][]any
	for _, r := range resp.GetReleases() {
		if p.json {
			err := p.emit(waitingJSON{r.GetId(), r.GetTo(), r.GetState(), r.GetAgreement(), r.GetPurpose(), r.GetLabel(), r.GetReleasedBy(), utc(r.GetCreated()), utc(r.GetEnds())})
			if err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []any{p.label(r.GetLabel()), state(r.GetState()), r.GetId(), words(r.GetTo()).join(), r.GetPurpose(), afterSlash(r.GetReleasedBy()), utc(r.GetEnds())})
	}
	switch {
	case p.json:
	case len(rows) == 0:
		p.note("Nothing waits for a second person.\n")
	default:
		p.table([]string{"LABEL", "STATE", "ID", "TO", "PURPOSE", "RELEASED BY", "WAITS UNTIL"}, rows)
	}
	return nil
}

// afterSlash is the person in a SPIFFE ID.
func afterSlash(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func (p *program) approveCommand() *cobra.Command {
	var document, name, mediaType string
	cmd := &cobra.Command{
		Use:   "approve EXCHANGE",
		Short: "Approve what somebody else has released, and have it sent",
		Long: `Approve is the second key of a release that waits. Nobody approves blindly: you
give your own copy of the document, and the node compares it with what waits. It
must be the same, byte for byte, and go by the same name and type. Then the node
asks its policies again about all of it, signs the manifest, in which both names
stand, and delivers the document by itself.

It takes the role approver, a label and a training that are high and new enough,
and somebody else than who released it. Approving again is the same approval.

EXCHANGE is the ID as "entente approvals" prints it, its beginning, or
FROM/ID/TO.

It prints the exchanges, one for each recipient. It ends with 3 if our policies
refuse; then nothing is sent, and the release goes on waiting.

With --json: exchanges, manifest_sha256.`,
		Example: `entente approve 01K7XQ3W0V6N2T9R4M5B8C1D2E --document report.pdf
# A copy that has another name here
entente approve 01K7XQ --document copy.pdf --name report.pdf`,
		Args:              args("EXCHANGE"),
		ValidArgsFunction: p.completeWaiting,
		RunE: func(cmd *cobra.Command, given []string) error {
			return p.approve(cmd.Context(), given[0], document, name, mediaType)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&document, "document", "", "your own copy of the document: a FILE (required)")
	flags.StringVar(&name, "name", "", "the NAME under which it was sent (default: the file's)")
	flags.StringVar(&mediaType, "media-type", "", "the media TYPE with which it was sent (default: what goes with the name)")
	required(cmd, "document")
	return cmd
}

func (p *program) approve(ctx context.Context, ref, path, name, mediaType string) error {
	if err := validRef(ref); err != nil {
		return err
	}
	if name == "" {
		name = filepath.Base(path)
	}
	if mediaType == "" {
		mediaType = statement.MediaType(name)
	}
	if err := (statement.Inner{Core: statement.HashBytes(nil), Name: "any", MediaType: mediaType}).Check(); err != nil {
		return fault.New(fault.Misused, "such as application/pdf; entente send gives the one that goes with the name", "--media-type %.80q is not TYPE/SUBTYPE in lower case", mediaType)
	}
	file, info, err := openDocument(path, name)
	if err != nil {
		return err
	}
	defer file.Close()
	c, err := p.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	bar := p.progress(info.Size(), "comparing")
	defer bar.done()
	out, err := c.Approve(ctx, &ententev1.Approving{Exchange: ref, FileName: name, MediaType: mediaType}, newDocument(file, info.Size(), bar))
	if err != nil {
		return err
	}
	bar.done()
	if p.json {
		return p.emit(struct {
			Exchanges []string `json:"exchanges"`
			Manifest  string   `json:"manifest_sha256"`
		}{out.GetExchanges(), out.GetManifestSha256()})
	}
	for _, ref := range out.GetExchanges() {
		p.printf("%s\n", ref)
	}
	p.next(p.self() + " outbox shows how far it has come; the node goes on by itself")
	return nil
}
