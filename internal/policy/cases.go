package policy

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Outcome is what a case expects.
type Outcome string

// The outcomes.
const (
	Permitted Outcome = "permit"
	Denied    Outcome = "deny"
	// Awaits is a denial that the approval of a second person would cure.
	Awaits Outcome = "wait"
)

// Case is one question to the policies with its expected answer, as docs/formats/policy-test.md says.
type Case struct {
	Line    int `toml:"-"` // in its file
	Name    string
	Stage   Stage
	Expect  Outcome
	Rules   []string // those that must decide, exactly; none: whichever
	request Request
}

// Result is what a case came to.
type Result struct {
	Case     Case
	Got      Outcome
	Decision Decision
}

// OK tells whether the answer is the expected one.
func (r Result) OK() bool {
	return r.Got == r.Case.Expect && (len(r.Case.Rules) == 0 || slices.Equal(r.Case.Rules, r.Decision.Rules))
}

// Test decides a case by these house rules.
func (c Case) Test(house House) Result {
	c.request.House = house
	d := Decide(c.request)
	r := Result{Case: c, Got: Denied, Decision: d}
	switch {
	case d.Permit:
		r.Got = Permitted
	case d.Waits:
		r.Got = Awaits
	}
	return r
}

// caseFile is a file of cases; every key has a default that the base rules permit.
type caseFile struct {
	Case []caseEntry `toml:"case"`
}

type caseEntry struct {
	Name          string            `toml:"name"`
	Stage         Stage             `toml:"stage"`
	Expect        Outcome           `toml:"expect"`
	Rules         []string          `toml:"rules"`
	Self          string            `toml:"self"`
	From          string            `toml:"from"`
	To            []string          `toml:"to"`
	Purpose       string            `toml:"purpose"`
	Label         string            `toml:"label"`
	RetainDays    *int64            `toml:"retain_days"`
	Person        string            `toml:"person"`
	Roles         []string          `toml:"roles"`
	Labels        []string          `toml:"labels"`
	Trained       *bool             `toml:"trained"`
	Approver      string            `toml:"approver"`
	Withdrawn     []string          `toml:"withdrawn"`
	Jurisdictions map[string]string `toml:"jurisdictions"`
	Store         string            `toml:"store"`
	At            string            `toml:"at"`
}

// ParseCases reads a file of cases. With an agreement they are about documents under it; with nil, under one that allows what the case
// does. Errors name the line.
func ParseCases(b []byte, a *statement.Agreement) ([]Case, error) {
	if len(b) > limit.Policy {
		return nil, fmt.Errorf("the file has %d bytes, cases have at most %d", len(b), limit.Policy)
	}
	var f caseFile
	if err := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields().Decode(&f); err != nil {
		return nil, tomlError(err, "docs/formats/policy-test.md lists them")
	}
	if len(f.Case) == 0 {
		return nil, errors.New("there is no [[case]] in it")
	}
	lines := caseLines(b)
	var list []Case
	for i, e := range f.Case {
		c := Case{Name: e.Name, Stage: e.Stage, Expect: e.Expect, Rules: e.Rules}
		if i < len(lines) {
			c.Line = lines[i]
		}
		if err := e.fill(&c, a); err != nil {
			return nil, &statement.LineError{Line: c.Line, Text: fmt.Sprintf("case %.80q: %v", e.Name, err)}
		}
		list = append(list, c)
	}
	return list, nil
}

// caseLines are those on which cases begin.
func caseLines(b []byte) (list []int) {
	for i, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(strings.ReplaceAll(line, " ", ""), "[[case]]") {
			list = append(list, i+1)
		}
	}
	return list
}

