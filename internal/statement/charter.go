package statement

import (
	"time"

	"entente.example/internal/limit"
)

// Charter is who the members of an alliance are, with their root keys and their standing. This is the founding version,
// signed by all. See docs/formats/charter.md.
type Charter struct {
	Alliance string          `toml:"alliance"`
	Version  int64           `toml:"version"`
	Created  time.Time       `toml:"created"`
	AdoptBy  time.Time       `toml:"adopt_by"`
	Quorum   string          `toml:"quorum"`
	Members  []CharterMember `toml:"member"` // sorted by name
}

// CharterMember is one founder.
type CharterMember struct {
	Name      string `toml:"name"`
	Standing  string `toml:"standing"`
	Statement string `toml:"statement_key"`
	Recovery  string `toml:"recovery_key"`
	Card      Hash   `toml:"card_sha256"` // the member's first card
}

// QuorumMajority is the one quorum there is: more than half of the members in good standing, the one concerned counted
// in the denominator; with two, both.
const QuorumMajority = "more-than-half"

// GoodStanding is the standing of a member that may exchange documents.
const GoodStanding = "good"

func (Charter) kind() Kind { return KindCharter }
func (Charter) most() int  { return limit.Charter }

func (c Charter) signers() []string {
	names := make([]string, len(c.Members))
	for i, m := range c.Members {
		names[i] = m.Name + "/statement"
	}
	return names
}

func (c Charter) validate() error {
	if err := ValidName(c.Alliance); err != nil {
		return wrong("alliance", "%v", err)
	}
	if c.Version != 1 {
		return wrong("version", "a founding charter has version 1")
	}
	if err := firstError(validTime("created", c.Created), validTime("adopt_by", c.AdoptBy)); err != nil {
		return err
	}
	if !c.AdoptBy.After(c.Created) {
		return wrong("adopt_by", "is not after created")
	}
	if c.Quorum != QuorumMajority {
		return wrong("quorum", "must be %q", QuorumMajority)
	}
	names := make([]string, len(c.Members))
	for i, m := range c.Members {
		names[i] = m.Name
	}
	if err := memberList(names, limit.Members); err != nil {
		return wrong("member", "%v", err)
	}
	if len(names) < 2 {
		return wrong("member", "an alliance has at least two")
	}
	for i, m := range c.Members {
		if m.Standing != GoodStanding {
			return wrongIn(i, "standing", "a founder's standing is %q", GoodStanding)
		}
		if err := checkKey(i, "statement_key", m.Statement, m.Name+"/statement"); err != nil {
			return err
		}
		if err := checkKey(i, "recovery_key", m.Recovery, m.Name+"/recovery"); err != nil {
			return err
		}
	}
	return nil
}
