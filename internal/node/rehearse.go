package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// A rehearsal decides as if a document were sent, here and at its recipients, and sends none. What it finds holds for that moment only.

// RehearseSend says what would happen to a sending, as proto/entente/v1/node.proto says.
func (n *node) RehearseSend(ctx context.Context, req *ententev1.RehearseSendRequest) (*ententev1.RehearseSendResponse, error) {
	name, sub := rpc.CallerFrom(ctx).Person, req.GetSubmission()
	if !req.GetEverybody() {
		s, err := n.compose(ctx, name, sub)
		if err != nil {
			return nil, err
		}
		d, err := n.decide(ctx, policy.Release, s.history, s.manifest, s.person, nil)
		if err != nil {
			return nil, err
		}
		out := &ententev1.RehearseSendResponse{}
		if d.Waits {
			out.Waits = reasonMessages(d.Reasons)
		} else {
			out.Reasons = reasonMessages(d.Reasons)
		}
		var questions []question
		for _, to := range s.manifest.To {
			q, err := n.questionFor(ctx, name, sub, to)
			if err != nil {
				return nil, err
			}
			// Of the reasons here, a recipient's own are those that it is no party, or not in good standing: the others are the sender's.
			q.here, q.s, q.approved = q.concerning(), s, d.Waits
			questions = append(questions, q)
		}
		out.Recipients = n.askAll(ctx, questions)
		return out, nil
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	var questions []question
	for _, to := range names(h) {
		if to == n.Config.Member {
			continue
		}
		q, err := n.questionFor(ctx, name, sub, to)
		if err != nil {
			return nil, err
		}
		questions = append(questions, q)
	}
	return n.everybody(ctx, questions), nil
}

// question is what one member is asked about a document for it.
type question struct {
	to       string
	s        *submission // what a manifest would say
	approved bool        // whether a second person would have approved it
	decision policy.Decision
	here     []statement.Reason // why it is refused here already; then nobody is asked
}

// questionFor decides here about a document for one member alone.
func (n *node) questionFor(ctx context.Context, name string, sub *ententev1.Submission, to string) (q question, err error) {
	alone := proto.CloneOf(sub)
	alone.To = []string{to}
	q.to = to
	if q.s, err = n.compose(ctx, name, alone); err != nil {
		return q, err
	}
	q.decision, err = n.decide(ctx, policy.Release, q.s.history, q.s.manifest, q.s.person, nil)
	q.approved = q.decision.Waits
	return q, err
}

// concerning gives the reasons that concern the recipient, and not what is sent or who sends it.
func (q question) concerning() []statement.Reason {
	return slices.DeleteFunc(slices.Clone(q.decision.Reasons), func(r statement.Reason) bool {
		return r.Set != "base" || !strings.HasPrefix(r.Rule, "recipients-")
	})
}

// everybody says which members would get a document. What stands in the way for all of them is the sender's own matter, and the rest
// each recipient's.
func (n *node) everybody(ctx context.Context, questions []question) *ententev1.RehearseSendResponse {
	out := &ententev1.RehearseSendResponse{}
	var common, waits []statement.Reason
	for i, q := range questions {
		if q.decision.Waits {
			common, waits = nil, q.decision.Reasons
			break
		}
		concerning := q.concerning()
		others := slices.DeleteFunc(slices.Clone(q.decision.Reasons), func(r statement.Reason) bool { return among(concerning, r) })
		if i == 0 {
			common = others
		}
		common = slices.DeleteFunc(common, func(r statement.Reason) bool { return !among(others, r) })
	}
	out.Reasons, out.Waits = reasonMessages(common), reasonMessages(waits)
	for i := range questions {
		q := &questions[i]
		if !q.decision.Waits {
			q.here = slices.DeleteFunc(slices.Clone(q.decision.Reasons), func(r statement.Reason) bool { return among(common, r) || among(waits, r) })
		}
	}
	out.Recipients = n.askAll(ctx, questions)
	return out
}

// among tells whether a rule is among reasons, whatever values it names.
func among(list []statement.Reason, r statement.Reason) bool {
	return slices.ContainsFunc(list, func(o statement.Reason) bool { return o.Set == r.Set && o.Rule == r.Rule })
}

// askAll asks all of them at once, and gives their answers sorted by name.
func (n *node) askAll(ctx context.Context, questions []question) []*ententev1.Rehearsed {
	answers := make([]*ententev1.Rehearsed, len(questions))
	var wait sync.WaitGroup
	for i, q := range questions {
		wait.Go(func() { answers[i] = n.ask(ctx, q) })
	}
	wait.Wait()
	slices.SortFunc(answers, func(a, b *ententev1.Rehearsed) int { return cmp.Compare(a.GetMember(), b.GetMember()) })
	return answers
}

const accepts, refuses, silent = "accepts", "refuses", "silent"

// ask asks one member, unless the answer is known here. Only who may send anything at all has others asked: each of them writes it down.
func (n *node) ask(ctx context.Context, q question) *ententev1.Rehearsed {
	out := &ententev1.Rehearsed{Member: q.to}
	if len(q.here) > 0 {
		out.Answer, out.Reasons = refuses, reasonMessages(q.here)
		return out
	}
	if !slices.Contains(q.s.person.Roles, policy.Releaser) {
		out.Answer, out.Error = silent, "it was not asked, for "+q.s.person.Name+" does not have the role releaser"
		return out
	}
	resp, err := n.callRehearse(ctx, q)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		out.Answer, out.Reasons = refuses, reasonMessages([]statement.Reason{base("agreement-known", describe(err), "the agreement signed by all its parties and adopted at "+q.to)})
	case err != nil:
		out.Answer, out.Error = silent, describe(err)
	case resp.GetPermit():
		out.Answer = accepts
	default:
		out.Answer = refuses
		for _, r := range resp.GetReasons() {
			out.Reasons = append(out.Reasons, &ententev1.Reason{Set: r.GetSet(), Rule: r.GetRule(), Text: r.GetText(), Needs: r.GetNeeds()})
		}
	}
	return out
}

