package policy

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

var update = flag.Bool("update", false, "write docs/decisions.md")

// oracle says which base rules forbid a request, in the order of base.cedar, in plain Go: without Cedar, and without the facts that are
// made for it.
func oracle(r Request) (no []string) {
	m, a, h, p := r.Manifest, r.Agreement, r.History, r.Person
	release, accept, open, approve := r.Stage == Release, r.Stage == Accept, r.Stage == Open, r.Stage == Approve
	crossing, sending, receiving, byPerson := !open, release || approve, accept || open, !accept
	agreed := a != nil
	if !agreed {
		a = &statement.Agreement{}
	}
	if p == nil {
		p = &Person{}
	}
	early, late := r.Now, r.Now
	if accept {
		early, late = r.Now.Add(-limit.ClockSkew), r.Now.Add(limit.ClockSkew)
	}
	forbid := func(rule string, broken bool) {
		if broken {
			no = append(no, "base/"+rule)
		}
	}
	in := func(list []string) func(string) bool { return func(s string) bool { return slices.Contains(list, s) } }
	all := func(list []string, is func(string) bool) bool {
		return !slices.ContainsFunc(list, func(s string) bool { return !is(s) })
	}
	me := "spiffe://" + r.Self + "/person/" + p.Name
	schemes := SchemesOf(r.Agreement)
	label, err := schemes.Parse(m.Label)
	level, hasLevel := schemes.Level(label)
	hasLevel = hasLevel && err == nil
	ceiling, hasCeiling := schemes.LevelOf(a.Ceiling)
	above, hasAbove := schemes.LevelOf(a.ApprovalAbove)
	rank, categories, may := schemes.Clearance(p.Labels, label)
	inFlight := accept && !r.Begun.IsZero() && m.Created.Before(r.Begun) && !early.After(r.Begun.Add(limit.InFlight))

	forbid("role-releaser", release && !slices.Contains(p.Roles, "releaser"))
	forbid("role-reader", open && !slices.Contains(p.Roles, "reader"))
	forbid("role-approver", approve && !slices.Contains(p.Roles, "approver"))
	forbid("cleared", byPerson && err == nil && !(may && Label{Scheme: label.Scheme, Rank: rank, Restrictive: categories}.Dominates(label)))
	forbid("trained", byPerson && (p.TrainedUntil.IsZero() || late.After(p.TrainedUntil)))
	forbid("not-your-own", approve && m.ReleasedBy == me)
	forbid("another-approver", release && r.Approver != nil && (r.Approver.Name == p.Name || !slices.Contains(r.Approver.Roles, "approver")))
	forbid("releaser-named", release && m.ReleasedBy != me)
	forbid("sender-here", sending && m.From != r.Self)
	forbid("recipient-here", receiving && !slices.Contains(m.To, r.Self))
	forbid("charter-known", !h.Knows(m.Charter))
	forbid("sender-standing", crossing && !h.InGoodStanding(m.From))
	forbid("recipients-standing", sending && !all(m.To, h.InGoodStanding))
	forbid("own-standing", receiving && !h.InGoodStanding(r.Self))
	forbid("agreement-known", !agreed)
	forbid("agreement-pinned", agreed && (a.Name != m.Agreement || r.AgreementHash != m.AgreementHash))
	forbid("agreement-alliance", agreed && a.Alliance != h.Alliance())
	forbid("sender-party", agreed && !slices.Contains(a.Parties, m.From))
	forbid("recipients-party", agreed && !all(m.To, in(a.Parties)))
	forbid("agreement-begun", agreed && crossing && late.Before(a.NotBefore))
	forbid("agreement-ended", agreed && crossing && early.After(a.NotAfter))
	forbid("agreement-superseded", agreed && crossing && a.Version < r.Newest && !inFlight)
	forbid("sender-withdrawn", crossing && slices.Contains(r.Withdrawn, m.From))
	forbid("recipients-withdrawn", sending && slices.ContainsFunc(m.To, in(r.Withdrawn)))
	forbid("own-withdrawn", accept && slices.Contains(r.Withdrawn, r.Self))
	forbid("purpose-listed", agreed && !slices.Contains(a.Purposes, m.Purpose))
	forbid("label-known", err != nil)
	forbid("label-equivalent", err == nil && !hasLevel)
	forbid("ceiling-known", agreed && !hasCeiling)
	forbid("label-ceiling", agreed && hasLevel && hasCeiling && level > ceiling)
	forbid("approval-known", agreed && a.ApprovalAbove != "" && !hasAbove)
	forbid("two-keys", agreed && release && hasLevel && hasAbove && level > above && r.Approver == nil)
	forbid("approved", agreed && accept && hasLevel && hasAbove && level > above && m.Approval.By == "")
	forbid("times-ordered", m.Created.After(m.DeliverBy) || m.DeliverBy.After(m.RetainUntil))
	forbid("created-before-now", crossing && m.Created.After(late))
	forbid("deadline", crossing && early.After(m.DeliverBy))
	forbid("retention-maximum", agreed && m.RetainUntil.Sub(m.Created) > day*time.Duration(a.RetainDays))
	forbid("retention-ended", open && early.After(m.RetainUntil))
	return no
}

