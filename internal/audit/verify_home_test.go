package audit

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entente.example/internal/checkpoint"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

func TestVerifyHomeSound(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.sound() // empty
	h.found()
	h.sound() // not published yet
	h.populate2()
	h.sound()
}

// populate2 is populate without the founding.
func (h *home) populate2() {
	h.release("bravo")
	h.publish()
}

func TestVerifyHomeReport(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	h.sound()
	r := h.verify()
	if r.Log != "alpha/log/1" || r.Leaves < 20 || r.Checkpoint != r.Leaves {
		t.Errorf("report %+v", r)
	}
	opened, err := checkpoint.Open(h.publish(), h.parties["alpha"].logs.Verifiers())
	if err != nil || opened.Tree.Hash != r.Root || opened.Tree.N != r.Leaves {
		t.Errorf("checkpoint says %v, %v; report says %d %v", opened, err, r.Leaves, r.Root)
	}
}

// bookkeeping lists the columns that nothing can say anything about.
var bookkeeping = map[string]bool{
	"exchange.updated": true, "outbox.attempts": true, "outbox.due": true, "outbox.last_error": true,
	"cosigned.at": true, "witness.name": true, "witness.size": true, "witness.at": true, "witness.asked": true, "witness.last_error": true,
	"goose_db_version.id": true, "goose_db_version.tstamp": true,
}

// raw opens the database file beside the store, without any rule.
func (h *home) raw() *sql.DB {
	db := must[*sql.DB](h.t)(sql.Open("sqlite", "file:"+filepath.Join(h.dir, store.File)+"?_pragma=busy_timeout(5000)&_pragma=foreign_keys(0)&_pragma=synchronous(0)"))
	db.SetMaxOpenConns(1)
	h.t.Cleanup(func() { _ = db.Close() })
	return db
}

// column1 gives the first column of all rows.
func column1(t *testing.T, db interface {
	Query(string, ...any) (*sql.Rows, error)
}, query string, args ...any) (list []string) {
	t.Helper()
	rows, err := db.Query(query, args...)
	check(t, err)
	defer func() { check(t, rows.Close()) }()
	for rows.Next() {
		var s string
		check(t, rows.Scan(&s))
		list = append(list, s)
	}
	check(t, rows.Err())
	return list
}

// present keeps an empty value from becoming NULL when it is written back.
func present(v any) any {
	if b, ok := v.([]byte); ok && len(b) == 0 {
		return []byte{}
	}
	return v
}

// mutations gives what an attacker may put in place of a value.
func mutations(v any) []any {
	switch v := v.(type) {
	case int64:
		return []any{v + 1, v - 1, nil, "x"}
	case string:
		if v == "" {
			return []any{"x"}
		}
		return []any{v[:len(v)-1] + string(v[len(v)-1]^1), v + "x", "", nil}
	case []byte:
		list := []any{append([]byte{0}, v...), nil}
		if len(v) > 0 {
			list = append(list, []byte{})
		}
		for _, at := range []int{0, len(v) / 3, len(v) - 2, len(v) - 1} {
			if at >= 0 && at < len(v) {
				changed := append([]byte{}, v...)
				changed[at] ^= 1
				list = append(list, changed)
			}
		}
		return list
	case nil:
		return []any{[]byte("x"), make([]byte, 32)}
	}
	panic(fmt.Sprintf("%T", v))
}

// change puts a value into a row, and tells where the row is then: elsewhere if SQLite keeps it in the order of that column.
func change(db *sql.DB, table, column, id string, value any) (at string, err error) {
	err = db.QueryRow("UPDATE "+table+" SET "+column+" = ? WHERE rowid = ? RETURNING rowid", value, id).Scan(&at)
	return at, err
}

// TestVerifyHomeFindsEveryChange changes each column of each row of each table, removes each row, and expects a problem.
func TestVerifyHomeFindsEveryChange(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	h.sound()
	db := h.raw()
	tried := 0
	for _, table := range column1(t, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name") {
		rows := column1(t, db, "SELECT rowid FROM "+table)
		if len(rows) == 0 {
			t.Errorf("table %s has no rows: the test proves nothing about it", table)
		}
		for _, column := range column1(t, db, "SELECT name FROM pragma_table_info(?)", table) {
			if bookkeeping[table+"."+column] {
				continue
			}
			for n, id := range rows {
				if raceEnabled && len(rows) > 4 && n%4 != len(column)%4 {
					continue // it is ten times as slow then; without the race detector every row has its turn
				}
				var old any
				check(t, db.QueryRow("SELECT "+column+" FROM "+table+" WHERE rowid = ?", id).Scan(&old))
				old = present(old)
				list := mutations(old)
				for i, changed := range list {
					if len(rows) > 4 && i != n%len(list) {
						continue // one kind of change for each row is enough where there are many
					}
					at, err := change(db, table, column, id, changed)
					if err != nil {
						continue // a constraint of the database's does not allow it
					}
					tried++
					if h.verify().OK() {
						t.Errorf("%s.%s of row %s: change %d from %.60v to %.60v was not found", table, column, id, i, old, changed)
					}
					_, err = change(db, table, column, at, old)
					check(t, err)
				}
			}
		}
	}
	h.sound()
	t.Logf("%d changes", tried)
}

