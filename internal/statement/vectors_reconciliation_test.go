package statement_test

import (
	"strings"
	"testing"

	"entente.example/internal/statement"
)

// reconciliationVectors are reconciliations that contradict themselves.
func reconciliationVectors(t *testing.T) []*vector {
	t.Helper()
	text := draft(t, reconciliation())
	signers := statementKeys("alpha", "bravo")
	_, sides, _ := strings.Cut(text, "\n[[side]]")
	_, second, _ := strings.Cut(sides, "\n[[side]]")
	second, _, _ = strings.Cut(second, "\n[[")
	first := `member = "alpha"` + "\nleaf = 39\n"
	hash := func(of string) string { return hashOf(of).String() }
	edits := []textEdit{
		{"one-party", "one party", "field parties", `["alpha", "bravo"]`, `["alpha"]`},
		{"three-parties", "three parties", "field parties", `["alpha", "bravo"]`, `["alpha", "bravo", "charlie"]`},
		{"parties-unsorted", "parties that are not sorted", "field parties", `["alpha", "bravo"]`, `["bravo", "alpha"]`},
		{"other-party", "a party that has not signed", "field side", `["alpha", "bravo"]`, `["alpha", "charlie"]`},
		{"alliance", "the alliance of zeros", "field alliance_sha256", hash("charter"), strings.Repeat("0", 64)},
		{"until", "a period that ends before it begins", "field until", "until = 2026-11-23T12:00:00Z", "until = 2026-11-22T12:00:00Z"},
		{"future", "a period that has not ended", "field until", "until = 2026-11-23T12:00:00Z", "until = 2026-11-23T12:00:01Z"},
		{"one-side", "one side", "field side", "\n[[side]]" + second, ""},
		{"log", "the log of another", "field side", `"bravo/log/2"`, `"alpha/log/2"`},
		{"size", "more leaves than are in the log", "field side", "size = 30", "size = 1"},
		{"empty-log", "an empty log", "field side", "size = 30", "size = 0"},
		{"root", "the root of zeros", "field side", hash("bravo's tree"), strings.Repeat("0", 64)},
		{"leaves", "a leaf that is not counted", "field side", "leaves = 6", "leaves = 7"},
		{"negative", "less than nothing", "field side", "matched = 2\nopen = 1", "matched = 4\nopen = -1"},
		{"uncounted", "a leaf that is listed and not counted", "field open", "matched = 2\nopen = 1", "matched = 3\nopen = 0"},
		{"unlisted", "a leaf that is counted and not listed", "field open", "matched = 2\nopen = 1", "matched = 1\nopen = 2"},
		{"stranger", "a leaf of somebody else", "field open", first, strings.Replace(first, "alpha", "charlie", 1)},
		{"other-side", "a leaf of the side that counts none", "field open", first, strings.Replace(first, "alpha", "bravo", 1)},
		{"manifest", "a leaf about nothing", "field open", hash("under way"), strings.Repeat("0", 64)},
		{"leaf", "a leaf behind the end of the log", "field open", "leaf = 39", "leaf = 40"},
		{"kind", "a leaf of a kind that is not compared", "field open", `leaf = 39` + "\n" + `kind = "released"`, `leaf = 39` + "\n" + `kind = "reopened"`},
		{"id", "a leaf without an id", "field open", `leaf = 39` + "\n" + `kind = "released"` + "\n" + `id = "` + manifest().ID, `leaf = 39` + "\n" + `kind = "released"` + "\n" + `id = "`},
		{"at", "a leaf of another millennium", "field open", "at = 2026-11-23T11:00:00Z", "at = 1026-11-23T11:00:00Z"},
		{"unsorted", "leaves that are not sorted", "field only", "leaf = 20", "leaf = 23"},
		{"twice", "one leaf twice", "field only", "leaf = 20", "leaf = 22"},
	}
	list := signedEdits(t, statement.KindReconciliation, "reconciliation", text, public(t, signers...), signers, edits)
	return append(list, &vector{name: "reconciliation-half", what: "one party has not signed", kind: statement.KindReconciliation, keys: public(t, signers...),
		expect: "signers", raw: signText(t, text, "alpha/statement")})
}
