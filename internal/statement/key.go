package statement

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/limit"
)

// Key is a signing key with its public half. It implements note.Signer, and prints only its public half.
type Key struct {
	note.Signer
	// Public is the verifier key in the notation of signed notes, NAME+HASH+BASE64.
	Public string
	// reveal is a function so that no way of printing, copying or encoding a struct can reach the secret half.
	reveal func() string
}

// GenerateKey makes an Ed25519 key of that name, such as "alpha/statement", from rand.
func GenerateKey(rand io.Reader, name string) (*Key, error) {
	secret, _, err := note.GenerateKey(rand, name)
	if err != nil {
		return nil, fmt.Errorf("generate key %s: %w", name, err)
	}
	return ParseKey(secret)
}

// ParseKey reads the secret notation PRIVATE+KEY+NAME+HASH+BASE64. Its errors never repeat the text.
func ParseKey(secret string) (*Key, error) {
	secret = strings.TrimSpace(secret)
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, errors.New("parse key: not a signing key in the notation of signed notes")
	}
	parts := strings.SplitN(secret, "+", 5) // base64 has a plus of its own
	seed, err := base64.StdEncoding.Strict().DecodeString(parts[len(parts)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, errors.New("parse key: not an Ed25519 seed")
	}
	public := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return nil, fmt.Errorf("parse key %s: %w", signer.Name(), err)
	}
	return &Key{Signer: signer, Public: vkey, reveal: func() string { return secret }}, nil
}

// Reveal gives the secret notation, for the file that holds it.
func (k *Key) Reveal() string { return k.reveal() }

// String gives the public half.
func (k Key) String() string { return k.Public }

// GoString gives the public half.
func (k Key) GoString() string { return k.Public }

// Format prints the public half, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.Public) }

// checkKey checks that a vkey is canonical and bears exactly that name. It stands in the nth repeated table, if in any.
func checkKey(nth int, field, vkey, name string) error {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return wrongIn(nth, field, "not a verifier key in the notation of signed notes")
	}
	if v.Name() != name {
		return wrongIn(nth, field, "the key is named %.80q, expected %q", v.Name(), name)
	}
	raw, err := KeyBytes(vkey)
	if err != nil {
		return wrongIn(nth, field, "%v", err)
	}
	if again, err := note.NewEd25519VerifierKey(name, raw); err != nil || again != vkey {
		return wrongIn(nth, field, "not the one spelling of its key")
	}
	return nil
}

// KeyBytes gives the bare Ed25519 public key of a vkey. A note's signature does not cover the key's name, so two keys
// are the same if these bytes are, whatever they are called.
func KeyBytes(vkey string) (ed25519.PublicKey, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(b) != 1+ed25519.PublicKeySize || b[0] != typeEd25519 {
		return nil, errors.New("not an Ed25519 verifier key")
	}
	return ed25519.PublicKey(b[1:]), nil
}

// The bytes in front of a public key in its notation, which say what it is for: C2SP signed-note and tlog-cosignature.
const (
	typeEd25519   = 0x01
	typeCosigned  = 0x04 // Ed25519, for co-signatures with a time
	typeMLDSA     = 0x06
	mldsaKeyBytes = 1312 // of an ML-DSA-44 public key, FIPS 204 table 2
)

// MLDSAKey writes an ML-DSA-44 public key of 1,312 bytes in the notation of signed notes, NAME+HASH+BASE64, with the
// signature type 0x06 of C2SP tlog-cosignature. The name must be MEMBER/PURPOSE or another without spaces and plus signs.
func MLDSAKey(name string, public []byte) (string, error) {
	if len(public) != mldsaKeyBytes {
		return "", fmt.Errorf("write ML-DSA-44 key: it has %d bytes, expected %d", len(public), mldsaKeyBytes)
	}
	if !isASCIIWord(name) {
		return "", fmt.Errorf("write ML-DSA-44 key: %.80q cannot be a key's name", name)
	}
	return spell(name, append([]byte{typeMLDSA}, public...)), nil
}

// MLDSAKeyBytes gives the bare ML-DSA-44 public key of a vkey, 1,312 bytes, if the vkey is the one spelling of its key.
// Every 1,312 bytes are the encoding of some public key.
func MLDSAKeyBytes(vkey string) ([]byte, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(b) != 1+mldsaKeyBytes || b[0] != typeMLDSA {
		return nil, errors.New("not an ML-DSA-44 verifier key")
	}
	if again, err := MLDSAKey(parts[0], b[1:]); err != nil || again != vkey {
		return nil, errors.New("not the one spelling of its key")
	}
	return b[1:], nil
}

// checkMLDSAKey checks that a vkey is an ML-DSA-44 key in its one spelling and bears exactly that name.
func checkMLDSAKey(field, vkey, name string) error {
	if _, err := MLDSAKeyBytes(vkey); err != nil {
		return wrong(field, "%v", err)
	}
	if keyName(vkey) != name {
		return wrong(field, "the key is named %.80q, expected %q", keyName(vkey), name)
	}
	return nil
}

// WitnessKeyBytes gives the bare Ed25519 public key, 32 bytes, of an outside witness's vkey in its one spelling. Witnesses
// publish their keys with signature type 0x04 (C2SP tlog-cosignature); 0x01, which cards use, is taken as well. The name is
// the witness's own and need not be of our form.
func WitnessKeyBytes(vkey string) (ed25519.PublicKey, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 || !isASCIIWord(parts[0]) || len(parts[0]) > limit.Address {
		return nil, errors.New("not a verifier key")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(b) != 1+ed25519.PublicKeySize || b[0] != typeEd25519 && b[0] != typeCosigned {
		return nil, errors.New("not an Ed25519 verifier key of signature type 0x01 or 0x04")
	}
	if spell(parts[0], b) != vkey {
		return nil, errors.New("not the one spelling of its key")
	}
	return ed25519.PublicKey(b[1:]), nil
}

// spell writes a key, its type byte in front, in the notation of signed notes.
func spell(name string, typed []byte) string {
	sum := sha256.Sum256(append([]byte(name+"\n"), typed...))
	return fmt.Sprintf("%s+%x+%s", name, sum[:4], base64.StdEncoding.EncodeToString(typed))
}

func isASCIIWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '+' })
}

// KeyID gives the id of a vkey, NAME+HASH, as it stands in Signed.By. It verifies nothing.
func KeyID(vkey string) string {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) < 2 {
		return vkey
	}
	return parts[0] + "+" + parts[1]
}
