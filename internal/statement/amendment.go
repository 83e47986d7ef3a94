package statement

import (
	"slices"
	"time"

	"entente.example/internal/limit"
)

// Amendment is one change of the charter: the next version after the one that it names. See docs/formats/amendment.md. That
// its signers are a quorum is for package member to judge, which knows who the members were.
type Amendment struct {
	Alliance  Hash      `toml:"alliance_sha256"` // the founding charter
	Version   int64     `toml:"version"`         // 2 or more
	Previous  Hash      `toml:"previous_sha256"` // the founding charter or the amendment before
	Created   time.Time `toml:"created"`
	AdoptBy   time.Time `toml:"adopt_by"` // until then, whoever has signed it signs no other successor of Previous
	Change    Change    `toml:"change"`
	Member    string    `toml:"member,omitempty"`        // whom it concerns; not for Settle
	Statement string    `toml:"statement_key,omitempty"` // of the newcomer, only for Admit
	Recovery  string    `toml:"recovery_key,omitempty"`
	Card      Hash      `toml:"card_sha256,omitempty"` // the newcomer's first card
	Forks     []Hash    `toml:"forks,omitempty"`       // two successors of Previous, sorted, only for Settle
	SignedBy  []string  `toml:"signed_by"`             // sorted; exactly these members' statement keys sign
}

// Change is what an amendment does.
type Change string

// The changes that exist.
const (
	// Suspend takes a member's good standing away.
	Suspend Change = "suspend"
	// Reinstate gives it back.
	Reinstate Change = "reinstate"
	// Leave is a member's own farewell. It is for ever, and signed by nobody else.
	Leave Change = "leave"
	// Admit makes a newcomer a member in good standing. The newcomer signs as well.
	Admit Change = "admit"
	// Settle discards two successors of one version and suspends the members that signed both.
	Settle Change = "settle"
)

// What the standing of a member can be beside GoodStanding.
const (
	// Suspended is the standing of a member that may fetch charters and return receipts, and nothing else.
	Suspended = "suspended"
	// Left is the standing of a member that has left. It is not given up again, nor is its name.
	Left = "left"
)

func (Amendment) kind() Kind { return KindAmendment }
func (Amendment) most() int  { return limit.Statement }

func (a Amendment) signers() []string {
	names := make([]string, len(a.SignedBy))
	for i, m := range a.SignedBy {
		names[i] = m + "/statement"
	}
	return names
}

func (a Amendment) validate() error {
	if a.Alliance.IsZero() {
		return wrong("alliance_sha256", "names no charter")
	}
	if a.Version < 2 {
		return wrong("version", "begins with 2; version 1 is the founding charter")
	}
	if a.Previous.IsZero() {
		return wrong("previous_sha256", "names no charter")
	}
	if err := firstError(validTime("created", a.Created), validTime("adopt_by", a.AdoptBy)); err != nil {
		return err
	}
	if !a.AdoptBy.After(a.Created) {
		return wrong("adopt_by", "is not after created")
	}
	if !slices.Contains([]Change{Suspend, Reinstate, Leave, Admit, Settle}, a.Change) {
		return wrong("change", "must be suspend, reinstate, leave, admit or settle")
	}
	if err := memberList(a.SignedBy, limit.Members); err != nil {
		return wrong("signed_by", "%v", err)
	}
	if a.Change == Leave && !slices.Equal(a.SignedBy, []string{a.Member}) {
		return wrong("signed_by", "who leaves signs alone")
	}
	if a.Change == Admit && !slices.Contains(a.SignedBy, a.Member) {
		return wrong("signed_by", "the newcomer signs as well")
	}
	return firstError(a.validateMember(), a.validateNewcomer(), a.validateForks())
}

func (a Amendment) validateMember() error {
	if a.Change == Settle {
		if a.Member != "" {
			return wrong("member", "who is suspended follows from the signatures on both forks")
		}
		return nil
	}
	if err := ValidMember(a.Member); err != nil {
		return wrong("member", "%v", err)
	}
	return nil
}

// validateNewcomer is why nobody can give a member new keys: keys stand in an admission only, and only of who is no member.
func (a Amendment) validateNewcomer() error {
	if a.Change != Admit {
		switch {
		case a.Statement != "":
			return wrong("statement_key", "only a newcomer's keys stand in an amendment")
		case a.Recovery != "":
			return wrong("recovery_key", "only a newcomer's keys stand in an amendment")
		case !a.Card.IsZero():
			return wrong("card_sha256", "only a newcomer's card stands in an amendment")
		}
		return nil
	}
	if a.Card.IsZero() {
		return wrong("card_sha256", "names no card")
	}
	return firstError(checkKey(0, "statement_key", a.Statement, a.Member+"/statement"), checkKey(0, "recovery_key", a.Recovery, a.Member+"/recovery"))
}

func (a Amendment) validateForks() error {
	if a.Change != Settle {
		if a.Forks != nil {
			return wrong("forks", "only a settlement names forks")
		}
		return nil
	}
	if len(a.Forks) != 2 || a.Forks[0].String() >= a.Forks[1].String() || a.Forks[0].IsZero() {
		return wrong("forks", "must be the hashes of two successors of one version, sorted")
	}
	if a.Version < 3 {
		return wrong("version", "is above those of the forks")
	}
	return nil
}
