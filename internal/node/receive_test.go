package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// offerCase is an offer that alpha makes to bravo, and what must come of it: a refusal, or an error. Whatever it is, there
// is no blob, no staging file, and nothing new but the leaf and the inbox row that are due.
type offerCase struct {
	name    string
	change  func(w *world, d *document)
	refused string     // the rule in bravo's receipt, which has a leaf `refused` and an inbox row
	kind    fault.Kind // of the error, if it is not refused
	text    string     // part of its sentence, or of the reason
	leaf    string     // `rejected`, or none
}

// The checks of docs/design.md, section 4, in their order.
var offerCases = []offerCase{
	// Size.
	{name: "manifest too large", kind: fault.Invalid, text: "must be at most 65536 bytes", leaf: "rejected",
		change: func(_ *world, d *document) { d.raw = bytes.Repeat([]byte("a"), limit.Statement+1) }},
	{name: "header too large", kind: fault.Invalid, text: "must be at most 131072 bytes", leaf: "rejected",
		change: func(_ *world, d *document) { d.header = bytes.Repeat([]byte("a"), limit.Header+1) }},

	// Signature under the peer's key.
	{name: "one byte changed", kind: fault.Invalid, text: "verify signatures", leaf: "rejected",
		change: func(_ *world, d *document) { d.raw = bytes.Replace(d.raw, []byte("TLP:AMBER"), []byte("TLP:GREEN"), 1) }},
	{name: "not signed", kind: fault.Invalid, text: "it is not signed", leaf: "rejected",
		change: func(_ *world, d *document) { d.raw, _, _ = bytes.Cut(d.raw, []byte("— ")) }},
	{name: "key of nobody", kind: fault.Invalid, text: "unknown key alpha/statement+", leaf: "rejected",
		change: func(w *world, d *document) {
			k, err := statement.GenerateKey(rand.Reader, "alpha/statement")
			w.resign(d, k, err)
		}},
	{name: "own key of another purpose", kind: fault.Invalid, text: "unknown key alpha/witness+", leaf: "rejected",
		change: func(w *world, d *document) { w.resign(d, w.keys("alpha").Witness, nil) }},
	{name: "key of another member", kind: fault.Invalid, text: "unknown key charlie/statement+", leaf: "rejected",
		change: func(w *world, d *document) { w.resign(d, w.keys("charlie").Statement, nil) }},
	{name: "key of another member besides", kind: fault.Invalid, text: "unknown key charlie/statement+", leaf: "rejected",
		change: func(w *world, d *document) {
			raw, err := statement.AddSignature(d.raw, w.keys("charlie").Statement)
			if err != nil {
				w.t.Fatal(err)
			}
			d.raw = raw
		}},

	// Strict parse.
	{name: "a comment", kind: fault.Invalid, text: "line 2", leaf: "rejected",
		change: func(w *world, d *document) { w.forge(d, "\nid = ", "\n# hello\nid = ") }},
	{name: "a key in capitals", kind: fault.Invalid, text: "line 10: not of the form", leaf: "rejected",
		change: func(w *world, d *document) { w.forge(d, "\nlabel = ", "\nLabel = ") }},
	{name: "a key twice", kind: fault.Invalid, text: "line 11: key label is already defined", leaf: "rejected",
		change: func(w *world, d *document) { w.forge(d, "\nlabel = ", "\nlabel = \"TLP:CLEAR\"\nlabel = ") }},
	{name: "two keys in the other order", kind: fault.Invalid, text: "not the one rendering of what it says", leaf: "rejected",
		change: func(w *world, d *document) {
			w.forge(d, "purpose = \"incident-response\"\nlabel = \"TLP:AMBER\"", "label = \"TLP:AMBER\"\npurpose = \"incident-response\"")
		}},
	{name: "no label", kind: fault.Invalid, text: "label", leaf: "rejected",
		change: func(w *world, d *document) { w.forge(d, "\nlabel = \"TLP:AMBER\"", "") }},
	{name: "size negative", kind: fault.Invalid, text: "ciphertext_size: -1 is out of bounds", leaf: "rejected",
		change: func(w *world, d *document) { w.forge(d, sizeLine(d), "ciphertext_size = -1") }},
	{name: "size of 2^63-1", kind: fault.Invalid, text: "ciphertext_size: 9223372036854775807 is out of bounds", leaf: "rejected",
		change: func(w *world, d *document) { w.forge(d, sizeLine(d), "ciphertext_size = 9223372036854775807") }},
	{name: "size beyond 64 bits", kind: fault.Invalid, text: "line 18: not a value in its one form", leaf: "rejected",
		change: func(w *world, d *document) { w.forge(d, sizeLine(d), "ciphertext_size = 9223372036854775808") }},

	// From = signer = peer.
	{name: "from another member, signed by the peer", kind: fault.Invalid, text: "must be signed by [charlie/statement]", leaf: "rejected",
		change: func(w *world, d *document) {
			w.forge(d, "from = \"alpha\"", "from = \"charlie\"")
			d.raw = bytes.Replace(d.raw, []byte("spiffe://alpha/"), []byte("spiffe://charlie/"), 1)
			w.resign(d, w.keys("alpha").Statement, nil)
		}},
	{name: "from another member, signed by it", kind: fault.Invalid, text: "unknown key charlie/statement+", leaf: "rejected",
		change: func(w *world, d *document) { *d = *w.document("charlie", []string{"bravo"}, "of charlie") }},

	// Itself in `to`, sealed for a key that it holds.
	{name: "not a recipient", refused: "recipient-here", text: "bravo is not among the recipients",
		change: func(w *world, d *document) { *d = *w.document("alpha", []string{"charlie"}, "for charlie") }},
	{name: "sealed for another key", refused: "sealed-for", text: "sealing key that this member does not hold",
		change: func(w *world, d *document) { d.m.SealedFor[0] = statement.HashBytes([]byte("another key")); w.sign(d) }},

	// Charter.
	{name: "unknown charter", kind: fault.Transient, text: "charter",
		change: func(w *world, d *document) { d.m.Charter = statement.HashBytes([]byte("another charter")); w.sign(d) }},

	// Agreement.
	{name: "unknown agreement", refused: "agreement-known", text: "bravo has no agreement harbour-watch",
		change: func(w *world, d *document) { d.m.AgreementHash = statement.HashBytes([]byte("another")); w.sign(d) }},
	{name: "name of one agreement, hash of another", refused: "agreement-pinned", text: "not the one at hand",
		change: func(w *world, d *document) { d.m.Agreement = "another"; w.sign(d) }},
	{name: "agreement of another alliance", refused: "agreement-alliance", text: "belongs to another alliance",
		change: func(w *world, d *document) { w.under(d, w.foreignAgreement()) }},
	{name: "agreement not yet in force", refused: "agreement-begun", text: "is not in force before",
		change: func(w *world, d *document) {
			w.under(d, w.agree(statement.Agreement{Name: "later", Parties: []string{"alpha", "bravo"}, NotBefore: time.Now().Add(limit.ClockSkew + time.Hour)}))
		}},
	{name: "agreement no longer in force", refused: "agreement-ended", text: "ended",
		change: func(w *world, d *document) {
			w.under(d, w.agree(statement.Agreement{Name: "earlier", Parties: []string{"alpha", "bravo"},
				NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().Add(-limit.ClockSkew - time.Minute)}))
		}},

	// Times.
	{name: "created in the future", kind: fault.Transient, text: "and it is only", change: func(w *world, d *document) {
		d.m.Created = d.m.Created.Add(limit.ClockSkew + time.Minute)
		d.m.DeliverBy = d.m.DeliverBy.Add(time.Hour)
		w.sign(d)
	}},
	{name: "deadline passed", refused: "deadline", text: "it was to be delivered by", change: func(w *world, d *document) {
		d.m.Created, d.m.DeliverBy = d.m.Created.Add(-time.Hour), d.m.Created.Add(-limit.ClockSkew-time.Minute)
		w.sign(d)
	}},
	{name: "retained longer than agreed", refused: "retention-maximum", text: "more than the 90 days",
		change: func(w *world, d *document) { d.m.RetainUntil = d.m.Created.AddDate(0, 0, 91); w.sign(d) }},
	{name: "to be delivered after retention", refused: "times-ordered", text: "not in this order",
		change: func(w *world, d *document) { d.m.RetainUntil = d.m.DeliverBy.Add(-time.Minute); w.sign(d) }},

	// The rest of the policies.
	{name: "label unknown", refused: "label-known", text: "label SECRET is not in the label scheme",
		change: func(w *world, d *document) { d.m.Label = "SECRET"; w.sign(d) }},
	{name: "label without an equivalent", refused: "label-equivalent", text: "does not say what NAVY:OPEN means in its common label scheme TLP",
		change: func(w *world, d *document) { d.m.Label = "NAVY:OPEN"; w.under(d, w.harmonise("harmonised-one")) }},
	{name: "label that means more than the ceiling", refused: "label-ceiling", text: "label NAVY:SECRET is above the agreement's ceiling TLP:AMBER",
		change: func(w *world, d *document) { d.m.Label = "NAVY:SECRET"; w.under(d, w.harmonise("harmonised-two")) }},
	{name: "label in another spelling", refused: "label-known", text: "one spelling",
		change: func(w *world, d *document) {
			d.m.Label = "NAVY:RESTRICTED/NUCLEAR/CRYPTO"
			w.under(d, w.harmonise("harmonised-three"))
		}},
	{name: "label of a scheme of another agreement", refused: "label-known", text: `there is no label scheme "NAVY" here, but TLP`,
		change: func(w *world, d *document) { d.m.Label = "NAVY:RESTRICTED"; w.sign(d) }},
	{name: "label above the ceiling", refused: "label-ceiling", text: "above the agreement's ceiling TLP:AMBER",
		change: func(w *world, d *document) { d.m.Label = "TLP:RED"; w.sign(d) }},
	{name: "purpose not agreed", refused: "purpose-listed", text: "does not list the purpose curiosity",
		change: func(w *world, d *document) { d.m.Purpose = "curiosity"; w.sign(d) }},
	{name: "sender is no party", refused: "sender-party", text: "the sender alpha is not a party",
		change: func(w *world, d *document) {
			w.under(d, w.agree(statement.Agreement{Name: "without-alpha", Parties: []string{"bravo", "charlie"}}))
		}},
	{name: "another recipient is no party", refused: "recipients-party", text: "not a party to agreement two-only: charlie",
		change: func(w *world, d *document) {
			*d = *w.document("alpha", []string{"bravo", "charlie"}, "for both")
			w.under(d, w.agree(statement.Agreement{Name: "two-only", Parties: []string{"alpha", "bravo"}}))
		}},

	// Quota.
	{name: "larger than the quota", kind: fault.Transient, text: "the quota of alpha is used up",
		change: func(w *world, d *document) { d.m.Content.CiphertextSize = limit.PeerStaged + 1; w.sign(d) }},

	// Header hash, stanza types and count, the header opens for us.
	{name: "another header than signed", kind: fault.Invalid, text: "header is not the one in the manifest", leaf: "rejected",
		change: func(w *world, d *document) { d.header = w.document("alpha", []string{"bravo"}, "another").header }},
	{name: "a classic stanza besides", refused: "header", text: "stanzas for 1 recipients",
		change: func(w *world, d *document) { w.reheader(d, w.recipient("bravo"), classic(w.t)) }},
	{name: "a classic stanza instead of another recipient's", refused: "header", text: "stanza 2 is not a hybrid one",
		change: func(w *world, d *document) {
			*d = *w.document("alpha", []string{"bravo", "charlie"}, "for both")
			w.reheader(d, w.recipient("bravo"), classic(w.t))
		}},
	{name: "a stanza too many", refused: "header", text: "2 stanzas for 1 recipients",
		change: func(w *world, d *document) { w.reheader(d, w.recipient("bravo"), w.recipient("charlie")) }},
	{name: "a stanza too few", refused: "header", text: "1 stanzas for 2 recipients",
		change: func(w *world, d *document) {
			*d = *w.document("alpha", []string{"bravo", "charlie"}, "for both")
			w.reheader(d, w.recipient("bravo"))
		}},
	{name: "a header that opens for another", refused: "header", text: "document is not sealed for us",
		change: func(w *world, d *document) { w.reheader(d, w.recipient("charlie")) }},
	{name: "a header with a wrong MAC", refused: "header", text: "MAC is wrong",
		change: func(w *world, d *document) {
			other := w.document("alpha", []string{"bravo"}, "another")
			at, at2 := bytes.LastIndex(d.header, []byte("\n---")), bytes.LastIndex(other.header, []byte("\n---"))
			d.header = slices.Concat(d.header[:at], other.header[at2:])
			d.m.Content.HeaderHash = statement.HashBytes(d.header)
			w.sign(d)
		}},
	{name: "a header that is none", refused: "header", text: "malformed age header",
		change: func(w *world, d *document) {
			d.header = []byte("hello\n")
			d.m.Content.HeaderHash = statement.HashBytes(d.header)
			w.sign(d)
		}},
}

