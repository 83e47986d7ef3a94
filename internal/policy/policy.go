// Package policy answers one question: may this document cross this border?
//
// Decide is a pure function of a Request: the stage, the manifest, the agreement, the members, the person, the time. It says
// yes or no, and if no, then every reason at once, each with the rule that said so and what would have been needed.
//
//	d := policy.Decide(policy.Request{Stage: policy.Release, Manifest: core, Agreement: &a, AgreementHash: hash, …})
//	if !d.Permit {
//		return &fault.Error{Kind: fault.Refused, Text: "the policy does not permit it", Reasons: d.Reasons}
//	}
//
// The rules are in base.cedar, written to be read. Nothing is permitted that no rule permits; one rule that forbids
// outweighs all that permit; and a rule that cannot be evaluated denies, although the engine would skip it.
//
// The package does no I/O and takes the time as a parameter. All of it may be used concurrently.
package policy

import (
	_ "embed"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cedar-policy/cedar-go"

	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// Stage is the point in a document's life at which is decided. It is the action of the rules.
type Stage string

// The stages.
const (
	// Release is at the sender: a person hands a document over to be sent.
	Release Stage = "release"
	// Accept is at the recipient: the node takes a document in. No person is involved.
	Accept Stage = "accept"
	// Open is at the recipient: a person wants to read a document.
	Open Stage = "open"
	// Approve is at the sender: a second person wants to approve a release that waits.
	Approve Stage = "approve"
)

// The roles that the base rules ask for.
const (
	// Releaser may release documents.
	Releaser = "releaser"
	// Reader may open documents.
	Reader = "reader"
	// Approver may approve the releases of others.
	Approver = "approver"
)

// Person is somebody who works for the deciding member, as its node authenticated them.
type Person struct {
	Name         string // alice
	Roles        []string
	Labels       []string  // the highest label of each scheme that they may see, with all categories that they are cleared for
	TrainedUntil time.Time // zero: not trained
}

// House is a member's own rules. The zero value permits nothing.
type House struct {
	Text string // the files one after the other, each behind a line `// file: NAME`, in the order of their names
	Hash statement.Hash
}

// Request is everything that a decision depends on.
type Request struct {
	Stage         Stage
	Manifest      statement.Manifest   // at Release there is only its core: Content is not looked at
	Agreement     *statement.Agreement // nil if the deciding member does not know it
	AgreementHash statement.Hash       // of Agreement
	Newest        int64                // the newest version of that agreement's name which has begun here, or 0
	Begun         time.Time            // when that one began here: at its not_before, or when its last signature arrived
	Withdrawn     []string             // parties of Agreement whose withdrawal has taken effect, sorted
	House         House                // the deciding member's own rules
	Store         string               // the jurisdiction in which the deciding member keeps documents, ISO 3166-1 alpha-2, or empty
	Approver      *Person              // at Release: who has approved it; nil: nobody yet
	History       *member.History      // nil permits nothing
	Self          string               // the deciding member
	Person        *Person              // nil at Accept; nil elsewhere permits nothing
	Now           time.Time            // to the second; what is finer is cut off, as in the record

	recalled *recalled // what stands for History in a request that was rebuilt from its record
}

// Decision is the answer. The zero value is a denial.
type Decision struct {
	Permit  bool
	Rules   []string           // the rules that decided, as SET/ID, such as base/sender-party; never empty
	Reasons []statement.Reason // why not, in the order of the rules; empty if permitted
	// Transient says of a denial that waiting may cure all of it: a clock is wrong, or we have not seen a charter yet. A recipient
	// answers it with an error that asks to try again, not with a signed refusal.
	Transient bool
	// Waits says of a denial at Release that the approval of a second person would cure all of it.
	Waits bool
	// Record is all of it as one JSON object of at most limit.Private bytes: what was asked, the facts, the outcome, and the
	// SHA-256 of the policy text. It holds no content, but a person's name, so it goes into the log only as a commitment.
	Record []byte
}

// The ids of denials that no rule of the text stands behind.
const (
	ruleUnloaded = "policy-set"      // the policy text itself does not load
	ruleNothing  = "nothing-permits" // no rule permits it
	ruleRecord   = "record-size"     // the facts are too large to be recorded
)

const baseName = "base"

//go:embed base.cedar
var baseText string

//go:embed base.cedarschema
var vocabularyText string

// loadBase parses the embedded rules once.
var loadBase = sync.OnceValues(func() (*set, error) { return parseBase(baseText) })

func parseBase(text string) (*set, error) {
	v, err := parseVocabulary("base.cedarschema", vocabularyText)
	if err != nil {
		return nil, err
	}
	return parseSet(baseName, text, v, values(Request{}))
}

// Check loads the base rules and tells what is wrong with them. A node asks at its start, rather than deny everything later.
func Check() error {
	_, err := loadBase()
	return err
}

// Decide decides. It never fails: whatever goes wrong is a denial with a reason.
func Decide(r Request) Decision {
	s, err := loadBase()
	return decide(s, err, r)
}

func decide(base *set, err error, r Request) Decision {
	// A record holds whole seconds, and the decision must come out the same from it.
	r.Now = r.Now.UTC().Truncate(time.Second)
	if err != nil {
		d := denial(ruleUnloaded, "the base policy of this program does not load, so nothing is permitted", "a sound copy of the program")
		return d.recorded(r, statement.Hash{}, []string{err.Error()})
	}
	request, entities := facts(r)
	verdict, diagnostic := cedar.Authorize(base, entities, request)
	d := Decision{Permit: verdict == cedar.Allow && len(diagnostic.Errors) == 0}
	var failures []string
	if d.Permit {
		for _, reason := range diagnostic.Reasons {
			d.Rules = append(d.Rules, base.name+"/"+string(reason.PolicyID))
		}
	} else {
		d, failures = explain(base, diagnostic, verdict, r)
	}
	return d.recorded(r, base.hash, failures)
}

// explain turns the engine's diagnostic into reasons, in the order of the rules.
func explain(base *set, diagnostic cedar.Diagnostic, verdict cedar.Decision, r Request) (d Decision, failures []string) {
	filled := values(r)
	failed := map[cedar.PolicyID]bool{}
	for _, e := range diagnostic.Errors {
		failed[e.PolicyID] = true
		failures = append(failures, fmt.Sprintf("%s: %s", e.PolicyID, e.Message))
	}
	violated := map[cedar.PolicyID]bool{}
	if verdict == cedar.Deny {
		for _, reason := range diagnostic.Reasons {
			violated[reason.PolicyID] = true
		}
	}
	d.Transient = true
	for i := range base.rules {
		rule := &base.rules[i]
		id := cedar.PolicyID(rule.id)
		switch {
		case failed[id]:
			d.Transient = false
			// What exactly failed is for the record: the other side learns only that it did.
			d.deny(base.name, rule.id, "rule "+rule.id+" could not be evaluated, and what cannot be judged is not permitted",
				"a policy whose rules can all be evaluated; the decision record says what failed")
		case violated[id]:
			d.Transient = d.Transient && rule.transient
			d.deny(base.name, rule.id, sentence(rule.reason, filled), sentence(rule.needs, filled))
		}
	}
	if len(d.Reasons) == 0 {
		d.Transient = false
		d.deny(base.name, ruleNothing, sentence("no rule permits {stage} here", filled), "one of the stages release, accept and open")
	}
	return d, failures
}

func denial(rule, text, needs string) Decision {
	var d Decision
	d.deny(baseName, rule, text, needs)
	return d
}

func (d *Decision) deny(set, rule, text, needs string) {
	d.Permit = false
	d.Rules = append(d.Rules, set+"/"+rule)
	d.Reasons = append(d.Reasons, statement.Reason{Set: set, Rule: rule, Text: text, Needs: needs})
}

// facts gives the rules what base.cedarschema promises them.
func facts(r Request) (cedar.Request, cedar.EntityMap) {
	m := r.Manifest
	document := cedar.RecordMap{
		"id": cedar.String(m.ID), "from": cedar.String(m.From), "to": stringSet(m.To),
		"charter": cedar.String(m.Charter.String()), "agreement": cedar.String(m.Agreement), "agreement_sha256": cedar.String(m.AgreementHash.String()),
		"purpose": cedar.String(m.Purpose), "label": cedar.String(m.Label),
		"created": cedar.NewDatetime(m.Created), "deliver_by": cedar.NewDatetime(m.DeliverBy), "retain_until": cedar.NewDatetime(m.RetainUntil),
		"released_by": cedar.String(m.ReleasedBy),
	}
	if level, ok := Rank(m.Label); ok {
		document["level"] = cedar.Long(level)
	}
	earliest, latest := r.Now, r.Now
	if r.Stage == Accept {
		earliest, latest = r.Now.Add(-limit.ClockSkew), r.Now.Add(limit.ClockSkew)
	}
	context := cedar.RecordMap{
		"self": cedar.String(r.Self), "alliance": cedar.String(alliance(r)), "charter_known": cedar.Boolean(charterKnown(r)), "newest_version": cedar.Long(r.Newest),
		"in_good_standing": stringSet(goodStanding(r)), "earliest": cedar.NewDatetime(earliest), "latest": cedar.NewDatetime(latest),
	}
	if a := r.Agreement; a != nil {
		context["agreement"] = agreementFacts(a, r.AgreementHash)
	}
	principal, attributes := principalOf(r)
	resource := cedar.NewEntityUID("Document", cedar.String(m.From+"/"+m.ID))
	action := cedar.NewEntityUID("Action", cedar.String(r.Stage))
	return cedar.Request{Principal: principal, Action: action, Resource: resource, Context: cedar.NewRecord(context)},
		cedar.EntityMap{
			principal: {UID: principal, Attributes: cedar.NewRecord(attributes)},
			resource:  {UID: resource, Attributes: cedar.NewRecord(document)},
		}
}

func agreementFacts(a *statement.Agreement, hash statement.Hash) cedar.Record {
	terms := cedar.RecordMap{
		"name": cedar.String(a.Name), "version": cedar.Long(a.Version), "sha256": cedar.String(hash.String()), "alliance": cedar.String(a.Alliance.String()),
		"parties": stringSet(a.Parties), "purposes": stringSet(a.Purposes),
		"retain_max": cedar.NewDurationFromMillis(a.RetainDays * (24 * time.Hour).Milliseconds()),
		"not_before": cedar.NewDatetime(a.NotBefore), "not_after": cedar.NewDatetime(a.NotAfter),
	}
	if level, ok := Rank(a.Ceiling); ok {
		terms["ceiling"] = cedar.Long(level)
	}
	return cedar.NewRecord(terms)
}

// principalOf is who acts: the node when it accepts, else a person; without one, somebody who has no role.
func principalOf(r Request) (cedar.EntityUID, cedar.RecordMap) {
	if r.Stage == Accept {
		return cedar.NewEntityUID("Node", cedar.String(r.Self)), nil
	}
	var id string
	var roles []string
	if r.Person != nil {
		id, roles = "spiffe://"+r.Self+"/person/"+r.Person.Name, r.Person.Roles
	}
	return cedar.NewEntityUID("Person", cedar.String(id)), cedar.RecordMap{"spiffe_id": cedar.String(id), "roles": stringSet(roles)}
}

func stringSet(list []string) cedar.Set {
	values := make([]cedar.Value, len(list))
	for i, s := range list {
		values[i] = cedar.String(s)
	}
	return cedar.NewSet(values...)
}

func alliance(r Request) string {
	if r.recalled != nil {
		return r.recalled.alliance
	}
	if r.History == nil {
		return ""
	}
	return r.History.Alliance().String()
}

func charterKnown(r Request) bool {
	if r.recalled != nil {
		return r.recalled.charterKnown
	}
	return r.History != nil && r.History.Knows(r.Manifest.Charter)
}

// goodStanding lists those concerned that are members in good standing: the sender, the recipients and ourselves.
func goodStanding(r Request) []string {
	if r.recalled != nil {
		return r.recalled.goodStanding
	}
	if r.History == nil {
		return nil
	}
	concerned := append([]string{r.Manifest.From, r.Self}, r.Manifest.To...)
	slices.Sort(concerned)
	return slices.DeleteFunc(slices.Compact(concerned), func(name string) bool { return !r.History.InGoodStanding(name) })
}
