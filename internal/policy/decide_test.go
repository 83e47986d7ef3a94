package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// cases is the decision table: what to spoil in a good request so that exactly this rule denies it, and nothing else does.
// Each is tried at every stage that the rule covers.
var cases = []struct {
	rule  string
	spoil func(r *Request)
	text  string // what the reason says, or part of it
}{
	{"role-releaser", func(r *Request) { r.Person.Roles = []string{Reader} }, "alice does not have the role releaser at alpha"},
	{"role-releaser", func(r *Request) { r.Person.Roles = nil }, "alice does not have the role releaser"},
	{"role-releaser", func(r *Request) { r.Person.Roles = []string{"Releaser", "releaser ", "release"} }, "alice does not have"},
	{"role-reader", func(r *Request) { r.Person.Roles = []string{Releaser} }, "bob does not have the role reader at bravo"},
	{"role-approver", func(r *Request) { r.Person.Roles = []string{Releaser, Reader} }, "anna does not have the role approver at alpha"},
	{"not-your-own", func(r *Request) { r.Manifest.ReleasedBy = "spiffe://alpha/person/anna" }, "anna released it, and wants to approve it as well"},
	{"another-approver", func(r *Request) { r.Approver = &Person{Name: "alice", Roles: []string{Approver}} }, "alice cannot approve what alice releases"},
	{"another-approver", func(r *Request) { r.Approver = &Person{Name: "anna", Roles: []string{Releaser}} }, "anna cannot approve what alice releases"},
	{"releaser-named", func(r *Request) { r.Person.Name = "mallory" }, "released by alice, but mallory is releasing it"},
	{"sender-here", func(r *Request) { r.Self = "charlie"; r.Manifest.ReleasedBy = "spiffe://charlie/person/alice" }, "the document is from alpha, and this is charlie"},
	{"recipient-here", func(r *Request) { r.Manifest.To = []string{"charlie"} }, "bravo is not among the recipients charlie"},
	{"charter-known", func(r *Request) { r.Manifest.Charter[0]++ }, "is not one that"},
	{"sender-standing", func(r *Request) { expel(r, "alpha") }, "the sender alpha is not a member in good standing"},
	{"recipients-standing", func(r *Request) { expel(r, "charlie") }, "not a member in good standing: charlie"},
	{"own-standing", func(r *Request) { expel(r, "bravo") }, "bravo is not itself a member in good standing"},
	{"agreement-known", func(r *Request) { r.Agreement = nil; r.AgreementHash = statement.Hash{} }, "has no agreement harbour-watch with the hash"},
	{"agreement-pinned", func(r *Request) { r.AgreementHash[0]++ }, "which is not the one at hand"},
	{"agreement-pinned", func(r *Request) { r.Manifest.AgreementHash[31]++ }, "which is not the one at hand"},
	{"agreement-pinned", func(r *Request) { r.Manifest.Agreement = "harbour-watch2" }, "which is not the one at hand"},
	{"agreement-alliance", func(r *Request) { r.Agreement.Alliance[5]++ }, "agreement harbour-watch belongs to another alliance"},
	{"sender-party", func(r *Request) { r.Agreement.Parties = []string{"bravo", "charlie"} }, "the sender alpha is not a party"},
	{"recipients-party", func(r *Request) { r.Agreement.Parties = []string{"alpha", "bravo"} }, "not a party to agreement harbour-watch: charlie"},
	{"agreement-begun", func(r *Request) { r.Agreement.NotBefore = r.Now.Add(beyond(r.Stage)) }, "agreement harbour-watch is not in force before"},
	{"agreement-ended", func(r *Request) { r.Agreement.NotAfter = r.Now.Add(-beyond(r.Stage)) }, "agreement harbour-watch ended"},
	{"agreement-superseded", func(r *Request) { r.Newest = r.Agreement.Version + 1 }, "was replaced by version"},
	{"agreement-superseded", func(r *Request) {
		r.Newest, r.Begun = r.Agreement.Version+1, r.Manifest.Created
	}, "was replaced by version 4 2026-11-23 09:12:44 UTC"},
	{"sender-withdrawn", func(r *Request) { r.Withdrawn = []string{"alpha"} }, "the sender alpha has withdrawn from agreement harbour-watch"},
	{"recipients-withdrawn", func(r *Request) { r.Withdrawn = []string{"charlie", "zulu"} }, "withdrawn from agreement harbour-watch: charlie, zulu"},
	{"own-withdrawn", func(r *Request) { r.Withdrawn = []string{"bravo"} }, "bravo has withdrawn from agreement harbour-watch"},
	{"approval-known", func(r *Request) { r.Agreement.ApprovalAbove = "SECRET" }, "wants approval above SECRET, which is not in the label scheme"},
	{"two-keys", func(r *Request) { r.Agreement.ApprovalAbove = "TLP:GREEN" }, "label TLP:AMBER is above TLP:GREEN, and agreement harbour-watch wants a second person"},
	{"approved", func(r *Request) { r.Agreement.ApprovalAbove = "TLP:GREEN" }, "does not say that a second person of alpha approved that"},
	{"purpose-listed", func(r *Request) { r.Manifest.Purpose = "gossip" }, "does not list the purpose gossip"},
	{"label-known", func(r *Request) { r.Manifest.Label = "TLP:PINK" }, "label TLP:PINK is not in the label scheme"},
	{"label-known", func(r *Request) { r.Manifest.Label = "tlp:amber" }, "label tlp:amber is not"},
	{"label-known", func(r *Request) { r.Manifest.Label = "" }, "label (none) is not"},
	{"label-known", func(r *Request) { label(r, "NAVY:SECRET/NUCLEAR/CRYPTO") }, "in the order of its scheme: NAVY:SECRET/CRYPTO/NUCLEAR"},
	{"label-known", func(r *Request) { label(r, "NAVY:SECRT") }, `label scheme NAVY has no level "SECRT"; its levels are OPEN, RESTRICTED, SECRET`},
	{"label-equivalent", func(r *Request) { label(r, "PORT:CLOSED", "PORT:CLOSED") }, "does not say what PORT:CLOSED means in its common label scheme TLP"},
	{"cleared", func(r *Request) { r.Person.Labels = nil }, "is cleared for nothing, and the document is labelled TLP:AMBER"},
	{"cleared", func(r *Request) { r.Person.Labels = []string{"TLP:GREEN"} }, "is cleared for TLP:GREEN, and the document is labelled TLP:AMBER"},
	{"cleared", func(r *Request) { r.Person.Labels = []string{"tlp:red", "MARS:TOP"} }, "is cleared for tlp:red, MARS:TOP"},
	{"cleared", func(r *Request) { label(r, "NAVY:RESTRICTED", "NAVY:OPEN", "TLP:RED") }, "is cleared for NAVY:OPEN, TLP:RED"},
	{"cleared", func(r *Request) { label(r, "NAVY:RESTRICTED/CRYPTO/NUCLEAR", "NAVY:SECRET/CRYPTO/BALTIC") }, "labelled NAVY:RESTRICTED/CRYPTO/NUCLEAR"},
	{"cleared", func(r *Request) { label(r, "NAVY:OPEN/BALTIC", "NAVY:SECRET/CRYPTO/NORTH-SEA") }, "labelled NAVY:OPEN/BALTIC"},
	{"cleared", func(r *Request) { label(r, "NAVY:OPEN/BALTIC", "TLP:RED") }, "labelled NAVY:OPEN/BALTIC"},
	{"cleared", func(r *Request) { label(r, "NAVY:OPEN", "TLP:CLEAR") }, "is cleared for TLP:CLEAR"},
	{"cleared", func(r *Request) { label(r, "TLP:AMBER", "NAVY:RESTRICTED/CRYPTO") }, "is cleared for NAVY:RESTRICTED/CRYPTO"},
	{"trained", func(r *Request) { r.Person.TrainedUntil = time.Time{} }, "counts until (never), and it is 2026-11-2"},
	{"trained", func(r *Request) { r.Person.TrainedUntil = r.Now.Add(-time.Second) }, "counts until 2026-11-2"},
	{"ceiling-known", func(r *Request) { r.Agreement.Ceiling = "SECRET" }, "has the ceiling SECRET, which is not in the label scheme"},
	{"label-ceiling", func(r *Request) { r.Manifest.Label = "TLP:RED" }, "label TLP:RED is above the agreement's ceiling TLP:AMBER"},
	{"label-ceiling", func(r *Request) { r.Manifest.Label = "TLP:AMBER+STRICT" }, "label TLP:AMBER+STRICT is above the agreement's ceiling TLP:AMBER"},
	{"label-ceiling", func(r *Request) { r.Agreement.Ceiling = "TLP:GREEN" }, "is above the agreement's ceiling TLP:GREEN"},
	{"times-ordered", func(r *Request) { r.Manifest.RetainUntil = r.Manifest.DeliverBy.Add(-time.Second) }, "are not in this order"},
	{"created-before-now", func(r *Request) { r.Now = r.Manifest.Created.Add(-beyond(r.Stage)) }, "the manifest was created 2026-11-23 09:12:44 UTC, and it is only"},
	{"deadline", func(r *Request) { r.Now = r.Manifest.DeliverBy.Add(beyond(r.Stage)) }, "it was to be delivered by 2026-11-30 09:12:44 UTC, and it is"},
	{"retention-maximum", func(r *Request) { r.Manifest.RetainUntil = r.Manifest.RetainUntil.Add(time.Second) }, "is 91 days after creation, more than the 90 days of agreement harbour-watch"},
	{"retention-ended", func(r *Request) { r.Now = r.Manifest.RetainUntil.Add(time.Second) }, "it was to be retained until 2027-02-21 09:12:44 UTC, and it is"},
}

