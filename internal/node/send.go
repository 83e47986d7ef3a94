package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/crash"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/seal"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// sendingPrefix begins the names of staging files of submissions.
const sendingPrefix = "sending-"

// defaultDeliverBy is how long the outbox tries unless the sender says otherwise.
const defaultDeliverBy = 7 * 24 * time.Hour

// Send takes one document from a person, as proto/entente/v1/node.proto says. It answers when the document, its manifest
// and its place in the outbox are durable.
func (n *node) Send(stream grpc.ClientStreamingServer[ententev1.SendRequest, ententev1.SendResponse]) error {
	ctx := stream.Context()
	req, err := stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("receive submission: %w", rpc.FromStatus(err))
	}
	sub := req.GetSubmission()
	if sub == nil {
		return fault.New(fault.Misused, "", "a submission comes before the document")
	}
	end, ok := n.busy.begin(sendingPrefix + sub.GetId())
	if !ok {
		return fault.New(fault.Transient, "try again in a moment", "a document with id %s is being handed in right now", sub.GetId())
	}
	defer end()

	s, err := n.compose(ctx, rpc.CallerFrom(ctx).Person, sub)
	if err != nil {
		return err
	}
	if done, err := n.sentBefore(ctx, s, sub); err != nil || done != nil {
		n.nudge() // the answer may have been lost, and with it the nudge
		return n.respond(stream, sub, nil, done, err)
	}
	if err := n.mayExchange(ctx); err != nil {
		return err
	}
	decision, err := n.decide(ctx, policy.Release, s.history, s.manifest, s.person, nil)
	if err != nil {
		return err
	}
	if !decision.Permit && !decision.Waits {
		return n.deny(ctx, s.manifest, statement.Hash{}, s.manifest.To, policy.Release, s.person, decision)
	}
	if decision.Waits {
		if err := n.mayWait(ctx); err != nil {
			return err
		}
	}
	defer func() {
		if s.quiet != nil {
			s.quiet()
		}
	}()
	out, err := n.handOver(ctx, s, decision, sub, stream)
	if err != nil {
		n.nudge() // the fact may stand all the same
	}
	return n.respond(stream, sub, s.ends, out, err)
}

// respond answers, after it has waited for the deliveries if it is asked to. ends gets the end of each delivery; it is nil if they may have ended before.
func (n *node) respond(stream grpc.ClientStreamingServer[ententev1.SendRequest, ententev1.SendResponse], sub *ententev1.Submission, ends <-chan ending,
	out *ententev1.SendResponse, err error) error {
	if err != nil {
		return err
	}
	if wait := time.Duration(sub.GetSettledWithin()) * time.Millisecond; wait > 0 && len(out.GetWaits()) == 0 {
		manifest, err := statement.ParseHash(out.GetManifestSha256())
		if err != nil {
			return err
		}
		if out.States = allEnded(stream.Context(), wait, ends, len(out.GetExchanges())); out.States == nil {
			if ends != nil {
				wait = 0 // it was waited for
			}
			exchanges, err := n.untilSettled(stream.Context(), wait, manifest, func(v *store.View) ([]store.Exchange, error) { return v.States(manifest) })
			if err != nil {
				return err
			}
			for _, e := range exchanges {
				out.States = append(out.States, string(n.underWay(e).State))
			}
		}
	}
	return crash.Step(crash.AnswerSend, func() error { return stream.SendAndClose(out) })
}

