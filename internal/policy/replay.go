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

// What callers of Replay act upon. Neither is damage by itself.
var (
	// ErrOtherPolicy: the record names a text that is not here, so the decision cannot be made again.
	ErrOtherPolicy = errors.New("it was made by a text that is not here")
	// ErrNoFacts: the record is of a denial whose facts were too large to be kept.
	ErrNoFacts = errors.New("its facts were too large to be recorded")
)

// Sources gives the texts that a record names by their hashes; nil gives none.
type Sources struct {
	Agreement func(statement.Hash) *statement.Agreement // nil if there is none of that hash
	House     func(statement.Hash) (text string, ok bool)
}

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

// Replay reads a decision's record and decides again. It proves that the outcome follows from the recorded facts, and not that
// the facts were true: the caller compares Request with the statements that it names.
//
// The record must be the one rendering of what it says, of at most limit.Private bytes. With ErrOtherPolicy the recorded outcome and
// Request are given all the same, with ErrNoFacts the outcome.
func Replay(b []byte, from Sources) (Replayed, error) {
	rec, err := parseRecord(b)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay decision: %w", err)
	}
	p := Replayed{Recorded: Decision{Permit: rec.Permit, Rules: rec.Rules, Reasons: rec.Reasons, Record: b}, Core: rec.Manifest.Core}
	if !rec.Permit && slices.Equal(rec.Rules, []string{setBase + "/" + ruleRecord}) {
		return p, ErrNoFacts
	}
	if p.Request, err = rec.request(); err != nil {
		return Replayed{}, fmt.Errorf("replay decision: %w", err)
	}
	base := base()
	if err := rec.texts(&p.Request, base, from); err != nil {
		return p, err
	}
	p.Again = decide(base, p.Request)
	return p, nil
}

// texts finds the texts that a record names. What it took from the agreement's text, and does not repeat, comes from there.
func (rec record) texts(r *Request, base *compiled, from Sources) error {
	want := []recordPolicy{{setBase, base.hash}}
	if r.Agreement != nil {
		if from.Agreement == nil {
			return ErrOtherPolicy
		}
		signed := from.Agreement(r.AgreementHash)
		if signed == nil {
			return fmt.Errorf("agreement %s: %w", r.AgreementHash.Short(), ErrOtherPolicy)
		}
		r.Agreement.Policy, r.Agreement.Schemes, r.Agreement.Equivalents = signed.Policy, signed.Schemes, signed.Equivalents
		if signed.Policy != "" {
			want = append(want, recordPolicy{setAgreement, statement.HashBytes([]byte(signed.Policy))})
		}
	}
	if n := len(rec.Policies); n > 0 && rec.Policies[n-1].Set == setHouse {
		hash := rec.Policies[n-1].Hash
		text, ok := "", hash == statement.HashBytes(nil)
		if !ok && from.House != nil {
			text, ok = from.House(hash)
		}
		if !ok || statement.HashBytes([]byte(text)) != hash {
			return fmt.Errorf("house rules %s: %w", hash.Short(), ErrOtherPolicy)
		}
		r.House = House{text, hash}
		want = append(want, recordPolicy{setHouse, hash})
	}
	if !slices.Equal(rec.Policies, want) {
		return ErrOtherPolicy
	}
	return nil
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
	r = Request{Stage: rec.Stage, Self: rec.Self, Newest: rec.Newest, Withdrawn: rec.Withdrawn, Store: rec.Places.Store,
		recalled: &recalled{rec.Alliance, rec.CharterKnown, rec.GoodStanding, rec.Places.From, rec.Places.Self, rec.Places.To},
		Manifest: statement.Manifest{ID: m.ID, From: m.From, To: m.To, Charter: m.Charter, Agreement: m.Agreement, AgreementHash: m.AgreementHash,
			Purpose: m.Purpose, Label: m.Label, ReleasedBy: m.ReleasedBy, Approval: statement.Approval{By: m.ApprovedBy}}}
	type instant struct {
		text  string
		to    *time.Time
		maybe bool
	}
	times := []instant{{rec.Now, &r.Now, false}, {m.Created, &r.Manifest.Created, false}, {m.DeliverBy, &r.Manifest.DeliverBy, false},
		{m.RetainUntil, &r.Manifest.RetainUntil, false}, {rec.Begun, &r.Begun, true}}
	for _, who := range []struct {
		from *recordPerson
		to   **Person
	}{{rec.Person, &r.Person}, {rec.Approver, &r.Approver}} {
		if p := who.from; p != nil {
			*who.to = &Person{Name: p.Name, Roles: p.Roles, Labels: p.Labels}
			times = append(times, instant{p.TrainedUntil, &(*who.to).TrainedUntil, true})
		}
	}
	if a := rec.Agreement; a != nil {
		r.AgreementHash = a.Hash
		r.Agreement = &statement.Agreement{Name: a.Name, Version: a.Version, Alliance: a.Alliance, Parties: a.Parties, Purposes: a.Purposes,
			Ceiling: a.Ceiling, ApprovalAbove: a.ApprovalAbove, RetainDays: a.RetainDays}
		times = append(times, instant{a.NotBefore, &r.Agreement.NotBefore, false}, instant{a.NotAfter, &r.Agreement.NotAfter, false})
	}
	for _, t := range times {
		if t.maybe && t.text == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return r, fmt.Errorf("parse record: %.80q is not a time", t.text)
		}
	}
	return r, nil
}
