package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"entente.example/internal/crash"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

//go:embed migrations/*.sql
var migrations embed.FS

// File is the database's name in a home. SQLite keeps two more beside it, with -wal and -shm at the end; a copy of a home
// needs all that are there.
const File = "entente.db"

// readers is how many views can run at once. Each has a connection with a page cache of up to 2 MB.
const readers = 8

// FULL makes a commit wait for the disk: with NORMAL, which is customary with a write-ahead log, a power cut loses every
// transaction since the last checkpoint, acknowledged or not. Immediate transactions take the write lock at once, so that
// none can fail half way because another process wrote in between.
const (
	writerOptions = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=busy_timeout(5000)&_txlock=immediate&_pragma=wal_autocheckpoint(%d)"
	readerOptions = "_pragma=query_only(1)&_pragma=busy_timeout(5000)"
	guestOptions  = "mode=ro&_pragma=busy_timeout(5000)"
)

func writing() string {
	options := fmt.Sprintf(writerOptions, limit.WALPages)
	if crash.Weak(crash.NormalSync) {
		return strings.Replace(options, "synchronous(FULL)", "synchronous(NORMAL)", 1)
	}
	return options
}

// Open opens the database of the home in folder dir for reading and writing, makes it if it is not there, and brings its
// tables up to date. The folder must exist. A database that a newer version of the program has changed is refused.
func Open(ctx context.Context, dir string) (*DB, error) {
	path := filepath.Join(dir, File)
	if err := makeFile(dir, path); err != nil {
		return nil, err
	}
	db := &DB{changes: changes(path)}
	var err error
	if db.writer, err = sql.Open("sqlite", dsn(path, writing())); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.writer.SetMaxOpenConns(1)
	if db.reader, err = sql.Open("sqlite", dsn(path, readerOptions)); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.writer.Close())
	}
	db.read()
	err = db.migrate(ctx)
	if err == nil {
		db.writes, err = newSession(ctx, db.writer)
	}
	if err == nil {
		err = errors.Join(db.writes.watchUndone(), db.writes.prepareAll(ctx))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, explain(err)), db.Close())
	}
	return db, nil
}

// OpenReader opens the database of the home in folder dir for reading only. It works beside a running node, makes nothing,
// and migrates nothing.
func OpenReader(ctx context.Context, dir string) (*DB, error) {
	path := filepath.Join(dir, File)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, noHome(dir, err)
	}
	reader, err := sql.Open("sqlite", dsn(path, guestOptions))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db := &DB{reader: reader, changes: changes(path)}
	db.read()
	have, want, err := db.versions(ctx)
	switch {
	case err != nil:
		err = fmt.Errorf("open %s: %w", path, explain(err))
	case have < want:
		err = fault.New(fault.Conflict, "start the node once; it brings the database up to date", "database %s is of an older version (%d, this program has %d)", path, have, want)
	case have > want:
		err = newer(have, want)
	}
	if err == nil {
		if err = db.views.prepareAll(ctx); err != nil {
			err = fmt.Errorf("open %s: %w", path, explain(err))
		}
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// read makes the views, and leaves one connection for whoever asks outside of them.
func (db *DB) read() {
	db.reader.SetMaxOpenConns(readers + 1)
	db.reader.SetMaxIdleConns(1)
	db.views = newSessions(db.reader)
}

// changes gives the counter of a database's statements, which all that this process opens of it share.
func changes(path string) *atomic.Int64 {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	c, _ := changesOf.LoadOrStore(path, new(atomic.Int64))
	return c.(*atomic.Int64) //nolint:forcetypeassert // nothing else is stored
}

// makeFile makes an empty file, which SQLite takes for an empty database, because SQLite itself would make it readable by
// everybody. A crash here leaves an empty file, and the next Open goes on from it.
func makeFile(dir, path string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return noHome(dir, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return durable.SyncDir(dir)
}

func noHome(dir string, err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open home: %w", err)
	}
	return fault.New(fault.NotFound, "make one with: entente init NAME --address HOST:PORT", "there is no home at %s", dir)
}

// dsn names a file for SQLite, which reads it as a URI: a question mark or percent sign in the path must not end it.
func dsn(path, options string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/… becomes file:///C:/…
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: options}).String()
}

func (db *DB) provider() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	conn := db.writer
	if conn == nil {
		conn = db.reader
	}
	return goose.NewProvider(database.DialectSQLite3, conn, files, goose.WithDisableGlobalRegistry(true))
}

// versions tells the version of the tables in the database, and that of this program. An empty database has version 0.
func (db *DB) versions(ctx context.Context) (have, want int64, err error) {
	p, err := db.provider()
	if err != nil {
		return 0, 0, err
	}
	for _, s := range p.ListSources() {
		want = max(want, s.Version)
	}
	var tables int64
	if err := db.reader.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'").Scan(&tables); err != nil {
		return 0, 0, err
	}
	if tables == 0 {
		return 0, want, nil
	}
	err = db.reader.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&have)
	return have, want, err
}

