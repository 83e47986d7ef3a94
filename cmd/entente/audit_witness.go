package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/checkpoint"
	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/store"
)

func (p *program) auditWitnesses() *cobra.Command {
	return &cobra.Command{
		Use:   "witnesses",
		Short: "Show who co-signs this log, and what it co-signs of others",
		Long: `Every member witnesses every other: it co-signs a log's newest state after it has
checked that the log only grew. So nobody can change its own log unnoticed.

Witnesses shows, for this member's log, what each witness co-signed last and when
by its clock, how many leaves it is behind, and what went wrong when it was last
asked; how many must co-sign (the quorum), and how long documents are still
exchanged if no quorum does (witness_patience in entente.toml). Then, what this
member co-signed of others, and the logs that forked: "entente audit forks".

"Our clock seems to be ahead" means that a witness refused a date more than five
minutes in its future. One of the two clocks is wrong. The log cannot take a date
back; it keeps it, and is co-signed again when that date has come.

With --json: log, leaves, co_signed_leaves, quorum, since, patience_seconds,
patience_left_seconds, stopped, witnesses (name, leaves, lag, at, asked, error),
others (log, leaves, at), forks (log, sha256).`,
		Example: `entente audit witnesses
entente audit witnesses --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.witnesses(cmd.Context()) },
	}
}

type cosignerJSON struct {
	Name   string     `json:"name"`
	Leaves int64      `json:"leaves"`
	Lag    int64      `json:"lag"`
	At     *time.Time `json:"at,omitempty"`
	Asked  *time.Time `json:"asked,omitempty"`
	Error  string     `json:"error,omitempty"`
}

type otherJSON struct {
	Log    string    `json:"log"`
	Leaves int64     `json:"leaves"`
	At     time.Time `json:"at"`
}

type forkJSON struct {
	Log    string `json:"log"`
	Sha256 string `json:"sha256"`
	Says   string `json:"says,omitempty"`
}

type witnessingJSON struct {
	Log       string         `json:"log"`
	Leaves    int64          `json:"leaves"`
	Cosigned  int64          `json:"co_signed_leaves"`
	Quorum    int            `json:"quorum"`
	Since     time.Time      `json:"since"`
	Patience  int64          `json:"patience_seconds"`
	Left      int64          `json:"patience_left_seconds"`
	Stopped   string         `json:"stopped,omitempty"`
	Witnesses []cosignerJSON `json:"witnesses"`
	Others    []otherJSON    `json:"others"`
	Forks     []forkJSON     `json:"forks"`
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (p *program) witnesses(ctx context.Context) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	w, err := h.Witnessing(ctx)
	if err != nil {
		return err
	}
	now := p.now()
	if p.json {
		return p.emit(witnessingOf(w, now))
	}
	last := any(w.Since)
	if w.Cosigned == 0 {
		last = "never; there is a log since " + when(w.Since)
	}
	about := []field{{"log", w.Log}, {"leaves", fmt.Sprintf("%d, of which a quorum has co-signed %d", w.Leaves, w.Cosigned)},
		{"quorum", fmt.Sprintf("%d of %d witnesses", w.Quorum, len(w.Witnesses))}, {"last quorum", last}, {"patience", patienceLeft(w, now)}}
	if w.Stopped != nil {
		about = append(about, field{"signing", styled(bad.Render("stopped: this log contradicted itself"))})
	}
	p.fields(about...)
	rows := make([][]any, 0, len(w.Witnesses))
	for _, one := range w.Witnesses {
		rows = append(rows, []any{one.Name, one.Size, w.Leaves - one.Size, one.At, one.Asked, problem(one)})
	}
	p.printf("\n")
	p.table([]string{"WITNESS", "LEAVES", "BEHIND", "CO-SIGNED AT", "ASKED AT", "LAST PROBLEM"}, rows)
	if len(w.Others) > 0 {
		rows = nil
		for _, o := range w.Others {
			state := styled(good.Render("grows"))
			if w.Keys[o.Log].Forked != nil {
				state = styled(bad.Render("forked"))
			}
			rows = append(rows, []any{o.Log, o.Tree.N, o.At, state})
		}
		p.printf("\n")
		p.table([]string{"WE WITNESS", "LEAVES", "SINCE", "STATE"}, rows)
	}
	var steps []string
	if !slices.ContainsFunc(w.Witnesses, func(one store.Witness) bool { return !one.Asked.IsZero() }) {
		steps = append(steps, "the witnesses are asked by the node: "+p.self()+" node")
	}
	if w.ClockAhead() {
		steps = append(steps, "compare this machine's clock with the right time, and the witnesses', and put right what is wrong",
			"the log then goes on by itself: it is co-signed again when the date that it signed has come")
	}
	if len(w.Forks) > 0 {
		steps = append(steps, "entente audit forks")
	}
	if steps != nil {
		p.next(steps...)
	}
	return nil
}

// problem is what went wrong when a witness was last asked, if anything.
func problem(w store.Witness) string {
	if w.LastError == "" && w.Asked.IsZero() {
		return "never asked"
	}
	return w.LastError
}

func patienceLeft(w *node.Witnessing, now time.Time) styled {
	left := w.Left(now)
	if left <= 0 {
		return styled(bad.Render(howLong(w.Patience) + ", which is over: no documents are sent until a quorum co-signs"))
	}
	return styled(fmt.Sprintf("%s, of which %s are left", howLong(w.Patience), howLong(left.Round(time.Second))))
}

// howLong shows a duration without the zeros at its end.
func howLong(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func witnessingOf(w *node.Witnessing, now time.Time) witnessingJSON {
	out := witnessingJSON{Log: w.Log, Leaves: w.Leaves, Cosigned: w.Cosigned, Quorum: w.Quorum, Since: w.Since, Patience: int64(w.Patience.Seconds()),
		Left: int64(w.Left(now).Seconds()), Witnesses: []cosignerJSON{}, Others: []otherJSON{}, Forks: []forkJSON{}}
	if w.Stopped != nil {
		out.Stopped = w.Stopped.Error()
	}
	for _, one := range w.Witnesses {
		out.Witnesses = append(out.Witnesses, cosignerJSON{one.Name, one.Size, w.Leaves - one.Size, optionalTime(one.At), optionalTime(one.Asked), one.LastError})
	}
	for _, o := range w.Others {
		out.Others = append(out.Others, otherJSON{o.Log, o.Tree.N, o.At})
	}
	for _, f := range w.Forks {
		out.Forks = append(out.Forks, forkJSON{f.Log, f.Hash.String(), ""})
	}
	return out
}

func (p *program) auditForks() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "forks",
		Short: "Show which logs contradicted themselves, with the proofs",
		Long: `A log forks when its owner signs two states of it that cannot both be honest:
two different logs of one length, a log that became shorter, or a larger one that
does not begin with the smaller one. That happens when a home was restored from a
backup, when two copies of it run, or when somebody shows different logs to
different members. The two signed checkpoints are the proof; nobody can forge it.

Forks lists the logs that forked and what each proof proves. With -o it writes a
proof into a new file, with the charter and cards that name the log's keys, so
that "entente evidence verify" needs nothing else; name the log with --log if
there are several.

With --json: an object a line with log, sha256 (of the proof), says.`,
		Example: `entente audit forks
entente audit forks --log bravo/log/1 -o bravo-fork.txt`,
		Args: args(),
	}
	var log string
	cmd.Flags().StringVarP(&file, "output", "o", "", "write the proof into this new FILE")
	cmd.Flags().StringVar(&log, "log", "", "only this LOG, such as bravo/log/1")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.forks(cmd.Context(), log, file) }
	return cmd
}

func (p *program) forks(ctx context.Context, log, file string) error {
	h, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	w, err := h.Witnessing(ctx)
	if err != nil {
		return err
	}
	var list []store.Fork
	for _, f := range w.Forks {
		if log == "" || f.Log == log {
			list = append(list, f)
		}
	}
	if file != "" {
		return p.writeFork(ctx, h, list, file)
	}
	for _, f := range list {
		says, err := forkSays(w, f)
		if err != nil {
			return fault.New(fault.Invalid, "run: entente audit verify", "the proof about %s: %w", f.Log, err)
		}
		if p.json {
			if err := p.emit(forkJSON{f.Log, f.Hash.String(), says}); err != nil {
				return err
			}
			continue
		}
		p.fields(field{"log", styled(bad.Render(f.Log))}, field{"proof", f.Hash.String()}, field{"proves", says})
		p.printf("\n")
	}
	if len(list) == 0 {
		p.note("No log that this member knows has contradicted itself.\n")
		return nil
	}
	p.next("entente audit forks --log "+list[0].Log+" -o FILE", "ask the log's owner whether a backup was restored, or a second copy runs")
	return nil
}

// forkSays checks a proof again, and says what it proves.
func forkSays(w *node.Witnessing, f store.Fork) (string, error) {
	proof, err := checkpoint.ParseFork(f.Raw)
	if err != nil {
		return "", err
	}
	return proof.Check(w.Keys[f.Log].Log)
}

// writeFork writes a proof with the charter and cards that name the log's keys, so that it verifies without a home.
func (p *program) writeFork(ctx context.Context, h *node.Home, list []store.Fork, file string) error {
	switch len(list) {
	case 0:
		return fault.New(fault.NotFound, "see them with: entente audit forks", "there is no such proof")
	case 1:
	default:
		return fault.New(fault.Misused, "name one with --log LOG", "there are %d proofs", len(list))
	}
	history, err := h.History(ctx)
	if err != nil {
		return err
	}
	raw, verdict, err := evidence.ForkProof(history, list[0].Raw, p.now())
	if err != nil {
		return fault.New(fault.Invalid, "run: entente audit verify", "the proof about %s: %w", list[0].Log, err)
	}
	if err := writeFile(file, raw, false); err != nil {
		return err
	}
	if p.json {
		return p.emit(forkJSON{list[0].Log, list[0].Hash.String(), verdict.Claims[0].Says})
	}
	p.printf("the proof that %s contradicted itself stands in %s\n", list[0].Log, file)
	p.next("entente evidence verify " + file + " --charter " + verdict.Named.String())
	return nil
}

// witnessed warns of what a person should know about the log when the node is asked whether it is well. It gives a word for programs.
func (p *program) witnessed(ctx context.Context, dir string) (string, error) {
	h, err := node.OpenReader(ctx, dir)
	if err != nil {
		return "", err
	}
	defer h.Close()
	w, err := h.Witnessing(ctx)
	if fault.KindOf(err) == fault.NotFound {
		return "no alliance", nil
	}
	switch {
	case err != nil:
		return "", err
	case w.Stopped != nil:
		p.note("%s The log contradicted itself, and signs nothing any more: entente audit forks\n", styled(bad.Render("alarm:")))
		return "stopped", nil
	case w.Left(p.now()) <= 0:
		p.note("%s No quorum of the other members co-signs this log, and no documents are sent: entente audit witnesses\n", styled(bad.Render("alarm:")))
		return "stale", nil
	case len(w.Forks) > 0:
		p.note("%s The log of another member contradicted itself: entente audit forks\n", styled(bad.Render("alarm:")))
	}
	return "signing", nil
}
