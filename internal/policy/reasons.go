package policy

import (
	"fmt"

	"github.com/cedar-policy/cedar-go"

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
			found = append(found, finding{statement.Reason{Set: s.name, Rule: rule.id, Text: a.sentence(rule.reason), Needs: a.sentence(rule.needs)},
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

// nothing says why no rule of a set permits it.
func (a *asked) nothing(s *set) []finding {
	reason := statement.Reason{Set: s.name, Rule: ruleNothing, Text: a.sentence("no rule permits {stage} here"), Needs: "one of the stages release, accept, open and approve"}
	if s.name == setHouse {
		reason.Text, reason.Needs = a.sentence("the house rules of {self} permit nothing at the stage {stage}"), "a rule that permits it in policy/*.cedar of the home"
	}
	return []finding{{Reason: reason}}
}
