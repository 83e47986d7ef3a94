package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"entente.example/internal/audit"
	"entente.example/internal/client"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// IncidentReport is the document that a demonstration sends unless it is given another one.
//
//go:embed documents/incident-report.pdf
var IncidentReport []byte

// IncidentReportName is its file name.
const IncidentReportName = "incident-report.pdf"

// Step is one step of a demonstration, as it came out.
type Step struct {
	Name string // stable, for programs
	OK   bool
	Text string // what happened, one sentence
	Why  string // what that means, one sentence
}

// Demo tells the main story with real nodes: three organisations found an alliance, agree, exchange a document, get
// signed receipts, see a forbidden document refused and a tampered log caught. told gets each step as it is done.
type Demo struct {
	Dir      string // empty folder for the homes
	Document string // path of a document; empty: IncidentReport
	Told     func(Step)
}

// demo is a Demo under way.
type demo struct {
	Demo
	world *World
	alice *client.Client
	bob   *client.Client
	name  string
	sum   [32]byte // of the document
	size  int64
	sent  *ententev1.SendResponse
}

// Run plays the demonstration. It gives an error if any step did not come out as it must; steps after that are not told.
func (d Demo) Run(ctx context.Context) (err error) {
	r := &demo{Demo: d, name: IncidentReportName}
	if d.Document != "" {
		r.name = filepath.Base(d.Document)
	}
	defer func() {
		for _, c := range []*client.Client{r.alice, r.bob} {
			if c != nil {
				err = errors.Join(err, c.Close())
			}
		}
		if r.world != nil {
			err = errors.Join(err, r.world.Close())
		}
	}()
	for _, step := range []struct {
		name string
		do   func(context.Context) (text, why string, err error)
	}{
		{"found", r.found}, {"agree", r.agree}, {"start", r.start}, {"send", r.send}, {"receipt", r.receipt},
		{"open", r.open}, {"refuse", r.refuse}, {"verify", r.verify}, {"tamper", r.tamper},
	} {
		text, why, err := step.do(ctx)
		if err != nil {
			d.Told(Step{Name: step.name, Text: err.Error()})
			return err
		}
		d.Told(Step{step.name, true, text, why})
	}
	return nil
}

func (r *demo) found(ctx context.Context) (text, why string, err error) {
	r.world, err = Found(ctx, Options{Dir: r.Dir, Alliance: "harbour", Members: []string{"alpha", "bravo", "charlie"}})
	return "alpha, bravo and charlie signed one charter", "no hub, no shared administrator: each keeps its own keys and its own log", err
}

func (r *demo) agree(ctx context.Context) (text, why string, err error) {
	_, err = r.world.Agree(ctx, statement.Agreement{Name: "harbour-watch", Parties: []string{"alpha", "bravo", "charlie"},
		Purposes: []string{"exercise", "incident-response"}, Ceiling: "TLP:AMBER", RetainDays: 90,
		Prose: "The parties help each other when something goes wrong in a harbour.\n"})
	return "all three signed the agreement harbour-watch: incident-response, up to TLP:AMBER, 90 days", "what is agreed is a text that every node enforces", err
}

func (r *demo) start(ctx context.Context) (text, why string, err error) {
	if err := r.world.StartAll(ctx); err != nil {
		return "", "", err
	}
	if r.alice, err = r.world.Client("alpha", "alice"); err != nil {
		return "", "", err
	}
	r.bob, err = r.world.Client("bravo", "bob")
	return "three nodes serve, over TLS 1.3 with a post-quantum key exchange", "each knows the others by the charter alone", err
}

// document opens what is sent.
func (r *demo) document() (io.ReadSeeker, func() error, error) {
	if r.Document == "" {
		return bytes.NewReader(IncidentReport), func() error { return nil }, nil
	}
	f, err := os.Open(r.Document)
	if err != nil {
		return nil, nil, fault.New(fault.Failed, "name another one with --document FILE", "read document: %w", err)
	}
	return f, f.Close, nil
}

func (r *demo) submission(label string) *ententev1.Submission {
	return &ententev1.Submission{Id: client.NewID(), To: []string{"bravo", "charlie"}, Agreement: "harbour-watch", Purpose: "incident-response", Label: label,
		FileName: r.name, MediaType: statement.MediaType(r.name)}
}

func (r *demo) send(ctx context.Context) (text, why string, err error) {
	doc, done, err := r.document()
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, done()) }()
	hash := sha256.New()
	if r.size, err = io.Copy(hash, doc); err != nil {
		return "", "", fmt.Errorf("read document: %w", err)
	}
	r.sum = [32]byte(hash.Sum(nil))
	r.sent, err = r.alice.Send(ctx, r.submission("TLP:AMBER"), doc)
	return fmt.Sprintf("alice of alpha sent %s (%d bytes, TLP:AMBER) to bravo and charlie", r.name, r.size),
		"sealed once for both recipients; one signed manifest says who may read it, why, and for how long", err
}

func (r *demo) receipt(ctx context.Context) (text, why string, err error) {
	for _, ref := range r.sent.GetExchanges() {
		x, err := r.alice.Settle(ctx, ref)
		if err != nil {
			return "", "", err
		}
		if len(x.GetReceipts()) == 0 || x.GetReceipts()[0].GetKind() != string(statement.Stored) {
			return "", "", fmt.Errorf("%s ended as %q without a receipt `stored`", ref, x.GetState())
		}
	}
	return "bravo and charlie signed receipts: stored, and they can open it", "each is signed, so it cannot be denied later, and names a leaf in its signer's log", nil
}

