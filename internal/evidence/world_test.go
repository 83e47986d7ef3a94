package evidence

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/member"
	"entente.example/internal/statement"
)

var founded = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// at is a time of the story, in minutes after noon of the first day.
func at(minutes int) time.Time { return founded.Add(3*time.Hour + time.Duration(minutes)*time.Minute) }

// now is when the verifier looks.
var now = at(0).AddDate(0, 1, 0)

// world is an alliance whose members really sign, log and witness. Everything in it follows from names, so that it is the same each time.
type world struct {
	t     testing.TB
	names []string
	all   map[string]*party
	h     *member.History
}

// party is a member with its keys and its log.
type party struct {
	tb                                testing.TB
	card                              statement.Card
	statement, recovery, log, witness *statement.Key
	logPQ, witnessPQ                  *checkpoint.Key
	leaves                            [][]byte
	private                           [][]statement.Committed
	hashes                            []tlog.Hash
}

func seedOf(s string) []byte { h := statement.HashBytes([]byte(s)); return h[:] }

// key makes the Ed25519 key of that name from a seed.
func key(t testing.TB, name, seed string) *statement.Key {
	t.Helper()
	vkey, err := note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seedOf(seed)).Public().(ed25519.PublicKey))
	must(t, err)
	hash := strings.Split(vkey, "+")[1]
	k, err := statement.ParseKey("PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seedOf(seed)...)))
	must(t, err)
	return k
}

// pqKey makes the ML-DSA-44 key of that name from a seed.
func pqKey(t testing.TB, name, seed string) *checkpoint.Key {
	t.Helper()
	private, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seedOf("pq "+seed))
	must(t, err)
	public, err := statement.MLDSAKey(name, private.PublicKey().Bytes())
	must(t, err)
	k, err := checkpoint.ParseKey("PRIVATE+KEY+" + name + "+" + strings.Split(public, "+")[1] + "+" + base64.StdEncoding.EncodeToString(append([]byte{6}, private.Bytes()...)))
	must(t, err)
	return k
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t testing.TB, names ...string) *world {
	t.Helper()
	w := &world{t: t, names: names, all: map[string]*party{}}
	charter := statement.Charter{Alliance: "harbour", Version: 1, Created: founded, AdoptBy: founded.AddDate(0, 3, 0), Quorum: statement.QuorumMajority}
	var cards []*statement.Signed[statement.Card]
	var signers []*statement.Key
	for _, name := range names {
		p := newParty(t, name)
		w.all[name] = p
		card := p.sign(t)
		cards, signers = append(cards, card), append(signers, p.statement)
		charter.Members = append(charter.Members, statement.CharterMember{Name: name, Standing: statement.GoodStanding, Statement: p.statement.Public,
			Recovery: p.recovery.Public, Card: card.Hash})
	}
	signed, err := statement.Sign(charter, signers...)
	must(t, err)
	w.h, err = member.Found(signed, cards...)
	must(t, err)
	for _, name := range names {
		w.record(name, statement.Event{Kind: statement.EventCharter, Time: at(-60), Statement: signed.Hash})
	}
	return w
}

func newParty(t testing.TB, name string) *party {
	t.Helper()
	return &party{tb: t,
		statement: key(t, name+"/statement", name+"/statement"), recovery: key(t, name+"/recovery", name+"/recovery"),
		log: key(t, name+"/log/1", name+"/log/1"), witness: key(t, name+"/witness", name+"/witness"),
		logPQ: pqKey(t, name+"/log/1", name+"/log/1"), witnessPQ: pqKey(t, name+"/witness", name+"/witness"),
		card: statement.Card{Member: name, Version: 1, Created: founded, Address: name + ".example:7443", Jurisdiction: "NL",
			CA:      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(name)})),
			Sealing: []statement.SealingKey{{Epoch: 1, Recipient: "age1pq1" + name}}},
	}
}

// sign makes the party's card as it stands.
func (p *party) sign(t testing.TB) *statement.Signed[statement.Card] {
	t.Helper()
	c := p.card
	c.Statement, c.Recovery, c.Log, c.Witness = p.statement.Public, p.recovery.Public, p.log.Public, p.witness.Public
	c.LogMLDSA, c.WitnessMLDSA = p.logPQ.Public, p.witnessPQ.Public
	signed, err := statement.Sign(c, p.statement, p.recovery, p.log, p.witness)
	must(t, err)
	return signed
}

