package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// vocabulary is what rules can ask about, with its types. It catches at load what would otherwise be an evaluation error
// in the field, and so a denial: a misspelt attribute, a sum of unlike things, an attribute that may be missing.
// It does not catch everything (a time may be compared with a number, v1.9.0), so an evaluation error still has to deny.
//
// The package behind it is an experiment of its authors; it is used in this file and nowhere else (clauses.go uses others).
type vocabulary struct{ validator *validate.Validator }

func parseVocabulary(name, text string) (*vocabulary, error) {
	var s schema.Schema
	s.SetFilename(name)
	if err := s.UnmarshalCedar([]byte(text)); err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", name, err)
	}
	return &vocabulary{validate.New(resolved)}, nil
}

// check refuses a rule that asks for what the vocabulary does not have.
func (v *vocabulary) check(r rule) error {
	if err := v.validator.Policy("", (*ast.Policy)(r.policy.AST())); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n") // the others say the same of other stages
		return errors.New(first)
	}
	return nil
}
