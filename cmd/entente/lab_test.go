package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"entente.example/internal/lab"
)

// TestLessons plays every lesson as a person does. A lesson that does not go as it is written fails.
func TestLessons(t *testing.T) {
	t.Parallel()
	lessons := lab.Lessons()
	if len(lessons) == 0 {
		t.Fatal("there is no lesson")
	}
	for _, l := range lessons {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "entente", "lab", "run", l.Name)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			// The prose up to the last line was shown.
			script, _, _ := strings.Cut(l.Text, "\n-- ")
			last := strings.TrimPrefix(script[strings.LastIndex(strings.TrimSpace(script), "\n")+1:], "# ")
			if !strings.Contains(string(out), strings.TrimSpace(last)) {
				t.Errorf("the lesson ended before %q\n%s", last, out)
			}
		})
	}
}

// TestLessonCanFail keeps the lessons honest.
func TestLessonCanFail(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("entente")
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"a check that does not hold":   "# Title\nentente version\nstdout 'not what it prints'\n",
		"a command that fails":         "# Title\nentente card --home nowhere\n",
		"a command that does not fail": "# Title\n! entente version\n",
		"another exit code":            "# Title\nexits 3 entente card --home nowhere\n",
		"an unknown command":           "# Title\nteleport alpha\n",
		"an early end":                 "# Title\nentente version\nstop\nentente version\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.Lesson{Name: "wrong", Text: script}
			if err := l.Play(t.Context(), program, func(lab.Line) {}); err == nil {
				t.Error("the lesson passed")
			}
		})
	}
}
