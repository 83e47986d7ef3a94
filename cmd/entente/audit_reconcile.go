package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

type reconcileFlags struct {
	with         string
	since, until moment
	out          string
	evidence     string
	force        bool
}

func (p *program) auditReconcile() *cobra.Command {
	f := reconcileFlags{since: moment{now: p.now}, until: moment{now: p.now}}
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Compare our log with another member's, and sign what comes out together",
		Long: `Reconcile is double entry: whatever one log says about an exchange must meet what
the other says about it. It asks the running node, as a person with the role
auditor, releaser or admin; that node asks the other member's node. Both compute
the same text and both sign it; both keep it, with a leaf "reconciled". Neither
sees a leaf about anybody else.

--since and --until choose exchanges by when their manifests were created, so no
exchange is cut in two. A leaf is

  matched    the other log says the same
  open       the other side's answer may still be on its way
  only       the other log has nothing about it: somebody lost or hid a leaf
  differing  the two logs contradict each other

The exit code is 0 if nothing is "only" or "differing", and 1 if something is;
the reconciliation is signed in either case. -o writes the signed text, and
--evidence a file that "entente evidence verify" takes: it also has the charter
and the cards that name the keys, and our leaf, which tells since when it is
signed.

With --json: with, since, until, created, agrees, sha256, sides (member, log,
size, root, leaves, matched, open, only, differing), and open, only, differing
(exchange, member, leaf, kind, at, manifest_sha256), and reconciliation, the
signed text.`,
		Example: `entente audit reconcile --with bravo --since 2027-01-01
entente audit reconcile --with bravo --since 2027-01-01 --until 2027-02-01 \
-o january.txt`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.reconcile(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.with, "with", "", "the other MEMBER (required)")
	flags.Var(&f.since, "since", "the day or time from which on (required)")
	flags.Var(&f.until, "until", "the day or time before which (default: now)")
	flags.StringVarP(&f.out, "output", "o", "", "the FILE to write the signed text to")
	flags.StringVar(&f.evidence, "evidence", "", "a FILE for the same with charter and cards, to be verified anywhere")
	flags.BoolVar(&f.force, "force", false, "replace a file that is there already")
	required(cmd, "with", "since")
	return cmd
}

func (p *program) reconcile(ctx context.Context, f reconcileFlags) error {
	for _, file := range []string{f.out, f.evidence} {
		if err := free(file, f.force); err != nil {
			return err
		}
	}
	until := f.until.t
	if until.IsZero() {
		until = p.now().Add(time.Second) // the present second too
	}
	var out *ententev1.ReconcileWithResponse
	err := p.ask(ctx, func(ctx context.Context, c ententev1.NodeServiceClient) (err error) {
		out, err = c.ReconcileWith(ctx, &ententev1.ReconcileWithRequest{With: f.with, Since: timestamppb.New(f.since.t), Until: timestamppb.New(until)})
		return err
	})
	if err != nil {
		return err
	}
	// The node has verified both signatures.
	d, err := statement.ParseDraft[statement.Reconciliation](out.GetReconciliation())
	if err != nil {
		return fault.New(fault.Invalid, "compare the versions of the two programs: entente version", "the node answered with something else: %w", err)
	}
	if f.out != "" {
		if err := writeFile(f.out, d.Raw, f.force); err != nil {
			return err
		}
	}
	if f.evidence != "" {
		if err := p.writeReconciliation(ctx, d.Raw, f); err != nil {
			return err
		}
	}
	return p.showReconciliation(f, d)
}

// writeReconciliation writes the signed text with the charter and cards that name the keys, so that it verifies without a home.
func (p *program) writeReconciliation(ctx context.Context, signed []byte, f reconcileFlags) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	raw, _, err := h.ReconciliationEvidence(ctx, signed, p.now())
	if err != nil {
		return err
	}
	return writeFile(f.evidence, raw, f.force)
}

type reconciledJSON struct {
	Exchange string    `json:"exchange"`
	Member   string    `json:"member"`
	Leaf     int64     `json:"leaf"`
	Kind     string    `json:"kind"`
	At       time.Time `json:"at"`
	Manifest string    `json:"manifest_sha256"`
}

type sideJSON struct {
	Member    string `json:"member"`
	Log       string `json:"log"`
	Size      int64  `json:"size"`
	Root      string `json:"root"`
	Leaves    int64  `json:"leaves"`
	Matched   int64  `json:"matched"`
	Open      int64  `json:"open"`
	Only      int64  `json:"only"`
	Differing int64  `json:"differing"`
}

