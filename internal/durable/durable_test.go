package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestMkdirAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "new")
	for range 2 { // what is there is no error
		if err := MkdirAll(deep); err != nil {
			t.Fatal(err)
		}
	}
	for path := deep; path != dir; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := Create(file, nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if MkdirAll(path) == nil {
			t.Errorf("made %s, where a file is in the way", path)
		}
	}
	if err := Create(file, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
}

// TestSweep has a file that a crash left, one that somebody may be writing, and files that only look like them.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "people"), 0o700); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	for _, name := range []string{".new-1", "people/.new-2", ".new", "card"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, long, long)); err != nil {
			t.Fatal(err)
		}
	}
	young := filepath.Join(dir, ".new-3")
	if err := os.WriteFile(young, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Sweep(dir, time.Now().Add(-time.Minute)); n != 2 || err != nil {
		t.Errorf("Sweep removed %d files: %v", n, err)
	}
	for _, name := range []string{".new", "card", ".new-3"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
