package policy

import (
	"bytes"
	"encoding/json"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// record is a decision as it is kept: what was asked, the facts, and the outcome, in this order of keys.
type record struct {
	Version      int              `json:"v"`
	Stage        Stage            `json:"stage"`
	Now          string           `json:"now"`
	Self         string           `json:"self"`
	Person       *recordPerson    `json:"person,omitempty"`
	Manifest     recordManifest   `json:"manifest"`
	Agreement    *recordAgreement `json:"agreement,omitempty"`
	Newest       int64            `json:"newest_version"`
	Begun        string           `json:"newest_begun,omitempty"`
	Withdrawn    []string         `json:"withdrawn,omitempty"`
	Approver     *recordPerson    `json:"approver,omitempty"`
	Alliance     string           `json:"alliance_sha256"`
	CharterKnown bool             `json:"charter_known"`
	GoodStanding []string         `json:"in_good_standing"`
	Places       recordPlaces     `json:"jurisdictions"`
	outcome
}

// outcome is the part of a record that is kept even if the facts are too large to be.
type outcome struct {
	Permit   bool               `json:"permit"`
	Rules    []string           `json:"rules"`
	Reasons  []statement.Reason `json:"reasons,omitempty"`
	Failures []string           `json:"failures,omitempty"` // what the engine said about rules that could not be evaluated
	Policies []recordPolicy     `json:"policies"`
}

type recordPerson struct {
	Name         string   `json:"name"`
	Roles        []string `json:"roles"`
	Labels       []string `json:"labels,omitempty"`
	TrainedUntil string   `json:"trained_until,omitempty"`
}

type recordPlaces struct {
	From  string   `json:"from,omitempty"`
	To    []string `json:"to,omitempty"`
	Self  string   `json:"self,omitempty"`
	Store string   `json:"store,omitempty"`
}

type recordManifest struct {
	Core          statement.Hash `json:"core_sha256"`
	ID            string         `json:"id"`
	From          string         `json:"from"`
	To            []string       `json:"to"`
	Charter       statement.Hash `json:"charter_sha256"`
	Agreement     string         `json:"agreement"`
	AgreementHash statement.Hash `json:"agreement_sha256"`
	Purpose       string         `json:"purpose"`
	Label         string         `json:"label"`
	Created       string         `json:"created"`
	DeliverBy     string         `json:"deliver_by"`
	RetainUntil   string         `json:"retain_until"`
	ReleasedBy    string         `json:"released_by"`
	ApprovedBy    string         `json:"approved_by,omitempty"`
}

// recordAgreement has the terms by which most is decided. Its policy and its label schemes are in the text that the hash names.
type recordAgreement struct {
	Hash          statement.Hash `json:"sha256"`
	Name          string         `json:"name"`
	Version       int64          `json:"version"`
	Alliance      statement.Hash `json:"alliance_sha256"`
	Parties       []string       `json:"parties"`
	Purposes      []string       `json:"purposes"`
	Ceiling       string         `json:"label_ceiling"`
	ApprovalAbove string         `json:"approval_above,omitempty"`
	RetainDays    int64          `json:"retain_days_max"`
	NotBefore     string         `json:"not_before"`
	NotAfter      string         `json:"not_after"`
}

type recordPolicy struct {
	Set  string         `json:"set"`
	Hash statement.Hash `json:"sha256"`
}

// recorded gives the decision with its record. Facts that do not fit are denied: there is no decision without evidence.
// Only a person's own input, before it was checked, can be that large; everything signed is bounded.
func (d Decision) recorded(r Request, sets []*compiled, failures []string) Decision {
	out := outcome{Permit: d.Permit, Rules: d.Rules, Reasons: d.Reasons, Failures: failures}
	for _, s := range sets {
		out.Policies = append(out.Policies, recordPolicy{s.name, s.hash})
	}
	if b, err := encode(newRecord(r, out)); err == nil && len(b) <= limit.Private {
		d.Record = b
		return d
	}
	d = denied([]finding{{Reason: statement.Reason{Set: setBase, Rule: ruleRecord, Needs: "shorter values in the request",
		Text: "what the request says is too long to be recorded, and nothing happens without a record"}}}, r.Stage)
	out = outcome{Rules: d.Rules, Reasons: d.Reasons, Policies: out.Policies}
	d.Record, _ = encode(record{Version: 1, Stage: Stage(word(string(r.Stage))), Now: instant(r.Now), Self: word(r.Self), outcome: out})
	return d
}

func newRecord(r Request, out outcome) record {
	m, c := r.Manifest, recall(r)
	rec := record{Version: 1, Stage: r.Stage, Now: instant(r.Now), Self: r.Self, Person: newRecordPerson(r.Person), Approver: newRecordPerson(r.Approver),
		Newest: r.Newest, Begun: maybe(r.Begun), Withdrawn: r.Withdrawn, Alliance: c.alliance, CharterKnown: c.charterKnown, GoodStanding: c.goodStanding,
		Places: recordPlaces{c.jurisdictionFrom, c.jurisdictionTo, c.jurisdictionSelf, r.Store}, outcome: out,
		Manifest: recordManifest{Core: m.Core(), ID: m.ID, From: m.From, To: m.To, Charter: m.Charter, Agreement: m.Agreement,
			AgreementHash: m.AgreementHash, Purpose: m.Purpose, Label: m.Label, Created: instant(m.Created), DeliverBy: instant(m.DeliverBy),
			RetainUntil: instant(m.RetainUntil), ReleasedBy: m.ReleasedBy, ApprovedBy: m.Approval.By}}
	if a := r.Agreement; a != nil {
		rec.Agreement = &recordAgreement{r.AgreementHash, a.Name, a.Version, a.Alliance, a.Parties, a.Purposes, a.Ceiling, a.ApprovalAbove, a.RetainDays,
			instant(a.NotBefore), instant(a.NotAfter)}
	}
	return rec
}

func newRecordPerson(p *Person) *recordPerson {
	if p == nil {
		return nil
	}
	return &recordPerson{p.Name, p.Roles, p.Labels, maybe(p.TrainedUntil)}
}

func encode(rec record) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(2 << 10) // most are smaller
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(rec); err != nil {
		return nil, err
	}
	if bytes.Contains(b.Bytes(), []byte(`\ufffd`)) {
		return encodeAgain(b.Bytes())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encodeAgain gives a record with bytes that were no UTF-8 its one rendering: the encoder writes the mark that replaces them
// as an escape the first time, and as it is when it finds it in the text.
func encodeAgain(b []byte) ([]byte, error) {
	var rec record
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, err
	}
	var again bytes.Buffer
	e := json.NewEncoder(&again)
	e.SetEscapeHTML(false)
	if err := e.Encode(rec); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(again.Bytes(), []byte("\n")), nil
}

// maybe is instant where a time may be none.
func maybe(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return instant(t)
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
