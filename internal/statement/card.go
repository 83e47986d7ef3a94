package statement

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"entente.example/internal/limit"
)

// Card is a member's own statement of where it is reached and which keys are its own. It is signed by every Ed25519 key
// that it lists, so nobody can list one of somebody else. The two ML-DSA keys do not sign it: a co-signature covers its
// signer's name, so whoever listed another's key as its own would gain nothing. See docs/formats/card.md.
type Card struct {
	Member       string       `toml:"member"`
	Version      int64        `toml:"version"`
	Previous     Hash         `toml:"previous_sha256,omitempty"` // the card before; version 1 has none
	Created      time.Time    `toml:"created"`
	Address      string       `toml:"address"`                // HOST:PORT of the peer port
	Jurisdiction string       `toml:"jurisdiction,omitempty"` // ISO 3166-1 alpha-2, or empty
	Statement    string       `toml:"statement_key"`          // MEMBER/statement+HASH+BASE64
	Recovery     string       `toml:"recovery_key"`
	Log          string       `toml:"log_key"`       // named after the log, MEMBER/log/1
	LogMLDSA     string       `toml:"log_mldsa_key"` // of the same name; post-quantum, see MLDSAKeyBytes
	Witness      string       `toml:"witness_key"`
	WitnessMLDSA string       `toml:"witness_mldsa_key"`
	CA           string       `toml:"ca"` // certificates in PEM, opaque here
	Sealing      []SealingKey `toml:"sealing"`
	// Compromised are keys of earlier cards that must not be trusted any more, sorted by key. At most limit.CompromisedKeys.
	Compromised []CompromisedKey `toml:"compromised"`
}

// CompromisedKey is a key of an earlier card that somebody else may have had, from a time on.
type CompromisedKey struct {
	Key   string    `toml:"key"`   // NAME+HASH+BASE64, Ed25519 or ML-DSA-44
	Since time.Time `toml:"since"` // not after the card's Created
}

// SealingKey is a key to which documents for the member are sealed.
type SealingKey struct {
	Epoch     int64  `toml:"epoch"`
	Recipient string `toml:"recipient"` // age1pq…
}

func (Card) kind() Kind { return KindCard }
func (Card) most() int  { return limit.Statement }

func (c Card) signers() []string {
	return []string{c.Member + "/statement", c.Member + "/recovery", keyName(c.Log), c.Member + "/witness"}
}

func keyName(vkey string) string {
	name, _, _ := strings.Cut(vkey, "+")
	return name
}

func (c Card) validate() error {
	if err := ValidMember(c.Member); err != nil {
		return wrong("member", "%v", err)
	}
	if c.Version < 1 {
		return wrong("version", "begins with 1")
	}
	if c.Previous.IsZero() != (c.Version == 1) {
		return wrong("previous_sha256", "every card but the first names the one before it")
	}
	if err := validTime("created", c.Created); err != nil {
		return err
	}
	if err := ValidAddress(c.Address); err != nil {
		return wrong("address", "%v", err)
	}
	if c.Jurisdiction != "" && ValidJurisdiction(c.Jurisdiction) != nil {
		return wrong("jurisdiction", "%v", ValidJurisdiction(c.Jurisdiction))
	}
	if err := ValidLog(keyName(c.Log), c.Member); err != nil {
		return wrong("log_key", "%v", err)
	}
	for _, k := range []struct{ field, vkey, name string }{
		{"statement_key", c.Statement, c.Member + "/statement"},
		{"recovery_key", c.Recovery, c.Member + "/recovery"},
		{"log_key", c.Log, keyName(c.Log)},
		{"witness_key", c.Witness, c.Member + "/witness"},
	} {
		if err := checkKey(0, k.field, k.vkey, k.name); err != nil {
			return err
		}
	}
	if err := checkMLDSAKey("log_mldsa_key", c.LogMLDSA, keyName(c.Log)); err != nil {
		return err
	}
	if err := checkMLDSAKey("witness_mldsa_key", c.WitnessMLDSA, c.Member+"/witness"); err != nil {
		return err
	}
	if len(c.CA) == 0 || len(c.CA) > limit.CA || !isPEM(c.CA) {
		return wrong("ca", "must be certificates in PEM, at most %d bytes", limit.CA)
	}
	if len(c.Sealing) == 0 || len(c.Sealing) > limit.SealingKeys {
		return wrong("sealing", "must be between 1 and %d keys", limit.SealingKeys)
	}
	for i, s := range c.Sealing {
		if s.Epoch < 1 || i > 0 && s.Epoch >= c.Sealing[i-1].Epoch {
			return wrongIn(i, "epoch", "epochs begin with 1, and the newest stands first")
		}
		if data, ok := strings.CutPrefix(s.Recipient, "age1pq1"); !ok || len(s.Recipient) > limit.Recipient || !isAlphanumeric(data) {
			return wrongIn(i, "recipient", "must be a post-quantum hybrid age recipient, age1pq1…, in lower case")
		}
	}
	return c.validateCompromised()
}

