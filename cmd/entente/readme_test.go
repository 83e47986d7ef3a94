package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReadmeCommands wants two commands in README.md and runs the first, as whoever has just cloned the repository does.
// The second is what runs this.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for line := range strings.Lines(string(text)) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	if want := []string{"go run ./cmd/entente demo", "go test ./..."}; !slices.Equal(commands, want) {
		t.Fatalf("README.md has the commands %q, and this test knows %q", commands, want)
	}
	first := strings.Fields(commands[0])
	cmd := exec.CommandContext(t.Context(), first[0], first[1:]...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", commands[0], err, out)
	}
	if steps := strings.Count("\n"+string(out), "\nok "); steps < 9 || strings.Contains(string(out), "FAIL") {
		t.Errorf("%s shows %d steps:\n%s", commands[0], steps, out)
	}
}