// label makes a request for a document of that label, under an agreement that harmonises several schemes, by somebody who is cleared for these.
func label(r *Request, label string, clearance ...string) {
	h := harmonised()
	r.Manifest.Label, r.Agreement.Schemes, r.Agreement.Equivalents = label, h.Schemes, h.Equivalents
	if r.Person != nil && len(clearance) > 0 {
		r.Person.Labels = clearance
	}
}

// expel has somebody who is not in good standing take the member's part, as a party to the agreement.
func expel(r *Request, name string) {
	const stranger = "zulu"
	swap := func(list []string) []string {
		list = slices.Clone(list)
		for i, s := range list {
			if s == name {
				list[i] = stranger
			}
		}
		return list
	}
	r.Manifest.To, r.Agreement.Parties = swap(r.Manifest.To), swap(r.Agreement.Parties)
	if r.Manifest.From == name {
		r.Manifest.From = stranger
		r.Manifest.ReleasedBy = "spiffe://" + stranger + "/person/alice"
	}
	if r.Self == name {
		r.Self = stranger
	}
}

// stages lists where a rule applies, by its own text.
func stages(t *testing.T, r rule) []Stage {
	t.Helper()
	var list []Stage
	switch scope := r.policy.AST().Action.(type) {
	case ast.ScopeTypeAll:
		return []Stage{Release, Accept, Open, Approve}
	case ast.ScopeTypeEq:
		list = append(list, Stage(scope.Entity.ID))
	case ast.ScopeTypeInSet:
		for _, e := range scope.Entities {
			list = append(list, Stage(e.ID))
		}
	default:
		t.Fatalf("rule %s: the test does not understand the action's scope %T", r.id, scope)
	}
	return list
}

