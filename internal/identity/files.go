package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

// What this package reads and writes below a home.
const (
	keysDir   = "keys"
	certsDir  = "certs"
	peopleDir = "people"
)

// writeNew writes a file that must not exist yet, readable by its owner only, and syncs it. The file's name is durable
// only after its directory was synced too.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half a key must not look like one
	}
	return nil
}

// replace writes a file beside path and renames it over path, so that a crash leaves the old file or the new one.
func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // CreateTemp uses 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable. Windows has no such call and does not need it.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readPrivate reads a file that nobody but its owner may read or write.
func readPrivate(path string) ([]byte, error) { return read(path, true) }

// readPublic reads a file that holds no secret.
func readPublic(path string) ([]byte, error) { return read(path, false) }

// read opens first and looks at what it opened, so that nothing can be swapped in between.
func read(path string, private bool) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "bring the file back from where it was moved to, or begin a new home with: entente init", "there is no file %s: %w", path, fs.ErrNotExist)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fault.New(fault.Forbidden, "run this as the owner of the file", "%s cannot be read: %w", path, fs.ErrPermission)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(fault.Invalid, "", "%s is not a file", path)
	}
	if private {
		if err := checkMode(path, info); err != nil {
			return nil, err
		}
	}
	if info.Size() > limit.CA {
		return nil, fault.New(fault.Invalid, "", "%s has %d bytes, and no key or certificate is that large", path, info.Size())
	}
	b, err := io.ReadAll(io.LimitReader(f, limit.CA+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit.CA {
		return nil, fault.New(fault.Invalid, "", "%s grew while it was read", path)
	}
	return b, nil
}

// checkMode refuses a secret that others may read or change. Windows has no such bits.
func checkMode(path string, info fs.FileInfo) error {
	if runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return fault.New(fault.Forbidden, "chmod 600 "+path, "%s may be read or changed by others: its mode is %04o, expected 0600", path, info.Mode().Perm())
}

// checkKeyFiles looks at every file in the folder of keys, also at those that are not read now.
func checkKeyFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "begin a home with: entente init NAME --address HOST:PORT", "there are no keys: %s does not exist", dir)
	}
	if err != nil {
		return fmt.Errorf("list keys: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("look at key: %w", err)
		}
		if err := checkMode(path, info); err != nil && info.Mode().IsRegular() {
			return err
		}
	}
	return nil
}
