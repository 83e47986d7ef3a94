package durable

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"entente.example/internal/limit"
)

// Partial is a file that grows to its end over several runs of a program, whatever ends each of them. What is there can be gone
// on with, and is hashed only once.
//
// Notes about it stand in a second file: after each limit.PartialNote bytes, where the file is and the state of its SHA-256 there.
// Each limit.PartialSync bytes the file is synced behind the writer's back, and then the first note says how far. So
// Resume trusts what the first note says, hashes what comes behind it, and compares at each further note: however large the file
// is, that is at most two times limit.PartialSync bytes. When the program is killed, less than limit.PartialNote bytes are lost;
// after a power cut, what was not synced may be missing or garbage, and at most two times limit.PartialSync bytes are lost.
//
// One goroutine may use it. It does not close its files.
type Partial struct {
	data, notes *os.File
	size        int64
	sum         hash.Hash
	syncing     chan error // the sync under way; nil: none
	failed      error      // of a sync: what is in the file is not known any more
	sync        func(*os.File) error
}

// A note is the size of the file, the state of its hash, and a checksum of both. It takes noteSize bytes; the first stands at the
// start of the notes and says what was synced, note i says how far the file is in its i-th piece of limit.PartialNote bytes.
const (
	noteSize  = 128
	stateSize = 108 // of crypto/sha256
	noteSum   = noteSize - 8 - stateSize
)

// errNote says that there is no such note, or none that can be trusted.
var errNote = errors.New("there is no such note")

// Resume goes on with a file at the last byte that its notes vouch for, and cuts off what comes behind. Without notes it begins
// anew. Both files must be open for reading and writing; sync is (*os.File).Sync, but in tests. ctx ends the reading.
func Resume(ctx context.Context, data, notes *os.File, sync func(*os.File) error) (*Partial, error) {
	p := &Partial{data: data, notes: notes, sum: sha256.New(), sync: sync}
	if err := p.find(ctx); err != nil {
		return nil, fmt.Errorf("go on with %s: %w", data.Name(), err)
	}
	if err := p.cut(); err != nil {
		return nil, fmt.Errorf("go on with %s: %w", data.Name(), err)
	}
	return p, nil
}

// find sets size and sum to what the notes vouch for.
func (p *Partial) find(ctx context.Context) error {
	info, err := p.data.Stat()
	if err != nil {
		return err
	}
	size, state, err := p.note(0)
	switch {
	case errors.Is(err, errNote):
	case err != nil:
		return err
	case size <= info.Size():
		if err := p.enter(size, state); err != nil {
			return err
		}
	}
	if size != p.size { // it is about another file, or cannot be read any more: nothing may ever trust it again
		if _, err := p.notes.WriteAt(make([]byte, noteSize), 0); err != nil {
			return err
		}
	}
	for {
		size, state, err := p.note(p.size/limit.PartialNote + 1)
		if errors.Is(err, errNote) || err == nil && (size <= p.size || size > info.Size() || p.place(size) != p.size/limit.PartialNote+1) {
			return nil
		}
		if err != nil {
			return err
		}
		before, err := p.state()
		if err != nil {
			return err
		}
		if err := p.read(ctx, size); err != nil {
			return err
		}
		if after, err := p.state(); err != nil {
			return err
		} else if !bytes.Equal(after, state) {
			return p.enter(p.size, before) // a power cut took what was written here
		}
		p.size = size
	}
}

