package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

type sendFlags struct {
	to                 words
	agreement, purpose string
	label, name, id    string
	retain, deliverBy  duration
	wait, dryRun       bool
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

If the connection breaks, send begins again by itself. If it does not come back,
or this program is killed, nobody knows whether the node has the document.
Repeat it with --id, with the same document and flags: it is sent once, however
often it is repeated. The node compares what the flags say, but cannot compare a
document that it has already. The id is printed for large documents and with
every such error; a script that wants to be sure chooses one itself, a ULID.

It prints the exchanges, one for each recipient, as FROM/ID/TO; with --wait each
with its state. It ends with 3 if our policies or any recipient refused.

Above some labels a second person has to approve it first, with "entente
approve". Until then it waits here, sealed; send says so, and ends with 0. With
--wait it waits for that person as well.

With --dry-run nothing is sent, and the document is not even read: the node
decides, asks the recipients' nodes what they would decide, and prints a table.
It ends with 0 if it would go at once and all would accept; with 3 if anybody
would refuse, or a second person would have to approve it; with 1 if somebody's
node does not answer. The members asked write down that they were.

What comes next: "entente outbox" and "entente show EXCHANGE".

With --json: exchanges, manifest_sha256, and where it waits: waits, waits_until;
with --wait instead an object a line for each recipient, as "entente show"
prints it; with --dry-run: reasons, waits, recipients (member, answer, reasons,
error).`,
		Example: `entente send report.pdf --to bravo --agreement harbour-watch \
--purpose incident-response --label TLP:AMBER
# To two members, with an answer before it returns
entente send report.pdf --to bravo,charlie --agreement harbour-watch \
--purpose incident-response --label TLP:GREEN --retain 30d --wait`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error { return p.send(cmd.Context(), given[0], f) },
	}
	flags := cmd.Flags()
	flags.Var(&f.to, "to", "the members that shall get it, such as bravo,charlie (required)")
	flags.StringVar(&f.agreement, "agreement", "", "the NAME of the agreement under which it is sent (required)")
	flags.StringVar(&f.purpose, "purpose", "", "what it is sent for, a WORD of the agreement (required)")
	flags.StringVar(&f.label, "label", "", "how confidential it is: the LABEL, such as TLP:AMBER (required)")
	flags.Var(&f.retain, "retain", "how long recipients may keep it, such as 90d (default: as long as the agreement allows)")
	flags.Var(&f.deliverBy, "deliver-by", "how long the node tries to deliver it, such as 12h (default 7d)")
	flags.StringVar(&f.name, "name", "", "the document's NAME for the recipients (default: the file's)")
	flags.StringVar(&f.id, "id", "", "the ID of a sending that was interrupted, to repeat it (default: a new one)")
	flags.BoolVar(&f.wait, "wait", false, "wait until every recipient has answered")
	flags.BoolVar(&f.dryRun, "dry-run", false, "send nothing, and say who would accept it and who would not")
	required(cmd, "to", "agreement", "purpose", "label")
	_ = cmd.RegisterFlagCompletionFunc("to", p.completeMembers)
	_ = cmd.RegisterFlagCompletionFunc("agreement", p.completeAgreements)
	_ = cmd.RegisterFlagCompletionFunc("purpose", p.completePurposes)
	_ = cmd.RegisterFlagCompletionFunc("label", p.completeAgreed)
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
	if _, err := f.retain.days("retain"); err != nil {
		return err
	}
	if f.id != "" {
		if err := statement.ValidID(f.id); err != nil {
			return fault.New(fault.Misused, "leave it out for a new sending", "--id: %w", err)
		}
	}
	if f.name != "" {
		return validDocument(f.name)
	}
	return nil
}

func validDocument(name string) error {
	if err := statement.ValidFileName(name); err != nil {
		return fault.New(fault.Misused, "send it under another name with --name", "%.80q cannot be sent: %w", name, err)
	}
	return nil
}

func (p *program) send(ctx context.Context, path string, f sendFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.name == "" {
		f.name = filepath.Base(path)
	}
	if f.dryRun {
		return p.rehearseSend(ctx, f)
	}
	file, info, err := openDocument(path, f.name)
	if err != nil {
		return err
	}
	defer file.Close()
	sub, err := f.submission()
	if err != nil {
		return err
	}
	if info.Size() >= worthABar {
		p.note("its id is %s; if this is interrupted, repeat it with --id %[1]s\n", sub.GetId())
	}
	sent, err := p.submit(ctx, sub, file, info.Size())
	if err != nil {
		return repeatable(ctx, err, sub.GetId())
	}
	waits := len(sent.GetWaits()) > 0
	if f.wait {
		if waits {
			p.waits(sent, sub)
		}
		return p.await(ctx, sent)
	}
	if p.json {
		return p.emit(struct {
			Exchanges  []string           `json:"exchanges"`
			Manifest   string             `json:"manifest_sha256"`
			Waits      []statement.Reason `json:"waits,omitempty"`
			WaitsUntil time.Time          `json:"waits_until,omitzero"`
		}{sent.GetExchanges(), sent.GetManifestSha256(), reasonsOf(sent.GetWaits()), utc(sent.GetWaitsUntil())})
	}
	for _, ref := range sent.GetExchanges() {
		p.printf("%s\n", ref)
	}
	if waits {
		p.waits(sent, sub)
		return nil
	}
	p.next(p.self() + " outbox shows how far it has come; the node goes on by itself")
	return nil
}

// waits says why a release waits, for whom, until when, and what that person does.
func (p *program) waits(sent *ententev1.SendResponse, sub *ententev1.Submission) {
	p.note("It waits for a second person until %s, and nothing is sent before:\n", utc(sent.GetWaitsUntil()))
	for _, r := range reasonsOf(sent.GetWaits()) {
		p.reason(r)
	}
	p.next("give somebody who may approve it the document, and have them run:",
		p.self()+" approve "+sub.GetId()+" --document "+word(sub.GetFileName()))
}

// repeatable adds to an error that leaves open whether the node has the document how to find out without sending it twice.
func repeatable(ctx context.Context, err error, id string) error {
	kind := fault.KindOf(err)
	if ctx.Err() == nil && kind != fault.Transient && kind != fault.Failed {
		return err
	}
	hint := "repeat it with --id " + id + ", and it is sent once"
	if first := fault.Hint(err); first != "" {
		hint = first + "; then " + hint
	}
	return fault.New(kind, hint, "%w", err)
}

// submission is what the flags say.
func (f *sendFlags) submission() (*ententev1.Submission, error) {
	retain, err := f.retain.days("retain")
	id := f.id
	if id == "" { // it is chosen once: whatever is repeated with it is the same sending
		id = client.NewID()
	}
	return &ententev1.Submission{Id: id, To: f.to, Agreement: f.agreement, Purpose: f.purpose, Label: f.label, RetainDays: retain,
		DeliverSeconds: int64(time.Duration(f.deliverBy) / time.Second), FileName: f.name, MediaType: statement.MediaType(f.name)}, err
}

// openDocument opens a file that can be sent under a name.
func openDocument(path, name string) (*os.File, fs.FileInfo, error) {
	file, info, err := openFile(path)
	if err != nil {
		return nil, nil, err
	}
	err = validDocument(name)
	if info.Size() > limit.Document {
		err = fault.New(fault.Misused, "send it in parts", "%s has %d bytes; a document has at most %d (64 GiB)", path, info.Size(), limit.Document)
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// document is a file on its way: it moves the progress bar, and does not pass for complete if it became shorter meanwhile.
type document struct {
	*io.SectionReader
	bar  *bar
	read int64
}

func newDocument(file *os.File, length int64, bar *bar) *document {
	return &document{io.NewSectionReader(file, 0, length), bar, 0}
}

// Read reads on.
func (d *document) Read(b []byte) (int, error) {
	n, err := d.SectionReader.Read(b)
	d.bar.add(n)
	d.read += int64(n)
	if errors.Is(err, io.EOF) && d.read != d.Size() {
		return n, fault.New(fault.Failed, "nothing was sent; send it again when nobody writes to it", "the document became shorter while it was read")
	}
	return n, err
}

// Seek begins again, for another attempt.
func (d *document) Seek(offset int64, whence int) (int64, error) {
	at, err := d.SectionReader.Seek(offset, whence)
	d.read = at
	d.bar.set(at)
	return at, err
}

func (p *program) submit(ctx context.Context, sub *ententev1.Submission, file *os.File, length int64) (*ententev1.SendResponse, error) {
	c, err := p.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	bar := p.progress(length, "sending")
	defer bar.done()
	return c.Send(ctx, sub, newDocument(file, length, bar))
}

// await prints what every recipient answers.
func (p *program) await(ctx context.Context, sent *ententev1.SendResponse) error {
	p.note("waiting for %s\n", strings.Join(sent.GetExchanges(), ", "))
	c, err := p.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	var refused, expired, lapsed []exchangeJSON
	for _, ref := range sent.GetExchanges() {
		found, err := c.Settle(ctx, ref)
		if ctx.Err() != nil {
			return fault.New(fault.Failed, "the node goes on by itself; entente outbox shows how far it has come", "stopped waiting")
		}
		if err != nil {
			return err
		}
		e := exchangeOf(found)
		switch e.State {
		case "refused":
			refused = append(refused, e)
		case "expired":
			expired = append(expired, e)
		case "lapsed":
			lapsed = append(lapsed, e)
		}
		if !p.json {
			p.printf("%s %s\n", e.Ref, state(e.State))
		} else if err := p.emit(e); err != nil {
			return err
		}
	}
	if len(lapsed) > 0 {
		return fault.New(fault.Failed, "send it again, and tell somebody who may approve it", "nobody approved it until %s; nothing was sent", when(lapsed[0].WaitsUntil))
	}
	return outcome(refused, expired)
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
