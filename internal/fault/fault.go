// Package fault is the error that a person sees: what is wrong, what to do next, and how a program tells the kinds apart.
//
// Errors inside a package stay ordinary wrapped errors. A fault is made where somebody knows what the person
// in front of the program, or the program on the other side, should do about it.
package fault

import (
	"errors"
	"fmt"

	"entente.example/internal/statement"
)

// Kind tells a caller what sort of error it has. The program's exit codes and the codes on the wire follow from it.
type Kind int

// The kinds. The zero value is Failed, so that an error nobody classified is never taken for something milder.
const (
	// Failed: something went wrong that none of the other kinds describes.
	Failed Kind = iota
	// Misused: the request cannot be right, whatever the state of the world.
	Misused
	// Refused: a policy said no. Reasons say which rules, and what would have been needed.
	Refused
	// NotFound: what was named does not exist, or not for this caller.
	NotFound
	// Conflict: it exists already, differently, or somebody else is using it.
	Conflict
	// Forbidden: this caller may not do that at all.
	Forbidden
	// Invalid: data that somebody gave us is malformed, forged or out of bounds.
	Invalid
	// Transient: trying again later may well succeed.
	Transient
)

var names = [...]string{"failed", "misused", "refused", "not-found", "conflict", "forbidden", "invalid", "transient"}

// String gives the kind's stable name, as it stands in JSON output.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(names) {
		return "failed"
	}
	return names[k]
}

// ParseKind is the reverse of String. What it does not know is Failed.
func ParseKind(s string) Kind {
	for i, n := range names {
		if n == s {
			return Kind(i)
		}
	}
	return Failed
}

// Error is an error with a sentence for a person and a hint what to do next.
type Error struct {
	Kind    Kind
	Text    string             // one sentence, lower case, no full stop
	Hint    string             // what to do next, or empty
	Reasons []statement.Reason // why a policy refused, if Kind is Refused
	Err     error              // the cause, or nil
}

// New makes a fault. The format follows fmt.Errorf, so a cause given with %w can be unwrapped.
func New(kind Kind, hint, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Text: err.Error(), Hint: hint, Err: errors.Unwrap(err)}
}

// Error gives the sentence without the hint.
func (e *Error) Error() string { return e.Text }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf finds the kind of the first fault in err's chain; an error without one is Failed.
func KindOf(err error) Kind {
	var f *Error
	if errors.As(err, &f) {
		return f.Kind
	}
	return Failed
}

// Hint finds the first non-empty hint in err's chain.
func Hint(err error) string {
	for err != nil {
		var f *Error
		if !errors.As(err, &f) {
			return ""
		}
		if f.Hint != "" {
			return f.Hint
		}
		err = f.Err
	}
	return ""
}
