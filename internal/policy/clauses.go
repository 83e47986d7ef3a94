package policy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
)

// Here rules are taken apart, to say which of their clauses is not fulfilled, and what it was asked of. The engine itself only says that a
// permit did not apply. Like vocabulary.go this rests on packages that their authors call experiments.

// asksForApprover tells whether a rule looks for an approver; without that, none could lift it.
func (r *rule) asksForApprover() (asks bool) {
	for _, c := range r.policy.AST().Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if has, ok := n.(ast.NodeTypeHas); ok && has.Value == "approver" {
				asks = true
			}
			return !asks
		})
	}
	return asks
}

// isAbout tells whether a rule can apply at a stage. What the scope says otherwise is asked when it is decided.
func (r *rule) isAbout(stage Stage) bool {
	action := cedar.NewEntityUID("Action", cedar.String(stage))
	switch scope := r.policy.AST().Action.(type) {
	case ast.ScopeTypeEq:
		return scope.Entity == action
	case ast.ScopeTypeIn:
		return scope.Entity == action // no action is part of another
	case ast.ScopeTypeInSet:
		return slices.Contains(scope.Entities, action)
	}
	return true
}

// anywhere is the rule without its action.
func (r *rule) anywhere() *cedar.Policy {
	p := *r.policy.AST()
	p.Action = ast.ScopeTypeAll{}
	return cedar.NewPolicyFromAST(&p)
}

// clause is a `when` or an `unless` of a rule.
type clause struct {
	when bool
	text string // between the braces, on one line and without comments
	body ast.IsNode
}

// clauses gives a rule's clauses, whose text is taken from the policy as it was written.
func (r *rule) clauses() []clause {
	var list []clause
	texts := clauseTexts(r.text)
	for i, c := range r.policy.AST().Conditions {
		k := clause{when: bool(c.Condition), body: c.Body}
		if i < len(texts) {
			k.text = texts[i]
		}
		list = append(list, k)
	}
	return list
}

// clauseTexts finds what stands between the outermost braces of one rule: its clauses, in their order.
func clauseTexts(text string) (list []string) {
	var b strings.Builder
	depth := 0
	b.Grow(len(text))
	for i := 0; i < len(text); {
		n := 1
		switch {
		case text[i] == '"':
			n = stringLength([]byte(text[i:]))
		case strings.HasPrefix(text[i:], "//"):
			i += commentLength([]byte(text[i:]))
			b.WriteByte(' ')
			continue
		case text[i] == '{':
			if depth++; depth == 1 {
				b.Reset()
				i++
				continue
			}
		case text[i] == '}':
			if depth--; depth == 0 {
				list = append(list, strings.Join(strings.Fields(b.String()), " "))
			}
		}
		b.WriteString(text[i : i+n])
		i += n
	}
	return list
}

// applies tells whether a rule is about the stage, and whether it is about who acts on what.
func (a *asked) applies(r *rule) (stage, scope bool) {
	p := ast.Policy(*r.policy.AST())
	p.Conditions = nil
	v, err := eval.Eval(eval.PolicyToNode(&p).AsIsNode(), a.env())
	return r.isAbout(a.Stage), err == nil && v == cedar.Boolean(true)
}

func (a *asked) env() eval.Env {
	return eval.Env{Principal: a.request.Principal, Action: a.request.Action, Resource: a.request.Resource, Context: a.request.Context, Entities: a.entities}
}

// fulfilled tells whether a clause lets its rule apply.
func (a *asked) fulfilled(c clause) bool {
	v, err := eval.Eval(c.body, a.env())
	return err == nil && v == cedar.Boolean(c.when)
}

// mostValues bounds the values that are named beside a clause, and longestClause its text, so that a reason stays readable.
const (
	mostValues    = 6
	longestClause = 300
)

// here says what a clause looks at is in this request: `resource.purpose is exercise`. Each thing is named once.
func (a *asked) here(clauses ...clause) string {
	var list []string
	add := func(s string) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	for _, c := range clauses {
		ast.Inspect(ast.NewNode(c.body), func(n ast.IsNode) bool {
			name, ok := path(n)
			if !ok {
				return true
			}
			v, err := eval.Eval(n, a.env())
			_, has := n.(ast.NodeTypeHas)
			switch {
			case has && err == nil && v == cedar.Boolean(true): // then its value is what matters, and it is named where it is looked at
			case has || err != nil:
				add("there is no " + strings.Replace(name, " has ", ".", 1))
			default:
				add(name + " is " + shown(v))
			}
			return false
		})
	}
	if rest := len(list) - mostValues; rest > 0 {
		list = append(list[:mostValues], "and "+strconv.Itoa(rest)+" more")
	}
	return strings.Join(list, ", ")
}

// path names what an expression looks at, if that is a plain chain of attributes: context.agreement.version.
func path(n ast.IsNode) (string, bool) {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		return string(n.Name), true
	case ast.NodeTypeAccess:
		of, ok := path(n.Arg)
		return of + "." + word(string(n.Value)), ok
	case ast.NodeTypeHas:
		of, ok := path(n.Arg)
		return of + " has " + word(string(n.Value)), ok
	}
	return "", false
}

// shown writes a value for people.
func shown(v cedar.Value) string {
	switch v := v.(type) {
	case cedar.String:
		return word(string(v))
	case cedar.Datetime:
		return moment(v.Time())
	case cedar.Duration:
		if day := int64(24 * 60 * 60 * 1000); v.ToMilliseconds()%day == 0 {
			return strconv.FormatInt(v.ToDays(), 10) + " days"
		}
		return v.String()
	case cedar.EntityUID:
		return word(string(v.ID))
	case cedar.Set:
		var list []string
		for e := range v.All() {
			list = append(list, shown(e))
		}
		slices.Sort(list)
		return words(list)
	case cedar.Boolean:
		if v {
			return "true"
		}
		return "false"
	}
	return word(v.String())
}
