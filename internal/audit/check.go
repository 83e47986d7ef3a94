package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	"entente.example/internal/store/sqlc"
)

// Damage is something that is not as it must be, and what it is about.
type Damage struct {
	Manifest statement.Hash // of the document, or of the draft of a release that waits; zero if it is about no document
	Problem
}

// Check is VerifyHome for a node that serves meanwhile: the same checks in small pieces, each in a picture of the database of its own, with
// rests in between. So no piece keeps the write-ahead log from being folded, and nobody who waits for the disk waits for long.
type Check struct {
	Verification // Since and Progress are not used

	// Found is called with whatever is found damaged, once each.
	Found func(Damage)
	// Rows and Bytes, if they are not nil, are called with what was gone through: rows of the database, bytes of documents.
	Rows, Bytes func(n int)

	// Busy, if it is not nil, tells whether somebody waits for the node: then a rest is limit.CheckBusy times as long.
	Busy func() bool

	restless bool // in tests
}

// checkPiece is how many rows are checked in one picture of the database. About a document there are some milliseconds of work.
const checkPiece = 50

// Everything checks everything, once. The order is that of VerifyHome but for the blobs, which come with their manifests. What is left to
// VerifyHome are the database's own structures (its indexes, for instance), for which SQLite reads all of it in one transaction.
//
// The error is that of ctx. Whatever cannot be read is damage.
func (c Check) Everything(ctx context.Context) error {
	k := c.start(ctx)
	defer k.v.blobList.remove()
	before := readSlotsBeside(c.HeadDir)
	k.v.wantRoots(before)
	k.piece(statement.Hash{}, k.v.verifyTrust)
	k.log()
	k.piece(statement.Hash{}, func() { k.v.verifyForks(); k.v.verifyWaiting() })
	k.blobs()
	k.cases()
	for at := []byte(nil); ctx.Err() == nil; {
		var next []byte
		k.piece(statement.Hash{}, func() { next = k.v.verifyStatementsFrom(at, checkPiece) })
		if at = next; at == nil {
			break
		}
	}
	for at := (*sqlc.Outbox)(nil); ctx.Err() == nil; {
		var next *sqlc.Outbox
		k.piece(statement.Hash{}, func() { next = k.v.verifyOutboxFrom(at, checkPiece) })
		if at = next; at == nil {
			break
		}
	}
	k.v.verifyHead(before, readSlotsBeside(c.HeadDir))
	k.v.verifyUnnamed()
	k.tell(statement.Hash{})
	return errors.Join(ctx.Err(), k.err)
}

// Documents checks what there is about these documents, and their bytes, once more. What it does not find is well again.
func (c Check) Documents(ctx context.Context, manifests []statement.Hash) error {
	k := c.start(ctx)
	defer k.v.blobList.remove()
	k.piece(statement.Hash{}, k.v.verifyTrust)
	for _, m := range manifests {
		k.piece(m, func() { k.v.dossier(m[:]) })
		k.blobs()
	}
	return errors.Join(ctx.Err(), k.err)
}

// checking is one run of a Check.
type checking struct {
	Check
	v   *homeVerifier
	err error // why something was not looked at, of which nothing may be said therefore
}

func (c Check) start(ctx context.Context) *checking {
	c.Since, c.Progress = nil, nil
	v := &homeVerifier{Verification: c.Verification, ctx: ctx, roots: map[int64]tlog.Hash{}, log: c.Keys.Origin(), self: logMember(c.Keys.Origin()), blobList: newSpool()}
	v.forget()
	k := &checking{Check: c, v: v}
	v.pace = k.pace
	return k
}

// forget begins a new report, and looks agreements up again.
func (v *homeVerifier) forget() {
	v.report = &Report{Checkpoint: -1, Log: v.log}
	v.agreements = map[statement.Hash]*statement.Agreement{}
}