func TestOffers(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	for _, c := range offerCases {
		t.Run(c.name, func(t *testing.T) {
			d := w.document("alpha", []string{"bravo"}, "for bravo")
			c.change(w, d)
			before := w.state("bravo")
			raw, err := alpha.deliver(t.Context(), d)
			after := w.state("bravo")
			if c.refused == "" {
				wantFault(t, err, c.kind, c.text)
			} else {
				c.checkRefusal(t, alpha, d, raw, err, after)
			}
			c.checkNothingElse(t, d, before, after)
		})
	}
}

func (c offerCase) checkRefusal(t *testing.T, p *peer, d *document, raw []byte, err error, after state) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r := p.receipt(raw, d)
	last := after.leaves[len(after.leaves)-1]
	if r.Kind != statement.Refused || r.Reasons[0].Rule != c.refused || !strings.Contains(r.Reasons[0].Text, c.text) {
		t.Errorf("receipt %s %+v, want refused by %s with %q", r.Kind, r.Reasons, c.refused, c.text)
	}
	if r.Leaf != int64(len(after.leaves)-1) || last.Kind != statement.EventRefused || *last.Manifest != r.Manifest || last.Rules[0] != "base/"+c.refused {
		t.Errorf("receipt names leaf %d, and the last of %d is %+v", r.Leaf, len(after.leaves), last)
	}
}

