package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"entente.example/internal/durable"
	"entente.example/internal/statement"
)

// Blobs keeps sealed payloads as files, dir/blobs/HH/HASH, where HASH is the hash of the manifest and HH its first two digits.
// What is still being written stands in dir/staging. It may be used concurrently; one process at a time may write.
//
// The order that makes a document durable is: stage, Commit (file synced, renamed, folder synced), and only then the
// transaction that names it. So a crash leaves a blob that nothing names, which Prune removes, but never a name without
// its blob.
type Blobs struct {
	blobs   string
	staging string

	mu   sync.Mutex
	open map[string]bool // staging files in use, by name
	made map[string]bool // folders below blobs whose names are durable; there are 256

	sync     func(*os.File) error        // (*os.File).Sync, but in tests
	hardLink func(from, to string) error // os.Link, but in tests
}

// OpenBlobs opens the folders blobs and staging in a home, and makes them if they are not there.
func OpenBlobs(dir string) (*Blobs, error) {
	b := &Blobs{blobs: filepath.Join(dir, "blobs"), staging: filepath.Join(dir, "staging"), open: map[string]bool{}, made: map[string]bool{},
		sync: (*os.File).Sync, hardLink: os.Link}
	for _, d := range []string{b.blobs, b.staging} {
		if err := durable.MkdirAll(d); err != nil {
			return nil, fmt.Errorf("open blobs: %w", err)
		}
	}
	return b, nil
}

// ReadBlobs opens the folder blobs in a home for reading only. It makes nothing; a folder that is not there is empty.
func ReadBlobs(dir string) *Blobs {
	return &Blobs{blobs: filepath.Join(dir, "blobs"), staging: filepath.Join(dir, "staging"), open: map[string]bool{}}
}

// folder makes the folder of a blob, durably, and gives its path.
func (b *Blobs) folder(key statement.Hash) (string, error) {
	dir := filepath.Dir(b.path(key))
	b.mu.Lock()
	made := b.made[dir]
	b.mu.Unlock()
	if made {
		return dir, nil
	}
	if err := durable.MkdirAll(dir); err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made[dir] = true
	return dir, nil
}

func (b *Blobs) path(key statement.Hash) string {
	h := key.String()
	return filepath.Join(b.blobs, h[:2], h)
}

// Open opens a blob for reading and gives its size in bytes, or ErrNotFound.
func (b *Blobs) Open(key statement.Hash) (*os.File, int64, error) {
	f, err := os.Open(b.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("open blob %s: %w", key.Short(), ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a file")
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open blob %s: %w", key.Short(), err), f.Close())
	}
	return f, info.Size(), nil
}

// Link gives a blob a second name. When it returns nil, the blob is durable under both. A second name that is there is an error: names are hashes.
func (b *Blobs) Link(from, to statement.Hash) error {
	if err := b.link(from, to); err != nil {
		return fmt.Errorf("link blob %s: %w", from.Short(), err)
	}
	return nil
}

func (b *Blobs) link(from, to statement.Hash) error {
	path := b.path(to)
	if _, err := b.folder(to); err != nil {
		return err
	}
	// The time of the link, so that audit.VerifyHome can tell a name that is about to be used from one that is left over.
	now := time.Now()
	err := os.Chtimes(b.path(from), now, now)
	if err == nil {
		err = b.hardLink(b.path(from), path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case errors.Is(err, fs.ErrExist):
		return err
	case err != nil:
		return b.duplicate(from, to) // some file systems have no links
	}
	// As in Commit: without this the name could be lost in a crash, and with it the blob.
	return durable.SyncDir(filepath.Dir(path))
}

// CopyingPrefix begins the names of staging files of blobs that are copied. Nobody goes on with one.
const CopyingPrefix = "copying-"

func (b *Blobs) duplicate(from, to statement.Hash) error {
	// The rename of Commit would replace it.
	if _, err := os.Lstat(b.path(to)); err == nil {
		return fs.ErrExist
	}
	f, _, err := b.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := b.Stage(CopyingPrefix + to.String())
	if err != nil {
		return err
	}
	if err := s.Truncate(0); err != nil {
		return errors.Join(err, s.Discard())
	}
	if _, err := io.Copy(s, f); err != nil {
		return errors.Join(err, s.Discard())
	}
	return s.Commit(to)
}

// Remove removes a blob, durably. One that is not there is no error.
func (b *Blobs) Remove(key statement.Hash) error {
	path := b.path(key)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove blob: %w", err)
	}
	return durable.SyncDir(filepath.Dir(path))
}

// Walk calls fn for every file below blobs: its path there, with slashes, and its key, or ok false for a file that is no blob.
func (b *Blobs) Walk(fn func(path string, key statement.Hash, ok bool) error) error {
	err := filepath.WalkDir(b.blobs, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile, or there are no blobs yet
		}
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(b.blobs, path)
		if err != nil {
			return err
		}
		key, err := statement.ParseHash(d.Name())
		return fn(filepath.ToSlash(rel), key, err == nil && d.Type().IsRegular() && path == b.path(key))
	})
	if err != nil {
		return fmt.Errorf("walk blobs: %w", err)
	}
	return nil
}

// Prune removes the blobs that keep does not want, and gives their number. It must not run while somebody is committing
// blobs: between its commit and its transaction a blob looks as if nothing named it.
func (b *Blobs) Prune(keep func(statement.Hash) (bool, error)) (int, error) {
	removed := 0
	err := b.Walk(func(_ string, key statement.Hash, ok bool) error {
		if !ok {
			return nil // not ours to remove; audit.VerifyHome reports it
		}
		wanted, err := keep(key)
		if err != nil || wanted {
			return err
		}
		removed++
		return b.Remove(key)
	})
	return removed, err
}
