package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

var someday = time.Date(2026, 11, 23, 9, 12, 44, 0, time.UTC)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *DB {
	t.Helper()
	db, err := Open(t.Context(), dir)
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func update(t testing.TB, db *DB, fn func(*Tx) error) {
	t.Helper()
	check(t, db.Update(t.Context(), fn))
}

func view(t testing.TB, db *DB, fn func(*View) error) {
	t.Helper()
	check(t, db.View(t.Context(), fn))
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func record(tx *Tx) error {
	_, err := tx.Record(statement.Event{Kind: statement.EventRejected, Time: someday, Private: []statement.Private{{Field: "error", Value: []byte("secret")}}})
	return err
}

// counts gives the number of leaves and of statements.
func counts(t testing.TB, db *DB) (leaves, statements int64) {
	t.Helper()
	view(t, db, func(v *View) (err error) {
		leaves, err = v.Size()
		for _, err := range v.StatementRows(nil) {
			check(t, err)
			statements++
		}
		return err
	})
	return leaves, statements
}

// author signs with fresh keys under any name.
type author struct{ t testing.TB }

func (a author) key(name string) *statement.Key {
	k, err := statement.GenerateKey(rand.Reader, name)
	check(a.t, err)
	return k
}

func (a author) manifest(from, id string, created time.Time, to ...string) *statement.Signed[statement.Manifest] {
	h := statement.HashBytes([]byte(id))
	m := statement.Manifest{ID: id, From: from, To: to, Charter: h, Agreement: "watch", AgreementHash: h, Purpose: "incident", Label: "TLP:AMBER",
		Created: created, DeliverBy: created.AddDate(0, 0, 7), RetainUntil: created.AddDate(0, 1, 0), ReleasedBy: "spiffe://" + from + "/person/alice",
		Content: statement.Content{CiphertextHash: h, CiphertextSize: 1000, HeaderHash: h, Commitment: statement.CommitmentPrefix + h.String()}}
	for _, name := range to {
		m.SealedFor = append(m.SealedFor, statement.HashBytes([]byte(name)))
	}
	s, err := statement.Sign(m, a.key(from+"/statement"))
	check(a.t, err)
	return s
}

func (a author) receipt(kind statement.ReceiptKind, m *statement.Signed[statement.Manifest], leaf int64) *statement.Signed[statement.Receipt] {
	r := statement.Receipt{Kind: kind, From: m.Terms.To[0], To: m.Terms.From, Manifest: m.Hash, ID: m.Terms.ID, At: someday, Log: m.Terms.To[0] + "/log/1", Leaf: leaf}
	s, err := statement.Sign(r, a.key(r.From+"/statement"))
	check(a.t, err)
	return s
}

func id(n int) string { return fmt.Sprintf("01K7XQ3W0V6N2T9R4M5B8C%04d", n) }

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a 50% odd? #name")
	check(t, os.Mkdir(dir, 0o700))
	db := open(t, dir)
	update(t, db, record)
	for _, name := range []string{File, File + "-wal", File + "-shm"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	var mode, sync string
	check(t, db.writes.conn.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode))
	check(t, db.writes.conn.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&sync))
	if mode != "wal" || sync != "2" {
		t.Errorf("journal mode %s, synchronous %s", mode, sync)
	}
	check(t, db.Close())
	if leaves, _ := counts(t, open(t, dir)); leaves != 1 {
		t.Errorf("%d leaves after opening again", leaves)
	}
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), File) {
			t.Errorf("unexpected file %s", e.Name())
		}
	}
}

