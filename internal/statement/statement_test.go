package statement_test

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/statement"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB, name string) *statement.Key {
	t.Helper()
	k, err := statement.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func verifiers(t testing.TB, keys ...*statement.Key) note.Verifiers {
	t.Helper()
	var list []note.Verifier
	for _, k := range keys {
		v, err := note.NewVerifier(k.Public)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return note.VerifierList(list...)
}

func manifest() statement.Manifest {
	return statement.Manifest{
		ID: "01K7XQ3W0V6N2T9R4M5B8C1D2E", From: "alpha", To: []string{"bravo", "charlie"},
		SealedFor: []statement.Hash{statement.HashBytes([]byte("b")), statement.HashBytes([]byte("c"))},
		Charter:   statement.HashBytes([]byte("charter")), Agreement: "harbour-watch", AgreementHash: statement.HashBytes([]byte("agreement")),
		Purpose: "incident-response", Label: "TLP:AMBER", Created: noon, DeliverBy: noon.AddDate(0, 0, 7), RetainUntil: noon.AddDate(0, 0, 90),
		ReleasedBy: "spiffe://alpha/person/alice",
		Content: statement.Content{CiphertextHash: statement.HashBytes(nil), CiphertextSize: 2199023, HeaderHash: statement.HashBytes([]byte("h")),
			Commitment: statement.CommitmentPrefix + strings.Repeat("ab", 32)},
	}
}

func TestManifestRoundTrip(t *testing.T) {
	t.Parallel()
	key := newKey(t, "alpha/statement")
	m, err := statement.Sign(manifest(), key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := statement.Open[statement.Manifest](m.Raw, verifiers(t, key))
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash != m.Hash || got.Hash != statement.HashBytes(m.Text) {
		t.Errorf("hash %s, want %s", got.Hash, m.Hash)
	}
	core, _, _ := bytes.Cut(m.Text, []byte("\n[content]\n"))
	if want := statement.HashBytes(append(core, '\n')); got.Terms.Core() != want {
		t.Errorf("core %s, want %s", got.Terms.Core(), want)
	}
	// One changed byte anywhere is found.
	for i := range m.Raw {
		bad := bytes.Clone(m.Raw)
		bad[i] ^= 1
		if _, err := statement.Open[statement.Manifest](bad, verifiers(t, key)); err == nil {
			t.Fatalf("byte %d changed (%q), and nobody noticed", i, m.Raw[max(0, i-10):i+1])
		}
	}
}
