package policy

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// set is a policy text that was parsed and checked: every rule has a name of its own, says why it denies and what it
// needs, and asks only for what the vocabulary knows. It never changes, so it may be used concurrently.
type set struct {
	name  string // base
	rules []rule // in the order of the text
	// at has for each stage the rules that are about it, without asking for it again: that would be half of what a decision costs.
	at map[Stage]staged
}

// rule is one permit or forbid.
type rule struct {
	id     string // @id
	reason string // @reason, with {placeholders}
	needs  string // @needs, with {placeholders}; a permit may have none
	text   string // as it was written, with its annotations
	policy *cedar.Policy
	// transient says that waiting may cure what the rule forbids (@transient is there, with whatever text).
	transient bool
	// approval says that the approval of a second person lifts what the rule forbids (@approval is there, with whatever text).
	approval bool
}

func (r *rule) forbids() bool { return r.policy.Effect() == cedar.Forbid }

// parseSet reads a policy text. The text may come from a stranger: size and nesting are counted before it is parsed.
// known are the names of the placeholders that a rule may use. Errors name the file and the line.
func parseSet(name, text string, vocabulary *vocabulary, known map[string]string) (*set, error) {
	if line, err := bounded([]byte(text)); err != nil {
		return nil, wrongAt(name, text, line, err)
	}
	list, err := cedar.NewPolicyListFromBytes(name, []byte(text))
	if err != nil {
		line, words := syntaxError(err)
		return nil, wrongAt(name, text, line, errors.New("it is not Cedar: "+words))
	}
	s := &set{name: name, rules: make([]rule, 0, len(list))}
	seen := make(map[string]bool, len(list))
	for i, p := range list {
		notes, end := p.Annotations(), len(text)
		if i+1 < len(list) {
			end = list[i+1].Position().Offset
		}
		r := rule{id: string(notes["id"]), reason: string(notes["reason"]), needs: string(notes["needs"]), text: text[p.Position().Offset:end], policy: p}
		_, r.transient = notes["transient"]
		_, r.approval = notes["approval"]
		err := s.check(r, vocabulary, known)
		if err == nil && seen[r.id] {
			err = fmt.Errorf("a second rule has the @id %q", r.id)
		}
		if err != nil {
			return nil, wrongAt(name, text, p.Position().Line, err)
		}
		seen[r.id] = true
		s.rules = append(s.rules, r)
	}
	// House rules may be none: that is a member that permits nothing.
	if len(s.rules) == 0 && name != setHouse {
		return nil, wrongAt(name, text, 0, errors.New("it has no rules, and so permits nothing"))
	}
	s.at = make(map[Stage]staged, len(Stages))
	for _, stage := range Stages {
		s.at[stage] = s.about(stage)
	}
	return s, nil
}

// TextError is what is wrong with a policy text.
type TextError struct {
	Line  int    // in its set's text; 0: none
	Text  string // what is wrong there
	place string
}

func (e *TextError) Error() string { return e.place + ": " + e.Text }

func wrongAt(set, text string, line int, err error) error {
	return &TextError{line, clip(err.Error(), limit.PolicyError), place(set, text, line)}
}

// place names the file and the line of a place in a set's text. 0 is no line.
func place(set, text string, line int) string {
	file := set + ".cedar"
	switch set {
	case setHouse: // its text is several files, each behind its mark
		file = "the house rules"
		lines := strings.SplitAfterN(text, "\n", line+1)
		for i := min(line, len(lines)) - 1; i >= 0; i-- {
			if name, ok := strings.CutPrefix(lines[i], fileMark); ok {
				file, line = strings.TrimSuffix(name, "\n"), line-i-1
				break
			}
		}
	case setAgreement:
		file = "the agreement's policy"
	}
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s, line %d", file, line)
}

var syntaxPlace = regexp.MustCompile(`^(?:parser error: )*(?:parse error at )?[^ ]*?:([0-9]+):[0-9]+:? `)

// syntaxError takes the line out of what the parser says, and cuts the rest to something that people read.
func syntaxError(err error) (line int, words string) {
	words = err.Error()
	if m := syntaxPlace.FindStringSubmatchIndex(words); m != nil {
		line, _ = strconv.Atoi(words[m[2]:m[3]])
		words = words[m[1]:]
	}
	return line, clip(words, 200)
}

// check judges one rule. The engine numbers rules by their place; names are ours, and so is the demand that they differ.
func (s *set) check(r rule, vocabulary *vocabulary, known map[string]string) error {
	if r.id == "" {
		return fmt.Errorf("the rule has no @id")
	}
	if err := statement.ValidName(r.id); err != nil {
		return fmt.Errorf("@id: %w", err)
	}
	if r.reason == "" {
		return fmt.Errorf("rule %q has no @reason", r.id)
	}
	if r.needs == "" && r.forbids() {
		return fmt.Errorf("rule %q has no @needs", r.id)
	}
	if r.approval && !(r.forbids() && r.asksForApprover()) {
		return fmt.Errorf("rule %q has @approval, which is for a rule that forbids and ends with `unless { context has approver }`", r.id)
	}
	for _, template := range []string{r.reason, r.needs} {
		if at := strings.IndexFunc(template, func(c rune) bool { return c == utf8.RuneError || !unicode.IsPrint(c) }); at >= 0 {
			return fmt.Errorf("rule %q: %.80q contains an invisible or control character", r.id, template)
		}
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

// about gives the rules that are about a stage.
func (s *set) about(stage Stage) (list staged) {
	for i := range s.rules {
		if r := &s.rules[i]; r.isAbout(stage) {
			list = append(list, stagedRule{cedar.PolicyID(r.id), r.anywhere()})
		}
	}
	return list
}

// staged are the rules of a set that are about one stage.
type staged []stagedRule

type stagedRule struct {
	id     cedar.PolicyID
	policy *cedar.Policy
}

// All gives them to the engine, in the order of the text.
func (s staged) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for i := range s {
			if !yield(s[i].id, s[i].policy) {
				return
			}
		}
	}
}

// ask asks the rules of a set. A stage that does not exist is asked of all.
func (s *set) ask(request cedar.Request, entities cedar.EntityMap) (cedar.Decision, cedar.Diagnostic) {
	if at, ok := s.at[Stage(request.Action.ID)]; ok {
		return cedar.Authorize(at, entities, request)
	}
	return cedar.Authorize(s, entities, request)
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
