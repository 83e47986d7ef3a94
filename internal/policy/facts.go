package policy

import (
	"slices"
	"time"

	"github.com/cedar-policy/cedar-go"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// asked is a request with what the rules see of it.
type asked struct {
	Request
	request  cedar.Request
	entities cedar.EntityMap
	filled   map[string]string // the values of placeholders; made when the first reason needs them
}

// recalled is what a decision draws from the History.
type recalled struct {
	alliance     string
	charterKnown bool
	goodStanding []string // of those concerned, sorted: the sender, the recipients and ourselves
	// From the cards; empty where a card names none. Those of the recipients are sorted, each once.
	jurisdictionFrom, jurisdictionSelf string
	jurisdictionTo                     []string
}

// recall asks the History, or takes what the record has.
func recall(r Request) *recalled {
	if r.recalled != nil || r.History == nil {
		if r.recalled == nil {
			return &recalled{}
		}
		return r.recalled
	}
	of := func(name string) string { m, _ := r.History.Member(name); return m.Jurisdiction }
	c := &recalled{alliance: r.History.Alliance().String(), charterKnown: r.History.Knows(r.Manifest.Charter),
		jurisdictionFrom: of(r.Manifest.From), jurisdictionSelf: of(r.Self)}
	concerned := append([]string{r.Manifest.From, r.Self}, r.Manifest.To...)
	slices.Sort(concerned)
	c.goodStanding = slices.DeleteFunc(slices.Compact(concerned), func(name string) bool { return !r.History.InGoodStanding(name) })
	for _, name := range r.Manifest.To {
		c.jurisdictionTo = append(c.jurisdictionTo, of(name))
	}
	slices.Sort(c.jurisdictionTo)
	c.jurisdictionTo = slices.Compact(c.jurisdictionTo)
	return c
}

// facts gives the rules what base.cedarschema promises them.
func facts(r Request) (cedar.Request, cedar.EntityMap) {
	m, c := r.Manifest, recall(r)
	document := cedar.RecordMap{
		"id": cedar.String(m.ID), "from": cedar.String(m.From), "to": stringSet(m.To),
		"charter": cedar.String(m.Charter.String()), "agreement": cedar.String(m.Agreement), "agreement_sha256": cedar.String(m.AgreementHash.String()),
		"purpose": cedar.String(m.Purpose), "label": cedar.String(m.Label),
		"created": cedar.NewDatetime(m.Created), "deliver_by": cedar.NewDatetime(m.DeliverBy), "retain_until": cedar.NewDatetime(m.RetainUntil),
		"released_by": cedar.String(m.ReleasedBy),
	}
	if m.Approval.By != "" {
		document["approved_by"] = cedar.String(m.Approval.By)
	}
	label := labelled(r)
	label.facts(document)
	earliest, latest := r.Now, r.Now
	if r.Stage == Accept {
		earliest, latest = r.Now.Add(-limit.ClockSkew), r.Now.Add(limit.ClockSkew)
	}
	context := cedar.RecordMap{
		"self": cedar.String(r.Self), "alliance": cedar.String(c.alliance), "charter_known": cedar.Boolean(c.charterKnown), "newest_version": cedar.Long(r.Newest),
		"in_good_standing": stringSet(c.goodStanding), "earliest": cedar.NewDatetime(earliest), "latest": cedar.NewDatetime(latest),
		"in_flight": cedar.NewDuration(limit.InFlight), "withdrawn": stringSet(r.Withdrawn),
		"jurisdictions": cedar.NewRecord(cedar.RecordMap{"from": cedar.String(c.jurisdictionFrom), "to": stringSet(c.jurisdictionTo),
			"self": cedar.String(c.jurisdictionSelf), "store": cedar.String(r.Store)}),
	}
	if !r.Begun.IsZero() {
		context["newest_begun"] = cedar.NewDatetime(r.Begun)
	}
	if a := r.Agreement; a != nil {
		context["agreement"] = agreementFacts(a, r.AgreementHash, label.schemes)
	}
	entities := make(cedar.EntityMap, 3)
	if r.Approver != nil {
		approver := personOf(r, label, r.Approver)
		context["approver"], entities[approver.UID] = approver.UID, approver
	}
	principal := cedar.Entity{UID: cedar.NewEntityUID("Node", cedar.String(r.Self))}
	if r.Stage != Accept {
		principal = personOf(r, label, r.Person)
	}
	resource := cedar.Entity{UID: cedar.NewEntityUID("Document", cedar.String(m.From+"/"+m.ID)), Attributes: cedar.NewRecord(document)}
	entities[principal.UID], entities[resource.UID] = principal, resource
	action := cedar.NewEntityUID("Action", cedar.String(r.Stage))
	return cedar.Request{Principal: principal.UID, Action: action, Resource: resource.UID, Context: cedar.NewRecord(context)}, entities
}

// labelling is a document's label, as its agreement's schemes have it.
type labelling struct {
	schemes Schemes
	label   Label
	known   bool
}

func labelled(r Request) labelling {
	s := SchemesOf(r.Agreement)
	l, err := s.Parse(r.Manifest.Label)
	return labelling{s, l, err == nil}
}

// facts says what a label is in its own scheme, and in the common one.
func (l labelling) facts(document cedar.RecordMap) {
	document["restrictive"], document["permissive"] = stringSet(l.label.Restrictive), stringSet(l.label.Permissive)
	if !l.known {
		return
	}
	document["rank"] = cedar.Long(l.label.Rank)
	if level, ok := l.schemes.Level(l.label); ok {
		document["level"] = cedar.Long(level)
	}
}

func agreementFacts(a *statement.Agreement, hash statement.Hash, s Schemes) cedar.Record {
	terms := cedar.RecordMap{
		"name": cedar.String(a.Name), "version": cedar.Long(a.Version), "sha256": cedar.String(hash.String()), "alliance": cedar.String(a.Alliance.String()),
		"parties": stringSet(a.Parties), "purposes": stringSet(a.Purposes),
		"retain_max": cedar.NewDurationFromMillis(a.RetainDays * (24 * time.Hour).Milliseconds()),
		"not_before": cedar.NewDatetime(a.NotBefore), "not_after": cedar.NewDatetime(a.NotAfter), "needs_approval": cedar.Boolean(a.ApprovalAbove != ""),
	}
	if level, ok := s.LevelOf(a.Ceiling); ok {
		terms["ceiling"] = cedar.Long(level)
	}
	if level, ok := s.LevelOf(a.ApprovalAbove); ok {
		terms["approval_above"] = cedar.Long(level)
	}
	return cedar.NewRecord(terms)
}

// personOf is what rules see of a person; without one, of somebody who has no role and may see nothing.
func personOf(r Request, label labelling, p *Person) cedar.Entity {
	if p == nil {
		p = &Person{}
	}
	id := ""
	if p.Name != "" {
		id = "spiffe://" + r.Self + "/person/" + p.Name
	}
	attributes := cedar.RecordMap{"spiffe_id": cedar.String(id), "roles": stringSet(p.Roles), "categories": noStrings}
	if label.known {
		if rank, categories, ok := label.schemes.Clearance(p.Labels, label.label); ok {
			attributes["clearance"], attributes["categories"] = cedar.Long(rank), stringSet(categories)
		}
	}
	if !p.TrainedUntil.IsZero() {
		attributes["trained_until"] = cedar.NewDatetime(p.TrainedUntil.Truncate(time.Second))
	}
	return cedar.Entity{UID: cedar.NewEntityUID("Person", cedar.String(id)), Attributes: cedar.NewRecord(attributes)}
}

// noStrings is the set that most documents have most often.
var noStrings = cedar.NewSet()

func stringSet(list []string) cedar.Set {
	if len(list) == 0 {
		return noStrings
	}
	values := make([]cedar.Value, len(list))
	for i, s := range list {
		values[i] = cedar.String(s)
	}
	return cedar.NewSet(values...)
}