// TestVerifyHomeFindsEmptyKeys takes the key of the statement that no other row names.
func TestVerifyHomeFindsEmptyKeys(t *testing.T) {
	t.Parallel()
	// SQLite keeps any type in any column, and sorts every text before every blob.
	for name, key := range map[string]any{"empty": []byte{}, "a text": "text", "an empty text": "", "a number": 7} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newWorld(t).home()
			h.populate()
			h.sound()
			n := must[sql.Result](t)(h.raw().Exec("UPDATE statement SET sha256 = ? WHERE kind = 'manifest' AND sha256 NOT IN (SELECT sha256 FROM manifest)", key))
			if n := must[int64](t)(n.RowsAffected()); n != 1 {
				t.Fatalf("%d rows changed", n)
			}
			if h.verify().OK() {
				t.Error("a statement under that key was not found")
			}
		})
	}
}

// TestVerifyHomeFindsMissingRows removes each row. Whatever is no document and was taken out of the outbox is its addressee's to miss.
func TestVerifyHomeFindsMissingRows(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	h.sound()
	db := h.raw()
	for _, table := range column1(t, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") {
		for _, id := range column1(t, db, "SELECT rowid FROM "+table) {
			tx := must[*sql.Tx](t)(db.Begin())
			var columns []string
			columns = append(columns, column1(t, tx, "SELECT name FROM pragma_table_info('"+table+"')")...)
			values, pointers := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				pointers[i] = &values[i]
			}
			list := strings.Join(columns, ", ")
			check(t, tx.QueryRow("SELECT "+list+" FROM "+table+" WHERE rowid = ?", id).Scan(pointers...))
			for i := range values {
				values[i] = present(values[i])
			}
			_, err := tx.Exec("DELETE FROM "+table+" WHERE rowid = ?", id)
			check(t, err)
			check(t, tx.Commit())
			row := fmt.Sprint(values)
			if h.verify().OK() && !(table == "outbox" && !strings.Contains(row, "document")) && !h.kept(table, values) && table != "cosigned" && table != "witness" {
				t.Errorf("row of %s was not missed: %.200s", table, row)
			}
			_, err = db.Exec("INSERT INTO "+table+" (rowid, "+list+") VALUES (?"+strings.Repeat(", ?", len(values))+")", append([]any{id}, values...)...)
			check(t, err)
		}
	}
	h.sound()
}

// kept tells whether a row is the bare statement of a manifest that was refused because its id was taken: evidence against its
// sender, but nothing of ours rests on it.
func (h *home) kept(table string, values []any) bool {
	if table != "statement" || values[1] != "manifest" {
		return false
	}
	hash := must[statement.Hash](h.t)(statement.HashOf(values[2].([]byte)))
	err := h.db.View(h.t.Context(), func(v *store.View) error { _, err := v.Manifest(hash); return err })
	return err != nil
}

func TestVerifyHomeFindsFiles(t *testing.T) {
	t.Parallel()
	blob := func(h *home) string {
		files := must[[]string](h.t)(filepath.Glob(filepath.Join(h.dir, "blobs", "*", "*")))
		return files[0]
	}
	rewrite := func(path string, change func([]byte) []byte) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(b), 0o600)
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
	}
	old := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct {
		damage func(h *home) error
		where  string
	}{
		"blob changed":            {func(h *home) error { return rewrite(blob(h), flip(7)) }, "blob "},
		"blob cut":                {func(h *home) error { return os.Truncate(blob(h), 3) }, "blob "},
		"blob missing":            {func(h *home) error { return os.Remove(blob(h)) }, "blob "},
		"blob under another name": {func(h *home) error { return os.Rename(blob(h), blob(h)+".bak") }, "blobs/"},
		"blob in the wrong folder": {func(h *home) error {
			return os.Rename(blob(h), filepath.Join(h.dir, "blobs", filepath.Base(blob(h))))
		}, "blobs/"},
		"blob nobody knows": {func(h *home) error {
			key := strings.Repeat("ab", 32)
			path := filepath.Join(h.dir, "blobs", "ab", key)
			return steps(func() error { return os.MkdirAll(filepath.Dir(path), 0o700) }, func() error { return os.WriteFile(path, []byte("x"), 0o600) },
				func() error { return os.Chtimes(path, old, old) })
		}, "blob abab"},
		"blob nobody knows, just written": {func(h *home) error {
			path := filepath.Join(h.dir, "blobs", "ab", strings.Repeat("ab", 32))
			return steps(func() error { return os.MkdirAll(filepath.Dir(path), 0o700) }, func() error { return os.WriteFile(path, []byte("x"), 0o600) })
		}, "blob abab"},
		"blob of a document whose payload stands in its row": {func(h *home) error {
			d := h.receiveRow("bravo", "alpha")
			h.publish()
			h.blob(d)
			path := filepath.Join(h.dir, "blobs", d.Hash.String()[:2], d.Hash.String())
			return os.Chtimes(path, old, old)
		}, "blob "},
		"a file among blobs": {func(h *home) error { return os.WriteFile(filepath.Join(h.dir, "blobs", "note.txt"), nil, 0o600) }, "blobs/note.txt"},
		"slot 0 missing":     {func(h *home) error { return os.Remove(filepath.Join(h.head(), "log-0")) }, "head/log-0"},
		"slot 1 missing":     {func(h *home) error { return os.Remove(filepath.Join(h.head(), "log-1")) }, "head/log-1"},
		"head missing":       {func(h *home) error { return os.RemoveAll(h.head()) }, "head/log-0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newWorld(t).home()
			h.populate()
			h.sound()
			check(t, test.damage(h))
			for _, p := range h.verify().Problems {
				if strings.HasPrefix(p.Where, test.where) {
					return
				}
			}
			t.Errorf("not found: %v", h.verify().Problems)
		})
	}
}

