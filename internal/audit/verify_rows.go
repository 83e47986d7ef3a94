package audit

import (
	"errors"
	"fmt"
	"slices"

	"entente.example/internal/statement"
	"entente.example/internal/store"
	"entente.example/internal/store/sqlc"
)

// verifyManifests checks manifests, and with each its exchanges.
func (v *homeVerifier) verifyManifests() {
	for r, err := range v.view.ManifestRows() {
		if v.failed("manifest", err) {
			return
		}
		v.manifest(r)
	}
}

func (v *homeVerifier) manifest(r sqlc.Manifest) {
	where := fmt.Sprintf("manifest %.6x", r.Sha256)
	raw, err := v.statement(r.Sha256)
	if v.failed(where, err) {
		return
	}
	s, err := openWith[statement.Manifest](v, raw)
	if err != nil {
		v.report.add(where, "%v", err)
		return
	}
	m := s.Terms
	v.row(where, s.Hash, r.Sha256, statement.KindManifest)
	v.equal(where, "sender", r.Sender, m.From)
	v.equal(where, "id", r.ID, m.ID)
	v.equal(where, "created", r.Created, m.Created.UnixMicro())
	v.equal(where, "size", r.Size, m.Content.CiphertextSize)
	if r.Header != nil && statement.HashBytes(r.Header) != m.Content.HeaderHash {
		v.report.add(where, "the age header is not the one that the manifest names")
	}
	if r.Header != nil {
		v.blobList = append(v.blobList, wantedBlob{s.Hash, m.Content.CiphertextHash, m.Content.CiphertextSize})
	}
	if m.From == v.self {
		v.ownManifest(where, s, r)
	} else {
		v.peersManifest(where, s, r)
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

func (v *homeVerifier) ownManifest(where string, s *statement.Signed[statement.Manifest], r sqlc.Manifest) {
	m := s.Terms
	if r.Header == nil {
		v.report.add(where, "the age header is missing")
	}
	if e := v.take(where, fact{kind: statement.EventReleased, hash: s.Hash}); e != nil {
		v.leafSays(where, e, m.ID, m.To...)
		if r.Salt == nil || string(r.Salt) != string(e.salt) {
			v.report.add(where, "the salt is not the one that leaf %d is committed to", e.index)
		}
	}
	rows, err := v.view.ExchangesOf(r.Sha256)
	if v.failed(where, err) {
		return
	}
	var to []string
	for _, x := range rows {
		to = append(to, x.Recipient)
		v.ownExchange("exchange "+m.From+"/"+m.ID+"/"+x.Recipient, s.Hash, x)
	}
	if slices.Sort(to); !slices.Equal(to, m.To) {
		v.report.add(where, "it goes to %v, and there are exchanges with %v", m.To, to)
	}
}

// ownExchange checks the state of something that we sent. What waits is in the outbox, and nothing else.
func (v *homeVerifier) ownExchange(where string, manifest statement.Hash, x sqlc.ExchangesOfRow) {
	want, settled := v.states[fact{hash: manifest, peer: x.Recipient}]
	got := store.State(x.State)
	if !settled && got != store.Queued && got != store.Delivering {
		v.report.add(where, "its state is %.40q, and the log has no leaf that says so", x.State)
	}
	if settled && got != want {
		v.report.add(where, "its state is %.40q, and the log says %q", x.State, want)
	}
	if want == store.Expired {
		v.take(where, fact{statement.EventExpired, manifest, x.Recipient})
	}
	e, err := v.view.Exchange(manifest, x.Recipient)
	if v.failed(where, err) {
		return
	}
	if waits := !e.Due.IsZero(); waits == settled {
		v.report.add(where, "its state is %.40q, and whether it is in the outbox: %t", x.State, waits)
	}
}

func (v *homeVerifier) peersManifest(where string, s *statement.Signed[statement.Manifest], r sqlc.Manifest) {
	m := s.Terms
	if r.Salt != nil {
		v.report.add(where, "it has a salt, which only the sender can have")
	}
	received := v.facts[fact{kind: statement.EventReceived, hash: s.Hash}]
	refused := v.facts[fact{kind: statement.EventRefused, hash: s.Hash}]
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
	rows, err := v.view.ExchangesOf(r.Sha256)
	if v.failed(where, err) {
		return
	}
	where = "exchange " + m.From + "/" + m.ID + "/" + v.self
	if len(rows) != 1 || rows[0].Recipient != v.self {
		v.report.add(where, "there must be this exchange of the manifest and no other")
		return
	}
	if want := v.states[fact{hash: s.Hash, peer: v.self}]; store.State(rows[0].State) != want {
		v.report.add(where, "its state is %.40q, and the log says %q", rows[0].State, want)
	}
}

// leafSays compares what a leaf says besides the hash.
func (v *homeVerifier) leafSays(where string, e *entry, id string, peers ...string) {
	if e.id != id || !slices.Equal(e.peers, peers) {
		v.report.add(where, "leaf %d says id %q and peers %v, it must say %q and %v", e.index, e.id, e.peers, id, peers)
	}
}

func (v *homeVerifier) verifyReceipts() {
	for r, err := range v.view.ReceiptRows() {
		if v.failed("receipt", err) {
			return
		}
		where := fmt.Sprintf("receipt %.6x", r.Sha256)
		raw, err := v.statement(r.Sha256)
		if v.failed(where, err) {
			continue
		}
		s, err := openWith[statement.Receipt](v, raw)
		if err != nil {
			v.report.add(where, "%v", err)
			continue
		}
		v.row(where, s.Hash, r.Sha256, statement.KindReceipt)
		v.equal(where, "manifest", fmt.Sprintf("%x", r.Manifest), s.Terms.Manifest.String())
		v.equal(where, "member", r.Member, s.Terms.From)
		v.equal(where, "kind", r.Kind, string(s.Terms.Kind))
		if s.Terms.From == v.self {
			v.ownReceipt(where, s.Terms)
		} else {
			v.peersReceipt(where, s)
		}
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
func (v *homeVerifier) ownReceipt(where string, r statement.Receipt) {
	e := v.take(where, fact{kind: ownEvents[r.Kind], hash: r.Manifest})
	if e == nil {
		return
	}
	if r.Log != v.log || r.Leaf != e.index {
		v.report.add(where, "it names leaf %d of %s, and the leaf is %d of %s", r.Leaf, r.Log, e.index, v.log)
	}
	v.leafSays(where, e, r.ID, r.To)
	m, err := v.view.Manifest(r.Manifest)
	if errors.Is(err, store.ErrNotFound) && r.Kind == statement.Refused {
		// Refused because the id was taken: then there is the manifest that took it.
		if _, err = v.view.ManifestByID(r.To, r.ID); err == nil {
			return
		}
	}
	if v.failed(where, err) {
		return
	}
	if m.From != r.To || m.ID != r.ID {
		v.report.add(where, "it is addressed to %s about %s, and the manifest is %s of %s", r.To, r.ID, m.ID, m.From)
	}
}

// peersReceipt checks a receipt about a manifest of ours: a leaf names it.
func (v *homeVerifier) peersReceipt(where string, s *statement.Signed[statement.Receipt]) {
	r := s.Terms
	if e := v.take(where, fact{kind: peersEvents[r.Kind], hash: s.Hash}); e != nil {
		v.leafSays(where, e, r.ID, r.From)
		if e.manifest != r.Manifest {
			v.report.add(where, "leaf %d is about another manifest", e.index)
		}
	}
	if r.To != v.self {
		v.report.add(where, "it is addressed to %s", r.To)
	}
	x, err := v.view.Exchange(r.Manifest, r.From)
	if v.failed(where, err) {
		return
	}
	if x.From != v.self || x.ID != r.ID {
		v.report.add(where, "it is about %s, and the manifest is %s of %s", r.ID, x.ID, x.From)
	}
}

func (v *homeVerifier) verifyOutbox() {
	for r, err := range v.view.OutboxRows() {
		if v.failed("outbox", err) {
			return
		}
		where := fmt.Sprintf("outbox %.40q %.40q %.6x", r.Peer, r.Kind, r.Statement)
		raw, err := v.statement(r.Statement)
		if v.failed(where, err) {
			continue
		}
		if err := v.outgoing(r, raw); err != nil {
			v.report.add(where, "%v", err)
		}
	}
}

func (v *homeVerifier) outgoing(r sqlc.Outbox, raw []byte) error {
	switch store.OutgoingKind(r.Kind) {
	case store.OutgoingDocument: // whether it is still to be sent was compared with the exchange's state
		s, err := openWith[statement.Manifest](v, raw, v.self)
		if err != nil {
			return err
		}
		if !slices.Contains(s.Terms.To, r.Peer) {
			return fmt.Errorf("the document goes to %v", s.Terms.To)
		}
	case store.OutgoingReceipt:
		s, err := openWith[statement.Receipt](v, raw, v.self)
		if err != nil {
			return err
		}
		if s.Terms.To != r.Peer {
			return fmt.Errorf("the receipt is addressed to %s", s.Terms.To)
		}
	default:
		return errors.New("no such kind of thing is sent")
	}
	return nil
}

// verifyStatements checks that each statement has its own name, and that some row knows it.
func (v *homeVerifier) verifyStatements() {
	for r, err := range v.view.StatementRows() {
		if v.failed("statement", err) {
			return
		}
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
		if v.named[hash] == kind {
			continue
		}
		if !v.keptManifest(hash, r) {
			v.report.add(where, "no row knows this %s", kind)
		}
	}
}

// keptManifest tells whether a statement is a manifest without a row, which we refused because its id was taken.
func (v *homeVerifier) keptManifest(hash statement.Hash, r sqlc.Statement) bool {
	if v.facts[fact{kind: statement.EventRefused, hash: hash}] == nil {
		return false
	}
	_, err := openWith[statement.Manifest](v, r.Raw)
	return err == nil
}