// renew gives a member its next card, created at a time and changed by edit.
func (w *world) renew(name string, created time.Time, edit func(p *party)) {
	w.t.Helper()
	p := w.all[name]
	before := w.h.Cards(name)
	last := before[len(before)-1]
	p.card.Version, p.card.Previous, p.card.Created, p.card.Compromised = last.Terms.Version+1, last.Hash, created, nil
	edit(p)
	slices.SortFunc(p.card.Compromised, func(a, b statement.CompromisedKey) int { return strings.Compare(a.Key, b.Key) })
	card, err := w.h.OpenCard(p.sign(w.t).Raw)
	must(w.t, err)
	w.h, err = w.h.Renew(card)
	must(w.t, err)
}

// amend changes the charter, signed by all that are named.
func (w *world) amend(created time.Time, change statement.Change, concerned string, signers ...string) {
	w.t.Helper()
	var keys []*statement.Key
	for _, s := range signers {
		keys = append(keys, w.all[s].statement)
	}
	signed, err := statement.Sign(statement.Amendment{Alliance: w.h.Alliance(), Version: w.h.Version() + 1, Previous: w.h.Newest(), Created: created,
		AdoptBy: created.AddDate(0, 1, 0), Change: change, Member: concerned, SignedBy: signers}, keys...)
	must(w.t, err)
	a, err := w.h.OpenAmendment(signed.Raw)
	must(w.t, err)
	w.h, err = w.h.Amend(a)
	must(w.t, err)
}

// record appends a leaf to a member's log and gives its index.
func (w *world) record(name string, e statement.Event) int64 {
	w.t.Helper()
	p := w.all[name]
	n := 0
	raw, private, err := e.Leaf(func() [32]byte {
		n++
		return [32]byte(seedOf(fmt.Sprintf("%s %d %d", name, len(p.leaves), n)))
	})
	must(w.t, err)
	index := int64(len(p.leaves))
	hashes, err := tlog.StoredHashes(index, raw, p)
	must(w.t, err)
	p.leaves, p.private, p.hashes = append(p.leaves, raw), append(p.private, private), append(p.hashes, hashes...)
	return index
}

// ReadHashes implements tlog.HashReader.
func (p *party) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		list[i] = p.hashes[at]
	}
	return list, nil
}

// word is a co-signature to be made.
type word struct {
	by string
	at time.Time
}

// checkpoint signs the first size leaves of a member's log.
func (w *world) checkpoint(name string, size int64, signed time.Time, words ...word) []byte {
	w.t.Helper()
	p := w.all[name]
	root, err := tlog.TreeHash(size, p)
	must(w.t, err)
	tree := tlog.Tree{N: size, Hash: root}
	raw, err := checkpoint.Sign(tree, signed, p.log, p.logPQ)
	must(w.t, err)
	var lines [][]byte
	for _, by := range words {
		b := w.all[by.by]
		l, err := checkpoint.Cosign(checkpoint.Text(p.log.Name(), tree), p.log.Name(), tree, by.at, b.witness, b.witnessPQ)
		must(w.t, err)
		lines = append(lines, l)
	}
	raw, err = checkpoint.Join(raw, lines...)
	must(w.t, err)
	return raw
}

// prove gives a leaf with its proof under a checkpoint of the log right after it.
func (w *world) prove(name string, index int64, words ...word) Leaf {
	w.t.Helper()
	p := w.all[name]
	proof, err := tlog.ProveRecord(index+1, index, p)
	must(w.t, err)
	leaf, err := statement.ParseLeaf(p.leaves[index])
	must(w.t, err)
	signed := leaf.Time
	return Leaf{Origin: p.log.Name(), Index: index, Raw: p.leaves[index],
		Proof: checkpoint.Proof{Index: index, Hashes: proof, Checkpoint: w.checkpoint(name, index+1, signed, words...)}.Format()}
}

// document is what the story is about.
const (
	document     = "All quiet in the harbour.\n"
	documentName = "report.txt"
	documentType = "text/plain"
)

var documentSalt = [32]byte(seedOf("salt of the document"))

// story is an exchange from alpha to bravo, and what anybody may want to change about it before it is told.
type story struct {
	id       string
	to       string         // whom the manifest names; everything else is about bravo
	signer   *statement.Key // of the manifest
	created  time.Time
	prose    string
	breach   func(m *statement.Manifest) // of the agreement
	outcome  []statement.ReceiptKind
	expired  bool
	witness  []string      // who co-signs everything
	delay    time.Duration // until they do
	leaveOut string        // whose leaves are left out
	content  bool
}

func (w *world) usual() story {
	return story{id: "01K7XQ3W0V6N2T9R4M5B8C1D2E", to: "bravo", signer: w.all["alpha"].statement, created: at(0), outcome: []statement.ReceiptKind{statement.Stored, statement.Opened},
		witness: []string{"charlie"}, delay: 2 * time.Second}
}

