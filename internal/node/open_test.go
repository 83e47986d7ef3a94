package node_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// inner is an inner header (docs/formats/sealed.md), as a sender writes it.
func inner(core statement.Hash, name string) string {
	return fmt.Sprintf("entente.example/sealed/v1\ncore_sha256 = %q\nsalt = %q\nname = %q\nmedia_type = \"text/plain\"\n\n", core, strings.Repeat("ab", 32), name)
}

// A valid manifest over something that is not its document: it is stored, for nobody could know better, and opening it
// releases nothing and gives its sender one receipt `undecryptable`.
func TestUndecryptable(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("bravo")
	alpha, bob := w.peer("alpha", "bravo"), w.person("bravo")
	long := strings.Repeat("a long document\n", 50_000)
	for name, breakIt := range map[string]func(d *document){
		"the inner header of another manifest": func(d *document) {
			w.reseal(d, []byte(inner(statement.HashBytes([]byte("another")), "a.txt")+long), "bravo")
		},
		"no inner header": func(d *document) { w.reseal(d, []byte(long), "bravo") },
		"nothing sealed":  func(d *document) { w.reseal(d, nil, "bravo") },
		"a bad file name": func(d *document) { w.reseal(d, []byte(inner(d.m.Core(), "../a.txt")+long), "bravo") },
		"no document in it": func(d *document) {
			w.reseal(d, []byte(strings.TrimSuffix(inner(d.m.Core(), "a.txt"), "\n")), "bravo")
		},
		"another commitment": func(d *document) {
			d.m.Content.Commitment = statement.CommitmentPrefix + strings.Repeat("0", 64)
			w.sign(d)
		},
		"another core": func(d *document) { d.m.Label = "TLP:GREEN"; w.sign(d) },
		"cut after a chunk": func(d *document) {
			d.payload = d.payload[:16+3*(64<<10+16)]
			w.resignContent(d)
		},
		"cut within a chunk": func(d *document) { d.payload = d.payload[:len(d.payload)-1]; w.resignContent(d) },
		"something behind":   func(d *document) { d.payload = append(d.payload, 0); w.resignContent(d) },
		"two chunks swapped": func(d *document) {
			const chunk = 64<<10 + 16
			p := bytes.Clone(d.payload)
			copy(p[16:], d.payload[16+chunk:16+2*chunk])
			copy(p[16+chunk:], d.payload[16:16+chunk])
			d.payload = p
			w.resignContent(d)
		},
		"one bit in the last chunk": func(d *document) { d.payload[len(d.payload)-1] ^= 1; w.resignContent(d) },
		"the payload of another header": func(d *document) {
			d.payload = w.document("alpha", []string{"bravo"}, long).payload
			w.resignContent(d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := w.document("alpha", []string{"bravo"}, long)
			breakIt(d)
			raw, err := alpha.deliver(t.Context(), d)
			if err != nil || alpha.receipt(raw, d).Kind != statement.Stored {
				t.Fatalf("%v %s", err, raw)
			}
			before := w.state("bravo")
			for _, text := range []string{why(name), "cannot be decrypted"} {
				got, err := open(t.Context(), bob, d.m.ID)
				if wantFault(t, err, fault.Failed, text); len(got) != 0 {
					t.Errorf("%d bytes were released", len(got))
				}
			}
			after := w.state("bravo")
			if got := after.kinds(len(before.leaves)); got != "undecryptable" || after.exchanges["alpha/"+d.m.ID+"/bravo"] != store.Undecryptable {
				t.Errorf("leaves %q, exchanges %v", got, after.exchanges)
			}
			kinds := w.receipts("bravo", d)
			if strings.Join(kinds, " ") != "stored undecryptable" {
				t.Errorf("receipts %v", kinds)
			}
		})
	}
	w.start("alpha") // it did not send any of this, so it takes none of the receipts
}

// why is what a person reads who opens it first.
func why(name string) string {
	switch name {
	case "the inner header of another manifest", "another core":
		return "cannot be decrypted: document was sealed for another manifest"
	case "another commitment":
		return "cannot be decrypted: plaintext is not the one that the manifest commits to"
	}
	return "cannot be decrypted: document is undecryptable"
}

// receipts lists the kinds of the receipts that a member has signed about a document, in their order.
func (w *world) receipts(m string, d *document) (kinds []string) {
	w.t.Helper()
	out, err := w.person(m).Node().Show(w.t.Context(), &ententev1.ShowRequest{Exchange: d.m.From + "/" + d.m.ID + "/" + m})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range out.GetExchanges()[0].GetReceipts() {
		kinds = append(kinds, r.GetKind())
	}
	return kinds
}

