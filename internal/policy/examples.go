package policy

import (
	"embed"
	"slices"
	"strings"
)

//go:embed examples/*.cedar
var exampleFiles embed.FS

// Examples lists the rules that come with the program to begin with, by name.
func Examples() []string {
	entries, err := exampleFiles.ReadDir("examples")
	if err != nil {
		return nil // they are part of the program
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".cedar")
	}
	slices.Sort(names)
	return names
}

// Example gives the text of one; false if there is none of that name.
func Example(name string) (string, bool) {
	b, err := exampleFiles.ReadFile("examples/" + name + ".cedar")
	return string(b), err == nil
}
