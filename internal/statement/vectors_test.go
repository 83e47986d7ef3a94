package statement_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/statement"
)

var update = flag.Bool("update", false, "write the vectors and the examples in docs/formats anew")

const vectorsDir = "testdata/vectors"

// vector is one file: a head of `name: value` lines, an empty line, and the statement. docs/formats/statement.md describes it.
type vector struct {
	name   string // the file, without .txt
	what   string
	kind   statement.Kind
	keys   []string // verifier keys, or "own" to open it as self-signed
	expect string   // "ok", or a tag of tags; "field NAME" says that NAME has a value out of bounds
	raw    string
}

// tags are the kinds of failure: how a vector names it, and how the error reads.
var tags = map[string]string{
	"size":           `it has \d+ bytes, at most \d+ are allowed`,
	"unsigned":       `it is not signed`,
	"cut-off":        `its last line is cut off`,
	"line-form":      `signature line \d+ is not of the form`,
	"line-name":      `signature line \d+ names the key .*, which is not of the form MEMBER/PURPOSE`,
	"line-base64":    `signature line \d+, .*, is not in canonical base64`,
	"line-length":    `signature line \d+, .*, has \d+ bytes, expected 68`,
	"line-order":     `signature lines are not sorted by name without repetition`,
	"line-count":     `it has \d+ signature lines, at most 64 are allowed`,
	"unknown-signer": `it carries a signature by the unknown key`,
	"bad-signature":  `invalid signature for key`,
	"signers":        `it is signed by \[.*\], and must be signed by \[.*\]`,
	"utf8":           `line \d+: not valid UTF-8`,
	"character":      `line \d+: (policy: )?contains the invisible or control character U\+`,
	"dash":           `line \d+: a line of text must not look like a signature`,
	"type":           `line 1: expected "entente\.example/[a-z]+/v1"`,
	"comment":        `line \d+: comments are not allowed`,
	"line":           "line \\d+: not of the form `key = value`",
	"value":          `line \d+: not a value in its one form`,
	"unknown-field":  `line \d+: unknown key`,
	"wrong-type":     `line \d+: .* has a value of another type`,
	"hash":           `line \d+: .* is not a SHA-256 in 64 lower-case hex digits`,
	"twice":          `line \d+: .*(is already defined|already exists)`,
	"rendering":      `line \d+: not the one rendering of what it says`,
	"sections":       `line \d+: (a [a-z]+ has no sections|after the terms comes)`,
}

func (v *vector) format() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "what: %s\nkind: %s\n", v.what, v.kind)
	for _, k := range v.keys {
		fmt.Fprintf(&b, "key: %s\n", k)
	}
	fmt.Fprintf(&b, "expect: %s\n", v.expect)
	if v.expect == "ok" {
		h, err := statement.HashOf([]byte(v.raw))
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "sha256: %s\n", h)
		if core, _, ok := strings.Cut(v.raw, "\n[content]\n"); ok && v.kind == statement.KindManifest {
			fmt.Fprintf(&b, "core: %s\n", statement.HashBytes([]byte(core+"\n")))
		}
	}
	b.WriteString("\n" + v.raw)
	return b.Bytes()
}

// opens opens a statement of that kind, and checks what holds of everything that opens.
func opens[T statement.Terms](raw []byte, keys note.Verifiers) error {
	s, err := statement.Open[T](raw, keys)
	if err != nil {
		return err
	}
	return consistent(s, raw)
}

func opensSelf[T statement.Founding](raw []byte) error {
	s, err := statement.OpenSelfSigned[T](raw)
	if err != nil {
		return err
	}
	return consistent(s, raw)
}

func consistent[T statement.Terms](s *statement.Signed[T], raw []byte) error {
	again, err := statement.Draft(s.Terms)
	switch {
	case err != nil:
		return fmt.Errorf("CONTRADICTION: what was opened cannot be rendered: %w", err)
	case !bytes.Equal(again, append(bytes.Clone(s.Text), '\n')):
		return fmt.Errorf("CONTRADICTION: what was opened is not its own rendering:\n%s\n%s", s.Text, again)
	case !bytes.Equal(s.Raw, raw) || !bytes.HasPrefix(raw, s.Text) || s.Hash != statement.HashBytes(s.Text):
		return fmt.Errorf("CONTRADICTION: raw, text and hash do not belong together")
	}
	return nil
}