func (c offerCase) checkNothingElse(t *testing.T, d *document, before, after state) {
	t.Helper()
	leaf, rows := c.leaf, 0
	if c.refused != "" {
		leaf, rows = "refused", 1
	}
	if got := after.kinds(len(before.leaves)); got != leaf {
		t.Errorf("new leaves %q, want %q", got, leaf)
	}
	if len(after.exchanges)-len(before.exchanges) != rows {
		t.Errorf("exchanges before %v, after %v", before.exchanges, after.exchanges)
	}
	if ref := "alpha/" + d.m.ID + "/bravo"; rows == 1 && after.exchanges[ref] != store.Refused {
		t.Errorf("%s is %q", ref, after.exchanges[ref])
	}
	if len(after.blobs) != len(before.blobs) || len(after.staging) != 0 {
		t.Errorf("blobs %v, staging %v", after.blobs, after.staging)
	}
}

func sizeLine(d *document) string {
	return fmt.Sprintf("ciphertext_size = %d", d.m.Content.CiphertextSize)
}

// resign replaces all signature lines by one.
func (w *world) resign(d *document, k *statement.Key, err error) {
	w.t.Helper()
	text, _, _ := bytes.Cut(d.raw, []byte("\n\n— "))
	signed, err2 := note.Sign(&note.Note{Text: string(text) + "\n"}, k)
	if err != nil || err2 != nil {
		w.t.Fatal(err, err2)
	}
	d.raw = signed
}

