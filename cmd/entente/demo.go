package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/lab"
)

func (p *program) demoCommand() *cobra.Command {
	var document string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch three organisations exchange a document they answer for",
		Long: `Demo makes three members on this machine, alpha, bravo and charlie, with real
nodes, files and TLS on loopback. They found an alliance, sign an agreement and
exchange a document; a forbidden one is refused, and a rewritten log is caught.
It takes a few seconds, needs no network, and ends with 0 only if every step
came out as it must.

With --home DIR everything is kept: DIR/alpha, DIR/bravo and DIR/charlie are
homes to go on with by hand, and DIR/opened holds the document as bravo opened
it. DIR must be empty; ENTENTE_HOME is ignored. Without --home everything is
removed in the end.

With --json: an object a line with step, ok, text, why.`,
		Example: `entente demo
entente demo --document report.pdf --home ./world`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.demo(cmd.Context(), document) },
	}
	cmd.Flags().StringVar(&document, "document", "", "send this FILE instead of the one that the program brings along")
	cmd.Flags().StringVar(&p.home, "home", "", "keep the members' homes in DIR, which must be empty (default: a folder that is removed in the end)")
	_ = cmd.MarkFlagDirname("home")
	return cmd
}

type stepJSON struct {
	Step string `json:"step"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
	Why  string `json:"why,omitempty"`
}

func (p *program) demo(ctx context.Context, document string) (err error) {
	p.worlds = true
	if document != "" {
		file, _, err := openDocument(document, filepath.Base(document))
		if err != nil {
			return fault.New(fault.KindOf(err), "name another file with --document FILE", "%w", err)
		}
		file.Close()
	}
	dir := p.home
	if dir == "" {
		if dir, err = os.MkdirTemp("", "entente-demo-"); err != nil {
			return fault.New(fault.Failed, "set TMPDIR to a folder with room", "make a folder for the demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	ctx, cancel := context.WithTimeout(ctx, lab.DemoTime)
	defer cancel()
	err = lab.Demo{Dir: dir, Document: document, Told: p.tellStep}.Run(ctx)
	if err != nil {
		return err
	}
	if p.home != "" {
		p.next("look around: entente audit tail --home "+filepath.Join(p.home, "alpha"),
			"serve again:  entente node --home "+filepath.Join(p.home, "alpha"))
		return nil
	}
	p.next("keep the world: entente demo --home ./world", "read a lesson:  entente lab list")
	return nil
}

func (p *program) tellStep(s lab.Step) {
	if p.json {
		_ = p.emit(stepJSON{s.Name, s.OK, s.Text, s.Why}) // the sticky writer remembers
		return
	}
	mark := styled(good.Render("ok  "))
	if !s.OK {
		mark = styled(bad.Render("FAIL"))
	}
	p.printf("%s  %s  %s\n", mark, styled(bold.Render(fmt.Sprintf("%-7s", s.Name))), s.Text)
	if s.Why != "" {
		p.printf("               %s\n", styled(faint.Render(plain(s.Why))))
	}
}