// TestDecisionTable goes through base.cedar: every rule that forbids, at every stage that it covers, must have a case that
// it alone denies. A rule that nobody can violate on its own is not needed, and one without a case is not tested.
func TestDecisionTable(t *testing.T) {
	t.Parallel()
	base := mustLoad(t)
	h := newHistory(t, "alpha", "bravo", "charlie")
	tried := map[string]int{}
	for _, rule := range base.rules {
		if !rule.forbids() {
			continue
		}
		for _, stage := range stages(t, rule) {
			for i, c := range cases {
				if c.rule != rule.id {
					continue
				}
				tried[rule.id]++
				t.Run(fmt.Sprintf("%s at %s, case %d", rule.id, stage, i), func(t *testing.T) {
					t.Parallel()
					r := good(h, stage)
					c.spoil(&r)
					text := c.text
					if rule.id == "sender-standing" || rule.id == "recipients-standing" || rule.id == "own-standing" {
						text = strings.NewReplacer("alpha", "zulu", "bravo", "zulu", "charlie", "zulu").Replace(text)
					}
					d := checked(t, r)
					if !slices.Equal(d.Rules, []string{"base/" + rule.id}) || len(d.Reasons) != 1 || d.Permit {
						t.Fatalf("permit %v, rules %v, expected a denial by base/%s alone\n%+v", d.Permit, d.Rules, rule.id, d.Reasons)
					}
					if d.Waits != (rule.id == "two-keys") {
						t.Errorf("waits is %v", d.Waits)
					}
					if passing := rule.id == "charter-known" || rule.id == "created-before-now"; d.Transient != passing {
						t.Errorf("transient is %v", d.Transient)
					}
					if reason := d.Reasons[0]; reason.Set != "base" || reason.Rule != rule.id || !strings.Contains(reason.Text, text) || reason.Needs == "" {
						t.Errorf("reason %+v, expected one that says %q", reason, text)
					}
				})
			}
		}
		if tried[rule.id] == 0 {
			t.Errorf("rule %s has no case in the decision table", rule.id)
		}
	}
	for _, c := range cases {
		if tried[c.rule] == 0 {
			t.Errorf("there is a case for %q, but no such rule", c.rule)
		}
	}
}

