package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// Explained is a decision that was made here about an exchange, as its record has it.
type Explained struct {
	Leaf     int64 // its place in the log
	Kind     statement.EventKind
	Time     time.Time
	Stage    string
	Person   string // as spiffe://MEMBER/person/NAME; empty where the node itself decided
	Decision policy.Decision
	// Again says what the decision is worth today: nil if the same texts say the same to the same facts.
	Again error
}

// Explain gives the decisions about an exchange, or about what was refused to be sent under an id, oldest first.
func (h *Home) Explain(ctx context.Context, ref string) ([]Explained, error) {
	var list []Explained
	err := h.DB.View(ctx, func(v *store.View) error {
		leaves, err := decided(v, h.Config.Member, ref)
		if err != nil {
			return exchangeError(ref, err)
		}
		for _, at := range leaves {
			l, err := statement.ParseLeaf(at.Body)
			if err != nil {
				return fmt.Errorf("read leaf %d: %w", at.Index, err)
			}
			// Behind a release that took two persons stand two decisions; that of the second person was made first.
			for _, of := range []struct{ stage, decision, person string }{{string(policy.Approve), "approval", "approver"}, {l.Stage, "decision", "person"}} {
				e := Explained{Leaf: at.Index, Kind: l.Kind, Time: l.Time, Stage: of.stage}
				asked, err := explain(v, &e, of.decision, of.person)
				if err != nil {
					return fmt.Errorf("read leaf %d: %w", at.Index, err)
				}
				if asked {
					list = append(list, e)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fault.New(fault.NotFound, "entente show "+ref+" says what happened to it", "no policy was asked here about %.128q", ref)
	}
	return list, nil
}

// explain fills in a decision from the private fields of its leaf; it says no for a fact that nobody was asked about.
func explain(v *store.View, e *Explained, decision, person string) (bool, error) {
	record, err := v.PrivateField(e.Leaf, decision)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	who, err := v.PrivateField(e.Leaf, person)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	e.Person = string(who)
	e.Decision, e.Again, err = again(v, record)
	return true, err
}

// decided finds the leaves about an exchange; about an id that no document has, those that deny it.
func decided(v *store.View, self, ref string) ([]store.Indexed, error) {
	x, err := v.FindExchange(ref)
	if err == nil {
		list, err := v.LeavesOf(x.Manifest)
		if err != nil {
			return nil, err
		}
		denied, err := deniedIDs(v, x.ID) // an earlier attempt under the same id
		return append(denied, list...), err
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if r, waiting := findWaiting(v, self, ref); waiting == nil { // no exchange yet, or none any more
		ref = r.Draft.Terms.ID
	}
	if _, bad := ulid.ParseStrict(ref); bad != nil {
		return nil, err
	}
	list, denied := deniedIDs(v, ref)
	if denied == nil && len(list) == 0 {
		return nil, err
	}
	return list, denied
}

// deniedIDs finds the leaves that deny the release of something with an id. An id begins with its time, so the log is read from then on,
// for as long as somebody could have gone on trying.
func deniedIDs(v *store.View, id string) (list []store.Indexed, err error) {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return nil, fmt.Errorf("read id %.40q: %w", id, err)
	}
	since := ulid.Time(u.Time()).Add(-24 * time.Hour) // the client's clock
	var last store.Instant
	for {
		page, err := v.LeavesBetween(since, since.AddDate(0, 0, 8), last)
		if err != nil {
			return nil, err
		}
		for _, i := range page {
			if l, err := statement.ParseLeaf(i.Body); err == nil && l.ID == id && l.Manifest == nil {
				list = append(list, i.Indexed)
			}
		}
		if len(page) < limit.Page {
			return list, nil
		}
		last = page[len(page)-1]
	}
}

// again makes a decision again.
func again(v *store.View, record []byte) (policy.Decision, error, error) {
	var failed error
	d, err := policy.Replay(record, policy.Sources{
		Agreement: func(hash statement.Hash) *statement.Agreement {
			row, err := v.AgreementByHash(hash)
			if err != nil {
				return nil
			}
			s, err := statement.ParseDraft[statement.Agreement](row.Raw) // audit verify opens it; here it only tells a text from another
			if err != nil || s.Hash != hash {
				return nil
			}
			return &s.Terms
		},
		House: func(hash statement.Hash) (string, bool) {
			text, err := v.House(hash)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				failed = err
			}
			return text, err == nil
		},
	})
	switch {
	case failed != nil:
		return d.Recorded, nil, failed
	case errors.Is(err, policy.ErrOtherPolicy), errors.Is(err, policy.ErrNoFacts):
		return d.Recorded, err, nil
	case err != nil:
		return d.Recorded, nil, err
	case !d.Agrees():
		return d.Recorded, errors.New("the same rules say something else to the same facts; run: entente audit verify"), nil
	}
	return d.Recorded, nil, nil
}
