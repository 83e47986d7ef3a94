package node

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

// A disk that is full must not stop what is under way: receipts, leaves and the log's head still need room when no further document is taken. So
// some of it is kept free, and a document is promised its room before any of it is written.

// space is the room that documents under way were promised and have not filled yet. The zero value is ready.
type space struct{ promised atomic.Int64 }

// promise is one document's part of it. One goroutine may use it.
type promise struct {
	of   *space
	left int64
}

// fill tells that so much was written.
func (p *promise) fill(n int) {
	filled := min(int64(n), p.left)
	p.left -= filled
	p.of.promised.Add(-filled)
}

// end gives back what is left.
func (p *promise) end() { p.fill(int(p.left)) }

// promiseRoom promises room for so many bytes, or says that there is none, which passes.
func (n *node) promiseRoom(bytes int64) (*promise, error) {
	free, err := durable.Free(n.Dir)
	if err != nil {
		return nil, err
	}
	promised := n.space.promised.Add(bytes)
	if free-n.Config.FreeBytes < promised { // neither is negative, so nothing overflows
		n.space.promised.Add(-bytes)
		return nil, n.diskFull(fmt.Errorf("%d bytes are free, and %d are kept free", free, n.Config.FreeBytes))
	}
	return &promise{&n.space, bytes}, nil
}

func (n *node) diskFull(cause error) error {
	return fault.New(fault.Transient, "free some space, or lower free_bytes in "+ConfigFile, "the disk of %s is full: %w", n.Config.Member, cause)
}

// explainFull says so if a write failed because the disk is full: somebody else filled it.
func (n *node) explainFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return n.diskFull(err)
	}
	return err
}

// frugal reads a document whose size nobody knows, as long as there is room for the next piece of it.
type frugal struct {
	io.Reader
	n    *node
	left int // bytes that there is room for
}

// Read reads on.
func (f *frugal) Read(p []byte) (int, error) {
	if f.left <= 0 {
		room, err := f.n.promiseRoom(limit.RoomStep)
		if err != nil {
			return 0, err
		}
		room.end()
		f.left = limit.RoomStep
	}
	c, err := f.Reader.Read(p)
	f.left -= c
	return c, err
}
