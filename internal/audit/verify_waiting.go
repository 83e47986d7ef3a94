package audit

import (
	"errors"
	"fmt"

	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	"entente.example/internal/store/sqlc"
)

// verifyWaiting checks the releases that wait for a second person, or did: each row against its draft, its leaves, and, where it was
// approved, the manifest that came of it.
func (v *homeVerifier) verifyWaiting() {
	for r, err := range v.view.WaitingRows() {
		if v.ctx.Err() != nil || v.failed("waiting", err) {
			return
		}
		where := fmt.Sprintf("waiting release %.6x", r.Sha256)
		draft, err := statement.ParseDraft[statement.Manifest](r.Draft)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		m := draft.Terms
		v.row(where, draft.Hash, r.Sha256)
		v.equal(where, "id", r.ID, m.ID)
		v.equal(where, "created", r.Created, m.Created.UnixMicro())
		v.equal(where, "ends", r.Ends, store.WaitsUntil(m).UnixMicro())
		v.equal(where, "size", r.Size, m.Content.CiphertextSize)
		if m.From != v.self || m.Approval != (statement.Approval{}) || len(draft.Signed) > 0 {
			v.report.add(where, "it is no draft of ours without approval and signature")
		}
		v.waits(where, r, draft)
	}
}

// waits compares the state of a release with its leaves, and what is kept of it with its state.
func (v *homeVerifier) waits(where string, r sqlc.Waiting, draft *statement.Unsigned[statement.Manifest]) {
	waiting, lapsed := v.only(where, statement.EventWaiting, draft), v.only(where, statement.EventLapsed, draft)
	approved := v.approved(where, draft)
	want := store.Waiting
	switch {
	case waiting == nil:
		v.report.add(where, "the log has no leaf %q about it", statement.EventWaiting)
		return
	case lapsed != nil && approved:
		v.report.add(where, "the log says that it has lapsed, and there is a manifest of it")
	case lapsed != nil:
		want = store.Lapsed
	case approved:
		want = store.Approved
	}
	if store.State(r.State) != want {
		v.report.add(where, "its state is %.40q, and it must be %q", r.State, want)
	}
	if waiting.index >= v.from {
		v.decision(fmt.Sprintf("leaf %d", waiting.index), waiting.index, waiting.Leaf, &statement.Signed[statement.Manifest]{Hash: draft.Hash, Terms: draft.Terms})
	}
	if want != store.Waiting {
		if r.Header != nil || r.Salt != nil {
			v.report.add(where, "it waits no more, and there is an age header or a salt")
		}
		return
	}
	salt, err := v.view.PrivateField(waiting.index, store.SaltField)
	if !errors.Is(err, store.ErrNotFound) {
		v.failed(where, err)
	}
	if r.Salt == nil || string(r.Salt) != string(salt) {
		v.report.add(where, "the salt is not the one that leaf %d is committed to", waiting.index)
	}
	c := draft.Terms.Content
	if r.Header == nil || statement.HashBytes(r.Header) != c.HeaderHash {
		v.report.add(where, "the age header is not the one that the draft names")
		return
	}
	if v.from == 0 || waiting.index >= v.from {
		v.failed(where, v.blobList.add(wantedBlob{draft.Hash, c.CiphertextHash, c.CiphertextSize}))
	}
}

// only gives the one leaf of a kind about a release, or nil.
func (v *homeVerifier) only(where string, kind statement.EventKind, draft *statement.Unsigned[statement.Manifest]) (found *entry) {
	for r, err := range v.view.LeavesAbout(draft.Hash[:], 0) {
		if v.failed(where, err) {
			return found
		}
		l, err := statement.ParseLeaf(r.Body)
		if err != nil || l.Kind != kind || l.Statement == nil || *l.Statement != draft.Hash {
			continue // what is wrong with the leaf is found where the log is read
		}
		if found != nil {
			v.report.add(fmt.Sprintf("leaf %d", r.Idx), "it records what leaf %d records", found.index)
			return found
		}
		found = &entry{Leaf: l, index: r.Idx}
		v.leafSays(where, found, draft.Terms.ID, draft.Terms.To...)
	}
	return found
}

// approved tells whether there is a manifest of that id. It must be the draft with an approval and nothing else.
func (v *homeVerifier) approved(where string, draft *statement.Unsigned[statement.Manifest]) bool {
	row, err := v.view.ManifestByID(v.self, draft.Terms.ID)
	if errors.Is(err, store.ErrNotFound) || v.failed(where, err) {
		return false
	}
	signed, err := statement.ParseDraft[statement.Manifest](row.Raw)
	if err != nil {
		return true // said where manifests are verified
	}
	bare := signed.Terms
	bare.Approval = statement.Approval{}
	text, err := statement.Draft(bare)
	if err != nil || string(text) != string(draft.Raw) || signed.Terms.Approval == (statement.Approval{}) {
		v.report.add(where, "manifest %s has its id, and is not the same with an approval", row.Hash.Short())
	}
	return true
}

// approval checks who approved a manifest of ours: they stand behind the leaf `released`, with the decision that let them.
func (v *homeVerifier) approval(where string, e *entry, m *statement.Signed[statement.Manifest]) {
	values := map[string][]byte{}
	for _, field := range []string{"approver", "approval"} {
		value, err := v.view.PrivateField(e.index, field)
		if err != nil && !errors.Is(err, store.ErrNotFound) && v.failed(where, err) {
			return
		}
		if err == nil {
			values[field] = value
		}
	}
	a := m.Terms.Approval
	if a == (statement.Approval{}) {
		if len(values) > 0 {
			v.report.add(where, "leaf %d names an approver, and the manifest none", e.index)
		}
		return
	}
	if string(values["approver"]) != a.By {
		v.report.add(where, "it is approved by %.80q, and leaf %d is committed to %.80q", a.By, e.index, values["approver"])
	}
	if r, err := v.view.WaitingByID(m.Terms.ID); err != nil || r.State != store.Approved {
		v.report.add(where, "it was approved, and no release that waited became it")
	}
	bare := m.Terms // what was approved was not approved yet
	bare.Approval = statement.Approval{}
	d, err := policy.Replay(values["approval"], policy.Sources{Agreement: v.agreement, House: v.house})
	switch {
	case errors.Is(err, policy.ErrOtherPolicy), errors.Is(err, policy.ErrNoFacts):
		v.report.note(NoteNotReplayed, where, "the decision about its approval cannot be made again: %v", err)
	case err != nil:
		v.report.add(where, "the decision about its approval: %v", err)
	case !d.Recorded.Permit || !d.Agrees() || d.Request.Stage != policy.Approve || d.Core != bare.Core() || !sameCore(d.Request.Manifest, bare) ||
		d.Request.Person == nil || "spiffe://"+v.self+"/person/"+d.Request.Person.Name != a.By:
		v.report.add(where, "the record of the decision about its approval does not permit %.80q to approve it", a.By)
	default:
		v.report.Decisions++
	}
}
