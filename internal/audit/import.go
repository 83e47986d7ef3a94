package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/member"
)

// Trust says under which keys the export of a log is good: the log's own, and how many of which witnesses must have co-signed its
// checkpoint.
type Trust struct {
	Log       checkpoint.Log
	Witnesses []checkpoint.Witness
	Quorum    int
}

// TrustIn gives what the charter and cards say about a member's log; ok tells whether there is such a member.
func TrustIn(h *member.History, name string) (t Trust, ok bool) {
	m, ok := h.Member(name)
	if !ok {
		return t, false
	}
	return Trust{Log: checkpoint.Log{Ed25519: m.LogKey, MLDSA: m.LogMLDSA}, Witnesses: Witnesses(h, name), Quorum: h.Quorum()}, true
}

// Import writes the export of a log that comes file by file from somebody else, the checkpoint first, into folder dir, as Export
// does: dir must not exist, or be empty; it appears under its name only when it is complete, synced, and found sound under the keys
// of t. next gives the next file, of at most 1 MiB, and io.EOF after the last. What comes besides a log's files, or is too much of it, is
// refused before it is written.
func Import(dir string, t Trust, next func() (path string, content []byte, err error)) (*Report, error) {
	dir = filepath.Clean(dir)
	if err := vacant(dir); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*") // 0700
	if err != nil {
		return nil, fmt.Errorf("write log: %w", err)
	}
	report, err := receive(temp, t, next)
	if err == nil {
		err = putInPlace(temp, dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write log: %w", err), os.RemoveAll(temp))
	}
	return report, nil
}

func receive(dir string, t Trust, next func() (path string, content []byte, err error)) (*Report, error) {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "nothing was written; ask whoever runs that node", format, args...)
	}
	path, raw, err := next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head, openErr := checkpoint.Open(raw, t.Log, t.Witnesses...)
	if path != CheckpointFile || openErr != nil {
		return nil, bad("what came does not begin with a checkpoint of %s: %w", t.Log.Origin(), errors.Join(openErr))
	}
	w := writer{dir: dir, made: map[string]bool{}}
	w.file(CheckpointFile, raw)
	w.file(KeyFile, []byte(t.Log.Ed25519+"\n"))
	w.file(MLDSAKeyFile, []byte(t.Log.MLDSA+"\n"))
	for w.err == nil {
		path, content, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		tile, ok := parseTilePath(path)
		if !ok || tile.W != tileWidth(tile.L, tile.N, head.Tree.N) || len(content) > mostBundle {
			return nil, bad("the file %.80q does not belong to a log of %d leaves", path, head.Tree.N)
		}
		w.file(path, content)
	}
	if err := w.finish(); err != nil {
		return nil, err
	}
	report, err := VerifyExportUnder(dir, t)
	if err != nil {
		return nil, err
	}
	if !report.OK() {
		return nil, bad("what came is not the log that was signed: %s", report.Problems[0])
	}
	return report, nil
}

// VerifyExportUnder is VerifyExport, and besides the keys must be those of t, and a quorum of its witnesses must have co-signed.
func VerifyExportUnder(dir string, t Trust) (*Report, error) {
	return verifyExport(dir, &t)
}

// judge compares an export's keys and co-signatures with what is trusted. Without, it says what it could not check.
func (v *exportVerifier) judge(t *Trust, keys checkpoint.Log, raw []byte) {
	if t == nil {
		v.report.note(NoteUnwitnessed, KeyFile, "whose keys these are, and who co-signed the checkpoint, was not checked: that takes the cards of the members")
		return
	}
	if keys != t.Log {
		v.report.add(KeyFile, "these are not the keys on the member's card")
		return
	}
	c, err := checkpoint.Open(raw, t.Log, t.Witnesses...)
	switch {
	case err != nil:
		v.report.add(CheckpointFile, "%v", err)
	case len(c.Cosigned) < t.Quorum:
		v.report.note(NoteUnwitnessed, CheckpointFile, "%d witnesses have co-signed it, of the %d that make a quorum", len(c.Cosigned), t.Quorum)
	}
}
