package statement

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Hash is a SHA-256. In text it is always 64 lower-case hex digits.
type Hash [sha256.Size]byte

// HashBytes is the SHA-256 of b.
func HashBytes(b []byte) Hash { return sha256.Sum256(b) }

// ParseHash reads 64 lower-case hex digits and nothing else.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*len(h) || strings.ToLower(s) != s {
		return Hash{}, fmt.Errorf("%.80q is not a SHA-256 in 64 lower-case hex digits", s)
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("%.80q is not a SHA-256 in 64 lower-case hex digits", s)
	}
	return h, nil
}

// String gives 64 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short gives the first 12 hex digits, for people; it names nothing safely.
func (h Hash) Short() string { return h.String()[:12] }

// IsZero tells whether h was never set.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler, as strictly as ParseHash.
func (h *Hash) UnmarshalText(b []byte) error {
	got, err := ParseHash(string(b))
	if err != nil {
		return err
	}
	*h = got
	return nil
}

// Fingerprint is what two people compare over the telephone: the first 128 bits of a hash as eight groups of four
// hex digits. A second text with the same 128 bits cannot be found, and an author who prepares two texts of one
// fingerprint gains nothing, because the charter pins the full hash that everybody signs.
func Fingerprint(h Hash) string {
	s := h.String()
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = s[4*i : 4*i+4]
	}
	return strings.Join(groups, " ")
}
