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
