package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/statement"
)

// navy and port are schemes of two members; in harmonised the common one is TLP.
func navy() statement.Scheme {
	return statement.Scheme{Name: "NAVY", Levels: []string{"OPEN", "RESTRICTED", "SECRET"}, Restrictive: []string{"CRYPTO", "NUCLEAR"}, Permissive: []string{"BALTIC", "NORTH-SEA"}}
}

func port() statement.Scheme {
	return statement.Scheme{Name: "PORT", Levels: []string{"PUBLIC", "INTERNAL", "CLOSED"}}
}

func harmonised() *statement.Agreement {
	return &statement.Agreement{Name: "harmonised", Ceiling: "TLP:AMBER", ApprovalAbove: "TLP:GREEN", Schemes: []statement.Scheme{navy(), port()}, Equivalents: []statement.Equivalent{
		{Label: "NAVY:OPEN", Means: "TLP:GREEN"}, {Label: "NAVY:RESTRICTED", Means: "TLP:GREEN"}, {Label: "NAVY:SECRET", Means: "TLP:RED"},
		{Label: "PORT:INTERNAL", Means: "TLP:AMBER"}, {Label: "PORT:PUBLIC", Means: "TLP:CLEAR"},
	}}
}

func TestParseLabel(t *testing.T) {
	t.Parallel()
	s := SchemesOf(harmonised())
	for _, text := range []string{"TLP:CLEAR", "TLP:AMBER+STRICT", "NAVY:OPEN", "NAVY:SECRET/CRYPTO/NUCLEAR/BALTIC", "NAVY:SECRET/BALTIC/NORTH-SEA", "PORT:CLOSED"} {
		if l, err := s.Parse(text); err != nil || l.String() != text {
			t.Errorf("%s is read as %v, %v", text, l, err)
		}
	}
	for text, why := range map[string]string{
		"":                           "must have between 1 and 64 characters",
		"SECRET":                     "does not say of which scheme",
		"navy:SECRET":                `no label scheme "navy" here, but TLP, NAVY, PORT`,
		"Navy:SECRET":                "no label scheme",
		"NAVY:Secret":                `has no level "Secret"; its levels are OPEN, RESTRICTED, SECRET`,
		"NAVY:":                      "has no level",
		"NAVY:SECRET/":               `has no category ""`,
		"NAVY:SECRET/crypto":         `has no category "crypto"`,
		"NAVY:SECRET/NUCLEAR/CRYPTO": "one spelling, with its categories once and in the order of its scheme: NAVY:SECRET/CRYPTO/NUCLEAR",
		"NAVY:SECRET/BALTIC/CRYPTO":  "NAVY:SECRET/CRYPTO/BALTIC",
		"NAVY:SECRET/CRYPTO/CRYPTO":  "NAVY:SECRET/CRYPTO",
		"NAVY:SEC\u200bRET":          "printable ASCII",
		"NAVY:SECRE\u0422":           "printable ASCII",
		"NAVY: SECRET":               "printable ASCII",
		"TLP:WHITE":                  "has no level",
		"TLP:RED/CRYPTO":             "has no category",
		"NAVY:CRYPTO":                "has no level",
		"MARS:OPEN":                  "no label scheme",
		strings.Repeat("N", 65):      "64 characters",
	} {
		if l, err := s.Parse(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q is read as %v, %v; expected an error with %q", text, l, err, why)
		}
	}
	for _, l := range []string{"TLP:Red", "RED", " TLP:RED", "TLP:RED ", "TLP:AMBER-STRICT"} {
		if _, ok := (Schemes{}).LevelOf(l); ok {
			t.Errorf("%q has a rank", l)
		}
	}
}

func TestTLPCannotBeChanged(t *testing.T) {
	t.Parallel()
	labels, scheme := Labels(), TLP()
	for i, l := range labels {
		if rank, ok := (Schemes{}).LevelOf(l); !ok || rank != i {
			t.Errorf("rank of %s is %d, %v", l, rank, ok)
		}
	}
	labels[0], scheme.Levels[4] = "changed", "BLACK"
	if _, ok := (Schemes{}).LevelOf("TLP:RED"); !ok || len(Labels()) != 5 || Labels()[0] != "TLP:CLEAR" {
		t.Error("the scheme can be changed from outside")
	}
	a := &statement.Agreement{Ceiling: "TLP:LOW", Schemes: []statement.Scheme{{Name: "TLP", Levels: []string{"LOW", "CLEAR"}}}}
	if _, err := SchemesOf(a).Parse("TLP:LOW"); err == nil {
		t.Error("an agreement writes TLP anew")
	}
}

