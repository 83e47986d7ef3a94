package statement_test

import (
	"bytes"
	"testing"
	"time"

	"entente.example/internal/statement"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestManifestRoundTrip(t *testing.T) {
	t.Parallel()
	key := testKey(t, "alpha/statement")
	m, err := statement.Sign(manifest(), key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := statement.Open[statement.Manifest](m.Raw, known(t, key.Public))
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash != m.Hash || got.Hash != statement.HashBytes(m.Text) {
		t.Errorf("hash %s, want %s", got.Hash, m.Hash)
	}
	core, _, _ := bytes.Cut(m.Text, []byte("\n[content]\n"))
	if want := statement.HashBytes(append(bytes.Clone(core), '\n')); got.Terms.Core() != want {
		t.Errorf("core %s, want %s", got.Terms.Core(), want)
	}
	// One changed byte anywhere is found.
	for i := range m.Raw {
		bad := bytes.Clone(m.Raw)
		bad[i] ^= 1
		if _, err := statement.Open[statement.Manifest](bad, known(t, key.Public)); err == nil {
			t.Fatalf("byte %d changed (%q), and nobody noticed", i, m.Raw[max(0, i-10):i+1])
		}
	}
	// Whoever appends to the text does not write into the note.
	_ = append(m.Text, "x"...)
	if _, err := statement.Open[statement.Manifest](m.Raw, known(t, key.Public)); err != nil {
		t.Error(err)
	}
}

// Every kind of statement opens as itself, and as no other.
func TestKinds(t *testing.T) {
	t.Parallel()
	raws := map[statement.Kind][]byte{
		statement.KindManifest:  signed(t, manifest(), "alpha/statement"),
		statement.KindReceipt:   signed(t, receipt(), "bravo/statement"),
		statement.KindAgreement: signed(t, agreement(), statementKeys("alpha", "bravo", "charlie")...),
		statement.KindCard:      signed(t, card(t, "alpha"), cardKeys("alpha")...),
		statement.KindCharter:   signed(t, charter(t, "alpha", "bravo"), statementKeys("alpha", "bravo")...),
		statement.KindAmendment: signed(t, amendments(t)[0], statementKeys("alpha", "bravo")...),
	}
	all := known(t, public(t, append(cardKeys("alpha"), "bravo/statement", "charlie/statement")...)...)
	for kind, raw := range raws {
		if got, err := statement.KindOf(raw); err != nil || got != kind {
			t.Errorf("kind of a %s: %q, %v", kind, got, err)
		}
		if h, err := statement.HashOf(raw); err != nil || h != statement.HashBytes(raw[:bytes.LastIndex(raw, []byte("\n\n"))+1]) {
			t.Errorf("hash of a %s: %v, %v", kind, h, err)
		}
		for as, err := range map[statement.Kind]error{
			statement.KindManifest: opens[statement.Manifest](raw, all), statement.KindReceipt: opens[statement.Receipt](raw, all),
			statement.KindAgreement: opens[statement.Agreement](raw, all), statement.KindCard: opens[statement.Card](raw, all),
			statement.KindCharter: opens[statement.Charter](raw, all), statement.KindAmendment: opens[statement.Amendment](raw, all),
		} {
			if (err == nil) != (as == kind) {
				t.Errorf("a %s opened as a %s: %v", kind, as, err)
			}
		}
	}
	if k, err := statement.KindOf([]byte("entente.example/manifest/v2\n")); err == nil {
		t.Errorf("a manifest of version 2 is a %s", k)
	}
}

func signed[T statement.Terms](t testing.TB, terms T, names ...string) []byte {
	t.Helper()
	s, err := statement.Sign(terms, testKeys(t, names...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s.Raw
}
