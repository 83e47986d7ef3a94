package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/statement"
)

func openBlobs(t *testing.T) (*Blobs, string) {
	t.Helper()
	dir := t.TempDir()
	b, err := OpenBlobs(dir)
	check(t, err)
	return b, dir
}

func stage(t *testing.T, b *Blobs, name, content string) *Staging {
	t.Helper()
	s, err := b.Stage(name)
	check(t, err)
	_, err = io.WriteString(s, content)
	check(t, err)
	return s
}

func read(t *testing.T, b *Blobs, key statement.Hash) string {
	t.Helper()
	f, size, err := b.Open(key)
	check(t, err)
	content, err := io.ReadAll(f)
	check(t, errors.Join(err, f.Close()))
	if int64(len(content)) != size {
		t.Errorf("size %d, read %d", size, len(content))
	}
	return string(content)
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	b, dir := openBlobs(t)
	key := statement.HashBytes([]byte("manifest"))
	s := stage(t, b, "upload-1", "hello, ")
	_, err := b.Stage("upload-1")
	wantErr(t, "staging twice", err, ErrBusy)
	check(t, s.Close())
	check(t, s.Close())

	s = stage(t, b, "upload-1", "world")
	if s.Size() != 12 {
		t.Errorf("size %d after going on", s.Size())
	}
	if got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size())); err != nil || string(got) != "hello, world" {
		t.Errorf("%q, %v", got, err)
	}
	check(t, s.Truncate(5))
	_, err = s.Write([]byte("!"))
	check(t, err)
	if s.Truncate(7) == nil || s.Truncate(-1) == nil {
		t.Error("truncated to more than there is")
	}
	part := make([]byte, 3)
	if _, err := s.ReadAt(part, 3); err != nil || string(part) != "lo!" {
		t.Errorf("%q, %v", part, err)
	}
	check(t, s.Commit(key))
	if s.Commit(key) == nil {
		t.Error("committed twice")
	}
	check(t, s.Close())
	check(t, s.Discard())

	if got := read(t, b, key); got != "hello!" {
		t.Errorf("blob %q", got)
	}
	path := filepath.Join(dir, "blobs", key.String()[:2], key.String())
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Join(dir, "blobs"): 0o700, filepath.Join(dir, "staging"): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
	check(t, b.Remove(key))
	check(t, b.Remove(key))
	_, _, err = b.Open(key)
	wantErr(t, "open what was removed", err, ErrNotFound)
	left, err := os.ReadDir(filepath.Join(dir, "staging"))
	if err != nil || len(left) > 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
}

// TestBlobsOrder shows that a blob has its name only when it is whole: until Commit there is none.
func TestBlobsOrder(t *testing.T) {
	t.Parallel()
	b, _ := openBlobs(t)
	key := statement.HashBytes([]byte("manifest"))
	s := stage(t, b, "upload", strings.Repeat("x", 1<<20))
	_, _, err := b.Open(key)
	wantErr(t, "a blob before its commit", err, ErrNotFound)
	check(t, s.Commit(key))
	if got := read(t, b, key); len(got) != 1<<20 {
		t.Errorf("%d bytes", len(got))
	}
	// The same document again: the same bytes under the same name.
	check(t, stage(t, b, "upload", "again").Commit(key))
	if got := read(t, b, key); got != "again" {
		t.Errorf("%q", got)
	}
}

func TestBlobsCommitFails(t *testing.T) {
	t.Parallel()
	b, dir := openBlobs(t)
	key := statement.HashBytes([]byte("manifest"))
	check(t, os.WriteFile(filepath.Join(dir, "blobs", key.String()[:2]), nil, 0o600)) // a file where the folder must be
	s := stage(t, b, "upload", "x")
	if s.Commit(key) == nil {
		t.Error("committed into a file")
	}
	s, err := b.Stage("upload")
	check(t, err)
	if s.Size() != 1 {
		t.Errorf("%d bytes left after a failed commit", s.Size())
	}
	check(t, s.Discard())
	if _, err := os.Stat(filepath.Join(dir, "staging", "upload")); err == nil {
		t.Error("discarded, and still there")
	}
}

