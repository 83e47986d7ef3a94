package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// What does not match is printed with its exchange, and is a failure that says what to do.
func TestShowReconciliation(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	leaf := func(member string, index int64, kind statement.EventKind) statement.ReconciledLeaf {
		return statement.ReconciledLeaf{Manifest: statement.HashBytes([]byte("m")), Member: member, Leaf: index, Kind: kind, ID: "01K7XQ3W0V6N2T9R4M5B8C1D2E", At: at}
	}
	r := statement.Reconciliation{Parties: []string{"alpha", "bravo"}, Alliance: statement.HashBytes([]byte("charter")), Since: at.Add(-time.Hour), Until: at, Created: at,
		Sides: []statement.Side{
			{Member: "alpha", Log: "alpha/log/1", Size: 40, Root: statement.HashBytes([]byte("a")), Leaves: 2, Matched: 1, Differing: 1},
			{Member: "bravo", Log: "bravo/log/1", Size: 30, Root: statement.HashBytes([]byte("b")), Leaves: 3, Open: 1, Only: 1, Differing: 1},
		},
		Open: []statement.ReconciledLeaf{leaf("bravo", 19, statement.EventOpened)}, Only: []statement.ReconciledLeaf{leaf("bravo", 18, statement.EventReleased)},
		Differing: []statement.ReconciledLeaf{leaf("alpha", 31, statement.EventExpired), leaf("bravo", 17, statement.EventReceived)}}
	for _, json := range []bool{false, true} {
		raw, err := statement.Draft(r)
		if err != nil {
			t.Fatal(err)
		}
		d, err := statement.ParseDraft[statement.Reconciliation](raw)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		p := &program{stdout: &colorprofile.Writer{Forward: &out, Profile: colorprofile.NoTTY}, wrote: &sticky{w: &out}, json: json}
		err = p.showReconciliation(reconcileFlags{with: "bravo"}, d)
		if fault.KindOf(err) != fault.Conflict || exitCode(fault.KindOf(err).String()) != 1 || !strings.Contains(err.Error(), "3 leaves of alpha and bravo do not match") ||
			!strings.Contains(fault.Hint(err), "entente show alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo") {
			t.Errorf("got %v, %s", err, fault.Hint(err))
		}
		want := []string{
			"differing  alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo  leaf 31 of alpha says expired at 2026-11-23 12:00:00Z",
			"differing  alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo  leaf 17 of bravo says received",
			"only  bravo/01K7XQ3W0V6N2T9R4M5B8C1D2E/alpha  leaf 18 of bravo says released",
			"open  alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo  leaf 19 of bravo says opened",
		}
		if json {
			want = []string{`"agrees":false`, `{"exchange":"bravo/01K7XQ3W0V6N2T9R4M5B8C1D2E/alpha","member":"bravo","leaf":18,"kind":"released"`}
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("no %q in\n%s", w, &out)
			}
		}
	}
}