// allEnded waits for the ends of so many deliveries, and gives their states sorted by recipient; nil if not all have ended within most.
func allEnded(ctx context.Context, most time.Duration, ends <-chan ending, deliveries int) (states []string) {
	if ends == nil {
		return nil
	}
	late := time.NewTimer(most)
	defer late.Stop()
	state := map[string]store.State{}
	for len(state) < deliveries {
		select {
		case e := <-ends:
			state[e.to] = e.state
		case <-late.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	for _, to := range slices.Sorted(maps.Keys(state)) {
		states = append(states, string(state[to]))
	}
	return states
}

// sent is the answer about a manifest that is on its way.
func sent(m *statement.Signed[statement.Manifest]) *ententev1.SendResponse {
	return &ententev1.SendResponse{ManifestSha256: m.Hash.String(), Exchanges: refs(m.Terms)}
}

func refs(m statement.Manifest) (list []string) {
	for _, to := range m.To {
		list = append(list, ref(m, to))
	}
	return list
}

func ref(m statement.Manifest, to string) string { return m.From + "/" + m.ID + "/" + to }

// submission is what is known before the document is.
type submission struct {
	manifest   statement.Manifest // the core only
	recipients []string           // sealing keys, pairwise with manifest.To
	agreement  *statement.Signed[statement.Agreement]
	history    *member.History
	person     *policy.Person

	// Where somebody waits for it: what gets the end of each delivery, and how to stop listening.
	ends  <-chan ending
	quiet func()
}

// compose makes the core of the manifest. A name that nothing is known by cannot stand in a manifest, and is the
// sender's mistake; everything else is for the policies to judge.
func (n *node) compose(ctx context.Context, name string, sub *ententev1.Submission) (*submission, error) {
	s := &submission{}
	var err error
	if s.person, err = person(n.Dir, name); err != nil {
		return nil, err
	}
	if s.history, err = n.alliance(ctx); err != nil {
		return nil, err
	}
	if s.agreement, err = n.agreementNamed(ctx, s.history, sub.GetAgreement()); err != nil {
		return nil, err
	}
	if err := statement.ValidFileName(sub.GetFileName()); err != nil {
		return nil, fault.New(fault.Misused, "rename the document, or send it under another name with --name", "send: %w", err)
	}
	now := n.now().UTC().Truncate(time.Second)
	m := &s.manifest
	*m = statement.Manifest{ID: sub.GetId(), From: n.Config.Member, Charter: s.history.Newest(), Agreement: s.agreement.Terms.Name, AgreementHash: s.agreement.Hash,
		Purpose: sub.GetPurpose(), Label: sub.GetLabel(), Created: now, ReleasedBy: n.spiffe(name)}
	m.To = slices.Compact(slices.Sorted(slices.Values(sub.GetTo())))
	for _, to := range m.To {
		recipient, ok := s.history.Member(to)
		if !ok {
			return nil, fault.New(fault.Misused, "the members are "+strings.Join(names(s.history), ", "), "there is no member %.80q in alliance %s", to, s.history.Name())
		}
		key := recipient.Sealing[0].Recipient // the newest stands first
		hash, err := seal.RecipientHash(key)
		if err != nil {
			return nil, fmt.Errorf("seal to %s: %w", to, err)
		}
		s.recipients, m.SealedFor = append(s.recipients, key), append(m.SealedFor, hash)
	}
	m.DeliverBy, m.RetainUntil = ends(now, sub, s.agreement.Terms)
	if err := m.ValidCore(); err != nil {
		return nil, fault.New(fault.Misused, "entente send --help says what each value may be", "send: %w", err)
	}
	return s, nil
}

// ends gives deliver_by and retain_until of what is sent at a time.
func ends(created time.Time, sub *ententev1.Submission, a statement.Agreement) (deliverBy, retainUntil time.Time) {
	retain := sub.GetRetainDays()
	if retain == 0 {
		retain = a.RetainDays
	}
	// Days end at midnight UTC, and never later than asked for.
	retainUntil = created.AddDate(0, 0, int(retain)).Truncate(24 * time.Hour)
	if !retainUntil.After(created) {
		retainUntil = created.AddDate(0, 0, int(retain))
	}
	deliverBy = created.Add(defaultDeliverBy)
	if deliverBy.After(retainUntil) {
		deliverBy = retainUntil
	}
	if sub.GetDeliverSeconds() > 0 {
		deliverBy = created.Add(time.Duration(sub.GetDeliverSeconds()) * time.Second)
	}
	return deliverBy, retainUntil
}

func names(h *member.History) []string {
	var list []string
	for _, m := range h.Members() {
		list = append(list, m.Name)
	}
	return list
}

// sentBefore finds out whether this very sending was acknowledged already, so that a client that lost the answer may ask
// again. The same ID for another sending is an error. What the document was, the sender itself can no longer read.
func (n *node) sentBefore(ctx context.Context, s *submission, sub *ententev1.Submission) (*ententev1.SendResponse, error) {
	var row store.Manifest
	var waiting store.Release
	m := s.manifest
	err := n.DB.View(ctx, func(v *store.View) (err error) {
		if row, err = v.ManifestByID(m.From, m.ID); errors.Is(err, store.ErrNotFound) {
			waiting, err = v.WaitingByID(m.ID)
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for an earlier sending: %w", err)
	}
	if waiting.Draft != nil {
		if err := sameSending(waiting.Draft.Terms, s, sub); err != nil {
			return nil, err
		}
		return n.stillWaits(ctx, waiting)
	}
	old, err := n.openOwn(row.Raw)
	if err == nil {
		err = sameSending(old.Terms, s, sub)
	}
	if err != nil {
		return nil, err
	}
	return sent(old), nil
}

// sameSending refuses an id that stands for another sending.
func sameSending(old statement.Manifest, s *submission, sub *ententev1.Submission) error {
	m := s.manifest
	if !slices.Equal(old.To, m.To) || old.Agreement != m.Agreement || old.Purpose != m.Purpose || old.Label != m.Label || old.ReleasedBy != m.ReleasedBy || !sameEnds(old, s, sub) {
		return fault.New(fault.Conflict, "choose another id", "id %s was used for another document", m.ID)
	}
	return nil
}

// sameEnds tells whether a submission asks for the times that an earlier manifest has. Under a newer version of the
// agreement they cannot be compared.
func sameEnds(old statement.Manifest, s *submission, sub *ententev1.Submission) bool {
	by, until := ends(old.Created, sub, s.agreement.Terms)
	return old.AgreementHash != s.agreement.Hash || old.DeliverBy.Equal(by) && old.RetainUntil.Equal(until)
}

// openOwn opens a manifest of our own out of the database.
func (n *node) openOwn(raw []byte) (*statement.Signed[statement.Manifest], error) {
	h, err := n.alliance(context.Background())
	if err != nil {
		return nil, err
	}
	return n.manifests.Get(known{h, sha256.Sum256(raw)}, func() (*statement.Signed[statement.Manifest], error) {
		return statement.Open[statement.Manifest](raw, h.AllVerifiers(n.Config.Member))
	})
}

// handOver seals the document, and then signs and stores it, or keeps it until a second person has approved it.
func (n *node) handOver(ctx context.Context, s *submission, d policy.Decision, sub *ententev1.Submission, stream grpc.ClientStreamingServer[ententev1.SendRequest, ententev1.SendResponse]) (*ententev1.SendResponse, error) {
	began := time.Now()
	g := &gathering{blobs: n.Blobs, name: sendingPrefix + strings.ToLower(s.manifest.ID)}
	defer g.close()
	sealed, err := seal.Seal(g, s.recipients, seal.Inner{Core: s.manifest.Core(), Name: sub.GetFileName(), MediaType: sub.GetMediaType()}, &frugal{&uploads{next: nextOfSending(stream)}, n, 0})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("seal document: %w", n.explainFull(err)), g.discard())
	}
	s.manifest.Content = sealed.Content
	if crash.Weak(crash.FalseCommitment) {
		s.manifest.Content.Commitment = "hmac-sha256:" + strings.Repeat("0", 64)
	}
	// From here on the person cannot end the call in between: a blob without a row would stay until the next start.
	ctx = context.WithoutCancel(ctx)
	if d.Waits {
		return n.hold(ctx, s, d, sealed, g, began)
	}
	signed, err := statement.Sign(s.manifest, n.Keys.Statement)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sign manifest: %w", err), g.discard())
	}
	// A crash after this leaves a blob without a row, which recover removes. Nobody was told about it.
	if err := g.commit(signed.Hash); err != nil {
		return nil, fmt.Errorf("store document: %w", n.explainFull(err))
	}
	if sub.GetSettledWithin() > 0 {
		s.ends, s.quiet = n.settled.listen(signed.Hash, len(signed.Terms.To))
	}
	now := n.now()
	record := func() error {
		return n.commitAs(ctx, crash.Released, func(tx *store.Tx) error {
			return putReleased(tx, signed, sealed.Header, sealed.Salt[:], g.row, now, statement.Event{Rules: n.rules(d), Private: n.private(s.person, d)})
		})
	}
	if crash.Weak(crash.AnswerFirst) {
		time.AfterFunc(50*time.Millisecond, func() { _ = record() })
		return sent(signed), nil
	}
	if err := record(); err != nil {
		return nil, fmt.Errorf("record release: %w", err) // recover removes the blob
	}
	n.manifests.Put(known{s.history, sha256.Sum256(signed.Raw)}, signed)
	n.released(&signed.Terms, began)
	n.start(outgoingOf(signed, now), &document{signed, store.Sealed{Header: sealed.Header, Payload: g.row}})
	return sent(signed), nil
}

// released tells that a document was released to each of its recipients.
func (n *node) released(m *statement.Manifest, began time.Time) {
	for _, to := range m.To {
		n.stepped(string(statement.EventReleased), m, to, to, began)
	}
}

// putReleased writes down, in the caller's transaction, that a manifest was released: who decided stands in the event.
func putReleased(tx *store.Tx, m *statement.Signed[statement.Manifest], header, salt, payload []byte, now time.Time, event statement.Event) error {
	if err := tx.PutManifest(m, header, salt, payload); err != nil {
		return err
	}
	for _, to := range m.Terms.To {
		if err := tx.PutExchange(m.Hash, to, store.Queued, now); err != nil {
			return err
		}
	}
	for _, o := range outgoingOf(m, now) {
		if err := tx.Enqueue(o); err != nil {
			return err
		}
	}
	event.Kind, event.Time, event.ID, event.Manifest, event.Peers, event.Stage = statement.EventReleased, now, m.Terms.ID, m.Hash, m.Terms.To, string(policy.Release)
	_, err := tx.Record(event)
	return err
}

// outgoingOf is what the release of a manifest puts into the outbox.
func outgoingOf(m *statement.Signed[statement.Manifest], now time.Time) (list []store.Outgoing) {
	for _, to := range m.Terms.To {
		list = append(list, store.Outgoing{Peer: to, Kind: store.OutgoingDocument, Statement: m.Hash, Large: isLarge(m.Terms), Due: now})
	}
	return list
}

// isLarge tells whether a document keeps a connection busy for long.
func isLarge(m statement.Manifest) bool { return m.Content.CiphertextSize > limit.SmallDocument }

// uploads reads the document's bytes off a stream. next gives one chunk after the other, io.EOF when the client has closed its side
// properly, and only then.
type uploads struct {
	next func() ([]byte, error)
	rest []byte
}

// Read reads on.
func (u *uploads) Read(p []byte) (int, error) {
	for len(u.rest) == 0 {
		chunk, err := u.next()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, fmt.Errorf("receive document: %w", rpc.FromStatus(err))
		}
		u.rest = chunk
	}
	c := copy(p, u.rest)
	u.rest = u.rest[c:]
	return c, nil
}

func nextOfSending(stream grpc.ClientStreamingServer[ententev1.SendRequest, ententev1.SendResponse]) func() ([]byte, error) {
	return func() ([]byte, error) {
		req, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		part, ok := req.GetPart().(*ententev1.SendRequest_Chunk)
		if !ok {
			return nil, fault.New(fault.Misused, "", "a second submission in one call")
		}
		return part.Chunk, nil
	}
}
