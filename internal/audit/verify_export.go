package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// mostBundle bounds a file of an export: 256 entries with their lengths.
const mostBundle = limit.LogFile

// VerifyExport checks the export of a log in folder dir by computing everything again from its entries: each tile byte for byte, the
// root, the checkpoint's signature under the key in log.vkey; each entry must be a leaf, and nothing else may lie there.
// The key itself is to be compared with the one on the member's card. What is wrong stands in the report; the error is for
// a folder that is no export at all.
func VerifyExport(dir string) (*Report, error) { return verifyExport(dir, nil) }

func verifyExport(dir string, t *Trust) (*Report, error) {
	root, err := os.OpenRoot(dir) // no symbolic link leads out of it
	if err != nil {
		return nil, fault.New(fault.NotFound, "name the folder of a home or of an export", "open export: %w", err)
	}
	v := &exportVerifier{root: root, trust: t, report: &Report{Checkpoint: -1}}
	v.verify()
	if err := root.Close(); err != nil {
		return nil, fmt.Errorf("verify export: %w", err)
	}
	return v.report, nil
}

type exportVerifier struct {
	root   *os.Root
	trust  *Trust // nil if nobody knows whose log this is
	report *Report
	tree   tlog.Tree // what the checkpoint says

	edge   frontier
	levels [][]byte // of each level of tiles, the hashes of the tile that is not full yet
}

func (v *exportVerifier) verify() {
	if !v.openCheckpoint() {
		return // without it nobody knows which files there should be
	}
	v.entries()
	v.extraFiles()
	v.report.Leaves, v.report.Root = v.edge.size, v.edge.root()
}

func (v *exportVerifier) openCheckpoint() bool {
	var keys checkpoint.Log
	for _, k := range []struct {
		file string
		to   *string
	}{{KeyFile, &keys.Ed25519}, {MLDSAKeyFile, &keys.MLDSA}} {
		b, err := v.read(k.file)
		*k.to = strings.TrimSuffix(string(b), "\n")
		if err == nil && *k.to+"\n" != string(b) {
			err = errors.New("it must be one line")
		}
		if err != nil {
			v.report.add(k.file, "%v", err)
			return false
		}
	}
	if err := statement.ValidLog(keys.Origin(), logMember(keys.Origin())); err != nil {
		v.report.add(KeyFile, "%v", err)
		return false
	}
	v.report.Log = keys.Origin()
	raw, err := v.read(CheckpointFile)
	whole := raw
	if err == nil {
		// Whose co-signatures are good, only somebody with the members' cards can tell.
		raw, err = checkpoint.Bare(raw)
	}
	var head *checkpoint.Checkpoint
	if err == nil {
		head, err = checkpoint.Open(raw, keys)
	}
	if err != nil {
		v.report.add(CheckpointFile, "%v", err)
		return false
	}
	v.tree, v.report.Checkpoint = head.Tree, head.Tree.N
	v.judge(v.trust, keys, whole)
	return true
}

// logMember is the member whose log has that name.
func logMember(log string) string {
	name, _, _ := strings.Cut(log, "/")
	return name
}

// entries reads all bundles, and grows the tree and its tiles from them.
func (v *exportVerifier) entries() {
	for n := int64(0); n<<height < v.tree.N; n++ {
		t := tlog.Tile{H: height, L: -1, N: n, W: tileWidth(-1, n, v.tree.N)}
		bundle, err := v.read(tilePath(t))
		if err != nil {
			v.report.add(tilePath(t), "%v", err)
			return
		}
		list, err := entries(bundle, t.W)
		if err != nil {
			v.report.add(tilePath(t), "%v", err)
			return
		}
		for i, entry := range list {
			if _, err := statement.ParseLeaf(entry); err != nil {
				v.report.add(tilePath(t), "leaf %d is none: %v", n<<height+int64(i), err)
			}
			v.edge.add(tlog.RecordHash(entry), v.grow)
		}
		if len(v.report.Problems) == mostProblems {
			return
		}
	}
	for level, hashes := range v.levels {
		if len(hashes) > 0 {
			v.compare(level, v.tree.N>>(height*(level+1)), hashes)
		}
	}
	if root := v.edge.root(); root != v.tree.Hash {
		v.report.add(CheckpointFile, "its root is %v, the entries give %v", v.tree.Hash, root)
	}
}

// grow takes the hashes that stand in tiles, which are those of every eighth level.
func (v *exportVerifier) grow(level int, n int64, h tlog.Hash) tlog.Hash {
	if level%height != 0 {
		return h
	}
	level /= height
	if level == len(v.levels) {
		v.levels = append(v.levels, nil)
	}
	v.levels[level] = append(v.levels[level], h[:]...)
	if len(v.levels[level]) == width*tlog.HashSize {
		v.compare(level, n>>height, v.levels[level])
		v.levels[level] = v.levels[level][:0]
	}
	return h
}

func (v *exportVerifier) compare(level int, n int64, want []byte) {
	path := tilePath(tlog.Tile{H: height, L: level, N: n, W: len(want) / tlog.HashSize})
	got, err := v.read(path)
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("its hashes are not those of the entries")
	}
	if err != nil {
		v.report.add(path, "%v", err)
	}
}

// extraFiles reports every file that a tree of that size does not have.
func (v *exportVerifier) extraFiles() {
	err := fs.WalkDir(v.root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch t, ok := parseTilePath(path); {
		case err != nil:
			return err
		case d.IsDir(), path == CheckpointFile, path == KeyFile, path == MLDSAKeyFile:
		case ok && t.W == tileWidth(t.L, t.N, v.tree.N):
		default:
			v.report.add(path, "it does not belong to a log of %d leaves", v.tree.N)
		}
		return nil
	})
	if err != nil {
		v.report.add("folder", "cannot be listed: %v", err)
	}
}

// read reads a regular file of bounded size.
func (v *exportVerifier) read(path string) ([]byte, error) {
	info, err := v.root.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the file is missing")
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := v.root.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, mostBundle+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(b) > mostBundle {
		return nil, fmt.Errorf("the file has more than %d bytes", mostBundle)
	}
	return b, nil
}
