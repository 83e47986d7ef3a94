package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/member"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// party is a member that can sign.
type party struct {
	logs                              Keys
	witnessMLDSA                      *checkpoint.Key
	name                              string
	statement, recovery, log, witness *statement.Key
	card                              *statement.Signed[statement.Card]
}

// world is an alliance of three.
type world struct {
	t         testing.TB
	now       time.Time
	parties   map[string]*party
	charter   *statement.Signed[statement.Charter]
	agreement *statement.Signed[statement.Agreement]
	history   *member.History
	ids       int
	// These change what is signed before it is.
	tweakManifest func(*statement.Manifest)
	tweakReceipt  func(*statement.Receipt)
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), parties: map[string]*party{}}
	key := func(name string) *statement.Key {
		return must[*statement.Key](t)(statement.GenerateKey(rand.Reader, name))
	}
	var members []statement.CharterMember
	var signers []*statement.Key
	for _, name := range []string{"alpha", "bravo", "charlie"} {
		p := &party{name: name, statement: key(name + "/statement"), recovery: key(name + "/recovery"), log: key(name + "/log/1"), witness: key(name + "/witness")}
		p.logs = Keys{p.log, must[*checkpoint.Key](t)(checkpoint.GenerateKey(name + "/log/1"))}
		p.witnessMLDSA = must[*checkpoint.Key](t)(checkpoint.GenerateKey(name + "/witness"))
		p.card = must[*statement.Signed[statement.Card]](t)(statement.Sign(statement.Card{Member: name, Version: 1, Created: w.now, Address: name + ".example:7443",
			Statement: p.statement.Public, Recovery: p.recovery.Public, Log: p.log.Public, Witness: p.witness.Public,
			LogMLDSA: p.logs.MLDSA.Public, WitnessMLDSA: p.witnessMLDSA.Public,
			CA:      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("the authority of " + name)})),
			Sealing: []statement.SealingKey{{Epoch: 1, Recipient: "age1pq1" + name}}}, p.statement, p.recovery, p.log, p.witness))
		w.parties[name] = p
		members = append(members, statement.CharterMember{Name: name, Standing: statement.GoodStanding,
			Statement: p.statement.Public, Recovery: p.recovery.Public, Card: p.card.Hash})
		signers = append(signers, p.statement)
	}
	w.charter = must[*statement.Signed[statement.Charter]](t)(statement.Sign(statement.Charter{Alliance: "harbour", Version: 1, Created: w.now,
		AdoptBy: w.now.AddDate(0, 1, 0), Quorum: "more-than-half", Members: members}, signers...))
	var cards []*statement.Signed[statement.Card]
	for _, p := range w.parties {
		cards = append(cards, p.card)
	}
	w.history = must[*member.History](t)(member.Found(w.charter, cards...))
	w.agreement = must[*statement.Signed[statement.Agreement]](t)(statement.Sign(statement.Agreement{Name: "harbour-watch", Version: 1, Alliance: w.charter.Hash,
		Parties: []string{"alpha", "bravo", "charlie"}, Purposes: []string{"incident-response"}, Ceiling: "TLP:AMBER+STRICT", ApprovalAbove: "TLP:AMBER", RetainDays: 90,
		NotBefore: w.now, NotAfter: w.now.AddDate(1, 0, 0), Prose: "We share what concerns the harbour.\n"}, signers...))
	return w
}

// document is a signed manifest with what it is about.
type document struct {
	*statement.Signed[statement.Manifest]
	header, payload, salt []byte
}

func (w *world) document(from string, id string, to ...string) document {
	w.ids++
	if id == "" {
		id = fmt.Sprintf("01K7XQ3W0V6N2T9R4M%08d", w.ids)
	}
	d := document{header: fmt.Appendf(nil, "age header %d", w.ids), payload: bytes.Repeat([]byte{byte(w.ids)}, 100+w.ids%1000), salt: bytes.Repeat([]byte{byte(w.ids)}, 32)}
	m := statement.Manifest{ID: id, From: from, To: to, Charter: w.charter.Hash, Agreement: "harbour-watch", AgreementHash: w.agreement.Hash,
		Purpose: "incident-response", Label: "TLP:AMBER", Created: w.now, DeliverBy: w.now.AddDate(0, 0, 7),
		RetainUntil: w.now.AddDate(0, 0, 30), ReleasedBy: "spiffe://" + from + "/person/alice",
		Content: statement.Content{CiphertextHash: statement.HashBytes(d.payload), CiphertextSize: int64(len(d.payload)), HeaderHash: statement.HashBytes(d.header),
			Commitment: statement.CommitmentPrefix + statement.HashBytes(d.salt).String()}}
	for _, name := range to {
		m.SealedFor = append(m.SealedFor, statement.HashBytes([]byte(name)))
	}
	if w.tweakManifest != nil {
		w.tweakManifest(&m)
	}
	d.Signed = must[*statement.Signed[statement.Manifest]](w.t)(statement.Sign(m, w.parties[from].statement))
	return d
}

