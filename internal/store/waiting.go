package store

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// The states of a release that waits for a second person, of which the first two are also those that its exchanges are shown in: there
// are none before it is approved.
const (
	Waiting  State = "waiting"  // nobody has approved it yet
	Lapsed   State = "lapsed"   // nobody has in time
	Approved State = "approved" // it is a manifest
)

// Release is a release that waits for a second person, or did.
type Release struct {
	Hash   statement.Hash // of the draft, under which the payload stands among the blobs while it waits
	State  State
	Ends   time.Time // until when it waits
	Draft  *statement.Unsigned[statement.Manifest]
	Header []byte // the age header; nil unless it waits
	Salt   []byte // of the commitment; nil unless it waits
}

// Exchanges gives what the release looks like among exchanges, one for each recipient, sorted.
func (r Release) Exchanges() []Exchange {
	m := r.Draft.Terms
	e := Exchange{Manifest: r.Hash, From: m.From, ID: m.ID, State: r.State, Updated: m.Created, Created: m.Created, Size: m.Content.CiphertextSize}
	if r.State == Lapsed {
		e.Updated = r.Ends
	}
	list := make([]Exchange, len(m.To))
	for i, to := range m.To {
		list[i] = e
		list[i].To = to
	}
	return list
}

// WaitsUntil tells when a release lapses if nobody approves it: with its deadline for delivery, and after limit.WaitingAge at the latest.
func WaitsUntil(m statement.Manifest) time.Time {
	if latest := m.Created.Add(limit.WaitingAge); latest.Before(m.DeliverBy) {
		return latest
	}
	return m.DeliverBy
}

func release(r sqlc.Waiting, err error) (Release, error) {
	if r, err = row(r, err); err != nil {
		return Release{}, err
	}
	h, err := toHash(r.Sha256)
	if err != nil {
		return Release{}, err
	}
	draft, err := statement.ParseDraft[statement.Manifest](r.Draft)
	if err == nil && draft.Hash != h {
		err = errors.New("its text has another hash")
	}
	if err != nil {
		return Release{}, fmt.Errorf("read waiting release %s: %w; run: entente audit verify", h.Short(), err)
	}
	return Release{Hash: h, State: State(r.State), Ends: time.UnixMicro(r.Ends).UTC(), Draft: draft, Header: r.Header, Salt: r.Salt}, nil
}

// WaitingRelease gives a release by the hash of its draft, or ErrNotFound.
func (v *View) WaitingRelease(hash statement.Hash) (Release, error) {
	return release(v.q.Waiting(v.ctx, hash[:]))
}

// WaitingByID gives the release with an id, or ErrNotFound.
func (v *View) WaitingByID(id string) (Release, error) { return release(v.q.WaitingByID(v.ctx, id)) }

// WaitingByPrefix gives the one release whose id begins so, ErrNotFound or ErrAmbiguous.
func (v *View) WaitingByPrefix(id string) (Release, error) {
	rows, err := v.q.WaitingByPrefix(v.ctx, sqlc.WaitingByPrefixParams{ID: id, Length: int32(len(id))})
	switch {
	case err != nil:
		return Release{}, err
	case len(rows) == 0 || id == "":
		return Release{}, ErrNotFound
	case len(rows) > 1:
		return Release{}, fmt.Errorf("%.80q %w: %s, %s", id, ErrAmbiguous, rows[0].ID, rows[1].ID)
	}
	return release(rows[0], nil)
}

// CountWaiting tells how many releases wait.
func (v *View) CountWaiting() (int64, error) { return v.q.CountWaiting(v.ctx) }

// WaitingByEnd gives the releases that wait, at most `most`, the one that lapses next first.
func (v *View) WaitingByEnd(most int) ([]Release, error) {
	return releases(v.q.WaitingByEnd(v.ctx, int32(most)))
}

// WaitingEnded gives the newest releases that wait no more, at most limit.Page.
func (v *View) WaitingEnded() ([]Release, error) {
	list, err := releases(v.q.WaitingBefore(v.ctx, sqlc.WaitingBeforeParams{Everything: true, Created: math.MaxInt64, Sha256: []byte{}, Most: limit.Page}))
	return slices.DeleteFunc(list, func(r Release) bool { return r.State == Waiting }), err
}