// TestOpenTogether has several programs open a new home at the same moment.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := Open(context.Background(), dir)
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(db.Update(context.Background(), record), db.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if leaves, _ := counts(t, open(t, dir)); leaves != 4 {
		t.Errorf("%d leaves", leaves)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, openAt := range map[string]func(context.Context, string) (*DB, error){"Open": Open, "OpenReader": OpenReader} {
		dir := filepath.Join(t.TempDir(), "nowhere")
		_, err := openAt(t.Context(), dir)
		if fault.KindOf(err) != fault.NotFound || !strings.Contains(fault.Hint(err), "entente init") {
			t.Errorf("%s without a home: %v, hint %q", name, err, fault.Hint(err))
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s made a home", name)
		}

		dir = t.TempDir()
		db := open(t, dir)
		_, err = db.writes.conn.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		check(t, err)
		check(t, db.Close())
		if _, err := openAt(t.Context(), dir); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), "newer") || fault.Hint(err) == "" {
			t.Errorf("%s of a newer database: %v", name, err)
		}

		dir = t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, File), []byte(strings.Repeat("no database", 1000)), 0o600))
		if _, err := openAt(t.Context(), dir); err == nil || fault.Hint(err) == "" {
			t.Errorf("%s of garbage: %v", name, err)
		}
	}
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, File), nil, 0o600))
	if _, err := OpenReader(t.Context(), dir); fault.KindOf(err) != fault.Conflict || fault.Hint(err) == "" {
		t.Errorf("OpenReader of an empty file: %v", err)
	}
}

// TestOpenReader reads beside a writer, sees what is committed, and leaves the database file as it is.
func TestOpenReader(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := open(t, dir)
	update(t, db, record)
	reader, err := OpenReader(t.Context(), dir)
	check(t, err)
	update(t, db, record)
	if leaves, _ := counts(t, reader); leaves != 2 {
		t.Errorf("%d leaves beside a writer", leaves)
	}
	if err := reader.Update(t.Context(), record); err == nil {
		t.Error("a reader could update")
	}
	if _, err := reader.reader.Exec("DELETE FROM leaf"); err == nil {
		t.Error("a reader could delete")
	}
	check(t, reader.Close())

	// A home as a killed node leaves it: part of the state is still in the write-ahead log.
	killed := t.TempDir()
	for _, name := range []string{File, File + "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(killed, name), b, 0o600))
	}
	before, err := os.ReadFile(filepath.Join(killed, File))
	check(t, err)
	reader, err = OpenReader(t.Context(), killed)
	check(t, err)
	if leaves, _ := counts(t, reader); leaves != 2 {
		t.Errorf("%d leaves after a kill", leaves)
	}
	check(t, reader.Close())
	if after, err := os.ReadFile(filepath.Join(killed, File)); err != nil || string(after) != string(before) {
		t.Errorf("the reader changed the database: %v", err)
	}
}

