package checkpoint_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"entente.example/internal/checkpoint"
	"entente.example/internal/statement"
)

func newKey(t *testing.T, name string) *checkpoint.Key {
	t.Helper()
	k, err := checkpoint.GenerateKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKey(t *testing.T) {
	t.Parallel()
	k := newKey(t, "alpha/log/1")
	again, err := checkpoint.ParseKey(k.Reveal() + "\n")
	if err != nil || again.Public != k.Public || again.Name() != "alpha/log/1" {
		t.Fatalf("%v, %v", again, err)
	}
	message := []byte("a tree head\n")
	sig, err := k.Sign(message)
	if err != nil || len(sig) != 2420 {
		t.Fatalf("%d bytes, %v", len(sig), err)
	}
	if other, err := again.Sign(message); err != nil || !bytes.Equal(other, sig) {
		t.Errorf("the same message has two signatures, %v", err)
	}
	if err := checkpoint.VerifyMLDSA(k.Public, message, sig); err != nil {
		t.Error(err)
	}
	flipped := bytes.Clone(sig)
	flipped[100] ^= 1
	for name, err := range map[string]error{
		"another message":         checkpoint.VerifyMLDSA(k.Public, []byte("another tree head\n"), sig),
		"another key":             checkpoint.VerifyMLDSA(newKey(t, "alpha/log/1").Public, message, sig),
		"a changed signature":     checkpoint.VerifyMLDSA(k.Public, message, flipped),
		"a cut signature":         checkpoint.VerifyMLDSA(k.Public, message, sig[:2419]),
		"a signature and more":    checkpoint.VerifyMLDSA(k.Public, message, append(bytes.Clone(sig), 0)),
		"no signature":            checkpoint.VerifyMLDSA(k.Public, message, nil),
		"no key":                  checkpoint.VerifyMLDSA("", message, sig),
		"a key under a new name":  checkpoint.VerifyMLDSA("bravo"+strings.TrimPrefix(k.Public, "alpha"), message, sig),
		"a key that is cut short": checkpoint.VerifyMLDSA(k.Public[:len(k.Public)-4], message, sig),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeyPrintsItsPublicHalf(t *testing.T) {
	t.Parallel()
	k := newKey(t, "alpha/witness")
	secret := k.Reveal()
	inJSON, err := json.Marshal(struct{ K *checkpoint.Key }{k})
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %+v", k, k, k, k, k, k, k, *k, struct{ K *checkpoint.Key }{k}) + string(inJSON)
	if seed := secret[strings.LastIndex(secret, "+")-8:]; strings.Contains(shown, seed) || strings.Contains(shown, "PRIVATE") {
		t.Error("a printed key shows its secret half")
	}
}

// Only the one spelling of a secret key is taken, and what is refused is never repeated.
func TestParseKeyRefuses(t *testing.T) {
	t.Parallel()
	secret := newKey(t, "alpha/log/1").Reveal()
	hash := strings.Split(secret, "+")[3]
	flipped := "0"
	if hash[0] == '0' {
		flipped = "1"
	}
	for name, text := range map[string]string{
		"nothing":          "",
		"another name":     strings.Replace(secret, "alpha", "bravo", 1),
		"another hash":     strings.Replace(secret, hash, flipped+hash[1:], 1),
		"a short seed":     secret[:len(secret)-4],
		"a longer seed":    secret + "AAAA",
		"an Ed25519 key":   strings.Replace(secret, "+"+hash+"+B", "+"+hash+"+A", 1),
		"something before": "x" + secret,
		"two lines":        secret + "\n" + secret,
		"a public key":     newKey(t, "alpha/log/1").Public,
		"a huge text":      strings.Repeat("A", 1<<20),
	} {
		if _, err := checkpoint.ParseKey(text); err == nil || strings.Contains(err.Error(), secret[40:]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := checkpoint.GenerateKey("a name with spaces"); err == nil {
		t.Error("a name with spaces was accepted")
	}
	if _, err := statement.MLDSAKey("alpha/log/1", make([]byte, 1311)); err == nil {
		t.Error("a public key of 1,311 bytes was accepted")
	}
}
