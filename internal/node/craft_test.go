package node_test

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"

	"entente.example/internal/statement"
)

// What follows makes age files that age itself does not, as a dishonest member can.

// recipient is a member's sealing key.
func (w *world) recipient(m string) age.Recipient {
	w.t.Helper()
	mem, _ := w.history.Member(m)
	r, err := age.ParseHybridRecipient(mem.Sealing[0].Recipient)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// classic is an X25519 key, which anybody could break who has a quantum computer.
func classic(t testing.TB) age.Recipient {
	t.Helper()
	k, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return k.Recipient()
}

// reheader gives a document another header, under a file key of the test's choice, and signs that.
func (w *world) reheader(d *document, to ...age.Recipient) {
	w.t.Helper()
	d.header = headerOf(w.t, make([]byte, 16), to...)
	d.m.Content.HeaderHash = statement.HashBytes(d.header)
	w.sign(d)
}

// reseal gives a document another plaintext, inner header included, and signs that.
func (w *world) reseal(d *document, plaintext []byte, to ...string) {
	w.t.Helper()
	fileKey := random(16)
	var keys []age.Recipient
	for _, m := range to {
		keys = append(keys, w.recipient(m))
	}
	d.header, d.payload = headerOf(w.t, fileKey, keys...), streamOf(w.t, fileKey, plaintext)
	w.resignContent(d)
}

// resignContent signs the header and payload as they are.
func (w *world) resignContent(d *document) {
	w.t.Helper()
	d.m.Content.HeaderHash = statement.HashBytes(d.header)
	d.m.Content.CiphertextHash, d.m.Content.CiphertextSize = statement.HashBytes(d.payload), int64(len(d.payload))
	w.sign(d)
}

// headerOf wraps a file key, with a valid MAC (age specification, section "Header").
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

// streamOf encrypts a plaintext (age specification, section "Payload").
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