// fill makes the request that a case describes: one that the base rules permit, but for what the case says otherwise.
func (e caseEntry) fill(c *Case, given *statement.Agreement) error {
	if e.Name == "" {
		return errors.New("it has no name")
	}
	if !slices.Contains(Stages, e.Stage) {
		return fmt.Errorf("stage %.40q is none of release, accept, open and approve", e.Stage)
	}
	if !slices.Contains([]Outcome{Permitted, Denied, Awaits}, e.Expect) {
		return fmt.Errorf("expect %.40q is none of permit, deny and wait", e.Expect)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	if given != nil {
		now = given.NotBefore.Add(24 * time.Hour)
	}
	if e.At != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, e.At); err != nil {
			return fmt.Errorf("at %.40q is not a time such as 2026-11-23T12:00:00Z", e.At)
		}
	}
	or := func(s *string, fallback string) {
		if *s == "" {
			*s = fallback
		}
	}
	or(&e.From, "alpha")
	if len(e.To) == 0 {
		e.To = []string{"bravo"}
	}
	here, role := e.From, Releaser
	switch e.Stage {
	case Accept, Open:
		here, role = e.To[0], Reader
	case Approve:
		role = Approver
	}
	or(&e.Self, here)
	or(&e.Person, "somebody")
	or(&e.Label, "TLP:GREEN")
	if e.Roles == nil {
		e.Roles = []string{role}
	}
	if e.Labels == nil {
		e.Labels = []string{"TLP:RED"}
	}
	a, hash := e.agreement(given, now)
	or(&e.Purpose, a.Purposes[0])
	days := min(a.RetainDays, 30)
	if e.RetainDays != nil {
		days = *e.RetainDays
	}
	person := &Person{Name: e.Person, Roles: e.Roles, Labels: e.Labels, TrainedUntil: now.AddDate(1, 0, 0)}
	if e.Trained != nil && !*e.Trained {
		person.TrainedUntil = time.Time{}
	}
	releaser := e.Person
	if e.Stage != Release {
		releaser = "releaser"
	}
	c.request = Request{Stage: e.Stage, Self: e.Self, Now: now, Agreement: a, AgreementHash: hash, Newest: a.Version, Begun: a.NotBefore, Withdrawn: e.Withdrawn, Store: e.Store,
		Manifest: statement.Manifest{ID: "01K7XQ3W0V6N2T9R4M5B8C1D2E", From: e.From, To: e.To, Agreement: a.Name, AgreementHash: hash, Purpose: e.Purpose, Label: e.Label,
			Created: now, DeliverBy: now.Add(time.Hour), RetainUntil: now.AddDate(0, 0, int(days)), ReleasedBy: "spiffe://" + e.From + "/person/" + releaser},
		recalled: &recalled{alliance: a.Alliance.String(), charterKnown: true, goodStanding: append([]string{e.From, e.Self}, e.To...),
			jurisdictionFrom: e.Jurisdictions[e.From], jurisdictionSelf: e.Jurisdictions[e.Self]}}
	for _, to := range e.To {
		c.request.recalled.jurisdictionTo = append(c.request.recalled.jurisdictionTo, e.Jurisdictions[to])
	}
	or(&c.request.Store, e.Jurisdictions[e.Self])
	if e.Stage != Accept {
		c.request.Person = person
	}
	if e.Approver != "" {
		c.request.Approver = &Person{Name: e.Approver, Roles: []string{Approver}, Labels: []string{"TLP:RED"}, TrainedUntil: now.AddDate(1, 0, 0)}
	}
	return nil
}

// agreement gives the one under which a case is, with the hash that stands for it.
func (e caseEntry) agreement(given *statement.Agreement, now time.Time) (*statement.Agreement, statement.Hash) {
	hash := statement.HashBytes([]byte("the agreement of a case"))
	if given != nil {
		return given, hash
	}
	parties := map[string]bool{e.From: true, e.Self: true}
	for _, to := range e.To {
		parties[to] = true
	}
	purpose := e.Purpose
	if purpose == "" {
		purpose = "exercise"
	}
	return &statement.Agreement{Name: "any", Version: 1, Parties: slices.Sorted(maps.Keys(parties)), Purposes: []string{purpose}, Ceiling: "TLP:RED",
		RetainDays: limit.RetentionDays, NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour)}, hash
}
