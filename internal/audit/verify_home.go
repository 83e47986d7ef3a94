package audit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// VerifyHome checks everything that a member's home holds about the past: the leaves against the tree, the tree against the head,
// the checkpoint's signature; every statement's hash and signatures; every private value against its commitment; that each
// fact has its leaf and each leaf its fact; that each blob is there and unchanged. headDir is the folder head/, and vkey the
// log's verifier key, from the member's own card.
//
// It changes nothing and may run beside a node. What is wrong stands in the report, however damaged the home is; the error is
// for a cancelled ctx. It holds one picture of the database for as long as it reads the log, and keeps about 200 bytes in
// memory for each leaf.
//
// Not found, because nothing says how it must be: attempts, due times and errors in the outbox, the time of an exchange's
// last change, whether a queued document is being delivered, and a receipt that was taken out of the outbox (its addressee
// misses it). Found, though it may be the trace of a crash that the next start of the node repairs: a torn slot of the
// head, and a blob that nothing names.
func VerifyHome(ctx context.Context, db *store.DB, blobs *store.Blobs, headDir, vkey string) (*Report, error) {
	v := &homeVerifier{ctx: ctx, db: db, blobs: blobs, key: vkey, report: &Report{Checkpoint: -1},
		roots: map[int64]tlog.Hash{}, facts: map[fact]*entry{}, states: map[fact]store.State{}, named: map[statement.Hash]statement.Kind{}}
	key, err := openKey(vkey)
	if err != nil {
		return nil, fmt.Errorf("verify home: %w", err)
	}
	v.log, v.self = key.Name(), logMember(key.Name())
	v.report.Log = v.log

	found, err := db.Integrity(ctx)
	for _, f := range found {
		v.report.add("database", "%s", f)
	}
	v.failed("database", err)
	// The head before, the database, the head after: so a node that publishes meanwhile gives no false alarm.
	before := readSlotsBeside(headDir)
	v.wantRoots(before)
	err = db.View(ctx, func(view *store.View) error {
		v.view = view
		v.verifyLog()
		v.verifyCheckpoint()
		v.verifyTrust()
		v.verifyManifests()
		v.verifyReceipts()
		v.verifyOutbox()
		v.verifyStatements()
		v.verifyLeaves()
		return nil
	})
	v.failed("database", err)
	v.verifyHead(before, readSlotsBeside(headDir))
	v.verifyBlobs()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("verify home: %w", err)
	}
	return v.report, nil
}

// homeVerifier holds what one part of the verification leaves for the next. Its view is set during the database part.
type homeVerifier struct {
	ctx    context.Context
	db     *store.DB
	view   *store.View
	blobs  *store.Blobs
	report *Report
	log    string // origin
	self   string
	key    string // the log's verifier key

	roots      map[int64]tlog.Hash               // size → root, of the sizes that somebody wants to know
	tree       tlog.Tree                         // as the leaves give it
	facts      map[fact]*entry                   // what the leaves say
	states     map[fact]store.State              // {"", manifest, peer} → what the newest leaf about that exchange makes of it
	history    *member.History                   // nil if there is no charter, or none that is sound
	checkpoint tlog.Tree                         // as the stored checkpoint says; N is -1 if there is none that is sound
	named      map[statement.Hash]statement.Kind // the statements that a row of another table names
	blobList   []wantedBlob
}

// fact is what a leaf and a row have in common.
type fact struct {
	kind statement.EventKind
	hash statement.Hash // of the manifest, receipt or statement concerned
	peer string         // only where several facts concern the same hash
}

// entry is what has to be remembered of a leaf.
type entry struct {
	index    int64
	id       string
	manifest statement.Hash
	peers    []string
	salt     []byte
	matched  bool // some row belongs to it
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
	_ = v.db.View(v.ctx, func(view *store.View) error { // an error shows again where the checkpoint is verified
		rows, err := view.CheckpointRows()
		for _, r := range rows {
			if t, err := OpenCheckpoint(r.Note, v.key); err == nil {
				v.roots[t.N] = tlog.Hash{}
			}
		}
		return err
	})
}

