package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// payload is a sealed document that can be read.
type payload interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

// small is a payload in memory.
type small struct{ *bytes.Reader }

// Close does nothing.
func (small) Close() error { return nil }

// openPayload opens the payload of a manifest, of which s is kept, and gives its size in bytes.
func (n *node) openPayload(manifest statement.Hash, s store.Sealed) (payload, int64, error) {
	if s.Payload != nil {
		return small{bytes.NewReader(s.Payload)}, int64(len(s.Payload)), nil
	}
	f, size, err := n.Blobs.Open(manifest)
	if err != nil {
		return nil, 0, err // not a nil *os.File, which would be a payload
	}
	return f, size, nil
}

// gathering takes a payload as it is sealed: at most limit.PayloadRow in memory, for a row, and else in a staging file. One goroutine may use it.
type gathering struct {
	blobs   *store.Blobs
	name    string // of the staging file
	row     []byte
	staging *store.Staging // nil as long as all of it fits into a row
}

// Write appends.
func (g *gathering) Write(p []byte) (int, error) {
	if g.staging == nil {
		if len(g.row)+len(p) <= limit.PayloadRow {
			g.row = append(g.row, p...)
			return len(p), nil
		}
		if err := g.spill(); err != nil {
			return 0, err
		}
	}
	return g.staging.Write(p)
}

// spill goes on in the staging file.
func (g *gathering) spill() error {
	if g.staging != nil {
		return nil
	}
	s, err := g.blobs.Stage(g.name)
	if err != nil {
		return fmt.Errorf("stage document: %w", err)
	}
	if err = s.Truncate(0); err == nil {
		_, err = s.Write(g.row)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("stage document: %w", err), s.Discard())
	}
	g.staging, g.row = s, nil
	return nil
}

// commit makes what is not for a row the blob of that manifest, durably.
func (g *gathering) commit(manifest statement.Hash) error {
	if g.staging == nil {
		return nil
	}
	return g.staging.Commit(manifest)
}

// discard removes what was staged.
func (g *gathering) discard() error {
	if g.staging == nil {
		return nil
	}
	return g.staging.Discard()
}

// close ends the use of the staging file. After commit and discard it does nothing.
func (g *gathering) close() {
	if g.staging != nil {
		_ = g.staging.Close()
	}
}

// arriving is a payload that comes from a peer: a staging file, or, if it is for a row, memory.
type arriving interface {
	io.WriteCloser
	Size() int64
	Sum() statement.Hash // of what has come
	Commit(manifest statement.Hash) error
	Discard() error
}

// row is a payload that arrives for a row, which its transaction makes durable.
type row struct{ payload []byte }

func (r *row) Write(p []byte) (int, error) {
	r.payload = append(r.payload, p...)
	return len(p), nil
}

func (r *row) Size() int64               { return int64(len(r.payload)) }
func (r *row) Sum() statement.Hash       { return statement.HashBytes(r.payload) }
func (*row) Commit(statement.Hash) error { return nil }
func (*row) Discard() error              { return nil }
func (*row) Close() error                { return nil }