// TestBlobsSyncFails has the disk refuse once: what it was to keep must come again, because the next sync may report success.
func TestBlobsSyncFails(t *testing.T) {
	t.Parallel()
	b, dir := openBlobs(t)
	broken := errors.New("the disk is broken")
	b.sync = func(*os.File) error { return broken }
	key := statement.HashBytes([]byte("manifest"))
	err := stage(t, b, "upload", "x").Commit(key)
	wantErr(t, "commit", err, broken)
	if !strings.Contains(fmt.Sprint(err), "given up") {
		t.Errorf("the error does not say what became of the file: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "staging")); err != nil || len(left) > 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
	_, _, err = b.Open(key)
	wantErr(t, "the blob", err, ErrNotFound)
	b.sync = (*os.File).Sync
	s := stage(t, b, "upload", "y")
	if s.Size() != 1 {
		t.Errorf("%d bytes after beginning anew", s.Size())
	}
	check(t, s.Commit(key))
}

// TestBlobsLink gives blobs second names, also where the file system has no links: then it is a copy, whole or not there.
func TestBlobsLink(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]func(from, to string) error{
		"links":    os.Link,
		"no links": func(string, string) error { return errors.ErrUnsupported },
	} {
		b, dir := openBlobs(t)
		b.hardLink = link
		from, to := statement.HashBytes([]byte("draft")), statement.HashBytes([]byte("manifest"))
		wantErr(t, name+": nothing", b.Link(from, to), ErrNotFound)
		content := strings.Repeat("x", 1<<20)
		check(t, stage(t, b, "upload", content).Commit(from))
		if name == "no links" {
			check(t, stage(t, b, CopyingPrefix+to.String(), "what a crash left").Close())
			b.sync = func(*os.File) error { return io.ErrShortWrite }
			wantErr(t, name+": a copy that is not durable", b.Link(from, to), io.ErrShortWrite)
			_, _, err := b.Open(to)
			wantErr(t, name+": its name", err, ErrNotFound)
			b.sync = (*os.File).Sync
			check(t, stage(t, b, CopyingPrefix+to.String(), "what a crash left").Close())
		}
		check(t, b.Link(from, to))
		wantErr(t, name+": a name that is there", b.Link(from, to), fs.ErrExist)
		if read(t, b, from) != content {
			t.Errorf("%s: the first name has other bytes", name)
		}
		check(t, b.Remove(from))
		if read(t, b, to) != content {
			t.Errorf("%s: the second name has other bytes", name)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "staging")); err != nil || len(left) > 0 {
			t.Errorf("%s: staging holds %v, %v", name, left, err)
		}
	}
}

func TestStageNames(t *testing.T) {
	t.Parallel()
	b, _ := openBlobs(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", `a\b`, "A", "a\x00", "ü", strings.Repeat("a", 129), "a b", "con:"} {
		if s, err := b.Stage(name); err == nil {
			t.Errorf("%q was accepted", name)
			check(t, s.Close())
		}
	}
}

func TestBlobsSweep(t *testing.T) {
	t.Parallel()
	b, dir := openBlobs(t)
	old := time.Now().Add(-time.Hour)
	busy := stage(t, b, "alpha-busy", "12345")
	for _, name := range []string{"alpha-old", "alpha-new", "bravo-old"} {
		check(t, stage(t, b, name, "123").Close())
	}
	for _, name := range []string{"alpha-busy", "alpha-old", "bravo-old"} {
		check(t, os.Chtimes(filepath.Join(dir, "staging", name), old, old))
	}
	for prefix, want := range map[string]map[string]int64{
		"alpha-": {"busy": 5, "old": 3, "new": 3}, "bravo-": {"old": 3}, "charlie-": {},
	} {
		if got, err := b.Staged(prefix); err != nil || !maps.Equal(got, want) {
			t.Errorf("staged of %q: %v, %v", prefix, got, err)
		}
	}
	for _, want := range []int{2, 0} { // sweeping twice is sweeping once
		if n, err := b.Sweep(time.Now().Add(-time.Minute)); err != nil || n != want {
			t.Errorf("swept %d, %v", n, err)
		}
	}
	if got, err := b.Staged(""); err != nil || !maps.Equal(got, map[string]int64{"alpha-busy": 5, "alpha-new": 3}) {
		t.Errorf("left: %v, %v", got, err)
	}
	check(t, busy.Discard())
}

