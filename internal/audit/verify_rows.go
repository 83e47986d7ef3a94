package audit

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	"entente.example/internal/store/sqlc"
)

// manifest compares the row of a manifest with its text, with its exchanges, and with the log.
func (v *homeVerifier) manifest(d *dossier, r sqlc.Manifest) {
	where, s := d.name, d.manifest
	m := s.Terms
	v.row(where, s.Hash, r.Sha256)
	v.equal(where, "sender", r.Sender, m.From)
	v.equal(where, "id", r.ID, m.ID)
	v.equal(where, "created", r.Created, m.Created.UnixMicro())
	v.equal(where, "size", r.Size, m.Content.CiphertextSize)
	if r.Header != nil {
		if statement.HashBytes(r.Header) != m.Content.HeaderHash {
			v.report.add(where, "the age header is not the one that the manifest names")
		}
		v.overdue(where, m)
		if v.from == 0 || d.fresh {
			v.payload(where, wantedBlob{s.Hash, m.Content.CiphertextHash, m.Content.CiphertextSize}, r.Payload)
		}
	} else if r.Payload != nil {
		v.report.add(where, "there is a payload without the age header")
	}
	if m.From == v.self {
		v.ownManifest(d, r)
	} else {
		v.peersManifest(d, r)
	}
}

// payload verifies a payload that stands in its manifest's row. One that does not is a blob, and verified with those.
func (v *homeVerifier) payload(where string, b wantedBlob, row []byte) {
	switch {
	case row == nil:
		v.failed(where, v.blobList.add(b))
	case int64(len(row)) != b.size:
		v.report.add(where, "its payload has %d bytes instead of %d", len(row), b.size)
	case v.SkipDocuments:
	case statement.HashBytes(row) != b.hash:
		v.report.add(where, "its payload was changed: the hash is not the one that the manifest names")
	default:
		v.report.Documents++
		v.report.Bytes += b.size
	}
}

// statement loads a statement by a column that may be damaged.
func (v *homeVerifier) statement(column []byte) ([]byte, error) {
	var h statement.Hash
	if len(column) != len(h) {
		return nil, fmt.Errorf("a hash has %d bytes instead of %d", len(column), len(h))
	}
	copy(h[:], column)
	raw, err := v.view.Statement(h)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("statement %s is missing", h.Short())
	}
	return raw, err
}

func (v *homeVerifier) ownManifest(d *dossier, r sqlc.Manifest) {
	where, m := d.name, d.manifest.Terms
	if r.Header == nil {
		v.report.add(where, "the age header is missing")
	}
	if e := v.take(d, where, fact{kind: statement.EventReleased, hash: d.hash}); e != nil {
		v.leafSays(where, e, m.ID, m.To...)
		salt, err := v.view.PrivateField(e.index, store.SaltField)
		if !errors.Is(err, store.ErrNotFound) {
			v.failed(where, err)
		}
		if r.Salt == nil || string(r.Salt) != string(salt) {
			v.report.add(where, "the salt is not the one that leaf %d is committed to", e.index)
		}
		v.standing(where, m, append([]string{m.From}, m.To...)...)
		v.approval(where, e, d.manifest)
	}
	rows, err := v.view.ExchangesOf(r.Sha256)
	if v.failed(where, err) {
		return
	}
	var to []string
	for _, x := range rows {
		to = append(to, x.Recipient)
		v.ownExchange(d, "exchange "+m.From+"/"+m.ID+"/"+x.Recipient, x)
	}
	if slices.Sort(to); !slices.Equal(to, m.To) {
		v.report.add(where, "it goes to %v, and there are exchanges with %v", m.To, to)
	}
}

