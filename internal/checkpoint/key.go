package checkpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/mldsa"

	"entente.example/internal/statement"
)

// Key is an ML-DSA-44 signing key with its public half. It prints only its public half, and may be used concurrently.
// Make one with GenerateKey or ParseKey; the zero value signs nothing.
type Key struct {
	// Public is the verifier key in the notation of signed notes, NAME+HASH+BASE64, as statement.MLDSAKey writes it.
	Public string
	name   string
	// Both are functions so that no way of printing, copying or encoding a struct can reach the secret half.
	sign   func(message []byte) ([]byte, error)
	reveal func() string
}

// GenerateKey makes an ML-DSA-44 key of that name, such as "alpha/log/1", from the system's random source.
func GenerateKey(name string) (*Key, error) {
	private, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		return nil, fmt.Errorf("generate ML-DSA-44 key %s: %w", name, err)
	}
	return newKey(name, private)
}

// ParseKey reads the secret notation PRIVATE+KEY+NAME+HASH+BASE64, where BASE64 is the byte 0x06 and the seed of 32 bytes
// (FIPS 204, algorithm 1), and HASH is that of the public half. Only the one spelling of a key is taken, with white space
// around it. Errors never repeat the text.
func ParseKey(secret string) (*Key, error) {
	bad := errors.New("parse ML-DSA-44 key: not a signing key in the notation of signed notes")
	secret = strings.TrimSpace(secret)
	parts := strings.SplitN(secret, "+", 5) // base64 has a plus of its own
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return nil, bad
	}
	typed, err := base64.StdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(typed) != 1+mldsa.PrivateKeySize || typed[0] != typeMLDSA {
		return nil, bad
	}
	private, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), typed[1:])
	if err != nil {
		return nil, bad // what the library says may repeat parts of the seed
	}
	key, err := newKey(parts[2], private)
	if err != nil || key.Reveal() != secret {
		return nil, bad
	}
	return key, nil
}

func newKey(name string, private *mldsa.PrivateKey) (*Key, error) {
	public, err := statement.MLDSAKey(name, private.PublicKey().Bytes())
	if err != nil {
		return nil, err
	}
	hash := strings.SplitN(public, "+", 3)[1]
	return &Key{
		Public: public, name: name,
		// Deterministic, so that one checkpoint at one time has one signature.
		sign: func(message []byte) ([]byte, error) { return private.SignDeterministic(message, nil) },
		reveal: func() string {
			return "PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{typeMLDSA}, private.Bytes()...))
		},
	}, nil
}

// Name is the key's name, such as "alpha/log/1".
func (k *Key) Name() string { return k.name }

// Reveal gives the secret notation, for the file that holds it.
func (k *Key) Reveal() string { return k.reveal() }

// Sign gives the ML-DSA-44 signature of message, 2,420 bytes, with an empty context (FIPS 204, algorithm 2). The same
// message always has the same signature.
func (k *Key) Sign(message []byte) ([]byte, error) {
	sig, err := k.sign(message)
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k.name, err)
	}
	return sig, nil
}

// String gives the public half.
func (k Key) String() string { return k.Public }

// GoString gives the public half.
func (k Key) GoString() string { return k.Public }

// Format prints the public half, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.Public) }

// VerifyMLDSA checks an ML-DSA-44 signature of message, with an empty context, under a verifier key in the notation of
// statement.MLDSAKey. It returns nil only for a good signature of exactly 2,420 bytes. What the message must look like, so
// that it names its signer, is the caller's business.
func VerifyMLDSA(vkey string, message, sig []byte) error {
	return verified(typeMLDSA, []byte(vkey), message, sig, func() error { return verifyAnew(vkey, message, sig) })
}

func verifyAnew(vkey string, message, sig []byte) error {
	public, err := statement.MLDSAKeyBytes(vkey)
	if err != nil {
		return fmt.Errorf("verify ML-DSA-44 signature: %w", err)
	}
	name, _, _ := strings.Cut(vkey, "+")
	if len(sig) != mldsa.MLDSA44SignatureSize {
		return fmt.Errorf("verify ML-DSA-44 signature of %.80q: it has %d bytes, expected %d", name, len(sig), mldsa.MLDSA44SignatureSize)
	}
	key, err := mldsa.NewPublicKey(mldsa.MLDSA44(), public)
	if err != nil {
		return fmt.Errorf("verify ML-DSA-44 signature of %.80q: %w", name, err)
	}
	if err := mldsa.Verify(key, message, sig, nil); err != nil {
		return fmt.Errorf("verify ML-DSA-44 signature of %.80q: it is not good", name)
	}
	return nil
}
