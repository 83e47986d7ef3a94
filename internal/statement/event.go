package statement

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/limit"
)

// EventKind says what happened.
type EventKind string

// The kinds of event. The comment says at whose node, and which row the fact has besides its leaf.
const (
	EventCharter       EventKind = "charter"       // each member: it adopted a charter
	EventAmended       EventKind = "amended"       // each member: it took an amendment of the charter
	EventCard          EventKind = "card"          // each member: it took a card
	EventAgreement     EventKind = "agreement"     // a party: an agreement came into force
	EventReleased      EventKind = "released"      // sender: a manifest was signed and queued for all its recipients
	EventDenied        EventKind = "denied"        // either: a decision about one of its own people said no; no row
	EventReceived      EventKind = "received"      // recipient: document stored, receipt `stored` signed
	EventRefused       EventKind = "refused"       // recipient: receipt `refused` signed
	EventDelivered     EventKind = "delivered"     // sender: receipt `stored` came back
	EventReturned      EventKind = "returned"      // sender: receipt `refused` came back
	EventExpired       EventKind = "expired"       // sender: deliver_by passed without a receipt, or somebody gave the delivery up
	EventOpened        EventKind = "opened"        // recipient: first opening, receipt `opened` signed
	EventReopened      EventKind = "reopened"      // recipient: a later opening; no row
	EventUndecryptable EventKind = "undecryptable" // recipient: opening failed for good, receipt signed
	EventConfirmed     EventKind = "confirmed"     // sender: receipt `opened` or `undecryptable` came back
	EventRejected      EventKind = "rejected"      // either: a peer's bad request that deserves no receipt; no row
	EventForked        EventKind = "forked"        // each member: a proof that a log forked, ours too
	EventReconciled    EventKind = "reconciled"    // both: a reconciliation that both signed
	EventExported      EventKind = "exported"      // either: evidence about an exchange was given to one of its own people; no row
	EventDisclosed     EventKind = "disclosed"     // each member: private fields of a leaf were opened to take them outside; no row
	EventAudited       EventKind = "audited"       // each member: its log was given to an auditor; no row
	EventProposed      EventKind = "proposed"      // a party: it took a proposal of an agreement, its own or another's
	EventSigned        EventKind = "signed"        // a party: a signature of a proposal, its own or another's
	EventDeclined      EventKind = "declined"      // a party: a notice that a proposal is declined, its own or another's
	EventWithdrawn     EventKind = "withdrawn"     // a party: a notice of withdrawal, its own or another's
	EventWaiting       EventKind = "waiting"       // sender: a release waits for a second person
	EventLapsed        EventKind = "lapsed"        // sender: a release that waited was not approved in time
	EventRehearsed     EventKind = "rehearsed"     // recipient: a member asked what it would decide; no row
)

var eventKinds = []EventKind{EventCharter, EventAmended, EventCard, EventAgreement, EventReleased, EventDenied, EventReceived, EventRefused,
	EventDelivered, EventReturned, EventExpired, EventOpened, EventReopened, EventUndecryptable, EventConfirmed, EventRejected,
	EventForked, EventReconciled, EventExported, EventDisclosed, EventAudited,
	EventProposed, EventSigned, EventDeclined, EventWithdrawn, EventWaiting, EventLapsed, EventRehearsed}

// Event is a fact to be logged. Its private fields never enter the leaf, only commitments to them do.
type Event struct {
	Kind      EventKind
	Time      time.Time // to the second
	ID        string    // the exchange's ULID, where it concerns one
	Manifest  Hash      // where there is one
	Receipt   Hash      // the counterpart's receipt, where there is one
	Statement Hash      // the charter, amendment, card, agreement or notice that it is about
	Peers     []string  // the members on the other side
	Stage     string    // the stage of the decision, where there was one
	Rules     []string  // ids of the base and agreement rules that decided
	Private   []Private
}

// GaveUp tells of a leaf `expired` that a person has made, before the time was over: it is committed to who and why.
func (l Leaf) GaveUp() bool {
	return l.Kind == EventExpired && l.Private["person"] != "" && l.Private["reason"] != ""
}

// Private is a field that stays in the member's own database: person, house reasons, decision record.
type Private struct {
	Field string // a short lower-case word
	Value []byte
}

// Committed is a private field with the salt of its commitment.
type Committed struct {
	Field string
	Salt  [32]byte
	Value []byte
}

// Commitment is HMAC-SHA256(salt, field ‖ 0x00 ‖ value). Without the salt it tells nothing about the value.
func (c Committed) Commitment() string {
	mac := hmac.New(sha256.New, c.Salt[:])
	mac.Write([]byte(c.Field))
	mac.Write([]byte{0})
	mac.Write(c.Value)
	return CommitmentPrefix + fmt.Sprintf("%x", mac.Sum(nil))
}

