package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// Verification says what to verify, and how.
type Verification struct {
	DB      *store.DB
	Blobs   *store.Blobs
	HeadDir string         // the folder head/
	Keys    checkpoint.Log // the log's verifier keys, from the member's own card
	Now     time.Time      // when documents are overdue is judged at this time

	// Since is what an earlier verification found sound, see Verified. Its leaves are not read again; nil reads all.
	Since *Verified
	// SkipDocuments leaves the bytes of documents unread. That they are there, and of the right size, is checked all the same.
	SkipDocuments bool
	// Progress, if it is not nil, is called from time to time: what is being done, how much of it is done, and how much there is.
	Progress func(what string, done, total int64)
}

// VerifyHome checks everything that a member's home holds about the past: the leaves against the tree, the tree against the head,
// the checkpoint's signature; every statement's hash and signatures; every private value against its commitment; that each
// fact has its leaf and each leaf its fact; the order of events of each exchange; each decision, by making it again from its
// record; receipts against manifests; the standing of those concerned; that each blob is there and unchanged.
//
// It changes nothing and may run beside a node. What is wrong stands in the report, however damaged the home is; the error is
// for a cancelled ctx, or for no room for a temporary file. It holds one picture of the database for as long as it reads the
// log. Memory does not grow with the log: whatever has to be looked up is found through an index, and which blobs are to be
// hashed, 72 bytes for each, is written to a temporary file.
//
// With Since only newer leaves are read, and the exchanges that they are about; and besides what is small, the head, the
// checkpoint, the numbers of rows. That the tree still extends what was verified then is computed from its stored hashes. So a
// leaf or row of before that was changed since is not found, nor are damaged pages of the database.
//
// Not found, because nothing says how it must be: attempts, due times and errors in the outbox, the time of an exchange's
// last change, whether a queued document is being delivered, which version of an agreement was the newest known to a decision,
// and a receipt, reconciliation, agreement or notice that was taken out of the outbox (its addressee misses it). Found, though it may be the trace of a crash that
// the next start of the node repairs: a torn slot of the head, and a blob that nothing names.
func VerifyHome(ctx context.Context, c Verification) (*Report, error) {
	v := &homeVerifier{Verification: c, ctx: ctx, report: &Report{Checkpoint: -1}, roots: map[int64]tlog.Hash{}, agreements: map[statement.Hash]*statement.Agreement{}}
	v.log, v.self = c.Keys.Origin(), logMember(c.Keys.Origin())
	v.report.Log = v.log
	v.blobList = newSpool()
	defer v.blobList.remove()
	// The head before, the database, the head after: so a node that publishes meanwhile gives no false alarm.
	before := readSlotsBeside(c.HeadDir)
	v.wantRoots(before)
	err := v.DB.LongView(ctx, func(view *store.View) error {
		v.view = view
		v.verifyDatabase()
		return nil
	})
	v.failed("database", err)
	v.verifyHead(before, readSlotsBeside(c.HeadDir))
	v.verifyBlobs()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("verify home: %w", err)
	}
	return v.report, nil
}

// verifyDatabase goes through one picture of the database.
func (v *homeVerifier) verifyDatabase() {
	v.begin()
	if v.from == 0 {
		found, err := v.DB.Integrity(v.ctx)
		for _, f := range found {
			v.report.add("database", "%s", f)
		}
		v.failed("database", err)
	}
	v.verifyTrust()
	v.verifyLog()
	v.verifyCheckpoint()
	v.verifyCosigned()
	v.verifyForks()
	v.verifyWaiting()
	if v.from == 0 {
		v.verifyDossiers()
		v.verifyStatements()
	}
	v.verifyOutbox()
	v.verifyCounts()
}

// homeVerifier holds what one part of the verification leaves for the next. Its view is set during the database part.
type homeVerifier struct {
	Verification
	ctx    context.Context
	view   *store.View
	report *Report
	log    string // origin
	self   string

	from       int64               // the first leaf that is read
	cosigned   int64               // leaves of the newest checkpoint that witnesses co-signed, or -1
	roots      map[int64]tlog.Hash // size → root, of the sizes that somebody wants to know
	tree       tlog.Tree           // as the leaves give it
	history    *member.History     // nil if there is no charter, or none that is sound
	verifiers  note.Verifiers      // of all members of history
	agreements map[statement.Hash]*statement.Agreement
	checkpoint tlog.Tree // as the stored checkpoint says; N is -1 if there is none that is sound
	grown      counts    // the rows that the leaves read here must have made
	blobList   *spool
	told       time.Time // when Progress was called last
	pace       func(ctx context.Context, bytes int)
}

