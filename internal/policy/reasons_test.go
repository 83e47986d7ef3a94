package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// houseOf gives house rules of one file.
func houseOf(t testing.TB, text string) House {
	t.Helper()
	h, err := NewHouse(map[string]string{"policy/test.cedar": text})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Every set must permit, at every stage, and what another permits counts for nothing.
func TestEverySetMustPermit(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	const never = `@id("never") @reason("never") @needs("nothing helps") forbid (principal, action, resource);`
	const nobody = `@id("nobody") @reason("nobody") permit (principal, action, resource) when { false };`
	for _, stage := range []Stage{Release, Accept, Open, Approve} {
		for name, c := range map[string]struct {
			agreement, house string
			want             []string
		}{
			"all permit":                        {permitAll + ";", permitAll + ";", []string{"base/" + string(stage), "agreement/all", "house/all"}},
			"no agreement policy":               {"", permitAll + ";", []string{"base/" + string(stage), "house/all"}},
			"the agreement forbids":             {permitAll + ";" + never, permitAll + ";", []string{"agreement/never"}},
			"the agreement permits nothing":     {never, permitAll + ";", []string{"agreement/never"}},
			"no permit of the agreement fits":   {nobody, permitAll + ";", []string{"agreement/nobody"}},
			"the house forbids":                 {permitAll + ";", permitAll + ";" + never, []string{"house/never"}},
			"no permit of the house fits":       {permitAll + ";", nobody, []string{"house/nobody"}},
			"the house has no rule":             {permitAll + ";", "// nothing\n", []string{"house/nothing-permits"}},
			"both forbid":                       {permitAll + ";" + never, permitAll + ";" + never, []string{"agreement/never", "house/never"}},
			"the agreement's policy is no text": {"permit", permitAll + ";", []string{"agreement/policy-set"}},
		} {
			r := good(h, stage)
			r.Agreement.Policy, r.House = c.agreement, houseOf(t, c.house)
			d := checked(t, r)
			if !slices.Equal(d.Rules, c.want) || d.Permit != (c.want[0] == "base/"+string(stage)) {
				t.Errorf("%s, %s: permit %v, rules %v, expected %v", stage, name, d.Permit, d.Rules, c.want)
			}
		}
		r := good(h, stage)
		r.House = House{}
		if d := checked(t, r); !slices.Equal(d.Rules, []string{"house/nothing-permits"}) || d.Transient {
			t.Errorf("%s without house rules: %v", stage, d.Rules)
		}
		r.House = House{Text: "permit everything;", Hash: statement.HashBytes([]byte("permit everything;"))}
		if d := checked(t, r); !slices.Equal(d.Rules, []string{"house/policy-set"}) || !d.Transient {
			t.Errorf("%s with broken house rules: %v", stage, d.Rules)
		}
		// A policy that permits everything widens nothing.
		r = good(h, stage)
		r.Agreement.Policy, r.Manifest.Purpose = permitAll+";", "gossip"
		if d := checked(t, r); !slices.Equal(d.Rules, []string{"base/purpose-listed"}) {
			t.Errorf("%s with all permitted: %v", stage, d.Rules)
		}
	}
}

func TestReasonsOfOtherSets(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	for name, c := range map[string]struct {
		policy      string
		text, needs string
	}{
		"a when that is not true": {
			`@id("a") @reason("incidents may leave") permit (principal, action, resource) when { resource.purpose == "exercise" };`,
			`not permitted by the rule "incidents may leave", which asks for resource.purpose == "exercise"; but resource.purpose is incident-response`,
			`resource.purpose == "exercise"`,
		},
		"an unless that is true, with words of its own": {
			`@id("a") @reason("all but amber may leave") @needs("a lower label than {label}") permit (principal, action, resource) unless { resource.label == "TLP:AMBER" };`,
			`not permitted by the rule "all but amber may leave", which asks for not resource.label == "TLP:AMBER"; but resource.label is TLP:AMBER`,
			"a lower label than TLP:AMBER",
		},
		"only the clause that failed, as it was written, without its comments": {
			"@id(\"a\") @reason(\"r\") permit (principal, action, resource)\nwhen { resource has level } when {\n\tresource.to // and } a \" comment {\n == [\"a}\\\"{\"]\n};",
			`not permitted by the rule "r", which asks for resource.to == ["a}\"{"]; but resource.to is bravo, charlie`,
			`resource.to == ["a}\"{"]`,
		},
		"something that is not there": {
			`@id("a") @reason("r") permit (principal, action, resource) when { context has approver && context.approver.roles.contains("approver") };`,
			`not permitted by the rule "r", which asks for context has approver && context.approver.roles.contains("approver"); but there is no context.approver, there is no context.approver.roles`,
			`context has approver && context.approver.roles.contains("approver")`,
		},
		"times and durations": {
			`@id("a") @reason("r") permit (principal, action, resource) when { resource.created > datetime("2030-01-01") && context.in_flight > duration("1h") };`,
			`but resource.created is 2026-11-23 09:12:44 UTC, context.in_flight is 7 days`,
			`resource.created > datetime("2030-01-01") && context.in_flight > duration("1h")`,
		},
		"about somebody else": {
			`@id("a") @reason("r") permit (principal == Person::"spiffe://alpha/person/zoe", action, resource);`,
			`not permitted by the rule "r", which is not about spiffe://alpha/person/alice and this document`,
			"somebody or something else",
		},
		"about another stage": {
			`@id("a") @reason("r") permit (principal, action == Action::"open", resource);`,
			`permits anything at the stage release`, "",
		},
		"a rule that forbids, without values": {
			permitAll + `; @id("a") @reason("not for that purpose") @needs("another") forbid (principal, action, resource) when { resource.purpose == "incident-response" };`,
			`not for that purpose (resource.purpose is incident-response)`, "another",
		},
		"a rule that forbids, with values": {
			permitAll + `; @id("a") @reason("not for {purpose}") @needs("another") forbid (principal, action, resource) when { resource.purpose == "incident-response" };`,
			`not for incident-response`, "another",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, set := range []string{setAgreement, setHouse} {
				r := good(h, Release)
				if set == setHouse {
					r.House = houseOf(t, c.policy)
				} else {
					r.Agreement.Policy = c.policy
				}
				d := checked(t, r)
				if d.Permit || len(d.Reasons) != 1 || d.Reasons[0].Set != set || !strings.Contains(d.Reasons[0].Text, c.text) || !strings.Contains(d.Reasons[0].Needs, c.needs) {
					t.Errorf("%s: %+v\nexpected %q, needs %q", set, d.Reasons, c.text, c.needs)
				}
			}
		})
	}
}