// receipt is a peer's receipt, naming some leaf of its own log, or ours naming a leaf of ours.
func (w *world) receipt(kind statement.ReceiptKind, by string, d document, leaf int64) *statement.Signed[statement.Receipt] {
	r := statement.Receipt{Kind: kind, From: by, To: d.Terms.From, Manifest: d.Hash, ID: d.Terms.ID, At: w.now, Log: by + "/log/1", Leaf: leaf}
	if kind == statement.Refused {
		r.Reasons = []statement.Reason{{Set: "base", Rule: "sealed-for", Text: "it is sealed for another key", Needs: "the newest card"}}
	}
	if w.tweakReceipt != nil {
		w.tweakReceipt(&r)
	}
	return must[*statement.Signed[statement.Receipt]](w.t)(statement.Sign(r, w.parties[by].statement))
}

// home is alpha's home, as both a sender and a recipient of documents.
type home struct {
	*world
	dir   string
	db    *store.DB
	blobs *store.Blobs
	log   *Log

	running bool // the home is used and verified at the same time
	// tweak changes an event before it is recorded, as a node would not.
	tweak func(*statement.Event)
}

func (w *world) home() *home {
	h := &home{world: w, dir: w.t.TempDir()}
	h.db = must[*store.DB](w.t)(store.Open(w.t.Context(), h.dir))
	w.t.Cleanup(func() { _ = h.db.Close() })
	h.blobs = must[*store.Blobs](w.t)(store.OpenBlobs(h.dir))
	h.log = must[*Log](w.t)(OpenLog(w.t.Context(), h.db, h.head(), w.parties["alpha"].logs))
	rules := houseRules(w.t)
	h.update(func(tx *store.Tx) error { return tx.PutHouse(rules.Hash, rules.Text) })
	return h
}

// houseRules permit all.
func houseRules(t testing.TB) policy.House {
	t.Helper()
	return must[policy.House](t)(policy.NewHouse(map[string]string{"policy/house.cedar": `@id("all") @reason("all") permit (principal, action, resource);`}))
}

func (h *home) head() string { return filepath.Join(h.dir, "head") }

func (h *home) update(fn func(tx *store.Tx) error) {
	h.t.Helper()
	check(h.t, h.db.Update(h.t.Context(), fn))
}

// steps runs steps until one fails.
func steps(errs ...func() error) error {
	for _, fn := range errs {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

func (h *home) record(tx *store.Tx, e statement.Event) func() error {
	return func() error {
		e.Time = h.now
		if h.tweak != nil {
			h.tweak(&e)
		}
		_, err := tx.Record(e)
		return err
	}
}

func (h *home) blob(d document) {
	h.t.Helper()
	s := must[*store.Staging](h.t)(h.blobs.Stage("document-" + d.Hash.String()))
	_, err := s.Write(d.payload)
	check(h.t, err)
	check(h.t, s.Commit(d.Hash))
	if h.running {
		return
	}
	// Damage that leaves the blob without a name is found at once if the blob is not fresh.
	old := time.Now().Add(-time.Hour)
	check(h.t, os.Chtimes(filepath.Join(h.dir, "blobs", d.Hash.String()[:2], d.Hash.String()), old, old))
}

func (h *home) found() {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		err := steps(func() error { return tx.PutCharter(h.charter) },
			h.record(tx, statement.Event{Kind: statement.EventCharter, Statement: h.charter.Hash}))
		for _, p := range []string{"alpha", "bravo", "charlie"} {
			c := h.parties[p].card
			if err == nil {
				err = steps(func() error { return tx.PutCard(c) },
					h.record(tx, statement.Event{Kind: statement.EventCard, Statement: c.Hash, Peers: []string{p}}))
			}
		}
		return err
	})
	h.update(func(tx *store.Tx) error {
		return steps(func() error { return tx.PutAgreement(h.agreement, h.now) },
			h.record(tx, statement.Event{Kind: statement.EventAgreement, Statement: h.agreement.Hash}))
	})
}

