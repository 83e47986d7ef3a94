// Package report is what one member tells an auditor about one agreement in one period: what went wrong first, then how much of
// what happened, between whom, and which leaves of the log say so.
//
//	m := report.New(report.Report{Member: "alpha", From: from, To: to, …})
//	for … {
//		if err := m.Add(report.Event{Index: i, Leaf: leaf, Subject: &subject}); err != nil {
//			return err
//		}
//	}
//	r := m.Report()
//	err := r.HTML(w)
//
// A Report is its own JSON. HTML renders it as one page without scripts or anything from elsewhere, CSV as a table for a
// spreadsheet. Much in it was written by other members, the reasons of a refusal for instance, so HTML escapes all of it, and CSV
// lets no cell begin as a formula.
//
// The package does no I/O but to the writer that it is given, takes the time as a parameter, and bounds what it keeps
// (limit.ReportExchanges and its neighbours): what is beyond is counted, and the report says so.
package report

import (
	"time"

	"entente.example/internal/statement"
)

// Format names the form of the JSON.
const Format = "entente.example/report/v1"

// Report is a compliance report, and its own JSON. Times are UTC. Lists are never null in what Maker makes.
type Report struct {
	Format   string    `json:"format"`
	Member   string    `json:"member"` // whose log it is made from
	Alliance string    `json:"alliance"`
	Founding string    `json:"alliance_sha256"` // the founding charter
	Made     time.Time `json:"made"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"` // exclusive: what happened at this second is in the next report
	// AsOf is the end of the period, or Made if that is earlier. Deadlines are judged as of then.
	AsOf    time.Time `json:"as_of"`
	Persons bool      `json:"persons"` // people are named

	Agreements []Agreement `json:"agreements"` // the versions that it is about, oldest first
	Members    []Member    `json:"members"`    // of the alliance
	Log        Log         `json:"log"`

	Classes    []Class     `json:"exception_classes"` // those that occurred
	Exceptions []Exception `json:"exceptions"`        // at most limit.ReportExceptions of each class, in the order of the classes

	Totals   Counts  `json:"totals"`
	Kinds    []Kind  `json:"by_kind"`
	Peers    []Row   `json:"by_peer"`
	Labels   []Row   `json:"by_label"`
	Purposes []Row   `json:"by_purpose"`
	Days     []Day   `json:"by_day"` // the days on which something happened
	Unplaced int64   `json:"unattributed_denials"`
	Period   []Day   `json:"-"`         // every day of the period, for the picture
	Listed   []Entry `json:"exchanges"` // at most limit.ReportExchanges, in the order in which they first appear in the log
	// ExchangesTotal counts also those that are not listed.
	ExchangesTotal int64 `json:"exchanges_total"`
}

