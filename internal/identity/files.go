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
		if errors.Is(err, fs.ErrNotExist) {
			continue // one is being renewed
		}
		if err != nil {
			return fmt.Errorf("look at key: %w", err)
		}
		if err := checkMode(path, info); err != nil && info.Mode().IsRegular() {
			return err
		}
	}
	return nil
}
