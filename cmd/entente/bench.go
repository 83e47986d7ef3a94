package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/bench"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
)

// benchmark is what `bench` was told.
type benchmark struct {
	dir, profile string
	cases        []string
	runs         int
	growth       bool
	exchanges    []int
}

// What --exchanges may be: enough to fill a page, and not more than the seconds between the founding and now, by which documents are dated.
const fewestExchanges, mostExchanges = 100, 1_100_000

// fewestRuns is how often a case is measured unless it is asked for otherwise.
const fewestRuns = 5

func (p *program) benchCommand() *cobra.Command {
	var b benchmark
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure exchanges on this machine, beside the least that any exchange must do",
		Long: `Bench founds two members on this machine, runs their nodes, and measures whole
exchanges: from the moment somebody sends a document until their node holds the
recipient's signed receipt, durably.

Beside them it measures a bare reference of two processes: read the document,
encrypt it with age, hash it, write and sync it; send it over TLS 1.3; hash,
write and sync it there, and acknowledge. No policy, log or database. The two
take turns, and the ratio of their medians tells what Entente costs on any
machine. docs/performance.md explains the figures.

The cases: documents of 1GiB, 10MiB and 4KiB, one after the other, and 4KiBx16,
16 at once, beside a reference that always makes one after the other. All four
take a few minutes; 1GiB needs 20 GiB of room on the disk for that time.
Everything is written to a folder of its own in --dir, which is removed in the
end. Let it lie on the disk that a node would use, and let nothing else run.

With --growth it measures something else: how fast a node is whose home holds
10000 exchanges, and one with 1000000: leaves and decisions in a second, a small
exchange, the first page of the inbox, the evidence of one exchange, and
audit verify --all. To make and verify a million takes most of an hour, and
20 GiB.

With --json: an object a line with case, reference, entente (both in unit, which
is bytes/s or exchanges/s), ratio, unit, runs, and of both sides the slowest and
the fastest run: reference_min, reference_max, entente_min, entente_max. With
--growth: exchanges, leaves_per_second, decisions_per_second, and in seconds
exchange, inbox, proof, verify.`,
		Example: `entente bench
entente bench --case 10MiB --case 4KiB --dir /var/lib --json
entente bench --growth --exchanges 10000,100000`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !b.growth && cmd.Flags().Changed("exchanges") {
				return misused(cmd, "--exchanges belongs to --growth")
			}
			if b.growth && (cmd.Flags().Changed("case") || cmd.Flags().Changed("runs")) {
				return misused(cmd, "--case and --runs do not belong to --growth")
			}
			return p.bench(cmd.Context(), b)
		},
	}
	var names []string
	for _, c := range bench.Cases {
		names = append(names, c.Name)
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&b.cases, "case", nil, "measure only this CASE: "+strings.Join(names, ", ")+"; may be repeated")
	flags.IntVar(&b.runs, "runs", fewestRuns, "measure each case so often")
	flags.StringVar(&b.dir, "dir", "", "write below this DIR (default: the system's folder for temporary files)")
	flags.StringVar(&b.profile, "profile", "", "write CPU profiles of both nodes to this DIR, for go tool pprof")
	flags.BoolVar(&b.growth, "growth", false, "measure homes with many exchanges instead")
	flags.IntSliceVar(&b.exchanges, "exchanges", []int{10_000, 1_000_000}, "with --growth: how many, as NUMBER,NUMBER")
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.MarkFlagDirname("profile")
	_ = cmd.RegisterFlagCompletionFunc("case", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(p.benchReferenceCommand())
	return cmd
}

// benchReferenceCommand is hidden: it is the other process of the reference.
func (p *program) benchReferenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:     bench.ReferenceCommand + " DIR",
		Short:   "Receive the documents of the bare reference",
		Long:    "Reference is the receiving process of the bare reference: it prints where it\nlistens, and writes what comes into DIR.\n\nWith --json and without: an object with address, certificate.",
		Example: "entente bench reference /tmp/received",
		Hidden:  true,
		Args:    args("DIR"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return bench.ReceiveReference(cmd.Context(), given[0], p.wrote)
		},
	}
}

func (p *program) bench(ctx context.Context, b benchmark) error {
	p.worlds = true
	if b.runs < 1 {
		return fault.New(fault.Misused, "five are enough to see how much they differ", "--runs %d measures nothing", b.runs)
	}
	cases, err := chosen(b.cases)
	if err != nil {
		return err
	}
	for _, n := range b.exchanges {
		if n < fewestExchanges || n > mostExchanges {
			return fault.New(fault.Misused, fmt.Sprintf("choose between %d and %d", fewestExchanges, mostExchanges), "--exchanges %d is too few or too many", n)
		}
	}
	if b.dir == "" {
		b.dir = os.TempDir()
	}
	if bench.InMemory(b.dir) {
		p.note("%s %s lies in memory, where it costs nothing to sync a file: ratios there say nothing about a disk. Name another folder with --dir.\n",
			styled(wait.Render("warning:")), b.dir)
	}
	if b.profile != "" {
		if b.profile, err = filepath.Abs(b.profile); err == nil {
			err = durable.MkdirAll(b.profile)
		}
		if err != nil {
			return fault.New(fault.Misused, "name another folder with --profile DIR", "make a folder for profiles: %w", err)
		}
	}
	if b.growth {
		return p.benchGrowth(ctx, b)
	}
	return p.benchCases(ctx, b, cases)
}