func (h *home) release(to ...string) document {
	h.t.Helper()
	d := h.document("alpha", "", to...)
	h.blob(d)
	h.update(func(tx *store.Tx) error {
		if err := tx.PutManifest(d.Signed, d.header, d.salt, nil); err != nil {
			return err
		}
		for _, p := range to {
			if err := steps(func() error { return tx.PutExchange(d.Hash, p, store.Queued, h.now) },
				func() error {
					return tx.Enqueue(store.Outgoing{Peer: p, Kind: store.OutgoingDocument, Statement: d.Hash, Due: h.now})
				}); err != nil {
				return err
			}
		}
		rules, private := h.decided(policy.Release, d.Terms)
		return h.record(tx, statement.Event{Kind: statement.EventReleased, ID: d.Terms.ID, Manifest: d.Hash, Peers: to, Stage: "release", Rules: rules, Private: private})()
	})
	return d
}

// settle ends an exchange at the sender.
func (h *home) settle(d document, peer string, state store.State, kind statement.EventKind, r *statement.Signed[statement.Receipt]) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		e := statement.Event{Kind: kind, ID: d.Terms.ID, Manifest: d.Hash, Peers: []string{peer}}
		if r != nil {
			for _, reason := range r.Terms.Reasons {
				e.Rules = append(e.Rules, reason.Set+"/"+reason.Rule)
			}
			e.Receipt = r.Hash
			if err := tx.PutReceipt(r); err != nil {
				return err
			}
		}
		if kind != statement.EventConfirmed {
			if err := steps(func() error { return tx.SetState(d.Hash, peer, state, h.now) },
				func() error {
					return tx.Done(store.Outgoing{Peer: peer, Kind: store.OutgoingDocument, Statement: d.Hash})
				}); err != nil {
				return err
			}
		}
		return h.record(tx, e)()
	})
}

// answer records an event of the recipient's with its receipt.
func (h *home) answer(tx *store.Tx, d document, kind statement.ReceiptKind, event statement.EventKind) (*statement.Signed[statement.Receipt], error) {
	e := statement.Event{Kind: event, Time: h.now, ID: d.Terms.ID, Manifest: d.Hash, Peers: []string{d.Terms.From}, Stage: "accept"}
	switch kind {
	case statement.Refused: // by the node itself, which asks no policy then
		e.Rules = []string{"base/sealed-for"}
	case statement.Stored:
		e.Rules, e.Private = h.decided(policy.Accept, d.Terms)
	default:
		e.Stage = "open"
		e.Rules, e.Private = h.decided(policy.Open, d.Terms)
	}
	if h.tweak != nil {
		h.tweak(&e)
	}
	leaf, err := tx.Record(e)
	if err != nil {
		return nil, err
	}
	r := h.receipt(kind, "alpha", d, leaf)
	return r, tx.PutReceipt(r)
}

func (h *home) receive(from string, to ...string) document {
	h.t.Helper()
	d := h.document(from, "", to...)
	h.blob(d)
	h.received(d, nil)
	return d
}

// receiveRow receives a document whose payload stands in its row.
func (h *home) receiveRow(from string, to ...string) document {
	h.t.Helper()
	d := h.document(from, "", to...)
	h.received(d, d.payload)
	return d
}

func (h *home) received(d document, payload []byte) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		_, err := h.answer(tx, d, statement.Stored, statement.EventReceived)
		if err != nil {
			return err
		}
		return steps(func() error { return tx.PutManifest(d.Signed, d.header, nil, payload) }, func() error { return tx.PutExchange(d.Hash, "alpha", store.Stored, h.now) })
	})
}

func (h *home) refuse(d document, taken bool) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		if _, err := h.answer(tx, d, statement.Refused, statement.EventRefused); err != nil {
			return err
		}
		if taken {
			return tx.KeepManifest(d.Signed)
		}
		return steps(func() error { return tx.PutManifest(d.Signed, nil, nil, nil) }, func() error { return tx.PutExchange(d.Hash, "alpha", store.Refused, h.now) })
	})
}

func (h *home) open(d document, kind statement.ReceiptKind, event statement.EventKind, state store.State) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		r, err := h.answer(tx, d, kind, event)
		if err != nil {
			return err
		}
		return steps(func() error { return tx.SetState(d.Hash, "alpha", state, h.now) },
			func() error {
				return tx.Enqueue(store.Outgoing{Peer: d.Terms.From, Kind: store.OutgoingReceipt, Statement: r.Hash, Due: h.now})
			})
	})
}