// piece runs a part of the check on one picture of the database, and rests as long as the node is to have the machine for itself. fn must be
// repeatable: if it finds something, that may be because a charter, card or agreement is newer than what the check began with, and so these are
// read again, and fn runs again.
func (k *checking) piece(about statement.Hash, fn func()) {
	if k.v.ctx.Err() != nil {
		return
	}
	began := time.Now()
	err := k.DB.View(k.v.ctx, func(view *store.View) error {
		k.v.view = view
		if fn(); len(k.v.report.Problems) > 0 {
			k.v.verifyTrust()
			k.v.forget()
			fn()
		}
		return nil
	})
	k.err = errors.Join(k.err, err)
	k.v.failed("database", err)
	k.tell(about)
	if k.Rows != nil {
		k.Rows(checkPiece)
	}
	rest := limit.CheckShare * time.Since(began)
	if k.Busy != nil && k.Busy() {
		rest *= limit.CheckBusy
	}
	k.rest(k.v.ctx, rest)
}

// tell hands on what was found, and forgets it.
func (k *checking) tell(about statement.Hash) {
	found := k.v.report.Problems
	k.v.forget()
	if k.v.ctx.Err() != nil {
		return // what failed may have failed for that
	}
	for _, p := range found {
		k.Found(Damage{about, p})
	}
}

// pace keeps the reading of documents under limit.CheckBytes a second.
func (k *checking) pace(ctx context.Context, bytes int) {
	if k.Bytes != nil {
		k.Bytes(bytes)
	}
	k.rest(ctx, time.Duration(float64(bytes)/limit.CheckBytes*float64(time.Second)))
}

func (k *checking) rest(ctx context.Context, d time.Duration) {
	if k.restless {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// log goes through leaves, tree and private values, and in the end through what was signed about them.
func (k *checking) log() {
	edge := frontier{}
	for end := false; !end && k.v.ctx.Err() == nil; {
		var grown frontier
		k.piece(statement.Hash{}, func() {
			grown = frontier{edge.size, slices.Clone(edge.roots)}
			if end = k.v.verifyLeaves(&grown, 4*checkPiece); end {
				k.v.verifyCheckpoint()
				k.v.verifyCosigned()
			}
		})
		edge = grown
	}
}

// cases goes through all documents: what rows and leaves say about each, and its bytes.
func (k *checking) cases() {
	for at := []byte(nil); k.v.ctx.Err() == nil; {
		page, err := k.page(at)
		if k.v.failed("manifest", err) || len(page) == 0 {
			k.tell(statement.Hash{})
			return
		}
		for _, hash := range page {
			var about statement.Hash
			copy(about[:], hash)
			k.piece(about, func() { k.v.dossier(hash) })
			k.blobs()
		}
		at = slices.Concat(page[len(page)-1], []byte{0})
	}
}

// page gives the next hashes that rows or leaves are about.
func (k *checking) page(from []byte) (page [][]byte, err error) {
	err = k.DB.View(k.v.ctx, func(view *store.View) error {
		for hash, err := range view.CaseRows(from) {
			if err != nil {
				return err
			}
			if page = append(page, hash); len(page) == limit.Page {
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list documents: %w", err)
	}
	return page, nil
}

// blobs reads the documents that the pieces before have named.
func (k *checking) blobs() {
	list := k.v.blobList
	k.v.blobList = newSpool()
	defer list.remove()
	seen := map[statement.Hash]bool{} // a piece that ran twice names them twice
	for b, err := range list.all() {
		if k.v.ctx.Err() != nil || k.v.failed("blobs", err) {
			break
		}
		if seen[b.manifest] {
			continue
		}
		seen[b.manifest] = true
		err := k.v.blob(b)
		if errors.Is(err, store.ErrNotFound) && !k.v.hasHeader(b.manifest) {
			continue // disposed of meanwhile: first the header goes, then the blob
		}
		if err != nil {
			k.v.report.add("blob "+b.manifest.Short(), "%v", err)
		}
		k.tell(b.manifest)
	}
	k.tell(statement.Hash{})
}
