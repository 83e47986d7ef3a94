package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

// readFile reads a file that somebody gave us, at most `most` bytes of it. Which kind of file it is, its reader says.
func readFile(path string, most int64) ([]byte, error) {
	f, info, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > most {
		return nil, fault.New(fault.Invalid, "is it the right file?", "%s has %d bytes; such a file has at most %d", path, info.Size(), most)
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return nil, fault.New(fault.Failed, "", "read %s: %w", path, err)
	}
	return b, nil
}

// readFiles reads several.
func readFiles(paths []string, most int64) ([][]byte, error) {
	var all [][]byte
	for _, path := range paths {
		b, err := readFile(path, most)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// openFile opens a regular file, and says in a sentence why it cannot be one.
func openFile(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fault.New(fault.NotFound, "check its name; names with spaces need quotes", "there is no file %s", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, fault.New(fault.Forbidden, "make it readable for yourself, or ask its owner", "you may not read %s", path)
	case err != nil:
		return nil, nil, fault.New(fault.Failed, "", "read %s: %w", path, reason(err))
	case info.IsDir():
		return nil, nil, fault.New(fault.Misused, "name one file; pack a folder into an archive first", "%s is a folder", path)
	case !info.Mode().IsRegular():
		return nil, nil, fault.New(fault.Misused, "save it to a file first", "%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil, fault.New(fault.Forbidden, "make it readable for yourself, or ask its owner", "you may not read %s", path)
	}
	if err != nil {
		return nil, nil, fault.New(fault.Failed, "", "read %s: %w", path, reason(err))
	}
	// Ask the open file: the name may have changed its meaning.
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, nil, fault.New(fault.Failed, "", "read %s: it changed while it was opened", path)
	}
	return f, info, nil
}

// reason is an error without the path that our sentence names already.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// output is a file that appears under its name whole or not at all. Everything goes through an os.Root, so that no
// name leads out of the folder.
type output struct {
	*os.File
	root       *os.Root
	name, temp string
	path       string // for people
	lasting    bool   // the temporary name is one that a later run finds, see part
	ended      bool
}

// create begins a file in an existing folder, under a temporary name beside the final one.
func create(dir, name string) (*output, error) {
	root, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	return createIn(root, dir, name)
}

func openFolder(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Misused, "make it first, or name another", "there is no folder %s", dir)
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "name a folder that you may write", "open folder %s: %w", dir, reason(err))
	}
	return root, nil
}

// createIn closes the folder on an error.
func createIn(root *os.Root, dir, name string) (*output, error) {
	o := &output{root: root, name: name, temp: ".entente-" + rand.Text() + ".part", path: filepath.Join(dir, name)}
	var err error
	if o.File, err = root.OpenFile(o.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		root.Close()
		return nil, fault.New(fault.Failed, "name a folder that you may write", "write in folder %s: %w", dir, reason(err))
	}
	return o, nil
}

// commit makes the file durable and gives it its name. Without replace, a file that is there already stays as it is.
func (o *output) commit(replace bool) error {
	defer o.root.Close()
	o.ended = true
	err := o.File.Sync()
	if closeErr := o.File.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = o.publish(replace)
	}
	if err != nil {
		_ = o.root.Remove(o.temp)
		if errors.Is(err, fs.ErrExist) {
			return exists(o.path)
		}
		return fault.New(fault.Failed, "", "write %s: %w", o.path, reason(err))
	}
	return nil
}

func (o *output) publish(replace bool) error {
	if replace {
		if err := o.root.Rename(o.temp, o.name); err != nil {
			return err
		}
		return o.syncFolder()
	}
	// A link fails if the name is taken; a rename would replace it in silence.
	if err := o.root.Link(o.temp, o.name); err == nil {
		if err := o.root.Remove(o.temp); err != nil {
			return err
		}
		return o.syncFolder()
	} else if errors.Is(err, fs.ErrExist) {
		return err
	}
	// A file system without links: look first. Whoever makes the file in this instant loses it.
	if _, err := o.root.Lstat(o.name); err == nil {
		return fs.ErrExist
	}
	if err := o.root.Rename(o.temp, o.name); err != nil {
		return err
	}
	return o.syncFolder()
}

// syncFolder makes the name durable. Windows has no such call and does it by itself.
func (o *output) syncFolder() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := o.root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// abort removes what there is so far. After commit it does nothing.
func (o *output) abort() {
	if o.ended {
		return
	}
	o.ended = true
	o.File.Close()
	_ = o.root.Remove(o.temp)
	o.root.Close()
}

// leave closes the file and keeps it under its temporary name. After commit it does nothing.
func (o *output) leave() {
	if o.ended {
		return
	}
	o.ended = true
	o.File.Close()
	o.root.Close()
}

// noPipe refuses the name that elsewhere means stdout. What we write is there whole or not at all, and a pipe is neither.
func noPipe(path string) error {
	if path == "-" {
		return fault.New(fault.Misused, "name a file with -o FILE; one that is really called - is ./-", "the output must be a file, and - is none")
	}
	return nil
}

func exists(path string) error {
	return fault.New(fault.Conflict, "choose another name, or replace it with --force", "%s is there already, and stays as it is", path)
}

// free tells whether a file may be written under a name; the empty name stands for none. It is a courtesy, so that nobody waits
// for a file that is then refused: commit decides.
func free(path string, replace bool) error {
	if path == "" {
		return nil
	}
	if err := noPipe(path); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fault.New(fault.Misused, "name a file in it", "%s is a folder", path)
	}
	if _, err := os.Lstat(path); err == nil && !replace {
		return exists(path)
	}
	return nil
}

// writeFile writes a small file whole or not at all. Without replace it refuses to change a file; the same bytes again are fine.
func writeFile(path string, b []byte, replace bool) error {
	if err := noPipe(path); err != nil {
		return err
	}
	if !replace {
		if old, err := readFile(path, limit.Founding); err == nil && string(old) == string(b) {
			return nil
		}
		if _, err := os.Lstat(path); err == nil {
			return exists(path)
		}
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fault.New(fault.Misused, "name a file in it", "%s is a folder", path)
	}
	o, err := create(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	if _, err := o.Write(b); err != nil {
		o.abort()
		return fault.New(fault.Failed, "", "write %s: %w", path, reason(err))
	}
	return o.commit(replace)
}
