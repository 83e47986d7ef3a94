package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

	sync     func(*os.File) error        // (*os.File).Sync, but in tests
	hardLink func(from, to string) error // os.Link, but in tests
}

// OpenBlobs opens the folders blobs and staging in a home, and makes them if they are not there.
func OpenBlobs(dir string) (*Blobs, error) {
	b := &Blobs{blobs: filepath.Join(dir, "blobs"), staging: filepath.Join(dir, "staging"), open: map[string]bool{},
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

// Staging is a file that is being written. One goroutine may use it. It must be committed, discarded or closed.
type Staging struct {
	blobs *Blobs
	name  string
	file  *os.File
	size  int64
}

// Stage opens the staging file of that name and goes on at its end, or makes it. A name is a short word of lower-case letters,
// digits and hyphens. ErrBusy while it is open already.
//
// The end of a file that was being written when the power failed may hold garbage: whoever goes on with one hashes it from
// its start.
func (b *Blobs) Stage(name string) (*Staging, error) {
	if name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, fmt.Errorf("stage %.80q: not a name for a staging file", name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[name] {
		return nil, fmt.Errorf("stage %s: %w", name, ErrBusy)
	}
	f, err := os.OpenFile(filepath.Join(b.staging, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stage: %w", err), f.Close())
	}
	b.open[name] = true
	return &Staging{blobs: b, name: name, file: f, size: size}, nil
}

// Size is the number of bytes that are there.
func (s *Staging) Size() int64 { return s.size }

// Write appends. After an error the size is what was written.
func (s *Staging) Write(p []byte) (int, error) {
	n, err := s.file.WriteAt(p, s.size)
	s.size += int64(n)
	return n, err
}

// ReadAt reads what is there, as io.ReaderAt.
func (s *Staging) ReadAt(p []byte, off int64) (int, error) { return s.file.ReadAt(p, off) }

// Truncate cuts the file to a size that it has reached before, 0 to begin again.
func (s *Staging) Truncate(size int64) error {
	if size < 0 || size > s.size {
		return fmt.Errorf("truncate staging file to %d bytes: it has %d", size, s.size)
	}
	if err := s.file.Truncate(size); err != nil {
		return err
	}
	s.size = size
	return nil
}

// Close leaves the file for a later Stage of the same name. After Commit or Discard it does nothing.
func (s *Staging) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.forget()
	return err
}

// forget ends the use of the file and of its name.
func (s *Staging) forget() {
	s.file = nil
	s.blobs.mu.Lock()
	defer s.blobs.mu.Unlock()
	delete(s.blobs.open, s.name)
}

// Discard removes the file.
func (s *Staging) Discard() error {
	if s.file == nil {
		return nil
	}
	// Closed first, because Windows removes no open file. The name stays ours until it is gone; not durably: after a crash
	// Sweep finds it again.
	err := s.file.Close()
	err = errors.Join(err, os.Remove(filepath.Join(s.blobs.staging, s.name)))
	s.forget()
	return err
}

// Commit makes the file the blob of that manifest. When it returns nil, the blob is durable under its name. The staging
// file is closed in any case. After an error it is still there, unless the rename was reached, or its sync has failed.
func (s *Staging) Commit(key statement.Hash) error {
	if s.file == nil {
		return fmt.Errorf("commit blob %s: the staging file is closed", key.Short())
	}
	if err := s.commit(key); err != nil {
		return errors.Join(fmt.Errorf("commit blob %s: %w", key.Short(), err), s.Close())
	}
	return nil
}

func (s *Staging) commit(key statement.Hash) error {
	// The time of the commit, so that audit.VerifyHome can tell a blob that is about to be named from one that is left over.
	from, now := filepath.Join(s.blobs.staging, s.name), time.Now()
	if err := os.Chtimes(from, now, now); err != nil {
		return err
	}
	// A crash before the sync leaves a staging file with a doubtful end.
	if err := s.blobs.sync(s.file); err != nil {
		// The kernel may have dropped what it could not write, and asking again would report success. So nobody may go on with it.
		return errors.Join(fmt.Errorf("sync failed, so what was staged is given up: %w", err), s.Discard())
	}
	to := s.blobs.path(key)
	if err := durable.MkdirAll(filepath.Dir(to)); err != nil {
		return err
	}
	// A file that is open cannot be renamed on Windows. The name stays ours until it has moved.
	if err := s.file.Close(); err != nil {
		return err
	}
	// A crash here leaves either name, with all the bytes.
	if err := os.Rename(from, to); err != nil {
		return err
	}
	// Until now the new name could be lost in a crash, and with it the blob. From here on it is durable.
	if err := durable.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	s.forget()
	return nil
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
	if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
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

// Sweep removes the staging files that have not grown since a time and are not open, and gives their number.
func (b *Blobs) Sweep(since time.Time) (int, error) {
	removed := 0
	err := b.eachStaging(func(info fs.FileInfo) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.open[info.Name()] || !info.ModTime().Before(since) {
			return nil
		}
		removed++
		return os.Remove(filepath.Join(b.staging, info.Name()))
	})
	return removed, err
}

// Drop removes the staging files whose names begin so and are not open: those that nobody can go on with.
func (b *Blobs) Drop(prefix string) error {
	return b.eachStaging(func(info fs.FileInfo) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.open[info.Name()] || !strings.HasPrefix(info.Name(), prefix) {
			return nil
		}
		return os.Remove(filepath.Join(b.staging, info.Name()))
	})
}

// Staged gives the sizes of the staging files whose names begin so, by the rest of the name.
func (b *Blobs) Staged(prefix string) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := b.eachStaging(func(info fs.FileInfo) error {
		if rest, ok := strings.CutPrefix(info.Name(), prefix); ok {
			sizes[rest] = info.Size()
		}
		return nil
	})
	return sizes, err
}

func (b *Blobs) eachStaging(fn func(fs.FileInfo) error) error {
	entries, err := os.ReadDir(b.staging)
	if err != nil {
		return fmt.Errorf("read staging folder: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // committed or discarded meanwhile
		}
		if err != nil {
			return fmt.Errorf("read staging folder: %w", err)
		}
		if err := fn(info); err != nil {
			return fmt.Errorf("sweep staging folder: %w", err)
		}
	}
	return nil
}
