package statement

import (
	"slices"
	"time"

	"entente.example/internal/limit"
)

// ReceiptKind says what happened to a document at its recipient.
type ReceiptKind string

// The kinds of receipt. Stored says more than "arrived": the recipient checked that it can open it.
const (
	Stored        ReceiptKind = "stored"
	Refused       ReceiptKind = "refused"
	Undecryptable ReceiptKind = "undecryptable"
	Opened        ReceiptKind = "opened"
)

// reasonSets are the sets of rules, in the order in which they are asked.
var reasonSets = []string{"base", "agreement", "house"}

var receiptKinds = []ReceiptKind{Stored, Refused, Undecryptable, Opened}

// Receipt is the recipient's statement about one manifest. See docs/formats/receipt.md.
type Receipt struct {
	Kind     ReceiptKind `toml:"kind"`
	From     string      `toml:"from"` // the member that says it
	To       string      `toml:"to"`   // the sender of the document
	Manifest Hash        `toml:"manifest_sha256"`
	ID       string      `toml:"id"` // the manifest's
	At       time.Time   `toml:"at"`
	Log      string      `toml:"log"`  // the log in which it stands, FROM/log/1
	Leaf     int64       `toml:"leaf"` // the leaf's index there
	Reasons  []Reason    `toml:"reason,omitempty"`
}

// Reason is one rule that refused: which, why with the values, and what would have been needed.
type Reason struct {
	Set   string `toml:"set" json:"set"`   // base, agreement or house
	Rule  string `toml:"rule" json:"rule"` // the rule's id in its set
	Text  string `toml:"text" json:"text"`
	Needs string `toml:"needs" json:"needs"`
}

func (Receipt) kind() Kind { return KindReceipt }
func (Receipt) most() int  { return limit.Statement }

func (r Receipt) signers() []string { return []string{r.From + "/statement"} }

func (r Receipt) validate() error {
	if !slices.Contains(receiptKinds, r.Kind) {
		return wrong("kind", "%.80q is not one of %v", r.Kind, receiptKinds)
	}
	if err := ValidMember(r.From); err != nil {
		return wrong("from", "%v", err)
	}
	if err := ValidMember(r.To); err != nil {
		return wrong("to", "%v", err)
	}
	if r.From == r.To {
		return wrong("to", "is the member that says it")
	}
	if err := ValidID(r.ID); err != nil {
		return wrong("id", "%v", err)
	}
	if err := validTime("at", r.At); err != nil {
		return err
	}
	if err := ValidLog(r.Log, r.From); err != nil {
		return wrong("log", "%v", err)
	}
	if r.Leaf < 0 {
		return wrong("leaf", "%d is negative", r.Leaf)
	}
	if (r.Kind == Refused) != (len(r.Reasons) > 0) || len(r.Reasons) > limit.Reasons {
		return wrong("reason", "a refusal has between 1 and %d reasons, and nothing else has any", limit.Reasons)
	}
	for i, reason := range r.Reasons {
		if !slices.Contains(reasonSets, reason.Set) {
			return wrongIn(i, "set", "%.80q is not one of %v", reason.Set, reasonSets)
		}
		if err := plainWord(reason.Rule, limit.Word); err != nil {
			return wrongIn(i, "rule", "%v", err)
		}
		if err := validLine(reason.Text, limit.Line); err != nil {
			return wrongIn(i, "text", "%v", err)
		}
		if err := validLine(reason.Needs, limit.Line); err != nil {
			return wrongIn(i, "needs", "%v", err)
		}
	}
	return nil
}