// TestDominates tries every label with every subset of two categories of each kind against every other, and compares with the definition.
func TestDominates(t *testing.T) {
	t.Parallel()
	s := SchemesOf(harmonised())
	var labels []Label
	for _, level := range navy().Levels {
		for bits := range 16 {
			text := "NAVY:" + level
			for i, c := range []string{"CRYPTO", "NUCLEAR", "BALTIC", "NORTH-SEA"} {
				if bits&(1<<i) != 0 {
					text += "/" + c
				}
			}
			l, err := s.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			labels = append(labels, l)
		}
	}
	for i, clearance := range labels {
		for j, label := range labels {
			has, wants := i%16, j%16
			want := i/16 >= j/16 && wants&3&^has == 0 && (wants&12 == 0 || wants&12&has != 0)
			if got := clearance.Dominates(label); got != want {
				t.Errorf("%s dominates %s: %v", clearance, label, got)
			}
		}
	}
	red, _ := s.Parse("TLP:RED")
	if open := labels[0]; red.Dominates(open) || open.Dominates(red) {
		t.Error("labels of two schemes are compared")
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	s := SchemesOf(harmonised())
	for text, want := range map[string]int{"TLP:CLEAR": 0, "TLP:RED": 4, "NAVY:OPEN": 1, "NAVY:RESTRICTED": 1, "NAVY:SECRET": 4, "NAVY:SECRET/CRYPTO": 4, "PORT:PUBLIC": 0, "PORT:INTERNAL": 2, "PORT:CLOSED": -1} {
		l, err := s.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Level(l); ok != (want >= 0) || ok && got != want {
			t.Errorf("%s is at level %d, %v; expected %d", text, got, ok, want)
		}
	}
	a := harmonised()
	a.Ceiling, a.ApprovalAbove, a.Equivalents = "NAVY:SECRET", "", []statement.Equivalent{{Label: "PORT:PUBLIC", Means: "NAVY:OPEN"}, {Label: "TLP:RED", Means: "NAVY:SECRET"}}
	if err := checkSchemes(a); err != nil {
		t.Fatal(err)
	}
	s = SchemesOf(a)
	for text, want := range map[string]int{"NAVY:RESTRICTED": 1, "TLP:RED": 2, "PORT:PUBLIC": 0} {
		if got, ok := s.LevelOf(text); !ok || got != want {
			t.Errorf("with another common scheme, %s is at level %d, %v", text, got, ok)
		}
	}
	if _, ok := s.LevelOf("TLP:GREEN"); ok {
		t.Error("a level without an equivalent has a level")
	}
}

func TestClearance(t *testing.T) {
	t.Parallel()
	s := SchemesOf(harmonised())
	for _, c := range []struct {
		labels     string
		of         string
		rank       int // -1: nothing
		categories string
	}{
		{"TLP:AMBER", "TLP:CLEAR", 2, ""},
		{"TLP:AMBER", "NAVY:OPEN", 1, ""}, // the highest that means no more than AMBER
		{"TLP:RED", "NAVY:OPEN", 2, ""},
		{"TLP:CLEAR", "NAVY:OPEN", -1, ""},
		{"NAVY:RESTRICTED/CRYPTO", "NAVY:OPEN", 1, "CRYPTO"},
		{"NAVY:OPEN TLP:RED", "NAVY:SECRET", 0, ""}, // its own scheme's label decides alone
		{"NAVY:BOGUS TLP:RED", "NAVY:OPEN", -1, ""},
		{"NAVY:SECRET/NUCLEAR/CRYPTO TLP:RED", "NAVY:OPEN", -1, ""},
		{"NAVY:SECRET", "TLP:CLEAR", 4, ""},
		{"NAVY:RESTRICTED", "TLP:CLEAR", 1, ""},
		{"NAVY:RESTRICTED PORT:INTERNAL", "TLP:CLEAR", 2, ""},
		{"PORT:CLOSED", "TLP:CLEAR", -1, ""}, // means nothing here
		{"PORT:CLOSED", "PORT:PUBLIC", 2, ""},
		{"MARS:TOP", "TLP:CLEAR", -1, ""},
		{"", "TLP:CLEAR", -1, ""},
		{"TLP:RED", "PORT:PUBLIC", 1, ""}, // CLOSED means nothing here
	} {
		of, err := s.Parse(c.of)
		if err != nil {
			t.Fatal(err)
		}
		rank, categories, ok := s.Clearance(strings.Fields(c.labels), of)
		if ok != (c.rank >= 0) || ok && (rank != c.rank || strings.Join(categories, " ") != c.categories) {
			t.Errorf("who is cleared for %q may see %s up to level %d with %q, %v; expected %d with %q", c.labels, of.Scheme, rank, categories, ok, c.rank, c.categories)
		}
	}
}

func TestCheckClearances(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "TLP:RED", "TLP:RED NAVY:SECRET/CRYPTO", "MARS:TOP"} {
		if err := CheckClearances(strings.Fields(good)); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"TLP:WHITE", "tlp:red TLP:", "TLP:RED TLP:RED", "TLP:RED TLP:AMBER", "SECRET", ":RED", "NAVY:\u200b", "TLP:RED/CRYPTO"} {
		if CheckClearances(strings.Fields(bad)) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestCheckSchemes(t *testing.T) {
	t.Parallel()
	if err := checkSchemes(harmonised()); err != nil {
		t.Fatal(err)
	}
	for why, spoil := range map[string]func(a *statement.Agreement){
		"label_ceiling: label \"SECRET\" does not say":                 func(a *statement.Agreement) { a.Ceiling = "SECRET" },
		"label_ceiling: there is no label scheme":                      func(a *statement.Agreement) { a.Ceiling = "MARS:OPEN" },
		"label_ceiling: NAVY:SECRET/CRYPTO must be a level without":    func(a *statement.Agreement) { a.Ceiling = "NAVY:SECRET/CRYPTO" },
		"approval_above: label scheme TLP has no level":                func(a *statement.Agreement) { a.ApprovalAbove = "TLP:WHITE" },
		"approval_above: must be of the common scheme":                 func(a *statement.Agreement) { a.ApprovalAbove = "NAVY:OPEN" },
		"scheme: TLP is built in":                                      func(a *statement.Agreement) { a.Schemes[1].Name = "TLP" },
		"equivalent: label: label scheme NAVY has no level":            func(a *statement.Agreement) { a.Equivalents[0].Label = "NAVY:BOGUS" },
		"equivalent: label: NAVY:OPEN/CRYPTO must be a level without":  func(a *statement.Agreement) { a.Equivalents[0].Label = "NAVY:OPEN/CRYPTO" },
		"equivalent: means: label scheme TLP has no level":             func(a *statement.Agreement) { a.Equivalents[0].Means = "TLP:WHITE" },
		"equivalent: PORT:PUBLIC is not of the common scheme":          func(a *statement.Agreement) { a.Equivalents[0].Means = "PORT:PUBLIC" },
		"equivalent: NAVY:OPEN is not of the common scheme":            func(a *statement.Agreement) { a.Equivalents[3].Means = "NAVY:OPEN" }, // a cycle
		"equivalent: TLP:GREEN is of the common scheme itself":         func(a *statement.Agreement) { a.Equivalents[0].Label = "TLP:GREEN" },
		"a higher level must not mean a lower one":                     func(a *statement.Agreement) { a.Equivalents[2].Means = "TLP:CLEAR" },
		"NAVY:RESTRICTED means TLP:GREEN, and NAVY:OPEN means TLP:RED": func(a *statement.Agreement) { a.Equivalents[0].Means = "TLP:RED" },
		"scheme: PORT is neither the scheme of the ceiling":            func(a *statement.Agreement) { a.Equivalents = a.Equivalents[:3] },
	} {
		a := harmonised()
		spoil(a)
		if err := checkSchemes(a); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("got %v, expected %q", err, why)
		}
	}
	text := "name = \"x\"\n  label_ceiling=\"TLP:WHITE\"\n"
	var line *statement.LineError
	err := statement.Locate([]byte(text), checkSchemes(&statement.Agreement{Ceiling: "TLP:WHITE"}))
	if !errors.As(err, &line) || line.Line != 2 {
		t.Errorf("got %v", err)
	}
}

const navyFile = `# Labels of the navy
name = "NAVY"
levels = ["OPEN", "RESTRICTED", "SECRET"] # from the most open
restrictive = ["CRYPTO", "NUCLEAR"]
permissive = [
  "BALTIC",
  'NORTH-SEA',
]
`

func TestParseScheme(t *testing.T) {
	t.Parallel()
	s, err := ParseScheme([]byte(navyFile))
	if want := navy(); err != nil || s.Name != want.Name || !slices.Equal(s.Levels, want.Levels) || !slices.Equal(s.Restrictive, want.Restrictive) || !slices.Equal(s.Permissive, want.Permissive) {
		t.Fatalf("%+v, %v", s, err)
	}
	edit := func(old, by string) string { return strings.Replace(navyFile, old, by, 1) }
	for name, c := range map[string]struct{ text, why string }{
		"nothing":               {"", "name"},
		"no levels":             {edit(`levels = ["OPEN", "RESTRICTED", "SECRET"]`, "levels = []"), "line 3: levels: must be between 1 and 16"},
		"equal levels":          {edit(`"RESTRICTED"`, `"OPEN"`), `line 3: levels: "OPEN" stands in the scheme twice`},
		"a level as a category": {edit(`"CRYPTO"`, `"SECRET"`), `line 4: restrictive: "SECRET" stands in the scheme twice`},
		"lower case":            {edit(`"RESTRICTED"`, `"Restricted"`), "line 3: levels"},
		"zero-width":            {edit(`"RESTRICTED"`, "\"REST\u200bRICTED\""), "line 3: levels"},
		"an escape":             {edit(`"RESTRICTED"`, `"REST\u200bRICTED"`), "line 3: levels"},
		"look-alikes":           {edit(`"SECRET"`, "\"SECRE\u0422\""), "line 3: levels"},
		"a separator":           {edit(`"SECRET"`, `"SECRET/X"`), "line 3: levels"},
		"TLP":                   {edit(`"NAVY"`, `"TLP"`), "line 2: name: TLP is built in"},
		"another key":           {edit("permissive", "permisive"), `line 5: there is no key "permisive"`},
		"the key twice":         {navyFile + "name = \"NAVY\"\n", "line 9"},
		"another type":          {edit(`levels = ["OPEN", "RESTRICTED", "SECRET"]`, "levels = 3"), "line 3"},
		"a table of it":         {"[[scheme]]\n" + navyFile, "line 1"},
		"too many levels":       {edit(`"OPEN"`, strings.Repeat(`"A", `, 16)+`"OPEN"`), "line 3"},
		"a megabyte":            {navyFile + strings.Repeat("#", 1<<20), "at most 65536"},
		"not UTF-8":             {edit("SECRET", "SEC\xffRET"), "line 3"},
	} {
		if _, err := ParseScheme([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, expected %q", name, err, c.why)
		}
	}
}

// What is read as a label is written again as the same text, compares with itself, and never panics; what is read as a scheme can stand in
// an agreement.
func FuzzLabels(f *testing.F) {
	f.Add(navyFile, "NAVY:SECRET/CRYPTO/BALTIC", "NAVY:OPEN", "TLP:GREEN")
	f.Add("name = \"A\"\nlevels = [\"B\"]\n", "A:B", "A:B", "TLP:RED")
	f.Add("name = 'A+1'\nlevels = ['B', 'C']\nrestrictive = ['D']\n", "A+1:C/D", "A+1:B", "TLP:CLEAR")
	f.Fuzz(func(t *testing.T, file, text, equivalent, means string) {
		scheme, err := ParseScheme([]byte(file))
		if err != nil {
			return
		}
		if err := scheme.Valid(); err != nil {
			t.Fatal(err)
		}
		a := &statement.Agreement{Ceiling: "TLP:AMBER", Schemes: []statement.Scheme{scheme}, Equivalents: []statement.Equivalent{{Label: equivalent, Means: means}}}
		sound := checkSchemes(a) == nil
		s := SchemesOf(a)
		l, err := s.Parse(text)
		if err != nil {
			return
		}
		if l.String() != text || !l.Dominates(l) || l.Rank < 0 {
			t.Errorf("%q is read as %+v", text, l)
		}
		level, ok := s.Level(l)
		if ok && (level < 0 || level >= len(tlp)) {
			t.Errorf("%q is at level %d", text, level)
		}
		if rank, _, cleared := s.Clearance([]string{text}, l); !cleared || rank != l.Rank {
			t.Errorf("who is cleared for %q may see level %d, %v", text, rank, cleared)
		}
		// Somebody who is cleared for all of TLP sees every level that means something, and so this one if it does.
		if rank, _, cleared := s.Clearance([]string{"TLP:RED"}, l); sound && ok && (!cleared || rank < l.Rank) {
			t.Errorf("TLP:RED gives level %d, %v of %q", rank, cleared, text)
		}
	})
}