func mustLoad(t testing.TB) *set {
	t.Helper()
	c := compile(setBase, baseText)
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c.set
}

// checked decides, and checks what holds of every decision.
func checked(t testing.TB, r Request) Decision {
	t.Helper()
	d := Decide(r)
	if d.Permit != (len(d.Reasons) == 0) || len(d.Rules) == 0 || d.Permit && d.Transient {
		t.Errorf("permit %v with the rules %v and the reasons %v", d.Permit, d.Rules, d.Reasons)
	}
	if len(d.Record) == 0 || len(d.Record) > limit.Private || !json.Valid(d.Record) {
		t.Errorf("the record has %d bytes: %.200s", len(d.Record), d.Record)
	}
	if !d.Permit {
		carried(t, d.Reasons)
	}
	if again, err := Replay(d.Record, sources(r)); !errors.Is(err, ErrNoFacts) && (err != nil || !again.Agrees() || again.Again.Permit != d.Permit) {
		t.Errorf("from its record the decision comes out as %v %v, %v: %s", again.Again.Permit, again.Again.Rules, err, d.Record)
	}
	return d
}

// carried checks that a receipt can carry the reasons, by signing one.
func carried(t testing.TB, reasons []statement.Reason) {
	t.Helper()
	_, err := statement.Draft(statement.Receipt{Kind: statement.Refused, From: "bravo", To: "alpha", ID: "01K7XQ3W0V6N2T9R4M5B8C1D2E",
		At: now, Log: "bravo/log/1", Reasons: reasons})
	if err != nil {
		t.Errorf("no receipt can carry %q: %v", reasons, err)
	}
}

