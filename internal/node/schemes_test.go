package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// harmonise has alpha and bravo agree on what the labels of a navy mean.
func (w *world) harmonise(name string) *statement.Signed[statement.Agreement] {
	w.t.Helper()
	return w.agree(statement.Agreement{Name: name, Parties: []string{"alpha", "bravo"},
		Schemes:     []statement.Scheme{{Name: "NAVY", Levels: []string{"OPEN", "RESTRICTED", "SECRET"}, Restrictive: []string{"CRYPTO", "NUCLEAR"}, Permissive: []string{}}},
		Equivalents: []statement.Equivalent{{Label: "NAVY:RESTRICTED", Means: "TLP:AMBER"}, {Label: "NAVY:SECRET", Means: "TLP:RED"}}})
}

// What people.toml says decides at both ends, and both sides see what a label means.
func TestClearedAndTrained(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.harmonise("harmonised")
	w.start("alpha", "bravo")
	someone := func(name, role, label string, trained time.Time) string {
		return "[[person]]\nname = \"" + name + "\"\nroles = [\"" + role + "\"]\nlabels = [" + label + "]\ntrained_until = " + trained.Format(time.DateOnly) + "\n"
	}
	today := time.Now().UTC()
	sub := func() *ententev1.Submission {
		s := submission("bravo")
		s.Agreement, s.Label = "harmonised", "NAVY:RESTRICTED/CRYPTO"
		return s
	}
	const enough = `"NAVY:SECRET/CRYPTO/NUCLEAR"`
	w.setPeople("alpha", someone("alice", "releaser", enough, today))
	ref := w.send("alpha", sub(), []byte("a document"))[0]
	w.await("alpha", ref, "delivered")
	for name, c := range map[string]struct {
		label   string
		trained time.Time
		rule    string
	}{
		"nothing":                      {``, today, "cleared"},
		"as much in TLP, no category":  {`"TLP:RED"`, today, "cleared"},
		"another category":             {`"NAVY:SECRET/NUCLEAR"`, today, "cleared"},
		"a lower level":                {`"NAVY:OPEN/CRYPTO", "TLP:RED"`, today, "cleared"},
		"a scheme that nobody knows":   {`"MARS:TOP"`, today, "cleared"},
		"trained until yesterday":      {enough, today.AddDate(0, 0, -1), "trained"},
		"enough, and trained for long": {enough, today.AddDate(9, 0, 0), ""},
	} {
		w.setPeople("alpha", someone("alice", "releaser", c.label, c.trained))
		w.setPeople("bravo", someone("bob", "reader", c.label, c.trained))
		_, sending := w.person("alpha").Send(t.Context(), sub(), strings.NewReader("another"))
		_, opening := open(t.Context(), w.person("bravo"), ref)
		for doing, err := range map[string]error{"send": sending, "open": opening} {
			if c.rule == "" {
				if err != nil {
					t.Errorf("%s, %s: %v", name, doing, err)
				}
				continue
			}
			wantFault(t, err, fault.Refused, "policy refuses")
			if f, ok := err.(*fault.Error); !ok || len(f.Reasons) != 1 || f.Reasons[0].Rule != c.rule { //nolint:errorlint // the client gives it as it is
				t.Errorf("%s, %s: %+v", name, doing, f)
			}
		}
	}
	for m, direction := range map[string]ententev1.Direction{"alpha": ententev1.Direction_DIRECTION_OUT, "bravo": ententev1.Direction_DIRECTION_IN} {
		list, err := w.person(m).Node().List(t.Context(), &ententev1.ListRequest{Direction: direction})
		if err != nil || len(list.GetExchanges()) == 0 || list.GetExchanges()[0].GetLabelMeans() != "TLP:AMBER" {
			t.Errorf("%s sees %v, %v", m, list.GetExchanges(), err)
		}
	}
}

// A member that keeps a scheme in its home signs no agreement that says something else about it, by hand or over the wire.
func TestOwnScheme(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	dir := filepath.Join(w.Home("bravo"), node.SchemesDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	agreement := statement.Agreement{Name: "harmonised", Version: 1, Parties: []string{"alpha", "bravo"}, Purposes: []string{"exercise"}, Ceiling: "TLP:AMBER", RetainDays: 1,
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0), Schemes: []statement.Scheme{{Name: "NAVY", Levels: []string{"OPEN", "SECRET"}, Restrictive: []string{"CRYPTO"}}},
		Equivalents: []statement.Equivalent{{Label: "NAVY:SECRET", Means: "TLP:AMBER"}}}
	h, err := w.Open(t.Context(), "bravo")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	raw, err := h.DraftAgreement(t.Context(), agreement)
	if err != nil {
		t.Fatal(err)
	}
	for own, why := range map[string]string{
		"levels = [\"SECRET\", \"OPEN\"]\nrestrictive = [\"CRYPTO\"]\n": "something else about levels of the label scheme NAVY",
		"levels = [\"OPEN\", \"SECRET\"]\n":                             "something else about restrictive",
		"levels = [\"OPEN\", \"OPEN\"]\n":                               "stands in the scheme twice",
		"levels = [\"OPEN\", \"SECRET\"]\nrestrictive = [\"CRYPTO\"]\n": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, "navy.toml"), []byte("name = \"NAVY\"\n"+own), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := h.SignAgreement(t.Context(), raw)
		if why == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantFault(t, err, fault.Misused, why)
	}
}
