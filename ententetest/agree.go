package ententetest

import (
	"slices"
	"testing"
	"time"

	"entente.example/internal/lab"
)

// Agreement is what its parties may share. A field that is left empty gets a sensible value.
type Agreement struct {
	Name       string    // one lower-case word; empty: "agreement"
	Version    int64     // 0: 1. A higher version replaces a lower one of the same name
	Parties    []string  // empty: all members
	Purposes   []string  // words that a document may be sent for; empty: "exercise"
	Ceiling    string    // the highest label, such as "TLP:AMBER"; empty: "TLP:AMBER"
	RetainDays int64     // how many days a recipient may keep a document at most; 0: 90
	From       time.Time // in force from then on; zero: since a day, so that a clock may be set back
	Until      time.Time // in force until then; zero: a year after From
	Prose      string    // what the parties say to each other in words, ending with a line feed, or empty
}

// Agree has the parties draft, sign and adopt an agreement. Their nodes may run or not, and need not be restarted.
func (w *World) Agree(t testing.TB, a Agreement) {
	t.Helper()
	a = w.complete(a)
	_, err := w.world.Agree(t.Context(), lab.Agreement{Name: a.Name, Version: a.Version, Parties: slices.Clone(a.Parties), Purposes: slices.Clone(a.Purposes),
		Ceiling: a.Ceiling, RetainDays: a.RetainDays, NotBefore: a.From, NotAfter: a.Until, Prose: a.Prose})
	if err != nil {
		t.Fatalf("agree on %s: %v", a.Name, explain(err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agreements = append(w.agreements, a)
}

func (w *World) complete(a Agreement) Agreement {
	if a.Name == "" {
		a.Name = "agreement"
	}
	if a.Version == 0 {
		a.Version = 1
	}
	if len(a.Parties) == 0 {
		a.Parties = w.world.Names
	}
	if len(a.Purposes) == 0 {
		a.Purposes = []string{"exercise"}
	}
	if a.Ceiling == "" {
		a.Ceiling = "TLP:AMBER"
	}
	if a.RetainDays == 0 {
		a.RetainDays = 90
	}
	if a.From.IsZero() {
		a.From = time.Now().Add(-lab.Backdated)
	}
	if a.Until.IsZero() {
		a.Until = a.From.AddDate(1, 0, 0)
	}
	a.From, a.Until = a.From.UTC().Truncate(time.Second), a.Until.UTC().Truncate(time.Second)
	return a
}

// agreement finds the one to send under: the newest of that name or, without a name, the newest that all of these are
// parties to.
func (w *World) agreement(name string, members ...string) (Agreement, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range slices.Backward(w.agreements) {
		if name != "" && a.Name == name {
			return a, true
		}
		stranger := func(m string) bool { return !slices.Contains(a.Parties, m) }
		if name == "" && !slices.ContainsFunc(members, stranger) {
			return a, true
		}
	}
	return Agreement{}, false
}