// TestOracle compares every decision that one or two of the cases together lead to, at every stage, with the oracle's. Which rule forbade
// something at which stage is the decision table: each cell that is not empty was seen, and no other.
func TestOracle(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	seen := map[string]bool{}
	compared := 0
	for _, stage := range Stages {
		for i := range cases {
			for j := i; j < len(cases); j++ {
				if testing.Short() && (i+j)%8 != 0 && i != j {
					continue
				}
				r := good(h, stage)
				if r.Person == nil {
					r.Person = &Person{} // whom nobody asks at that stage
				}
				both := []int{i, j}
				if cases[i].rule == "agreement-known" {
					both = []int{j, i} // the others change the agreement that this takes away
				}
				for _, c := range slices.Compact(both) {
					cases[c].spoil(&r)
				}
				want, d := oracle(r), Decide(r)
				compared++
				if len(want) == 0 {
					want = []string{"base/" + string(stage), "house/all"}
				} else {
					for _, rule := range want {
						seen[rule+" "+string(stage)] = true
					}
				}
				if !slices.Equal(d.Rules, want) {
					t.Errorf("%s, %s and %s: the rules say %v, the oracle %v", stage, cases[i].rule, cases[j].rule, d.Rules, want)
				}
			}
		}
	}
	for _, rule := range mustLoad(t).rules {
		for _, stage := range Stages {
			if cell := rule.forbids() && rule.isAbout(stage); cell != seen[setBase+"/"+rule.id+" "+string(stage)] {
				t.Errorf("cell %s at %s: the table says %t, and what was seen is not that", rule.id, stage, cell)
			}
		}
	}
	t.Logf("%d decisions compared", compared)
}

// TestExamples asks the rules that come with the program about their cases. Every rule is seen deciding at every stage that it is about.
func TestExamples(t *testing.T) {
	t.Parallel()
	if !slices.Contains(Examples(), "personal-data") {
		t.Errorf("examples are %v", Examples())
	}
	for _, name := range Examples() {
		text, ok := Example(name)
		b, err := os.ReadFile("testdata/examples/" + name + ".toml")
		if err != nil || !ok {
			t.Fatal(err)
		}
		c := compile(setHouse, text)
		if c.err != nil {
			t.Fatal(c.err)
		}
		house := houseOf(t, text)
		if permits, _ := house.Count(); permits == 0 {
			house = houseOf(t, text+permitAll+";")
		}
		list, err := ParseCases(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, one := range list {
			r := one.Test(house)
			if !r.OK() {
				t.Errorf("%s, %s: expected %s %v, got %s %v %v", name, one.Name, one.Expect, one.Rules, r.Got, r.Decision.Rules, r.Decision.Reasons)
			}
			for _, rule := range r.Decision.Rules {
				seen[rule+" "+string(one.Stage)] = true
			}
		}
		for _, rule := range c.rules {
			for _, stage := range Stages {
				if cell := setHouse + "/" + rule.id + " " + string(stage); rule.isAbout(stage) != seen[cell] {
					t.Errorf("%s: cell %s: the table says %t, and what was seen is not that", name, cell, rule.isAbout(stage))
				}
			}
		}
	}
	if _, ok := Example("../base"); ok {
		t.Error("a file that is no example")
	}
}

// table is docs/decisions.md: all rules that come with the program, and at which stages each is asked.
func table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# The decision table

Every rule that comes with the program, and at which stage it is asked. A document passes a stage if a rule permits it and none forbids it, in each of three sets: the base rules, the agreement's policy if it has one, and the
house rules of the member that decides. This page is made from the policies themselves (` + "`go test ./internal/policy -run TestTable -update`" + `), and every cell is tested: that the rule decides
there, and at no other stage.

`)
	rows := func(name, text string) {
		c := compile(setHouse, text)
		if c.err != nil {
			t.Fatal(c.err)
		}
		fmt.Fprintf(&b, "## %s\n\n| rule | release | accept | open | approve | what it says | what it needs |\n|---|---|---|---|---|---|---|\n", name)
		for i := range c.rules {
			r := &c.rules[i]
			fmt.Fprintf(&b, "| `%s` ", r.id)
			for _, stage := range Stages {
				cell := ""
				switch {
				case !r.isAbout(stage):
				case !r.forbids():
					cell = "permits"
				case r.transient:
					cell = "forbids, for now"
				case r.approval:
					cell = "waits"
				default:
					cell = "forbids"
				}
				fmt.Fprintf(&b, "| %s ", cell)
			}
			fmt.Fprintf(&b, "| %s | %s |\n", r.reason, r.needs)
		}
		b.WriteByte('\n')
	}
	rows("Base rules", baseText)
	for _, name := range Examples() {
		text, _ := Example(name)
		rows("Example `"+name+"`", text)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func TestTable(t *testing.T) {
	const file = "../../docs/decisions.md"
	want := table(t)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // everybody reads it
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("docs/decisions.md is not what the policies say (%v); make it again with -update", err)
	}
}
