// Package evidence is text files that prove what happened to somebody who trusts neither side: their format, how they are made, and
// how they are verified.
//
// A bundle about an exchange holds the manifest, the receipts, the agreement, the charter with its amendments, the members' cards,
// and leaves of both logs with proofs under co-signed checkpoints. Whoever knows the hash of the founding charter needs nothing else:
//
//	v := evidence.Verify(raw, evidence.Options{Charter: hash, Now: time.Now()})
//	fmt.Print(v.Text())
//	if !v.Valid { … }
//
// Three rules hold. A bundle names what it claims, and is valid only if every claim is proved, and every part is there for a
// claim. A time is what a quorum of witnesses said, never what the owner of a log says. And every doubt means not valid: the zero
// Verdict is not valid, and a panic becomes one.
//
// See docs/formats/evidence.md. The package does no I/O but reading the document that it is given, knows no network, and takes the
// time as a parameter. All of it may be used concurrently.
package evidence

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Options is what the verifier knows from elsewhere.
type Options struct {
	// Charter is the hash of the alliance's founding charter. Without it nothing is ever valid: a charter brings its own keys, so
	// anybody can make one.
	Charter statement.Hash
	// Now is the verifier's time. What is dated more than limit.ClockSkew after it is not valid.
	Now time.Time
	// Document is compared with the content that the sender committed to; nil if there is none. It is read to its end, at most
	// limit.Document bytes, and only after everything else was found valid.
	Document io.Reader
	// Name and MediaType are the document's, as the sender gave them. They are part of the commitment.
	Name, MediaType string
}

// Verdict is what a bundle proves. The zero value is not valid.
type Verdict struct {
	Valid bool   `json:"valid"`
	Why   string `json:"why,omitempty"` // why it is not valid; then nothing below but Named is set
	// Named is the hash of the founding charter that the file names. Without a Valid verdict it means nothing.
	Named     statement.Hash `json:"charter_sha256,omitzero"`
	Kind      Kind           `json:"kind,omitempty"`
	Alliance  string         `json:"alliance,omitempty"`
	Newest    statement.Hash `json:"newest_charter_sha256,omitzero"` // of the charters in the file
	Version   int64          `json:"charter_version,omitempty"`
	Cards     []CardVersion  `json:"cards,omitempty"` // the newest in the file, by member
	Exchange  *Exchange      `json:"exchange,omitempty"`
	Claims    []Claim        `json:"claims,omitempty"`
	NotProved []string       `json:"not_proved,omitempty"`
	// Anchored are the statements that keep their proof when Ed25519 falls, and NotAnchored the others, in words.
	Anchored    []string `json:"anchored,omitempty"`
	NotAnchored []string `json:"not_anchored,omitempty"`

	strange bool // it is not valid because of the charter that it names
}

// CardVersion is how new a member's card is.
type CardVersion struct {
	Member  string `json:"member"`
	Version int64  `json:"version"`
}

// Exchange is what the manifest says about an exchange, as its sender signed it.
type Exchange struct {
	From          string         `json:"from"`
	To            string         `json:"to"`
	ID            string         `json:"id"`
	Manifest      statement.Hash `json:"manifest_sha256"`
	Agreement     string         `json:"agreement"`
	AgreementHash statement.Hash `json:"agreement_sha256"`
	Purpose       string         `json:"purpose"`
	Label         string         `json:"label"`
	Created       time.Time      `json:"created"`
	ReleasedBy    string         `json:"released_by"`
	ApprovedBy    string         `json:"approved_by,omitempty"` // who the sender says approved it, where somebody had to
	ApprovedAt    time.Time      `json:"approved_at,omitzero"`
}

// Claim is one thing that is proved.
type Claim struct {
	Claim     string             `json:"claim"`
	Says      string             `json:"says"`                // in words
	Statement statement.Hash     `json:"statement,omitzero"`  // what was signed, if anything was
	SignedBy  []string           `json:"signed_by,omitempty"` // keys, NAME+HASH
	Reasons   []statement.Reason `json:"reasons,omitempty"`   // of a refusal
	Value     string             `json:"value,omitempty"`     // of an opened field
	Leaves    []Witnessed        `json:"leaves,omitempty"`
	// Since is the earliest time at which a quorum had seen a leaf of it; zero if none has.
	Since time.Time `json:"since,omitzero"`
}

