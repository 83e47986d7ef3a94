package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/term"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/node"
)

// program is what all commands share: the global flags, and where they read and print.
type program struct {
	home string // --home as given
	as   string // --as as given
	json bool   // --json

	worlds bool // the command makes many homes, so --home is none of a member
	warned bool // of the person's certificate

	in      *os.File
	stdout  io.Writer // colours only if it is a terminal that wants them
	stderr  io.Writer
	profile colorprofile.Profile // the colours of stdout
	wrote   *sticky              // stdout's first error
	now     func() time.Time
}

func newProgram() *program {
	wrote := &sticky{w: os.Stdout}
	p := &program{in: os.Stdin, wrote: wrote, now: time.Now}
	// The profile is that of the file; what is written goes through the sticky writer.
	out := colorprofile.NewWriter(os.Stdout, os.Environ())
	out.Forward = wrote
	p.stdout, p.profile = out, out.Profile
	p.stderr = colorprofile.NewWriter(os.Stderr, os.Environ())
	return p
}

// sticky remembers the first error of a writer, so that commands can print without asking each time.
type sticky struct {
	w   io.Writer
	err error
}

func (s *sticky) Write(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	if err != nil {
		s.err = fault.New(fault.Failed, "", "print the result: %w", err)
	}
	return n, err
}

// interactive tells whether somebody who can answer a question sits in front of the program.
func (p *program) interactive() bool { return term.IsTerminal(p.in.Fd()) }

// confirmed asks the person in front of the program, see interactive. No answer, and an interrupt, are no yes.
func (p *program) confirmed(ctx context.Context, question string) bool {
	p.note("\n%s [y/N] ", question)
	answered := make(chan string, 1)
	go func() { // a read cannot be interrupted, but need not be waited for
		answer, _ := bufio.NewReader(p.in).ReadString('\n') // no answer is no yes
		answered <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case a := <-answered:
		return a == "y" || a == "yes"
	case <-ctx.Done():
		p.note("\n")
		return false
	}
}

// self is how the person called the program, for commands that we suggest: with the same home.
func (p *program) self() string {
	if p.home == "" {
		return "entente"
	}
	return "entente --home " + word(p.home)
}

// word is a text as one word of a command that we suggest.
func word(s string) string {
	if strings.ContainsAny(s, " '\"\\$`&;*?()<>|") {
		return strconv.Quote(s)
	}
	return s
}

// ours are commands of a member's home, as hints name them.
var ours = regexp.MustCompile(`\bentente (init|card|charter|agreement|person|send|outbox|inbox|show|open|approvals|approve|who-may|node|health|metrics|audit|evidence|policy|label)\b`)

// hint is a hint as this person can follow it: where --home was given, the commands in it need that too.
func (p *program) hint(text string) string {
	if p.home == "" || p.worlds || strings.HasPrefix(text, "see: ") || strings.Contains(text, "--home "+p.home) {
		return text
	}
	return ours.ReplaceAllStringFunc(text, func(s string) string { return p.self() + strings.TrimPrefix(s, "entente") })
}

// dir is the member's home.
func (p *program) dir() (string, error) {
	if p.home != "" {
		return p.home, nil
	}
	if env := os.Getenv("ENTENTE_HOME"); env != "" {
		return env, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fault.New(fault.Misused, "name the member's folder with --home DIR", "there is no folder for homes here: %w", err)
	}
	return filepath.Join(home, ".entente"), nil
}

// change opens the home for a command that changes it. It works beside a running node.
func (p *program) change(ctx context.Context) (*node.Home, error) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	return node.OpenHome(ctx, dir)
}

// read opens the home for a command that only reads. It needs neither node nor person, and loads no private key.
func (p *program) read(ctx context.Context) (*node.Home, error) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	return node.OpenReader(ctx, dir)
}

// person finds out who asks: --as, else the only person of the home.
func (p *program) person(dir string) (string, error) {
	names, err := identity.Persons(dir)
	if err != nil {
		return "", err
	}
	switch {
	case p.as != "":
		for _, n := range names {
			if n == p.as {
				return n, nil
			}
		}
		return "", fault.New(fault.Misused, people(names), "there is no person %.80q in %s", p.as, dir)
	case len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", fault.New(fault.Misused, people(nil), "%s has no person yet, and only persons talk to a node", dir)
	}
	return "", fault.New(fault.Misused, "say who you are with --as", "there are several persons here: %s", strings.Join(names, ", "))
}

func people(names []string) string {
	if len(names) == 0 {
		return "add one with: entente person add NAME --role releaser,reader --label LABEL --trained-until DAY"
	}
	return "the persons here are: " + strings.Join(names, ", ")
}