func (n *node) callRehearse(ctx context.Context, q question) (*ententev1.RehearseResponse, error) {
	to, ok := q.s.history.Member(q.to)
	if !ok {
		return nil, fmt.Errorf("%s is no member", q.to)
	}
	m := q.s.manifest
	ctx, cancel := context.WithTimeout(ctx, limit.RehearseCall)
	defer cancel()
	return call(ctx, n, to, func(c ententev1.PeerServiceClient) (*ententev1.RehearseResponse, error) {
		return c.Rehearse(ctx, &ententev1.RehearseRequest{To: m.To, CharterSha256: m.Charter[:], Agreement: m.Agreement, AgreementSha256: m.AgreementHash[:],
			Purpose: m.Purpose, Label: m.Label, Created: m.Created.UnixMicro(), DeliverBy: m.DeliverBy.UnixMicro(), RetainUntil: m.RetainUntil.UnixMicro(),
			ReleasedBy: m.ReleasedBy, Approved: q.approved})
	})
}

// Rehearse says what this member would decide about a document of the caller's, as proto/entente/v1/peer.proto says. Only parties of the
// agreement get an answer; to anybody else an agreement that is not theirs is one that is not there.
func (n *node) Rehearse(ctx context.Context, req *ententev1.RehearseRequest) (*ententev1.RehearseResponse, error) {
	peer := rpc.CallerFrom(ctx).Member
	if !n.rehearsals.within(limit.Rehearsals, peer, n.now()) {
		return nil, fault.New(fault.Transient, "try again in a minute", "%s has asked %d times in this minute", peer, limit.Rehearsals)
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	m, err := rehearsedManifest(peer, req)
	if err != nil {
		return nil, n.reject(ctx, peer, fault.New(fault.Invalid, "", "rehearse: %w", err))
	}
	a, err := n.agreement(ctx, h, m.AgreementHash)
	if err != nil {
		return nil, err
	}
	if a == nil || a.Terms.Name != m.Agreement || !slices.Contains(a.Terms.Parties, peer) {
		return nil, n.reject(ctx, peer, fault.New(fault.NotFound, "", "%s has no agreement %s of that text to which %s is a party", n.Config.Member, m.Agreement, peer))
	}
	return n.rehearse(ctx, h, peer, m)
}

// rehearse decides, and writes down that it was asked.
func (n *node) rehearse(ctx context.Context, h *member.History, peer string, m statement.Manifest) (*ententev1.RehearseResponse, error) {
	d, err := n.decide(ctx, policy.Accept, h, m, nil, nil)
	if err != nil {
		return nil, err
	}
	rules, reasons := d.Outward(n.Config.Member)
	event := statement.Event{Kind: statement.EventRehearsed, Time: n.now(), Peers: []string{peer}, Stage: string(policy.Accept), Rules: rules, Private: n.private(nil, d)}
	err = n.commit(ctx, func(tx *store.Tx) error { _, err := tx.Record(event); return err })
	if err != nil {
		return nil, fmt.Errorf("record rehearsal: %w", err)
	}
	out := &ententev1.RehearseResponse{Permit: d.Permit}
	for _, r := range reasons {
		out.Reasons = append(out.Reasons, &ententev1.RehearsedReason{Set: r.Set, Rule: r.Rule, Text: r.Text, Needs: r.Needs})
	}
	return out, nil
}

// rehearsedManifest is the manifest that would come, as far as rules can see it. It has no id and no content.
func rehearsedManifest(peer string, req *ententev1.RehearseRequest) (statement.Manifest, error) {
	at := func(micro int64) time.Time { return time.UnixMicro(micro).UTC() }
	m := statement.Manifest{ID: nobodysID, From: peer, To: req.GetTo(), Agreement: req.GetAgreement(), Purpose: req.GetPurpose(), Label: req.GetLabel(),
		Created: at(req.GetCreated()), DeliverBy: at(req.GetDeliverBy()), RetainUntil: at(req.GetRetainUntil()), ReleasedBy: req.GetReleasedBy()}
	copy(m.Charter[:], req.GetCharterSha256())
	copy(m.AgreementHash[:], req.GetAgreementSha256())
	for i := range m.To {
		m.SealedFor = append(m.SealedFor, statement.HashBytes([]byte{byte(i)}))
	}
	for _, t := range []time.Time{m.Created, m.DeliverBy, m.RetainUntil} {
		if !t.Equal(t.Truncate(time.Second)) {
			return m, fmt.Errorf("%s is not in whole seconds", t.Format(time.RFC3339Nano))
		}
	}
	if err := m.ValidCore(); err != nil {
		return m, err
	}
	m.ID, m.SealedFor = "", nil
	if req.GetApproved() {
		m.Approval = statement.Approval{By: "spiffe://" + peer + "/person/" + somebody, At: m.Created}
	}
	return m, nil
}

// What stands in a rehearsed manifest for what is not known before there is a document.
const (
	nobodysID = "00000000000000000000000000"
	somebody  = "somebody"
)
