package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"filippo.io/age"
)

func TestSealVerify(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 65535, 65536, 65537, limit.Chunk - 1, limit.Chunk, limit.Chunk + 1, 1<<20 + 1} {
		for _, n := range []int{1, 2, limit.Recipients} {
			t.Run(fmt.Sprintf("%d bytes for %d", size, n), func(t *testing.T) {
				t.Parallel()
				s := send(t, text(size), keys(n)...)
				for _, k := range []*Key{keys(n)[0], keys(n)[n-1]} {
					open(t, s, k)
				}
				if len(s.header) > limit.Header {
					t.Errorf("header has %d bytes", len(s.header))
				}
			})
		}
	}
}

// open verifies and releases s, twice, and compares.
func open(t *testing.T, s *sent, k *Key) {
	t.Helper()
	if err := CheckHeader(s.header, s.m, k); err != nil {
		t.Fatal(err)
	}
	d, err := Verify(s.header, bytes.NewReader(s.payload), s.m, keys(limit.Recipients + 1)[limit.Recipients], k)
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "report.pdf" || d.MediaType != "application/pdf" || d.Size != int64(len(s.doc)) {
		t.Errorf("got %q, %q, %d bytes", d.Name, d.MediaType, d.Size)
	}
	for range 2 {
		var got bytes.Buffer
		n, err := d.WriteTo(&got)
		if err != nil || n != d.Size || !bytes.Equal(got.Bytes(), s.doc) {
			t.Errorf("released %d bytes, %v; equal: %t", n, err, bytes.Equal(got.Bytes(), s.doc))
		}
	}
}

// A document in parts is the document, wherever it was cut; there is nothing before its beginning and behind its end.
func TestWriteFrom(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 65536, limit.Chunk + 1, 1<<20 + 1} {
		s := send(t, text(size), keys(2)...)
		d, err := Verify(s.header, bytes.NewReader(s.payload), s.m, keys(2)[1])
		if err != nil {
			t.Fatal(err)
		}
		if d.SHA256 != statement.HashBytes(s.doc) {
			t.Errorf("%d bytes: hash %s", size, d.SHA256)
		}
		for _, at := range []int{0, 1, 1000, 65535, 65536, 65537, limit.Chunk, limit.Chunk + 1, 1 << 20, 1<<20 + 1} {
			var got bytes.Buffer
			n, err := d.WriteFrom(&got, int64(at))
			if at > size {
				if err == nil || got.Len() > 0 {
					t.Errorf("%d bytes from %d: released %d, %v", size, at, n, err)
				}
			} else if err != nil || n != int64(got.Len()) || !bytes.Equal(got.Bytes(), s.doc[at:]) {
				t.Errorf("%d bytes from %d: released %d (%d), %v", size, at, n, got.Len(), err)
			}
		}
		if n, err := d.WriteFrom(io.Discard, -1); err == nil {
			t.Errorf("%d bytes from -1: released %d", size, n)
		}
	}
}

// What is damaged after Verify is not released from there on, and what cannot be read is an error of its own. Only another payload with the
// same file key is not noticed here; it differs from the hash.
func TestWriteFromChanged(t *testing.T) {
	t.Parallel()
	s := send(t, text(1<<20), keys(2)...)
	salt := s.sealed.Salt
	other := streamOf(t, s.fileKey(t, keys(2)[1]), append(s.in.render(&salt), text(1<<20 + 7)[7:]...))
	disk := &mutable{b: s.payload}
	d, err := Verify(s.header, disk, s.m, keys(1)...)
	if err != nil {
		t.Fatal(err)
	}
	const from = 600_000
	for _, at := range []int{0, 700_000, len(s.payload) - 1} {
		flipped := bytes.Clone(s.payload)
		flipped[at] ^= 1
		for _, bad := range [][]byte{flipped, s.payload[:at]} {
			disk.b = bad
			var got bytes.Buffer
			if _, err := d.WriteFrom(&got, from); !errors.Is(err, ErrPayload) || int64(got.Len()) >= d.Size-from || !bytes.HasPrefix(s.doc[from:], got.Bytes()) {
				t.Errorf("changed at %d: released %d, %v", at, got.Len(), err)
			}
		}
	}
	disk.b = other
	var got bytes.Buffer
	if _, err := d.WriteFrom(&got, from); err == nil && statement.HashBytes(append(s.doc[:from:from], got.Bytes()...)) == d.SHA256 {
		t.Error("another payload has the hash of the right one")
	}
	for at := 1; ; at++ {
		reads := 0
		disk.b, disk.bad = s.payload, func(int64) error {
			if reads++; reads == at {
				return errBroken
			}
			return nil
		}
		var got bytes.Buffer
		_, err := d.WriteFrom(&got, from)
		if reads < at {
			break // nothing failed
		}
		// What age reads ahead behind the header it reads again, so that the first failure may do no harm.
		if whole := bytes.Equal(got.Bytes(), s.doc[from:]); whole != (err == nil) || err != nil && !errors.Is(err, errBroken) || err == nil && at > 1 {
			t.Errorf("read %d: released %d, %v", at, got.Len(), err)
		}
	}
}

