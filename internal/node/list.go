package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// defaultPage is how many exchanges List gives if the caller does not say.
const defaultPage = 100

// List gives a page of the inbox or the outbox to anybody who is listed in people.toml.
func (n *node) List(ctx context.Context, req *ententev1.ListRequest) (*ententev1.ListResponse, error) {
	if _, err := person(n.Dir, rpc.CallerFrom(ctx).Person); err != nil {
		return nil, err
	}
	f := store.Filter{After: req.GetCursor(), Limit: int(req.GetLimit())}
	if f.Limit == 0 {
		f.Limit = defaultPage
	}
	if req.GetDirection() == ententev1.Direction_DIRECTION_IN {
		f.To = n.Config.Member
	} else {
		f.From = n.Config.Member
	}
	out := &ententev1.ListResponse{}
	err := n.DB.View(ctx, func(v *store.View) error {
		list, err := exchangesOf(v, n.Config.Member, f)
		if err != nil {
			return fault.New(fault.Misused, "", "%w", err)
		}
		size := 0
		for i, e := range list {
			m, err := describeExchange(v, n.underWay(e))
			if err != nil {
				return err
			}
			// Receipts with many reasons can fill a message before the page is full.
			if size += proto.Size(m); i > 0 && size > limit.Message/2 {
				out.Cursor = list[i-1].Cursor()
				return nil
			}
			out.Exchanges = append(out.Exchanges, m)
		}
		if len(list) == f.Limit {
			out.Cursor = list[len(list)-1].Cursor()
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list exchanges: %w", err)
	}
	return out, nil
}

// exchangesOf lists the inbox, or the outbox with what waits.
func exchangesOf(v *store.View, self string, f store.Filter) ([]store.Exchange, error) {
	if f.From == self {
		return v.Outbox(self, f)
	}
	return v.Exchanges(f)
}

// Show gives everything about one exchange but the document. An ID alone stands for the exchanges of all its recipients. If asked to, it waits
// until their delivery has come to its end.
func (n *node) Show(ctx context.Context, req *ententev1.ShowRequest) (*ententev1.ShowResponse, error) {
	if _, err := person(n.Dir, rpc.CallerFrom(ctx).Person); err != nil {
		return nil, err
	}
	if wait := time.Duration(req.GetSettledWithin()) * time.Millisecond; wait > 0 {
		_, err := n.untilSettled(ctx, wait, statement.Hash{}, func(v *store.View) ([]store.Exchange, error) { return n.named(v, req.GetExchange()) })
		if err != nil {
			return nil, err
		}
	}
	return n.show(ctx, req.GetExchange())
}

// untilSettled waits until no delivery of some exchanges, all of one manifest, is open any more, or for so long, and gives them as they are then.
// about is that manifest if it is known before they are looked up, which saves to look twice.
func (n *node) untilSettled(ctx context.Context, most time.Duration, about statement.Hash, find func(*store.View) ([]store.Exchange, error)) (found []store.Exchange, err error) {
	late := time.NewTimer(most)
	defer late.Stop()
	var rung <-chan ending
	for {
		listened := rung != nil
		if !listened && !about.IsZero() {
			var stop func()
			rung, stop = n.settled.listen(about, 1)
			defer stop()
			listened = true
		}
		err := n.DB.View(ctx, func(v *store.View) (err error) { found, err = find(v); return err })
		if err != nil || !slices.ContainsFunc(found, open) {
			return found, err
		}
		if about = found[0].Manifest; !listened {
			continue // and look again, because it may have been settled before we listened
		}
		select {
		case <-rung:
		case <-late.C:
			return found, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// open tells whether an exchange still has to be delivered.
func open(e store.Exchange) bool {
	return e.State == store.Waiting || e.State.Underway()
}

// show gives everything about what is named.
func (n *node) show(ctx context.Context, ref string) (*ententev1.ShowResponse, error) {
	out := &ententev1.ShowResponse{}
	err := n.DB.View(ctx, func(v *store.View) error {
		found, err := n.named(v, ref)
		if err != nil {
			return err
		}
		for _, e := range found {
			m, err := describeExchange(v, n.underWay(e))
			if err != nil {
				return err
			}
			out.Exchanges = append(out.Exchanges, m)
		}
		m, err := manifestOf(v, found[0])
		if err != nil {
			return err
		}
		out.Manifest = m.Raw
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// named finds the exchanges that a person means, all of one manifest, and at least one.
func (n *node) named(v *store.View, ref string) (found []store.Exchange, err error) {
	if statement.ValidID(ref) == nil {
		found, err = v.Exchanges(store.Filter{ID: ref})
	}
	if err == nil && len(found) == 0 {
		var e store.Exchange
		e, err = v.FindExchange(ref)
		found = []store.Exchange{e}
	}
	if errors.Is(err, store.ErrNotFound) {
		found, err = waitingExchanges(v, n.Config.Member, ref)
	}
	if err != nil {
		return nil, exchangeError(ref, err)
	}
	for _, e := range found {
		// Another member may have used the same id for a document of its own.
		if e.Manifest != found[0].Manifest {
			return nil, exchangeError(ref, fmt.Errorf("%.80q %w: %s and %s", ref, store.ErrAmbiguous, found[0].Ref(), e.Ref()))
		}
	}
	return found, nil
}

// underWay gives an exchange as it is at this moment: that an attempt is under way nobody writes down.
func (n *node) underWay(e store.Exchange) store.Exchange {
	if e.State == store.Queued && n.busy.has(attemptName(store.OutgoingDocument, e.Manifest, e.To)) {
		e.State = store.Delivering
	}
	return e
}

// waitingExchanges gives what would be the exchanges of a release that waits, or has lapsed; of the one recipient that is named, if one is.
func waitingExchanges(v *store.View, self, ref string) ([]store.Exchange, error) {
	r, err := findWaiting(v, self, ref)
	if err != nil || r.State == store.Approved {
		return nil, errors.Join(err, store.ErrNotFound)
	}
	to := ""
	if parts := strings.SplitN(ref, "/", 3); len(parts) == 3 {
		to = parts[2]
	}
	return slices.DeleteFunc(r.Exchanges(), func(e store.Exchange) bool { return !strings.HasPrefix(e.To, to) }), nil
}

// manifestOf reads the manifest of an exchange; its draft where it waits for a second person, or did in vain. Our own database is trusted
// here for showing, not for deciding.
func manifestOf(v *store.View, e store.Exchange) (*statement.Unsigned[statement.Manifest], error) {
	if e.State == store.Waiting || e.State == store.Lapsed {
		r, err := v.WaitingRelease(e.Manifest)
		return r.Draft, err
	}
	row, err := v.Manifest(e.Manifest)
	if err != nil {
		return nil, err
	}
	return statement.ParseDraft[statement.Manifest](row.Raw)
}

// describeExchange reads what stands about an exchange in its manifest and its receipts.
func describeExchange(v *store.View, e store.Exchange) (*ententev1.Exchange, error) {
	m, err := manifestOf(v, e)
	if err != nil {
		return nil, err
	}
	out := exchangeMessage(e, &m.Terms)
	if out.LabelMeans, err = labelMeans(v, &m.Terms); err != nil {
		return nil, err
	}
	if e.State == store.Expired {
		if out.LastError, err = gaveUp(v, e); err != nil {
			return nil, err
		}
	}
	receipts, err := v.Receipts(e.Manifest, e.To)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	for _, raw := range receipts {
		r, err := statement.ParseDraft[statement.Receipt](raw)
		if err != nil {
			return nil, err
		}
		// What was delivered goes on at the recipient; its later receipts say how.
		if e.State == store.Delivered && (r.Terms.Kind == statement.Opened || r.Terms.Kind == statement.Undecryptable) {
			out.State, out.Updated = string(r.Terms.Kind), timestamppb.New(r.Terms.At)
		}
		out.Receipts = append(out.Receipts, &ententev1.Receipt{Raw: raw, Kind: string(r.Terms.Kind), At: timestamppb.New(r.Terms.At), Log: r.Terms.Log,
			Leaf: r.Terms.Leaf, From: r.Terms.From, Reasons: reasonMessages(r.Terms.Reasons)})
	}
	slices.SortStableFunc(out.Receipts, func(a, b *ententev1.Receipt) int { return cmp.Compare(a.Leaf, b.Leaf) }) // as they happened
	return out, nil
}

// labelMeans says what a label of another scheme means in the agreement's common one, so that whoever sees it can be shown it in colours
// that they know.
func labelMeans(v *store.View, m *statement.Manifest) (string, error) {
	row, err := v.AgreementByHash(m.AgreementHash)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil // of a document that was refused for it
	}
	if err != nil {
		return "", err
	}
	a, err := statement.ParseDraft[statement.Agreement](row.Raw)
	if err != nil {
		return "", err
	}
	s := policy.SchemesOf(&a.Terms)
	l, err := s.Parse(m.Label)
	if err != nil {
		return "", nil //nolint:nilerr // it was refused for its label
	}
	return s.Meaning(l), nil
}

func exchangeMessage(e store.Exchange, m *statement.Manifest) *ententev1.Exchange {
	out := &ententev1.Exchange{Ref: e.Ref(), From: e.From, Id: e.ID, To: e.To, State: string(e.State), Agreement: m.Agreement, Purpose: m.Purpose, Label: m.Label,
		Created: timestamppb.New(m.Created), DeliverBy: timestamppb.New(m.DeliverBy), RetainUntil: timestamppb.New(m.RetainUntil), ReleasedBy: m.ReleasedBy,
		CiphertextSize: m.Content.CiphertextSize, ManifestSha256: e.Manifest.String(), Updated: timestamppb.New(e.Updated), Attempts: e.Attempts, LastError: e.LastError}
	if e.State == store.Waiting || e.State == store.Lapsed {
		out.WaitsUntil = timestamppb.New(store.WaitsUntil(*m))
	}
	if m.Approval != (statement.Approval{}) {
		out.ApprovedBy, out.ApprovedAt = m.Approval.By, timestamppb.New(m.Approval.At)
	}
	if !e.Due.IsZero() {
		out.NextAttempt = timestamppb.New(e.Due)
	}
	return out
}

func reasonMessages(reasons []statement.Reason) []*ententev1.Reason {
	var list []*ententev1.Reason
	for _, r := range reasons {
		list = append(list, &ententev1.Reason{Set: r.Set, Rule: r.Rule, Text: r.Text, Needs: r.Needs})
	}
	return list
}
