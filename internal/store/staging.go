package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"entente.example/internal/crash"
	"entente.example/internal/durable"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Staging is a file that is being written. One goroutine may use it. It must be committed, discarded or closed.
type Staging struct {
	blobs *Blobs
	name  string
	file  *os.File
	size  int64
	soon  int64 // up to where the kernel was told to begin to write it to the disk
	// What follows is of a file that Resume has given.
	partial *durable.Partial
	notes   *os.File
}

// notesSuffix ends the names of the notes about staging files, of which package durable tells. No staging file's name has a dot.
const notesSuffix = ".notes"

// Stage opens the staging file of that name and goes on at its end, or makes it. A name is a short word of lower-case letters,
// digits and hyphens. ErrBusy while it is open already. What is there from before is not looked at, and a name that Resume has used is not for
// Stage.
func (b *Blobs) Stage(name string) (*Staging, error) {
	return b.stage(name, func(s *Staging) (err error) {
		s.size, err = s.file.Seek(0, io.SeekEnd)
		return err
	})
}

// Resume is Stage for a file that shall outlive the program: it goes on at the last byte that is surely right, as package durable
// tells, and cuts off what comes behind. What is written then is hashed on the way. ctx ends the looking.
func (b *Blobs) Resume(ctx context.Context, name string) (*Staging, error) {
	return b.stage(name, func(s *Staging) (err error) {
		if s.notes, err = os.OpenFile(s.path()+notesSuffix, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return err
		}
		s.partial, err = durable.Resume(ctx, s.file, s.notes, b.sync)
		return err
	})
}

func (b *Blobs) stage(name string, begin func(*Staging) error) (*Staging, error) {
	if name == "" || len(name) > 128 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, fmt.Errorf("stage %.80q: not a name for a staging file", name)
	}
	if !b.take(name) {
		return nil, fmt.Errorf("stage %s: %w", name, ErrBusy)
	}
	s := &Staging{blobs: b, name: name}
	var err error
	if s.file, err = os.OpenFile(s.path(), os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		err = begin(s)
	}
	if err != nil {
		s.partial = nil
		if s.file == nil {
			s.forget()
		}
		return nil, errors.Join(fmt.Errorf("stage: %w", err), s.Close())
	}
	return s, nil
}

func (b *Blobs) take(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[name] {
		return false
	}
	b.open[name] = true
	return true
}

func (s *Staging) path() string { return filepath.Join(s.blobs.staging, s.name) }

// Size is the number of bytes that are there.
func (s *Staging) Size() int64 {
	if s.partial != nil {
		return s.partial.Size()
	}
	return s.size
}

// Sum is the SHA-256 of what is there, if Resume has given the file.
func (s *Staging) Sum() statement.Hash {
	return statement.Hash(s.partial.Sum())
}

// Write appends. After an error the size is what was written.
func (s *Staging) Write(p []byte) (int, error) {
	if s.partial != nil {
		return s.partial.Write(p)
	}
	n, err := s.file.WriteAt(p, s.size)
	s.size += int64(n)
	if ahead := s.size - s.soon; ahead >= limit.WriteSoon {
		durable.WriteSoon(s.file, s.soon, ahead)
		s.soon = s.size
	}
	return n, err
}

// ReadAt reads what is there, as io.ReaderAt.
func (s *Staging) ReadAt(p []byte, off int64) (int, error) { return s.file.ReadAt(p, off) }

// Truncate cuts the file to a size that it has reached before, 0 to begin again. What Resume has given can only begin again.
func (s *Staging) Truncate(size int64) error {
	if s.partial != nil && size == 0 {
		return s.partial.Reset()
	}
	if size < 0 || size > s.size {
		return fmt.Errorf("truncate staging file to %d bytes: it has %d", size, s.Size())
	}
	if err := s.file.Truncate(size); err != nil {
		return err
	}
	s.size, s.soon = size, min(size, s.soon)
	return nil
}

// Close leaves the file for a later Stage or Resume of the same name. After Commit or Discard it does nothing.
func (s *Staging) Close() error {
	if s.file == nil {
		return nil
	}
	var err error
	if s.partial != nil {
		if err = s.partial.Pause(); err != nil {
			return s.giveUp(err)
		}
	}
	err = s.shut()
	s.forget()
	return err
}

// giveUp discards what nobody may go on with: the kernel may have dropped what it could not write, and asking again would report success.
func (s *Staging) giveUp(cause error) error {
	return errors.Join(fmt.Errorf("sync failed, so what was staged is given up: %w", cause), s.Discard())
}

