package statement_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"entente.example/internal/statement"
)

// story is the examples in docs/formats: two members found an alliance, agree, and exchange a document. Each statement names
// the hashes of those before it.
type story struct {
	alpha, bravo                                 []byte // cards
	unsigned, charter, agreement, manifest, leaf []byte
	receipt, refusal                             []byte
	reconciliation, amendment, notice            []byte
	opened                                       []statement.Committed // the leaf's private fields
}

func tell(t *testing.T) *story {
	t.Helper()
	var s story
	var err error
	s.alpha, s.bravo = signed(t, card(t, "alpha"), cardKeys("alpha")...), signed(t, card(t, "bravo"), cardKeys("bravo")...)
	c := charter(t, "alpha", "bravo")
	c.Members[0].Card, c.Members[1].Card = nameOf(t, s.alpha), nameOf(t, s.bravo)
	if s.unsigned, err = statement.Draft(c); err != nil {
		t.Fatal(err)
	}
	s.charter = signed(t, c, statementKeys("alpha", "bravo")...)

	a := agreement()
	a.Alliance, a.Parties = nameOf(t, s.charter), []string{"alpha", "bravo"}
	a.Policy = "@id(\"whatever-the-terms-allow\")\n@reason(\"the terms allow it\")\npermit (principal, action, resource);\n\n" +
		"@id(\"exercises-are-clear\")\n@reason(\"what is exchanged for an exercise is public\")\n@needs(\"the label TLP:CLEAR\")\n" +
		"forbid (principal, action, resource)\nwhen { resource.purpose == \"exercise\" && resource.label != \"TLP:CLEAR\" };\n"
	s.agreement = signed(t, a, statementKeys("alpha", "bravo")...)

	m := manifest()
	m.To, m.SealedFor = []string{"bravo"}, []statement.Hash{hashOf(recipient(t, "bravo/sealing"))}
	m.Charter, m.AgreementHash = nameOf(t, s.charter), nameOf(t, s.agreement)
	s.manifest = signed(t, m, "alpha/statement")

	r, no := receipt(), refusal()
	r.Manifest, no.Manifest = nameOf(t, s.manifest), nameOf(t, s.manifest)
	s.receipt, s.refusal = signed(t, r, "bravo/statement"), signed(t, no, "bravo/statement")

	w := withdrawal()
	w.To, w.AgreementHash = []string{"alpha"}, nameOf(t, s.agreement)
	s.notice = signed(t, w, "bravo/statement")

	rec := reconciliation()
	rec.Alliance = nameOf(t, s.charter)
	s.reconciliation = signed(t, rec, statementKeys("alpha", "bravo")...)
	s.amendment = signed(t, statement.Amendment{Alliance: nameOf(t, s.charter), Version: 2, Previous: nameOf(t, s.charter), Created: noon, AdoptBy: noon.AddDate(0, 0, 7),
		Change: statement.Admit, Member: "charlie", Statement: testKey(t, "charlie/statement").Public, Recovery: testKey(t, "charlie/recovery").Public,
		Card: nameOf(t, signed(t, card(t, "charlie"), cardKeys("charlie")...)), SignedBy: []string{"alpha", "bravo", "charlie"}}, statementKeys("alpha", "bravo", "charlie")...)

	e := released()
	e.Manifest, e.Peers = nameOf(t, s.manifest), []string{"bravo"}
	if s.leaf, s.opened, err = e.Leaf(countingSalt()); err != nil {
		t.Fatal(err)
	}
	return &s
}

