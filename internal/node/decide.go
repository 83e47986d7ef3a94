package node

import (
	"context"
	"crypto/sha256"
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

// decide asks the policies about a manifest at a stage, with all that this member knows now. p is nil at Accept; approver is who has
// approved a release, if somebody did.
func (n *node) decide(ctx context.Context, stage policy.Stage, h *member.History, m statement.Manifest, p, approver *policy.Person) (policy.Decision, error) {
	request := policy.Request{Stage: stage, Manifest: m, AgreementHash: m.AgreementHash, History: h, Self: n.Config.Member, Person: p, Approver: approver,
		Store: n.Config.Store(), Now: n.now()}
	named, err := n.agreement(ctx, h, m.AgreementHash)
	if err != nil {
		return policy.Decision{}, err
	}
	if named != nil {
		request.Agreement = &named.Terms
		if request.Withdrawn, err = n.withdrawn(ctx, h, m.AgreementHash, request.Now); err != nil {
			return policy.Decision{}, err
		}
	}
	versions, err := n.versions(ctx, h, m.Agreement)
	if err != nil {
		return policy.Decision{}, err
	}
	if newest := begun(versions, request.Now); newest != nil {
		request.Newest, request.Begun = newest.Terms.Version, newest.begins()
	}
	if request.House, err = n.house(); err != nil {
		return policy.Decision{}, err
	}
	return policy.Decide(request), nil
}

// agreement finds an agreement by its hash, and verifies it again; nil if this member has none.
func (n *node) agreement(ctx context.Context, h *member.History, hash statement.Hash) (*statement.Signed[statement.Agreement], error) {
	a, err := n.byHash.Get(of[statement.Hash]{h, hash}, func() (*statement.Signed[statement.Agreement], error) {
		var row store.Agreement
		err := n.DB.View(ctx, func(v *store.View) (err error) { row, err = v.AgreementByHash(hash); return err })
		if err != nil {
			return nil, fmt.Errorf("find agreement: %w", err)
		}
		a, err := n.openAgreement(h, row.Raw)
		if err != nil {
			return nil, fmt.Errorf("open agreement: %w", err)
		}
		return a, nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return a, err
}

// of names something that is found anew when the alliance has another History.
type of[K comparable] struct {
	history *member.History
	key     K
}

// known names the bytes of a statement, and the alliance by whose keys they were verified.
type known struct {
	history *member.History
	raw     [sha256.Size]byte
}

// openAgreement is the function of that name, once for each text.
func (n *node) openAgreement(h *member.History, raw []byte) (*statement.Signed[statement.Agreement], error) {
	return n.agreements.Get(known{h, sha256.Sum256(raw)}, func() (*statement.Signed[statement.Agreement], error) { return openAgreement(h, raw) })
}

// version is a version of an agreement that this member has.
type version struct {
	*statement.Signed[statement.Agreement]
	at time.Time // when its last signature arrived here
}

// begins is when it takes the place of the version before: with its first day, or with its last signature if that came later.
func (v version) begins() time.Time {
	if v.at.After(v.Terms.NotBefore) {
		return v.at
	}
	return v.Terms.NotBefore
}

// versions gives the versions of an agreement that this member has, oldest first, each verified again.
func (n *node) versions(ctx context.Context, h *member.History, name string) ([]version, error) {
	return n.byName.Get(of[string]{h, name}, func() ([]version, error) { return n.findVersions(ctx, h, name) })
}

func (n *node) findVersions(ctx context.Context, h *member.History, name string) ([]version, error) {
	var rows []store.Agreement
	err := n.DB.View(ctx, func(v *store.View) (err error) { rows, err = v.Agreements(); return err })
	if err != nil {
		return nil, fmt.Errorf("find agreement: %w", err)
	}
	var list []version
	for _, r := range rows {
		if r.Name != name {
			continue
		}
		a, err := n.openAgreement(h, r.Raw)
		if err != nil {
			return nil, fmt.Errorf("open agreement: %w", err)
		}
		list = append(list, version{a, r.At})
	}
	return list, nil
}

// begun gives the newest version that has begun. It replaces those before it; one that begins later replaces nothing yet.
func begun(versions []version, now time.Time) *version {
	for i := range slices.Backward(versions) {
		if !now.Before(versions[i].Terms.NotBefore) {
			return &versions[i]
		}
	}
	return nil
}

// agreementNamed gives the version under which something can be sent now; if none has begun, the first, so that the
// policies can say when it does.
func (n *node) agreementNamed(ctx context.Context, h *member.History, name string) (*statement.Signed[statement.Agreement], error) {
	versions, err := n.versions(ctx, h, name)
	if err != nil {
		return nil, err
	}
	if a := begun(versions, n.now()); a != nil {
		return a.Signed, nil
	}
	if len(versions) > 0 {
		return versions[0].Signed, nil
	}
	var known []string
	var waits []store.Proposal
	err = n.DB.View(ctx, func(v *store.View) error {
		rows, err := v.Agreements()
		for _, r := range rows {
			known = append(known, r.Name)
		}
		if err != nil || statement.ValidName(name) != nil {
			return err
		}
		waits, err = v.ProposalsNamed(name, store.ProposalOpen)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list agreements: %w", err)
	}
	hint := "agree on one first: entente agreement draft, propose, sign"
	switch {
	case len(waits) > 0:
		hint = "one of that name is proposed, and not everybody has signed: entente agreement pending"
	case len(known) > 0:
		hint = "the agreements here are " + strings.Join(slices.Compact(known), ", ")
	}
	return nil, fault.New(fault.Misused, hint, "there is no agreement %.80q at %s", name, n.Config.Member)
}

// private is what stands behind a leaf about a decision: who, the full record, and what the house rules said.
func (n *node) private(p *policy.Person, d policy.Decision) []statement.Private {
	list := []statement.Private{{Field: "decision", Value: d.Record}}
	if house := d.House(); house != nil {
		list = append(list, statement.Private{Field: "house", Value: house})
	}
	if p != nil {
		list = append(list, statement.Private{Field: "person", Value: []byte(n.spiffe(p.Name))})
	}
	return list
}

// rules are those of a decision that stand in its leaf.
func (n *node) rules(d policy.Decision) []string {
	rules, _ := d.Outward(n.Config.Member)
	return rules
}

// spiffe is the SPIFFE ID of one of our own people.
func (n *node) spiffe(person string) string {
	return "spiffe://" + n.Config.Member + "/person/" + person
}

// deny writes down that a policy refused one of our own people, and tells them why. more stands behind the leaf as well.
func (n *node) deny(ctx context.Context, m statement.Manifest, hash statement.Hash, peers []string, stage policy.Stage, p *policy.Person, d policy.Decision, more ...statement.Private) error {
	event := statement.Event{Kind: statement.EventDenied, Time: n.now(), ID: m.ID, Manifest: hash, Peers: peers, Stage: string(stage), Rules: n.rules(d), Private: append(n.private(p, d), more...)}
	err := n.commit(ctx, func(tx *store.Tx) error { _, err := tx.Record(event); return err })
	if err != nil {
		return fmt.Errorf("record denial: %w", err)
	}
	n.refusedBy(d.Reasons)
	for _, peer := range peers {
		to := peer
		if m.From != n.Config.Member {
			to = n.Config.Member
		}
		n.stepped(string(statement.EventDenied), &m, to, peer, time.Time{}, "stage", string(stage), "rules", event.Rules)
	}
	hint := "entente agreement show " + m.Agreement + " prints what is agreed"
	personal := func(r statement.Reason) bool {
		return r.Set == "base" && (strings.HasPrefix(r.Rule, "role-") || r.Rule == "cleared" || r.Rule == "trained")
	}
	if slices.ContainsFunc(d.Reasons, personal) {
		hint = "roles, labels and training stand in " + PeopleFile + "; entente person list shows them"
	} else if !slices.ContainsFunc(d.Reasons, func(r statement.Reason) bool { return r.Set != "house" }) {
		hint = "the house rules stand in " + HouseDir + "/*.cedar of the home"
	}
	hint += "; entente policy explain " + m.ID + " shows the decision again"
	f := fault.New(fault.Refused, hint, "policy refuses to %s this document", stage)
	f.Reasons = d.Reasons
	return f
}