func (h *home) publish() []byte {
	h.t.Helper()
	return must[[]byte](h.t)(h.log.Publish(h.t.Context()))
}

// populate makes every kind of row and leaf that a home can hold.
func (h *home) populate() {
	h.t.Helper()
	h.found()
	h.publish()
	delivered := h.release("bravo", "charlie")
	h.settle(delivered, "bravo", store.Delivered, statement.EventDelivered, h.receipt(statement.Stored, "bravo", delivered, 4))
	h.settle(delivered, "bravo", store.Delivered, statement.EventConfirmed, h.receipt(statement.Opened, "bravo", delivered, 5))
	h.settle(delivered, "charlie", store.Refused, statement.EventReturned, h.receipt(statement.Refused, "charlie", delivered, 4))
	expired := h.release("charlie")
	h.settle(expired, "charlie", store.Expired, statement.EventExpired, nil)
	h.release("bravo", "charlie") // queued
	h.publish()

	opened := h.receive("bravo", "alpha")
	h.open(opened, statement.Opened, statement.EventOpened, store.Opened)
	broken := h.receive("bravo", "alpha", "charlie")
	h.open(broken, statement.Undecryptable, statement.EventUndecryptable, store.Undecryptable)
	h.receiveRow("charlie", "alpha")
	h.refuse(h.document("charlie", "", "alpha"), false)
	h.refuse(h.document("bravo", opened.Terms.ID, "alpha"), true)
	secret := h.document("alpha", "", "bravo").Terms
	secret.Label, secret.Content = "TLP:RED", statement.Content{}
	h.update(func(tx *store.Tx) error {
		rules, private := h.decided(policy.Release, secret)
		may, again := h.decided(policy.Open, opened.Terms)
		return steps(h.record(tx, statement.Event{Kind: statement.EventDenied, ID: secret.ID, Stage: "release", Rules: rules, Peers: []string{"bravo"}, Private: private}),
			h.record(tx, statement.Event{Kind: statement.EventReopened, Manifest: opened.Hash, ID: opened.Terms.ID, Stage: "open", Rules: may, Private: again}),
			h.record(tx, statement.Event{Kind: statement.EventRejected, Peers: []string{"charlie"}, Private: []statement.Private{{Field: "error", Value: nil}}}))
	})
	h.publish()
	h.waiting()
	h.reconciled()
	h.proposed()
	h.witnessed()
	h.changed()
}

// changed has charlie suspended, and bravo take a new statement key and call the old one compromised.
func (h *home) changed() {
	h.t.Helper()
	alpha, bravo := h.parties["alpha"], h.parties["bravo"]
	amendment := must[*statement.Signed[statement.Amendment]](h.t)(statement.Sign(statement.Amendment{Alliance: h.charter.Hash, Version: 2, Previous: h.charter.Hash,
		Created: h.now, AdoptBy: h.now.AddDate(0, 1, 0), Change: statement.Suspend, Member: "charlie", SignedBy: []string{"alpha", "bravo"}}, alpha.statement, bravo.statement))
	key := must[*statement.Key](h.t)(statement.GenerateKey(rand.Reader, "bravo/statement"))
	c := bravo.card.Terms
	c.Version, c.Previous, c.Created, c.Statement = 2, bravo.card.Hash, h.now.Add(time.Second), key.Public // the amendment is older
	c.Compromised = []statement.CompromisedKey{{Key: bravo.statement.Public, Since: h.now}}
	card := must[*statement.Signed[statement.Card]](h.t)(statement.Sign(c, key, bravo.recovery, bravo.log, bravo.witness))
	h.update(func(tx *store.Tx) error {
		return steps(func() error { return tx.PutAmendment(amendment) },
			h.record(tx, statement.Event{Kind: statement.EventAmended, Statement: amendment.Hash, Peers: []string{"charlie"}}),
			func() error { return tx.PutCard(card) },
			h.record(tx, statement.Event{Kind: statement.EventCard, Statement: card.Hash, Peers: []string{"bravo"}}))
	})
	h.publish()
}

func (h *home) verify() *Report {
	h.t.Helper()
	return must[*Report](h.t)(VerifyHome(context.Background(), h.verification()))
}