// TestUpdateAllOrNothing ends an Update in every way but well.
func TestUpdateAllOrNothing(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	a := author{t}
	update(t, db, record)
	m := a.manifest("alpha", id(1), someday, "bravo")
	change := func(tx *Tx) error {
		check(t, tx.PutManifest(m, []byte("header"), []byte("salt"), nil))
		check(t, tx.PutExchange(m.Hash, "bravo", Queued, someday))
		_, err := tx.Record(statement.Event{Kind: statement.EventReleased, Time: someday, Manifest: m.Hash})
		check(t, err)
		if n, err := tx.Size(); err != nil || n != 2 {
			t.Errorf("inside: %d leaves, %v", n, err)
		}
		return nil
	}
	boom := errors.New("boom")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, try := range map[string]func() error{
		"error": func() error {
			return db.Update(t.Context(), func(tx *Tx) error { return errors.Join(change(tx), boom) })
		},
		"cancelled": func() error { return db.Update(cancelled, change) },
		"panic": func() (err error) {
			defer func() { err = fmt.Errorf("panic: %v", recover()) }()
			return db.Update(t.Context(), func(tx *Tx) error { _ = change(tx); panic("boom") })
		},
		"bad leaf": func() error {
			return db.Update(t.Context(), func(tx *Tx) error {
				_ = change(tx)
				_, err := tx.Record(statement.Event{Kind: "unheard-of", Time: someday})
				return err
			})
		},
	} {
		if err := try(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if leaves, statements := counts(t, db); leaves != 1 || statements != 0 {
			t.Errorf("%s: %d leaves, %d statements", name, leaves, statements)
		}
	}
	wantErr(t, "Update", db.Update(t.Context(), func(*Tx) error { return boom }), boom)

	// A caller that is cancelled when its turn has come is finished all the same.
	ctx, cancel := context.WithCancel(t.Context())
	check(t, db.Update(ctx, func(tx *Tx) error { cancel(); return change(tx) }))
	if leaves, statements := counts(t, db); leaves != 2 || statements != 1 {
		t.Errorf("at last: %d leaves, %d statements", leaves, statements)
	}
}

// TestUpdateParallel has two processes, as it were, update one database.
func TestUpdateParallel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dbs := []*DB{open(t, dir), open(t, dir)}
	const each = 40
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range each / 4 {
				if err := dbs[i%2].Update(context.Background(), record); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	view(t, dbs[0], func(v *View) error {
		tree, err := v.Root()
		check(t, err)
		if tree.N != 2*each {
			t.Errorf("%d leaves", tree.N)
		}
		leaves, err := v.Leaves(0, 1000)
		check(t, err)
		if got := rootOf(t, leaves); got != tree.Hash {
			t.Errorf("root %v, the leaves give %v", tree.Hash, got)
		}
		return nil
	})
	if found, err := dbs[1].Integrity(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("integrity: %v, %v", found, err)
	}
}

// rootOf computes a root from leaves alone.
func rootOf(t testing.TB, leaves [][]byte) tlog.Hash {
	t.Helper()
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, _ error) {
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	for i, leaf := range leaves {
		h, err := tlog.StoredHashes(int64(i), leaf, reader)
		check(t, err)
		stored = append(stored, h...)
	}
	root, err := tlog.TreeHash(int64(len(leaves)), reader)
	check(t, err)
	return root
}

// TestUpdateBusy has another process hold the database for longer than anybody waits.
func TestUpdateBusy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := open(t, dir)
	other, err := sql.Open("sqlite", dsn(filepath.Join(dir, File), "_txlock=immediate"))
	check(t, err)
	defer func() { check(t, other.Close()) }()
	tx, err := other.Begin()
	check(t, err)
	start := time.Now()
	err = db.Update(t.Context(), record)
	if took := time.Since(start); fault.KindOf(err) != fault.Transient || fault.Hint(err) == "" || took > 20*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	check(t, tx.Rollback())
	check(t, db.Update(t.Context(), record))
}

// TestUpdateAfterFailedCommit has a commit meet an I/O error, after which nothing may be written before a restart.
func TestUpdateAfterFailedCommit(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	err := io.ErrUnexpectedEOF
	db.failed.Store(&err)
	if got := db.Update(t.Context(), record); !errors.Is(got, err) || fault.Hint(got) == "" {
		t.Errorf("update after a failed commit: %v", got)
	}
	if leaves, _ := counts(t, db); leaves != 0 {
		t.Errorf("%d leaves", leaves)
	}
}