func (r *demo) open(ctx context.Context) (text, why string, err error) {
	dir := filepath.Join(r.Dir, "opened")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("open document: %w", err)
	}
	f, err := os.CreateTemp(dir, ".opening-*")
	if err != nil {
		return "", "", fmt.Errorf("open document: %w", err)
	}
	hash := sha256.New()
	opened, err := r.bob.Open(ctx, r.sent.GetExchanges()[0], func(*ententev1.Opened) (io.Writer, error) { return io.MultiWriter(f, hash), nil })
	if err = durable.Rename(f, filepath.Join(dir, r.name), err); err != nil {
		return "", "", fmt.Errorf("open document: %w", err)
	}
	if [32]byte(hash.Sum(nil)) != r.sum || opened.GetFileName() != r.name {
		return "", "", fmt.Errorf("bob opened another document than alice sent")
	}
	_, err = r.alice.Await(ctx, r.sent.GetExchanges()[0], func(x *ententev1.Exchange) bool { return x.GetState() == "opened" })
	return "bob of bravo opened it, byte for byte what alice sent; alpha has his signed receipt", "the node wrote down that it was opened before it released a byte", err
}

func (r *demo) refuse(ctx context.Context) (text, why string, err error) {
	_, err = r.alice.Send(ctx, r.submission("TLP:RED"), bytes.NewReader(IncidentReport))
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Refused || len(f.Reasons) == 0 {
		return "", "", fmt.Errorf("a document above the agreed label was not refused: %w", err)
	}
	return "alice tried the same with TLP:RED, and her own node refused: " + f.Reasons[0].Text, "a refusal names the rule and what would have been needed, and is logged too", nil
}

func (r *demo) verify(ctx context.Context) (text, why string, err error) {
	// Receipts and leaves are settled by now; nodes go on running while their homes are checked.
	if err := r.world.Check(ctx); err != nil {
		return "", "", err
	}
	proved, err := r.proved(ctx)
	if err != nil {
		return "", "", err
	}
	if proved != (Proofs{Proved: 2 * len(r.sent.GetExchanges())}) { // by both sides
		return "", "", fmt.Errorf("evidence proves other exchanges than were made: %+v", proved)
	}
	return "all three logs verify: every fact has its leaf, every leaf its fact; and evidence for every exchange verifies without a node", "anybody with the folder can check this: entente audit verify", nil
}

// proved makes evidence about all exchanges once every log has signed what it recorded last, which takes a moment after the answer that the person
// gets. A log that does not come to it within half a minute leaves some pending.
func (r *demo) proved(ctx context.Context) (proved Proofs, err error) {
	for late := time.Now().Add(30 * time.Second); ; {
		if proved, err = r.world.Evidence(ctx, 0); err != nil || proved.Pending == 0 || time.Now().After(late) {
			return proved, err
		}
		select {
		case <-ctx.Done():
			return proved, ctx.Err()
		case <-time.After(limit.RoundPause):
		}
	}
}

// tamper changes one byte in an exported copy of alpha's log. The homes stay as they are.
func (r *demo) tamper(ctx context.Context) (text, why string, err error) {
	dir, err := os.MkdirTemp("", "entente-demo-log-")
	if err != nil {
		return "", "", fmt.Errorf("copy log: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	export := filepath.Join(dir, "log")
	h, err := r.world.Open(ctx, "alpha")
	if err != nil {
		return "", "", err
	}
	_, err = audit.Export(ctx, h.DB, audit.Keys{Ed25519: h.Keys.Log, MLDSA: h.Keys.LogMLDSA}.Verifiers(), export)
	if err := errors.Join(err, h.Close()); err != nil {
		return "", "", fmt.Errorf("export log: %w", err)
	}
	if report, err := audit.VerifyExport(export); err != nil || !report.OK() {
		return "", "", fmt.Errorf("the exported log does not verify: %w %v", err, report)
	}
	if err := rewrite(export); err != nil {
		return "", "", err
	}
	report, err := audit.VerifyExport(export)
	if err != nil {
		return "", "", fmt.Errorf("verify rewritten log: %w", err)
	}
	if report.OK() {
		return "", "", fmt.Errorf("a rewritten log was not caught")
	}
	return "somebody without alpha's log key rewrote one word in a copy of its log, and it was caught: " + report.Problems[0].String(), "a log that does not fit its signed checkpoint convinces nobody", nil
}

// rewrite turns the log's `denied` into `opened`, as somebody would who has something to hide. Both have six letters. The
// log of a demonstration has fewer than 256 leaves, which is one tile of entries.
func rewrite(export string) error {
	tiles, err := filepath.Glob(filepath.Join(export, "tile", "entries", "*", "*"))
	if err != nil || len(tiles) != 1 {
		return fmt.Errorf("rewrite log: found %d tiles of entries", len(tiles))
	}
	b, err := os.ReadFile(tiles[0])
	if err != nil {
		return fmt.Errorf("rewrite log: %w", err)
	}
	after := strings.Replace(string(b), `"kind":"denied"`, `"kind":"opened"`, 1)
	if after == string(b) {
		return errors.New("rewrite log: there was nothing to rewrite")
	}
	if err := os.WriteFile(tiles[0], []byte(after), 0o600); err != nil {
		return fmt.Errorf("rewrite log: %w", err)
	}
	return nil
}

// DemoTime bounds a demonstration; it takes seconds, unless the document is huge.
const DemoTime = 30 * time.Minute
