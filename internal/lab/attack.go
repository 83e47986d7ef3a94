package lab

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// What an operator can do who has a home with all its keys and means harm. Lessons show that it is found.

// RewriteLog turns the newest leaf of a kind into another, harmless one, and then makes everything in the home fit: the tree, the
// head, the checkpoint with both signatures of the log. Alone, the home is sound then. The node must not run.
func RewriteLog(ctx context.Context, dir string, kind statement.EventKind) error {
	config, err := node.ReadConfig(dir)
	if err != nil {
		return fmt.Errorf("rewrite log: %w", err)
	}
	keys, err := identity.Load(dir, config.Member)
	if err != nil {
		return fmt.Errorf("rewrite log: %w", err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, store.File))
	if err != nil {
		return fmt.Errorf("rewrite log: %w", err)
	}
	f := &forger{ctx: ctx, db: db, dir: dir, keys: keys}
	err = errors.Join(f.rewrite(kind), db.Close())
	if err != nil {
		return fmt.Errorf("rewrite log: %w", err)
	}
	return nil
}

// forger is somebody who writes into a home what the node would not.
type forger struct {
	ctx    context.Context
	db     *sql.DB
	dir    string
	keys   *identity.Keys
	hashes []tlog.Hash
}

func (f *forger) rewrite(kind statement.EventKind) error {
	leaves, err := f.leaves()
	if err != nil {
		return err
	}
	at := -1
	for i, body := range leaves {
		if l, err := statement.ParseLeaf(body); err == nil && l.Kind == kind {
			at = i
		}
	}
	if at < 0 {
		return fault.New(fault.NotFound, "", "the log has no leaf %q", kind)
	}
	old, err := statement.ParseLeaf(leaves[at])
	if err != nil {
		return err
	}
	if leaves[at], _, err = (statement.Event{Kind: statement.EventRejected, Time: old.Time}).Leaf(nil); err != nil {
		return err
	}
	tx, err := f.db.BeginTx(f.ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"UPDATE leaf SET body = ?, about = NULL WHERE idx = ?", []any{leaves[at], at}},
		{"DELETE FROM private WHERE leaf = ?", []any{at}},
		{"DELETE FROM cosigned", nil}, // what others signed cannot be forged
		{"DELETE FROM tree", nil},
	} {
		if _, err := tx.ExecContext(f.ctx, q.query, q.args...); err != nil {
			return err
		}
	}
	tree, err := f.grow(tx, leaves)
	if err != nil {
		return err
	}
	raw, err := checkpoint.Sign(tree, time.Now(), f.keys.Log, f.keys.LogMLDSA)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(f.ctx, "UPDATE checkpoint SET size = ?, note = ?", tree.N, raw); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return f.head(tree)
}

func (f *forger) leaves() (list [][]byte, err error) {
	rows, err := f.db.QueryContext(f.ctx, "SELECT body FROM leaf ORDER BY idx")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		list = append(list, body)
	}
	return list, rows.Err()
}

// grow writes the whole tree anew.
func (f *forger) grow(tx *sql.Tx, leaves [][]byte) (t tlog.Tree, err error) {
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		list := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			list[i] = f.hashes[at]
		}
		return list, nil
	})
	for i, body := range leaves {
		hashes, err := tlog.StoredHashes(int64(i), body, reader)
		if err != nil {
			return t, err
		}
		f.hashes = append(f.hashes, hashes...)
	}
	for i, h := range f.hashes {
		if _, err := tx.ExecContext(f.ctx, "INSERT INTO tree (idx, hash) VALUES (?, ?)", i, h[:]); err != nil {
			return t, err
		}
	}
	t.N = int64(len(leaves))
	t.Hash, err = tlog.TreeHash(t.N, reader)
	return t, err
}

// head writes both slots, as docs/formats/checkpoint.md says, and forgets what was verified before.
func (f *forger) head(t tlog.Tree) error {
	text := fmt.Sprintf("entente.example/head/v1\n%s", checkpoint.Text(f.keys.Log.Name(), t))
	text += fmt.Sprintf("%x\n", sha256.Sum256([]byte(text)))
	for _, slot := range []string{"log-0", "log-1"} {
		if err := os.WriteFile(filepath.Join(f.dir, "head", slot), []byte(text), 0o600); err != nil {
			return err
		}
	}
	err := os.Remove(filepath.Join(f.dir, audit.VerifiedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// CopyFolder puts a copy of a folder in the place of another, as a backup does, and bringing it back. Files keep their modes.
func CopyFolder(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("copy folder: %w", err)
	}
	root, err := os.OpenRoot(from)
	if err != nil {
		return fmt.Errorf("copy folder: %w", err)
	}
	err = errors.Join(copyInto(root, to), root.Close())
	if err != nil {
		return fmt.Errorf("copy folder: %w", err)
	}
	return nil
}

func copyInto(root *os.Root, to string) error {
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, filepath.FromSlash(path))
		if d.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm())
		}
		b, err := root.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, info.Mode().Perm())
	})
}
