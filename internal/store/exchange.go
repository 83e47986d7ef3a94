package store

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// State says how far an exchange has come.
type State string

// The states. What follows from a leaf of the log is checked against it; Queued, Unconfirmed and Delivering differ in bookkeeping only.
const (
	Queued        State = "queued"        // sender: waits for its turn
	Delivering    State = "delivering"    // sender: an attempt is under way, which is known while it is, and not written down
	Unconfirmed   State = "unconfirmed"   // sender: the whole document was sent, or the recipient had it, and no receipt came yet
	Delivered     State = "delivered"     // sender: the receipt `stored` is here
	Expired       State = "expired"       // sender: deliver_by passed without a receipt
	Refused       State = "refused"       // both: the receipt `refused` is signed, or here
	Stored        State = "stored"        // recipient: the document is here
	Opened        State = "opened"        // recipient: it was opened at least once
	Undecryptable State = "undecryptable" // recipient: opening failed for good
)

// Underway tells whether the outbox still tries to deliver it.
func (s State) Underway() bool { return s == Queued || s == Delivering || s == Unconfirmed }

// Manifest is a manifest that is kept, ours or a peer's.
type Manifest struct {
	Hash    statement.Hash
	From    string
	ID      string
	Created time.Time
	Size    int64  // bytes of the ciphertext
	Raw     []byte // as it was signed
}

func manifest(r sqlc.ManifestRow) (Manifest, error) {
	h, err := toHash(r.Sha256)
	return Manifest{h, r.Sender, r.ID, time.UnixMicro(r.Created).UTC(), r.Size, r.Raw}, err
}

// Manifest gives a manifest, or ErrNotFound.
func (v *View) Manifest(hash statement.Hash) (Manifest, error) {
	r, err := row(v.q.Manifest(v.ctx, hash[:]))
	if err != nil {
		return Manifest{}, err
	}
	return manifest(r)
}

// ManifestByID gives the manifest that a member issued under an id, or ErrNotFound.
func (v *View) ManifestByID(from, id string) (Manifest, error) {
	r, err := row(v.q.ManifestByID(v.ctx, sqlc.ManifestByIDParams{Sender: from, ID: id}))
	if err != nil {
		return Manifest{}, err
	}
	return manifest(sqlc.ManifestRow(r))
}

// Header gives the age header of a manifest's document, or ErrNotFound if there is none, because the document was refused.
func (v *View) Header(hash statement.Hash) ([]byte, error) {
	return present(v.q.Header(v.ctx, hash[:]))
}

// Salt gives the salt of our own manifest's content commitment, or ErrNotFound.
func (v *View) Salt(hash statement.Hash) ([]byte, error) {
	return present(v.q.Salt(v.ctx, hash[:]))
}

func present(b []byte, err error) ([]byte, error) {
	if b, err = row(b, err); err == nil && b == nil {
		err = ErrNotFound
	}
	return b, err
}

// Held adds up what the documents that are kept of one sender take: payloads, headers, and limit.DocumentOverhead for each.
func (v *View) Held(from string) (int64, error) {
	return v.q.Held(v.ctx, sqlc.HeldParams{Sender: from, Extra: limit.DocumentOverhead})
}

// Sealed is what is kept of a document beside its manifest.
type Sealed struct {
	Header  []byte // the age header
	Payload []byte // the age payload of a small document; nil: it is a blob
}

// Sealed gives what is kept of a manifest's document, or ErrNotFound if nothing is, because the document was refused.
func (v *View) Sealed(hash statement.Hash) (Sealed, error) {
	r, err := row(v.q.Sealed(v.ctx, hash[:]))
	if err == nil && r.Header == nil {
		err = ErrNotFound
	}
	return Sealed{r.Header, r.Payload}, err
}

// Outgoing gives the manifest of a document that waits for a peer, as it was signed, and what is kept of the document; ErrNotFound if it waits no more.
func (v *View) Outgoing(hash statement.Hash, peer string) (raw []byte, s Sealed, err error) {
	r, err := row(v.q.Outgoing(v.ctx, sqlc.OutgoingParams{Peer: peer, Statement: hash[:]}))
	if err == nil && r.Raw == nil { // a row that is damaged is not one that is gone
		err = errors.New("its manifest is missing; run: entente audit verify")
	}
	return r.Raw, Sealed{r.Header, r.Payload}, err
}