// Of the house rules others learn that they said no, once, and nothing else.
func TestOutward(t *testing.T) {
	t.Parallel()
	r := good(newHistory(t, "alpha", "bravo", "charlie"), Accept)
	r.Manifest.Purpose = "gossip"
	r.Agreement.Policy = permitAll + `; @id("no") @reason("agreed that not") @needs("a") forbid (principal, action, resource);`
	r.House = houseOf(t, permitAll+`; @id("secret") @reason("a secret") @needs("b") forbid (principal, action, resource);
		@id("secret-2") @reason("another") @needs("b") forbid (principal, action, resource);`)
	d := checked(t, r)
	rules, reasons := d.Outward("bravo")
	if want := []string{"base/purpose-listed", "agreement/no", "house/house-rules"}; !slices.Equal(rules, want) {
		t.Errorf("rules %v, expected %v", rules, want)
	}
	if len(reasons) != 3 || reasons[2] != (statement.Reason{Set: "house", Rule: "house-rules", Text: "the rules of bravo itself do not permit it", Needs: "ask bravo"}) {
		t.Errorf("reasons %+v", reasons)
	}
	if strings.Contains(fmt.Sprint(rules, reasons), "secret") || !strings.Contains(string(d.House()), "a secret") || strings.Contains(string(d.House()), "agreed") {
		t.Errorf("outward %v %v, house %s", rules, reasons, d.House())
	}
	carried(t, reasons)
	if permitted := Decide(good(newHistory(t, "alpha", "bravo", "charlie"), Accept)); permitted.House() != nil {
		t.Error("reasons although it was permitted")
	} else if rules, _ := permitted.Outward("bravo"); !slices.Equal(rules, []string{"base/accept", "house/house-rules"}) {
		t.Errorf("rules %v", rules)
	}
}