// Leaf is what a leaf of the log says: one JSON object, in this order of keys. See docs/formats/leaf.md.
type Leaf struct {
	Version   int               `json:"v"`
	Kind      EventKind         `json:"kind"`
	Time      time.Time         `json:"time"`
	ID        string            `json:"id,omitempty"`
	Manifest  *Hash             `json:"manifest_sha256,omitempty"`
	Receipt   *Hash             `json:"receipt_sha256,omitempty"`
	Statement *Hash             `json:"statement_sha256,omitempty"`
	Peers     []string          `json:"peers,omitempty"`
	Stage     string            `json:"stage,omitempty"`
	Rules     []string          `json:"rules,omitempty"`
	Private   map[string]string `json:"private,omitempty"` // field → commitment
}

// Leaf renders the event. salt is asked once for each private field. The leaf has at most limit.Leaf bytes.
func (e Event) Leaf(salt func() [32]byte) ([]byte, []Committed, error) {
	l := Leaf{Version: 1, Kind: e.Kind, Time: e.Time.UTC().Truncate(time.Second), ID: e.ID, Peers: e.Peers, Stage: e.Stage, Rules: e.Rules,
		Manifest: optional(e.Manifest), Receipt: optional(e.Receipt), Statement: optional(e.Statement)}
	committed := make([]Committed, 0, len(e.Private))
	for _, p := range e.Private {
		if len(p.Value) > limit.Private {
			return nil, nil, fmt.Errorf("render leaf %s: private field %s has %d bytes, at most %d are allowed", e.Kind, p.Field, len(p.Value), limit.Private)
		}
		c := Committed{Field: p.Field, Salt: salt(), Value: p.Value}
		if l.Private == nil {
			l.Private = map[string]string{}
		}
		if _, twice := l.Private[p.Field]; twice {
			return nil, nil, fmt.Errorf("render leaf %s: private field %s twice", e.Kind, p.Field)
		}
		l.Private[p.Field] = c.Commitment()
		committed = append(committed, c)
	}
	b, err := json.Marshal(l)
	if err != nil {
		return nil, nil, fmt.Errorf("render leaf %s: %w", e.Kind, err)
	}
	// What is valid consists of plain words and digits, and is rendered in one way only; FuzzEvent parses it.
	err = l.validate()
	if err == nil && len(b) > limit.Leaf {
		err = fmt.Errorf("it has %d bytes, at most %d are allowed", len(b), limit.Leaf)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("render leaf %s: %w", e.Kind, err)
	}
	return b, committed, nil
}

func optional(h Hash) *Hash {
	if h.IsZero() {
		return nil
	}
	return &h
}

// ParseLeaf reads a leaf strictly: it must be its own rendering.
func ParseLeaf(b []byte) (Leaf, error) {
	var l Leaf
	if len(b) > limit.Leaf {
		return l, fmt.Errorf("parse leaf: it has %d bytes, at most %d are allowed", len(b), limit.Leaf)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, fmt.Errorf("parse leaf: %w", err)
	}
	if err := l.validate(); err != nil {
		return l, fmt.Errorf("parse leaf: %w", err)
	}
	if again, err := json.Marshal(l); err != nil || !bytes.Equal(again, b) {
		return l, fmt.Errorf("parse leaf: not the one rendering of what it says")
	}
	return l, nil
}

func (l Leaf) validate() error {
	if l.Version != 1 {
		return fmt.Errorf("version %d is unknown", l.Version)
	}
	if !slices.Contains(eventKinds, l.Kind) {
		return fmt.Errorf("kind %.80q is unknown", l.Kind)
	}
	if err := validTime("time", l.Time); err != nil {
		return err
	}
	if l.Time.Location() != time.UTC || l.Time.Nanosecond() != 0 {
		return fmt.Errorf("time is not in whole seconds UTC")
	}
	if l.ID != "" {
		if err := ValidID(l.ID); err != nil {
			return err
		}
	}
	for _, p := range l.Peers {
		if err := ValidMember(p); err != nil {
			return err
		}
	}
	if l.Stage != "" {
		if err := plainWord(l.Stage, limit.Word); err != nil {
			return fmt.Errorf("stage %w", err)
		}
	}
	for _, rule := range l.Rules {
		if err := plainWord(rule, limit.Rule); err != nil {
			return fmt.Errorf("rule %w", err)
		}
	}
	for _, h := range []*Hash{l.Manifest, l.Receipt, l.Statement} {
		if h != nil && h.IsZero() {
			return fmt.Errorf("a hash that is not known is left out")
		}
	}
	for field, c := range l.Private {
		if err := plainWord(field, limit.Word); err != nil {
			return fmt.Errorf("private field %w", err)
		}
		digits, ok := strings.CutPrefix(c, CommitmentPrefix)
		if _, err := ParseHash(digits); !ok || err != nil {
			return fmt.Errorf("private field %.80q is not a commitment", field)
		}
	}
	return nil
}
