package policy

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"entente.example/internal/statement"
)

// set is a policy text that was parsed and checked: every rule has a name of its own, says why it denies and what it
// needs, and asks only for what the vocabulary knows. It never changes, so it may be used concurrently.
type set struct {
	name  string // base
	hash  statement.Hash
	rules []rule // in the order of the text
}

// rule is one permit or forbid.
type rule struct {
	id     string // @id
	reason string // @reason, with {placeholders}
	needs  string // @needs, with {placeholders}; a permit may have none
	policy *cedar.Policy
	// transient says that waiting may cure what the rule forbids (@transient is there, with whatever text).
	transient bool
}

func (r *rule) forbids() bool { return r.policy.Effect() == cedar.Forbid }

// parseSet reads a policy text. The text may come from a stranger: size and nesting are counted before it is parsed.
// known are the names of the placeholders that a rule may use. Errors name the file and the line.
func parseSet(name, text string, vocabulary *vocabulary, known map[string]string) (*set, error) {
	file := name + ".cedar"
	if err := bounded([]byte(text)); err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	list, err := cedar.NewPolicyListFromBytes(file, []byte(text))
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	s := &set{name: name, hash: statement.HashBytes([]byte(text))}
	for _, p := range list {
		notes := p.Annotations()
		r := rule{id: string(notes["id"]), reason: string(notes["reason"]), needs: string(notes["needs"]), policy: p}
		_, r.transient = notes["transient"]
		if err := s.check(r, vocabulary, known); err != nil {
			return nil, fmt.Errorf("parse %s, line %d: %w", file, p.Position().Line, err)
		}
		s.rules = append(s.rules, r)
	}
	if len(s.rules) == 0 {
		return nil, fmt.Errorf("parse %s: it has no rules, and so permits nothing", file)
	}
	return s, nil
}

// check judges one rule. The engine numbers rules by their place; names are ours, and so is the demand that they differ.
func (s *set) check(r rule, vocabulary *vocabulary, known map[string]string) error {
	if r.id == "" {
		return fmt.Errorf("the rule has no @id")
	}
	if err := statement.ValidName(r.id); err != nil {
		return fmt.Errorf("@id: %w", err)
	}
	if slices.ContainsFunc(s.rules, func(other rule) bool { return other.id == r.id }) {
		return fmt.Errorf("a second rule has the @id %q", r.id)
	}
	if r.reason == "" {
		return fmt.Errorf("rule %q has no @reason", r.id)
	}
	if r.needs == "" && r.forbids() {
		return fmt.Errorf("rule %q has no @needs", r.id)
	}
	for _, template := range []string{r.reason, r.needs} {
		if _, err := fill(template, known); err != nil {
			return fmt.Errorf("rule %q: %w", r.id, err)
		}
	}
	if err := vocabulary.check(r); err != nil {
		return fmt.Errorf("rule %q: %w", r.id, err)
	}
	return nil
}

// All gives the rules to the engine under their own names, in the order of the text.
func (s *set) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for i := range s.rules {
			if !yield(cedar.PolicyID(s.rules[i].id), s.rules[i].policy) {
				return
			}
		}
	}
}

// fill puts values into the {placeholders} of a template.
func fill(template string, values map[string]string) (string, error) {
	var b strings.Builder
	for rest := template; ; {
		before, after, found := strings.Cut(rest, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, tail, closed := strings.Cut(after, "}")
		value, ok := values[name]
		if !closed || !ok {
			return "", fmt.Errorf("%q uses the unknown placeholder {%s}", template, name)
		}
		b.WriteString(value)
		rest = tail
	}
}
