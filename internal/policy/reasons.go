package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// explain turns the engine's diagnostic about one set into reasons, in the order of the rules.
func (a *asked) explain(s *set, diagnostic cedar.Diagnostic, verdict cedar.Decision) (found []finding, failures []string) {
	failed := map[cedar.PolicyID]bool{}
	for _, e := range diagnostic.Errors {
		failed[e.PolicyID] = true
		failures = append(failures, fmt.Sprintf("%s/%s: %s", s.name, e.PolicyID, e.Message))
	}
	violated := map[cedar.PolicyID]bool{}
	if verdict == cedar.Deny {
		for _, reason := range diagnostic.Reasons {
			violated[reason.PolicyID] = true
		}
	}
	for i := range s.rules {
		rule := &s.rules[i]
		id := cedar.PolicyID(rule.id)
		switch {
		case failed[id]:
			// What exactly failed is for the record: the other side learns only that it did.
			found = append(found, finding{Reason: statement.Reason{Set: s.name, Rule: rule.id,
				Text:  "rule " + rule.id + " could not be evaluated, and what cannot be judged is not permitted",
				Needs: "a policy whose rules can all be evaluated; the decision record says what failed"}})
		case violated[id]:
			found = append(found, finding{statement.Reason{Set: s.name, Rule: rule.id, Text: a.forbids(s, rule), Needs: a.sentence(rule.needs)},
				rule.transient, rule.approval})
		}
	}
	if len(found) == 0 {
		found = a.nothing(s)
	}
	return found, failures
}

// sentence fills in the values.
func (a *asked) sentence(template string) string {
	if a.filled == nil {
		a.filled = values(a.Request)
	}
	return sentence(template, a.filled)
}

// forbids says why a rule forbids it. The base rules name the values in their sentences; where others do not, they are added.
func (a *asked) forbids(s *set, r *rule) string {
	text := a.sentence(r.reason)
	if s.name == setBase || strings.Contains(r.reason, "{") {
		return text
	}
	if here := a.here(r.clauses()...); here != "" {
		text += " (" + here + ")"
	}
	return clip(text, limit.Line)
}

// nothing says why no rule of a set permits it: for each permit of this stage the clauses that are not fulfilled, and what they were
// asked of.
func (a *asked) nothing(s *set) (found []finding) {
	for i := range s.rules {
		r := &s.rules[i]
		if r.forbids() {
			continue
		}
		stage, scope := a.applies(r)
		if !stage {
			continue
		}
		f := finding{Reason: statement.Reason{Set: s.name, Rule: r.id, Needs: a.sentence(r.needs)}}
		text, needs := "not permitted by the rule "+strconv.Quote(a.sentence(r.reason)), ""
		if !scope {
			text, needs = text+", which is not about "+shown(a.request.Principal)+" and this document", "somebody or something else, whom that rule is about"
		}
		var failed []clause
		for _, c := range r.clauses() {
			if a.fulfilled(c) {
				continue
			}
			failed = append(failed, c)
			asks := clip(c.text, longestClause)
			if !c.when {
				asks = "not " + asks
			}
			if needs != "" {
				needs += "; and "
			}
			needs += asks
		}
		if len(failed) > 0 {
			text += ", which asks for " + needs
			if here := a.here(failed...); here != "" {
				text += "; but " + here
			}
		}
		f.Text = clip(text, limit.Line)
		if f.Needs == "" {
			f.Needs = clip(needs, limit.Line)
		}
		found = append(found, f)
	}
	if len(found) > 0 {
		return found
	}
	reason := statement.Reason{Set: s.name, Rule: ruleNothing, Text: a.sentence("no rule permits {stage} here"), Needs: "one of the stages release, accept, open and approve"}
	switch s.name {
	case setHouse:
		reason.Text = a.sentence("no house rule of {self} permits anything at the stage {stage}")
		reason.Needs = "a rule that permits it, in a file policy/*.cedar of the home; entente policy example permit-all prints one"
	case setAgreement:
		reason.Text = a.sentence("no rule of agreement {agreement} permits anything at the stage {stage}")
		reason.Needs = "a version of the agreement whose policy permits it"
	}
	return []finding{{Reason: reason}}
}
