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
)

// Replace makes content the content of path. When it has returned nil, that survives a power cut.
func Replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	_, err = f.Write(content)
	if err := Rename(f, path, err); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

// Rename ends the writing of an open file by giving it its final name, durably. If earlier, the error of the writing, is
// not nil, or anything fails before the rename, the file is removed. It closes f in any case.
func Rename(f *os.File, path string, earlier error) error {
	err := earlier
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
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
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
