package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
)

// hundred is a request that every rule permits, with a hundred policies in agreement and house together, such as people write them.
func hundred(t testing.TB) Request {
	t.Helper()
	rules := func(from, to int) string {
		var b strings.Builder
		b.WriteString(permitAll + ";\n")
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, `@id("rule-%d") @reason("{label} is not for the purpose {purpose}") @needs("another")
				forbid (principal, action in [Action::"release", Action::"accept"], resource)
				when { resource has level && resource.level > 2 && resource.purpose == "purpose-%d" }
				unless { resource.to.contains("m%d") || ["NL", "DE"].containsAll(context.jurisdictions.to) };`+"\n", i, i, i)
		}
		return b.String()
	}
	r := good(newHistory(t, "alpha", "bravo", "charlie"), Accept)
	r.Agreement.Policy, r.House = rules(1, 50), houseOf(t, rules(50, 99))
	r.Manifest.Label, r.Agreement.Ceiling = "TLP:RED", "TLP:RED" // so that the rules have something to do
	return r
}

// BenchmarkDecide measures a decision with a hundred policies beside the base rules, and what of it is the engine.
func BenchmarkDecide(b *testing.B) {
	r := hundred(b)
	if d := Decide(r); !d.Permit {
		b.Fatal(d.Reasons)
	}
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			Decide(r)
		}
	})
	b.Run("engine alone", func(b *testing.B) {
		sets := []*set{compile(setBase, baseText).set, compile(setAgreement, r.Agreement.Policy).set, compile(setHouse, r.House.Text).set}
		request, entities := facts(r)
		for b.Loop() {
			for _, s := range sets {
				s.ask(request, entities)
			}
		}
	})
	b.Run("engine alone, asking every rule", func(b *testing.B) {
		sets := []*set{compile(setBase, baseText).set, compile(setAgreement, r.Agreement.Policy).set, compile(setHouse, r.House.Text).set}
		request, entities := facts(r)
		for b.Loop() {
			for _, s := range sets {
				cedar.Authorize(s, entities, request)
			}
		}
	})
	b.Run("facts alone", func(b *testing.B) {
		for b.Loop() {
			facts(r)
		}
	})
	b.Run("record alone", func(b *testing.B) {
		for b.Loop() {
			_, _ = encode(newRecord(r, outcome{}))
		}
	})
	b.Run("denied", func(b *testing.B) {
		r := r
		r.Manifest.Purpose = "purpose-7"
		for b.Loop() {
			Decide(r)
		}
	})
}
