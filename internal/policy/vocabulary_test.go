package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"entente.example/internal/limit"
)

// TestHostileTextsAreJudgedAtOnce gives texts that a stranger may propose. Without a bound on what is asked, the validator works on the
// first three for hours or years, in a transaction of the database, and takes all memory.
func TestHostileTextsAreJudgedAtOnce(t *testing.T) {
	t.Parallel()
	nested := func(n int, around string) string {
		e := "context"
		for range n {
			e = fmt.Sprintf(around, e)
		}
		return e + ".agreement.ceiling == 1"
	}
	asked := make([]string, 3000)
	for i := range asked {
		asked[i] = fmt.Sprintf("{a%d:1} has a%d", i, i)
	}
	const foreign, many, long = "asks for an attribute of something else", "more than 512 operations", "at most 1024 are allowed"
	for name, c := range map[string]struct{ condition, want string }{
		"attributes of records":      {nested(60, "{x: context, y: %s.agreement.ceiling}.x"), foreign},
		"attributes of conditionals": {nested(31, "(if %s.agreement.ceiling == 1 then context else context)"), foreign},
		"records that have":          {strings.Join(asked, " && "), ""},
		"sums of texts":              {strings.Repeat(`""+`, 20000) + "1 == 1", many},
		"conjunctions":               {strings.Repeat("true && ", 7000) + "true", many},
		"attributes of attributes":   {"context" + strings.Repeat(`["a"]`, 12000) + " == 1", many},
		"a long text":                {`"` + strings.Repeat("a", limit.Line+1) + `" == resource.label`, long},
		"a long pattern":             {`resource.label like "*` + strings.Repeat("a", limit.Line) + `"`, long},
		"a long set":                 {"[" + strings.Repeat("1, ", 20000) + "1].contains(1)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := make(chan error, 1)
			go func() {
				_, err := parseTest(`@id("a") @reason("r") permit (principal, action, resource) when { ` + c.condition + ` };`)
				done <- err
			}()
			select {
			case err := <-done:
				if name == "a long set" {
					if err != nil {
						t.Error(err)
					}
				} else if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, expected %q", err, c.want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it is still being judged")
			}
		})
	}
}

// What is said about a text stays a sentence, whatever names stand in it.
func TestErrorsAboutPoliciesAreShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 50000)
	for name, text := range map[string]string{
		"attribute":   `@id("a") @reason("r") permit (principal, action, resource) when { context.` + long + ` == 1 };`,
		"entity type": `@id("a") @reason("r") permit (principal, action, resource) when { principal == ` + long + `::"a" };`,
		"placeholder": `@id("a") @reason("{` + long + `}") permit (principal, action, resource);`,
		"record":      `@id("a") @reason("r") permit (principal, action, resource) when { {` + long + `: 1} == {y: 1} };`,
		"id":          `@id("` + long + `") @reason("r") permit (principal, action, resource);`,
	} {
		if _, err := parseTest(text); err == nil || len(err.Error()) > limit.PolicyError+100 {
			t.Errorf("%s: %.500v", name, err)
		}
	}
}