func TestGood(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	skew := limit.ClockSkew
	edits := map[string]struct {
		stages []Stage
		edit   func(*Request)
	}{
		"on the way when a newer version began": {[]Stage{Accept}, func(r *Request) {
			r.Newest, r.Begun = r.Agreement.Version+1, r.Manifest.Created.Add(time.Second)
		}},
		"on the way for long": {[]Stage{Accept}, func(r *Request) {
			r.Newest, r.Begun = r.Agreement.Version+1, r.Manifest.Created.Add(time.Second)
			r.Now, r.Manifest.DeliverBy = r.Begun.Add(limit.InFlight), r.Begun.Add(limit.InFlight)
		}},
		"another has withdrawn":        {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { r.Withdrawn = []string{"zulu"} }},
		"a co-recipient has withdrawn": {[]Stage{Accept, Open}, func(r *Request) { r.Withdrawn = []string{"charlie"} }},
		"approved": {[]Stage{Release}, func(r *Request) {
			r.Agreement.ApprovalAbove, r.Approver = "TLP:GREEN", &Person{Name: "anna", Roles: []string{Approver}}
		}},
		"at the level that needs no approval": {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { r.Agreement.ApprovalAbove = "TLP:AMBER" }},
		"as it is":                            {[]Stage{Release, Accept, Open, Approve}, func(*Request) {}},
		"one recipient":                       {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { r.Manifest.To = []string{"bravo"} }},
		"a category, and more are held": {[]Stage{Release, Accept, Open, Approve}, func(r *Request) {
			label(r, "NAVY:OPEN/CRYPTO/BALTIC/NORTH-SEA", "NAVY:RESTRICTED/CRYPTO/NUCLEAR/NORTH-SEA")
		}},
		"a label of another scheme":     {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { label(r, "NAVY:RESTRICTED", "TLP:AMBER") }},
		"cleared in another scheme":     {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { label(r, "TLP:AMBER", "PORT:INTERNAL") }},
		"last second of training":       {[]Stage{Release, Open, Approve}, func(r *Request) { r.Person.TrainedUntil = r.Now }},
		"cleared for exactly the label": {[]Stage{Release, Open, Approve}, func(r *Request) { r.Person.Labels = []string{"TLP:AMBER"} }},
		"a lower label":                 {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { r.Manifest.Label = "TLP:CLEAR" }},
		"the highest label":             {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { r.Manifest.Label, r.Agreement.Ceiling = "TLP:RED", "TLP:RED" }},
		"shorter retention":             {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { r.Manifest.RetainUntil = r.Manifest.DeliverBy }},
		"the other purpose":             {[]Stage{Release, Accept, Open, Approve}, func(r *Request) { r.Manifest.Purpose = "exercise" }},
		"first second of agreement":     {[]Stage{Release, Accept}, func(r *Request) { r.Agreement.NotBefore = r.Now }},
		"last second of agreement":      {[]Stage{Release, Accept}, func(r *Request) { r.Agreement.NotAfter = r.Now }},
		"at the deadline":               {[]Stage{Release, Accept}, func(r *Request) { r.Now = r.Manifest.DeliverBy }},
		"our clock five minutes slow":   {[]Stage{Accept}, func(r *Request) { r.Now = r.Manifest.Created.Add(-skew) }},
		"our clock five minutes fast":   {[]Stage{Accept}, func(r *Request) { r.Now = r.Manifest.DeliverBy.Add(skew) }},
		"agreement just about to come":  {[]Stage{Accept}, func(r *Request) { r.Agreement.NotBefore = r.Now.Add(skew) }},
		"agreement just over":           {[]Stage{Accept}, func(r *Request) { r.Agreement.NotAfter = r.Now.Add(-skew) }},
		"co-recipient expelled":         {[]Stage{Accept, Open}, func(r *Request) { expel(r, "charlie") }},
		"sender expelled since":         {[]Stage{Open}, func(r *Request) { expel(r, "alpha") }},
		"agreement over since":          {[]Stage{Open}, func(r *Request) { r.Agreement.NotAfter = r.Now.Add(-time.Second) }},
		"after the deadline":            {[]Stage{Open}, func(r *Request) { r.Now = r.Manifest.DeliverBy.Add(day) }},
		"last second of retention":      {[]Stage{Open}, func(r *Request) { r.Now = r.Manifest.RetainUntil }},
	}
	for name, e := range edits {
		for _, stage := range e.stages {
			t.Run(name+" at "+string(stage), func(t *testing.T) {
				t.Parallel()
				r := good(h, stage)
				e.edit(&r)
				d := checked(t, r)
				if !d.Permit || !slices.Equal(d.Rules, []string{"base/" + string(stage), "house/all"}) {
					t.Errorf("permit %v, rules %v, reasons %+v", d.Permit, d.Rules, d.Reasons)
				}
			})
		}
	}
}

