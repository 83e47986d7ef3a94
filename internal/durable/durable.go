// Package durable writes files so that a crash or a power cut leaves the old content or the new, never half of it.
//
// The order is always the same: write beside, fsync the file, rename, fsync the directory. A rename without the last
// step can be lost. Files are readable by their owner only.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"entente.example/internal/crash"
)

// Replace makes content the content of path. When it has returned nil, that survives a power cut.
func Replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), unfinished+"*") // 0600
	if err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	_, err = f.Write(content)
	if err := Rename(f, path, err); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

// unfinished begins the names of files that are being written by Replace.
const unfinished = ".new-"

// Sweep removes what a crash in Replace has left in a folder and the folders in it, if it was not changed since a time: what is younger,
// another process may be writing. It gives the number of files.
func Sweep(dir string, since time.Time) (removed int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("sweep folder: %w", err)
	}
	removed, err = sweep(dir, entries, since)
	for _, e := range entries {
		if err != nil {
			break
		}
		if !e.IsDir() {
			continue
		}
		inner := filepath.Join(dir, e.Name())
		var found []fs.DirEntry
		if found, err = os.ReadDir(inner); err == nil {
			var n int
			n, err = sweep(inner, found, since)
			removed += n
		}
	}
	if err != nil {
		return removed, fmt.Errorf("sweep %s: %w", dir, err)
	}
	return removed, nil
}

func sweep(dir string, entries []fs.DirEntry, since time.Time) (removed int, err error) {
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), unfinished) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err == nil && info.ModTime().Before(since) {
			if err = os.Remove(filepath.Join(dir, e.Name())); err == nil {
				removed++
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // its writer has renamed or removed it
			return removed, err
		}
	}
	return removed, nil
}

// Rename ends the writing of an open file by giving it its final name, durably. If earlier, the error of the writing, is
// not nil, or anything fails before the rename, the file is removed. It closes f in any case.
func Rename(f *os.File, path string, earlier error) error {
	err := earlier
	if err == nil {
		err = crash.Step(crash.FileSync, f.Sync)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = crash.Step(crash.FileRename, func() error { return os.Rename(f.Name(), path) })
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to report
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Create writes a file that must not exist yet.
func Create(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // half a file must not look like a whole one
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		_ = os.Remove(path) // whoever finds it later would take its name for durable
		return err
	}
	return nil
}

// MkdirAll makes a folder, and those above it, that only their owner may enter. When it has returned nil, its name survives a
// power cut, also if somebody else has just made it.
func MkdirAll(path string) error {
	parent := filepath.Dir(path)
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := MkdirAll(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return syncMade(path, parent)
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := SyncDir(parent); err != nil {
		_ = os.Remove(path) // a later call would find it and take its name for durable
		return err
	}
	return nil
}

// syncMade makes the name of a folder durable that was there. Where we may not read the folder above, we did not make it.
func syncMade(path, parent string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("make folder: %s is there, and is none", path)
	}
	if err := SyncDir(parent); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// SyncDir makes the names in a directory durable. Windows has no such call and does not need it.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" || crash.Weak(crash.NoFolderSync) {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(crash.Step(crash.FolderSync, d.Sync), d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