// verification is one of everything, some days after everything.
func (h *home) verification() Verification {
	return Verification{DB: h.db, Blobs: h.blobs, HeadDir: h.head(), Keys: h.parties["alpha"].logs.Verifiers(), Now: h.now.AddDate(0, 0, 3)}
}

// decided is what a node puts into a leaf about a decision of alpha's.
func (h *home) decided(stage policy.Stage, m statement.Manifest) (rules []string, private []statement.Private) {
	h.t.Helper()
	alice := h.alice()
	return h.decidedBy(stage, m, &alice, nil)
}

func (h *home) alice() policy.Person {
	return policy.Person{Name: "alice", Roles: []string{policy.Reader, policy.Releaser}, Labels: []string{"TLP:RED"}, TrainedUntil: h.now.AddDate(1, 0, 0)}
}

func (h *home) decidedBy(stage policy.Stage, m statement.Manifest, who, approver *policy.Person) (rules []string, private []statement.Private) {
	h.t.Helper()
	r := policy.Request{Stage: stage, Manifest: m, Agreement: &h.agreement.Terms, AgreementHash: h.agreement.Hash, Newest: 1, History: h.history, Self: "alpha",
		Approver: approver, Now: h.now}
	if stage != policy.Accept {
		r.Person = who
		private = append(private, statement.Private{Field: "person", Value: []byte("spiffe://alpha/person/" + who.Name)})
	}
	r.House = houseRules(h.t)
	d := policy.Decide(r)
	rules, _ = d.Outward(r.Self)
	return rules, append(private, statement.Private{Field: "decision", Value: d.Record})
}

// sound fails the test if there is any problem.
func (h *home) sound() {
	h.t.Helper()
	for _, p := range h.verify().Problems {
		h.t.Errorf("problem: %v", p)
	}
	if h.t.Failed() {
		h.t.FailNow()
	}
}

// witnessed has bravo co-sign alpha's log, and shows that bravo's own log forked.
func (h *home) witnessed() {
	h.t.Helper()
	bravo := h.parties["bravo"]
	raw := h.publish()
	c := must[*checkpoint.Checkpoint](h.t)(checkpoint.Open(raw, h.parties["alpha"].logs.Verifiers()))
	lines := must[[]byte](h.t)(checkpoint.Cosign(checkpoint.Text(c.Origin, c.Tree), c.Origin, c.Tree, h.now, bravo.witness, bravo.witnessMLDSA))
	note := must[[]byte](h.t)(checkpoint.Join(raw, lines))
	one := must[[]byte](h.t)(checkpoint.Sign(tlog.Tree{N: 1}, h.now, bravo.logs.Ed25519, bravo.logs.MLDSA))
	two := must[[]byte](h.t)(checkpoint.Sign(tlog.Tree{N: 1, Hash: tlog.RecordHash(nil)}, h.now, bravo.logs.Ed25519, bravo.logs.MLDSA))
	fork := must[checkpoint.Fork](h.t)(checkpoint.NewFork(one, two)).Format()
	h.update(func(tx *store.Tx) error {
		return steps(func() error { return tx.PutCosigned(store.Cosigned{Size: c.Tree.N, At: h.now, Note: note}) },
			func() error {
				return tx.PutWitness(store.Witness{Name: "bravo/witness", Size: c.Tree.N, At: h.now, Asked: h.now})
			},
			func() error { _, err := tx.PutFork("bravo/log/1", fork); return err },
			h.record(tx, statement.Event{Kind: statement.EventForked, Statement: statement.HashBytes(fork), Peers: []string{"bravo"}}))
	})
	h.publish()
}

// reconciled is what alpha and bravo found when they compared their logs. It still has to reach bravo.
func (h *home) reconciled() {
	h.t.Helper()
	c := must[*checkpoint.Checkpoint](h.t)(checkpoint.Open(h.publish(), h.parties["alpha"].logs.Verifiers()))
	side := func(name string) statement.Side {
		return statement.Side{Member: name, Log: name + "/log/1", Size: c.Tree.N, Root: statement.Hash(c.Tree.Hash)}
	}
	s := must[*statement.Signed[statement.Reconciliation]](h.t)(statement.Sign(statement.Reconciliation{Parties: []string{"alpha", "bravo"}, Alliance: h.charter.Hash,
		Since: h.now.AddDate(0, 0, -1), Until: h.now, Created: h.now, Sides: []statement.Side{side("alpha"), side("bravo")}},
		h.parties["alpha"].statement, h.parties["bravo"].statement))
	h.update(func(tx *store.Tx) error {
		return steps(func() error { return tx.PutReconciliation(s, "bravo") },
			func() error {
				return tx.Enqueue(store.Outgoing{Peer: "bravo", Kind: store.OutgoingReconciliation, Statement: s.Hash, Due: h.now})
			},
			h.record(tx, statement.Event{Kind: statement.EventReconciled, Statement: s.Hash, Peers: []string{"bravo"}}))
	})
}