// What Seal makes is an ordinary age file in two parts, and the content is what the specification says.
func TestFormat(t *testing.T) {
	t.Parallel()
	s := send(t, text(100_000), keys(2)...)
	r, err := age.Decrypt(bytes.NewReader(append(bytes.Clone(s.header), s.payload...)), keys(2)[1].identity)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	top := "entente.example/sealed/v1\ncore_sha256 = \"" + s.m.Core().String() + "\"\n"
	salt := "salt = \"" + hex.EncodeToString(s.sealed.Salt[:]) + "\"\n"
	rest := "name = \"report.pdf\"\nmedia_type = \"application/pdf\"\n\n" + string(s.doc)
	if string(plain) != top+salt+rest {
		t.Errorf("plaintext begins %q", plain[:300])
	}
	mac := hmac.New(sha256.New, s.sealed.Salt[:])
	mac.Write([]byte(top + rest))
	want := statement.Content{
		CiphertextHash: sha256.Sum256(s.payload), CiphertextSize: int64(len(s.payload)), HeaderHash: sha256.Sum256(s.header),
		Commitment: "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil)),
	}
	if s.sealed.Content != want {
		t.Errorf("content %+v, want %+v", s.sealed.Content, want)
	}
	if bytes.Contains(s.payload, s.header) || !strings.HasPrefix(string(s.header), "age-encryption.org/v1\n-> mlkem768x25519 ") {
		t.Error("header and payload are not apart")
	}
}

func TestSealRefuses(t *testing.T) {
	t.Parallel()
	x25519, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	good := Inner{statement.HashBytes([]byte("core")), "report.pdf", "application/pdf"}
	one := keys(1)[0].Recipient()
	tests := []struct {
		name       string
		recipients []string
		in         Inner
	}{
		{"no recipient", nil, good},
		{"65 recipients", recipientsOf(keys(65)), good},
		{"same recipient twice", []string{one, one}, good},
		{"classic recipient", []string{x25519.Recipient().String()}, good},
		{"mixed recipients", []string{one, x25519.Recipient().String()}, good},
		{"ssh recipient", []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN"}, good},
		{"private key", []string{keys(1)[0].Reveal()}, good},
		{"upper case", []string{strings.ToUpper(one)}, good},
		{"white space", []string{one + "\n"}, good},
		{"empty recipient", []string{""}, good},
		{"no core", []string{one}, Inner{Name: "a", MediaType: "text/plain"}},
		{"path", []string{one}, Inner{good.Core, "../secret", "text/plain"}},
		{"line feed in name", []string{one}, Inner{good.Core, "a\nb", "text/plain"}},
		{"no name", []string{one}, Inner{good.Core, "", "text/plain"}},
		{"no media type", []string{one}, Inner{good.Core, "a", ""}},
		{"media type with parameter", []string{one}, Inner{good.Core, "a", "text/plain; charset=utf-8"}},
		{"media type in upper case", []string{one}, Inner{good.Core, "a", "Text/plain"}},
		{"media type with quote", []string{one}, Inner{good.Core, "a", `text/"plain`}},
		{"long media type", []string{one}, Inner{good.Core, "a", "text/" + strings.Repeat("a", 128)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var dst bytes.Buffer
			_, err := Seal(&dst, test.recipients, test.in, strings.NewReader("the document"))
			if err == nil {
				t.Fatal("sealed")
			}
			if dst.Len() != 0 {
				t.Errorf("wrote %d bytes", dst.Len())
			}
			if strings.Contains(err.Error(), "SECRET") || test.in.Name != "a" && test.in.Name != "" && strings.Contains(err.Error(), test.in.Name) {
				t.Errorf("error says too much: %v", err)
			}
		})
	}
}

func TestSealBounds(t *testing.T) {
	t.Parallel()
	in := Inner{statement.HashBytes([]byte("core")), "report.pdf", "application/pdf"}
	to := recipientsOf(keys(1))
	if _, err := sealUpTo(1000, io.Discard, to, in, bytes.NewReader(text(1000))); err != nil {
		t.Errorf("largest document: %v", err)
	}
	if _, err := sealUpTo(1000, io.Discard, to, in, bytes.NewReader(text(1001))); err == nil {
		t.Error("sealed one byte too many")
	}
}

var errBroken = errors.New("broken")

// brokenWriter takes a number of bytes and then fails.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		n := w.left
		w.left = 0
		return n, errBroken
	}
	w.left -= len(p)
	return len(p), nil
}