// progress tells how far the verification is, at most ten times in a second.
func (v *homeVerifier) progress(what string, done, total int64) {
	if v.Progress == nil || time.Since(v.told) < 100*time.Millisecond {
		return
	}
	v.told = time.Now()
	v.Progress(what, done, max(done, total))
}

// failed reports an error of reading as a problem; a cancelled context is none.
func (v *homeVerifier) failed(where string, err error) bool {
	if err != nil && v.ctx.Err() == nil {
		v.report.add(where, "cannot be read: %v", err)
	}
	return err != nil
}

func (v *homeVerifier) wantRoots(s slots) {
	for i := range s.head {
		if s.err[i] == nil {
			v.roots[s.head[i].Tree.N] = tlog.Hash{}
		}
	}
	_ = v.DB.View(v.ctx, func(view *store.View) error { // an error shows again where the checkpoint is verified
		rows, err := view.CheckpointRows()
		for _, r := range rows {
			if c, err := checkpoint.Open(r.Note, v.Keys); err == nil {
				v.roots[c.Tree.N] = tlog.Hash{}
			}
		}
		sizes, err2 := view.CosignedSizes()
		for _, size := range sizes {
			if v.Since != nil && size < v.Since.Tree.N {
				continue // verified before, see verifyCosigned; there may be thousands
			}
			v.roots[size] = tlog.Hash{}
		}
		return errors.Join(err, err2)
	})
}

func (v *homeVerifier) verifyCheckpoint() {
	v.checkpoint.N, v.cosigned = -1, -1
	newest, err := v.view.NewestCosigned()
	if !errors.Is(err, store.ErrNotFound) && !v.failed("checkpoint", err) {
		v.cosigned = newest.Size
	}
	rows, err := v.view.CheckpointRows()
	if v.failed("checkpoint", err) {
		return
	}
	if len(rows) > 1 {
		v.report.add("checkpoint", "there are %d instead of one", len(rows))
	}
	for _, r := range rows {
		where := fmt.Sprintf("checkpoint %d", r.Size)
		c, err := checkpoint.Open(r.Note, v.Keys)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		t := c.Tree
		v.checkpoint = t
		switch {
		case t.N != r.Size:
			v.report.add(where, "it says that it covers %d leaves", t.N)
		case t.N > v.tree.N:
			v.report.add(where, "the log has only %d leaves", v.tree.N)
		case v.rootDiffers(t):
			v.report.add(where, "its root is not that of the first %d leaves", t.N)
		}
	}
	v.report.Checkpoint = v.checkpoint.N
}

// rootDiffers compares with the root that the leaves gave. A size that was signed after this verification began has no root
// here and is not judged.
func (v *homeVerifier) rootDiffers(t tlog.Tree) bool {
	root, known := v.roots[t.N]
	return known && root != t.Hash
}

// verifyHead compares the slots with the tree. A head that was advanced meanwhile may be larger than the picture of the tree.
func (v *homeVerifier) verifyHead(before, after slots) {
	older := int64(-1)
	for i := range before.head {
		where := "head/" + slotName(i)
		h := before.head[i]
		if before.err[i] != nil {
			v.report.add(where, "%v", before.err[i])
			continue
		}
		switch {
		case h.Log != v.log:
			v.report.add(where, "it belongs to the log %.80q, not to %s", h.Log, v.log)
		case h.Tree.N > v.tree.N:
			v.report.add(where, "%d leaves were shown to others, and the log has only %d", h.Tree.N, v.tree.N)
		case v.rootDiffers(h.Tree):
			v.report.add(where, "the first %d leaves are not those that were shown to others", h.Tree.N)
		}
		if older < 0 || h.Tree.N < older {
			older = h.Tree.N
		}
	}
	// The checkpoint follows the head, also where a crash came between; the next start makes up for it. But what witnesses co-signed was a checkpoint
	// before, and a log that was shown has one.
	if v.cosigned > max(v.checkpoint.N, 0) {
		v.report.add("checkpoint", "it covers less than the %d leaves that witnesses co-signed, or is missing", v.cosigned)
	} else if older > 0 && v.checkpoint.N < 0 {
		v.report.add("checkpoint", "it is missing, and %d leaves were shown to others", older)
	}
	if at := after.newest(); at >= 0 && v.checkpoint.N > after.head[at].Tree.N {
		v.report.add("head", "it covers %d leaves, and the checkpoint %d that were shown to others", after.head[at].Tree.N, v.checkpoint.N)
	}
}
