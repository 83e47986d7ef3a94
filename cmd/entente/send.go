package main

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

type sendFlags struct {
	to                 words
	agreement, purpose string
	label, name        string
	retain, deliverBy  duration
	wait               bool
}

func (p *program) sendCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send FILE",
		Short: "Send a document to one or more members, under an agreement",
		Long: `Send hands a document to the running node. The node asks its policies whether
this person may send it to these members under this agreement, with this
purpose and this label; seals it so that only the recipients can open it; signs
what was released; and delivers it by itself, trying again until the deadline.

Send returns when the document is safe with the node. With --wait it returns
when every recipient has answered with a signed receipt.

It prints the exchanges, one for each recipient, as FROM/ID/TO; with --wait each
with its state. It ends with 3 if our policies or any recipient refused.

What comes next: "entente outbox" and "entente show EXCHANGE".

With --json: exchanges, manifest_sha256; with --wait instead an object a line
for each recipient, as "entente show" prints it.`,
		Example: `entente send report.pdf --to bravo --agreement harbour-watch --purpose incident-response --label TLP:AMBER
entente send report.pdf --to bravo,charlie --agreement harbour-watch --purpose incident-response \
--label TLP:GREEN --retain 30d --deliver-by 12h --wait`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error { return p.send(cmd.Context(), given[0], f) },
	}
	flags := cmd.Flags()
	flags.Var(&f.to, "to", "the members that shall get it, such as bravo,charlie (required)")
	flags.StringVar(&f.agreement, "agreement", "", "the `NAME` of the agreement under which it is sent (required)")
	flags.StringVar(&f.purpose, "purpose", "", "what it is sent for, a `WORD` of the agreement (required)")
	flags.StringVar(&f.label, "label", "", "how confidential it is: the `LABEL`, such as TLP:AMBER (required)")
	flags.Var(&f.retain, "retain", "how long recipients may keep it, such as 90d (default: as long as the agreement allows)")
	flags.Var(&f.deliverBy, "deliver-by", "how long the node tries to deliver it, such as 12h (default 7d)")
	flags.StringVar(&f.name, "name", "", "the document's `NAME` for the recipients (default: the file's)")
	flags.BoolVar(&f.wait, "wait", false, "wait until every recipient has answered")
	required(cmd, "to", "agreement", "purpose", "label")
	_ = cmd.RegisterFlagCompletionFunc("to", p.completeMembers)
	_ = cmd.RegisterFlagCompletionFunc("agreement", p.completeAgreements)
	_ = cmd.RegisterFlagCompletionFunc("purpose", p.completePurposes)
	_ = cmd.RegisterFlagCompletionFunc("label", completeLabels)
	return cmd
}

// check refuses what cannot be right before anything is opened or sent.
func (f *sendFlags) check() error {
	for _, to := range f.to {
		if err := statement.ValidMember(to); err != nil {
			return fault.New(fault.Misused, "entente charter show lists the members", "--to: %w", err)
		}
	}
	if len(f.to) > limit.Recipients {
		return fault.New(fault.Misused, "send it in parts", "--to names %d members; one document has at most %d recipients", len(f.to), limit.Recipients)
	}
	if err := statement.ValidName(f.agreement); err != nil {
		return fault.New(fault.Misused, "entente agreement list shows those that there are", "--agreement: %w", err)
	}
	if err := statement.ValidName(f.purpose); err != nil {
		return fault.New(fault.Misused, "entente agreement show "+f.agreement+" lists its purposes", "--purpose: %w", err)
	}
	if err := statement.ValidLabel(f.label); err != nil {
		return unknownLabel(f.label)
	}
	if time.Duration(f.deliverBy) > 366*day {
		return fault.New(fault.Misused, "choose a shorter time, such as 30d", "--deliver-by is longer than a year")
	}
	if err := statement.ValidFileName(f.name); err != nil {
		return fault.New(fault.Misused, "send it under another name with --name", "%w", err)
	}
	return nil
}

