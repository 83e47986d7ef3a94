package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestEveryCommandTeaches wants of every command a short and a long explanation, an example that calls it, and the fields
// of its JSON, unless it only holds others.
func TestEveryCommandTeaches(t *testing.T) {
	t.Parallel()
	seen := 0
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		seen++
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s: Short, Long or Example is missing", c.CommandPath())
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: its example does not call it", c.CommandPath())
		}
		if !c.HasSubCommands() && !strings.Contains(c.Long, "--json") {
			t.Errorf("%s: its help does not say what --json prints", c.CommandPath())
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if len([]rune(line)) > 82 {
				t.Errorf("%s: a line of its help is too long for a terminal: %s", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newProgram().root())
	if seen < 30 {
		t.Errorf("only %d commands were seen", seen)
	}
}