// Seal must notice a failing destination at any byte, those of the last chunk included, and a failing source.
func TestSealFailures(t *testing.T) {
	t.Parallel()
	doc := text(300_000)
	in := Inner{statement.HashBytes([]byte("core")), "report.pdf", "application/pdf"}
	to := recipientsOf(keys(1))
	sealed, err := Seal(io.Discard, to, in, bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	size := int(sealed.Content.CiphertextSize)
	for _, room := range []int{0, 1, 15, 16, 17, 65536, limit.Chunk - 1, limit.Chunk, limit.Chunk + 1, size - 1} {
		if _, err := Seal(&brokenWriter{room}, to, in, bytes.NewReader(doc)); !errors.Is(err, errBroken) {
			t.Errorf("destination breaks after %d bytes: %v", room, err)
		}
	}
	if _, err := Seal(&brokenWriter{size}, to, in, bytes.NewReader(doc)); err != nil {
		t.Errorf("destination of exactly the right size: %v", err)
	}
	src := io.MultiReader(bytes.NewReader(doc), iotest.ErrReader(errBroken))
	if _, err := Seal(io.Discard, to, in, src); !errors.Is(err, errBroken) {
		t.Errorf("source breaks: %v", err)
	}
	var payload bytes.Buffer
	if _, err := Seal(&payload, to, in, iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(doc)))); err != nil || payload.Len() != size {
		t.Errorf("slow source: %d bytes, %v", payload.Len(), err)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	k := keys(1)[0]
	again, err := ParseKey(k.Reveal())
	if err != nil || again.Recipient() != k.Recipient() {
		t.Errorf("parse what was revealed: %v", err)
	}
	hash, err := RecipientHash(k.Recipient())
	if err != nil || hash != statement.HashBytes([]byte(k.Recipient())) || hash != k.hash {
		t.Errorf("recipient hash %s, %v", hash, err)
	}
	secret := k.Reveal()
	for _, bad := range []string{"", secret[:len(secret)-1], secret + "\n", strings.ToLower(secret), secret[:40] + "B" + secret[41:], k.Recipient()} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("parsed %.30q", bad)
		} else if strings.Contains(err.Error(), secret[18:30]) {
			t.Errorf("error repeats the key: %v", err)
		}
		if _, err := RecipientHash(bad); (err == nil) != (bad == k.Recipient()) {
			t.Errorf("hash of %.30q: %v", bad, err)
		}
	}
}

// Nothing that a careless line of logging could print holds a secret.
func TestRedaction(t *testing.T) {
	t.Parallel()
	s := send(t, []byte("the document"), keys(1)...)
	k := keys(1)[0]
	d, err := Verify(s.header, bytes.NewReader(s.payload), s.m, k)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "value", *k, "salt", s.sealed.Salt, "document", d, "sealed", s.sealed)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", k, "value", *k, "document", d)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb+verb+verb+verb+verb+verb+"\n", k, *k, s.sealed.Salt, *s.sealed, d, *d)
		fmt.Fprintf(&log, verb+verb+"\n", struct{ Key *Key }{k}, []*Key{k})
		fmt.Fprintf(&log, verb+verb+verb+verb+"\n", struct{ k *Key }{k}, struct{ k Key }{*k}, struct{ d *Document }{d}, struct{ d Document }{*d})
	}
	salt, fileKey := s.sealed.Salt, s.fileKey(t, k)
	for name, canary := range map[string]string{
		"key": k.Reveal()[20:40], "salt": hex.EncodeToString(salt[:8]), "salt in decimal": strings.Trim(fmt.Sprintf("%d", salt[:4]), "[]"),
		"file key": hex.EncodeToString(fileKey), "file key in decimal": strings.Trim(fmt.Sprintf("%d", fileKey), "[]"),
	} {
		if strings.Contains(strings.ToUpper(log.String()), strings.ToUpper(canary)) {
			t.Errorf("printed the %s", name)
		}
	}
	if !strings.Contains(log.String(), redacted) {
		t.Error("printed nothing at all")
	}
}