// read hashes the file up to a size that it has.
func (p *Partial) read(ctx context.Context, size int64) error {
	r, buf := io.NewSectionReader(p.data, p.size, size-p.size), make([]byte, limit.Chunk)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		p.sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// cut removes what comes behind the size, from the file and from its notes.
func (p *Partial) cut() error {
	if err := p.data.Truncate(p.size); err != nil {
		return err
	}
	end := (p.place(p.size) + 1) * noteSize
	if info, err := p.notes.Stat(); err != nil || info.Size() <= end {
		return err
	}
	return p.notes.Truncate(end)
}

// place is the number of the note for a size: 0 for nothing.
func (p *Partial) place(size int64) int64 { return (size + limit.PartialNote - 1) / limit.PartialNote }

// note reads one note, or says errNote.
func (p *Partial) note(place int64) (size int64, state []byte, err error) {
	b := make([]byte, noteSize)
	if _, err := p.notes.ReadAt(b, place*noteSize); errors.Is(err, io.EOF) {
		return 0, nil, errNote
	} else if err != nil {
		return 0, nil, err
	}
	sum := sha256.Sum256(b[:noteSize-noteSum])
	if !bytes.Equal(sum[:noteSum], b[noteSize-noteSum:]) {
		return 0, nil, errNote
	}
	size = int64(binary.BigEndian.Uint64(b)) //nolint:gosec // the checksum is right, so we wrote it
	if size < 0 {
		return 0, nil, errNote
	}
	return size, b[8 : 8+stateSize], nil
}

// makeNote says where the file is now.
func (p *Partial) makeNote() ([]byte, error) {
	state, err := p.state()
	if err != nil {
		return nil, err
	}
	b := append(binary.BigEndian.AppendUint64(nil, uint64(p.size)), state...) //nolint:gosec // never negative
	sum := sha256.Sum256(b)
	return append(b, sum[:noteSum]...), nil
}

func (p *Partial) state() ([]byte, error) {
	state, err := p.sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err == nil && len(state) != stateSize {
		err = fmt.Errorf("the state of SHA-256 has %d bytes", len(state))
	}
	return state, err
}

// enter makes this the size and the state of the hash. A state that another version of Go has written is none.
func (p *Partial) enter(size int64, state []byte) error {
	if err := p.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		p.sum.Reset()
		p.size = 0
		return nil //nolint:nilerr // it begins anew
	}
	p.size = size
	return nil
}

// Size is how far the file is, in bytes.
func (p *Partial) Size() int64 { return p.size }

// Sum is the SHA-256 of what is there.
func (p *Partial) Sum() [sha256.Size]byte { return [sha256.Size]byte(p.sum.Sum(nil)) }

// Write appends. After an error the size is what was written.
func (p *Partial) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		piece := b[:min(int64(len(b)), limit.PartialNote-p.size%limit.PartialNote)]
		m, err := p.writeAndHash(piece)
		p.size += int64(m)
		n, b = n+m, b[m:]
		if err == nil && p.size%limit.PartialNote == 0 {
			err = p.writeNote()
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// writeAndHash does both at once, since they take about as long as each other. The hash is of what was written.
func (p *Partial) writeAndHash(b []byte) (int, error) {
	before, err := p.state()
	if err != nil {
		return 0, err
	}
	hashed := make(chan struct{})
	go func() {
		p.sum.Write(b)
		close(hashed)
	}()
	n, err := p.data.WriteAt(b, p.size)
	<-hashed
	if n == len(b) {
		return n, err
	}
	if back := p.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(before); back != nil {
		return 0, errors.Join(err, back)
	}
	p.sum.Write(b[:n])
	return n, err
}

func (p *Partial) writeNote() error {
	note, err := p.makeNote()
	if err != nil {
		return err
	}
	if _, err := p.notes.WriteAt(note, p.place(p.size)*noteSize); err != nil {
		return fmt.Errorf("note how far it is: %w", err)
	}
	if p.size%limit.PartialSync != 0 {
		WriteSoon(p.data, p.size-limit.PartialNote, limit.PartialNote)
		return nil
	}
	// If the disk does not keep up, the writer waits here, so that no more than this is ever at stake.
	if err := p.Wait(); err != nil {
		return err
	}
	p.syncing = make(chan error, 1)
	go func() { p.syncing <- p.keep(note) }()
	return nil
}

// keep makes what is there durable, and then says so in the first note. A crash in between leaves the note before.
func (p *Partial) keep(note []byte) error {
	err := p.sync(p.data)
	if err == nil {
		_, err = p.notes.WriteAt(note, 0)
	}
	if err == nil {
		err = p.sync(p.notes)
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", p.data.Name(), err)
	}
	return nil
}

// Wait waits for a sync under way. Once one has failed it says so for ever: the kernel may have dropped what it could not write,
// so nobody may go on with the file.
func (p *Partial) Wait() error {
	if p.syncing != nil {
		p.failed = <-p.syncing
		p.syncing = nil
	}
	return p.failed
}

// Pause notes how far the file is, so that a later Resume goes on at this very byte as long as there was no power cut. Its errors
// are those of Wait: without this note, only what came since the last one is lost.
func (p *Partial) Pause() error {
	if err := p.Wait(); err != nil || p.size%limit.PartialNote == 0 {
		return err
	}
	if note, err := p.makeNote(); err == nil {
		_, _ = p.notes.WriteAt(note, p.place(p.size)*noteSize)
	}
	return nil
}

// Reset begins anew.
func (p *Partial) Reset() error {
	if err := p.Wait(); err != nil {
		return err
	}
	if err := p.notes.Truncate(0); err != nil {
		return err
	}
	p.size = 0
	p.sum.Reset()
	return p.data.Truncate(0)
}
