package audit

import (
	"slices"
	"testing"

	"entente.example/internal/statement"
)

// checked runs the check of a node once, over everything or over some documents.
func (h *home) checked(manifests ...statement.Hash) (found []Damage) {
	h.t.Helper()
	c := Check{Verification: h.verification(), Found: func(d Damage) { found = append(found, d) }, restless: true}
	if manifests != nil {
		check(h.t, c.Documents(h.t.Context(), manifests))
		return found
	}
	check(h.t, c.Everything(h.t.Context()))
	return found
}

// TestCheckFindsWhatVerifyHomeFinds changes each column of one row of each table: the check, which reads everything in pieces, finds it too, and
// says so about the same places. What concerns one document is said to be about that one, and is well again when it is changed back.
func TestCheckFindsWhatVerifyHomeFinds(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	h.sound()
	if found := h.checked(); len(found) > 0 {
		t.Fatalf("a sound home has %v", found)
	}
	db := h.raw()
	apart := 0
	for _, table := range column1(t, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%' ORDER BY name") {
		rows := column1(t, db, "SELECT rowid FROM "+table+" ORDER BY rowid LIMIT 1")
		for _, column := range column1(t, db, "SELECT name FROM pragma_table_info(?)", table) {
			if bookkeeping[table+"."+column] {
				continue
			}
			var old any
			check(t, db.QueryRow("SELECT "+column+" FROM "+table+" WHERE rowid = ?", rows[0]).Scan(&old))
			old = present(old)
			id, err := change(db, table, column, rows[0], mutations(old)[0])
			if err != nil {
				continue // a constraint of the database's does not allow it
			}
			at := table + "." + column
			found := h.checked()
			if len(found) == 0 {
				t.Errorf("%s: nothing is found", at)
			}
			var places, want []string
			var about []statement.Hash
			for _, d := range found {
				places = append(places, d.String())
				if !d.Manifest.IsZero() && !slices.Contains(about, d.Manifest) {
					about = append(about, d.Manifest)
				}
			}
			for _, p := range h.verify().Problems {
				if p.Where != "database" { // SQLite's own findings, which are left to VerifyHome
					want = append(want, p.String())
				}
			}
			slices.Sort(places)
			slices.Sort(want)
			if places, want = slices.Compact(places), slices.Compact(want); !slices.Equal(places, want) {
				t.Errorf("%s:\n the check finds %q\nVerifyHome finds %q", at, places, want)
			}
			if len(about) > 0 && len(h.checked(about...)) == 0 {
				t.Errorf("%s: nothing is found when only the documents concerned are looked at", at)
			}
			if len(about) == 1 {
				apart++
			}
			_, err = change(db, table, column, id, old)
			check(t, err)
			if len(about) > 0 {
				if found := h.checked(about...); len(found) > 0 {
					t.Errorf("%s: after it was changed back there is %v", at, found)
				}
			}
		}
	}
	if apart < 5 {
		t.Errorf("%d changes were found to be about one document", apart)
	}
}

// TestCheckSays what it went through, and reads a log of many pieces.
func TestCheckSays(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	rows, bytes := 0, 0
	c := Check{Verification: h.verification(), Found: func(d Damage) { t.Error(d) }, Rows: func(n int) { rows += n }, Bytes: func(n int) { bytes += n }, restless: true}
	check(t, c.Everything(t.Context()))
	if r := h.verify(); rows == 0 || int64(bytes) < r.Bytes {
		t.Errorf("%d rows and %d bytes, of %d", rows, bytes, r.Bytes)
	}
	h.exec("UPDATE leaf SET body = body || 'x' WHERE idx = 0")
	if found := h.checked(); !slices.ContainsFunc(found, func(d Damage) bool { return d.Where == "leaf 0" }) {
		t.Errorf("a changed leaf gives %v", found)
	}
}