// proposed has agreements on their way in every state, and notices about some.
func (h *home) proposed() {
	h.t.Helper()
	propose := func(by string, state store.ProposalState, change func(*statement.Agreement), signers ...string) statement.Hash {
		a := h.agreement.Terms
		a.Name = "proposal-" + string(state)
		change(&a)
		raw := must[[]byte](h.t)(statement.Draft(a))
		for _, s := range signers {
			raw = must[[]byte](h.t)(statement.AddSignature(raw, h.parties[s].statement))
		}
		d := must[*statement.Unsigned[statement.Agreement]](h.t)(statement.ParseDraft[statement.Agreement](raw))
		e := statement.Event{Kind: statement.EventProposed, Statement: d.Hash, Peers: []string{by}}
		if by == "alpha" {
			e.Peers, e.Private = []string{"bravo"}, []statement.Private{{Field: "person", Value: []byte("spiffe://alpha/person/alice")}}
		}
		h.update(func(tx *store.Tx) error {
			return steps(func() error {
				return tx.PutProposal(store.Proposal{Hash: d.Hash, Name: a.Name, Version: a.Version, Proposer: by, State: state, At: h.now, Raw: raw})
			}, h.record(tx, e))
		})
		return d.Hash
	}
	notice := func(by, to string, kind statement.NoticeKind, a statement.Agreement, about statement.Hash) *statement.Signed[statement.Notice] {
		n := statement.Notice{Kind: kind, From: by, To: []string{to}, Agreement: a.Name, Version: a.Version, AgreementHash: about, At: h.now, Reason: "it is too long"}
		event := statement.EventDeclined
		if kind == statement.Withdraw {
			n.Ends, event = h.now.AddDate(0, 1, 0), statement.EventWithdrawn
		}
		s := must[*statement.Signed[statement.Notice]](h.t)(statement.Sign(n, h.parties[by].statement))
		h.update(func(tx *store.Tx) error {
			return steps(func() error { return tx.PutNotice(s) }, h.record(tx, statement.Event{Kind: event, Statement: s.Hash, Peers: []string{by}}))
		})
		return s
	}
	none := func(*statement.Agreement) {}
	open := propose("alpha", store.ProposalOpen, none, "alpha")
	concluded := propose("bravo", store.ProposalConcluded, func(a *statement.Agreement) { a.Parties = []string{"alpha", "bravo"} }, "alpha", "bravo")
	h.update(func(tx *store.Tx) error {
		raw := must[[]byte](h.t)(tx.OfAgreement(concluded))
		s := must[*statement.Signed[statement.Agreement]](h.t)(statement.Open[statement.Agreement](raw, h.history.AllVerifiers()))
		return steps(h.record(tx, statement.Event{Kind: statement.EventSigned, Statement: concluded, Peers: []string{"bravo"},
			Private: []statement.Private{{Field: "person", Value: []byte("spiffe://alpha/person/alice")}}}), func() error { return tx.PutAgreement(s, h.now) },
			h.record(tx, statement.Event{Kind: statement.EventAgreement, Statement: concluded}))
	})
	propose("bravo", store.ProposalEnded, func(a *statement.Agreement) { a.Name, a.RetainDays = h.agreement.Terms.Name, 1 }, "bravo")
	declined := h.agreement.Terms
	declined.Name = "proposal-declined"
	notice("alpha", "bravo", statement.Decline, declined, propose("bravo", store.ProposalDeclined, none, "bravo"))
	leaving := notice("alpha", "bravo", statement.Withdraw, h.agreement.Terms, h.agreement.Hash)
	h.update(func(tx *store.Tx) error {
		return steps(func() error {
			return tx.Enqueue(store.Outgoing{Peer: "bravo", Kind: store.OutgoingAgreement, Statement: open, Due: h.now})
		}, func() error {
			return tx.Enqueue(store.Outgoing{Peer: "bravo", Kind: store.OutgoingNotice, Statement: leaving.Hash, Due: h.now})
		})
	})
	h.publish()
}