// PutManifest adds a manifest with what is needed to open its document: header is its age header, nil if the document is not
// kept; salt opens its commitment, 32 bytes, nil at a recipient; payload is its age payload, at most limit.PayloadRow, or nil. A manifest with a
// header and without a payload needs its blob in place before. ErrExists if it is there, ErrConflict if the sender gave its id to another manifest.
func (tx *Tx) PutManifest(s *statement.Signed[statement.Manifest], header, salt, payload []byte) error {
	if len(payload) > limit.PayloadRow {
		return fmt.Errorf("put manifest %s: a payload of %d bytes is for a blob", s.Hash.Short(), len(payload))
	}
	if err := tx.putStatement(s.Hash, statement.KindManifest, s.Raw); err != nil {
		return err
	}
	m := s.Terms
	n, err := tx.q.InsertManifest(tx.ctx, sqlc.InsertManifestParams{Sha256: s.Hash[:], Sender: m.From, ID: m.ID,
		Created: m.Created.UnixMicro(), Size: m.Content.CiphertextSize, Header: header, Salt: salt, Payload: payload})
	return tx.placed(n, err, "manifest", s.Hash, func() ([]byte, error) {
		r, err := tx.q.ManifestByID(tx.ctx, sqlc.ManifestByIDParams{Sender: m.From, ID: m.ID})
		return r.Sha256, err
	})
}

// KeepManifest keeps the bare statement of a manifest that was refused because its id is taken: with the other one it proves
// that the sender signed two. It makes no exchange.
func (tx *Tx) KeepManifest(s *statement.Signed[statement.Manifest]) error {
	return tx.putStatement(s.Hash, statement.KindManifest, s.Raw)
}

// Exchange is one manifest to one recipient.
type Exchange struct {
	Manifest statement.Hash
	From     string
	ID       string
	To       string
	State    State
	Updated  time.Time // when the state last changed
	Created  time.Time // when the sender signed, by its own clock
	Size     int64     // bytes of the ciphertext

	// While the document waits in the outbox:
	Attempts  int64
	Due       time.Time // zero if it does not wait
	LastError string
}

// Ref is the exchange's full name, FROM/ID/TO.
func (e Exchange) Ref() string { return e.From + "/" + e.ID + "/" + e.To }

// Cursor is for Filter.After, to go on after this exchange.
func (e Exchange) Cursor() string {
	return fmt.Sprintf("%d.%s.%s", e.Created.UnixMicro(), e.Manifest, e.To)
}

func exchange(r sqlc.ExchangeRow) (Exchange, error) {
	h, err := toHash(r.Manifest)
	e := Exchange{Manifest: h, From: r.Sender, ID: r.ID, To: r.Recipient, State: State(r.State), Updated: time.UnixMicro(r.Updated).UTC(),
		Created: time.UnixMicro(r.Created).UTC(), Size: r.Size, Attempts: r.Attempts, LastError: r.LastError}
	if r.Due != 0 {
		e.Due = time.UnixMicro(r.Due).UTC()
	}
	return e, err
}

// Exchange gives one exchange, or ErrNotFound.
func (v *View) Exchange(manifest statement.Hash, to string) (Exchange, error) {
	r, err := row(v.q.Exchange(v.ctx, sqlc.ExchangeParams{Manifest: manifest[:], Recipient: to}))
	if err != nil {
		return Exchange{}, err
	}
	return exchange(r)
}

// States gives the exchanges of a manifest, sorted by recipient, as far as they differ: manifest, recipient and state.
func (v *View) States(manifest statement.Hash) ([]Exchange, error) {
	rows, err := v.q.ExchangesOf(v.ctx, manifest[:])
	if err != nil {
		return nil, err
	}
	list := make([]Exchange, len(rows))
	for i, r := range rows {
		list[i] = Exchange{Manifest: manifest, To: r.Recipient, State: State(r.State)}
	}
	return list, nil
}

// Filter chooses exchanges. Empty fields do not filter. Our outbox is From: us, our inbox is To: us.
type Filter struct {
	From, ID, To string
	After        string // the Cursor of the last exchange seen
	Limit        int    // at most limit.Page, which 0 stands for too
}