// chosen gives the cases with these names, or all.
func chosen(names []string) ([]bench.Case, error) {
	if len(names) == 0 {
		return bench.Cases, nil
	}
	var list []bench.Case
	for _, name := range names {
		found := false
		for _, c := range bench.Cases {
			if c.Name == name {
				list, found = append(list, c), true
			}
		}
		if !found {
			return nil, fault.New(fault.Misused, "the cases are 1GiB, 10MiB, 4KiB and 4KiBx16", "there is no case %.80q", name)
		}
	}
	return list, nil
}

// resultJSON is one line for programs.
type resultJSON struct {
	Case         string  `json:"case"`
	Reference    float64 `json:"reference"`
	Entente      float64 `json:"entente"`
	Ratio        float64 `json:"ratio"`
	Unit         string  `json:"unit"`
	Runs         int     `json:"runs"`
	ReferenceMin float64 `json:"reference_min"`
	ReferenceMax float64 `json:"reference_max"`
	EntenteMin   float64 `json:"entente_min"`
	EntenteMax   float64 `json:"entente_max"`
}

// benchCases measures these cases and prints what came out: for programs as soon as it is there, for people as a table in the end.
func (p *program) benchCases(ctx context.Context, b benchmark, cases []bench.Case) error {
	o, err := p.benchOptions(b)
	if err != nil {
		return err
	}
	var rows [][]any
	o.Cases, o.Told = cases, func(r bench.Result) {
		if p.json {
			_ = p.emit(resultJSON{r.Name, r.Reference.Median, r.Entente.Median, r.Ratio(), r.Unit(), b.runs,
				r.Reference.Min, r.Reference.Max, r.Entente.Min, r.Entente.Max}) // the sticky writer remembers
		}
		rows = append(rows, []any{r.Name, speed(r.Case, r.Reference), speed(r.Case, r.Entente), fmt.Sprintf("%.2f", r.Ratio())})
	}
	if err := bench.Run(ctx, o); err != nil || p.json {
		return err
	}
	p.table([]string{"CASE", "REFERENCE", "ENTENTE", "RATIO"}, rows)
	p.note("Medians of %d, with the slowest and the fastest.\n", b.runs)
	return nil
}

// speed shows a median, and how far measurements lay apart.
func speed(c bench.Case, s bench.Speed) string {
	if !c.Bytes {
		return fmt.Sprintf("%.0f/s (%.0f to %.0f)", s.Median, s.Min, s.Max)
	}
	const mib = 1 << 20
	return fmt.Sprintf("%.0f MiB/s (%.0f to %.0f)", s.Median/mib, s.Min/mib, s.Max/mib)
}

// benchOptions is what both kinds of measurement need.
func (p *program) benchOptions(b benchmark) (bench.Options, error) {
	program, err := os.Executable()
	if err != nil {
		return bench.Options{}, fmt.Errorf("find this program: %w", err)
	}
	return bench.Options{Dir: b.dir, Runs: b.runs, Profile: b.profile,
		Program: func(ctx context.Context, args ...string) *bench.Command {
			cmd := exec.CommandContext(ctx, program, args...)
			cmd.Args[0] = "entente" // also where the file is called otherwise
			return cmd
		},
		Doing: func(what string) { p.note("%s\n", what) },
	}, nil
}

// growthJSON is one line for programs. Times are in seconds.
type growthJSON struct {
	Exchanges int     `json:"exchanges"`
	Leaves    float64 `json:"leaves_per_second"`
	Decisions float64 `json:"decisions_per_second"`
	Exchange  float64 `json:"exchange"`
	Inbox     float64 `json:"inbox"`
	Proof     float64 `json:"proof"`
	Verify    float64 `json:"verify"`
}

// benchGrowth measures homes of these sizes and prints what came out: for people a column for each.
func (p *program) benchGrowth(ctx context.Context, b benchmark) error {
	o, err := p.benchOptions(b)
	if err != nil {
		return err
	}
	list, err := bench.RunGrowth(ctx, bench.GrowthOptions{Options: o, Exchanges: b.exchanges})
	if err != nil {
		return err
	}
	headers := []string{"EXCHANGES"}
	rows := [][]any{{"leaves in a second"}, {"decisions in a second"}, {"an exchange of 4 KiB"}, {"inbox, first page"}, {"proof of one exchange"}, {"audit verify --all"}}
	for _, g := range list {
		if p.json {
			err := p.emit(growthJSON{g.Exchanges, g.Leaves, g.Decisions, g.Exchange.Seconds(), g.Inbox.Seconds(), g.Proof.Seconds(), g.Verify.Seconds()})
			if err != nil {
				return err
			}
			continue
		}
		headers = append(headers, strconv.Itoa(g.Exchanges))
		for i, cell := range []string{fmt.Sprintf("%.0f", g.Leaves), fmt.Sprintf("%.0f", g.Decisions), short(g.Exchange), short(g.Inbox), short(g.Proof), short(g.Verify)} {
			rows[i] = append(rows[i], cell)
		}
	}
	if !p.json {
		p.table(headers, rows)
	}
	return nil
}

// short shows a time to three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	case d < 2*time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	}
	return fmt.Sprintf("%.3g min", d.Minutes())
}
