package node

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
)

// VerifyOptions says how much of a home is to be verified.
type VerifyOptions struct {
	All           bool // also what an earlier verification found sound
	SkipDocuments bool // leave the bytes of documents unread; then nothing is remembered
	// Progress, if it is not nil, is called as in audit.Verification.
	Progress func(what string, done, total int64)
}

// VerifyLog checks the home's log, and everything that hangs on it, against each other. It reads all, and writes nothing.
func (h *Home) VerifyLog(ctx context.Context) (*audit.Report, error) {
	return h.verify(ctx, VerifyOptions{}, nil, time.Now())
}

// VerifyMore checks what is new since the last time that it found everything sound, or all, and remembers how far it came in the
// file audit.VerifiedFile of the home. That is all that it writes, and where it cannot, a note says so. Once it has found a
// problem it forgets: the next time reads everything.
func (h *Home) VerifyMore(ctx context.Context, o VerifyOptions) (*audit.Report, error) {
	path, now := filepath.Join(h.Dir, audit.VerifiedFile), time.Now()
	var since *audit.Verified
	var unusable error
	if !o.All {
		since, unusable = audit.ReadVerified(path)
	}
	r, err := h.verify(ctx, o, since, now)
	if err != nil {
		return nil, err
	}
	if unusable != nil {
		r.Note(audit.NoteVerified, audit.VerifiedFile, fmt.Sprintf("everything was read, for it cannot be used: %v", unusable))
	}
	switch {
	case !r.OK():
		err = audit.Forget(path)
	case !o.SkipDocuments:
		err = audit.Remember(path, r, now)
	}
	if err != nil {
		r.Note(audit.NoteVerified, audit.VerifiedFile, fmt.Sprintf("how far this came cannot be remembered: %v", err))
	}
	return r, nil
}

func (h *Home) verify(ctx context.Context, o VerifyOptions, since *audit.Verified, now time.Time) (*audit.Report, error) {
	card, err := h.Card()
	if err != nil {
		return nil, err
	}
	return audit.VerifyHome(ctx, audit.Verification{DB: h.DB, Blobs: h.Blobs, HeadDir: filepath.Join(h.Dir, headDir), Keys: checkpoint.Log{Ed25519: card.Terms.Log, MLDSA: card.Terms.LogMLDSA}, Now: now,
		Since: since, SkipDocuments: o.SkipDocuments, Progress: o.Progress})
}
