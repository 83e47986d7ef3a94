package audit

import (
	"os"
	"path/filepath"
	"time"
)

// Observe has every sync of the head timed. Set it before the first Publish; synced must be quick.
func (l *Log) Observe(synced func(time.Duration)) {
	sync := l.sync
	l.sync = func(f *os.File) error {
		began := time.Now()
		err := sync(f)
		synced(time.Since(began))
		return err
	}
}

// Head tells how many leaves the head covers, and when it was written; zeros if it cannot be read. It may be asked beside a Publish.
func (l *Log) Head() (size int64, at time.Time) {
	s := readSlotsBeside(l.dir)
	i := s.newest()
	if i < 0 {
		return 0, time.Time{}
	}
	if info, err := os.Stat(filepath.Join(l.dir, slotName(i))); err == nil {
		at = info.ModTime()
	}
	return s.head[i].Tree.N, at
}
