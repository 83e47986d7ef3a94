package statement

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"entente.example/internal/limit"
)

// Manifest is the sender's statement about one document. See docs/formats/manifest.md.
type Manifest struct {
	ID            string    `toml:"id"`         // a ULID, chosen by the sender's program
	From          string    `toml:"from"`       // the sending member
	To            []string  `toml:"to"`         // the receiving members, sorted
	SealedFor     []Hash    `toml:"sealed_for"` // SHA-256 of each recipient's sealing key, pairwise with To
	Charter       Hash      `toml:"charter_sha256"`
	Agreement     string    `toml:"agreement"`
	AgreementHash Hash      `toml:"agreement_sha256"`
	Purpose       string    `toml:"purpose"`
	Label         string    `toml:"label"`
	Created       time.Time `toml:"created"`
	DeliverBy     time.Time `toml:"deliver_by"`
	RetainUntil   time.Time `toml:"retain_until"`
	ReleasedBy    string    `toml:"released_by"` // spiffe://FROM/person/NAME
	Content       Content   `toml:"content"`
	Approval      Approval  `toml:"approval,omitempty"` // below [content], and so outside the core: it comes later
}

// Approval is the second key of a release: somebody else of the sender who has seen the document.
type Approval struct {
	By string    `toml:"by"` // spiffe://FROM/person/NAME, not who released it
	At time.Time `toml:"at"`
}

// Content binds the manifest to one sealed document.
type Content struct {
	CiphertextHash Hash   `toml:"ciphertext_sha256"` // of the age payload, which is the age file without its header
	CiphertextSize int64  `toml:"ciphertext_size"`   // bytes of the age payload
	HeaderHash     Hash   `toml:"header_sha256"`     // of the age header
	Commitment     string `toml:"commitment"`        // hmac-sha256:HEX, see docs/formats/sealed.md
}

// CommitmentPrefix names the function of a commitment.
const CommitmentPrefix = "hmac-sha256:"

// Core is the SHA-256 of the text above [content]. It is known before the document is sealed, and stands inside the
// sealed document. Only content differs between the core's manifest and the signed one.
func (m Manifest) Core() Hash {
	text := render(m)
	return HashBytes(text[:bytes.Index(text, []byte("\n[content]\n"))+1])
}

func (Manifest) kind() Kind { return KindManifest }
func (Manifest) most() int  { return limit.Statement }

func (m Manifest) signers() []string { return []string{m.From + "/statement"} }

func (m Manifest) validate() error {
	if err := m.ValidCore(); err != nil {
		return err
	}
	c := m.Content
	if c.CiphertextSize < 0 || c.CiphertextSize > 2*limit.Document {
		return wrong("ciphertext_size", "%d is out of bounds", c.CiphertextSize)
	}
	digits, ok := strings.CutPrefix(c.Commitment, CommitmentPrefix)
	if _, err := ParseHash(digits); !ok || err != nil {
		return wrong("commitment", "must be %s and 64 lower-case hex digits", CommitmentPrefix)
	}
	return m.validApproval()
}

func (m Manifest) validApproval() error {
	a := m.Approval
	if a == (Approval{}) {
		return nil
	}
	person, ok := strings.CutPrefix(a.By, "spiffe://"+m.From+"/person/")
	if !ok || ValidPerson(person) != nil {
		return wrong("by", "must be spiffe://%s/person/NAME", m.From)
	}
	if a.By == m.ReleasedBy {
		return wrong("by", "is the person who released it; nobody approves their own")
	}
	if err := validTime("at", a.At); err != nil {
		return err
	}
	if a.At.Before(m.Created) {
		return wrong("at", "is before created")
	}
	return nil
}

// ValidCore checks everything but [content], as a sender does before there is any.
func (m Manifest) ValidCore() error {
	if err := ValidID(m.ID); err != nil {
		return wrong("id", "%v", err)
	}
	if err := ValidMember(m.From); err != nil {
		return wrong("from", "%v", err)
	}
	if err := memberList(m.To, limit.Recipients); err != nil {
		return wrong("to", "%v", err)
	}
	if slices.Contains(m.To, m.From) {
		return wrong("to", "the sender %q is among the recipients", m.From)
	}
	if len(m.SealedFor) != len(m.To) {
		return wrong("sealed_for", "%d keys for %d recipients", len(m.SealedFor), len(m.To))
	}
	for i, h := range m.SealedFor {
		if slices.Contains(m.SealedFor[:i], h) {
			return wrong("sealed_for", "names the key %s twice", h.Short())
		}
	}
	if err := ValidName(m.Agreement); err != nil {
		return wrong("agreement", "%v", err)
	}
	if err := ValidName(m.Purpose); err != nil {
		return wrong("purpose", "%v", err)
	}
	if err := ValidLabel(m.Label); err != nil {
		return wrong("label", "%v", err)
	}
	if err := firstError(validTime("created", m.Created), validTime("deliver_by", m.DeliverBy), validTime("retain_until", m.RetainUntil)); err != nil {
		return err
	}
	if !m.DeliverBy.After(m.Created) {
		return wrong("deliver_by", "is not after created")
	}
	if !m.RetainUntil.After(m.Created) {
		return wrong("retain_until", "is not after created")
	}
	person, ok := strings.CutPrefix(m.ReleasedBy, "spiffe://"+m.From+"/person/")
	if !ok || ValidPerson(person) != nil {
		return wrong("released_by", "must be spiffe://%s/person/NAME", m.From)
	}
	return nil
}

// ValidID checks a ULID: 26 characters in the one upper-case spelling.
func ValidID(s string) error {
	id, err := ulid.ParseStrict(s)
	if err != nil || id.String() != s {
		return fmt.Errorf("%.80q is not a ULID in upper case", s)
	}
	return nil
}

// memberList checks a sorted list of distinct members, at least one.
func memberList(names []string, most int) error {
	if len(names) == 0 || len(names) > most {
		return fmt.Errorf("must list between 1 and %d members", most)
	}
	for i, n := range names {
		if err := ValidMember(n); err != nil {
			return err
		}
		if i > 0 && names[i-1] >= n {
			return fmt.Errorf("must be sorted without repetition: %q after %q", n, names[i-1])
		}
	}
	return nil
}

// firstYear and lastYear bound times so that arithmetic on them never overflows.
const firstYear, lastYear = 2000, 2999

func validTime(key string, t time.Time) error {
	if y := t.UTC().Year(); y < firstYear || y > lastYear {
		return wrong(key, "is missing, or not in the years %d to %d", firstYear, lastYear)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
