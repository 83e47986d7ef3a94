package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// What callers of Replay act upon. Neither is damage.
var (
	// ErrOtherPolicy: the record names a policy text that this program does not have, so the decision cannot be made again.
	ErrOtherPolicy = errors.New("it was made with a policy text that this program does not have")
	// ErrNoFacts: the record is of a denial whose facts were too large to be kept.
	ErrNoFacts = errors.New("its facts were too large to be recorded")
)

// Replayed is a decision that was made again from its record.
type Replayed struct {
	Request  Request        // as the record has it; without History, and of manifest and agreement what rules can see
	Core     statement.Hash // of the manifest that was decided about
	Recorded Decision       // the outcome in the record: Permit, Rules and Reasons
	Again    Decision       // what the same rules say to the same facts
}

// Agrees tells whether the recorded outcome is what the rules give. Reasons are not compared: they are for people, and say
// nothing that the rules do not say.
func (r Replayed) Agrees() bool {
	return r.Recorded.Permit == r.Again.Permit && slices.Equal(r.Recorded.Rules, r.Again.Rules)
}

// recalled is what a decision drew from the History.
type recalled struct {
	alliance     string
	charterKnown bool
	goodStanding []string
}

// Replay reads a decision's record and decides again. It proves that the outcome follows from the recorded facts, and not that
// the facts were true: the caller compares Request with the statements that it names.
//
// The record must be the one rendering of what it says, of at most limit.Private bytes. With ErrOtherPolicy and ErrNoFacts
// the recorded outcome is given all the same.
func Replay(b []byte) (Replayed, error) {
	s, err := loadBase()
	if err != nil {
		return Replayed{}, fmt.Errorf("replay decision: %w", err)
	}
	rec, err := parseRecord(b)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay decision: %w", err)
	}
	p := Replayed{Recorded: Decision{Permit: rec.Permit, Rules: rec.Rules, Reasons: rec.Reasons, Record: b}}
	if !slices.Equal(rec.Policies, []recordPolicy{{baseName, s.hash}}) {
		return p, ErrOtherPolicy
	}
	if !rec.Permit && slices.Equal(rec.Rules, []string{baseName + "/" + ruleRecord}) {
		return p, ErrNoFacts
	}
	if p.Request, err = rec.request(); err != nil {
		return Replayed{}, fmt.Errorf("replay decision: %w", err)
	}
	p.Core, p.Again = rec.Manifest.Core, decide(s, nil, p.Request)
	return p, nil
}

func parseRecord(b []byte) (rec record, err error) {
	if len(b) > limit.Private {
		return rec, fmt.Errorf("the record has %d bytes, at most %d are allowed", len(b), limit.Private)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&rec); err != nil {
		return rec, fmt.Errorf("parse record: %w", err)
	}
	if rec.Version != 1 {
		return rec, fmt.Errorf("parse record: version %d is unknown", rec.Version)
	}
	if again, err := encode(rec); err != nil || !bytes.Equal(again, b) {
		return rec, errors.New("parse record: not the one rendering of what it says")
	}
	return rec, nil
}

// request is newRecord backwards.
func (rec record) request() (r Request, err error) {
	m := rec.Manifest
	r = Request{Stage: rec.Stage, Self: rec.Self, Newest: rec.Newest, recalled: &recalled{rec.Alliance, rec.CharterKnown, rec.GoodStanding},
		Manifest: statement.Manifest{ID: m.ID, From: m.From, To: m.To, Charter: m.Charter, Agreement: m.Agreement, AgreementHash: m.AgreementHash,
			Purpose: m.Purpose, Label: m.Label, ReleasedBy: m.ReleasedBy}}
	if rec.Person != nil {
		r.Person = &Person{Name: rec.Person.Name, Roles: rec.Person.Roles}
	}
	type instant struct {
		text string
		to   *time.Time
	}
	times := []instant{{rec.Now, &r.Now}, {m.Created, &r.Manifest.Created}, {m.DeliverBy, &r.Manifest.DeliverBy}, {m.RetainUntil, &r.Manifest.RetainUntil}}
	if a := rec.Agreement; a != nil {
		r.AgreementHash = a.Hash
		r.Agreement = &statement.Agreement{Name: a.Name, Version: a.Version, Alliance: a.Alliance, Parties: a.Parties, Purposes: a.Purposes,
			Ceiling: a.Ceiling, RetainDays: a.RetainDays}
		times = append(times, instant{a.NotBefore, &r.Agreement.NotBefore}, instant{a.NotAfter, &r.Agreement.NotAfter})
	}
	for _, t := range times {
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return r, fmt.Errorf("parse record: %.80q is not a time", t.text)
		}
	}
	return r, nil
}
