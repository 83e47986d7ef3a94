package seal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"entente.example/internal/limit"
	"entente.example/internal/memo"
	"entente.example/internal/statement"
	"filippo.io/age"
)

const redacted = "[redacted]"

// Key is a member's private sealing key: an age hybrid identity (AGE-SECRET-KEY-PQ-1…). It prints redacted, whatever the
// verb, and may be used concurrently.
type Key struct {
	identity *age.HybridIdentity
	hash     statement.Hash // of the recipient
}

// ParseKey reads a key in its one spelling, AGE-SECRET-KEY-PQ-1…, without white space around it.
// Its error never quotes the input.
func ParseKey(s string) (*Key, error) {
	identity, err := age.ParseHybridIdentity(s)
	if err != nil || identity.String() != s {
		// What age says about a bad key can repeat parts of it.
		return nil, errors.New("parse sealing key: not an age hybrid identity (AGE-SECRET-KEY-PQ-1…)")
	}
	return newKey(identity), nil
}

func newKey(identity *age.HybridIdentity) *Key {
	return &Key{identity, sha256.Sum256([]byte(identity.Recipient().String()))}
}

// Recipient is the public key, age1pq…, as it stands in the member's card.
func (k *Key) Recipient() string { return k.identity.Recipient().String() }

// Hash is the SHA-256 of Recipient, as it stands in sealed_for.
func (k *Key) Hash() statement.Hash { return k.hash }

// Reveal is the key itself, for writing it to its file. ParseKey reads it again.
func (k *Key) Reveal() string { return k.identity.String() }

// Format prints a fixed text instead of the key, whatever the verb.
func (Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// String is a fixed text, for what does not print through fmt.
func (Key) String() string { return redacted }

// GoString is a fixed text as well.
func (Key) GoString() string { return redacted }

// RecipientHash is the SHA-256 of a hybrid recipient's string (age1pq…), as it stands in sealed_for.
func RecipientHash(recipient string) (statement.Hash, error) {
	if _, err := parseRecipient(recipient); err != nil {
		return statement.Hash{}, err
	}
	return sha256.Sum256([]byte(recipient)), nil
}

// recipients are those that were parsed, by their string: of 2,000 characters, that takes longer than to seal to one. A recipient
// is never changed.
var recipients memo.Memo[string, *age.HybridRecipient]

// parseRecipient accepts hybrid keys only, in their one spelling: the hash of another spelling would name another key.
func parseRecipient(s string) (*age.HybridRecipient, error) {
	if len(s) > limit.Recipient {
		return nil, errors.New("not an age hybrid recipient (age1pq1…)")
	}
	return recipients.Get(s, func() (*age.HybridRecipient, error) { return parseRecipientAnew(s) })
}

func parseRecipientAnew(s string) (*age.HybridRecipient, error) {
	r, err := age.ParseHybridRecipient(s)
	if err != nil || r.String() != s {
		// s is not quoted: it may be a private key that somebody pasted by mistake.
		return nil, errors.New("not an age hybrid recipient (age1pq1…)")
	}
	return r, nil
}
