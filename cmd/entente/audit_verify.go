package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"entente.example/internal/audit"
	"entente.example/internal/fault"
	"entente.example/internal/node"
)

func (p *program) auditVerify() *cobra.Command {
	var o node.VerifyOptions
	cmd := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Check a home, or an exported log, for anything that was changed",
		Long: `Verify checks this home: every leaf against the tree, the tree against its head
and its signed checkpoint, every statement's hash and signatures, every private
value against its commitment, every fact against its leaf, the order of events
of each exchange, every decision by making it again from its record, receipts
against manifests and leaves, that those concerned were members in good
standing, every document against its hash. Every problem is listed, and the
exit code is then 1.

What was found sound is remembered in the file "verified" of the home. The next
time only newer leaves are read, with the exchanges that they are about, and
beside them what is small: head, checkpoint, charter, cards, agreements, outbox.
That the log still begins with what was sound then is computed from the stored
hashes of the tree. So a leaf, a row or a document that was changed since then
is found by --all only, which reads everything. Use --all from time to time, and
whenever there is reason for doubt. After a problem everything is read anyway.

Notes are no damage: a document that is still here a day after its retention
ended (overdue), a decision by policies that this program does not have
(not-replayed), a file "verified" that cannot be used or written (verified).

DIR may be another home, or a folder that "entente audit export" made. Of an
export everything is computed again from its entries and compared byte for byte
under the keys in it. If this home knows the member whose log it is, they must be
those on its card, and the witnesses' co-signatures must be good.

With --json: what, log, leaves, root, checkpoint_size, ok, problems (where,
what), more_problems, and of a home notes (kind, where, what), more_notes, read
(first, count), not_read_again (first, count, verified_at) unless all was read,
and checked (statements, decisions, exchanges, documents, bytes).`,
		Example: `entente audit verify
entente audit verify --all
entente audit verify ./alpha-log`,
		Args: args("[DIR]"),
		RunE: func(cmd *cobra.Command, given []string) error {
			dir := ""
			if len(given) > 0 {
				dir = given[0]
			}
			return p.verify(cmd, dir, o)
		},
	}
	cmd.Flags().BoolVar(&o.All, "all", false, "read everything, also what was found sound before")
	cmd.Flags().BoolVar(&o.SkipDocuments, "skip-documents", false, "do not read the bytes of documents; nothing is remembered then")
	return cmd
}

func (p *program) verify(cmd *cobra.Command, dir string, o node.VerifyOptions) error {
	if dir == "" {
		var err error
		if dir, err = p.dir(); err != nil {
			return err
		}
	} else if _, err := os.Stat(filepath.Join(dir, node.ConfigFile)); err != nil {
		if o.All || o.SkipDocuments {
			return misused(cmd, "--all and --skip-documents are for homes; of an export everything is read, and it has no documents")
		}
		return p.verifyExport(cmd.Context(), dir)
	}
	return p.verifyHome(cmd.Context(), dir, o)
}

func (p *program) verifyHome(ctx context.Context, dir string, o node.VerifyOptions) error {
	h, err := node.OpenReader(ctx, dir)
	if err != nil {
		return err
	}
	defer h.Close()
	o.Progress = p.verifying()
	report, err := h.VerifyMore(ctx, o)
	if o.Progress != nil {
		o.Progress("", 0, 0)
	}
	if err != nil {
		return err
	}
	return p.report("home", dir, report)
}

// verifying shows how far a verification is: on stderr, on a terminal, once it takes long enough to be wondered about.
func (p *program) verifying() func(what string, done, total int64) {
	if p.json || !term.IsTerminal(os.Stderr.Fd()) {
		return nil
	}
	start, shown := time.Now(), false
	return func(what string, done, total int64) {
		switch {
		case what == "" && shown:
			p.note("\r%-60s\r", "") // takes the line away
		case what != "" && time.Since(start) > 2*time.Second:
			shown = true
			p.note("\r%-60s", fmt.Sprintf("verifying %s: %d of %d", what, done, total))
		}
	}
}

func (p *program) verifyExport(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "name a home, or a folder that entente audit export made", "there is no folder %s", dir)
	}
	// Whatever is missing from an export is a problem in it; where nothing of one is there, the name is wrong.
	if !slices.ContainsFunc([]string{"checkpoint", "log.vkey", "tile"}, func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}) {
		return fault.New(fault.NotFound, "name a home, or a folder that entente audit export made", "%s holds neither a home nor an exported log", dir)
	}
	report, err := audit.VerifyExport(dir)
	if err != nil {
		return err
	}
	// With the member's card at hand, its keys and co-signatures are judged too.
	if history := p.history(ctx); history != nil && report.Log != "" {
		name, _, _ := strings.Cut(report.Log, "/")
		if trust, ok := audit.TrustIn(history, name); ok {
			if report, err = audit.VerifyExportUnder(dir, trust); err != nil {
				return err
			}
		}
	}
	return p.report("export", dir, report)
}

type problemJSON struct {
	Where string `json:"where"`
	What  string `json:"what"`
}