// shut closes the files.
func (s *Staging) shut() error {
	err := s.file.Close()
	if s.notes != nil {
		err = errors.Join(err, s.notes.Close())
	}
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
	if s.partial != nil {
		_ = s.partial.Wait() // nobody syncs what is removed
	}
	// Closed first, because Windows removes no open file. The name stays ours until it is gone; not durably: after a crash
	// Sweep finds it again.
	err := s.shut()
	err = errors.Join(err, os.Remove(s.path()))
	if s.notes != nil {
		err = errors.Join(err, os.Remove(s.path()+notesSuffix))
	}
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
	from, now := s.path(), time.Now()
	if s.partial != nil {
		if err := s.partial.Pause(); err != nil {
			return s.giveUp(err)
		}
		s.size, s.partial = s.partial.Size(), nil
	}
	if err := os.Chtimes(from, now, now); err != nil {
		return err
	}
	// A crash before the sync leaves a staging file with a doubtful end.
	if err := crash.Step(crash.StagingSync, func() error { return s.blobs.sync(s.file) }); err != nil {
		return s.giveUp(err)
	}
	to := s.blobs.path(key)
	folder, err := s.blobs.folder(key)
	if err != nil {
		return err
	}
	// A file that is open cannot be renamed on Windows. The name stays ours until it has moved.
	if err := s.shut(); err != nil {
		return err
	}
	// A crash here leaves either name, with all the bytes.
	if err := crash.Step(crash.StagingRename, func() error { return os.Rename(from, to) }); err != nil {
		return err
	}
	// Until now the new name could be lost in a crash, and with it the blob. From here on it is durable.
	if err := durable.SyncDir(folder); err != nil {
		return err
	}
	// The notes last: without their file they mean nothing, and Sweep removes them.
	if s.notes != nil {
		err = os.Remove(s.path() + notesSuffix)
	}
	s.forget()
	return err
}

// Sweep removes the staging files that have not grown since a time and are not open, and gives their number. Notes without their
// file, which a crash can leave, go with them.
func (b *Blobs) Sweep(since time.Time) (int, error) {
	removed := 0
	err := b.eachStaging(func(name string, info fs.FileInfo) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.open[name] || !info.ModTime().Before(since) {
			return nil
		}
		removed++
		return b.drop(name)
	})
	return removed, errors.Join(err, b.dropNotes())
}

// Drop removes the staging files whose names begin so and are not open: those that nobody can go on with.
func (b *Blobs) Drop(prefix string) error {
	return b.eachStaging(func(name string, _ fs.FileInfo) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.open[name] || !strings.HasPrefix(name, prefix) {
			return nil
		}
		return b.drop(name)
	})
}

// drop removes a staging file with its notes. The caller holds the lock.
func (b *Blobs) drop(name string) error {
	for _, path := range []string{name, name + notesSuffix} {
		if err := os.Remove(filepath.Join(b.staging, path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// dropNotes removes the notes whose file is gone.
func (b *Blobs) dropNotes() error {
	return b.entries(func(entry string, _ fs.FileInfo) error {
		name, notes := strings.CutSuffix(entry, notesSuffix)
		b.mu.Lock()
		defer b.mu.Unlock()
		if !notes || b.open[name] {
			return nil
		}
		if _, err := os.Lstat(filepath.Join(b.staging, name)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Remove(filepath.Join(b.staging, entry))
	})
}

// Staged gives what the staging files whose names begin so take, their notes included, by the rest of the name.
func (b *Blobs) Staged(prefix string) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := b.entries(func(entry string, info fs.FileInfo) error {
		if rest, ok := strings.CutPrefix(entry, prefix); ok {
			sizes[strings.TrimSuffix(rest, notesSuffix)] += info.Size()
		}
		return nil
	})
	return sizes, err
}

// eachStaging calls fn for every staging file.
func (b *Blobs) eachStaging(fn func(name string, info fs.FileInfo) error) error {
	return b.entries(func(entry string, info fs.FileInfo) error {
		if strings.HasSuffix(entry, notesSuffix) {
			return nil
		}
		return fn(entry, info)
	})
}

// entries calls fn for everything in the staging folder.
func (b *Blobs) entries(fn func(entry string, info fs.FileInfo) error) error {
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
		if err := fn(e.Name(), info); err != nil {
			return fmt.Errorf("sweep staging folder: %w", err)
		}
	}
	return nil
}