// Exchanges gives exchanges, those with the newest manifests first.
func (v *View) Exchanges(f Filter) ([]Exchange, error) {
	if f.Limit <= 0 || f.Limit > limit.Page {
		f.Limit = limit.Page
	}
	p := sqlc.ExchangesParams{Sender: f.From, ID: f.ID, Recipient: f.To, Created: math.MaxInt64, Manifest: []byte{}, Most: int32(f.Limit)}
	if f.After != "" {
		var err error
		if p.Created, p.Manifest, p.AfterRecipient, err = parseCursor(f.After); err != nil {
			return nil, err
		}
	}
	rows, err := v.q.Exchanges(v.ctx, p)
	if err != nil {
		return nil, err
	}
	list := make([]Exchange, len(rows))
	for i, r := range rows {
		if list[i], err = exchange(sqlc.ExchangeRow(r)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func parseCursor(s string) (created int64, manifest []byte, to string, err error) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) == 3 {
		h, err1 := statement.ParseHash(parts[1])
		n, err2 := strconv.ParseInt(parts[0], 10, 64)
		if err1 == nil && err2 == nil {
			return n, h[:], parts[2], nil
		}
	}
	return 0, nil, "", fmt.Errorf("read cursor: %.80q is none", s)
}

// FindExchange finds the exchange that a person means: FROM/ID/TO, any prefix of that which fits only one, or an ID, or a
// prefix of one, alone. What fits exactly goes before what merely begins so. ErrNotFound, or ErrAmbiguous with the
// first few that fit.
func (v *View) FindExchange(ref string) (Exchange, error) {
	for _, read := range readings(ref) {
		rows, err := read(v)
		if err != nil {
			return Exchange{}, fmt.Errorf("find exchange %.80q: %w", ref, err)
		}
		if len(rows) == 0 {
			continue
		}
		if len(rows) > 1 {
			return Exchange{}, ambiguous(ref, rows)
		}
		h, err := toHash(rows[0].Manifest)
		if err != nil {
			return Exchange{}, err
		}
		return v.Exchange(h, rows[0].Recipient)
	}
	return Exchange{}, fmt.Errorf("find exchange %.80q: %w", ref, ErrNotFound)
}

// whole makes a part match exactly: it is longer than anything that is stored, so the prefix of that length is all of it.
const whole = 1 << 16

// readings lists what a reference may mean, the strictest first. The last part may be a prefix; those before it are whole.
// What no index serves comes last.
func readings(ref string) []func(*View) ([]sqlc.ExchangesByNameRow, error) {
	parts := strings.Split(ref, "/")
	if ref == "" || len(parts) > 3 {
		return nil
	}
	last := parts[len(parts)-1]
	prefix := int32(len([]rune(last)))
	switch len(parts) {
	case 1:
		return []func(*View) ([]sqlc.ExchangesByNameRow, error){
			byID(last), bySender(last, "", 0),
			byPrefix(sqlc.ExchangesByPrefixParams{ID: last, IDLength: prefix}), byPrefix(sqlc.ExchangesByPrefixParams{Sender: last, SenderLength: prefix}),
		}
	case 2:
		return []func(*View) ([]sqlc.ExchangesByNameRow, error){byName(parts[0], last, "", 0), bySender(parts[0], last, prefix)}
	}
	return []func(*View) ([]sqlc.ExchangesByNameRow, error){byName(parts[0], parts[1], last, whole), byName(parts[0], parts[1], last, prefix)}
}

// mostNamed is how many exchanges are read of those that a reference fits: one more than ambiguous lists.
const mostNamed = 6

// byName reads by sender and id, and so much of the recipient.
func byName(sender, id, to string, length int32) func(*View) ([]sqlc.ExchangesByNameRow, error) {
	return func(v *View) ([]sqlc.ExchangesByNameRow, error) {
		return v.q.ExchangesByName(v.ctx, sqlc.ExchangesByNameParams{Sender: sender, ID: id, Recipient: to, RecipientLength: length, Most: mostNamed})
	}
}

func byID(id string) func(*View) ([]sqlc.ExchangesByNameRow, error) {
	return func(v *View) ([]sqlc.ExchangesByNameRow, error) {
		rows, err := v.q.ExchangesByID(v.ctx, sqlc.ExchangesByIDParams{ID: id, Most: mostNamed})
		return named(rows), err
	}
}

// bySender reads by sender, and so much of the id.
func bySender(sender, id string, length int32) func(*View) ([]sqlc.ExchangesByNameRow, error) {
	return func(v *View) ([]sqlc.ExchangesByNameRow, error) {
		rows, err := v.q.ExchangesBySender(v.ctx, sqlc.ExchangesBySenderParams{Sender: sender, ID: id, IDLength: length, Most: mostNamed})
		return named(rows), err
	}
}

func byPrefix(p sqlc.ExchangesByPrefixParams) func(*View) ([]sqlc.ExchangesByNameRow, error) {
	p.Most = mostNamed
	return func(v *View) ([]sqlc.ExchangesByNameRow, error) {
		rows, err := v.q.ExchangesByPrefix(v.ctx, p)
		return named(rows), err
	}
}

// named gives the rows of queries that read the same columns one type.
func named[R sqlc.ExchangesByIDRow | sqlc.ExchangesBySenderRow | sqlc.ExchangesByPrefixRow](rows []R) []sqlc.ExchangesByNameRow {
	list := make([]sqlc.ExchangesByNameRow, len(rows))
	for i, r := range rows {
		list[i] = sqlc.ExchangesByNameRow(r)
	}
	return list
}

func ambiguous(ref string, rows []sqlc.ExchangesByNameRow) error {
	names := make([]string, 0, mostNamed)
	for i, r := range rows {
		if i == mostNamed-1 {
			names = append(names, "…")
			break
		}
		names = append(names, r.Sender+"/"+r.ID+"/"+r.Recipient)
	}
	return fmt.Errorf("%.80q %w: %s", ref, ErrAmbiguous, strings.Join(names, ", "))
}

// PutExchange adds an exchange of a manifest that is there. ErrExists if it is there, in whatever state.
func (tx *Tx) PutExchange(manifest statement.Hash, to string, state State, now time.Time) error {
	n, err := tx.q.InsertExchange(tx.ctx, sqlc.InsertExchangeParams{Manifest: manifest[:], Recipient: to, State: string(state), Updated: now.UnixMicro()})
	if err == nil && n == 0 {
		err = fmt.Errorf("it %w", ErrExists)
	}
	if err != nil {
		return fmt.Errorf("put exchange of %s to %s: %w", manifest.Short(), to, explain(err))
	}
	return nil
}

// SetState moves an exchange to another state. ErrNotFound if there is no such exchange.
func (tx *Tx) SetState(manifest statement.Hash, to string, state State, now time.Time) error {
	n, err := tx.q.SetState(tx.ctx, sqlc.SetStateParams{Manifest: manifest[:], Recipient: to, State: string(state), Updated: now.UnixMicro()})
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("set exchange of %s to %s %s: %w", manifest.Short(), to, state, explain(err))
	}
	return nil
}

