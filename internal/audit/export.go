package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/store"
)

// Files of an export beside its tiles.
const (
	CheckpointFile = "checkpoint"
	KeyFile        = "log.vkey"       // not part of tlog-tiles: the Ed25519 verifier key and a line feed
	MLDSAKeyFile   = "log-mldsa.vkey" // the same for the ML-DSA-44 verifier key
)

// height is the height of tiles in C2SP tlog-tiles: 256 hashes each.
const height = 8

const width = 1 << height

// tilePath names a tile as C2SP tlog-tiles does, tile/L/N[.p/W] or tile/entries/N[.p/W]. x/mod puts the height in between,
// and calls entries data.
func tilePath(t tlog.Tile) string {
	path := strings.TrimPrefix(t.Path(), "tile/8/")
	if data, ok := strings.CutPrefix(path, "data/"); ok {
		return "tile/entries/" + data
	}
	return "tile/" + path
}

// parseTilePath is the reverse of tilePath.
func parseTilePath(path string) (tlog.Tile, bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok {
		return tlog.Tile{}, false
	}
	if data, ok := strings.CutPrefix(rest, "entries/"); ok {
		rest = "data/" + data
	}
	t, err := tlog.ParseTilePath("tile/8/" + rest)
	return t, err == nil && tilePath(t) == path
}

// tileWidth is how many hashes (or entries, level -1) the tile number n of a level has in a tree of that size; 0 if it has none.
func tileWidth(level int, n, size int64) int {
	hashes := size >> (height * max(level, 0))
	if n > hashes/width { // also keeps n<<height from overflowing
		return 0
	}
	return int(min(hashes-n<<height, width))
}

// Export writes the log as its newest checkpoint covers it into folder dir, in the layout of c2sp.org/tlog-tiles, with the
// verifier keys in log.vkey and log-mldsa.vkey. dir must not exist, or be empty. It appears under its name only when it is complete and
// synced; a crash leaves a folder beside it whose name begins with a dot. The export is verified before it gets its name, so a damaged
// log is never handed out.
func Export(ctx context.Context, db *store.DB, keys checkpoint.Log, dir string) (tlog.Tree, error) {
	dir = filepath.Clean(dir)
	if err := vacant(dir); err != nil {
		return tlog.Tree{}, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*") // 0700
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("export log: %w", err)
	}
	tree, err := export(ctx, db, keys, temp)
	if err == nil {
		err = putInPlace(temp, dir)
	}
	if err != nil {
		return tlog.Tree{}, errors.Join(fmt.Errorf("export log: %w", err), os.RemoveAll(temp))
	}
	return tree, nil
}

func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("export log: %w", err)
	case len(entries) > 0:
		return fault.New(fault.Misused, "choose a folder that does not exist yet", "the folder %s is not empty", dir)
	}
	return nil
}

// putInPlace gives the finished export its name. An empty folder that stands there makes way first.
func putInPlace(temp, dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

func export(ctx context.Context, db *store.DB, keys checkpoint.Log, dir string) (tlog.Tree, error) {
	var raw []byte
	err := db.View(ctx, func(v *store.View) (err error) {
		_, raw, err = v.Checkpoint()
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return tlog.Tree{}, fault.New(fault.NotFound, "start the node once; it signs a checkpoint", "the log has no checkpoint yet")
	}
	if err != nil {
		return tlog.Tree{}, err
	}
	head, err := checkpoint.Open(raw, keys)
	if err != nil {
		return tlog.Tree{}, damaged(err)
	}
	tree := head.Tree
	w := writer{dir: dir, made: map[string]bool{}}
	w.file(CheckpointFile, raw)
	w.file(KeyFile, []byte(keys.Ed25519+"\n"))
	w.file(MLDSAKeyFile, []byte(keys.MLDSA+"\n"))
	w.err = errors.Join(w.err, Tiles(ctx, db, tree.N, func(path string, content []byte) error { w.file(path, content); return w.err }))
	if err := w.finish(); err != nil {
		return tlog.Tree{}, err
	}
	report, err := VerifyExport(dir)
	if err != nil {
		return tlog.Tree{}, err
	}
	if !report.OK() {
		return tlog.Tree{}, damaged(errors.New(report.Problems[0].String()))
	}
	return tree, nil
}

// Tiles gives the files below tile/ of the first size leaves of a log, one after the other: first the hashes of a tile, then, at the
// lowest level, its entries. Each is read in a view of its own, since nothing of it changes any more; none has more than 1 MiB.
func Tiles(ctx context.Context, db *store.DB, size int64, file func(path string, content []byte) error) error {
	for _, t := range tlog.NewTiles(height, 0, size) {
		var hashes, bundle []byte
		err := db.View(ctx, func(v *store.View) (err error) { hashes, bundle, err = tile(v, t); return err })
		if err != nil {
			return err
		}
		if err := file(tilePath(t), hashes); err != nil {
			return err
		}
		if t.L > 0 {
			continue
		}
		t.L = -1
		if err := file(tilePath(t), bundle); err != nil {
			return err
		}
	}
	return nil
}

// tile reads a tile, and its entries if it is one of the lowest level.
func tile(v *store.View, t tlog.Tile) (hashes, bundle []byte, err error) {
	if hashes, err = tlog.ReadTileData(t, v.Hashes()); err != nil {
		return nil, nil, missing(err)
	}
	if t.L > 0 {
		return hashes, nil, nil
	}
	leaves, err := v.Leaves(t.N<<height, t.W)
	if err != nil {
		return nil, nil, err
	}
	if len(leaves) != t.W {
		return nil, nil, damaged(fmt.Errorf("leaves from %d on are missing", t.N<<height+int64(len(leaves))))
	}
	for _, leaf := range leaves {
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(leaf)))
		bundle = append(bundle, leaf...)
	}
	return hashes, bundle, nil
}

// writer writes files and remembers the first error.
type writer struct {
	dir  string
	made map[string]bool // folders below dir
	err  error
}

func (w *writer) file(path string, content []byte) {
	if w.err != nil {
		return
	}
	full := filepath.Join(w.dir, filepath.FromSlash(path))
	if w.err = os.MkdirAll(filepath.Dir(full), 0o700); w.err != nil {
		return
	}
	for d := filepath.Dir(full); len(d) > len(w.dir); d = filepath.Dir(d) {
		w.made[d] = true
	}
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		w.err = err
		return
	}
	_, err = f.Write(content)
	w.err = errors.Join(err, f.Sync(), f.Close())
}

// finish makes the names durable too.
func (w *writer) finish() error {
	for d := range w.made {
		if w.err == nil {
			w.err = durable.SyncDir(d)
		}
	}
	if w.err == nil {
		w.err = durable.SyncDir(w.dir)
	}
	return w.err
}
