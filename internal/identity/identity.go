// Package identity is who we are and who is calling: a member's own keys and certificates in files, and the judgement
// of the certificate at the other end of a connection.
//
// A member is its own certificate authority. Its node is spiffe://MEMBER/node and its people are
// spiffe://MEMBER/person/NAME; the trust domain is the member's name, so each member's authority can name itself and
// nobody else. Whoever calls is judged by the single URI in its leaf certificate, never by another name, another
// certificate of the chain or a field of a message, and judged again on every call:
//
//	caller, err := identity.JudgePeer(history, connectionState, now)
//
// What this package keeps of a home, with directories 0700 and files 0600:
//
//	keys/statement.key keys/log.key keys/witness.key   Ed25519 signing keys, in the notation of signed notes
//	keys/log-mldsa.key keys/witness-mldsa.key          ML-DSA-44 signing keys, in the same notation
//	keys/sealing.key                                   age identities
//	keys/ca.key keys/node.key                          PKCS #8 in PEM
//	certs/ca.pem certs/node.pem
//	keys/statement.key.next keys/node.key.next         while one is renewed
//	people/NAME.key people/NAME.pem                    one certificate for each person
//
// The recovery key is written elsewhere, once, and never read again by the node. Keys are never in the database, so
// that backups of it hold none.
package identity

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/statement"
)

const redacted = "[redacted]"

// Secret is a text that must not be printed, such as an age identity. Every way of formatting it gives a fixed text.
type Secret struct{ text string }

// Reveal gives the secret itself.
func (s Secret) Reveal() string { return s.text }

// Format prints a fixed text, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String is a fixed text, for what does not print through fmt.
func (Secret) String() string { return redacted }

// MarshalText gives a fixed text, so that no encoder finds more.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Keys is what a running node needs of its member's keys. The authority's private key is not among them: it is read
// from its file when a certificate is issued, and may be kept elsewhere in the meantime.
//
// Keys is not changed after Load and may be used concurrently. It prints as the member's name.
type Keys struct {
	Member    string
	Statement *statement.Key // MEMBER/statement: signs manifests, receipts, agreements, cards, charters
	Log       *statement.Key // MEMBER/log/N: signs checkpoints of the member's log; the name is the log's origin
	Witness   *statement.Key // MEMBER/witness: co-signs other members' checkpoints

	LogMLDSA     *checkpoint.Key // MEMBER/log/N: the second, post-quantum signature on the same checkpoints
	WitnessMLDSA *checkpoint.Key // MEMBER/witness: the second, post-quantum co-signature

	Sealing           []Secret // age hybrid identities, the newest first
	SealingRecipients []string // their public halves, age1pq1…, in the same order

	CA   []byte          // the member's own authority, certificates in PEM, as on its card
	Node tls.Certificate // spiffe://MEMBER/node; serves and calls
}

// Format prints the member's name, whatever the verb.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// String names the member.
func (k Keys) String() string { return "keys of " + k.Member }

// LogValue names the member.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON names the member: keys are never encoded as a whole.
func (k Keys) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// Caller is who is at the other end of a connection. Exactly one of Person and Node is set.
type Caller struct {
	Member string // the trust domain
	Person string // the person's name, or empty
	Node   bool   // the member's node
	// Standing is the member's, where the caller is another member's node; otherwise it is empty.
	Standing string
}

// String gives the SPIFFE ID.
func (c Caller) String() string {
	if c.Node {
		return nodeID(c.Member)
	}
	return personID(c.Member, c.Person)
}

func nodeID(member string) string         { return "spiffe://" + member + "/node" }
func personID(member, name string) string { return "spiffe://" + member + "/person/" + name }
