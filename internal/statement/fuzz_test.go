package statement_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// addVectors gives the fuzzer all statements of testdata/vectors up to 8 KiB; longer ones only slow it down.
func addVectors(f *testing.F, add func([]byte)) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join(vectorsDir, "*", "*.txt"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no vectors: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if _, raw, ok := bytes.Cut(data, []byte("\n\n")); ok && len(raw) < 8<<10 {
			add(raw)
		}
	}
}

// FuzzOpen: nothing opens that was not signed, and whatever parses is its own rendering and nothing that misleads a reader.
func FuzzOpen(f *testing.F) {
	signers := append(cardKeys("alpha"), "bravo/statement", "charlie/statement")
	keys := known(f, public(f, signers...)...)
	texts := map[statement.Hash]bool{}
	addVectors(f, func(raw []byte) {
		f.Add(raw)
		if h, err := statement.HashOf(raw); err == nil {
			texts[h] = true
		}
	})
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, err := range []error{parses[statement.Agreement](t, raw), parses[statement.Manifest](t, raw), parses[statement.Receipt](t, raw),
			parses[statement.Card](t, raw), parses[statement.Charter](t, raw), parses[statement.Amendment](t, raw),
			parses[statement.Reconciliation](t, raw), parses[statement.Notice](t, raw)} {
			if err != nil && (len(err.Error()) > 8<<10 || strings.ContainsFunc(err.Error(), unicode.IsControl)) {
				t.Errorf("an error that is not fit for a terminal: %q", err)
			}
		}
		for _, err := range []error{opens[statement.Agreement](raw, keys), opens[statement.Manifest](raw, keys), opens[statement.Receipt](raw, keys),
			opens[statement.Card](raw, keys), opens[statement.Charter](raw, keys), opens[statement.Amendment](raw, keys), opens[statement.Reconciliation](raw, keys), opens[statement.Notice](raw, keys), opensSelf[statement.Card](raw), opensSelf[statement.Charter](raw)} {
			if err != nil && strings.Contains(err.Error(), "CONTRADICTION") {
				t.Error(err)
			}
			if err == nil {
				if h, _ := statement.HashOf(raw); !texts[h] {
					t.Errorf("nobody signed this, and it opened:\n%s", raw)
				}
			}
		}
	})
}

func parses[T statement.Terms](t *testing.T, raw []byte) error {
	t.Helper()
	d, err := statement.ParseDraft[T](raw)
	if err != nil {
		return err
	}
	again, err := statement.Draft(d.Terms)
	if err != nil || !bytes.Equal(again, append(bytes.Clone(d.Text), '\n')) {
		t.Errorf("not its own rendering: %v\n%s\n%s", err, d.Text, again)
	}
	if d.Hash != statement.HashBytes(d.Text) || !bytes.HasPrefix(raw, d.Text) {
		t.Errorf("hash and text do not belong together")
	}
	for _, r := range string(d.Text) {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			t.Errorf("the text contains %U", r)
		}
	}
	if bytes.HasPrefix(d.Text, []byte("— ")) || bytes.Contains(d.Text, []byte("\n— ")) {
		t.Errorf("the text contains what looks like a signature:\n%s", d.Text)
	}
	return nil
}

// FuzzMerge: copies come together in any order, and signing does not change a text.
func FuzzMerge(f *testing.F) {
	key := testKey(f, "alpha/statement")
	f.Add([]byte(signText(f, draft(f, agreement()), "bravo/statement")), []byte(signText(f, draft(f, agreement()), "charlie/statement", "alpha/statement")))
	addVectors(f, func(raw []byte) { f.Add(raw, raw) })
	f.Fuzz(func(t *testing.T, a, b []byte) {
		ab, errAB := statement.Merge(a, b)
		ba, errBA := statement.Merge(b, a)
		if (errAB == nil) != (errBA == nil) || !bytes.Equal(ab, ba) {
			t.Fatalf("order matters: %v, %v\n%q\n%q", errAB, errBA, ab, ba)
		}
		if errAB == nil {
			if again, err := statement.Merge(ab, a, b); err != nil || !bytes.Equal(again, ab) {
				t.Fatalf("merged again: %v\n%q\n%q", err, ab, again)
			}
			sameHash(t, a, ab)
		}
		if signed, err := statement.AddSignature(a, key); err == nil {
			sameHash(t, a, signed)
			if again, err := statement.AddSignature(signed, key); err != nil || !bytes.Equal(again, signed) {
				t.Fatalf("signed again: %v\n%q\n%q", err, signed, again)
			}
		}
	})
}

func sameHash(t *testing.T, a, b []byte) {
	t.Helper()
	if len(a) > limit.Charter || len(b) > limit.Charter {
		return
	}
	ha, errA := statement.HashOf(a)
	hb, errB := statement.HashOf(b)
	if errA != nil || errB != nil || ha != hb {
		t.Fatalf("the text changed: %v, %v\n%q\n%q", errA, errB, a, b)
	}
}

// FuzzParseLeaf: whatever parses is its own rendering, plain ASCII, one object.
func FuzzParseLeaf(f *testing.F) {
	leaf, _, err := released().Leaf(countingSalt())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(leaf)
	f.Add([]byte(`{"v":1,"kind":"charter","time":"2026-11-23T12:00:00Z","statement_sha256":"` + hashOf("x").String() + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := statement.ParseLeaf(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(l)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("not its own rendering: %v\n%s\n%s", err, b, again)
		}
		if len(b) > limit.Leaf || bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' }) {
			t.Errorf("a leaf of %d bytes that is not plain: %q", len(b), b)
		}
	})
}

// FuzzEvent: one event in, one leaf out or none, and the leaf says what the event said.
func FuzzEvent(f *testing.F) {
	for _, s := range nasty {
		f.Add("bravo", "release", "base/release", "person", []byte(s))
		f.Add(s, "release", "base/release", "person", []byte{})
		f.Add("bravo", s, s, s, []byte{})
	}
	f.Fuzz(func(t *testing.T, peer, stage, rule, field string, value []byte) {
		e := released()
		e.Peers, e.Stage, e.Rules, e.Private = []string{peer}, stage, []string{rule}, []statement.Private{{Field: field, Value: value}}
		leaf, opened, err := e.Leaf(countingSalt())
		if err != nil {
			return
		}
		l, err := statement.ParseLeaf(leaf)
		if err != nil || bytes.ContainsFunc(leaf, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' }) || bytes.Count(leaf, []byte("{")) != 2 {
			t.Fatalf("%v: %q", err, leaf)
		}
		if l.Peers[0] != peer || l.Stage != stage || l.Rules[0] != rule || l.Private[field] != opened[0].Commitment() {
			t.Errorf("the leaf says something else: %s", leaf)
		}
	})
}

// FuzzValidFileName: what is accepted is one path element, readable, and no device.
func FuzzValidFileName(f *testing.F) {
	for _, name := range append(fileNames.good, fileNames.bad...) {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if statement.ValidFileName(name) != nil {
			return
		}
		if name != filepath.Base(name) || !filepath.IsLocal(name) || strings.ContainsAny(name, "/\\:\x00") || len(name) > limit.FileName || !utf8.ValidString(name) {
			t.Errorf("accepted %q", name)
		}
		for _, r := range name {
			if r != ' ' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Join_Control, r) || !unicode.IsPrint(r) && unicode.Is(unicode.Cc, r) {
				t.Errorf("accepted %q with %U", name, r)
			}
		}
	})
}
