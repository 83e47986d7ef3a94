package main

import (
	"strings"
	"time"

	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// exchangeJSON is an exchange as --json prints it, in inbox, outbox and show.
type exchangeJSON struct {
	Ref         string        `json:"exchange"`
	From        string        `json:"from"`
	ID          string        `json:"id"`
	To          string        `json:"to"`
	State       string        `json:"state"`
	Agreement   string        `json:"agreement"`
	Purpose     string        `json:"purpose"`
	Label       string        `json:"label"`
	LabelMeans  string        `json:"label_means,omitempty"`
	Created     time.Time     `json:"created"`
	DeliverBy   time.Time     `json:"deliver_by"`
	RetainUntil time.Time     `json:"retain_until"`
	ReleasedBy  string        `json:"released_by"`
	Size        int64         `json:"sealed_size"`
	Manifest    string        `json:"manifest_sha256"`
	Updated     time.Time     `json:"updated"`
	Attempts    int64         `json:"attempts,omitempty"`
	NextAttempt time.Time     `json:"next_attempt,omitzero"`
	LastError   string        `json:"last_error,omitempty"`
	Receipts    []receiptJSON `json:"receipts,omitempty"`
	ApprovedBy  string        `json:"approved_by,omitempty"`
	ApprovedAt  time.Time     `json:"approved_at,omitzero"`
	WaitsUntil  time.Time     `json:"waits_until,omitzero"`
	Signed      string        `json:"manifest,omitempty"` // the signed text, in show
}

type receiptJSON struct {
	Kind    string             `json:"kind"`
	From    string             `json:"from"`
	At      time.Time          `json:"at"`
	Log     string             `json:"log"`
	Leaf    int64              `json:"leaf"`
	Reasons []statement.Reason `json:"reasons,omitempty"`
	Signed  string             `json:"receipt,omitempty"`
}

func utc(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime().UTC()
}

func exchangeOf(e *ententev1.Exchange) exchangeJSON {
	j := exchangeJSON{Ref: e.GetRef(), From: e.GetFrom(), ID: e.GetId(), To: e.GetTo(), State: e.GetState(), Agreement: e.GetAgreement(),
		Purpose: e.GetPurpose(), Label: e.GetLabel(), LabelMeans: e.GetLabelMeans(), Created: utc(e.GetCreated()), DeliverBy: utc(e.GetDeliverBy()), RetainUntil: utc(e.GetRetainUntil()),
		ReleasedBy: e.GetReleasedBy(), Size: e.GetCiphertextSize(), Manifest: e.GetManifestSha256(), Updated: utc(e.GetUpdated()).Truncate(time.Second),
		Attempts: e.GetAttempts(), NextAttempt: utc(e.GetNextAttempt()).Truncate(time.Second), LastError: e.GetLastError(),
		ApprovedBy: e.GetApprovedBy(), ApprovedAt: utc(e.GetApprovedAt()), WaitsUntil: utc(e.GetWaitsUntil())}
	for _, r := range e.GetReceipts() {
		j.Receipts = append(j.Receipts, receiptJSON{r.GetKind(), r.GetFrom(), utc(r.GetAt()), r.GetLog(), r.GetLeaf(), reasonsOf(r.GetReasons()), string(r.GetRaw())})
	}
	return j
}

func reasonsOf(list []*ententev1.Reason) []statement.Reason {
	var out []statement.Reason
	for _, r := range list {
		out = append(out, statement.Reason{Set: r.GetSet(), Rule: r.GetRule(), Text: r.GetText(), Needs: r.GetNeeds()})
	}
	return out
}

// refusal gives the reasons of the receipt with which the recipient refused.
func (e exchangeJSON) refusal() []statement.Reason {
	for _, r := range e.Receipts {
		if r.Kind == string(statement.Refused) {
			return r.Reasons
		}
	}
	return nil
}

// workerOf shows a SPIFFE ID as a person of a member; "" for none.
func workerOf(member, id string) string {
	if id == "" {
		return ""
	}
	return strings.TrimPrefix(id, "spiffe://"+member+"/person/") + " of " + member
}

// known leaves out a time that is none.
func known(t time.Time) any {
	if t.IsZero() {
		return ""
	}
	return t
}

// showExchange prints everything about an exchange for a person.
func (p *program) showExchange(e exchangeJSON) {
	attempts := any("")
	if e.Attempts > 0 {
		attempts = e.Attempts
	}
	p.fields(field{"exchange", e.Ref}, field{"label", p.labelAs(e.Label, e.LabelMeans)}, field{"state", state(e.State)}, field{"since", e.Updated},
		field{"from", e.From}, field{"to", e.To}, field{"agreement", e.Agreement}, field{"purpose", e.Purpose},
		field{"released by", workerOf(e.From, e.ReleasedBy)}, field{"approved by", workerOf(e.From, e.ApprovedBy)}, field{"approved at", known(e.ApprovedAt)},
		field{"waits until", known(e.WaitsUntil)},
		field{"created", e.Created}, field{"deliver by", e.DeliverBy}, field{"retain until", e.RetainUntil},
		field{"sealed size", size(e.Size)}, field{"manifest", e.Manifest},
		field{"attempts", attempts}, field{"next attempt", known(e.NextAttempt)}, field{"last error", e.LastError})
	for _, r := range e.Receipts {
		p.printf("\n%s %s, signed by %s, leaf %d of %s\n", state(r.Kind), r.At, r.From, r.Leaf, r.Log)
		for _, why := range r.Reasons {
			p.printf("  %s: %s\n", styled(bold.Render(plain(why.Set+"/"+why.Rule))), why.Text)
			if why.Needs != "" {
				p.printf("    needed: %s\n", why.Needs)
			}
		}
	}
}

// showNext says what is to be done about what has not left yet, or never will.
func (p *program) showNext(e exchangeJSON) {
	switch e.State {
	case "waiting":
		p.next("nothing was sent yet; somebody with the role approver says: entente approve " + e.ID + " --document FILE")
	case "unconfirmed":
		p.next("the whole document was sent, and no receipt came: ask " + e.To + " by telephone; the node goes on trying")
	case "lapsed":
		p.next("nothing was sent; send the document again, and tell somebody who may approve it")
	}
}
