package main

import (
	"context"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/report"
)

// reportDays is how long a period is if nothing is said.
const reportDays = 30

type reportFlags struct {
	agreement string
	from, to  moment
	out, csv  string
	persons   bool
	force     bool
}

func (p *program) auditReport() *cobra.Command {
	f := reportFlags{from: moment{now: p.now}, to: moment{now: p.now}}
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Write a compliance report about one agreement: a page to print, JSON, CSV",
		Long: `Report writes what this member did under one agreement in a period, for somebody
who has to judge it: exceptions first, then counts, a timeline, the terms and who
signed them, the members, the checkpoint of the log that it was made from, and
every exchange with its state and the indexes of its leaves.

Exceptions are what was denied, refused, returned, rejected, expired,
undecryptable, unconfirmed or late, what is kept longer than it may be, and what
passed although the agreement's terms do not allow it. The report is made with
exit code 0 however many there are.

--agreement is a NAME, which means all its versions, NAME@VERSION, or the first
digits of its hash. --to is exclusive: a report on June has --to 2027-07-01. Days
begin at 00:00 UTC. Without --from, the period has 30 days; without --to, it ends
with today.

Every leaf is read and must hash to the root that the checkpoint signs, or there
is no report. Nobody is named unless you ask for it with --persons.

The page (-o) is one HTML file without scripts and without anything from
elsewhere, for a browser and for paper. --csv is a table for a spreadsheet.

With --json: the report itself on stdout, with format, member, alliance, made,
from, to, as_of, agreements, members, log, exception_classes, exceptions, totals,
by_kind, by_peer, by_label, by_purpose, by_day, unattributed_denials, exchanges
and exchanges_total. -o and --csv may be given beside it.`,
		Example: `entente audit report --agreement harbour-watch -o report.html
entente audit report --agreement harbour-watch@2 -o june.html --csv june.csv \
--from 2027-06-01 --to 2027-07-01
entente audit report --agreement harbour-watch --persons --json > report.json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.out == "" && f.csv == "" && !p.json {
				return misused(cmd, "name a file with -o FILE or --csv FILE, or ask for --json")
			}
			return p.auditReportTo(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.agreement, "agreement", "", "which agreement, ID (required)")
	flags.Var(&f.from, "from", "the day or time with which the period begins (default: 30 days before its end)")
	flags.Var(&f.to, "to", "the day or time before which it ends (default: the end of today)")
	flags.StringVarP(&f.out, "output", "o", "", "the HTML FILE to write")
	flags.StringVar(&f.csv, "csv", "", "the CSV FILE to write")
	flags.BoolVar(&f.persons, "persons", false, "name the people who acted")
	flags.BoolVar(&f.force, "force", false, "replace files that are there already")
	required(cmd, "agreement")
	_ = cmd.RegisterFlagCompletionFunc("agreement", p.completeAgreements)
	return cmd
}

// period fills in what was not said.
func (f *reportFlags) period(now time.Time) (from, to time.Time) {
	from, to = f.from.t, f.to.t
	if to.IsZero() {
		to = now.UTC().Truncate(day).Add(day)
	}
	if from.IsZero() {
		from = to.Add(-reportDays * day)
	}
	return from, to
}

func (p *program) auditReportTo(ctx context.Context, f reportFlags) error {
	if f.out != "" && f.csv != "" && sameName(f.out, f.csv) {
		return fault.New(fault.Misused, "give -o and --csv two names", "the page and the table cannot both be %s", f.out)
	}
	for _, path := range []string{f.out, f.csv} {
		if err := free(path, f.force); err != nil {
			return err
		}
	}
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	now := p.now()
	from, to := f.period(now)
	r, err := h.Report(ctx, node.ReportOptions{Agreement: f.agreement, From: from, To: to, Now: now, Persons: f.persons})
	if err != nil {
		return err
	}
	if err := writeReports(r, f); err != nil {
		return err
	}
	if p.json {
		return p.emit(r)
	}
	p.showReport(r, f)
	return nil
}

func sameName(a, b string) bool { return filepath.Clean(a) == filepath.Clean(b) }

// writeReports writes both files before either gets its name, so that a full disk leaves no page without its table.
func writeReports(r *report.Report, f reportFlags) error {
	var begun []*output
	defer func() {
		for _, o := range begun {
			o.abort() // after commit it does nothing
		}
	}()
	for _, w := range []struct {
		path  string
		write func(io.Writer) error
	}{{f.out, r.HTML}, {f.csv, r.CSV}} {
		if w.path == "" {
			continue
		}
		o, err := create(filepath.Dir(w.path), filepath.Base(w.path))
		if err != nil {
			return err
		}
		begun = append(begun, o)
		if err := w.write(o); err != nil {
			return fault.New(fault.Failed, "", "%s: %w", w.path, reason(err))
		}
	}
	for _, o := range begun {
		if err := o.commit(f.force); err != nil {
			return err
		}
	}
	return nil
}

// showReport says in a few lines what stands in the report.
func (p *program) showReport(r *report.Report, f reportFlags) {
	p.fields(field{"agreement", r.Agreements[0].Name}, field{"from", r.From}, field{"to before", r.To}, field{"log", r.Log.Origin}, field{"leaves", r.Log.Size},
		field{"exchanges", r.ExchangesTotal}, field{"exceptions", r.Totals.Exceptions}, field{"page", f.out}, field{"table", f.csv})
	for _, c := range r.Classes {
		p.printf("%6d  %s  %s\n", c.Count, styled(bad.Render(string(c.Class))), c.Meaning)
	}
	if r.Totals.Exceptions == 0 {
		p.printf("%s\n", styled(good.Render("no exceptions")))
	}
	if r.ExchangesTotal > int64(len(r.Listed)) {
		p.note("The report lists the first %d exchanges and counts the others; a shorter period lists all of its own.\n", limit.ReportExchanges)
	}
	if f.out != "" {
		p.next("open "+f.out+" in a browser, and print it", p.self()+" audit verify checks the log that it was made from")
	}
}
