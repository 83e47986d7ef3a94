package audit

import (
	"slices"
	"strings"
	"testing"

	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// What the house rules said is private, and comes out again from their text: changed, left out or without the text, it is found.
func TestVerifyHomeFindsHouse(t *testing.T) {
	t.Parallel()
	rules := must[policy.House](t)(policy.NewHouse(map[string]string{"policy/house.cedar": `@id("all") @reason("all") permit (principal, action, resource);
		@id("no") @reason("not today") @needs("another day") forbid (principal, action == Action::"release", resource);`}))
	for name, c := range map[string]struct {
		text  string // kept of the rules
		house func(d policy.Decision) []byte
		want  string
	}{
		"sound":             {rules.Text, policy.Decision.House, ""},
		"the text is gone":  {"", policy.Decision.House, "its text is missing, and something was decided by it"},
		"the text differs":  {rules.Text + " ", policy.Decision.House, "its text has another hash"},
		"no reasons":        {rules.Text, func(policy.Decision) []byte { return nil }, "its reasons of the house rules are not those"},
		"other reasons":     {rules.Text, func(d policy.Decision) []byte { return []byte(strings.Replace(string(d.House()), "today", "now", 1)) }, "its reasons of the house rules are not those"},
		"reasons in a leaf": {rules.Text, policy.Decision.House, "it gives the rules [house/no], and the record of its decision [house/house-rules]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newWorld(t).home()
			h.found()
			alice := h.alice()
			m := h.document("alpha", "", "bravo").Terms
			d := policy.Decide(policy.Request{Stage: policy.Release, Manifest: m, Agreement: &h.agreement.Terms, AgreementHash: h.agreement.Hash, Newest: 1,
				History: h.history, Self: "alpha", Person: &alice, Now: h.now, House: rules})
			leafed, _ := d.Outward("alpha")
			if !slices.Equal(leafed, []string{"house/house-rules"}) {
				t.Fatalf("rules %v, reasons %v", leafed, d.Reasons)
			}
			if name == "reasons in a leaf" {
				leafed = d.Rules
			}
			private := []statement.Private{{Field: "decision", Value: d.Record}, {Field: "person", Value: []byte("spiffe://alpha/person/alice")}}
			if house := c.house(d); house != nil {
				private = append(private, statement.Private{Field: "house", Value: house})
			}
			h.update(func(tx *store.Tx) error {
				if c.text != "" {
					if err := tx.PutHouse(rules.Hash, c.text); err != nil {
						return err
					}
				}
				return h.record(tx, statement.Event{Kind: statement.EventDenied, ID: m.ID, Peers: m.To, Stage: "release", Rules: leafed, Private: private})()
			})
			if c.want == "" {
				h.sound()
				return
			}
			if problems := h.verify().Problems; !slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.String(), c.want) }) {
				t.Errorf("%v, expected %q", problems, c.want)
			}
		})
	}
}
