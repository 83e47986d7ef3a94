package store

import (
	"os"
	"time"
)

// Observe has every commit of this process timed, failed ones too: how long it took until what it wrote survives a power cut. Set it before the
// database is used; committed must be quick and safe for concurrent use.
func (db *DB) Observe(committed func(time.Duration)) { db.committed = committed }

// timed is commit, observed.
func (db *DB) timed(commit func() error) func() error {
	if db.committed == nil {
		return commit
	}
	return func() error {
		began := time.Now()
		err := commit()
		db.committed(time.Since(began))
		return err
	}
}

// Observe has every sync of a document timed. Set it before blobs are written; synced must be quick and safe for concurrent use.
func (b *Blobs) Observe(synced func(time.Duration)) {
	sync := b.sync
	b.sync = func(f *os.File) error {
		began := time.Now()
		err := sync(f)
		synced(time.Since(began))
		return err
	}
}