// Receipt gives a member's receipt of one kind about a manifest, as it was signed, or ErrNotFound.
func (v *View) Receipt(manifest statement.Hash, member string, kind statement.ReceiptKind) ([]byte, error) {
	return row(v.q.Receipt(v.ctx, sqlc.ReceiptParams{Manifest: manifest[:], Member: member, Kind: string(kind)}))
}

// Receipts gives all receipts of one member about a manifest, as they were signed, in no order that means anything.
func (v *View) Receipts(manifest statement.Hash, member string) ([][]byte, error) {
	return v.q.Receipts(v.ctx, sqlc.ReceiptsParams{Manifest: manifest[:], Member: member})
}

// PutReceipt adds a receipt, ours or a peer's. ErrExists if it is there, ErrConflict if that member issued another receipt of
// the same kind about the same manifest.
func (tx *Tx) PutReceipt(s *statement.Signed[statement.Receipt]) error {
	if err := tx.putStatement(s.Hash, statement.KindReceipt, s.Raw); err != nil {
		return err
	}
	r := s.Terms
	n, err := tx.q.InsertReceipt(tx.ctx, sqlc.InsertReceiptParams{Sha256: s.Hash[:], Manifest: r.Manifest[:], Member: r.From, Kind: string(r.Kind)})
	return tx.placed(n, err, "receipt", s.Hash, func() ([]byte, error) {
		return tx.q.ReceiptHash(tx.ctx, sqlc.ReceiptHashParams{Manifest: r.Manifest[:], Member: r.From, Kind: string(r.Kind)})
	})
}
