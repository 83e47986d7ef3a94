package statement

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"entente.example/internal/limit"
)

// Charter is who the members of an alliance are, with their root keys and their standing. This is the founding version,
// signed by all. See docs/formats/charter.md.
type Charter struct {
	Alliance string    `toml:"alliance"`
	Version  int64     `toml:"version"`
	Created  time.Time `toml:"created"`
	AdoptBy  time.Time `toml:"adopt_by"`
	Quorum   string    `toml:"quorum"`
	// Auditors are persons of members who may read the logs of all members, spiffe://MEMBER/person/NAME, sorted; or none.
	Auditors []string        `toml:"auditors,omitempty"`
	Members  []CharterMember `toml:"member"` // sorted by name
	// Witnesses are outside witnesses, who are no members, sorted by name. At most limit.OutsideWitnesses.
	Witnesses []OutsideWitness `toml:"witness"`
}

// OutsideWitness co-signs the members' checkpoints and is no member.
type OutsideWitness struct {
	Name  string `toml:"name"` // for people, like an alliance's name
	URL   string `toml:"url"`  // where it answers C2SP tlog-witness, http:// or https://
	Key   string `toml:"key"`  // its Ed25519 verifier key, of signature type 0x01 or 0x04; see WitnessKeyBytes
	MLDSA string `toml:"mldsa_key,omitempty"`
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
	return firstError(c.validateAuditors(names), c.validateWitnesses())
}

func (c Charter) validateAuditors(members []string) error {
	if c.Auditors != nil && (len(c.Auditors) == 0 || len(c.Auditors) > limit.Auditors || !sortedSet(c.Auditors)) {
		return wrong("auditors", "must be between 1 and %d persons, sorted without repetition, or be left out", limit.Auditors)
	}
	for _, a := range c.Auditors {
		member, person, ok := strings.Cut(strings.TrimPrefix(a, "spiffe://"), "/person/")
		if !ok || !strings.HasPrefix(a, "spiffe://") || !slices.Contains(members, member) || ValidPerson(person) != nil {
			return wrong("auditors", "%.80q is not spiffe://MEMBER/person/NAME of a founder", a)
		}
	}
	return nil
}

func (c Charter) validateWitnesses() error {
	if len(c.Witnesses) > limit.OutsideWitnesses {
		return wrong("witness", "must be at most %d", limit.OutsideWitnesses)
	}
	for i, w := range c.Witnesses {
		// The keys name and key also stand in other tables, so the errors name the table.
		bad := func(format string, args ...any) error {
			return wrongIn(i, "witness", format, args...)
		}
		if err := ValidName(w.Name); err != nil {
			return bad("%v", err)
		}
		if i > 0 && c.Witnesses[i-1].Name >= w.Name {
			return bad("must be sorted by name without repetition")
		}
		if err := ValidURL(w.URL); err != nil {
			return bad("%v", err)
		}
		if _, err := WitnessKeyBytes(w.Key); err != nil {
			return bad("key: %v", err)
		}
		// Signature lines are told apart by these names, and a witness that bore a member's would be counted in its place.
		if m, ok := strings.CutSuffix(keyName(w.Key), "/witness"); ok && ValidMember(m) == nil {
			return bad("key: the name %.80q is that of a member's key", keyName(w.Key))
		}
		if slices.ContainsFunc(c.Witnesses[:i], func(o OutsideWitness) bool { return keyName(o.Key) == keyName(w.Key) }) {
			return bad("key: two witnesses have keys of the name %.80q", keyName(w.Key))
		}
		if w.MLDSA == "" {
			continue
		}
		if _, err := MLDSAKeyBytes(w.MLDSA); err != nil {
			return bad("mldsa_key: %v", err)
		}
		if keyName(w.MLDSA) != keyName(w.Key) {
			return bad("mldsa_key: must have the name of key, %.80q", keyName(w.Key))
		}
	}
	return nil
}

// ValidURL checks an address of HTTP: http:// or https://, printable ASCII, no user, query or fragment, no slash at the end,
// at most limit.URL bytes, and written as it is read.
func ValidURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > limit.URL || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "/") || u.String() != s || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%.80q is not http://HOST/PATH or https://HOST/PATH without user, query, fragment or a slash at the end", s)
	}
	return nil
}
