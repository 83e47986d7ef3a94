package policy

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

func TestLabelXML(t *testing.T) {
	t.Parallel()
	s := SchemesOf(harmonised())
	hash := statement.HashBytes([]byte("agreement"))
	for _, text := range []string{"TLP:CLEAR", "TLP:AMBER+STRICT", "NAVY:SECRET/CRYPTO/NUCLEAR/BALTIC", "NAVY:SECRET/NORTH-SEA", "NAVY:OPEN/CRYPTO"} {
		for _, agreement := range []statement.Hash{hash, {}} {
			l, err := s.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			file := l.XML(agreement)
			got, of, err := ReadXML(file)
			if err != nil || got.String() != text || of != agreement {
				t.Fatalf("%s came back as %s of %s, %v:\n%s", text, got, of.Short(), err, file)
			}
			if known, err := s.Known(got); err != nil || known.Rank != l.Rank {
				t.Errorf("%s is known as %+v, %v", text, known, err)
			}
			compact := bytes.ReplaceAll(bytes.ReplaceAll(file, []byte("\n"), nil), []byte("  "), nil)
			if got, _, err := ReadXML(compact); err != nil || got.String() != text {
				t.Errorf("without indentation: %v, %v", got, err)
			}
		}
	}
	if l, _, err := ReadXML(Label{Scheme: "NAVY", Level: "OPEN", Permissive: []string{"CRYPTO"}}.XML(hash)); err != nil {
		t.Error(err)
	} else if _, err := s.Known(l); err == nil {
		t.Error("a permissive category that is restrictive in its scheme is known")
	}
	for _, unknown := range []string{"NAVY:TOP", "MARS:OPEN"} {
		scheme, level, _ := strings.Cut(unknown, ":")
		if _, err := s.Known(Label{Scheme: scheme, Level: level}); err == nil {
			t.Errorf("%s is known", unknown)
		}
	}
}

func TestLabelXMLRefused(t *testing.T) {
	t.Parallel()
	l, err := SchemesOf(harmonised()).Parse("NAVY:SECRET/CRYPTO/NUCLEAR/BALTIC")
	if err != nil {
		t.Fatal(err)
	}
	good := string(l.XML(statement.HashBytes([]byte("agreement"))))
	edit := func(old, by string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("there is no %q", old)
		}
		return strings.Replace(good, old, by, 1)
	}
	for name, text := range map[string]string{
		"nothing":                     "",
		"no XML":                      "NAVY:SECRET",
		"cut off":                     good[:len(good)-10],
		"a second label":              good + good,
		"text behind it":              good + "x",
		"another namespace":           edit("urn:entente.example:label:1", "urn:nato:stanag:4774:confidentialitymetadatalabel:1:0"),
		"no namespace":                edit(` xmlns="urn:entente.example:label:1"`, ""),
		"another element":             edit("</Classification>", "</Classification><PrivacyMark>x</PrivacyMark>"),
		"another attribute":           edit(`Type="RESTRICTIVE"`, `Type="RESTRICTIVE" x="y"`),
		"a comment":                   edit("</Classification>", "</Classification><!-- not so -->"),
		"a comment in a word":         edit("SECRET", "SEC<!-- -->RET"),
		"an instruction":              edit("</Classification>", "</Classification><?x y?>"),
		"a DOCTYPE":                   edit("<Confidentiality", `<!DOCTYPE x [<!ENTITY a "SECRET">]><Confidentiality`),
		"an entity":                   edit("SECRET", "&#83;ECRET"),
		"CDATA":                       edit("SECRET", "<![CDATA[SECRET]]>"),
		"two classifications":         edit("</Classification>", "</Classification><Classification>OPEN</Classification>"),
		"no classification":           edit("<Classification>SECRET</Classification>", ""),
		"an empty scheme":             edit("NAVY", ""),
		"space in a word":             edit("SECRET", " SECRET"),
		"a zero-width character":      edit("SECRET", "SEC\u200bRET"),
		"a separator in a word":       edit("SECRET", "SECRET/CRYPTO"),
		"a colon in a word":           edit("CRYPTO", "A:B"),
		"an unknown type":             edit("RESTRICTIVE", "INFORMATIVE"),
		"a category of another type":  edit(`Type="PERMISSIVE"`, `Type="RESTRICTIVE"`),
		"the permissive ones first":   strings.NewReplacer("restrictive", "permissive", "RESTRICTIVE", "PERMISSIVE", "permissive", "restrictive", "PERMISSIVE", "RESTRICTIVE").Replace(good),
		"a category without values":   edit("      <GenericValue>BALTIC</GenericValue>\n", ""),
		"an agreement of no form":     edit("agreement:", "agreement:0"),
		"a URI of something else":     edit("urn:entente.example:agreement:", "https://example.org/"),
		"an agreement in capitals":    strings.Replace(good, statement.HashBytes([]byte("agreement")).String(), strings.ToUpper(statement.HashBytes([]byte("agreement")).String()), 1),
		"too long a label":            edit("BALTIC", strings.Repeat("B", 64)),
		"more than there can be":      edit("</Classification>", "</Classification>"+strings.Repeat(" ", limit.LabelFile)),
		"nested a thousand deep":      strings.Repeat("<a>", 1000) + strings.Repeat("</a>", 1000),
		"another version of XML":      edit(`version="1.0"`, `version="1.1"`),
		"another encoding":            edit(`encoding="UTF-8"`, `encoding="UTF-16"`),
		"an attribute of ours, twice": edit(`Type="RESTRICTIVE"`, `Type="RESTRICTIVE" Type="RESTRICTIVE"`),
	} {
		if l, _, err := ReadXML([]byte(text)); err == nil {
			t.Errorf("%s is read as %s", name, l)
		}
	}
}

func FuzzReadXML(f *testing.F) {
	l, err := SchemesOf(harmonised()).Parse("NAVY:SECRET/CRYPTO/NUCLEAR/BALTIC")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.XML(statement.HashBytes([]byte("agreement"))))
	f.Add(Label{Scheme: "TLP", Level: "RED"}.XML(statement.Hash{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, agreement, err := ReadXML(b)
		if err != nil {
			return
		}
		again, of, err := ReadXML(l.XML(agreement))
		if err != nil || again.String() != l.String() || of != agreement {
			t.Errorf("%s of %s came back as %s of %s, %v", l, agreement, again, of, err)
		}
	})
}

// The examples of docs/formats/label.md are read, and mean what stands there.
func TestDocumentedLabel(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/formats/label.md")
	if err != nil {
		t.Fatal(err)
	}
	example := func(language string) string {
		_, rest, _ := strings.Cut(string(doc), "\n```"+language+"\n")
		text, _, ok := strings.Cut(rest, "```\n")
		if !ok {
			t.Fatalf("there is no example in %s", language)
		}
		return text
	}
	scheme, err := ParseScheme([]byte(example("toml")))
	if err != nil || scheme.Name != "NAVY" || len(scheme.Levels) != 3 {
		t.Errorf("%+v, %v", scheme, err)
	}
	file := example("xml")
	l, agreement, err := ReadXML([]byte(file))
	if err != nil || l.String() != "NAVY:SECRET/CRYPTO/BALTIC" || string(l.XML(agreement)) != file {
		t.Errorf("%s, %v", l, err)
	}
	if _, err := SchemesOf(&statement.Agreement{Schemes: []statement.Scheme{scheme}}).Known(l); err != nil {
		t.Error(err)
	}
}