// ownExchange checks the state of something that we sent. What waits is in the outbox, and nothing else.
func (v *homeVerifier) ownExchange(d *dossier, where string, x sqlc.ExchangesOfRow) {
	v.report.Exchanges++
	want, settled := d.states[x.Recipient]
	got := store.State(x.State)
	if !settled && !got.Underway() {
		v.report.add(where, "its state is %.40q, and the log has no leaf that says so", x.State)
	}
	if settled && got != want {
		v.report.add(where, "its state is %.40q, and the log says %q", x.State, want)
	}
	if e := d.facts[fact{statement.EventExpired, d.hash, x.Recipient}]; e != nil {
		e.matched = true // the row is the exchange itself, whose state was compared
	}
	e, err := v.view.Exchange(d.hash, x.Recipient)
	if v.failed(where, err) {
		return
	}
	if waits := !e.Due.IsZero(); waits == settled {
		v.report.add(where, "its state is %.40q, and whether it is in the outbox: %t", x.State, waits)
	}
}

func (v *homeVerifier) peersManifest(d *dossier, r sqlc.Manifest) {
	where, m := d.name, d.manifest.Terms
	if r.Salt != nil {
		v.report.add(where, "it has a salt, which only the sender can have")
	}
	received := d.facts[fact{kind: statement.EventReceived, hash: d.hash}]
	refused := d.facts[fact{kind: statement.EventRefused, hash: d.hash}]
	switch {
	case received == nil && refused == nil:
		v.report.add(where, "the log says neither that it was received nor that it was refused")
	case received == nil && r.Header != nil:
		v.report.add(where, "it was refused, and there is an age header")
	case received != nil && r.Header == nil:
		v.report.add(where, "the age header is missing")
	case received != nil && !slices.Contains(m.To, v.self):
		v.report.add(where, "it was received, and goes to %v", m.To)
	}
	for _, e := range []*entry{received, refused} {
		if e != nil {
			v.leafSays(where, e, m.ID, m.From)
		}
	}
	if received != nil {
		v.standing(where, m, m.From, v.self)
	}
	rows, err := v.view.ExchangesOf(r.Sha256)
	if v.failed(where, err) {
		return
	}
	where = "exchange " + m.From + "/" + m.ID + "/" + v.self
	if len(rows) != 1 || rows[0].Recipient != v.self {
		v.report.add(where, "there must be this exchange of the manifest and no other")
		return
	}
	v.report.Exchanges++
	if want := d.states[v.self]; store.State(rows[0].State) != want {
		v.report.add(where, "its state is %.40q, and the log says %q", rows[0].State, want)
	}
}

// leafSays compares what a leaf says besides the hash.
func (v *homeVerifier) leafSays(where string, e *entry, id string, peers ...string) {
	if e.ID != id || !slices.Equal(e.Peers, peers) {
		v.report.add(where, "leaf %d says id %q and peers %v, it must say %q and %v", e.index, e.ID, e.Peers, id, peers)
	}
}

func (v *homeVerifier) receipt(d *dossier, r sqlc.Receipt) {
	where := fmt.Sprintf("receipt %.6x", r.Sha256)
	raw, err := v.statement(r.Sha256)
	if v.failed(where, err) {
		return
	}
	s, err := openWith[statement.Receipt](v, raw)
	if err != nil {
		v.report.add(where, "%v", err)
		return
	}
	v.row(where, s.Hash, r.Sha256)
	v.equal(where, "manifest", fmt.Sprintf("%x", r.Manifest), s.Terms.Manifest.String())
	v.equal(where, "member", r.Member, s.Terms.From)
	v.equal(where, "kind", r.Kind, string(s.Terms.Kind))
	if s.Terms.From == v.self {
		v.ownReceipt(d, where, s.Terms)
	} else {
		v.peersReceipt(d, where, s)
	}
}

// ownEvents and peersEvents say which leaf goes with which receipt.
var (
	ownEvents = map[statement.ReceiptKind]statement.EventKind{
		statement.Stored: statement.EventReceived, statement.Refused: statement.EventRefused,
		statement.Opened: statement.EventOpened, statement.Undecryptable: statement.EventUndecryptable,
	}
	peersEvents = map[statement.ReceiptKind]statement.EventKind{
		statement.Stored: statement.EventDelivered, statement.Refused: statement.EventReturned,
		statement.Opened: statement.EventConfirmed, statement.Undecryptable: statement.EventConfirmed,
	}
)