func TestAllReasonsAreReported(t *testing.T) {
	t.Parallel()
	r := good(newHistory(t, "alpha", "bravo", "charlie"), Release)
	r.Person.Roles = nil
	r.Manifest.To = []string{"bravo", "charlie", "delta"}
	r.Manifest.Purpose = "gossip"
	r.Manifest.Label = "TLP:RED"
	r.Manifest.RetainUntil = now.Add(400 * day)
	d := checked(t, r)
	want := []statement.Reason{
		{Set: "base", Rule: "role-releaser", Text: "alice does not have the role releaser at alpha", Needs: "a person of alpha with the role releaser"},
		{Set: "base", Rule: "recipients-standing", Text: "not a member in good standing: delta", Needs: "recipients that are all in good standing in the newest charter"},
		{Set: "base", Rule: "recipients-party", Text: "not a party to agreement harbour-watch: delta", Needs: "an agreement to which every recipient is a party, or fewer recipients"},
		{Set: "base", Rule: "purpose-listed", Text: "agreement harbour-watch does not list the purpose gossip", Needs: "one of the purposes exercise, incident-response"},
		{Set: "base", Rule: "label-ceiling", Text: "label TLP:RED is above the agreement's ceiling TLP:AMBER", Needs: "a label at or under TLP:AMBER, or an agreement with a higher ceiling"},
		{Set: "base", Rule: "retention-maximum", Text: "retention until 2027-12-28 09:12:44 UTC is 400 days after creation, more than the 90 days of agreement harbour-watch", Needs: "retention of at most 90 days"},
	}
	if !slices.Equal(d.Reasons, want) {
		t.Errorf("reasons are\n%+v\nexpected\n%+v", d.Reasons, want)
	}
	if want := []string{"base/role-releaser", "base/recipients-standing", "base/recipients-party", "base/purpose-listed", "base/label-ceiling", "base/retention-maximum"}; !slices.Equal(d.Rules, want) {
		t.Errorf("rules are %v, expected %v", d.Rules, want)
	}
}

// A forbid that cannot be evaluated is skipped by the engine, which then allows. It must deny here.
func TestEvaluationErrorDenies(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	text := baseText + `@id("overflow") @reason("never said") @needs("y") forbid (principal, action, resource)
		when { resource has level && resource.level + 9223372036854775807 > 0 };`
	base := compile(setBase, text)
	if base.err != nil {
		t.Fatal(base.err)
	}
	request, entities := facts(good(h, Release))
	if verdict, diagnostic := cedar.Authorize(base.set, entities, request); verdict != cedar.Allow || len(diagnostic.Errors) != 1 {
		t.Fatalf("the engine says %v with the errors %v; the test proves nothing", verdict, diagnostic.Errors)
	}
	d := decide(base, good(h, Release))
	if d.Permit || !slices.Equal(d.Rules, []string{"base/overflow"}) || len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0].Text, "could not be evaluated") {
		t.Fatalf("permit %v, rules %v, reasons %+v", d.Permit, d.Rules, d.Reasons)
	}
	carried(t, d.Reasons)
	var rec record
	if err := json.Unmarshal(d.Record, &rec); err != nil || len(rec.Failures) != 1 || !strings.HasPrefix(rec.Failures[0], "base/overflow: ") {
		t.Errorf("%v, failures %q", err, rec.Failures)
	}
	if _, words, _ := strings.Cut(rec.Failures[0], ": "); strings.Contains(d.Reasons[0].Text+d.Reasons[0].Needs, words) {
		t.Errorf("the engine's words %q reach the other side: %+v", words, d.Reasons)
	}

	// An error and a violation are both reported.
	r := good(h, Release)
	r.Manifest.Purpose = "gossip"
	if d := decide(base, r); !slices.Equal(d.Rules, []string{"base/purpose-listed", "base/overflow"}) {
		t.Errorf("rules %v", d.Rules)
	}
}

