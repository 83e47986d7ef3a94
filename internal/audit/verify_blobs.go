package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// wantedBlob is a blob that must be there: a manifest with an age header has one.
type wantedBlob struct {
	manifest statement.Hash
	hash     statement.Hash // of the content
	size     int64
}

// verifyBlobs hashes every blob, outside any view, for that takes as long as the disk takes.
func (v *homeVerifier) verifyBlobs() {
	known := make(map[statement.Hash]bool, len(v.blobList))
	for _, b := range v.blobList {
		known[b.manifest] = true
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
	}
	var unknown []statement.Hash
	err := v.blobs.Walk(func(path string, key statement.Hash, ok bool) error {
		if !ok {
			v.report.add("blobs/"+path, "it is no blob")
		} else if !known[key] {
			unknown = append(unknown, key)
		}
		return v.ctx.Err()
	})
	v.failed("blobs", err)
	v.orphans(unknown)
}

func (v *homeVerifier) blob(b wantedBlob) error {
	f, size, err := v.blobs.Open(b.manifest)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the blob is missing: %w", err)
	}
	if err != nil {
		return err
	}
	if size != b.size {
		return errors.Join(fmt.Errorf("it has %d bytes instead of %d", size, b.size), f.Close())
	}
	h := sha256.New()
	_, err = io.CopyBuffer(h, cancelReader{v.ctx, f}, make([]byte, 1<<20))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if statement.Hash(h.Sum(nil)) != b.hash {
		return errors.New("its bytes were changed: the hash is not the one that the manifest names")
	}
	return nil
}

type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
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
				v.report.add("blob "+key.Short(), "no manifest has this blob")
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
	f, _, err := v.blobs.Open(key)
	if err != nil {
		return time.Time{}, !errors.Is(err, store.ErrNotFound)
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return time.Time{}, true
	}
	return info.ModTime(), true
}

func (v *homeVerifier) hasHeader(manifest statement.Hash) bool {
	err := v.db.View(v.ctx, func(view *store.View) error {
		_, err := view.Header(manifest)
		return err
	})
	return err == nil
}