// Agreement is one version of the agreement.
type Agreement struct {
	Name       string    `json:"name"`
	Version    int64     `json:"version"`
	Hash       string    `json:"sha256"`
	Parties    []string  `json:"parties"`
	Purposes   []string  `json:"purposes"`
	Ceiling    string    `json:"label_ceiling"`
	RetainDays int64     `json:"retain_days_max"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	// SignedBy are the keys whose signatures were verified, NAME+KEYHASH as signed notes name them, one for each party.
	SignedBy []string `json:"signed_by"`
	Prose    int      `json:"prose_bytes"`
}

// Member is a member of the alliance, as its newest card and the newest charter have it.
type Member struct {
	Name         string `json:"name"`
	Standing     string `json:"standing"`
	Jurisdiction string `json:"jurisdiction,omitempty"`
	Party        bool   `json:"party"` // to one of the agreements
	Card         string `json:"card_sha256"`
}

// Log says what the report was made from. The leaves up to Size were read, and hash to Root.
type Log struct {
	Origin     string `json:"origin"`
	Size       int64  `json:"size"`
	Root       string `json:"root"`       // base64
	Checkpoint string `json:"checkpoint"` // as it was signed
	Later      int64  `json:"later"`      // leaves behind the checkpoint, which are not in the report
}

// Counts are facts. Released and Delivered count each recipient, Opened counts the first opening of each exchange, here or as the
// recipient confirmed it.
type Counts struct {
	Released   int64 `json:"released"`
	Received   int64 `json:"received"`
	Delivered  int64 `json:"delivered"`
	Opened     int64 `json:"opened"`
	Exceptions int64 `json:"exceptions"`
}

// Row is the facts about one peer, label or purpose. The last row may be Others.
type Row struct {
	Name string `json:"name"`
	Counts
}

// Others is the row for what is beyond limit.ReportRows.
const Others = "(others)"

// Kind counts the leaves of one kind.
type Kind struct {
	Kind  statement.EventKind `json:"kind"`
	Count int64               `json:"count"`
}

// Day counts what happened on one day, in UTC. Released counts documents here, not recipients.
type Day struct {
	Date       string `json:"date"` // YYYY-MM-DD
	Released   int64  `json:"released"`
	Received   int64  `json:"received"`
	Exceptions int64  `json:"exceptions"`
}

// Class is a kind of exception, with how often it occurred.
type Class struct {
	Class   ClassName `json:"class"`
	Count   int64     `json:"count"`
	Meaning string    `json:"meaning"`
}

// Exception is something that did not go as it should, or not as somebody wished.
type Exception struct {
	Class    ClassName `json:"class"`
	At       time.Time `json:"at"` // of the leaf; of the deadline that passed, where there is no leaf
	Exchange string    `json:"exchange,omitempty"`
	ID       string    `json:"id,omitempty"`
	Peers    []string  `json:"peers,omitempty"`
	Label    string    `json:"label,omitempty"`
	Purpose  string    `json:"purpose,omitempty"`
	Text     string    `json:"text"`
	Rules    []string  `json:"rules,omitempty"`
	Leaf     *int64    `json:"leaf,omitempty"`   // its index; none where it follows from a deadline
	Person   string    `json:"person,omitempty"` // who acted, only if the report names people
}

// Entry is an exchange with something that happened in the period.
type Entry struct {
	Exchange    string      `json:"exchange"`
	Direction   string      `json:"direction"` // sent or received
	Peer        string      `json:"peer"`
	State       string      `json:"state"` // when the report was made
	Version     int64       `json:"agreement_version"`
	Label       string      `json:"label"`
	Purpose     string      `json:"purpose"`
	Created     time.Time   `json:"created"`
	DeliverBy   time.Time   `json:"deliver_by"`
	RetainUntil time.Time   `json:"retain_until"`
	Size        int64       `json:"sealed_size"` // bytes of the ciphertext
	Manifest    string      `json:"manifest_sha256"`
	Exceptions  []ClassName `json:"exceptions"`
	Leaves      []Leaf      `json:"leaves"`      // in the period, at most limit.ReportLeaves
	LeavesMore  int64       `json:"leaves_more"` // beyond those
	ReleasedBy  string      `json:"released_by,omitempty"`
	OpenedBy    string      `json:"opened_by,omitempty"` // the first in the period

	key key
}

// Leaf is a leaf about an exchange.
type Leaf struct {
	Index int64               `json:"index"`
	Kind  statement.EventKind `json:"kind"`
	At    time.Time           `json:"time"`
}

// ClassName names a class of exceptions.
type ClassName string

// The classes of exceptions.
const (
	Outside       ClassName = "outside-terms"
	Overdue       ClassName = "overdue-retention"
	Undecryptable ClassName = "undecryptable"
	Unconfirmed   ClassName = "unconfirmed"
	Expired       ClassName = "expired"
	Refused       ClassName = "refused"
	Returned      ClassName = "returned"
	Denied        ClassName = "denied"
	Late          ClassName = "late"
	Rejected      ClassName = "rejected"
)

// classes are all of them in the order of a report, with what they mean to somebody who does not know the program. First what
// must never happen, then what has to be looked at one by one, then what comes in long lists.
var classes = []Class{
	{Class: Outside, Meaning: "released or accepted although the terms of the agreement do not allow it"},
	{Class: Undecryptable, Meaning: "a document that arrived could not be decrypted, or was not what its manifest says"},
	{Class: Unconfirmed, Meaning: "the deadline for delivery passed, and neither a receipt nor an expiry is in the log"},
	{Class: Expired, Meaning: "no receipt came before the deadline for delivery; the sender gave up"},
	{Class: Refused, Meaning: "this member refused a document, and signed why"},
	{Class: Returned, Meaning: "a recipient refused a document of this member, and signed why"},
	{Class: Denied, Meaning: "the policies did not let a person of this member do something"},
	{Class: Late, Meaning: "received, delivered or opened after the deadline that its manifest sets"},
	{Class: Overdue, Meaning: "this member can still decrypt a document that it was to keep no longer"},
	{Class: Rejected, Meaning: "a party sent a request too wrong for a receipt; the log does not say under which agreement"},
}
