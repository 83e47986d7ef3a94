package node_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// evidence has a person make evidence, and verifies it as a stranger does.
func (w *world) evidence(m, person, ref string, content bool, o evidence.Options) (v evidence.Verdict, missing string, err error) {
	w.t.Helper()
	var file bytes.Buffer
	done, err := w.as(m, person).Evidence(w.t.Context(), ref, content, &file)
	if err != nil {
		return v, "", err
	}
	o.Charter, o.Now = w.history.Alliance(), time.Now()
	return evidence.Verify(file.Bytes(), o), done.GetOtherSideMissing(), nil
}

func claims(v evidence.Verdict) string {
	var list []string
	for _, c := range v.Claims {
		list = append(list, c.Claim)
	}
	return strings.Join(list, " ")
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.staff("alpha", "carla", "auditor")
	w.staff("alpha", "rita", "reader")
	w.staff("alpha", "adam", "admin")
	w.start("alpha", "bravo", "charlie")
	w.cosigned("alpha")
	w.cosigned("bravo")
	ref := w.send("alpha", submission("bravo"), []byte("All quiet.\n"))[0]
	w.await("alpha", ref, "delivered")
	if _, err := open(t.Context(), w.person("bravo"), ref); err != nil {
		t.Fatal(err)
	}
	w.await("alpha", ref, "opened")
	// What bravo refuses: a document that alpha's own rules would not have let out.
	refused := w.document("alpha", []string{"bravo"}, "too much", func(m *statement.Manifest) { m.Label = "TLP:RED" })
	if _, answer, err := w.peer("alpha", "bravo").offer(t.Context(), refused); err != nil || answer.GetReceipt() == nil {
		t.Fatalf("%v %v", answer, err)
	}

	for _, c := range []struct {
		name, member, person, ref string
		content                   bool
		claims                    string
	}{
		{"the sender", "alpha", w.Person("alpha"), ref, false, "released stored delivered opened"},
		{"an auditor, with the content", "alpha", "carla", ref, true, "released stored delivered opened content"},
		{"the recipient", "bravo", w.Person("bravo"), ref, false, "released stored delivered opened"},
		{"refused", "bravo", w.Person("bravo"), "alpha/" + refused.m.ID + "/bravo", false, "refused"},
	} {
		o := evidence.Options{}
		if c.content {
			o.Document, o.Name, o.MediaType = strings.NewReader("All quiet.\n"), "report.txt", "text/plain"
		}
		before := w.state(c.member)
		v, missing, err := w.evidence(c.member, c.person, c.ref, c.content, o)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !v.Valid || claims(v) != c.claims || (missing != "") != (c.name == "refused") {
			t.Errorf("%s: valid %v %q %s; missing %q", c.name, v.Valid, claims(v), v.Why, missing)
		}
		for _, claim := range v.Claims {
			if claim.Since.IsZero() {
				t.Errorf("%s: %s is not witnessed: %+v", c.name, claim.Claim, claim)
			}
		}
		if got := w.state(c.member).kinds(len(before.leaves)); got != string(statement.EventExported) {
			t.Errorf("%s: leaves %q", c.name, got)
		}
	}

	for _, c := range []struct {
		name, member, person string
		content              bool
		kind                 fault.Kind
		text                 string
	}{
		{"without a role", "alpha", "adam", false, fault.Forbidden, "may not export"},
		{"a reader, the content", "alpha", "rita", true, fault.Forbidden, "may not export"},
		{"the recipient, the content", "bravo", w.Person("bravo"), true, fault.Misused, "only the sender"},
		{"not a party", "charlie", w.Person("charlie"), false, fault.NotFound, ""},
	} {
		before := w.state(c.member)
		_, _, err := w.evidence(c.member, c.person, ref, c.content, evidence.Options{})
		wantFault(t, err, c.kind, c.text)
		if after := w.state(c.member); len(after.leaves) != len(before.leaves) {
			t.Errorf("%s: a leaf was written", c.name)
		}
	}

	// Without bravo there is less in it, and it says so.
	w.stop("bravo")
	v, missing, err := w.evidence("alpha", "carla", ref, false, evidence.Options{})
	if err != nil || !v.Valid || !strings.Contains(missing, "the log of bravo is not in it") {
		t.Errorf("%v %s %q", err, v.Why, missing)
	}
	if !slices.ContainsFunc(v.NotProved, func(n string) bool { return strings.Contains(n, "What bravo recorded") }) {
		t.Errorf("it does not say what is missing: %q", v.NotProved)
	}
}

// Prove answers the other party of exactly that exchange, and says the same to everybody else.
func TestProve(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("alpha", "bravo", "charlie")
	ref := w.send("alpha", submission("bravo"), []byte("one"))[0]
	w.await("alpha", ref, "delivered")
	both := w.send("alpha", submission("bravo", "charlie"), []byte("two"))[0]
	w.await("alpha", both, "delivered")
	hash := func(ref string) []byte {
		var e store.Exchange
		if err := w.reader("alpha").DB.View(t.Context(), func(v *store.View) (err error) { e, err = v.FindExchange(ref); return err }); err != nil {
			t.Fatal(err)
		}
		return e.Manifest[:]
	}
	other := statement.HashBytes([]byte("nothing"))
	for _, c := range []struct {
		name, caller, callee string
		manifest             []byte
		kinds                string // empty: not found
	}{
		{"the sender asks", "alpha", "bravo", hash(ref), "agreement received"},
		{"the recipient asks", "bravo", "alpha", hash(ref), "agreement released delivered"},
		{"one of two recipients asks", "charlie", "alpha", hash(both), "agreement released delivered"},
		{"a recipient asks another", "charlie", "bravo", hash(both), ""},
		{"a stranger asks the sender", "charlie", "alpha", hash(ref), ""},
		{"a stranger asks the recipient", "charlie", "bravo", hash(ref), ""},
		{"about nothing", "alpha", "bravo", other[:], ""},
	} {
		out, err := w.peer(c.caller, c.callee).conn.Prove(t.Context(), &ententev1.ProveRequest{ManifestSha256: c.manifest})
		if c.kinds == "" {
			if err == nil || fault.KindOf(err) != fault.NotFound || out.GetLeaves() != nil {
				t.Errorf("%s: %v %v", c.name, out, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var kinds []string
		for _, l := range out.GetLeaves() {
			leaf, err := statement.ParseLeaf(l.GetLeaf())
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, string(leaf.Kind))
		}
		if got := strings.Join(kinds, " "); got != c.kinds {
			t.Errorf("%s: %q, want %q", c.name, got, c.kinds)
		}
	}
}
