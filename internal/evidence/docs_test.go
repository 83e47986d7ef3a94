package evidence

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the example again")

// TestDocs keeps the example what the program makes, and what docs/formats/evidence.md shows of it. A second implementation can verify
// testdata/example.txt; its alliance's founding charter has the hash that the part `evidence` names.
// `go test ./internal/evidence -run TestDocs -update` writes both.
func TestDocs(t *testing.T) {
	w := newWorld(t, "alpha", "bravo", "charlie")
	s := w.usual()
	s.content = true
	raw := w.build(w.tell(s))
	example := filepath.Join("testdata", "example.txt")
	doc := filepath.Join("..", "..", "docs", "formats", "evidence.md")
	text, err := os.ReadFile(doc)
	must(t, err)
	v := Verify(raw, w.options())
	for mark, want := range map[string]string{"```text\n": shortened(raw), "```verdict\n": v.Text()} {
		before, rest, ok := strings.Cut(string(text), "\n"+mark)
		shown, after, closed := strings.Cut(rest, "```\n")
		if !ok || !closed {
			t.Fatalf("%s has no example behind %q", doc, mark)
		}
		if *update {
			text = []byte(before + "\n" + mark + want + "```\n" + after)
		} else if shown != want {
			t.Errorf("%s shows\n%s\nwant\n%s", doc, shown, want)
		}
	}
	if *update {
		must(t, os.WriteFile(doc, text, 0o644))
		must(t, os.WriteFile(example, raw, 0o644))
	}
	if kept, err := os.ReadFile(example); err != nil || !bytes.Equal(kept, raw) {
		t.Errorf("%s is not what the program makes: %v", example, err)
	}
}

// shortened shows the names of all parts, the first one in full, and of the others no more than the first two lines.
func shortened(raw []byte) string {
	var b strings.Builder
	lines, full := 0, false
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "-- ") {
			lines, full = -1, line == "-- evidence --\n"
		}
		if lines++; full || lines < 2 {
			if r := []rune(line); len(r) > 120 {
				line = string(r[:119]) + "…\n"
			}
			b.WriteString(line)
		}
		if !full && lines == 2 {
			b.WriteString("…\n")
		}
	}
	return b.String()
}
