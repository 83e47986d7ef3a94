package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/mod/sumdb/note"
)

// keys gives n different keys, the same in every test.
func keys(n int) []*Key { return madeKeys()[:n] }

var madeKeys = sync.OnceValue(func() []*Key {
	made := make([]*Key, limit.Recipients+2)
	for i := range made {
		identity, err := age.GenerateHybridIdentity()
		if err != nil {
			panic(err)
		}
		made[i] = newKey(identity)
	}
	return made
})

func recipientsOf(ks []*Key) []string {
	var to []string
	for _, k := range ks {
		to = append(to, k.Recipient())
	}
	return to
}

var signer = sync.OnceValue(func() *statement.Key {
	k, err := statement.GenerateKey(rand.Reader, "alpha/statement")
	if err != nil {
		panic(err)
	}
	return k
})

// draft is a manifest of alpha for the owners of ks, without content.
func draft(ks ...*Key) statement.Manifest {
	created := time.Date(2026, 11, 23, 9, 12, 44, 0, time.UTC)
	m := statement.Manifest{
		ID: "01K7XQ3W0V6N2T9R4M5B8C1D2E", From: "alpha", Charter: statement.HashBytes([]byte("charter")),
		Agreement: "harbour-watch", AgreementHash: statement.HashBytes([]byte("agreement")), Purpose: "incident-response",
		Label: "TLP:AMBER", Created: created, DeliverBy: created.AddDate(0, 0, 7), RetainUntil: created.AddDate(0, 0, 90),
		ReleasedBy: "spiffe://alpha/person/alice",
	}
	for i, k := range ks {
		m.To = append(m.To, fmt.Sprintf("member%02d", i))
		m.SealedFor = append(m.SealedFor, k.hash)
	}
	return m
}

// sign signs a manifest and gives it back as a recipient has it: opened and verified.
func sign(t testing.TB, m statement.Manifest) *statement.Manifest {
	t.Helper()
	s, err := statement.Sign(m, signer())
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(signer().Public)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := statement.Open[statement.Manifest](s.Raw, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	return &opened.Terms
}

// sent is everything that a recipient gets, and what went into it.
type sent struct {
	header, payload []byte
	m               *statement.Manifest
	sealed          *Sealed
	in              Inner
	doc             []byte
}

func send(t testing.TB, doc []byte, ks ...*Key) *sent {
	t.Helper()
	m := draft(ks...)
	in := Inner{m.Core(), "report.pdf", "application/pdf"}
	var payload bytes.Buffer
	sealed, err := Seal(&payload, recipientsOf(ks), in, bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	m.Content = sealed.Content
	return &sent{sealed.Header, payload.Bytes(), sign(t, m), sealed, in, doc}
}

// resign gives the manifest that a dishonest sender would sign for this header and payload: hashes and size are right.
func (s *sent) resign(t testing.TB, header, payload []byte) *statement.Manifest {
	t.Helper()
	m := *s.m
	m.Content.HeaderHash = statement.HashBytes(header)
	m.Content.CiphertextHash = statement.HashBytes(payload)
	m.Content.CiphertextSize = int64(len(payload))
	return sign(t, m)
}

// fileKey is what any recipient can learn.
func (s *sent) fileKey(t testing.TB, k *Key) []byte {
	t.Helper()
	fileKey, err := age.DecryptHeader(s.header, k.identity)
	if err != nil {
		t.Fatal(err)
	}
	return fileKey
}

// text is a document without repetition, so that swapped chunks would show.
func text(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16*29)
	}
	return b
}

// streamOf encrypts plaintext as the age specification has it (section "Payload"), under a file key of our choice: what
// age itself does not offer, but a dishonest recipient can do.
func streamOf(t testing.TB, fileKey, plaintext []byte) []byte {
	t.Helper()
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce)
	key, err := hkdf.Key(sha256.New, fileKey, nonce, "payload", chacha20poly1305.KeySize)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		t.Fatal(err)
	}
	out := nonce
	for i := 0; ; i++ {
		n := min(len(plaintext), 64<<10)
		counter := make([]byte, 12)
		counter[9], counter[10] = byte(i>>8), byte(i)
		if n == len(plaintext) {
			counter[11] = 1
		}
		out = aead.Seal(out, counter, plaintext[:n], nil)
		if plaintext = plaintext[n:]; len(plaintext) == 0 {
			return out
		}
	}
}

// headerOf wraps a file key of our choice, with a valid MAC (age specification, section "Header").
func headerOf(t testing.TB, fileKey []byte, to ...age.Recipient) []byte {
	t.Helper()
	b64 := base64.RawStdEncoding.EncodeToString
	b := []byte("age-encryption.org/v1\n")
	for _, r := range to {
		stanzas, err := r.Wrap(fileKey)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stanzas {
			b = fmt.Appendf(b, "-> %s", s.Type)
			for _, a := range s.Args {
				b = fmt.Appendf(b, " %s", a)
			}
			b = fmt.Appendf(b, "\n%s\n", b64(s.Body)) // 32 bytes: one short line
		}
	}
	b = append(b, "---"...)
	key, err := hkdf.Key(sha256.New, fileKey, nil, "header", 32)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return fmt.Appendf(b, " %s\n", b64(mac.Sum(nil)))
}
