package node_test

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// A newer version of an agreement replaces the older from its first day on, at both ends, and not before.
func TestVersions(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	w.agree(statement.Agreement{Name: "harbour-watch", Version: 2, Parties: []string{"alpha", "bravo"}, NotBefore: time.Now().Add(time.Hour)})
	alpha := w.peer("alpha", "bravo")

	// The second version begins in an hour: until then everything goes on under the first.
	w.await("alpha", w.send("alpha", submission("bravo"), []byte("under version 1"))[0], "delivered")

	w.agree(statement.Agreement{Name: "harbour-watch", Version: 3, Parties: []string{"alpha", "bravo"}})
	d := w.document("alpha", []string{"bravo"}, "still under version 1")
	raw, err := alpha.deliver(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	r, err := statement.Open[statement.Receipt](raw, w.history.Verifiers("bravo"))
	if err != nil || r.Terms.Kind != statement.Refused || r.Terms.Reasons[0].Rule != "agreement-superseded" {
		t.Errorf("a document under a version that was replaced: %v, %v", r, err)
	}
	ref := w.send("alpha", submission("bravo"), []byte("under the newest"))[0]
	w.await("alpha", ref, "delivered")
	out, err := w.person("alpha").Node().Show(t.Context(), &ententev1.ShowRequest{Exchange: ref})
	if err != nil {
		t.Fatal(err)
	}
	m, err := statement.ParseDraft[statement.Manifest](out.GetManifest())
	if err != nil || m.Terms.AgreementHash == w.agreement.Hash {
		t.Errorf("sent under %s, %v", m.Terms.AgreementHash, err)
	}
}

// An id says nothing about who used it: two members' documents under one id are two documents.
func TestShowOfOneIDTwice(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("bravo")
	first := w.document("alpha", []string{"bravo"}, "from alpha")
	second := w.document("charlie", []string{"bravo"}, "from charlie", func(m *statement.Manifest) { m.ID = first.m.ID })
	for name, d := range map[string]*document{"alpha": first, "charlie": second} {
		if _, err := w.peer(name, "bravo").deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.person("bravo").Node().Show(t.Context(), &ententev1.ShowRequest{Exchange: first.m.ID})
	wantFault(t, err, fault.Misused, "fits several exchanges")
	out, err := w.person("bravo").Node().Show(t.Context(), &ententev1.ShowRequest{Exchange: "alpha/" + first.m.ID + "/bravo"})
	if err != nil || len(out.GetExchanges()) != 1 || string(out.GetManifest()) != string(first.raw) {
		t.Errorf("%v, %v", out, err)
	}
}

// Whoever signs a draft must not be told that others have, if they have not.
func TestForgedLinesAreNotSigned(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	alpha, err := w.Open(t.Context(), "alpha")
	if err != nil {
		t.Fatal(err)
	}
	defer alpha.Close()
	draft, err := alpha.DraftAgreement(t.Context(), statement.Agreement{Name: "forged", Version: 1, Parties: []string{"alpha", "bravo"},
		Purposes: []string{"exercise"}, Ceiling: "TLP:GREEN", RetainDays: 1, NotBefore: time.Now(), NotAfter: time.Now().AddDate(0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	other, err := statement.GenerateKey(rand.Reader, "bravo/statement")
	if err != nil {
		t.Fatal(err)
	}
	forged, err := statement.AddSignature(draft, other)
	if err != nil {
		t.Fatal(err)
	}
	var f *fault.Error
	if _, err := alpha.SignAgreement(t.Context(), forged); !errors.As(err, &f) || f.Kind != fault.Invalid {
		t.Errorf("signed beside a forged line: %v", err)
	}
	if _, err := alpha.SignAgreement(t.Context(), draft); err != nil {
		t.Error(err)
	}
}