// A stranger's policy may forbid for more reasons than a leaf and a receipt can hold.
func TestManyReasons(t *testing.T) {
	t.Parallel()
	r := good(newHistory(t, "alpha", "bravo", "charlie"), Accept)
	for name, rule := range map[string]string{
		"short":             `@id("r%03d") @reason("r") @needs("n") forbid (principal, action, resource);`,
		"long names":        `@id("r%03d` + strings.Repeat("x", 50) + `") @reason("r") @needs("n") forbid (principal, action, resource);`,
		"long reasons":      `@id("r%03d") @reason("` + strings.Repeat("é", 900) + `") @needs("` + strings.Repeat("n", 900) + `") forbid (principal, action, resource);`,
		"permits":           `@id("r%03d") @reason("r") permit (principal, action, resource) when { resource.id == "x" };`,
		"with many escapes": `@id("r%03d") @reason("` + strings.Repeat(`\"`, 400) + `") @needs("n") forbid (principal, action, resource);`,
	} {
		var b strings.Builder
		for i := 0; b.Len() < limit.Policy-4<<10; i++ {
			fmt.Fprintf(&b, rule, i)
		}
		r.Agreement.Policy = b.String()
		d := checked(t, r)
		if len(d.Reasons) > limit.Reasons || d.Rules[len(d.Rules)-1] != "base/and-more" {
			t.Errorf("%s: %d reasons, the last of %s", name, len(d.Reasons), d.Rules[len(d.Rules)-1])
		}
		peers := make([]string, limit.Recipients)
		for i := range peers {
			peers[i] = fmt.Sprintf("m%02d%s", i, strings.Repeat("x", limit.MemberName-3))
		}
		event := statement.Event{Kind: statement.EventDenied, Time: now, ID: r.Manifest.ID, Manifest: r.AgreementHash, Peers: peers, Stage: "release", Rules: d.Rules,
			Private: []statement.Private{{Field: "decision", Value: d.Record}, {Field: "person"}, {Field: "house"}}}
		if _, _, err := event.Leaf(func() [32]byte { return [32]byte{} }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Some rules say that an approval lifts them, and then it does.
func TestApprovalRules(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha", "bravo", "charlie")
	const two = permitAll + `; @id("two") @reason("two of us") @needs("another") @approval("x") forbid (principal, action == Action::"release", resource) unless { context has approver };`
	r := good(h, Release)
	r.House = houseOf(t, two)
	if d := checked(t, r); !d.Waits || !slices.Equal(d.Rules, []string{"house/two"}) {
		t.Errorf("waits %v, rules %v", d.Waits, d.Rules)
	}
	r.Approver = &Person{Name: "anna", Roles: []string{Approver}}
	if d := checked(t, r); !d.Permit {
		t.Errorf("rules %v", d.Rules)
	}
	r.Approver = nil
	r.House = houseOf(t, two+` @id("no") @reason("no") @needs("n") forbid (principal, action, resource);`)
	if d := checked(t, r); d.Waits || d.Permit {
		t.Errorf("waits %v, rules %v", d.Waits, d.Rules)
	}
	for _, text := range []string{
		`@id("a") @reason("r") @approval("x") permit (principal, action, resource) unless { context has approver };`,
		`@id("a") @reason("r") @needs("n") @approval("x") forbid (principal, action, resource) unless { resource has level };`,
	} {
		if _, err := NewHouse(map[string]string{"policy/a.cedar": text}); err == nil || !strings.Contains(err.Error(), "policy/a.cedar, line 1: rule \"a\" has @approval") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestNewHouse(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range limit.HouseFiles + 1 {
		many[fmt.Sprintf("policy/%d.cedar", i)] = ""
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"the second file":      {map[string]string{"policy/a.cedar": permitAll + ";", "policy/b.cedar": "\n\n@id(\"b\") permit (principal, action, resource);"}, `policy/b.cedar, line 3: rule "b" has no @reason`},
		"syntax":               {map[string]string{"policy/a.cedar": permitAll + ";\n", "policy/b.cedar": "\npermit all;"}, "policy/b.cedar, line 2: it is not Cedar"},
		"a name in two files":  {map[string]string{"policy/a.cedar": permitAll + ";\n", "policy/b.cedar": "\n" + permitAll + ";"}, `policy/b.cedar, line 2: a second rule has the @id "all"`},
		"a string without end": {map[string]string{"policy/a.cedar": "\n@id(\"a", "policy/b.cedar": "\") permit all;"}, "policy/a.cedar, line 2: it is not Cedar"},
		"an unfinished rule":   {map[string]string{"policy/a.cedar": permitAll, "policy/b.cedar": `;` + permitAll + `;`}, "policy/a.cedar"},
		"a mark":               {map[string]string{"policy/a.cedar": "x\n// file: b\n"}, "policy/a.cedar, line 2: no line may begin with"},
		"a megabyte":           {map[string]string{"policy/a.cedar": strings.Repeat(" ", 1<<20)}, "policy/a.cedar: it has 1048576 bytes"},
		"too much in all":      {map[string]string{"policy/a.cedar": strings.Repeat(" ", 40<<10), "policy/b.cedar": strings.Repeat(" ", 40<<10)}, "policy/b.cedar: it has 40960 bytes"},
		"1,000 deep":           {map[string]string{"policy/a.cedar": "\n" + permitAll + " when { " + nest(1000) + " };"}, "policy/a.cedar, line 2: the policy is nested more than 64 deep"},
		"too many files":       {many, "at most 32 are allowed"},
		"unknown attribute":    {map[string]string{"policy/a.cedar": permitAll + "\nwhen { resource.colour == \"red\" };"}, `policy/a.cedar, line 1: rule "all"`},
		"invisible reason":     {map[string]string{"policy/a.cedar": `@id("a") @reason("\u{202e}x") permit (principal, action, resource);`}, "invisible"},
		"reason of two lines":  {map[string]string{"policy/a.cedar": `@id("a") @reason("x\ny") permit (principal, action, resource);`}, "control character"},
	} {
		if h, err := NewHouse(c.files); err == nil || !strings.Contains(err.Error(), c.want) || h.Text != "" {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
	h, err := NewHouse(map[string]string{"policy/b.cedar": strings.ReplaceAll(permitAll, "all", "b") + ";", "policy/a.cedar": permitAll + ";\n"})
	if err != nil || !strings.HasPrefix(h.Text, "// file: policy/a.cedar\n") || h.Hash != statement.HashBytes([]byte(h.Text)) {
		t.Errorf("%q, %v", h.Text, err)
	}
}

func TestCheckAgreement(t *testing.T) {
	t.Parallel()
	r := good(newHistory(t, "alpha", "bravo"), Release)
	for text, want := range map[string]string{
		"":                 "",
		permitAll + ";\n":  "",
		"\n\n" + permitAll: "the agreement's policy, line 3: it is not Cedar",
		"// nothing\n":     "the agreement's policy: it has no rules",
		"\n@id(\"a\") @reason(\"r\") @needs(\"n\") forbid (principal, action, resource);\n":                  "it has no permit",
		"\n" + permitAll + ";\n" + permitAll + ";\n":                                                         `the agreement's policy, line 3: a second rule has the @id "all"`,
		permitAll + " when { " + nest(1000) + " };":                                                          "line 1: the policy is nested more than 64 deep",
		permitAll + ";" + strings.Repeat("\n", 1<<20):                                                        "the agreement's policy: the policy has",
		"\n@id(\"a\") permit (principal, action, resource);\n":                                               `line 2: rule "a" has no @reason`,
		permitAll + ";\n@id(\"b\") @reason(\"b\") permit (principal, action, resource)\nwhen { context.x };": `the agreement's policy, line 2: rule "b"`,
	} {
		r.Agreement.Policy = text
		err := CheckAgreement(r.Agreement)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, expected %q", text, err, want)
		}
	}
}
