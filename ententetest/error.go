package ententetest

import (
	"errors"
	"strings"

	"entente.example/internal/fault"
	ententev1 "entente.example/proto/entente/v1"
)

// Error is why something did not work, as the program tells a person.
type Error struct {
	// Kind is failed, misused, refused, not-found, conflict, forbidden, invalid or transient.
	Kind string
	// Text is one sentence.
	Text string
	// Hint says what to do next; it may be empty.
	Hint string
	// Reasons say which rules refused, if Kind is refused.
	Reasons []*ententev1.Reason
}

// Error gives the sentence.
func (e *Error) Error() string { return e.Text }

// Refused tells whether a policy said no, in contrast to something being wrong.
func (e *Error) Refused() bool { return e.Kind == fault.Refused.String() }

// Rules names the rules that refused, as SET/RULE.
func (e *Error) Rules() []string {
	var rules []string
	for _, r := range e.Reasons {
		rules = append(rules, r.GetSet()+"/"+r.GetRule())
	}
	return rules
}

// explain makes an *Error of any error.
func explain(err error) error {
	e := &Error{Kind: fault.KindOf(err).String(), Text: err.Error(), Hint: fault.Hint(err)}
	var f *fault.Error
	if errors.As(err, &f) {
		for _, r := range f.Reasons {
			e.Reasons = append(e.Reasons, &ententev1.Reason{Set: r.Set, Rule: r.Rule, Text: r.Text, Needs: r.Needs})
		}
	}
	return e
}

// describe tells all of an error, for a failing test.
func describe(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	var b strings.Builder
	b.WriteString(e.Text)
	for _, r := range e.Reasons {
		b.WriteString("\n  " + r.GetSet() + "/" + r.GetRule() + ": " + r.GetText() + "; needs " + r.GetNeeds())
	}
	if e.Hint != "" {
		b.WriteString("\n  hint: " + e.Hint)
	}
	return b.String()
}