// Witnessed is a leaf, and who vouches for it.
type Witnessed struct {
	Log   string        `json:"log"`
	Leaf  int64         `json:"leaf"`
	Kind  string        `json:"kind"`
	Said  time.Time     `json:"said"` // the time that its owner gave
	By    []Cosignature `json:"witnesses,omitempty"`
	Needs int           `json:"quorum"`         // how many witnesses are a quorum
	Since time.Time     `json:"since,omitzero"` // when the quorum had seen it; zero if it is not reached
	// OnlyParties tells that nobody but the parties of the exchange has witnessed it.
	OnlyParties bool `json:"only_parties,omitempty"`
	PQ          bool `json:"post_quantum"` // log and quorum signed with ML-DSA-44 too, with keys that the founding charter pins
}

// Cosignature is a witness's word.
type Cosignature struct {
	Witness string    `json:"witness"`
	Time    time.Time `json:"time"`
	Party   bool      `json:"party,omitempty"` // of the exchange
}

// Verify says what a bundle proves. Everything that is not in order makes it not valid, and Why says what.
func Verify(raw []byte, o Options) (v Verdict) {
	defer func() {
		if r := recover(); r != nil {
			v = Verdict{Why: "the verifier itself failed; report this file to whoever maintains it"}
		}
	}()
	named, got, err := verify(raw, o)
	if err != nil {
		return Verdict{Why: oneLine(err), Named: named, strange: errors.Is(err, errCharter)}
	}
	got.Valid, got.Named = true, named
	return *got
}

// errCharter: the verifier does not know the alliance.
var errCharter = errors.New("no founding charter")

// hook lets a test make the verifier fail.
var hook func()

func verify(raw []byte, o Options) (named statement.Hash, v *Verdict, err error) {
	if hook != nil {
		hook()
	}
	b, err := Parse(raw)
	if err != nil {
		return named, nil, err
	}
	named = b.Charter
	switch {
	case o.Charter.IsZero():
		return named, nil, fmt.Errorf("%w was given to compare with, and whoever made the file can have made its charter too", errCharter)
	case o.Charter != b.Charter:
		return named, nil, fmt.Errorf("%w that the file names is the one given: it belongs to the alliance founded by %s", errCharter, b.Charter)
	case o.Now.IsZero():
		return named, nil, errors.New("no time was given to verify at")
	}
	t, err := b.trust(o.Now)
	if err != nil {
		return named, nil, err
	}
	v = &Verdict{Kind: b.Kind, Alliance: t.h.Name(), Newest: t.h.Newest(), Version: t.h.Version()}
	for _, m := range t.h.Members() {
		cards := t.h.Cards(m.Name)
		v.Cards = append(v.Cards, CardVersion{m.Name, cards[len(cards)-1].Terms.Version})
	}
	judge, ok := map[Kind]func(*trust, *Bundle, Options, *Verdict) error{
		KindExchange: (*trust).exchange, KindFork: (*trust).fork, KindDisclosure: (*trust).disclosure,
		KindReconciliation: (*trust).reconciliation,
	}[b.Kind]
	if !ok {
		return named, nil, fmt.Errorf("%.40q is no kind of evidence that this version knows", b.Kind)
	}
	if err := judge(t, b, o, v); err != nil {
		return named, nil, err
	}
	if len(v.Claims) == 0 {
		return named, nil, errors.New("it claims nothing")
	}
	v.NotProved = append(v.NotProved, fmt.Sprintf("What happened to charter and keys later: a card or an amendment newer than these is not in the file (as of charter %d, %s).",
		t.h.Version(), t.h.Newest().Short()))
	return named, v, nil
}

// oneLine makes an error safe to print: what it repeats of the file may hold anything.
func oneLine(err error) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f:
			return '?'
		}
		return r
	}, err.Error())
	return s[:min(len(s), limit.Line)]
}