// TestView keeps its picture while the database changes.
func TestView(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	update(t, db, record)
	view(t, db, func(v *View) error {
		before, err := v.Size()
		check(t, err)
		update(t, db, record)
		if after, err := v.Size(); err != nil || after != before {
			t.Errorf("the picture changed: %d, %d, %v", before, after, err)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "cancelled View", db.View(ctx, func(*View) error { return nil }), context.Canceled)
}

func TestRecord(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	var leaves [][]byte
	for i := range 20 {
		var index int64
		update(t, db, func(tx *Tx) (err error) {
			index, err = tx.Record(statement.Event{Kind: statement.EventRejected, Time: someday.Add(time.Duration(i) * time.Second), Peers: []string{"bravo"},
				Private: []statement.Private{{Field: "person", Value: []byte("alice")}, {Field: "error", Value: fmt.Appendf(nil, "number %d", i)}, {Field: "empty"}}})
			return err
		})
		if index != int64(i) {
			t.Errorf("leaf %d has index %d", i, index)
		}
		view(t, db, func(v *View) error {
			leaf, err := v.Leaf(index)
			check(t, err)
			leaves = append(leaves, leaf)
			tree, err := v.Root()
			check(t, err)
			if want := rootOf(t, leaves); tree.N != int64(len(leaves)) || tree.Hash != want {
				t.Errorf("tree %v, want %v", tree, want)
			}
			checkPrivate(t, v, index, leaf)
			return nil
		})
	}
	view(t, db, func(v *View) error {
		if got, err := v.Leaves(5, 3); err != nil || len(got) != 3 || string(got[0]) != string(leaves[5]) {
			t.Errorf("leaves: %q, %v", got, err)
		}
		if got, err := v.Leaves(20, 3); err != nil || len(got) != 0 {
			t.Errorf("leaves behind the end: %q, %v", got, err)
		}
		_, err := v.Leaf(20)
		wantErr(t, "leaf behind the end", err, ErrNotFound)
		return nil
	})
}

// checkPrivate opens the commitments of a leaf, and finds what is private nowhere in it.
func checkPrivate(t *testing.T, v *View, index int64, raw []byte) {
	t.Helper()
	leaf, err := statement.ParseLeaf(raw)
	check(t, err)
	private, err := v.Private(index)
	check(t, err)
	if len(private) != 3 || len(leaf.Private) != 3 {
		t.Fatalf("%d private fields, %d commitments", len(private), len(leaf.Private))
	}
	salts := map[[32]byte]bool{}
	for _, p := range private {
		if leaf.Private[p.Field] != p.Commitment() {
			t.Errorf("the commitment to %s does not open", p.Field)
		}
		if len(p.Value) > 0 && strings.Contains(string(raw), string(p.Value)) {
			t.Errorf("%q stands in the leaf", p.Value)
		}
		salts[p.Salt] = true
	}
	if len(salts) != 3 {
		t.Error("salts repeat")
	}
}

func TestRecordReleasedCommitsToSalt(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	m := author{t}.manifest("alpha", id(1), someday, "bravo")
	event := statement.Event{Kind: statement.EventReleased, Time: someday, Manifest: m.Hash}
	wantErr(t, "release without manifest", db.Update(t.Context(), func(tx *Tx) error { _, err := tx.Record(event); return err }), ErrNotFound)
	update(t, db, func(tx *Tx) error {
		check(t, tx.PutManifest(m, []byte("header"), []byte("salty"), nil))
		_, err := tx.Record(event)
		return err
	})
	view(t, db, func(v *View) error {
		private, err := v.Private(0)
		if err != nil || len(private) != 1 || private[0].Field != SaltField || string(private[0].Value) != "salty" {
			t.Errorf("private: %v, %v", private, err)
		}
		return nil
	})
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	db := open(t, t.TempDir())
	view(t, db, func(v *View) error {
		_, _, err := v.Checkpoint()
		wantErr(t, "no checkpoint", err, ErrNotFound)
		return nil
	})
	for _, test := range []struct{ put, want int64 }{{0, 0}, {3, 3}, {2, 3}, {9, 9}} {
		update(t, db, func(tx *Tx) error { return tx.PutCheckpoint(test.put, fmt.Appendf(nil, "note %d", test.put)) })
		view(t, db, func(v *View) error {
			size, note, err := v.Checkpoint()
			rows, err2 := v.CheckpointRows()
			if size != test.want || string(note) != fmt.Sprintf("note %d", test.want) || len(rows) != 1 || err != nil || err2 != nil {
				t.Errorf("after %d: %d %q, %d rows, %v %v", test.put, size, note, len(rows), err, err2)
			}
			return nil
		})
	}
}