type reconciliationJSON struct {
	With      string           `json:"with"`
	Since     time.Time        `json:"since"`
	Until     time.Time        `json:"until"`
	Created   time.Time        `json:"created"`
	Agrees    bool             `json:"agrees"`
	Hash      string           `json:"sha256"`
	Sides     []sideJSON       `json:"sides"`
	Open      []reconciledJSON `json:"open"`
	Only      []reconciledJSON `json:"only"`
	Differing []reconciledJSON `json:"differing"`
	Signed    string           `json:"reconciliation"`
}

// reconciledAs gives leaves with their exchanges: who sent is told by whose leaf it is, and of which kind.
func reconciledAs(parties []string, list []statement.ReconciledLeaf) []reconciledJSON {
	out := []reconciledJSON{}
	for _, l := range list {
		other := parties[0]
		if other == l.Member {
			other = parties[1]
		}
		from, to := l.Member, other
		if slices.Contains([]statement.EventKind{statement.EventReceived, statement.EventRefused, statement.EventOpened, statement.EventUndecryptable}, l.Kind) {
			from, to = other, l.Member
		}
		out = append(out, reconciledJSON{from + "/" + l.ID + "/" + to, l.Member, l.Leaf, string(l.Kind), l.At, l.Manifest.String()})
	}
	return out
}

func (p *program) showReconciliation(f reconcileFlags, d *statement.Unsigned[statement.Reconciliation]) error {
	r := d.Terms
	j := reconciliationJSON{With: f.with, Since: r.Since, Until: r.Until, Created: r.Created, Agrees: r.Agrees(), Hash: d.Hash.String(), Signed: string(d.Raw),
		Open: reconciledAs(r.Parties, r.Open), Only: reconciledAs(r.Parties, r.Only), Differing: reconciledAs(r.Parties, r.Differing)}
	var off int64
	var sides [][]any
	for _, s := range r.Sides {
		j.Sides = append(j.Sides, sideJSON{s.Member, s.Log, s.Size, s.Root.String(), s.Leaves, s.Matched, s.Open, s.Only, s.Differing})
		sides = append(sides, []any{s.Log, s.Size, s.Leaves, s.Matched, s.Open, s.Only, s.Differing})
		off += s.Only + s.Differing
	}
	if p.json {
		if err := p.emit(j); err != nil {
			return err
		}
	} else {
		p.fields(field{"with", f.with}, field{"since", r.Since}, field{"until before", r.Until}, field{"sha256", j.Hash}, field{"file", f.out})
		p.table([]string{"LOG", "SIZE", "COMPARED", "MATCHED", "OPEN", "ONLY", "DIFFERING"}, sides)
		for _, group := range []struct {
			word  styled
			list  []reconciledJSON
			total int64
		}{
			{styled(bad.Render("differing")), j.Differing, r.Sides[0].Differing + r.Sides[1].Differing},
			{styled(bad.Render("only")), j.Only, r.Sides[0].Only + r.Sides[1].Only},
			{styled(wait.Render("open")), j.Open, r.Sides[0].Open + r.Sides[1].Open},
		} {
			for _, l := range group.list {
				p.printf("%s  %s  leaf %d of %s says %s at %s\n", group.word, l.Exchange, l.Leaf, l.Member, l.Kind, l.At)
			}
			if more := group.total - int64(len(group.list)); more > 0 {
				p.printf("%s  and %d more; a shorter period shows them\n", group.word, more)
			}
		}
	}
	if off == 0 {
		if !p.json {
			p.printf("%s\n", styled(good.Render("the two logs agree")))
		}
		return nil
	}
	return fault.New(fault.Conflict, p.afterReconciling(j), "%s of %s and %s do not match", leavesOf(off), r.Parties[0], r.Parties[1])
}

func leavesOf(n int64) string {
	if n == 1 {
		return "one leaf"
	}
	return fmt.Sprintf("%d leaves", n)
}

// afterReconciling says what to do about the first thing that does not match.
func (p *program) afterReconciling(j reconciliationJSON) string {
	first := slices.Concat(j.Differing, j.Only)[0]
	advice := "look at it with: entente show " + first.Exchange
	if first.Member == j.With {
		return advice + "; verify your own log with: entente audit verify; then ask " + j.With + " to show its leaf: entente audit disclose " + strings.TrimSpace(fmt.Sprint(first.Leaf))
	}
	return advice + "; then ask " + j.With + " for its side of it; your own leaf you show with: entente audit disclose " + fmt.Sprint(first.Leaf)
}
