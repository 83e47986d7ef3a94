package node_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func sketch() statement.Agreement {
	return statement.Agreement{Name: "kestrel-watch", Version: 2, Previous: statement.HashBytes([]byte("one")), Alliance: statement.HashBytes(nil),
		Parties: []string{"alpha", "bravo"}, Purposes: []string{"exercise", "training"}, Ceiling: "TLP:AMBER", ApprovalAbove: "TLP:GREEN", RetainDays: 30, NoticeDays: 7,
		NotBefore: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 12, 31, 23, 59, 59, 0, time.UTC),
		Schemes:     []statement.Scheme{{Name: "NAVY", Levels: []string{"OPEN", "RESTRICTED"}, Restrictive: []string{"CREW"}, Permissive: []string{}}},
		Equivalents: []statement.Equivalent{{Label: "NAVY:OPEN", Means: "TLP:CLEAR"}, {Label: "NAVY:RESTRICTED", Means: "TLP:AMBER"}},
		Policy:      "// The rules.\npermit (principal, action, resource);\n", Prose: "The parties agree.\n\n--- and stay friends\n"}
}

// TestDraftFile writes an agreement for people to fill in, and reads it again: it says the same, also from an editor of another system.
func TestDraftFile(t *testing.T) {
	t.Parallel()
	bare := sketch()
	bare.Version, bare.Previous, bare.ApprovalAbove, bare.Policy, bare.Prose, bare.Schemes, bare.Equivalents = 1, statement.Hash{}, "", "", "", nil, nil
	bare.NotAfter = bare.NotAfter.Add(-time.Hour)
	for _, a := range []statement.Agreement{sketch(), bare} {
		want := draft(t, a)
		file := node.WriteDraft(a)
		for _, b := range [][]byte{file, bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n")), append(bytes.Clone(file), "\n\n"...),
			bytes.Replace(file, []byte(`["alpha", "bravo"]`), []byte("[\n  'bravo', # a comment\n  \"alpha\",\n]"), 1)} {
			got, err := node.ReadDraft("draft.txt", b)
			if err != nil {
				t.Fatalf("%v\n%s", err, b)
			}
			raw, err := node.RenderDraft("draft.txt", b, got)
			if err != nil || !bytes.Equal(raw, want) {
				t.Errorf("%v: the draft says\n%s\nand not\n%s", err, raw, want)
			}
		}
	}
}

// TestDraftFileWrong changes one thing in a draft file: it is refused with the line that is to blame.
func TestDraftFileWrong(t *testing.T) {
	t.Parallel()
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprintf("%q", fmt.Sprintf("member-%d", i))
	}
	for name, test := range map[string]struct{ from, to, at, why string }{
		"65 parties":                  {`"alpha", "bravo"`, strings.Join(many, ", "), "parties =", "between 1 and 64"},
		"one party":                   {`"alpha", "bravo"`, `"alpha"`, "parties =", "at least two"},
		"parties that differ by case": {`"alpha", "bravo"`, `"alpha", "Alpha"`, "parties =", `"Alpha" must be lower-case`},
		"by a zero-width space":       {`"alpha", "bravo"`, `"alpha", "al\u200bpha"`, "parties =", "must be lower-case"},
		"purposes by a joiner":        {`"exercise"`, "\"exer\u200dcise\"", "purposes =", "must be lower-case"},
		"a name in capitals":          {`"kestrel-watch"`, `"Kestrel-watch"`, "name =", "must be lower-case"},
		"dates reversed":              {"not_after = 2027", "not_after = 2026", "not_after =", "not after not_before"},
		"the year 9999":               {"not_after = 2027", "not_after = 9999", "not_after =", "not in the years"},
		"no date at all":              {"not_after = 2027-12-31", "", "An agreement", "not_after: is missing"},
		"a date that is none":         {"not_after = 2027-12-31", "not_after = 12", "not_after =", "neither a day"},
		"a key twice":                 {"notice_days = 7", "notice_days = 7\nnotice_days = 8", "notice_days = 8", ""},
		"an unknown key":              {"notice_days = 7", "notice_day = 7", "notice_day =", `no field "notice_day"`},
		"a key that differs by case":  {"notice_days = 7", "Notice_Days = 7", "Notice_Days =", ""},
		"an invisible word in prose":  {"agree.", "agree\u200b.", "agree\u200b.", "U+200B"},
		"a change of direction":       {"The rules.", "The \u202erules.", "The \u202erules.", "U+202E"},
		"prose that looks signed":     {"The parties agree.", "— alpha/statement AAAA", "— alpha", "signature"},
		"levels that are equal":       {`"OPEN", "RESTRICTED"]`, `"OPEN", "OPEN"]`, "[[scheme]]", "twice"},
	} {
		b := []byte(strings.Replace(string(node.WriteDraft(sketch())), test.from, test.to, 1))
		line := 1
		for i, l := range strings.Split(string(b), "\n") {
			if strings.Contains(l, test.at) {
				line = i + 1
				break
			}
		}
		a, err := node.ReadDraft("draft.txt", b)
		if err == nil {
			_, err = node.RenderDraft("draft.txt", b, a)
		}
		if want := fmt.Sprintf("draft.txt: line %d: ", line); err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: %v, expected %s…%s", name, err, want, test.why)
		}
	}
}
