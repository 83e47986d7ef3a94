package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"entente.example/internal/limit"
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
	if err := judgeable(r.policy.AST().Conditions); err != nil {
		return err
	}
	if err := v.validator.Policy("", (*ast.Policy)(r.policy.AST())); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n") // the others say the same of other stages
		return errors.New(first)
	}
	return nil
}

// judgeable refuses conditions that the validator, or the engine, would work on for more than a moment. They may come from a stranger, in a
// proposal that nobody has read yet, and neither can be stopped. The validator looks again and again at what an attribute is asked of, so a
// text of 700 bytes with attributes of conditionals or of records in each other takes years and all memory; and of everything that
// `has` was asked of it keeps a list, which it copies at every &&. Rules ask for attributes of principal, action, resource and context only.
func judgeable(conditions []ast.ConditionType) (err error) {
	operations := 0
	for _, c := range conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			long := 0
			switch n := n.(type) {
			case ast.NodeValue:
				if s, ok := n.Value.(cedar.String); ok {
					long = len(s)
				}
				operations-- // a long list is no work
			case ast.NodeTypeLike:
				long = len(n.Value.MarshalCedar())
			}
			if operations++; operations > limit.PolicyOperations {
				err = fmt.Errorf("it has more than %d operations; make several rules of it, or compare with a set", limit.PolicyOperations)
			} else if long > limit.Line {
				err = fmt.Errorf("it has a text of %d bytes, at most %d are allowed", long, limit.Line)
			} else if !plainAccess(n) {
				err = errors.New("it asks for an attribute of something else than principal, action, resource, context or what these have")
			}
			return err == nil
		})
	}
	return err
}

// plainAccess tells whether an attribute, if it is one, is asked of one of the four, or of an attribute of it.
func plainAccess(n ast.IsNode) bool {
	for in := 0; ; in++ {
		switch of := n.(type) {
		case ast.NodeTypeAccess:
			n = of.Arg
		case ast.NodeTypeHas:
			n = of.Arg
		case ast.NodeTypeVariable:
			return true
		default:
			return in == 0
		}
	}
}