func newer(have, want int64) error {
	return fault.New(fault.Conflict, "use the newer program", "a newer version of entente has changed the database (its tables are version %d, this program knows %d)", have, want)
}

// migrate brings the tables up to date. Each step is one transaction: a crash leaves the steps before it done. Two programs
// may open a new home at the same moment, and then one of them finds the work done by the other.
func (db *DB) migrate(ctx context.Context) error {
	// The writer sets the database's journal mode for good, before anything is read.
	if err := db.writer.PingContext(ctx); err != nil {
		return err
	}
	have, want, err := db.versions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return newer(have, want)
	}
	if have == want {
		return nil
	}
	p, err := db.provider()
	if err != nil {
		return err
	}
	if _, err = p.Up(ctx); err == nil {
		return nil
	}
	if have, want, again := db.versions(ctx); again == nil && have == want {
		return nil
	}
	return fmt.Errorf("bring the database up to date: %w", err)
}

// Integrity has SQLite check its own structures (pages, indexes, references), which costs a read of the whole database, and
// compares the version of the tables. It returns at most 100 findings, none if all is well.
func (db *DB) Integrity(ctx context.Context) ([]string, error) {
	found, err := db.pragma(ctx, "PRAGMA integrity_check(100)")
	if err != nil {
		return nil, err
	}
	if len(found) == 1 && found[0] == "ok" {
		found = nil
	}
	var broken int64
	if err := db.reader.QueryRowContext(ctx, "SELECT count(*) FROM pragma_foreign_key_check").Scan(&broken); err != nil {
		return found, err
	}
	if broken > 0 {
		found = append(found, fmt.Sprintf("%d rows refer to rows that are not there", broken))
	}
	strays, err := db.strays(ctx)
	if err != nil {
		return found, err
	}
	found = append(found, strays...)
	applied, err := db.pragma(ctx, "SELECT version_id || '/' || is_applied FROM goose_db_version ORDER BY id")
	if err != nil {
		return found, err
	}
	_, want, err := db.versions(ctx)
	if err != nil {
		return found, err
	}
	for v := range want + 1 {
		if v >= int64(len(applied)) || applied[v] != fmt.Sprintf("%d/1", v) {
			return append(found, fmt.Sprintf("the record of the tables' version is damaged at step %d", v)), nil
		}
	}
	if int64(len(applied)) != want+1 {
		found = append(found, "the record of the tables' version has more steps than there are")
	}
	return found, nil
}

// storage is how SQLite must hold the values of a column of each type that our tables have. INTEGER is that of keys only, where SQLite
// takes nothing else.
var storage = map[string]string{"BYTEA": "blob", "BIGINT": "integer", "INTEGER": "integer", "TEXT": "text"}

// strays finds values of another type than their column's. SQLite keeps whatever it is given, and sorts every number and
// every text before every blob, where nobody who reads by key would look.
func (db *DB) strays(ctx context.Context) (found []string, err error) {
	columns, err := db.pragma(ctx, "SELECT m.name || ' ' || c.name || ' ' || c.type FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY m.name, c.cid")
	if err != nil {
		return nil, err
	}
	for _, c := range columns {
		parts := strings.Fields(c)
		want, ours := storage[parts[len(parts)-1]]
		if !ours || len(parts) != 3 {
			continue // goose's own, which Integrity compares
		}
		table, column := parts[0], parts[1] // names of our own schema
		var n int64
		err := db.reader.QueryRowContext(ctx, "SELECT count(*) FROM "+table+" WHERE typeof("+column+") NOT IN ('null', '"+want+"')").Scan(&n) //nolint:gosec // see above
		if err != nil {
			return found, err
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("%s.%s holds %d values that are not of its type", table, column, n))
		}
	}
	return found, nil
}

func (db *DB) pragma(ctx context.Context, query string) (lines []string, err error) {
	rows, err := db.reader.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return lines, err
		}
		lines = append(lines, s)
	}
	return lines, rows.Err()
}

// explain adds what to do about an error of SQLite's that a person can do something about.
func explain(err error) error {
	switch primary(err) {
	case sqlite3.SQLITE_BUSY:
		return fault.New(fault.Transient, "try again; if it stays, another program is holding the database", "the database is busy: %w", err)
	case sqlite3.SQLITE_FULL:
		return fault.New(fault.Transient, "free some space", "the disk is full: %w", err)
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fault.New(fault.Failed, "stop the node, keep a copy of the home, and restore a backup", "the database file is damaged: %w", err)
	}
	return err
}

func restartNeeded(err error) error {
	return fault.New(fault.Failed, "check the disk, then restart the program", "the disk failed during a commit, so nothing more is written: %w", err)
}

// isIO tells whether SQLite reports that reading, writing or syncing failed.
func isIO(err error) bool { return primary(err) == sqlite3.SQLITE_IOERR }

// primary gives SQLite's primary result code, or 0.
func primary(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}
