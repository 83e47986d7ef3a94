package policy

import (
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"

	"entente.example/internal/limit"
)

// nest is an expression inside n brackets in all, counting the condition's own brace as none.
func nest(n int) string { return strings.Repeat("(", n) + "true" + strings.Repeat(")", n) }

func TestBounded(t *testing.T) {
	t.Parallel()
	ifs := func(n int) string { return strings.Repeat("if true then true else ", n) + "true" }
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"empty":                        {"", true},
		"64 deep":                      {nest(64), true},
		"65 deep":                      {nest(65), false},
		"1,000 deep":                   {nest(1000), false},
		"1 MB deep":                    {nest(1 << 19), false},
		"1 MB of opening parentheses":  {strings.Repeat("(", 1<<20), false},
		"64 KiB":                       {strings.Repeat(" ", 64<<10), true},
		"64 KiB and a byte":            {strings.Repeat(" ", 64<<10+1), false},
		"64 brackets":                  {strings.Repeat("[", 64) + strings.Repeat("]", 64), true},
		"65 brackets":                  {strings.Repeat("[", 65) + strings.Repeat("]", 65), false},
		"65 of all kinds":              {strings.Repeat("([{", 21) + "((", false},
		"64 conditionals":              {ifs(64), true},
		"65 conditionals":              {ifs(65), false},
		"conditionals side by side":    {"[" + strings.Repeat(ifs(60)+", ", 20) + "true]", true},
		"conditionals in two rules":    {ifs(60) + ";" + ifs(60) + ";", true},
		"conditionals and brackets":    {strings.Repeat("(if ", 33), false},
		"words that begin with if":     {strings.Repeat("iffy _if if1 ", 100), true},
		"wide, not deep":               {strings.Repeat("()[]{}", 1000), true},
		"closed too often":             {strings.Repeat(")", 1000) + nest(64), true},
		"closed too often, then 65":    {strings.Repeat(")", 1000) + nest(65), false},
		"in a string":                  {`"` + nest(1000) + `"`, true},
		"after a string":               {`"\"" ` + nest(65), false},
		"after an escaped backslash":   {`"\\" ` + nest(65), false},
		"closed in a string":           {strings.Repeat(`( ")" `, 65), false},
		"in a line comment":            {"// " + nest(1000) + "\n", true},
		"after a line comment":         {"// \"\n" + nest(65), false},
		"in a block comment":           {"/* " + nest(1000) + " */", true},
		"after a block comment":        {"/* \" */" + nest(65), false},
		"a block comment of slashes":   {"/*/ " + nest(1000) + " */", true},
		"closed in a comment":          {strings.Repeat("( /*)*/", 65), false},
		"slash at the end":             {"/", true},
		"comment without end":          {"/* (", true},
		"string without end":           {`" (`, true},
		"string that ends in a escape": {`"\`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := bounded([]byte(c.text)); (err == nil) != c.ok {
				t.Errorf("error %v, expected ok = %v", err, c.ok)
			}
		})
	}
}

// What the bounds let through costs the engine little, in the shapes that need no brackets at all too.
func TestWorstThatIsLetThrough(t *testing.T) {
	t.Parallel()
	fit := func(unit string) int { return (limit.Policy - 200) / len(unit) }
	for name, expression := range map[string]string{
		"brackets":     nest(62),
		"nots":         strings.Repeat("!", fit("!")) + "true",
		"minuses":      strings.Repeat("-", fit("-")) + "1 == 1",
		"sums":         strings.Repeat("1+", fit("1+")) + "1 == 1",
		"ands":         strings.Repeat("true&&", fit("true&&")) + "true",
		"accesses":     "context" + strings.Repeat(".a", fit(".a")),
		"conditionals": strings.Repeat("if true then true else ", 62) + "true",
		"path":         "A" + strings.Repeat("::a", fit("::a")) + `::"x" == principal`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := permitAll + " when { " + expression + " };"
			if _, err := bounded([]byte(text)); err != nil {
				t.Fatal(err)
			}
			list, err := cedar.NewPolicyListFromBytes("test", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			set := cedar.NewPolicySet()
			set.Add("all", list[0])
			_, _ = cedar.Authorize(set, nil, cedar.Request{})
			if _, err := parseTest(text); err != nil && len(err.Error()) > 4*limit.Policy {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// FuzzParseSet looks for a text that gets past the bounds and then brings the parser down.
func FuzzParseSet(f *testing.F) {
	f.Add(baseText)
	f.Add(permitAll + " when { " + nest(64) + " };")
	f.Add(`@id("a") @reason("b {label}") permit (principal is Node, action == Action::"accept", resource) when { resource.to.contains("x") } unless { context.latest > resource.created };`)
	f.Add(permitAll + ` unless { if "a" like "*" then [1, {a: -1}] == context else principal has "b" };`)
	h := newHistory(f, "alpha", "bravo", "charlie")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseTest(text)
		if (s == nil) != (err != nil) {
			t.Fatalf("set %v, error %v", s, err)
		}
		if err == nil && len(decide(&compiled{set: s, name: setBase}, Request{Stage: Accept}).Record) == 0 {
			t.Error("no record")
		}
		if err == nil { // then an agreement may have it, and whatever it says must fit into a receipt and a record
			r := good(h, Accept)
			r.Agreement.Policy = text
			checked(t, r)
		}
	})
}