type noteJSON struct {
	Kind  audit.NoteKind `json:"kind"`
	Where string         `json:"where"`
	What  string         `json:"what"`
}

type rangeJSON struct {
	First int64      `json:"first"`
	Count int64      `json:"count"`
	At    *time.Time `json:"verified_at,omitempty"`
}

type checkedJSON struct {
	Statements int64 `json:"statements"`
	Decisions  int64 `json:"decisions"`
	Exchanges  int64 `json:"exchanges"`
	Documents  int64 `json:"documents"`
	Bytes      int64 `json:"bytes"`
}

type reportJSON struct {
	What       string        `json:"what"`
	Log        string        `json:"log"`
	Leaves     int64         `json:"leaves"`
	Root       string        `json:"root"`
	Checkpoint int64         `json:"checkpoint_size"`
	OK         bool          `json:"ok"`
	Problems   []problemJSON `json:"problems"`
	More       int           `json:"more_problems,omitempty"`
	Notes      []noteJSON    `json:"notes,omitempty"`
	MoreNotes  int           `json:"more_notes,omitempty"`
	Read       *rangeJSON    `json:"read,omitempty"`
	Earlier    *rangeJSON    `json:"not_read_again,omitempty"`
	Checked    *checkedJSON  `json:"checked,omitempty"`
}

func (p *program) report(what, dir string, r *audit.Report) error {
	if p.json {
		if err := p.emit(reportOf(what, r)); err != nil {
			return err
		}
	} else {
		p.printReport(what, dir, r)
	}
	if r.OK() {
		return nil
	}
	n := len(r.Problems) + r.More
	hint := "this is not the log that was signed; keep it as it is, and find out who changed it"
	if n == 1 {
		return fault.New(fault.Invalid, hint, "there is a problem in %s", dir)
	}
	return fault.New(fault.Invalid, hint, "there are %d problems in %s", n, dir)
}

func reportOf(what string, r *audit.Report) reportJSON {
	out := reportJSON{What: what, Log: r.Log, Leaves: r.Leaves, Root: r.Root.String(), Checkpoint: r.Checkpoint, OK: r.OK(),
		Problems: []problemJSON{}, More: r.More, MoreNotes: r.MoreNotes}
	for _, one := range r.Problems {
		out.Problems = append(out.Problems, problemJSON(one))
	}
	for _, one := range r.Notes {
		out.Notes = append(out.Notes, noteJSON(one))
	}
	if what == "export" {
		return out
	}
	out.Read = &rangeJSON{First: r.From, Count: r.Leaves - r.From}
	if r.Earlier != nil {
		out.Earlier = &rangeJSON{Count: r.From, At: &r.Earlier.Time}
	}
	out.Checked = &checkedJSON{r.Statements, r.Decisions, r.Exchanges, r.Documents, r.Bytes}
	return out
}

func (p *program) printReport(what, dir string, r *audit.Report) {
	list := []field{{what, dir}, {"log", r.Log}, {"leaves", r.Leaves}, {"root", r.Root.String()}, {"checkpoint", r.Checkpoint}}
	if what == "home" {
		list = append(list, field{"read", leavesRead(r)},
			field{"checked", fmt.Sprintf("%d signed statements, %d decisions, %d exchanges, %d documents (%s)", r.Statements, r.Decisions, r.Exchanges, r.Documents, size(r.Bytes))})
	}
	p.fields(list...)
	if r.Earlier != nil {
		p.printf("%s were read on %s and not again; --all reads them again\n", span(0, r.From), r.Earlier.Time.Format("2006-01-02 15:04 UTC"))
	}
	for _, one := range r.Notes {
		p.printf("%s %s: %s\n", styled(wait.Render(fmt.Sprintf("note (%s):", one.Kind))), one.Where, one.What)
	}
	if r.MoreNotes > 0 {
		p.printf("and %d more notes\n", r.MoreNotes)
	}
	for _, one := range r.Problems {
		p.printf("%s %s: %s\n", styled(bad.Render("problem:")), one.Where, one.What)
	}
	if r.More > 0 {
		p.printf("and %d more problems\n", r.More)
	}
	if !r.OK() {
		return
	}
	said := "sound: everything fits the signed checkpoint"
	switch {
	case what == "export":
		said += "; the key in log.vkey must be log_key on the member's card"
	case r.Earlier != nil:
		said = "sound: what was read fits the signed checkpoint, and the log begins with what was found sound before"
	}
	p.printf("%s\n", styled(good.Render(said)))
}

// leavesRead says which leaves were read.
func leavesRead(r *audit.Report) string {
	if r.From == r.Leaves {
		return "no leaf; none is new"
	}
	return span(r.From, r.Leaves)
}

// span names the leaves from one index up to another, which it leaves out.
func span(from, to int64) string {
	switch to - from {
	case 0:
		return "no leaves"
	case 1:
		return fmt.Sprintf("leaf %d", from)
	}
	return fmt.Sprintf("leaves %d to %d", from, to-1)
}
