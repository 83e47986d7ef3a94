package lab_test

import (
	"strings"
	"testing"

	"entente.example/internal/lab"
)

// TestLessonCanFail keeps the lessons honest. A lesson that is right passes, so that the others do not fail for another reason; and each says why.
func TestLessonCanFail(t *testing.T) {
	t.Parallel()
	program := build(t)
	for name, l := range map[string]struct{ script, why string }{
		"right":                        {"# Title\nentente version\nstdout .\n! entente card --home nowhere\nexits 2 entente teleport\n", ""},
		"a check that does not hold":   {"# Title\nentente version\nstdout 'not what it prints'\n", "no match for"},
		"a command that fails":         {"# Title\nentente card --home nowhere\n", "entente ended with exit code 1"},
		"a command that does not fail": {"# Title\n! entente version\n", "entente ended with exit code 0"},
		"another exit code":            {"# Title\nexits 3 entente card --home nowhere\n", "exit code 1, expected 3"},
		"an unknown command":           {"# Title\nteleport alpha\n", "unknown command"},
		"an early end":                 {"# Title\nentente version\nstop\nentente version\n", "ended before"},
		"homes without evidence":       {"# Title\nentente version\n-- world/alpha/entente.toml --\nnothing\n", "not every exchange can be proved"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var shown strings.Builder
			err := lab.Lesson{Name: "wrong", Text: l.script}.Play(t.Context(), program, func(l lab.Line) { shown.WriteString(l.Text + "\n") })
			if err != nil {
				shown.WriteString(err.Error())
			}
			if (err != nil) != (l.why != "") || !strings.Contains(shown.String(), l.why) {
				t.Errorf("%v, want %q\n%s", err, l.why, shown.String())
			}
		})
	}
}