// A permit that cannot be evaluated denies too, with another permit beside it or not.
func TestEvaluationErrorOfPermitDenies(t *testing.T) {
	t.Parallel()
	base := compile(setBase, baseText+`@id("also") @reason("x") permit (principal, action, resource) when { resource has level && resource.level + 9223372036854775807 > 0 };`)
	if base.err != nil {
		t.Fatal(base.err)
	}
	d := decide(base, good(newHistory(t, "alpha", "bravo", "charlie"), Release))
	if d.Permit || !slices.Equal(d.Rules, []string{"base/also"}) {
		t.Errorf("permit %v, rules %v", d.Permit, d.Rules)
	}
}

func TestPolicyThatDoesNotLoadDenies(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	for name, text := range map[string]string{
		"a rule without @id":     strings.Replace(baseText, `@id("label-ceiling")`, "", 1),
		"a second rule of an id": strings.Replace(baseText, `@id("label-ceiling")`, `@id("label-known")`, 1),
		"a rule without @reason": strings.Replace(baseText, "@reason(\"label {label} is above the agreement's ceiling {ceiling}\")", "", 1),
	} {
		base := compile(setBase, text)
		if base.err == nil {
			t.Fatalf("%s: it loads", name)
		}
		d := decide(base, good(h, Release))
		if d.Permit || !slices.Equal(d.Rules, []string{"base/policy-set"}) || len(d.Reasons) != 1 || !json.Valid(d.Record) {
			t.Errorf("%s: %+v", name, d)
		}
		carried(t, d.Reasons)
	}
}

// Every fact that the rules are promised is there, with the right type, at every stage and for every case.
func TestFactsFitVocabulary(t *testing.T) {
	t.Parallel()
	v, err := parseVocabulary("base.cedarschema", vocabularyText)
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(t, "alpha", "bravo", "charlie")
	for _, stage := range []Stage{Release, Accept, Open, Approve} {
		for _, c := range cases {
			r := good(h, stage)
			if r.Person == nil {
				r.Person = &Person{}
			}
			c.spoil(&r)
			if err := v.fits(facts(r)); err != nil {
				t.Errorf("%s, %s: %v", stage, c.rule, err)
			}
		}
		if err := v.fits(facts(Request{Stage: stage})); err != nil {
			t.Errorf("%s, empty request: %v", stage, err)
		}
	}
	request, entities := facts(good(h, Release))
	request.Context = cedar.NewRecord(cedar.RecordMap{"self": cedar.Long(1)})
	if v.fits(request, entities) == nil {
		t.Error("facts of the wrong type fit")
	}
}

func TestDecideConcurrently(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 50 {
				if d := Decide(good(h, Accept)); !d.Permit {
					t.Error(d.Reasons)
				}
			}
		})
	}
}

// fits refuses facts that are not what the vocabulary promises to the rules.
func (v *vocabulary) fits(r cedar.Request, entities cedar.EntityMap) error {
	if err := v.validator.Request(r); err != nil {
		return err
	}
	return v.validator.Entities(entities)
}
