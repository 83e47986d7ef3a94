package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// wantedBlob is a blob that must be there: a manifest with an age header has one, unless the payload stands in its row.
type wantedBlob struct {
	manifest statement.Hash
	hash     statement.Hash // of the content
	size     int64
}

// spool is a list of blobs in a temporary file, since it may be longer than memory should hold. It is written once, then read.
type spool struct {
	first bytes.Buffer // the records that fit into memory: most homes need no file, and a container may have no place for one
	file  *os.File     // the others; nil if there are none
	w     *bufio.Writer
	n     int64
}

const spoolRecord = 2*sha256.Size + 8

// spoolMemory is how much of a spool is kept in memory: 14,500 documents.
const spoolMemory = 1 << 20

func newSpool() *spool { return &spool{} }

func (s *spool) add(b wantedBlob) error {
	record := append(append(b.manifest[:], b.hash[:]...), make([]byte, 8)...)
	binary.BigEndian.PutUint64(record[spoolRecord-8:], uint64(b.size))
	s.n++
	if s.file == nil && s.first.Len()+spoolRecord <= spoolMemory {
		s.first.Write(record)
		return nil
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "entente-verify-*")
		if err != nil {
			return fmt.Errorf("make a temporary file: %w", err)
		}
		s.file, s.w = f, bufio.NewWriterSize(f, 64<<10)
	}
	if _, err := s.w.Write(record); err != nil {
		return fmt.Errorf("write to a temporary file: %w", err)
	}
	return nil
}

// all gives what was added, in that order.
func (s *spool) all() iter.Seq2[wantedBlob, error] {
	return func(yield func(b wantedBlob, err error) bool) {
		var err error
		r := io.Reader(bytes.NewReader(s.first.Bytes()))
		if s.file != nil {
			if err = s.w.Flush(); err == nil {
				_, err = s.file.Seek(0, io.SeekStart)
			}
			r = io.MultiReader(r, bufio.NewReaderSize(s.file, 64<<10))
		}
		record := make([]byte, spoolRecord)
		for range s.n {
			var b wantedBlob
			if err == nil {
				_, err = io.ReadFull(r, record)
			}
			if err != nil {
				yield(b, fmt.Errorf("read a temporary file: %w", err))
				return
			}
			copy(b.manifest[:], record)
			copy(b.hash[:], record[sha256.Size:])
			b.size = int64(binary.BigEndian.Uint64(record[spoolRecord-8:]))
			if !yield(b, nil) {
				return
			}
		}
	}
}

func (s *spool) remove() {
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name()) // what stays behind holds hashes only
	}
}

// verifyBlobs hashes every blob, outside any view, for that takes as long as the disk takes.
func (v *homeVerifier) verifyBlobs() {
	v.report.partial = v.SkipDocuments
	done := int64(0)
	for b, err := range v.blobList.all() {
		if v.failed("blobs", err) {
			return
		}
		where := "blob " + b.manifest.Short()
		err := v.blob(b)
		if errors.Is(err, store.ErrNotFound) && !v.hasHeader(b.manifest) {
			continue // disposed of meanwhile: first the header goes, then the blob
		}
		if err != nil && v.ctx.Err() == nil {
			v.report.add(where, "%v", err)
		}
		if v.ctx.Err() != nil {
			return
		}
		done++
		v.progress("documents", done, v.blobList.n)
	}
	if v.from == 0 {
		v.verifyUnnamed()
	}
}

// verifyUnnamed looks for files that no row names.
func (v *homeVerifier) verifyUnnamed() {
	var unknown []statement.Hash
	err := v.blobs(func(key statement.Hash) {
		if len(unknown) < mostUnknown {
			unknown = append(unknown, key)
		} else {
			v.report.add("blob "+key.Short(), "no manifest, and no release that waits, has this blob")
		}
	})
	v.failed("blobs", err)
	v.orphans(unknown)
}

// mostUnknown bounds the blobs without a manifest that are looked at again. A node that runs makes a few at a time.
const mostUnknown = 1000

// blobs calls fn for each blob that no manifest has at this moment.
func (v *homeVerifier) blobs(fn func(statement.Hash)) error {
	return v.Blobs.Walk(func(path string, key statement.Hash, ok bool) error {
		if v.pace != nil {
			v.pace(v.ctx, 4<<10) // as if a page of it were read, so that a million files are no burst
		}
		switch {
		case !ok:
			v.report.add("blobs/"+path, "it is no blob")
		case !v.hasHeader(key):
			fn(key)
		}
		return v.ctx.Err()
	})
}

func (v *homeVerifier) blob(b wantedBlob) error {
	f, size, err := v.Blobs.Open(b.manifest)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the blob is missing: %w", err)
	}
	if err != nil {
		return err
	}
	if size != b.size {
		return errors.Join(fmt.Errorf("it has %d bytes instead of %d", size, b.size), f.Close())
	}
	if v.SkipDocuments {
		return f.Close()
	}
	v.report.Documents++
	v.report.Bytes += size
	h := sha256.New()
	_, err = io.CopyBuffer(h, cancelReader{v.ctx, f, v.pace}, make([]byte, 1<<20))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if statement.Hash(h.Sum(nil)) != b.hash {
		return errors.New("its bytes were changed: the hash is not the one that the manifest names")
	}
	return nil
}

// cancelReader reads until nobody waits for it any more, and no faster than pace lets it, if that is not nil.
type cancelReader struct {
	ctx  context.Context
	r    io.Reader
	pace func(ctx context.Context, bytes int)
}

func (c cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if c.pace != nil {
		c.pace(c.ctx, n)
	}
	return n, err
}

// A running node puts a blob in place just before the transaction that names it. So a blob that was committed within the last
// minute and that nothing names is looked at again for a few seconds.
const (
	recent   = time.Minute
	rechecks = 3 * time.Second
)

// orphans reports blobs that no manifest has.
func (v *homeVerifier) orphans(unknown []statement.Hash) {
	start := time.Now()
	for len(unknown) > 0 && v.ctx.Err() == nil {
		var rest []statement.Hash
		for _, key := range unknown {
			switch committed, there := v.committed(key); {
			case !there || v.hasHeader(key):
			case start.Sub(committed) > recent || time.Since(start) > rechecks:
				v.report.add("blob "+key.Short(), "no manifest, and no release that waits, has this blob")
			default:
				rest = append(rest, key)
			}
		}
		if unknown = rest; len(unknown) > 0 {
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// committed tells when a blob was put in place.
func (v *homeVerifier) committed(key statement.Hash) (time.Time, bool) {
	f, _, err := v.Blobs.Open(key)
	if err != nil {
		return time.Time{}, !errors.Is(err, store.ErrNotFound)
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return time.Time{}, true
	}
	return info.ModTime(), true
}

func (v *homeVerifier) hasHeader(manifest statement.Hash) (has bool) {
	err := v.DB.View(v.ctx, func(view *store.View) (err error) {
		has, err = view.Kept(manifest)
		return err
	})
	return err == nil && has
}