func (p *program) send(ctx context.Context, path string, f sendFlags) error {
	file, info, err := openFile(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if info.Size() > limit.Document {
		return fault.New(fault.Misused, "send it in parts", "%s has %s; a document has at most %s", path, size(info.Size()), size(limit.Document))
	}
	if f.name == "" {
		f.name = filepath.Base(path)
	}
	if err := f.check(); err != nil {
		return err
	}
	retain, err := f.retain.days("retain")
	if err != nil {
		return err
	}
	mediaType, err := mediaTypeOf(f.name, file)
	if err != nil {
		return fault.New(fault.Failed, "", "read %s: %w", path, reason(err))
	}
	// Chosen once: whatever is repeated with it is the same sending.
	sub := &ententev1.Submission{Id: ulid.Make().String(), To: f.to, Agreement: f.agreement, Purpose: f.purpose, Label: f.label, RetainDays: retain,
		DeliverSeconds: int64(time.Duration(f.deliverBy) / time.Second), FileName: f.name, MediaType: mediaType}
	sent, err := p.submit(ctx, sub, file, info.Size())
	if err != nil {
		return err
	}
	if f.wait {
		return p.await(ctx, sent)
	}
	if p.json {
		return p.emit(struct {
			Exchanges []string `json:"exchanges"`
			Manifest  string   `json:"manifest_sha256"`
		}{sent.GetExchanges(), sent.GetManifestSha256()})
	}
	for _, ref := range sent.GetExchanges() {
		p.printf("%s\n", ref)
	}
	p.next("entente outbox shows how far it has come; the node goes on by itself")
	return nil
}

// mediaTypeOf looks at the name first and then at the first bytes. It is TYPE/SUBTYPE without parameters.
func mediaTypeOf(name string, file io.ReaderAt) (string, error) {
	t := mime.TypeByExtension(filepath.Ext(name))
	if t == "" {
		head := make([]byte, 512)
		n, err := file.ReadAt(head, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		t = http.DetectContentType(head[:n])
	}
	t, _, err := mime.ParseMediaType(t) // in lower case
	if err != nil {
		return "application/octet-stream", nil //nolint:nilerr // a system with odd tables; the type is only a courtesy
	}
	return t, nil
}

// submitTries is how often a submission is repeated after its connection was lost, with growing pauses: about 15 s in all.
const submitTries = 6

// submit hands the document in, again if the connection is lost before the answer. A node that was never reached is not
// waited for: somebody has to start it.
func (p *program) submit(ctx context.Context, sub *ententev1.Submission, file *os.File, length int64) (*ententev1.SendResponse, error) {
	pause := limit.RetryFirst
	for try := 1; ; try++ {
		bar := p.progress(length, "sending")
		resp, begun, err := p.submitOnce(ctx, sub, io.NewSectionReader(file, 0, length), bar)
		bar.done()
		if err == nil || fault.KindOf(err) != fault.Transient || ctx.Err() != nil || try == submitTries || !begun && try == 1 {
			return resp, err
		}
		p.note("%s; trying again\n", sentence(err))
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func (p *program) submitOnce(ctx context.Context, sub *ententev1.Submission, document *io.SectionReader, bar *bar) (resp *ententev1.SendResponse, begun bool, err error) {
	conn, err := p.dial()
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // an early return must not look like a proper end
	stream, err := ententev1.NewNodeServiceClient(conn).Send(ctx)
	if err != nil {
		return nil, false, rpc.FromStatus(err)
	}
	err = stream.Send(&ententev1.SendRequest{Part: &ententev1.SendRequest_Submission{Submission: sub}})
	buf := make([]byte, limit.Chunk)
	var handed int64
	for err == nil {
		n, readErr := io.ReadFull(document, buf)
		if n > 0 {
			err = stream.Send(&ententev1.SendRequest{Part: &ententev1.SendRequest_Chunk{Chunk: buf[:n]}})
			bar.add(n)
			handed += int64(n)
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		if readErr != nil {
			return nil, true, fault.New(fault.Failed, "nothing was sent", "read the document: %w", reason(readErr))
		}
	}
	if err == nil && handed != document.Size() {
		return nil, true, fault.New(fault.Failed, "nothing was sent; send it again when nobody writes to it", "the document became shorter while it was read")
	}
	// io.EOF from Send means that the node has answered already; what it says comes with the answer.
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, true, rpc.FromStatus(err)
	}
	resp, err = stream.CloseAndRecv()
	return resp, true, rpc.FromStatus(err)
}

// await prints what every recipient answers, as soon as it does.
func (p *program) await(ctx context.Context, sent *ententev1.SendResponse) error {
	p.note("waiting for %s\n", strings.Join(sent.GetExchanges(), ", "))
	open := sent.GetExchanges()
	var refused, expired []exchangeJSON
	for pause := 50 * time.Millisecond; len(open) > 0; pause = min(2*pause, 2*time.Second) {
		select {
		case <-ctx.Done():
			return fault.New(fault.Failed, "the node goes on by itself; entente outbox shows how far it has come", "stopped waiting")
		case <-time.After(pause):
		}
		var left []string
		for _, ref := range open {
			e, err := p.settled(ctx, ref)
			if err != nil {
				return err
			}
			if e == nil {
				left = append(left, ref)
				continue
			}
			switch e.State {
			case "refused":
				refused = append(refused, *e)
			case "expired":
				expired = append(expired, *e)
			}
			if !p.json {
				p.printf("%s %s\n", e.Ref, state(e.State))
			} else if err := p.emit(e); err != nil {
				return err
			}
		}
		open = left
	}
	return outcome(refused, expired)
}

// settled gives an exchange once its recipient has answered or its deadline has passed, and nil before. That the node cannot be
// reached is no answer: it may come back, and goes on then.
func (p *program) settled(ctx context.Context, ref string) (*exchangeJSON, error) {
	list, err := p.lookUp(ctx, ref)
	if err != nil {
		if fault.KindOf(err) == fault.Transient && ctx.Err() == nil {
			return nil, nil
		}
		return nil, err
	}
	for _, e := range list {
		if e.Ref == ref && e.State != "queued" && e.State != "delivering" {
			return &e, nil
		}
	}
	return nil, nil
}

// outcome is the error that says who refused and why, or where the deadline passed; nil if everybody has it.
func outcome(refused, expired []exchangeJSON) error {
	if len(refused) > 0 {
		var names words
		f := fault.New(fault.Refused, "entente show "+refused[0].Ref+" prints the signed receipt", "")
		for _, e := range refused {
			names = append(names, e.To)
			for _, r := range e.refusal() {
				if len(refused) > 1 {
					r.Text = e.To + " says: " + r.Text
				}
				f.Reasons = append(f.Reasons, r)
			}
		}
		f.Text = names.join() + " refused the document"
		return f
	}
	if len(expired) > 0 {
		var names words
		for _, e := range expired {
			names = append(names, e.To)
		}
		return fault.New(fault.Failed, "send it again when they can be reached, or with a longer --deliver-by", "the deadline passed before the document reached %s", names.join())
	}
	return nil
}