// validateCompromised checks what a single card can show. Whether the keys stood on earlier cards is package member's business.
func (c Card) validateCompromised() error {
	if len(c.Compromised) > limit.CompromisedKeys {
		return wrong("compromised", "must be at most %d keys", limit.CompromisedKeys)
	}
	if len(c.Compromised) > 0 && c.Version == 1 {
		return wrong("compromised", "before the first card there were no keys")
	}
	for i, k := range c.Compromised {
		name := keyName(k.Key)
		if name != c.Member+"/statement" && name != c.Member+"/witness" && ValidLog(name, c.Member) != nil {
			return wrongIn(i, "key", "must be a statement, witness or log key of %s", c.Member)
		}
		if checkKey(i, "key", k.Key, name) != nil && checkMLDSAKey("key", k.Key, name) != nil {
			return wrongIn(i, "key", "not an Ed25519 or ML-DSA-44 verifier key in its one spelling")
		}
		if slices.Contains([]string{c.Statement, c.Log, c.LogMLDSA, c.Witness, c.WitnessMLDSA}, k.Key) {
			return wrongIn(i, "key", "is one of the keys that this card itself lists")
		}
		if i > 0 && c.Compromised[i-1].Key >= k.Key {
			return wrongIn(i, "key", "the keys must be sorted without repetition")
		}
		if err := validTime("since", k.Since); err != nil {
			return wrongIn(i, "since", "is missing, or not in the years %d to %d", firstYear, lastYear)
		}
		if k.Since.After(c.Created) {
			return wrongIn(i, "since", "is after created")
		}
	}
	return nil
}

// isPEM tells whether s begins as certificates in PEM do and is ASCII. What is inside is opaque here.
func isPEM(s string) bool {
	return strings.HasPrefix(s, "-----BEGIN CERTIFICATE-----\n") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') })
}

func isAlphanumeric(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// ValidLog checks a log's name: MEMBER/log/N.
func ValidLog(name, member string) error {
	n, ok := strings.CutPrefix(name, member+"/log/")
	epoch, err := strconv.ParseUint(n, 10, 31)
	if !ok || err != nil || epoch < 1 || strconv.FormatUint(epoch, 10) != n {
		return fmt.Errorf("%.80q is not of the form %s/log/N", name, member)
	}
	return nil
}

// ValidJurisdiction checks the form of an ISO 3166-1 alpha-2 code.
func ValidJurisdiction(s string) error {
	if len(s) != 2 || s[0] < 'A' || s[0] > 'Z' || s[1] < 'A' || s[1] > 'Z' {
		return fmt.Errorf("%.80q is not a country code of two capital letters", s)
	}
	return nil
}

// ValidAddress checks HOST:PORT, where HOST is a lower-case DNS name or an IP address.
func ValidAddress(s string) error {
	bad := fmt.Errorf("%.80q is not HOST:PORT, with a lower-case DNS name or an IP address (IPv6 in brackets) and a port from 1 to 65535", s)
	if len(s) > limit.Address {
		return bad
	}
	at := strings.LastIndexByte(s, ':')
	if at < 1 {
		return bad
	}
	host, port := s[:at], s[at+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return bad
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		// A zone means something on one machine only, and an IPv4 address has a spelling of its own.
		if err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" || "["+ip.String()+"]" != host {
			return bad
		}
		return nil
	}
	parts := strings.Split(host, ".")
	// No top-level domain is a number, so this is meant as an IPv4 address, of which systems read many spellings.
	if strings.Trim(parts[len(parts)-1], "0123456789") == "" {
		if ip, err := netip.ParseAddr(host); err != nil || ip.String() != host {
			return bad
		}
		return nil
	}
	for _, part := range parts {
		if part == "" || len(part) > 63 || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || part[0] == '-' || part[len(part)-1] == '-' {
			return bad
		}
	}
	return nil
}
