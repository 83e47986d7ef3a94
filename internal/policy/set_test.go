package policy

import (
	"slices"
	"strings"
	"testing"

	"entente.example/internal/limit"
)

const permitAll = `@id("all") @reason("r") permit (principal, action, resource)`

func parseTest(text string) (*set, error) {
	v, err := parseVocabulary("base.cedarschema", vocabularyText)
	if err != nil {
		return nil, err
	}
	return parseSet("test", text, v, values(Request{}))
}

func TestBaseLoads(t *testing.T) {
	t.Parallel()
	if err := Check(); err != nil {
		t.Fatal(err)
	}
	base := mustLoad(t)
	var permits []string
	for _, r := range base.rules {
		if !r.forbids() {
			permits = append(permits, r.id)
		}
	}
	if want := []string{"release", "accept", "open", "approve"}; !slices.Equal(permits, want) {
		t.Errorf("permits are %v, expected one for each stage, %v", permits, want)
	}
	if len(base.rules) < 20 {
		t.Errorf("%d rules", len(base.rules))
	}
}

// A rule that covers fewer stages than it should is a hole that the decision table cannot see, for it asks the rules.
func TestStages(t *testing.T) {
	t.Parallel()
	crossing, recipient, sender := []Stage{Release, Accept, Approve}, []Stage{Accept, Open}, []Stage{Release, Approve}
	acting := []Stage{Release, Approve, Open}
	limited := map[string][]Stage{
		"release": {Release}, "accept": {Accept}, "open": {Open}, "approve": {Approve},
		"role-releaser": {Release}, "role-reader": {Open}, "role-approver": {Approve}, "not-your-own": {Approve}, "cleared": acting, "trained": acting, "another-approver": {Release},
		"releaser-named": {Release}, "sender-here": sender, "recipient-here": recipient,
		"sender-standing": crossing, "recipients-standing": sender, "own-standing": recipient,
		"agreement-superseded": crossing, "agreement-begun": crossing, "agreement-ended": crossing,
		"sender-withdrawn": crossing, "recipients-withdrawn": sender, "own-withdrawn": {Accept}, "two-keys": {Release}, "approved": {Accept},
		"created-before-now": crossing, "deadline": crossing, "retention-ended": {Open},
	}
	for _, r := range mustLoad(t).rules {
		want, ok := limited[r.id]
		if !ok {
			want = []Stage{Release, Accept, Open, Approve}
		}
		if got := stages(t, r); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("rule %s covers %v, expected %v", r.id, got, want)
		}
	}
}

func TestParseSetRefuses(t *testing.T) {
	t.Parallel()
	const forbid = ` forbid (principal, action, resource);`
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                {"", "has no rules"},
		"only a comment":         {"// permit all\n", "has no rules"},
		"no id":                  {`@reason("r") @needs("n")` + forbid, "line 1: the rule has no @id"},
		"empty id":               {`@id("") @reason("r") @needs("n")` + forbid, "the rule has no @id"},
		"id without value":       {`@id @reason("r") @needs("n")` + forbid, "the rule has no @id"},
		"id that is no word":     {`@id("Two words") @reason("r") @needs("n")` + forbid, "@id: name"},
		"id twice":               {permitAll + ";\n" + permitAll + ";", `line 2: a second rule has the @id "all"`},
		"id twice in one rule":   {`@id("a") @id("b") @reason("r") @needs("n")` + forbid, "duplicate annotation"},
		"no reason":              {`@id("a") @needs("n")` + forbid, `rule "a" has no @reason`},
		"no needs":               {`@id("a") @reason("r")` + forbid, `rule "a" has no @needs`},
		"unknown placeholder":    {`@id("a") @reason("{colour}") @needs("n")` + forbid, "unknown placeholder {colour}"},
		"unclosed placeholder":   {`@id("a") @reason("r") @needs("{label")` + forbid, "unknown placeholder {label}"},
		"misspelt attribute":     {permitAll + ` when { resource.lable == "x" };`, "lable"},
		"optional not asked for": {permitAll + ` when { resource.level < 3 };`, "level"},
		"unlike things added":    {permitAll + ` when { resource.label + 1 == 3 };`, "type"},
		"unknown action":         {`@id("a") @reason("r") permit (principal, action == Action::"export", resource);`, "export"},
		"unknown principal":      {`@id("a") @reason("r") permit (principal is Robot, action, resource);`, "Robot"},
		"not Cedar":              {"permit everything;", "it is not Cedar"},
		"not UTF-8":              {permitAll + ` when { resource.label == "` + "\xff" + `" };`, "UTF-8"},
		"too deep":               {permitAll + " when { " + nest(65) + " };", "nested more than 64 deep"},
		"too large":              {permitAll + ";" + strings.Repeat(" ", limit.Policy), "at most 65536 are allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := parseTest(c.text)
			if err == nil || s != nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "test.cedar") {
				t.Errorf("error %v, expected one that says %q", err, c.want)
			}
		})
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	known := map[string]string{"a": "{b}", "b": "2", "empty": ""}
	for template, want := range map[string]string{
		"": "", "plain": "plain", "{b}": "2", "<{b}{b}>": "<22>", "{a} stays": "{b} stays", "x{empty}y": "xy", "lone } stays": "lone } stays",
	} {
		if got, err := fill(template, known); err != nil || got != want {
			t.Errorf("%q gives %q, %v; expected %q", template, got, err, want)
		}
	}
	for _, template := range []string{"{", "{b", "{c}", "{}", "{{b}}", "{ b }"} {
		if got, err := fill(template, known); err == nil {
			t.Errorf("%q gives %q", template, got)
		}
	}
}
