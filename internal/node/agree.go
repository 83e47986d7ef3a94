package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/member"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// Agreement is an agreement that is in this home.
type Agreement struct {
	*statement.Signed[statement.Agreement]
	InForce    bool      // at the time asked for: it has begun, has not ended, and no newer version has begun
	Superseded bool      // by a newer version that has begun
	At         time.Time // when it came into force here
	Withdrawn  []store.Notice
}

// DraftAgreement writes an agreement for its parties to sign. It belongs to this home's alliance.
func (h *Home) DraftAgreement(ctx context.Context, a statement.Agreement) ([]byte, error) {
	history, err := h.History(ctx)
	if err != nil {
		return nil, err
	}
	a.Alliance = history.Alliance()
	if a.Version > 1 && a.Previous.IsZero() {
		if a.Previous, err = h.previous(ctx, a); err != nil {
			return nil, err
		}
	}
	a.NotBefore, a.NotAfter = a.NotBefore.UTC().Truncate(time.Second), a.NotAfter.UTC().Truncate(time.Second)
	if err := parties(history, a); err != nil {
		return nil, err
	}
	raw, err := statement.Draft(a)
	if err != nil {
		return nil, fault.New(fault.Misused, "correct that field", "%w", err)
	}
	return raw, nil
}

// previous finds the version that an agreement replaces.
func (h *Home) previous(ctx context.Context, a statement.Agreement) (statement.Hash, error) {
	var known store.Agreement
	err := h.DB.View(ctx, func(v *store.View) (err error) { known, err = v.AgreementByName(a.Name); return err })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return statement.Hash{}, fmt.Errorf("find the version before: %w", err)
	}
	if known.Version != a.Version-1 {
		return statement.Hash{}, fault.New(fault.Conflict, "entente agreement list shows the versions that there are",
			"draft agreement: version %d of %s would follow version %d, and version %d is in force here", a.Version, a.Name, a.Version-1, known.Version)
	}
	return known.Hash, nil
}

func parties(history *member.History, a statement.Agreement) error {
	if a.Alliance != history.Alliance() {
		return fault.New(fault.Invalid, "draft it again in a home of this alliance", "agreement %s belongs to another alliance", a.Name)
	}
	for _, p := range a.Parties {
		if _, ok := history.Member(p); !ok {
			return fault.New(fault.Misused, "entente charter show lists the members", "agreement %s names %q, who is no member of alliance %s", a.Name, p, history.Name())
		}
	}
	if err := policy.CheckAgreement(&a); err != nil {
		return fault.New(fault.Misused, "correct it, and draft the agreement again", "agreement %s: %w", a.Name, err)
	}
	return nil
}

