package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// descriptors lists the files below a folder that this process has open.
func descriptors(t *testing.T, dir string) (paths []string) {
	t.Helper()
	const own = "/proc/self/fd"
	list, err := os.ReadDir(own)
	check(t, err)
	for _, f := range list {
		path, _ := os.Readlink(filepath.Join(own, f.Name())) // it may be closed meanwhile
		if strings.HasPrefix(path, dir) {
			paths = append(paths, path)
		}
	}
	return paths
}

// TestClosed looks at the files that are open when a database is closed: none of its.
func TestClosed(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	db := open(t, dir)
	update(t, db, record)
	if len(descriptors(t, dir)) == 0 {
		t.Fatal("an open database has no files open: the test proves nothing")
	}
	check(t, db.Close())
	if left := descriptors(t, dir); len(left) > 0 {
		t.Errorf("still open: %v", left)
	}
}
