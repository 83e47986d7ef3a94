package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var founders = []string{"alpha", "bravo", "charlie"}

// TestFoundingProcedure runs docs/founding.md: every block of it, on the machine that it names, with a mail to everybody after
// it and a "y" at the terminal where the program asks. A machine is a folder and a HOME of its own.
func TestFoundingProcedure(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/founding.md")
	if err != nil {
		t.Fatal(err)
	}
	script, commands := foundingScript(t, string(text))
	if commands < 15 {
		t.Fatalf("docs/founding.md has only %d commands in its blocks", commands)
	}
	file := filepath.Join(t.TempDir(), "founding.txtar")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Files: []string{file}, Cmds: scriptCommands(), Setup: setup, Condition: condition, RequireExplicitExec: true})
}

// foundingScript turns the blocks into a script. They are plain commands, without anything of a shell but line continuation.
func foundingScript(t *testing.T, text string) (script string, commands int) {
	var b strings.Builder
	for _, m := range founders {
		fmt.Fprintf(&b, "mkdir %s %s/home\n", m, m)
	}
	for i, block := range strings.Split(text, "```") {
		if i%2 == 0 {
			continue
		}
		first, body, _ := strings.Cut(block, "\n")
		machine, ok := strings.CutPrefix(first, "sh ")
		if !ok || !slices.Contains(founders, machine) {
			t.Fatalf("a block begins with %q; which machine is it for?", first)
		}
		fmt.Fprintf(&b, "\ncd $WORK/%s\nenv HOME=$WORK/%s/home\n", machine, machine)
		for line := range strings.Lines(strings.ReplaceAll(body, "\\\n", " ")) {
			if strings.Contains(line, "charter sign") {
				b.WriteString("ttyin -stdin $WORK/yes\n")
			}
			fmt.Fprintf(&b, "exec %s\n", strings.TrimSpace(line))
			commands++
		}
		b.WriteString("cd $WORK\nmail " + machine)
		for _, m := range founders {
			if m != machine {
				b.WriteString(" " + m)
			}
		}
		b.WriteString("\n")
	}
	// Now all three are in the same alliance.
	b.WriteString("\nenv HOME=$WORK/alpha/home\nexec entente charter show --json\ncapture charter '\"sha256\":\"([0-9a-f]+)\"'\n")
	for _, m := range founders {
		fmt.Fprintf(&b, "env HOME=$WORK/%s/home\nexec entente charter show --json\nstdout $charter\nstdout '\"self\":\"%s\"'\n", m, m)
	}
	b.WriteString("\n-- yes --\ny\n")
	return b.String(), commands
}
