package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Approvals lists what waits for a second person, or did, to anybody who is listed in people.toml.
func (n *node) Approvals(ctx context.Context, req *ententev1.ApprovalsRequest) (*ententev1.ApprovalsResponse, error) {
	if _, err := person(n.Dir, rpc.CallerFrom(ctx).Person); err != nil {
		return nil, err
	}
	var list []store.Release
	err := n.DB.View(ctx, func(v *store.View) (err error) {
		if list, err = v.WaitingByEnd(limit.Waiting); err != nil || !req.GetAll() {
			return err
		}
		ended, err := v.WaitingEnded()
		list = append(list, ended...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	out := &ententev1.ApprovalsResponse{}
	for _, r := range list[:min(len(list), limit.Page)] {
		m := r.Draft.Terms
		out.Releases = append(out.Releases, &ententev1.WaitingRelease{Id: m.ID, To: m.To, Agreement: m.Agreement, Purpose: m.Purpose, Label: m.Label, ReleasedBy: m.ReleasedBy,
			Created: timestamppb.New(m.Created), Ends: timestamppb.New(r.Ends), State: string(r.State)})
	}
	return out, nil
}

// Approve gives a release that waits its second key, as proto/entente/v1/node.proto says. It answers when the manifest is signed and
// durable. Asking again is the same approval.
func (n *node) Approve(stream grpc.ClientStreamingServer[ententev1.ApproveRequest, ententev1.ApproveResponse]) error {
	ctx := stream.Context()
	req, err := stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("receive approval: %w", rpc.FromStatus(err))
	}
	what := req.GetApproving()
	if what == nil {
		return fault.New(fault.Misused, "", "what is approved comes before the document")
	}
	approver, err := person(n.Dir, rpc.CallerFrom(ctx).Person)
	if err != nil {
		return err
	}
	r, err := n.waitingRelease(ctx, what.GetExchange())
	if err != nil {
		return err
	}
	end, ok := n.busy.begin("approving " + r.Draft.Terms.ID)
	if !ok {
		return fault.New(fault.Transient, "try again in a moment", "%s is being approved right now", r.Draft.Terms.ID)
	}
	defer end()
	defer n.nudge()                                                   // also after an error: the fact may stand although the answer was lost
	if r, err = n.waitingRelease(ctx, r.Draft.Terms.ID); err != nil { // it may have ended before its name was ours
		return err
	}
	var m *statement.Signed[statement.Manifest]
	switch {
	case r.State == store.Approved:
		m, err = n.approvedBefore(ctx, r, approver)
	case r.State == store.Lapsed || n.now().After(r.Ends):
		err = hasLapsed(r)
	default:
		m, err = n.approve(ctx, r, approver, what, &uploads{next: nextOfApproval(stream)})
	}
	if err != nil {
		return err
	}
	return stream.SendAndClose(&ententev1.ApproveResponse{Exchanges: refs(m.Terms), ManifestSha256: m.Hash.String()})
}

func nextOfApproval(stream grpc.ClientStreamingServer[ententev1.ApproveRequest, ententev1.ApproveResponse]) func() ([]byte, error) {
	return func() ([]byte, error) {
		req, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		part, ok := req.GetPart().(*ententev1.ApproveRequest_Chunk)
		if !ok {
			return nil, fault.New(fault.Misused, "", "a second release in one call")
		}
		return part.Chunk, nil
	}
}

// waitingRelease finds the release that a person means: its ID, FROM/ID, FROM/ID/TO, or the beginning of the ID.
func (n *node) waitingRelease(ctx context.Context, ref string) (r store.Release, err error) {
	err = n.DB.View(ctx, func(v *store.View) (err error) { r, err = findWaiting(v, n.Config.Member, ref); return err })
	switch {
	case errors.Is(err, store.ErrNotFound):
		return r, fault.New(fault.NotFound, "entente approvals lists what waits", "no release %.128q waits here", ref)
	case errors.Is(err, store.ErrAmbiguous):
		return r, fault.New(fault.Misused, "write more of it", "%w", err)
	case err != nil:
		return r, fmt.Errorf("find release: %w", err)
	}
	return r, nil
}

func findWaiting(v *store.View, self, ref string) (store.Release, error) {
	id := ref
	if from, rest, ok := strings.Cut(ref, "/"); ok {
		var to string
		id, to, _ = strings.Cut(rest, "/")
		r, err := v.WaitingByID(id)
		if from != self || err == nil && to != "" && !slices.ContainsFunc(r.Draft.Terms.To, func(m string) bool { return strings.HasPrefix(m, to) }) {
			err = store.ErrNotFound
		}
		return r, err
	}
	return v.WaitingByPrefix(id)
}

// approvedBefore answers whoever approves again. Somebody else learns who was first.
func (n *node) approvedBefore(ctx context.Context, r store.Release, approver *policy.Person) (*statement.Signed[statement.Manifest], error) {
	var row store.Manifest
	err := n.DB.View(ctx, func(v *store.View) (err error) {
		row, err = v.ManifestByID(n.Config.Member, r.Draft.Terms.ID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find what was approved: %w", err)
	}
	m, err := n.openOwn(row.Raw)
	if err != nil {
		return nil, err
	}
	if m.Terms.Approval.By != n.spiffe(approver.Name) {
		return nil, fault.New(fault.Conflict, "entente show "+m.Terms.ID, "%s was approved by %s at %s", m.Terms.ID, m.Terms.Approval.By, m.Terms.Approval.At.Format(time.RFC3339))
	}
	return m, n.Blobs.Remove(r.Hash) // it may have stayed behind when the answer was lost
}

// approve decides whether this person may approve this release, compares their copy with it, and decides about the release again: since
// it began to wait, everything else may have changed as well. Then it signs the manifest with both names.
func (n *node) approve(ctx context.Context, r store.Release, approver *policy.Person, what *ententev1.Approving, copied io.Reader) (*statement.Signed[statement.Manifest], error) {
	m := r.Draft.Terms
	if err := n.mayApprove(ctx, m, approver); err != nil {
		return nil, err // before they learn whether a document is the one
	}
	if len(r.Salt) != len([32]byte{}) {
		return nil, fault.New(fault.Failed, "entente audit verify says what is damaged here", "%s is damaged on this node: its salt has %d bytes", m.ID, len(r.Salt))
	}
	got, err := statement.Inner{Core: m.Core(), Name: what.GetFileName(), MediaType: what.GetMediaType()}.Commitment([32]byte(r.Salt), copied)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "", "compare the document: %w", err)
	}
	if got != m.Content.Commitment {
		return nil, fault.New(fault.Invalid, "ask "+strings.TrimPrefix(m.ReleasedBy, n.spiffe(""))+" which file was sent; if it was sent under another name or type, say so with --name and --media-type",
			"this is not the document that waits as %s, or it was sent under another name than %q or another type than %q; nothing was approved", m.ID, what.GetFileName(), what.GetMediaType())
	}
	// Reading the whole document may have taken minutes: what was permitted then is asked again.
	if approver, err = person(n.Dir, approver.Name); err != nil {
		return nil, err
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	approval, err := n.decide(ctx, policy.Approve, h, m, approver, nil)
	if err != nil {
		return nil, err
	}
	if !approval.Permit {
		return nil, n.deny(ctx, m, statement.Hash{}, m.To, policy.Approve, approver, approval)
	}
	if err := n.mayExchange(ctx); err != nil {
		return nil, err
	}
	now := n.now()
	m.Approval = statement.Approval{By: n.spiffe(approver.Name), At: now.UTC().Truncate(time.Second)}
	releaser, err := n.releaser(m)
	if err != nil {
		return nil, err
	}
	d, err := n.decide(ctx, policy.Release, h, m, releaser, approver)
	if err != nil {
		return nil, err
	}
	second := statement.Private{Field: "approver", Value: []byte(m.Approval.By)}
	if !d.Permit {
		return nil, n.deny(ctx, m, statement.Hash{}, m.To, policy.Release, releaser, d, second)
	}
	signed, err := statement.Sign(m, n.Keys.Statement)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return signed, n.releaseApproved(ctx, r, signed, statement.Event{Time: now, Rules: n.rules(d), Private: append(n.private(releaser, d),
		second, statement.Private{Field: "approval", Value: approval.Record})})
}

// mayApprove asks the policies whether a person may approve a release.
func (n *node) mayApprove(ctx context.Context, m statement.Manifest, approver *policy.Person) error {
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	d, err := n.decide(ctx, policy.Approve, h, m, approver, nil)
	if err == nil && !d.Permit {
		return n.deny(ctx, m, statement.Hash{}, m.To, policy.Approve, approver, d)
	}
	return err
}

// releaser is who released something, as they are entitled now. Who is not listed any more has no role.
func (n *node) releaser(m statement.Manifest) (*policy.Person, error) {
	name := strings.TrimPrefix(m.ReleasedBy, n.spiffe(""))
	p, err := person(n.Dir, name)
	if fault.KindOf(err) == fault.Forbidden {
		return &policy.Person{Name: name}, nil
	}
	return p, err
}

// releaseApproved gives the payload its final name, and then, in one transaction, ends the wait and makes the manifest. A crash at any
// point leaves either a release that waits or one that is released, and perhaps a blob that no row names, which recover removes.
func (n *node) releaseApproved(ctx context.Context, r store.Release, m *statement.Signed[statement.Manifest], event statement.Event) error {
	ctx = context.WithoutCancel(ctx) // from here on the person cannot end the call in between
	if err := n.Blobs.Link(r.Hash, m.Hash); err != nil {
		return fmt.Errorf("keep document: %w", err)
	}
	err := n.commit(ctx, func(tx *store.Tx) error {
		if err := tx.EndWaiting(r.Hash, store.Approved); err != nil {
			return err
		}
		return putReleased(tx, m, r.Header, r.Salt, nil, event.Time, event)
	})
	if errors.Is(err, store.ErrNotFound) { // its time was over a moment ago
		return errors.Join(hasLapsed(r), n.Blobs.Remove(m.Hash))
	}
	if err != nil {
		return fmt.Errorf("record release: %w", err)
	}
	n.released(&m.Terms, time.Time{})
	return n.Blobs.Remove(r.Hash)
}