func TestBlobsPrune(t *testing.T) {
	t.Parallel()
	b, dir := openBlobs(t)
	var keys []statement.Hash
	for i := range 5 {
		key := statement.HashBytes(fmt.Append(nil, i))
		keys = append(keys, key)
		check(t, stage(t, b, "upload", "x").Commit(key))
	}
	odd := filepath.Join(dir, "blobs", "odd.txt")
	check(t, os.WriteFile(odd, nil, 0o600))
	keep := func(key statement.Hash) (bool, error) { return slices.Contains(keys[:2], key), nil }
	for _, want := range []int{3, 0} {
		if n, err := b.Prune(keep); err != nil || n != want {
			t.Errorf("pruned %d, %v", n, err)
		}
	}
	var good, bad int
	check(t, b.Walk(func(path string, key statement.Hash, ok bool) error {
		if ok {
			good++
		} else if bad++; path != "odd.txt" {
			t.Errorf("%s is no blob", path)
		}
		return nil
	}))
	if good != 2 || bad != 1 {
		t.Errorf("%d blobs, %d others", good, bad)
	}
	boom := errors.New("boom")
	_, err := b.Prune(func(statement.Hash) (bool, error) { return false, boom })
	wantErr(t, "prune", err, boom)
}

func TestReadBlobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := ReadBlobs(dir)
	check(t, b.Walk(func(string, statement.Hash, bool) error { t.Error("a blob in an empty home"); return nil }))
	if _, _, err := b.Open(statement.Hash{}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("made %v, %v", entries, err)
	}
	writer, err := OpenBlobs(dir)
	check(t, err)
	key := statement.HashBytes(nil)
	check(t, stage(t, writer, "upload", "x").Commit(key))
	if got := read(t, b, key); !bytes.Equal([]byte(got), []byte("x")) {
		t.Errorf("%q", got)
	}
}

// TestResumeStaging shows that a file goes on with its notes and takes them with it when it ends, in whatever way.
func TestResumeStaging(t *testing.T) {
	t.Parallel()
	b, dir := openBlobs(t)
	begin := func(name string, want int64) *Staging {
		t.Helper()
		s, err := b.Resume(t.Context(), name)
		check(t, err)
		if s.Size() != want {
			t.Errorf("%s goes on at %d and not at %d", name, s.Size(), want)
		}
		return s
	}
	left := func() (names []string) {
		entries, err := os.ReadDir(filepath.Join(dir, "staging"))
		check(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	s := begin("a", 0)
	_, err := b.Resume(t.Context(), "a")
	wantErr(t, "resuming twice", err, ErrBusy)
	_, err = io.WriteString(s, "hello, ")
	check(t, err)
	check(t, s.Close())
	if got, err := b.Staged(""); err != nil || got["a"] <= 7 || len(got) != 1 {
		t.Errorf("staged: %v, %v", got, err)
	}
	s = begin("a", 7)
	_, err = io.WriteString(s, "world")
	check(t, err)
	if s.Sum() != statement.HashBytes([]byte("hello, world")) {
		t.Error("another sum")
	}
	key := statement.HashBytes([]byte("manifest"))
	check(t, s.Commit(key))
	if got := read(t, b, key); got != "hello, world" || len(left()) != 0 {
		t.Errorf("blob %q, staging holds %q", got, left())
	}

	check(t, begin("b", 0).Discard())
	s = begin("c", 0)
	_, err = io.WriteString(s, "something else")
	check(t, err)
	check(t, s.Truncate(0))
	if s.Size() != 0 {
		t.Errorf("size %d after beginning anew", s.Size())
	}
	check(t, s.Close())
	check(t, begin("c", 0).Close())
	check(t, b.Drop("c"))
	if got := left(); len(got) != 0 {
		t.Errorf("staging holds %q", got)
	}

	// Notes without their file, as a crash between the two leaves them, vouch for nothing and are swept.
	check(t, os.WriteFile(filepath.Join(dir, "staging", "d"+notesSuffix), []byte("notes"), 0o600))
	s = begin("e", 0)
	if _, err := b.Sweep(time.Time{}); err != nil || len(left()) != 2 {
		t.Errorf("%v, staging holds %q", err, left())
	}
	check(t, s.Close())
	if n, err := b.Sweep(time.Now().Add(time.Hour)); err != nil || n != 1 || len(left()) != 0 {
		t.Errorf("swept %d, %v; staging holds %q", n, err, left())
	}

	// A sync that has failed takes the file with it.
	b.sync = func(*os.File) error { return io.ErrShortWrite }
	s = begin("f", 0)
	_, err = io.WriteString(s, "hello")
	check(t, err)
	wantErr(t, "commit", s.Commit(key), io.ErrShortWrite)
	if got := left(); len(got) != 0 {
		t.Errorf("staging holds %q", got)
	}
}
