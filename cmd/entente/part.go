package main

import (
	"errors"
	"io/fs"
	"os"
)

// part begins the file of a document, or takes up what an earlier run has left of it: a file whose name says which manifest it is of, with the
// first size bytes.
//
// A folder may be writable for others, and they know the name. So only a file counts that this person made, that nobody else may read or write, that
// has no other name, and that no other run is at. Anything else there is left alone, and the document begins under a name that nobody can
// guess. Whether the bytes are right is not asked here: a power cut may have lost some, and they have to fit the document's hash in the end.
func part(dir, manifest string) (o *output, size int64, err error) {
	root, err := openFolder(dir)
	if err != nil {
		return nil, 0, err
	}
	name := ".entente-" + manifest + ".part"
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	fresh := err == nil
	if errors.Is(err, fs.ErrExist) {
		f, err = root.OpenFile(name, os.O_RDWR, 0)
	}
	if err == nil {
		if info, err := f.Stat(); err == nil && claim(f, info) && named(root, name, info) {
			return &output{File: f, root: root, temp: name, lasting: true}, info.Size(), nil
		}
		f.Close()
		if fresh {
			_ = root.Remove(name)
		}
	}
	o, err = createIn(root, dir, "")
	return o, 0, err
}

// named tells whether an open file has this name itself: not through a link, and not any more if another run completed it before we had it for
// ourselves.
func named(root *os.Root, name string, info fs.FileInfo) bool {
	now, err := root.Lstat(name)
	return err == nil && os.SameFile(now, info)
}
