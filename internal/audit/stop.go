package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

// stopFile, in the folder of the head, holds the proof that this log contradicted itself. As long as it is there nothing is signed.
const stopFile = "stopped"

// stopHint is what somebody can do whose log forked: nothing to the log itself.
const stopHint = "this log must not be continued: look at the proof with `entente audit forks`, find out whether a backup was restored or two copies ran, and tell the other members"

// Stop ends the signing of this log for good, with the proof that it forked, which the caller has verified. When it returns nil,
// no checkpoint is signed any more, by whichever process, not even after a power cut. Stopping again changes nothing. Like every
// write to the head it waits for a round under way.
func (l *Log) Stop(proof []byte) error {
	if len(proof) > limit.Fork {
		return fmt.Errorf("stop log %s: the proof has %d bytes, at most %d are allowed", l.origin(), len(proof), limit.Fork)
	}
	err := durable.Create(filepath.Join(l.dir, stopFile), proof)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("stop log %s: %w", l.origin(), err)
	}
	// Whoever takes the lock from now on sees the file. Who holds it may still sign.
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	unlock, err := lock(ctx, l.dir)
	if err != nil {
		return fmt.Errorf("stop log %s: %w", l.origin(), err)
	}
	unlock()
	return nil
}

// Stopped gives the error with which this log refuses to sign, or nil if it signs. What cannot be read counts as stopped.
func (l *Log) Stopped() error { return Stopped(l.dir, l.origin()) }

// Stopped is Log.Stopped for who has not opened the log. headDir is as for OpenLog.
func Stopped(headDir, origin string) error {
	_, err := os.Lstat(filepath.Join(headDir, stopFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whether the log is stopped: %w", err)
	}
	return fault.New(fault.Conflict, stopHint, "the log %s contradicted itself and is stopped: it signs nothing any more", origin)
}