// ownReceipt checks a receipt that we issued: it names its leaf.
func (v *homeVerifier) ownReceipt(d *dossier, where string, r statement.Receipt) {
	e := v.take(d, where, fact{kind: ownEvents[r.Kind], hash: r.Manifest})
	if e == nil {
		return
	}
	if r.Log != v.log || r.Leaf != e.index {
		v.report.add(where, "it names leaf %d of %s, and the leaf is %d of %s", r.Leaf, r.Log, e.index, v.log)
	}
	if !r.At.Equal(e.Time) {
		v.report.add(where, "it is dated %s, and leaf %d %s", r.At.Format(time.RFC3339), e.index, e.Time.Format(time.RFC3339))
	}
	v.leafSays(where, e, r.ID, r.To)
	v.leafReasons(where, e, r, true)
	if d.manifest == nil {
		// Refused because the id was taken: then there is the manifest that took it.
		if _, err := v.view.ManifestByID(r.To, r.ID); err != nil || r.Kind != statement.Refused {
			v.report.add(where, "the manifest that it is about is missing")
		}
		return
	}
	if m := d.manifest.Terms; m.From != r.To || m.ID != r.ID {
		v.report.add(where, "it is addressed to %s about %s, and the manifest is %s of %s", r.To, r.ID, m.ID, m.From)
	}
}

// peersReceipt checks a receipt about a manifest of ours: a leaf names it.
func (v *homeVerifier) peersReceipt(d *dossier, where string, s *statement.Signed[statement.Receipt]) {
	r := s.Terms
	if e := v.take(d, where, fact{kind: peersEvents[r.Kind], hash: s.Hash}); e != nil {
		v.leafSays(where, e, r.ID, r.From)
		v.leafReasons(where, e, r, false)
		if r.At.After(e.Time.Add(limit.ClockSkew)) {
			v.report.add(where, "it is dated %s, and came before that, with leaf %d", r.At.Format(time.RFC3339), e.index)
		}
	}
	if r.To != v.self {
		v.report.add(where, "it is addressed to %s", r.To)
	}
	if d.manifest == nil {
		v.report.add(where, "the manifest that it is about is missing")
		return
	}
	m := d.manifest.Terms
	if m.From != v.self || m.ID != r.ID || !slices.Contains(m.To, r.From) {
		v.report.add(where, "%s signed it about %s, and the manifest is %s of %s to %v", r.From, r.ID, m.ID, m.From, m.To)
	}
	if r.At.Before(m.Created.Add(-limit.ClockSkew)) {
		v.report.add(where, "it is dated %s, and the manifest was only made %s", r.At.Format(time.RFC3339), m.Created.Format(time.RFC3339))
	}
}

// leafReasons compares the rules in a leaf with the reasons in a receipt about a refusal. A member's own rules stand in its own
// leaves, and in nobody else's.
func (v *homeVerifier) leafReasons(where string, e *entry, r statement.Receipt, house bool) {
	if r.Kind != statement.Refused {
		return
	}
	var rules []string
	for _, reason := range r.Reasons {
		if house || reason.Set != "house" {
			rules = append(rules, reason.Set+"/"+reason.Rule)
		}
	}
	if !slices.Equal(rules, e.Rules) {
		v.report.add(where, "it gives the rules %v, and leaf %d has %v", rules, e.index, e.Rules)
	}
}

func (v *homeVerifier) verifyOutbox() { v.verifyOutboxFrom(nil, math.MaxInt) }