// SignAgreement adds this member's signature to a draft.
func (h *Home) SignAgreement(ctx context.Context, raw []byte) ([]byte, error) {
	draft, history, err := h.readAgreement(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := parties(history, draft.Terms); err != nil {
		return nil, err
	}
	if err := draft.Verify(history.Verifiers(draft.Terms.Parties...)); err != nil {
		return nil, fault.New(fault.Invalid, "somebody's copy is damaged or forged; ask for it again", "sign agreement %s: %w", draft.Terms.Name, err)
	}
	own, err := h.Schemes()
	if err != nil {
		return nil, err
	}
	if err := asOurs(own, &draft.Terms); err != nil {
		return nil, err
	}
	if !slices.Contains(draft.Terms.Parties, h.Config.Member) {
		return nil, fault.New(fault.Misused, "only its parties sign an agreement", "sign agreement %s: %s is not a party", draft.Terms.Name, h.Config.Member)
	}
	out, err := statement.AddSignature(raw, h.Keys.Statement)
	if err != nil {
		return nil, fmt.Errorf("sign agreement %s: %w", draft.Terms.Name, err)
	}
	return out, nil
}

func (h *Home) readAgreement(ctx context.Context, raw []byte) (*statement.Unsigned[statement.Agreement], *member.History, error) {
	history, err := h.History(ctx)
	if err != nil {
		return nil, nil, err
	}
	draft, err := statement.ParseDraft[statement.Agreement](raw)
	if err != nil {
		return nil, nil, fault.New(fault.Invalid, "ask for the file that `entente agreement draft` wrote", "%w", err)
	}
	return draft, history, nil
}

// AdoptAgreement merges the signatures of several copies and, when none is missing, brings the agreement into force here.
// Adopting the same agreement again changes nothing.
func (h *Home) AdoptAgreement(ctx context.Context, now time.Time, files ...[]byte) (*statement.Signed[statement.Agreement], error) {
	raw, err := statement.Merge(files...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "all files must be copies of one draft", "adopt agreement: %w", err)
	}
	draft, history, err := h.readAgreement(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := parties(history, draft.Terms); err != nil {
		return nil, err
	}
	if len(draft.Missing) > 0 {
		return nil, fault.New(fault.Invalid, "collect the missing signatures and give all files at once", "adopt agreement %s: it still lacks the signatures of %s", draft.Terms.Name, strings.Join(draft.Missing, ", "))
	}
	a, err := statement.Open[statement.Agreement](raw, history.Verifiers(draft.Terms.Parties...))
	if err != nil {
		return nil, fault.New(fault.Invalid, "somebody's copy is damaged or forged; ask everybody for theirs again", "adopt agreement %s: %w", draft.Terms.Name, err)
	}
	if !slices.Contains(a.Terms.Parties, h.Config.Member) {
		return nil, fault.New(fault.Misused, "only its parties adopt an agreement", "adopt agreement %s: %s is not a party", a.Terms.Name, h.Config.Member)
	}
	err = h.DB.Update(ctx, func(tx *store.Tx) error { return adopt(tx, history, h.Config.Member, a, now) })
	if errors.Is(err, errUnchanged) {
		return a, nil
	}
	if err != nil {
		return nil, fmt.Errorf("adopt agreement %s: %w", a.Terms.Name, err)
	}
	if _, err := h.Log.Publish(ctx); err != nil {
		return nil, fmt.Errorf("adopt agreement %s: %w", a.Terms.Name, err)
	}
	return a, nil
}

// adopt brings an agreement that all its parties have signed into force here; errUnchanged if it is. What the proposal of it has become,
// and of others for the same version, is noted as well.
func adopt(tx *store.Tx, history *member.History, self string, a *statement.Signed[statement.Agreement], now time.Time) error {
	switch _, err := tx.AgreementByHash(a.Hash); {
	case err == nil:
		return errUnchanged
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	if err := follows(&tx.View, history, self, a.Terms, a.Hash); err != nil {
		return err
	}
	if err := tx.PutAgreement(a, now); err != nil {
		return err
	}
	_, err := tx.Record(statement.Event{Kind: statement.EventAgreement, Time: now, Statement: a.Hash, Peers: others(a.Terms.Parties, self)})
	if err != nil {
		return err
	}
	err = tx.SetProposal(store.Proposal{Hash: a.Hash, State: store.ProposalConcluded, Raw: a.Raw})
	if err != nil && !errors.Is(err, store.ErrNotFound) { // it may have come as a file
		return err
	}
	return tx.SupersedeProposals(a.Terms.Name, a.Terms.Version)
}

// others gives a list of members without one of them.
func others(members []string, self string) []string {
	return slices.DeleteFunc(slices.Clone(members), func(p string) bool { return p == self })
}

// follows checks that an agreement is the first of its name here, or follows the version in force and keeps its parties. The error is
// Transient if what is before it may still be on its way.
func follows(v *store.View, history *member.History, self string, a statement.Agreement, hash statement.Hash) error {
	if _, err := v.Proposal(a.Previous); err == nil {
		if _, err := v.AgreementByHash(a.Previous); errors.Is(err, store.ErrNotFound) {
			return fault.New(fault.Transient, "see entente agreement pending", "version %d of %s is not in force here yet", a.Version-1, a.Name)
		}
	}
	known, err := v.AgreementByName(a.Name)
	if errors.Is(err, store.ErrNotFound) {
		return nil // who is new to an agreement does not have the versions before
	}
	if err != nil {
		return err
	}
	if known.Hash == hash {
		return nil
	}
	if known.Version >= a.Version {
		return fault.New(fault.Conflict, "give the agreement another name, or propose the next version: entente agreement amend "+a.Name,
			"version %d of %s is in force here, with other terms than this version %d", known.Version, a.Name, a.Version)
	}
	notices, err := v.NoticesAbout(known.Hash)
	if err != nil {
		return err
	}
	leaves := func(p string) (ends time.Time, ok bool) {
		at := slices.IndexFunc(notices, func(n store.Notice) bool { return n.Kind == statement.Withdraw && n.Member == p })
		if at < 0 {
			return ends, false
		}
		return notices[at].Ends, true
	}
	if a.Version != known.Version+1 || a.Previous != known.Hash {
		if _, left := leaves(self); left {
			return nil // who comes back does not have the versions in between
		}
		return fault.New(fault.Conflict, "write it again: entente agreement amend "+a.Name, "version %d of %s does not follow version %d, which is in force here", a.Version, a.Name, known.Version)
	}
	before, err := openAgreement(history, known.Raw)
	if err != nil {
		return err
	}
	for _, p := range before.Terms.Parties {
		ends, left := leaves(p)
		switch {
		case slices.Contains(a.Parties, p), !history.InGoodStanding(p): // who is suspended cannot sign, and must not hold up the others
		case !left:
			return fault.New(fault.Misused, "keep it; whoever wants to leave says so itself: entente agreement withdraw "+a.Name, "%s is a party of version %d of %s, and not of version %d", p, known.Version, a.Name, a.Version)
		case a.NotBefore.Before(ends):
			return fault.New(fault.Misused, "let version "+fmt.Sprint(a.Version)+" begin then", "%s leaves %s only at %s, and version %d begins before", p, a.Name, ends.Format(time.RFC3339), a.Version)
		}
	}
	return nil
}

// Conclude has members whose homes are on one machine draft, sign and adopt an agreement, by the same steps as members that
// are far apart. The homes must be those of its parties.
func Conclude(ctx context.Context, now time.Time, a statement.Agreement, homes ...*Home) (adopted *statement.Signed[statement.Agreement], err error) {
	if len(homes) == 0 {
		return nil, fault.New(fault.Misused, "name its parties", "an agreement has at least two parties")
	}
	file, err := homes[0].DraftAgreement(ctx, a)
	if err != nil {
		return nil, err
	}
	// Each signs what the one before has signed, so that one file bears all signatures.
	for _, h := range homes {
		if file, err = h.SignAgreement(ctx, file); err != nil {
			return nil, err
		}
	}
	for _, h := range homes {
		if adopted, err = h.AdoptAgreement(ctx, now, file); err != nil {
			return nil, err
		}
	}
	return adopted, nil
}

// Agreements lists the agreements of this home, by name and version.
func (h *Home) Agreements(ctx context.Context, now time.Time) ([]Agreement, error) {
	var list []Agreement
	history, err := h.History(ctx)
	if err != nil {
		return nil, err
	}
	err = h.DB.View(ctx, func(v *store.View) error {
		rows, err := v.Agreements()
		if err != nil {
			return err
		}
		for _, r := range rows {
			a, err := openAgreement(history, r.Raw)
			if err != nil {
				return err
			}
			left, err := withdrawals(v, r.Hash)
			if err != nil {
				return err
			}
			gone := slices.DeleteFunc(slices.Clone(left), func(n store.Notice) bool { return now.Before(n.Ends) })
			list = append(list, Agreement{Signed: a, At: r.At, Withdrawn: left,
				InForce: !now.Before(a.Terms.NotBefore) && !now.After(a.Terms.NotAfter) && len(a.Terms.Parties)-len(gone) >= 2})
			// A version that has begun replaces those before it.
			for i := range list[:len(list)-1] {
				if list[i].Terms.Name == a.Terms.Name && !now.Before(a.Terms.NotBefore) {
					list[i].InForce, list[i].Superseded = false, true
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list agreements: %w", err)
	}
	return list, nil
}

// withdrawals gives the notices of parties that leave an agreement, or have left it.
func withdrawals(v *store.View, hash statement.Hash) ([]store.Notice, error) {
	list, err := v.NoticesAbout(hash)
	return slices.DeleteFunc(list, func(n store.Notice) bool { return n.Kind != statement.Withdraw }), err
}

// openAgreement verifies a stored agreement again: what stands in the database is believed no more than a file.
func openAgreement(history *member.History, raw []byte) (*statement.Signed[statement.Agreement], error) {
	d, err := statement.ParseDraft[statement.Agreement](raw)
	if err != nil {
		return nil, err
	}
	return statement.Open[statement.Agreement](raw, history.AllVerifiers(d.Terms.Parties...))
}

// Past is what this home knows about one version of an agreement beside its text.
type Past struct {
	Signed map[string]time.Time // by party, when the signature was made or came here; without those that came as a file
	// Exchanged under it, so far as this member took part.
	Sent, Delivered, Received, Bytes int64
}

// Pasts tells the past of every version of an agreement, by hash.
func (h *Home) Pasts(ctx context.Context, name string) (map[statement.Hash]*Past, error) {
	pasts := map[statement.Hash]*Past{}
	err := h.DB.View(ctx, func(v *store.View) error {
		rows, err := v.Agreements()
		for _, r := range rows {
			if err == nil && r.Name == name {
				pasts[r.Hash], err = h.signatures(v, r.Hash)
			}
		}
		return err
	})
	for after, more := "", true; more && err == nil; {
		err = h.DB.View(ctx, func(v *store.View) error {
			page, err := v.Exchanges(store.Filter{After: after})
			more = len(page) > 0
			for _, e := range page {
				after = e.Cursor()
				if err := h.countExchange(v, e, pasts); err != nil {
					return err
				}
			}
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the past of %s: %w", name, err)
	}
	return pasts, nil
}

// signatures finds in the log who signed an agreement when.
func (h *Home) signatures(v *store.View, hash statement.Hash) (*Past, error) {
	p := &Past{Signed: map[string]time.Time{}}
	for r, err := range v.LeavesAbout(hash[:], 0) {
		if err != nil {
			return nil, err
		}
		l, err := statement.ParseLeaf(r.Body)
		if err != nil {
			return nil, err
		}
		if l.Kind != statement.EventProposed && l.Kind != statement.EventSigned {
			continue
		}
		signer := h.Config.Member
		if _, own := l.Private["person"]; !own && len(l.Peers) == 1 {
			signer = l.Peers[0]
		}
		p.Signed[signer] = l.Time
	}
	return p, nil
}

func (h *Home) countExchange(v *store.View, e store.Exchange, pasts map[statement.Hash]*Past) error {
	m, err := v.Manifest(e.Manifest)
	if err != nil {
		return err
	}
	d, err := statement.ParseDraft[statement.Manifest](m.Raw)
	if err != nil {
		return err
	}
	p := pasts[d.Terms.AgreementHash]
	switch {
	case p == nil:
		return nil
	case e.From == h.Config.Member:
		p.Sent++
		if e.State != store.Delivered {
			return nil
		}
		p.Delivered++
	case e.State == store.Refused:
		return nil
	default:
		p.Received++
	}
	p.Bytes += e.Size
	return nil
}