func TestVerifyHomeFindsEveryByteOfTheHead(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	for i := range 2 {
		path := filepath.Join(h.head(), slotName(i))
		b := must[[]byte](t)(os.ReadFile(path))
		for at := range b {
			for _, bit := range []byte{1, 0x20, 0x80} {
				changed := append([]byte{}, b...)
				changed[at] ^= bit
				if _, err := parseHead(changed); err == nil {
					t.Errorf("slot %d, byte %d: a change of %#x was not found", i, at, bit)
				}
			}
		}
		if _, err := parseHead(b); err != nil {
			t.Error(err)
		}
	}
}

// TestVerifyHomeOfDamagedPages overwrites page after page of the database file: the verifier must report, not fail.
func TestVerifyHomeOfDamagedPages(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	// A page that nothing uses, such as one that an older checkpoint took, holds nothing that could be damaged.
	free := must[int](t)(strconv.Atoi(column1(t, h.raw(), "PRAGMA freelist_count")[0]))
	check(t, h.db.Close())
	path := filepath.Join(h.dir, store.File)
	whole := must[[]byte](t)(os.ReadFile(path))
	const page = 4096
	for at := page; at < len(whole); at += page {
		b := append([]byte{}, whole...)
		copy(b[at:], strings.Repeat("\x5a", page))
		check(t, os.WriteFile(path, b, 0o600))
		db, err := store.OpenReader(t.Context(), h.dir)
		if err != nil {
			continue // found even earlier
		}
		c := h.verification()
		c.DB = db
		r, err := VerifyHome(t.Context(), c)
		if err == nil && r.OK() && free > 0 {
			free--
		} else if err != nil || r.OK() {
			t.Errorf("page %d overwritten: %v, %v", at/page, r, err)
		}
		check(t, db.Close())
	}
}

// TestVerifyHomeFindsTakenSignatures takes signatures off proposals, one by one: what is left is sound by itself.
func TestVerifyHomeFindsTakenSignatures(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	h.populate()
	h.sound()
	db := h.raw()
	tried := 0
	for _, id := range column1(t, db, "SELECT rowid FROM proposal") {
		var old []byte
		check(t, db.QueryRow("SELECT raw FROM proposal WHERE rowid = ?", id).Scan(&old))
		for line := range strings.Lines(string(old)) {
			if !strings.HasPrefix(line, "— ") {
				continue
			}
			tried++
			_, err := db.Exec("UPDATE proposal SET raw = ? WHERE rowid = ?", []byte(strings.Replace(string(old), line, "", 1)), id)
			check(t, err)
			if h.verify().OK() {
				t.Errorf("proposal %s without %.20s… was not found", id, line)
			}
		}
		_, err := db.Exec("UPDATE proposal SET raw = ? WHERE rowid = ?", old, id)
		check(t, err)
	}
	if h.sound(); tried < 4 {
		t.Errorf("only %d signatures were tried", tried)
	}
}

// TestVerifyHomeFindsAnOlderCheckpoint puts back a genuine checkpoint from before what witnesses co-signed. The head alone does not tell: it may be
// ahead of the checkpoint.
func TestVerifyHomeFindsAnOlderCheckpoint(t *testing.T) {
	t.Parallel()
	h := newWorld(t).home()
	old := h.publish()
	_, tree, err := checkpoint.Head(old)
	check(t, err)
	h.populate()
	h.sound()
	_, err = h.raw().Exec("UPDATE checkpoint SET size = ?, note = ?", tree.N, old)
	check(t, err)
	if r := h.verify(); !slices.ContainsFunc(r.Problems, func(p Problem) bool { return strings.Contains(p.What, "that witnesses co-signed") }) {
		t.Errorf("found %+v", r.Problems)
	}
}
