package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// The program's exit codes, which scripts rely on.
const (
	exitDone    = 0
	exitFailed  = 1
	exitMisused = 2
	exitRefused = 3
)

// failure is an error as --json prints it.
type failure struct {
	Kind    string             `json:"kind"`
	Text    string             `json:"text"`
	Hint    string             `json:"hint,omitempty"`
	Reasons []statement.Reason `json:"reasons,omitempty"`
}

// fail tells a person or a program what went wrong, on stderr, and gives the exit code.
func (p *program) fail(ctx context.Context, err error) int {
	f := describe(ctx, err)
	f.Hint = p.hint(f.Hint)
	// A flag that comes before --json may be the one that is wrong.
	if p.json || slices.Contains(os.Args[1:], "--json") {
		b, encodeErr := encode(map[string]failure{"error": f})
		if encodeErr != nil {
			b = []byte(`{"error":{"kind":"failed","text":"an error that cannot be printed"}}` + "\n")
		}
		_, _ = os.Stderr.Write(b)
		return exitCode(f.Kind)
	}
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(p.stderr, format, safeAll(args)...) }
	line("%s %s\n", styled(bad.Render("error:")), f.Text)
	for _, r := range f.Reasons {
		p.reason(r)
	}
	if f.Hint != "" {
		line("%s %s\n", styled(bold.Render("hint:")), f.Hint)
	}
	return exitCode(f.Kind)
}

// reason says on stderr which rule refused, and what would have been needed.
func (p *program) reason(r statement.Reason) {
	p.note("  %s: %s\n", styled(bold.Render(plain(r.Set+"/"+r.Rule))), r.Text)
	if r.Needs != "" {
		p.note("    needed: %s\n", r.Needs)
	}
}

func exitCode(kind string) int {
	switch kind {
	case fault.Misused.String():
		return exitMisused
	case fault.Refused.String():
		return exitRefused
	}
	return exitFailed
}

// describe finds what a person should be told: the sentence of the whole chain, and the first fault's hint and reasons.
func describe(ctx context.Context, err error) failure {
	f := failure{Kind: fault.KindOf(err).String(), Text: sentence(err), Hint: fault.Hint(err)}
	var known *fault.Error
	if errors.As(err, &known) {
		f.Reasons = known.Reasons
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		f.Text = "interrupted"
	}
	return f
}

// sentence makes one line of an error.
func sentence(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}