func releases(rows []sqlc.Waiting, err error) ([]Release, error) {
	if err != nil {
		return nil, err
	}
	list := make([]Release, len(rows))
	for i, r := range rows {
		if list[i], err = release(r, nil); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Outbox gives what we have sent and what waits or has lapsed, those with the newest manifests first, as Exchanges does. Of the filter
// only After and Limit count.
func (v *View) Outbox(self string, f Filter) ([]Exchange, error) {
	f = Filter{From: self, After: f.After, Limit: f.Limit}
	sent, err := v.Exchanges(f)
	if err != nil {
		return nil, err
	}
	if f.Limit <= 0 || f.Limit > limit.Page {
		f.Limit = limit.Page
	}
	p := sqlc.WaitingBeforeParams{Created: math.MaxInt64, Sha256: []byte{}, Most: int32(f.Limit) + 1} // the first may be on the page before
	after := ""
	if f.After != "" {
		if p.Created, p.Sha256, after, err = parseCursor(f.After); err != nil {
			return nil, err
		}
	}
	waiting, err := releases(v.q.WaitingBefore(v.ctx, p))
	if err != nil {
		return nil, err
	}
	list := sent
	for _, r := range waiting {
		for _, e := range r.Exchanges() {
			if e.Created.UnixMicro() == p.Created && string(r.Hash[:]) == string(p.Sha256) && e.To <= after {
				continue // on the page before
			}
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Exchange) int {
		return cmp.Or(b.Created.Compare(a.Created), slices.Compare(b.Manifest[:], a.Manifest[:]), cmp.Compare(a.To, b.To))
	})
	return list[:min(len(list), f.Limit)], nil
}

// PutWaiting adds a release that waits, with what is needed to approve it: header is the document's age header, salt opens its
// commitment, 32 bytes. It needs its blob in place before, under the hash of the draft. ErrExists if it is there, ErrConflict if the id is
// that of another release, or of a manifest of ours.
func (tx *Tx) PutWaiting(draft *statement.Unsigned[statement.Manifest], header, salt []byte) error {
	m := draft.Terms
	if _, err := tx.ManifestByID(m.From, m.ID); !errors.Is(err, ErrNotFound) {
		return errors.Join(fmt.Errorf("put waiting release %s: its id %w", draft.Hash.Short(), ErrConflict), err)
	}
	n, err := tx.q.InsertWaiting(tx.ctx, sqlc.InsertWaitingParams{Sha256: draft.Hash[:], ID: m.ID, State: string(Waiting), Created: m.Created.UnixMicro(),
		Ends: WaitsUntil(m).UnixMicro(), Size: m.Content.CiphertextSize, Draft: draft.Raw, Header: header, Salt: salt})
	return tx.placed(n, err, "waiting release", draft.Hash, func() ([]byte, error) {
		r, err := tx.q.WaitingByID(tx.ctx, m.ID)
		return r.Sha256, err
	})
}

// EndWaiting makes a release that waits Approved or Lapsed, and forgets its header and salt here. ErrNotFound if it does not wait.
func (tx *Tx) EndWaiting(hash statement.Hash, state State) error {
	n, err := tx.q.EndWaiting(tx.ctx, sqlc.EndWaitingParams{Sha256: hash[:], State: string(state)})
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("end waiting release %s: %w", hash.Short(), explain(err))
	}
	return nil
}

// Kept tells whether the blob under that hash is one that can be opened: that of a manifest or of a release that waits, whose age
// header is here, and whose payload is not here, too.
func (v *View) Kept(hash statement.Hash) (bool, error) {
	s, err := v.Sealed(hash)
	if err == nil && s.Payload != nil {
		return false, nil
	}
	if errors.Is(err, ErrNotFound) {
		var r sqlc.Waiting
		if r, err = row(v.q.Waiting(v.ctx, hash[:])); err == nil && r.Header == nil {
			err = ErrNotFound
		}
	}
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// WaitingRows gives all rows of table waiting.
func (v *View) WaitingRows() iter.Seq2[sqlc.Waiting, error] {
	return pages(pageRows, func(last *sqlc.Waiting) ([]sqlc.Waiting, error) {
		p := sqlc.WaitingFromParams{Sha256: []byte{}, Limit: pageRows}
		if last != nil {
			p.Sha256 = next(last.Sha256)
		}
		return v.q.WaitingFrom(v.ctx, p)
	})
}

// HasWaitingRow tells whether a row of table waiting has the draft with that hash.
func (v *View) HasWaitingRow(hash statement.Hash) (bool, error) {
	return there(v.q.Waiting(v.ctx, hash[:]))
}
