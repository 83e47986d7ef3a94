package main

import (
	"os"
	"strings"
	"testing"
)

// TestBothImagesAreAlike compares the two stages of the Dockerfile that may end as an image: they differ in where the
// program comes from, and in nothing else. What is built without a registry is what others get.
func TestBothImagesAreAlike(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	rest := func(stage string) string {
		_, after, ok := strings.Cut(string(text), "FROM scratch AS "+stage+"\nCOPY ")
		_, after, found := strings.Cut(after, " /bin/entente\n")
		if !ok || !found {
			t.Fatalf("the Dockerfile has no stage %s from scratch that begins with the program", stage)
		}
		after, _, _ = strings.Cut(after, "\nFROM ")
		return strings.TrimSpace(after)
	}
	if a, b := rest("prebuilt"), rest("entente"); a != b || !strings.Contains(a, "USER 65532:65532") {
		t.Errorf("two different images:\n%s\n\n%s", a, b)
	}
}