// under puts a document under another agreement.
func (w *world) under(d *document, a *statement.Signed[statement.Agreement]) {
	w.t.Helper()
	d.m.Agreement, d.m.AgreementHash = a.Terms.Name, a.Hash
	w.sign(d)
}

// foreignAgreement is in bravo's database although it is of another alliance, which adopting it would refuse.
func (w *world) foreignAgreement() *statement.Signed[statement.Agreement] {
	w.t.Helper()
	a := w.agreement.Terms
	a.Name, a.Parties, a.Alliance = "foreign", []string{"alpha", "bravo"}, statement.HashBytes([]byte("another alliance"))
	s, err := statement.Sign(a, w.keys("alpha").Statement, w.keys("bravo").Statement)
	if err != nil {
		w.t.Fatal(err)
	}
	w.update("bravo", func(tx *store.Tx) error {
		if err := tx.PutAgreement(s, time.Now()); err != nil {
			return err
		}
		_, err := tx.Record(statement.Event{Kind: statement.EventAgreement, Time: time.Now(), Statement: s.Hash, Peers: []string{"alpha"}})
		return err
	})
	return s
}

// update changes a member's database beside its node.
func (w *world) update(m string, fn func(*store.Tx) error) {
	w.t.Helper()
	h, err := node.OpenHome(w.t.Context(), w.Home(m))
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	if err := h.DB.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
	if _, err := h.Log.Publish(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// A manifest is good only on its signer's own connection.
func TestReplayedByAnother(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("bravo")
	d := w.document("alpha", []string{"bravo", "charlie"}, "of alpha")
	before := w.state("bravo")
	_, err := w.peer("charlie", "bravo").deliver(t.Context(), d)
	wantFault(t, err, fault.Invalid, "unknown key alpha/statement+")
	own := w.document("bravo", []string{"alpha", "charlie"}, "of bravo itself")
	_, err = w.peer("alpha", "bravo").deliver(t.Context(), own)
	wantFault(t, err, fault.Invalid, "unknown key bravo/statement+")
	after := w.state("bravo")
	if got := after.kinds(len(before.leaves)); got != "rejected rejected" || len(after.exchanges) != 0 {
		t.Errorf("leaves %q, exchanges %v", got, after.exchanges)
	}
	if got := after.leaves[len(after.leaves)-2].Peers; !slices.Equal(got, []string{"charlie"}) {
		t.Errorf("the leaf blames %v", got)
	}
}

// Of two manifests with one id the first counts, also if both are offered before either is complete.
func TestIDTwice(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("bravo")
	alpha := w.peer("alpha", "bravo")
	id := client.NewID()
	first := w.document("alpha", []string{"bravo"}, "the first", func(m *statement.Manifest) { m.ID = id })
	second := w.document("alpha", []string{"bravo"}, "the second", func(m *statement.Manifest) { m.ID = id })

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, answer, err := alpha.offer(ctx, first)
	if err != nil || answer.GetReceipt() != nil {
		t.Fatal(answer, err)
	}
	_, err = alpha.deliver(t.Context(), second)
	wantFault(t, err, fault.Transient, "being delivered right now")
	if err := s.Send(chunkOf(first.payload)); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if answer, err = s.Recv(); err != nil || alpha.receipt(answer.GetReceipt(), first).Kind != statement.Stored {
		t.Fatal(answer, err)
	}
	before := w.state("bravo")
	raw, err := alpha.deliver(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if r := alpha.receipt(raw, second); r.Kind != statement.Refused || r.Reasons[0].Rule != "id-unique" {
		t.Errorf("the second got %s %+v", r.Kind, r.Reasons)
	}
	again, err := alpha.deliver(t.Context(), second)
	if err != nil || !bytes.Equal(raw, again) {
		t.Errorf("the second again got another receipt: %v\n%s\n%s", err, raw, again)
	}
	after := w.state("bravo")
	if got := after.kinds(len(before.leaves)); got != "refused" || len(after.exchanges) != 1 || len(after.blobs) != 1 {
		t.Errorf("leaves %q, exchanges %v, blobs %v", got, after.exchanges, after.blobs)
	}
	got, err := open(t.Context(), w.person("bravo"), "alpha/"+id+"/bravo")
	if err != nil || string(got) != "the first" {
		t.Errorf("opened %q: %v", got, err)
	}
}