// tell makes the parts of an exchange from alpha to bravo.
func (w *world) tell(s story) Parts {
	w.t.Helper()
	agreement, err := statement.Sign(statement.Agreement{Name: "harbour-watch", Version: 1, Alliance: w.h.Alliance(), Parties: []string{"alpha", "bravo"},
		Purposes: []string{"incident-response"}, Ceiling: "TLP:AMBER", RetainDays: 90, NotBefore: founded, NotAfter: founded.AddDate(2, 0, 0), Prose: s.prose},
		w.all["alpha"].statement, w.all["bravo"].statement)
	must(w.t, err)
	m := statement.Manifest{ID: s.id, From: "alpha", To: []string{s.to}, SealedFor: []statement.Hash{statement.HashBytes([]byte("age1pq1bravo"))}, Charter: w.h.Newest(),
		Agreement: "harbour-watch", AgreementHash: agreement.Hash, Purpose: "incident-response", Label: "TLP:GREEN", Created: s.created,
		DeliverBy: s.created.AddDate(0, 0, 7), RetainUntil: s.created.AddDate(0, 0, 90), ReleasedBy: "spiffe://alpha/person/alice"}
	if s.breach != nil {
		s.breach(&m)
	}
	commitment, err := statement.Inner{Core: m.Core(), Name: documentName, MediaType: documentType}.Commitment(documentSalt, strings.NewReader(document))
	must(w.t, err)
	m.Content = statement.Content{CiphertextHash: statement.HashBytes([]byte("payload")), CiphertextSize: 400, HeaderHash: statement.HashBytes([]byte("header")), Commitment: commitment}
	manifest, err := statement.Sign(m, s.signer)
	must(w.t, err)

	parts := Parts{History: w.h, Manifest: manifest.Raw, Recipient: "bravo", Agreement: agreement.Raw}
	say := func(who string, after time.Duration, e statement.Event) int64 {
		e.Time, e.Manifest, e.ID = s.created.Add(after), manifest.Hash, s.id
		index := w.record(who, e)
		if who != s.leaveOut {
			var words []word
			for _, by := range s.witness {
				if by != who {
					words = append(words, word{by, e.Time.Add(s.delay)})
				}
			}
			parts.Leaves = append(parts.Leaves, w.prove(who, index, words...))
		}
		return index
	}
	released := say("alpha", 0, statement.Event{Kind: statement.EventReleased, Peers: []string{s.to}, Private: []statement.Private{
		{Field: "person", Value: []byte("spiffe://alpha/person/alice")}, {Field: saltField, Value: documentSalt[:]}}})
	if s.content {
		for _, c := range w.all["alpha"].private[released] {
			if c.Field == saltField {
				parts.Opened = []Opening{{"alpha/log/1", released, c}}
			}
		}
	}
	for i, kind := range s.outcome {
		after := time.Duration(i+1) * time.Minute
		a := answers[slices.IndexFunc(answers, func(a answer) bool { return a.receipt == kind })]
		r := statement.Receipt{Kind: kind, From: "bravo", To: "alpha", Manifest: manifest.Hash, ID: s.id, At: s.created.Add(after), Log: "bravo/log/1"}
		e := statement.Event{Kind: a.ours, Peers: []string{"alpha"}}
		if kind == statement.Refused {
			r.Reasons = []statement.Reason{{Set: "base", Rule: "agreement-superseded", Text: "version 1 was replaced", Needs: "a document under version 2"}}
			e.Rules = rules(r.Reasons)
		}
		r.Leaf = say("bravo", after, e)
		receipt, err := statement.Sign(r, w.all["bravo"].statement)
		must(w.t, err)
		parts.Receipts = append(parts.Receipts, receipt.Raw)
		say("alpha", after+time.Second, statement.Event{Kind: a.sent, Receipt: receipt.Hash, Peers: []string{"bravo"}})
	}
	if s.expired {
		say("alpha", m.DeliverBy.Sub(s.created)+time.Minute, statement.Event{Kind: statement.EventExpired, Peers: []string{"bravo"}})
	}
	return parts
}

// build makes the file and fails the test if it is not valid.
func (w *world) build(p Parts) []byte {
	w.t.Helper()
	raw, v, err := p.Build(now)
	if err != nil {
		w.t.Fatalf("%v (%s)", err, v.Why)
	}
	return raw
}

func (w *world) options() Options { return Options{Charter: w.h.Alliance(), Now: now} }
