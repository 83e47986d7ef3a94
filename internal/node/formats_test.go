package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The example in docs/formats/founding.md is a founding file.
func TestFoundingFormat(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", "founding.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "\n```text\n")
	example, _, _ := strings.Cut(rest, "```\n")
	f, err := ReadFounding([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Founders) != 2 || f.Founders[0].Signed {
		t.Errorf("founders %+v, want two that have not signed", f.Founders)
	}
	for _, founder := range f.Founders {
		if !strings.Contains(string(doc), founder.Fingerprint) {
			t.Errorf("the document does not say %s's fingerprint %s", founder.Name, founder.Fingerprint)
		}
	}
}