func (v *vector) open(t *testing.T) error {
	t.Helper()
	raw := []byte(v.raw)
	if len(v.keys) == 1 && v.keys[0] == "own" {
		if v.kind == statement.KindCard {
			return opensSelf[statement.Card](raw)
		}
		return opensSelf[statement.Charter](raw)
	}
	keys := known(t, v.keys...)
	switch v.kind {
	case statement.KindAgreement:
		return opens[statement.Agreement](raw, keys)
	case statement.KindManifest:
		return opens[statement.Manifest](raw, keys)
	case statement.KindReceipt:
		return opens[statement.Receipt](raw, keys)
	case statement.KindCard:
		return opens[statement.Card](raw, keys)
	case statement.KindCharter:
		return opens[statement.Charter](raw, keys)
	case statement.KindAmendment:
		return opens[statement.Amendment](raw, keys)
	case statement.KindReconciliation:
		return opens[statement.Reconciliation](raw, keys)
	case statement.KindNotice:
		return opens[statement.Notice](raw, keys)
	}
	t.Fatalf("%s: unknown kind %q", v.name, v.kind)
	return nil
}

// TestVectors opens every file of testdata/vectors, and finds what the file says. The files are as the generator makes them;
// `go test -run TestVectors -update` writes them.
func TestVectors(t *testing.T) {
	t.Parallel()
	made := map[string][]byte{}
	for _, v := range append(goodVectors(t), badVectors(t)...) {
		folder := "bad"
		if v.expect == "ok" {
			folder = "good"
		}
		path := filepath.Join(vectorsDir, folder, v.name+".txt")
		if made[path] != nil {
			t.Fatalf("two vectors are named %s", path)
		}
		made[path] = v.format()
	}
	if *update {
		if err := os.RemoveAll(vectorsDir); err != nil {
			t.Fatal(err)
		}
		for path, data := range made {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	paths, err := filepath.Glob(filepath.Join(vectorsDir, "*", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != len(made) {
		t.Errorf("%d files, and %d vectors: run go test -run TestVectors -update", len(paths), len(made))
	}
	seen := map[string]bool{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, made[path]) {
			t.Errorf("%s is not as it is generated", path)
		}
		v := readVector(t, path, data)
		seen[strings.SplitN(v.expect, " ", 2)[0]] = true
		t.Run(filepath.Base(filepath.Dir(path))+"/"+v.name, func(t *testing.T) { v.check(t) })
	}
	for tag := range tags {
		if !seen[tag] {
			t.Errorf("no vector fails with %s", tag)
		}
	}
}

// readVector reads a file, also one that another program wrote.
func readVector(t *testing.T, path string, data []byte) *vector {
	t.Helper()
	head, raw, ok := strings.Cut(string(data), "\n\n")
	if !ok {
		t.Fatalf("%s has no head", path)
	}
	v := &vector{name: strings.TrimSuffix(filepath.Base(path), ".txt"), raw: raw}
	for _, line := range strings.Split(head, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "what":
			v.what = value
		case "kind":
			v.kind = statement.Kind(value)
		case "key":
			v.keys = append(v.keys, value)
		case "expect":
			v.expect = value
		case "sha256":
			if h, err := statement.HashOf([]byte(raw)); err != nil || h.String() != value {
				t.Errorf("%s: hash %s (%v), want %s", path, h, err, value)
			}
		case "core":
			d, err := statement.ParseDraft[statement.Manifest]([]byte(raw))
			if err != nil || d.Terms.Core().String() != value {
				t.Errorf("%s: core is not %s (%v)", path, value, err)
			}
		default:
			t.Errorf("%s: unknown line %q in its head", path, line)
		}
	}
	return v
}

func (v *vector) check(t *testing.T) {
	t.Helper()
	err := v.open(t)
	if v.expect == "ok" {
		if err != nil {
			t.Errorf("%s: %v", v.what, err)
		}
		return
	}
	if err == nil {
		t.Fatalf("%s: it opened", v.what)
	}
	pattern, ok := tags[v.expect]
	if field, is := strings.CutPrefix(v.expect, "field "); is {
		pattern, ok = `line \d+: `+field+`: `, true
	}
	if !ok {
		t.Fatalf("unknown tag %q", v.expect)
	}
	if !regexp.MustCompile(pattern).MatchString(err.Error()) || strings.Contains(err.Error(), "CONTRADICTION") {
		t.Errorf("%s: expected %s, got %v", v.what, v.expect, err)
	}
}