// verifyOutboxFrom checks so many rows behind one, and gives the one to go on behind; nil if that was all.
func (v *homeVerifier) verifyOutboxFrom(behind *sqlc.Outbox, most int) *sqlc.Outbox {
	for r, err := range v.view.OutboxRows(behind) {
		if v.ctx.Err() != nil || v.failed("outbox", err) {
			return nil
		}
		if most == 0 {
			return behind
		}
		most, behind = most-1, &r
		where := fmt.Sprintf("outbox %.40q %.40q %.6x", r.Peer, r.Kind, r.Statement)
		if store.OutgoingKind(r.Kind) == store.OutgoingAgreement { // it may be a proposal, which is no statement yet
			if err := errors.Join(v.outgoingAgreement(r), isLarge(r, 0)); err != nil {
				v.report.add(where, "%v", err)
			}
			continue
		}
		raw, err := v.statement(r.Statement)
		if v.failed(where, err) {
			continue
		}
		if err := v.outgoing(r, raw); err != nil {
			v.report.add(where, "%v", err)
		}
	}
	return nil
}

func (v *homeVerifier) outgoing(r sqlc.Outbox, raw []byte) error {
	var large int64
	switch store.OutgoingKind(r.Kind) {
	case store.OutgoingDocument: // whether it is still to be sent was compared with the exchange's state
		s, err := openWith[statement.Manifest](v, raw, v.self)
		if err != nil {
			return err
		}
		if !slices.Contains(s.Terms.To, r.Peer) {
			return fmt.Errorf("the document goes to %v", s.Terms.To)
		}
		if s.Terms.Content.CiphertextSize > limit.SmallDocument {
			large = 1
		}
	case store.OutgoingReceipt:
		s, err := openWith[statement.Receipt](v, raw, v.self)
		if err != nil {
			return err
		}
		if s.Terms.To != r.Peer {
			return fmt.Errorf("the receipt is addressed to %s", s.Terms.To)
		}
	case store.OutgoingReconciliation:
		s, err := openWith[statement.Reconciliation](v, raw)
		if err != nil {
			return err
		}
		if other(s.Terms.Parties, v.self) != r.Peer {
			return fmt.Errorf("the reconciliation is between %v", s.Terms.Parties)
		}
	case store.OutgoingNotice:
		if err := v.outgoingNotice(r, raw); err != nil {
			return err
		}
	default:
		return errors.New("no such kind of thing is sent")
	}
	return isLarge(r, large)
}

func isLarge(r sqlc.Outbox, want int64) error {
	if r.Large != want {
		return fmt.Errorf("the column large says %d, and it must be %d", r.Large, want)
	}
	return nil
}

// verifyStatements checks that each statement has its own name, and that some row knows it.
func (v *homeVerifier) verifyStatements() { v.verifyStatementsFrom(nil, math.MaxInt) }

// verifyStatementsFrom checks so many rows from a hash on, and gives the hash to go on at; nil if that was all.
func (v *homeVerifier) verifyStatementsFrom(from []byte, most int) []byte {
	for r, err := range v.view.StatementRows(from) {
		if v.ctx.Err() != nil || v.failed("statement", err) {
			return nil
		}
		if most == 0 {
			return r.Sha256
		}
		most--
		where := fmt.Sprintf("statement %.6x", r.Sha256)
		hash, err := statement.HashOf(r.Raw)
		if err != nil || string(r.Sha256) != string(hash[:]) {
			v.report.add(where, "its text has another hash")
			continue
		}
		kind, err := statement.KindOf(r.Raw)
		if err != nil || string(kind) != r.Kind {
			v.report.add(where, "the column kind says %.40q, the text %.40q", r.Kind, kind)
			continue
		}
		if r.Known == 0 && !v.keptManifest(hash, r.Raw) {
			v.report.add(where, "no row knows this %s", kind)
		}
	}
	return nil
}

// keptManifest tells whether a statement is a manifest without a row, which we refused because its id was taken.
func (v *homeVerifier) keptManifest(hash statement.Hash, raw []byte) bool {
	for r, err := range v.view.LeavesAbout(hash[:], 0) {
		if err != nil {
			return false
		}
		if l, err := statement.ParseLeaf(r.Body); err == nil && l.Kind == statement.EventRefused {
			_, err := openWith[statement.Manifest](v, raw)
			return err == nil
		}
	}
	return false
}