// Bravo forwards to charlie, as its own, what alpha sent to both: a valid manifest of bravo's over the very ciphertext and
// header. Charlie can decrypt it, and still nothing comes out, for the document names alpha's manifest.
func TestRewrapped(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("charlie")
	of := w.document("alpha", []string{"bravo", "charlie"}, "alpha's document")
	forwarded := w.document("bravo", []string{"alpha", "charlie"}, "")
	forwarded.header, forwarded.payload = of.header, of.payload
	forwarded.m.Content = of.m.Content
	w.sign(forwarded)

	bravo, carol := w.peer("bravo", "charlie"), w.person("charlie")
	raw, err := bravo.deliver(t.Context(), forwarded)
	if err != nil || bravo.receipt(raw, forwarded).Kind != statement.Stored {
		t.Fatalf("%v %s", err, raw)
	}
	got, err := open(t.Context(), carol, "bravo/"+forwarded.m.ID+"/charlie")
	if wantFault(t, err, fault.Failed, "sealed for another manifest"); len(got) != 0 {
		t.Errorf("%d bytes were released", len(got))
	}
	if kinds := w.receipts("charlie", forwarded); strings.Join(kinds, " ") != "stored undecryptable" {
		t.Errorf("receipts %v", kinds)
	}
	// Alpha's own delivery is as good as ever, and what bravo did is not laid at its door.
	alpha := w.peer("alpha", "charlie")
	if raw, err := alpha.deliver(t.Context(), of); err != nil || alpha.receipt(raw, of).Kind != statement.Stored {
		t.Fatalf("%v %s", err, raw)
	}
	if got, err := open(t.Context(), carol, "alpha/"+of.m.ID+"/charlie"); err != nil || string(got) != "alpha's document" {
		t.Errorf("opened %q: %v", got, err)
	}
}

// A co-recipient knows the file key, so it can make another payload that decrypts under the unchanged header. On the way
// the signed hash gives it away; on charlie's own disk it does as well.
func TestPayloadReplaced(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("charlie")
	fileKey := random(16)
	d := w.document("alpha", []string{"bravo", "charlie"}, "")
	d.header = headerOf(t, fileKey, w.recipient("bravo"), w.recipient("charlie"))
	d.payload = streamOf(t, fileKey, []byte(inner(d.m.Core(), "a.txt")+"what alpha wrote"))
	w.resignContent(d)
	forged := *d
	forged.payload = streamOf(t, fileKey, []byte(inner(d.m.Core(), "a.txt")+"what bravo wrote"))

	alpha := w.peer("alpha", "charlie")
	_, err := alpha.deliver(t.Context(), &forged)
	wantFault(t, err, fault.Invalid, "the payload is not the one in manifest")
	if raw, err := alpha.deliver(t.Context(), d); err != nil || alpha.receipt(raw, d).Kind != statement.Stored {
		t.Fatalf("%v %s", err, raw)
	}
	w.damaged = true
	w.edit("charlie", fmt.Sprintf("UPDATE manifest SET payload = x'%x'", forged.payload))
	got, err := open(t.Context(), w.person("charlie"), d.m.ID)
	if wantFault(t, err, fault.Failed, "is damaged on this node"); len(got) != 0 {
		t.Errorf("%d bytes were released", len(got))
	}
}

// Damage on our own disk is nobody else's fault: a clear error, no receipt, and audit verify finds it.
func TestDamagedHere(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.damaged = true
	w.start("alpha", "bravo")
	ref := w.send("alpha", submission("bravo"), random(300_000))[0]
	w.await("alpha", ref, "delivered")
	blob := w.files("bravo", "blobs")[0]
	whole, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	before := w.state("bravo")
	flip := func(at int) func() error {
		return func() error {
			b := bytes.Clone(whole)
			b[at] ^= 1
			return os.WriteFile(blob, b, 0o600)
		}
	}
	for name, damage := range map[string]func() error{
		"first bit":  flip(0),
		"last bit":   flip(len(whole) - 1),
		"cut":        func() error { return os.WriteFile(blob, whole[:len(whole)-1], 0o600) },
		"longer":     func() error { return os.WriteFile(blob, append(bytes.Clone(whole), 0), 0o600) },
		"empty":      func() error { return os.WriteFile(blob, nil, 0o600) },
		"moved away": func() error { return os.Remove(blob) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		got, err := open(t.Context(), w.person("bravo"), ref)
		if wantFault(t, err, fault.Failed, "is damaged on this node"); len(got) != 0 || !strings.Contains(fault.Hint(err), "audit verify") {
			t.Errorf("%s: %d bytes were released, hint %q", name, len(got), fault.Hint(err))
		}
		if report, err := w.reader("bravo").VerifyLog(t.Context()); err != nil || report.OK() {
			t.Errorf("%s: audit verify finds nothing: %v", name, err)
		}
	}
	if after := w.state("bravo"); len(after.leaves) != len(before.leaves) {
		t.Errorf("leaves %q", after.kinds(len(before.leaves)))
	}
	if err := os.WriteFile(blob, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t.Context(), w.person("bravo"), ref); err != nil {
		t.Errorf("repaired: %v", err)
	}
}