func (v *homeVerifier) verifyCheckpoint() {
	v.checkpoint.N = -1
	rows, err := v.view.CheckpointRows()
	if v.failed("checkpoint", err) {
		return
	}
	if len(rows) > 1 {
		v.report.add("checkpoint", "there are %d instead of one", len(rows))
	}
	for _, r := range rows {
		where := fmt.Sprintf("checkpoint %d", r.Size)
		t, err := OpenCheckpoint(r.Note, v.key)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
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
	// The head advances only after the checkpoint of the one before was stored.
	if older > max(v.checkpoint.N, 0) {
		v.report.add("checkpoint", "it covers less than the %d leaves that were shown to others, or is missing", older)
	}
	if at := after.newest(); at >= 0 && v.checkpoint.N > after.head[at].Tree.N {
		v.report.add("head", "it covers %d leaves, and the checkpoint %d that were shown to others", after.head[at].Tree.N, v.checkpoint.N)
	}
}

// verifyTrust opens charters and cards, which sign themselves, and builds the history that all other keys come from.
func (v *homeVerifier) verifyTrust() {
	var charter *statement.Signed[statement.Charter]
	charters, err := v.view.CharterRows()
	v.failed("charter", err)
	for _, r := range charters {
		where := fmt.Sprintf("charter %d", r.Version)
		s, err := statement.OpenSelfSigned[statement.Charter](r.Raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256, statement.KindCharter)
		v.equal(where, "version", r.Version, s.Terms.Version)
		v.take(where, fact{kind: statement.EventCharter, hash: s.Hash})
		charter = s
	}
	var cards []*statement.Signed[statement.Card]
	rows, err := v.view.CardRows()
	v.failed("card", err)
	for _, r := range rows {
		where := fmt.Sprintf("card %s %d", r.Member, r.Version)
		s, err := statement.OpenSelfSigned[statement.Card](r.Raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256, statement.KindCard)
		v.equal(where, "member", r.Member, s.Terms.Member)
		v.equal(where, "version", r.Version, s.Terms.Version)
		v.take(where, fact{kind: statement.EventCard, hash: s.Hash})
		cards = append(cards, s)
	}
	if charter != nil {
		if v.history, err = member.Found(charter, cards...); err != nil {
			v.report.add("charter", "%v", err)
		}
	}
	v.verifyAgreements()
}

func (v *homeVerifier) verifyAgreements() {
	rows, err := v.view.AgreementRows()
	v.failed("agreement", err)
	for _, r := range rows {
		where := fmt.Sprintf("agreement %s %d", r.Name, r.Version)
		s, err := openWith[statement.Agreement](v, r.Raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256, statement.KindAgreement)
		v.equal(where, "name", r.Name, s.Terms.Name)
		v.equal(where, "version", r.Version, s.Terms.Version)
		v.take(where, fact{kind: statement.EventAgreement, hash: s.Hash})
	}
}

// openWith opens a statement under the keys of these members, or of all.
func openWith[T statement.Terms](v *homeVerifier, raw []byte, members ...string) (*statement.Signed[T], error) {
	if v.history == nil {
		return nil, errors.New("its signatures cannot be verified without a sound charter")
	}
	return statement.Open[T](raw, v.history.Verifiers(members...))
}

// row notes that a row names a statement, and checks the name.
func (v *homeVerifier) row(where string, hash statement.Hash, column []byte, kind statement.Kind) {
	if string(column) != string(hash[:]) {
		v.report.add(where, "its statement is %s, and not the one that the row names", hash.Short())
	}
	v.named[hash] = kind
}

// equal compares a column with what the statement says.
func (v *homeVerifier) equal(where, column string, got, want any) {
	if got != want {
		v.report.add(where, "the column %s says %.80q, the statement %.80q", column, fmt.Sprint(got), fmt.Sprint(want))
	}
}

// take finds the leaf of a fact, once.
func (v *homeVerifier) take(where string, f fact) *entry {
	e := v.facts[f]
	if e == nil {
		v.report.add(where, "the log has no leaf %q about it", f.kind)
		return nil
	}
	if e.matched {
		v.report.add(where, "leaf %d is about another row too", e.index)
	}
	e.matched = true
	return e
}