func nameOf(t *testing.T, raw []byte) statement.Hash {
	t.Helper()
	h, err := statement.HashOf(raw)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const foundingComment = "An Entente founding file: a charter and the cards of its members.\n" +
	"Compare every fingerprint with its owner by telephone before you sign: entente charter sign FILE\n"

// The examples in docs/formats are what this package makes, and open. `go test . -run TestDocs -update` writes them.
func TestDocs(t *testing.T) {
	t.Parallel()
	s := tell(t)
	founding := txtar.Format(&txtar.Archive{Comment: []byte(foundingComment), Files: []txtar.File{
		{Name: "charter", Data: s.unsigned}, {Name: "cards/alpha", Data: s.alpha}, {Name: "cards/bravo", Data: s.bravo}}})
	both := known(t, public(t, "alpha/statement", "bravo/statement")...)
	for _, c := range []struct {
		file string
		want []byte
		open func(example []byte) error
	}{
		{"statement.md", s.manifest, func(b []byte) error { return opens[statement.Manifest](b, both) }},
		{"manifest.md", s.manifest, func(b []byte) error { return opens[statement.Manifest](b, both) }},
		{"receipt.md", s.refusal, func(b []byte) error { return opens[statement.Receipt](b, both) }},
		{"agreement.md", s.agreement, func(b []byte) error { return opens[statement.Agreement](b, both) }},
		{"notice.md", s.notice, func(b []byte) error { return opens[statement.Notice](b, both) }},
		{"reconciliation.md", s.reconciliation, func(b []byte) error { return opens[statement.Reconciliation](b, both) }},
		{"card.md", s.alpha, opensSelf[statement.Card]},
		{"charter.md", s.charter, opensSelf[statement.Charter]},
		{"amendment.md", s.amendment, func(b []byte) error {
			return opens[statement.Amendment](b, known(t, public(t, statementKeys("alpha", "bravo", "charlie")...)...))
		}},
		{"leaf.md", append(bytes.Clone(s.leaf), '\n'), func(b []byte) error {
			_, err := statement.ParseLeaf(bytes.TrimSuffix(b, []byte("\n")))
			return err
		}},
		{"founding.md", founding, opensFounding},
	} {
		path := filepath.Join("..", "..", "docs", "formats", c.file)
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(doc), "\n```text\n")
		example, after, closed := strings.Cut(rest, "```\n")
		if !ok || !closed {
			t.Fatalf("%s has no example between ```text and ```", c.file)
		}
		if n := strings.Count(before, "\n"); n > 12 {
			t.Errorf("%s: the example begins in line %d, not on the first screen", c.file, n)
		}
		if *update {
			example = string(c.want)
			if err := os.WriteFile(path, []byte(before+"\n```text\n"+example+"```\n"+after), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if example != string(c.want) {
			t.Errorf("%s: the example is not what the program makes:\n%s\nwant:\n%s", c.file, example, c.want)
		}
		if err := c.open([]byte(example)); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
	}
}

// opensFounding reads a founding file as docs/formats/founding.md says.
func opensFounding(b []byte) error {
	a := txtar.Parse(b)
	if !bytes.Equal(txtar.Format(a), b) || a.Files[0].Name != "charter" {
		return fmt.Errorf("not a founding file")
	}
	c, err := statement.ParseDraft[statement.Charter](a.Files[0].Data)
	if err != nil {
		return err
	}
	for i, f := range a.Files[1:] {
		card, err := statement.OpenSelfSigned[statement.Card](f.Data)
		if err != nil {
			return err
		}
		if f.Name != "cards/"+card.Terms.Member || c.Terms.Members[i].Card != card.Hash {
			return fmt.Errorf("%s does not belong to the charter", f.Name)
		}
	}
	return nil
}

// What the documents say about their examples beside the examples themselves.
func TestDocsFacts(t *testing.T) {
	t.Parallel()
	s := tell(t)
	m, err := statement.Open[statement.Manifest](s.manifest, known(t, public(t, "alpha/statement")...))
	if err != nil {
		t.Fatal(err)
	}
	facts := map[string][]string{
		"statement.md":      {m.Hash.String(), testKey(t, "alpha/statement").Public, statement.Fingerprint(m.Hash)},
		"manifest.md":       {m.Hash.String(), m.Terms.Core().String(), testKey(t, "alpha/statement").Public},
		"receipt.md":        {nameOf(t, s.refusal).String(), testKey(t, "bravo/statement").Public},
		"agreement.md":      {nameOf(t, s.agreement).String(), testKey(t, "alpha/statement").Public, testKey(t, "bravo/statement").Public},
		"reconciliation.md": {nameOf(t, s.reconciliation).String(), testKey(t, "alpha/statement").Public, testKey(t, "bravo/statement").Public},
		"card.md":           {statement.Fingerprint(nameOf(t, s.alpha))},
		"charter.md":        {nameOf(t, s.charter).String()},
		"founding.md":       {statement.Fingerprint(nameOf(t, s.alpha)), statement.Fingerprint(nameOf(t, s.bravo))},
	}
	for _, c := range s.opened {
		facts["leaf.md"] = append(facts["leaf.md"], fmt.Sprintf("`%x`", c.Salt), fmt.Sprintf("`%s`", c.Value), c.Commitment())
	}
	for tag := range tags {
		facts["statement.md"] = append(facts["statement.md"], "| `"+tag+"` |")
	}
	for file, list := range facts {
		doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, fact := range list {
			if !bytes.Contains(doc, []byte(fact)) {
				t.Errorf("%s does not say %s", file, fact)
			}
		}
	}
}
