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
// There are three sets of rules, and every one must permit: base, built in and the same for everybody; the agreement's own, part of the
// text that its parties signed, which permits if there is none; and the house rules of the deciding member, which permit nothing if there
// are none. In each, nothing is permitted that no rule permits; one rule that forbids outweighs all that permit; and a rule that cannot be
// evaluated denies, although the engine would skip it. The base rules are in base.cedar, written to be read.
//
// The package does no I/O and takes the time as a parameter. All of it may be used concurrently.
package policy

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
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

// Stages are all of them.
var Stages = []Stage{Release, Accept, Open, Approve}

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
	Rules   []string           // the rules that decided, as SET/ID, such as base/sender-party; never empty. For ourselves: see Outward
	Reasons []statement.Reason // why not, in the order of the rules; empty if permitted. For our own people: see Outward
	// Transient says of a denial that waiting may cure all of it: a clock is wrong, or we have not seen a charter yet. A recipient
	// answers it with an error that asks to try again, not with a signed refusal.
	Transient bool
	// Waits says of a denial at Release that the approval of a second person would cure all of it.
	Waits bool
	// Record is all of it as one JSON object of at most limit.Private bytes: what was asked, the facts, the outcome, and the
	// SHA-256 of each policy text. It holds no content, but a person's name, so it goes into the log only as a commitment.
	Record []byte
}

// The ids of denials that no rule of the text stands behind, and what stands for all house rules towards others.
const (
	ruleUnloaded = "policy-set"      // the policy text itself does not load
	ruleNothing  = "nothing-permits" // no rule permits it
	ruleRecord   = "record-size"     // the facts are too large to be recorded
	ruleMore     = "and-more"        // stands for the rules that forbid it beyond those that are named
	ruleHouse    = "house-rules"
)

//go:embed base.cedar
var baseText string

//go:embed base.cedarschema
var vocabularyText string

// The policy sets, in the order in which they are asked.
const (
	setBase      = "base"
	setAgreement = "agreement"
	setHouse     = "house"
)

// Check loads the base rules and tells what is wrong with them. A node asks at its start, rather than deny everything later.
func Check() error { return base().err }

// Decide decides. It never fails: whatever goes wrong is a denial with a reason.
func Decide(r Request) Decision { return decide(base(), r) }

func decide(base *compiled, r Request) Decision {
	// A record holds whole seconds, and the decision must come out the same from it.
	r.Now = r.Now.UTC().Truncate(time.Second)
	r.Begun = r.Begun.UTC().Truncate(time.Second)
	r.recalled = recall(r)
	sets := []*compiled{base}
	if r.Agreement != nil && r.Agreement.Policy != "" {
		sets = append(sets, compileBy(setAgreement, r.AgreementHash, r.Agreement.Policy))
	}
	sets = append(sets, compileBy(setHouse, r.House.Hash, r.House.Text))
	a := asked{Request: r}
	a.request, a.entities = facts(r)
	d := Decision{Permit: true}
	var denials []finding
	var failures, permits []string
	for _, s := range sets {
		if s.err != nil {
			denials, failures = append(denials, unloaded(s)), append(failures, s.err.Error())
			continue
		}
		verdict, diagnostic := s.ask(a.request, a.entities)
		if verdict == cedar.Allow && len(diagnostic.Errors) == 0 {
			permits = append(permits, s.name+"/"+string(diagnostic.Reasons[0].PolicyID))
			continue
		}
		found, failed := a.explain(s.set, diagnostic, verdict)
		denials, failures = append(denials, found...), append(failures, failed...)
	}
	if len(denials) == 0 {
		d.Rules = permits
	} else {
		d = denied(denials, r.Stage)
	}
	return d.recorded(r, sets, failures)
}

// finding is one reason against it.
type finding struct {
	statement.Reason
	transient bool // waiting may cure it
	approval  bool // the approval of a second person cures it
}

// denied makes the decision of what was found. There may be more to say than a leaf and a receipt can hold: then the rest is counted.
func denied(found []finding, stage Stage) Decision {
	d := Decision{Transient: true, Waits: stage == Release}
	names, text := 0, 0
	for i, f := range found {
		d.Transient = d.Transient && f.transient
		d.Waits = d.Waits && f.approval
		rule := f.Set + "/" + f.Rule
		names, text = names+len(rule)+len(`"",`), text+len(f.Text)+len(f.Needs)
		if i > 0 && (len(d.Rules) == limit.Reasons-1 && i < len(found)-1 || names > limit.RuleNames || text > limit.ReasonsText) {
			rest := len(found) - i
			for _, f := range found[i:] {
				d.Transient, d.Waits = d.Transient && f.transient, d.Waits && f.approval
			}
			f = finding{Reason: statement.Reason{Set: setBase, Rule: ruleMore, Text: "rules beyond these that do not permit it: " + strconv.Itoa(rest),
				Needs: "first what is named here; then ask again"}}
			d.Rules, d.Reasons = append(d.Rules, f.Set+"/"+f.Rule), append(d.Reasons, f.Reason)
			break
		}
		d.Rules, d.Reasons = append(d.Rules, rule), append(d.Reasons, f.Reason)
	}
	return d
}

func unloaded(s *compiled) finding {
	f := finding{Reason: statement.Reason{Set: s.name, Rule: ruleUnloaded}}
	switch s.name {
	case setBase:
		f.Text, f.Needs = "the base policy of this program does not load, so nothing is permitted", "a sound copy of the program"
	case setAgreement:
		f.Text, f.Needs = "the policy of the agreement does not load, so nothing is permitted", "an agreement whose policy loads"
	default:
		// Somebody is editing them, or soon will: a document that comes meanwhile is not refused for good.
		f.Text, f.Needs = clip("the house rules do not load, so nothing is permitted: "+word(s.err.Error()), limit.Line), "house rules that `entente policy check` finds sound"
		f.transient = true
	}
	return f
}

// Outward is what others may learn of the decision: other members in receipts, and whoever reads the log. What the base rules and the
// agreement say, they know; of the house rules they learn only that these said no, or yes. self is the deciding member.
func (d Decision) Outward(self string) (rules []string, reasons []statement.Reason) {
	for _, rule := range d.Rules {
		if strings.HasPrefix(rule, setHouse+"/") {
			rule = setHouse + "/" + ruleHouse
			if slices.Contains(rules, rule) {
				continue
			}
		}
		rules = append(rules, rule)
	}
	hidden := false
	for _, reason := range d.Reasons {
		if reason.Set == setHouse {
			if hidden {
				continue
			}
			hidden = true
			reason = statement.Reason{Set: setHouse, Rule: ruleHouse, Text: "the rules of " + word(self) + " itself do not permit it", Needs: "ask " + word(self)}
		}
		reasons = append(reasons, reason)
	}
	return rules, reasons
}

// House gives the reasons of the house rules as JSON, which stay at home; nil if there are none.
func (d Decision) House() []byte {
	list := slices.DeleteFunc(slices.Clone(d.Reasons), func(r statement.Reason) bool { return r.Set != setHouse })
	if len(list) == 0 {
		return nil
	}
	b, err := json.Marshal(list)
	if err != nil {
		return nil // strings always can be
	}
	return b
}
