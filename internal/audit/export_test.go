package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
)

var someday = time.Date(2026, 11, 23, 9, 12, 44, 0, time.UTC)

func (b *bench) export(name string) string {
	b.t.Helper()
	dir := filepath.Join(b.dir, name)
	tree := must[tlog.Tree](b.t)(Export(b.t.Context(), b.db, b.key.Verifiers(), dir))
	r := must[*Report](b.t)(VerifyExport(dir))
	if !r.OK() || r.Leaves != tree.N || r.Root != tree.Hash || r.Log != "alpha/log/1" {
		b.t.Errorf("export of %v: report %+v", tree, r)
	}
	return dir
}

// TestExport grows a log over the edges of tiles. x/mod, which knows nothing of our verifier, reads each export.
func TestExport(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	size := 0
	for _, n := range []int{0, 1, 255, 256, 257, 70000} {
		b.add(n - size)
		size = n
		tree := b.publish()
		dir := b.export(fmt.Sprint("export", n))
		readWithTlog(t, dir, tree)
		for path, want := range map[string]bool{
			"tile/0/000.p/1": n == 1, "tile/0/000.p/255": n == 255, "tile/0/000": n >= 256, "tile/0/001.p/1": n == 257, "tile/1/000.p/1": n == 256 || n == 257,
			"tile/entries/000": n >= 256, "tile/entries/273.p/112": n == 70000, "tile/1/000": n == 70000, "tile/1/001.p/17": n == 70000, "tile/2/000.p/1": n == 70000,
		} {
			if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(path))); (err == nil) != want {
				t.Errorf("export of %d leaves: %s there: %t", n, path, err == nil)
			}
		}
	}
}

// tiles is a tlog.TileReader over an export.
type tiles struct {
	t   *testing.T
	dir string
}

func (r tiles) Height() int                     { return 8 }
func (r tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (r tiles) ReadTiles(list []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range list {
		// Written out here, so that a mistake in tilePath shows.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		b, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		data = append(data, b)
	}
	return data, nil
}

func readWithTlog(t *testing.T, dir string, tree tlog.Tree) {
	t.Helper()
	reader := tlog.TileHashReader(tree, tiles{t, dir})
	for _, n := range []int64{0, 1, 254, 255, 256, tree.N / 2, tree.N - 2, tree.N - 1} {
		if n < 0 || n >= tree.N {
			continue
		}
		proof, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			t.Errorf("prove record %d of %d: %v", n, tree.N, err)
			continue
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, tlog.RecordHash(entryOf(t, dir, tree.N, n))); err != nil {
			t.Errorf("check record %d of %d: %v", n, tree.N, err)
		}
	}
}

// entryOf reads an entry from its bundle, without our own reader.
func entryOf(t *testing.T, dir string, size, n int64) []byte {
	t.Helper()
	path := fmt.Sprintf("tile/entries/%03d", n/256)
	if n/256 == size/256 {
		path += fmt.Sprintf(".p/%d", size%256)
	}
	b := must[[]byte](t)(os.ReadFile(filepath.Join(dir, filepath.FromSlash(path))))
	for range n % 256 {
		b = b[2+binary.BigEndian.Uint16(b):]
	}
	return b[2 : 2+binary.BigEndian.Uint16(b)]
}

// TestVerifyExportFindsEveryByte changes every byte of every file of an export with full and partial tiles.
func TestVerifyExportFindsEveryByte(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	b.add(258)
	b.publish()
	dir := b.export("export")
	files := 0
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		whole := must[[]byte](t)(os.ReadFile(path))
		step := max(1, len(whole)/300) // an entry bundle repeats itself; the small files are changed in every byte
		f := must[*os.File](t)(os.OpenFile(path, os.O_WRONLY, 0))
		defer func() { check(t, f.Close()) }()
		for at := 0; at < len(whole); at += step {
			bit := byte(1) << (at % 8)
			if step == 1 {
				bit = []byte{1, 0x20}[at%2]
			}
			_, err := f.WriteAt([]byte{whole[at] ^ bit}, int64(at))
			check(t, err)
			if must[*Report](t)(VerifyExport(dir)).OK() {
				t.Errorf("%s, byte %d: a change of %#x was not found", path, at, bit)
			}
			_, err = f.WriteAt(whole[at:at+1], int64(at))
			check(t, err)
		}
		return nil
	}))
	if files != 8 {
		t.Errorf("%d files", files)
	}
	if r := must[*Report](t)(VerifyExport(dir)); !r.OK() {
		t.Error(r.Problems)
	}
}

// TestVerifyExportFindsBits changes every bit of the two files whose text has more than one reading for a careless reader.
func TestVerifyExportFindsBits(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	b.add(2)
	b.publish()
	dir := b.export("export")
	for _, name := range []string{CheckpointFile, KeyFile} {
		path := filepath.Join(dir, name)
		whole := must[[]byte](t)(os.ReadFile(path))
		for bit := range 8 * len(whole) {
			changed := bytes.Clone(whole)
			changed[bit/8] ^= 1 << (bit % 8)
			check(t, os.WriteFile(path, changed, 0o600))
			if must[*Report](t)(VerifyExport(dir)).OK() {
				t.Errorf("%s, byte %d, bit %d: a change was not found", name, bit/8, bit%8)
			}
		}
		for _, changed := range [][]byte{append(bytes.Clone(whole), '\n'), whole[:len(whole)-1], bytes.ReplaceAll(whole, []byte("\n"), []byte("\r\n")), nil} {
			check(t, os.WriteFile(path, changed, 0o600))
			if must[*Report](t)(VerifyExport(dir)).OK() {
				t.Errorf("%s as %q was not found", name, changed)
			}
		}
		check(t, os.WriteFile(path, whole, 0o600))
	}
}

func TestVerifyExportFindsFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	b.add(258)
	b.publish()
	dir := b.export("export")
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		away := filepath.Join(b.dir, "away")
		check(t, os.Rename(path, away))
		if must[*Report](t)(VerifyExport(dir)).OK() {
			t.Errorf("%s is missing: not found", path)
		}
		check(t, os.Symlink(away, path))
		if must[*Report](t)(VerifyExport(dir)).OK() {
			t.Errorf("%s is a link: not found", path)
		}
		check(t, os.Remove(path))
		return os.Rename(away, path)
	}))
	for _, extra := range []string{"note.txt", "tile/0/002", "tile/0/001.p/1", "tile/0/000.p/255", "tile/entries/001.p/1", "tile/2/000.p/1", "tile/data/000", "tile/8/0/000", "tile/63/000.p/1", "tile/64/000"} {
		path := filepath.Join(dir, filepath.FromSlash(extra))
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		check(t, os.WriteFile(path, make([]byte, 32), 0o600))
		if must[*Report](t)(VerifyExport(dir)).OK() {
			t.Errorf("%s is too much: not found", extra)
		}
		check(t, os.Remove(path))
	}
	if r := must[*Report](t)(VerifyExport(dir)); !r.OK() {
		t.Error(r.Problems)
	}
}

// TestVerifyExportOfHugeLog has a checkpoint promise more leaves than any disk holds.
func TestVerifyExportOfHugeLog(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	b.add(2)
	b.publish()
	dir := b.export("export")
	for _, size := range []int64{3, 256, 1 << 40, 1<<63 - 1} {
		raw := must[[]byte](t)(checkpoint.Sign(tlog.Tree{N: size}, someday, b.key.Ed25519, b.key.MLDSA))
		check(t, os.WriteFile(filepath.Join(dir, CheckpointFile), raw, 0o600))
		if must[*Report](t)(VerifyExport(dir)).OK() {
			t.Errorf("a checkpoint of %d leaves was believed", size)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := Export(t.Context(), b.db, b.key.Verifiers(), filepath.Join(b.dir, "none")); fault.KindOf(err) != fault.NotFound || fault.Hint(err) == "" {
		t.Errorf("without a checkpoint: %v", err)
	}
	b.open()
	b.add(3)
	b.publish()
	full := b.export("full")
	if _, err := Export(t.Context(), b.db, b.key.Verifiers(), full); fault.KindOf(err) != fault.Misused || fault.Hint(err) == "" {
		t.Errorf("into a folder that is not empty: %v", err)
	}
	check(t, os.Mkdir(filepath.Join(b.dir, "empty"), 0o700))
	b.export("empty")

	if _, err := VerifyExport(filepath.Join(b.dir, "nowhere")); fault.KindOf(err) != fault.NotFound {
		t.Errorf("verify nothing: %v", err)
	}
	h := &home{world: &world{t: t}, dir: b.dir}
	_, err := h.raw().Exec("UPDATE leaf SET body = CAST(replace(CAST(body AS TEXT), '2026', '2027') AS BLOB) WHERE idx = 1")
	check(t, err)
	if _, err := Export(t.Context(), b.db, b.key.Verifiers(), filepath.Join(b.dir, "damaged")); err == nil || fault.Hint(err) == "" {
		t.Errorf("of a damaged log: %v", err)
	}
	left := must[[]string](t)(filepath.Glob(filepath.Join(b.dir, ".*")))
	if _, err := os.Stat(filepath.Join(b.dir, "damaged")); err == nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", err, left)
	}
}

func FuzzEntries(f *testing.F) {
	f.Add([]byte{0, 1, 'x', 0, 0}, 2)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > width {
			return
		}
		list, err := entries(b, n)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range list {
			again = append(binary.BigEndian.AppendUint16(again, uint16(len(e))), e...)
		}
		if !bytes.Equal(again, b) || len(list) != n {
			t.Errorf("%x reads as %x", b, list)
		}
	})
}

func FuzzTilePath(f *testing.F) {
	for _, path := range []string{"tile/0/000", "tile/1/x001/x234/067.p/255", "tile/entries/000.p/1", "tile/8/data/000"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		tile, ok := parseTilePath(path)
		if ok && (tilePath(tile) != path || tileWidth(tile.L, tile.N, 1<<62) < 0) {
			t.Errorf("%q reads as %v", path, tile)
		}
	})
}

// FuzzVerifyExport damages an export in any way; only the true one may pass.
func FuzzVerifyExport(f *testing.F) {
	b := newBench(f).open()
	b.add(3)
	b.publish()
	dir := b.export("export")
	names := []string{CheckpointFile, KeyFile, "tile/0/000.p/3", "tile/entries/000.p/3"}
	for i, name := range names {
		f.Add(i, must[[]byte](f)(os.ReadFile(filepath.Join(dir, name))))
	}
	f.Fuzz(func(t *testing.T, which int, content []byte) {
		if which < 0 || which >= len(names) {
			return
		}
		path := filepath.Join(dir, names[which])
		whole := must[[]byte](t)(os.ReadFile(path))
		check(t, os.WriteFile(path, content, 0o600))
		r := must[*Report](t)(VerifyExport(dir))
		check(t, os.WriteFile(path, whole, 0o600))
		if r.OK() != bytes.Equal(whole, content) {
			t.Errorf("%s as %q: %v", names[which], content, r.Problems)
		}
	})
}
