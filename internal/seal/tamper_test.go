package seal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"filippo.io/age"
)

// refuse demands that Verify gives nothing but this error.
func refuse(t *testing.T, want error, header, payload []byte, m *statement.Manifest, ks ...*Key) {
	t.Helper()
	d, err := Verify(header, bytes.NewReader(payload), m, ks...)
	if d != nil {
		t.Error("got a document")
	}
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// boundaries are the offsets at which an age payload's parts end.
func boundaries(payload []byte) []int {
	at := []int{0, 15, 16}
	for n := 16 + 65552; n < len(payload); n += 65552 {
		at = append(at, n-1, n, n+1, n+16)
	}
	return append(at, len(payload)-1)
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	s := send(t, text(1<<20), keys(2)...)
	for _, n := range boundaries(s.payload) {
		cut := s.payload[:n]
		refuse(t, ErrPayload, s.header, cut, s.m, keys(1)...)
		// The same from a sender who signs it.
		refuse(t, ErrUndecryptable, s.header, cut, s.resign(t, s.header, cut), keys(1)...)
	}
}

func TestExtended(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 1 << 16} {
		s := send(t, text(size), keys(1)...)
		for _, more := range [][]byte{{0}, make([]byte, 16), make([]byte, 70_000), s.payload} {
			long := append(bytes.Clone(s.payload), more...)
			refuse(t, ErrPayload, s.header, long, s.m, keys(1)...)
			refuse(t, ErrUndecryptable, s.header, long, s.resign(t, s.header, long), keys(1)...)
		}
	}
}

func TestBitFlips(t *testing.T) {
	t.Parallel()
	s := send(t, text(200_000), keys(2)...)
	for _, at := range append(boundaries(s.payload), 17, 300, 100_000, len(s.payload)-17) {
		bad := bytes.Clone(s.payload)
		bad[at] ^= 0x10
		refuse(t, ErrPayload, s.header, bad, s.m, keys(1)...)
		refuse(t, ErrUndecryptable, s.header, bad, s.resign(t, s.header, bad), keys(1)...)
	}
	for at := range s.header {
		bad := bytes.Clone(s.header)
		bad[at] ^= 1
		if err := CheckHeader(bad, s.m, keys(1)...); !errors.Is(err, ErrHeader) {
			t.Fatalf("byte %d: %v", at, err)
		}
		m := *s.m
		m.Content.HeaderHash = statement.HashBytes(bad)
		if err := CheckHeader(bad, &m, keys(1)...); !errors.Is(err, ErrUndecryptable) && !errors.Is(err, ErrNotForUs) {
			t.Fatalf("byte %d (%q), signed: %v", at, s.header[at], err)
		}
	}
	refuse(t, ErrHeader, s.header[:len(s.header)-1], s.payload, s.m, keys(1)...)
	refuse(t, ErrHeader, append(bytes.Clone(s.header), '\n'), s.payload, s.m, keys(1)...)
	refuse(t, ErrHeader, nil, s.payload, s.m, keys(1)...)
}

// A co-recipient knows the file key, and puts another payload under the unchanged header.
func TestSwappedPayload(t *testing.T) {
	t.Parallel()
	bravo, charlie := keys(2)[0], keys(2)[1]
	s := send(t, []byte("pay 100"), bravo, charlie)
	salt := s.sealed.Salt
	forged := streamOf(t, s.fileKey(t, charlie), append(s.in.render(&salt), "pay 999"...))

	// age itself sees nothing wrong with it: the test would prove nothing otherwise.
	r, err := age.Decrypt(bytes.NewReader(append(bytes.Clone(s.header), forged...)), bravo.identity)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(r); err != nil || !bytes.HasSuffix(plain, []byte("pay 999")) {
		t.Fatalf("the forgery is badly made: %q, %v", plain, err)
	}

	refuse(t, ErrPayload, s.header, forged, s.m, bravo)
	// If the hash were signed, the commitment would still tell.
	refuse(t, ErrCommitment, s.header, forged, s.resign(t, s.header, forged), bravo)
}

// A recipient passes the document on as its own, or the sender's to others: the core names the manifest it was made for.
func TestRewrapped(t *testing.T) {
	t.Parallel()
	bravo, charlie := keys(2)[0], keys(2)[1]
	s := send(t, []byte("for bravo only"), bravo)
	r, err := parseRecipient(charlie.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	header := headerOf(t, s.fileKey(t, bravo), r)
	m := draft(charlie)
	m.Content = s.sealed.Content
	m.Content.HeaderHash = statement.HashBytes(header)
	refuse(t, ErrCore, header, s.payload, sign(t, m), charlie)

	// Each term of the core is bound in the same way.
	for name, edit := range map[string]func(*statement.Manifest){
		"label":     func(m *statement.Manifest) { m.Label = "TLP:CLEAR" },
		"recipient": func(m *statement.Manifest) { m.To[0] = "mallory" },
		"purpose":   func(m *statement.Manifest) { m.Purpose = "marketing" },
		"agreement": func(m *statement.Manifest) { m.AgreementHash[0]++ },
		"id":        func(m *statement.Manifest) { m.ID = "01K7XQ3W0V6N2T9R4M5B8C1D2F" },
		"retention": func(m *statement.Manifest) { m.RetainUntil = m.RetainUntil.AddDate(1, 0, 0) },
	} {
		m := draft(bravo)
		m.Content = s.sealed.Content
		edit(&m)
		t.Log(name)
		refuse(t, ErrCore, s.header, s.payload, sign(t, m), bravo)
	}
	open(t, s, bravo)
}

func TestWrongCommitment(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 3 * limit.Chunk} {
		s := send(t, text(size), keys(1)...)
		m := *s.m
		other := send(t, text(size), keys(1)...) // the same document under another salt
		m.Content.Commitment = other.sealed.Content.Commitment
		refuse(t, ErrCommitment, s.header, s.payload, sign(t, m), keys(1)...)
	}
}

func TestNotForUs(t *testing.T) {
	t.Parallel()
	s := send(t, []byte("x"), keys(2)...)
	stranger := keys(3)[2]
	refuse(t, ErrNotForUs, s.header, s.payload, s.m, stranger)
	refuse(t, ErrNotForUs, s.header, s.payload, s.m)
	// The manifest names a key that the header does not open for.
	m := *s.m
	m.SealedFor = []statement.Hash{stranger.hash, keys(1)[0].hash}
	refuse(t, ErrNotForUs, s.header, s.payload, &m, stranger)
	// The header opens for a key that the manifest does not name.
	refuse(t, ErrNotForUs, s.header, s.payload, &m, keys(2)[1])
}

func TestStanzas(t *testing.T) {
	t.Parallel()
	x25519, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := send(t, []byte("x"), keys(2)...)
	fileKey := s.fileKey(t, keys(1)[0])
	a, b, c := keys(3)[0].identity.Recipient(), keys(3)[1].identity.Recipient(), keys(3)[2].identity.Recipient()
	var many []age.Recipient
	for _, k := range keys(65) {
		many = append(many, k.identity.Recipient())
	}
	tests := []struct {
		name string
		to   []age.Recipient
		want error
	}{
		{"as it should be", []age.Recipient{a, b}, nil},
		{"a classic one at the end", []age.Recipient{a, x25519.Recipient()}, ErrUndecryptable},
		{"a classic one at the start", []age.Recipient{x25519.Recipient(), a}, ErrUndecryptable},
		{"a classic one more", []age.Recipient{a, b, x25519.Recipient()}, ErrUndecryptable},
		{"a hybrid one more", []age.Recipient{a, b, c}, ErrUndecryptable},
		{"one less", []age.Recipient{a}, ErrUndecryptable},
		{"65", many, ErrUndecryptable},
	}
	for _, test := range tests {
		header := headerOf(t, fileKey, test.to...)
		if _, err := age.DecryptHeader(header, keys(1)[0].identity); err != nil {
			t.Fatalf("%s: the header is badly made: %v", test.name, err)
		}
		err := CheckHeader(header, s.resign(t, header, s.payload), keys(1)...)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	good := headerOf(t, fileKey, a, b)
	for name, bad := range map[string][]byte{
		"payload behind it":        append(bytes.Clone(good), s.payload...),
		"a line feed behind it":    append(bytes.Clone(good), '\n'),
		"one argument more":        headerOf(t, fileKey, a, odd(func(s *age.Stanza) { s.Args = append(s.Args, "x") })),
		"no argument":              headerOf(t, fileKey, a, odd(func(s *age.Stanza) { s.Args = nil })),
		"a share without base64":   headerOf(t, fileKey, a, odd(func(s *age.Stanza) { s.Args[0] = "!" })),
		"a short share":            headerOf(t, fileKey, a, odd(func(s *age.Stanza) { s.Args[0] = s.Args[0][:1480] })),
		"a short body":             headerOf(t, fileKey, a, odd(func(s *age.Stanza) { s.Body = s.Body[1:] })),
		"another type for another": headerOf(t, fileKey, a, odd(func(s *age.Stanza) { s.Type = "grease" })),
	} {
		// age opens all of them: these stanzas are for somebody else.
		if _, err := age.DecryptHeader(bad, keys(1)[0].identity); err != nil {
			t.Fatalf("%s: the header is badly made: %v", name, err)
		}
		if err := CheckHeader(bad, s.resign(t, bad, s.payload), keys(1)...); !errors.Is(err, ErrUndecryptable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	big := bytes.Repeat([]byte{'\n'}, limit.Header+1)
	if err := CheckHeader(big, s.resign(t, big, s.payload), keys(1)...); !errors.Is(err, ErrHeader) {
		t.Errorf("a huge header was looked at: %v", err)
	}
}

// odd wraps for the second key, and then edits the stanza.
type odd func(*age.Stanza)

func (edit odd) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, err := keys(2)[1].identity.Recipient().Wrap(fileKey)
	if err == nil {
		edit(stanzas[0])
	}
	return stanzas, err
}

// mutable is a payload on a disk that somebody else can write to or that can fail.
type mutable struct {
	b   []byte
	bad func(off int64) error
}

func (m *mutable) ReadAt(p []byte, off int64) (int, error) {
	if m.bad != nil {
		if err := m.bad(off); err != nil {
			return 0, err
		}
	}
	return bytes.NewReader(m.b).ReadAt(p, off)
}

// What changes between Verify and WriteTo is found, even if it is a valid payload with the same plaintext.
func TestChangedBetweenPasses(t *testing.T) {
	t.Parallel()
	s := send(t, text(1<<20), keys(2)...)
	salt := s.sealed.Salt
	plain := append(s.in.render(&salt), s.doc...)
	changes := map[string][]byte{
		"same plaintext again": streamOf(t, s.fileKey(t, keys(2)[1]), plain),
		"other plaintext":      streamOf(t, s.fileKey(t, keys(2)[1]), append(plain[:len(plain):len(plain)], "!"...)),
		"truncated to nothing": nil,
		"one byte more":        append(bytes.Clone(s.payload), 0),
	}
	for _, at := range append(boundaries(s.payload), 17) {
		bad := bytes.Clone(s.payload)
		bad[at] ^= 1
		changes["flipped at "+string(rune('a'+len(changes)))] = bad
		changes["cut at "+string(rune('a'+len(changes)))] = s.payload[:at]
	}
	for name, changed := range changes {
		disk := &mutable{b: s.payload}
		d, err := Verify(s.header, disk, s.m, keys(1)...)
		if err != nil {
			t.Fatal(err)
		}
		disk.b = changed
		var got bytes.Buffer
		n, err := d.WriteTo(&got)
		if !errors.Is(err, ErrPayload) {
			t.Errorf("%s: got %v", name, err)
		}
		if n != int64(got.Len()) || n >= d.Size || !bytes.HasPrefix(s.doc, got.Bytes()) {
			t.Errorf("%s: released %d (%d) of %d bytes, or wrong ones", name, n, got.Len(), d.Size)
		}
	}
}

// What changes while Verify reads is our disk's doing, although it looks like the sender's.
func TestChangedInsideVerify(t *testing.T) {
	t.Parallel()
	s := send(t, text(300_000), keys(2)...)
	fileKey := s.fileKey(t, keys(2)[1])
	salt, other := s.sealed.Salt, s.in
	other.Core[0]++
	for name, plain := range map[string][]byte{
		"same plaintext":  append(s.in.render(&salt), s.doc...),
		"other document":  append(s.in.render(&salt), "pay 999"...),
		"other manifest":  append(other.render(&salt), s.doc...),
		"no inner header": s.doc,
	} {
		disk := &mutable{b: s.payload}
		passes := 0
		disk.bad = func(off int64) error {
			if off == 0 {
				if passes++; passes == 2 {
					disk.b = streamOf(t, fileKey, plain)
				}
			}
			return nil
		}
		if d, err := Verify(s.header, disk, s.m, keys(1)...); d != nil || !errors.Is(err, ErrPayload) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A forged payload is read once, for its hash, and never decrypted; a good one is read twice.
func TestHashBeforeDecryption(t *testing.T) {
	t.Parallel()
	s := send(t, text(300_000), keys(2)...)
	salt := s.sealed.Salt
	forged := streamOf(t, s.fileKey(t, keys(2)[1]), append(s.in.render(&salt), "pay 999"...))
	for want, payload := range map[int][]byte{1: forged, 2: s.payload} {
		passes := 0
		disk := &mutable{payload, func(off int64) error {
			if off == 0 {
				passes++
			}
			return nil
		}}
		_, err := Verify(s.header, disk, s.m, keys(1)...)
		if passes != want || (err == nil) != (want == 2) {
			t.Errorf("%d passes, want %d: %v", passes, want, err)
		}
	}
}

// A disk that fails, for good or once, is not evidence against the sender.
func TestReadErrors(t *testing.T) {
	t.Parallel()
	s := send(t, text(300_000), keys(1)...)
	for _, cause := range []error{errBroken, io.ErrUnexpectedEOF} {
		for _, once := range []bool{false, true} {
			// Let each read fail in turn, through all passes.
			for at := 1; ; at++ {
				reads := 0
				disk := &mutable{s.payload, func(int64) error {
					if reads++; reads == at || reads > at && !once {
						return cause
					}
					return nil
				}}
				d, err := Verify(s.header, disk, s.m, keys(1)...)
				if err == nil {
					var n int64
					n, err = d.WriteTo(io.Discard)
					if reads < at {
						break // nothing failed
					}
					if n >= d.Size {
						t.Errorf("read %d: released %d of %d bytes", at, n, d.Size)
					}
				}
				check(t, err, cause)
			}
		}
	}
}

func check(t *testing.T, err, cause error) {
	t.Helper()
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	for _, wrong := range []error{ErrHeader, ErrPayload, ErrNotForUs, ErrUndecryptable, ErrCore, ErrCommitment} {
		if errors.Is(err, wrong) {
			t.Errorf("blames somebody: %v", err)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1 << 20, 1<<20 + 5} {
		s := send(t, text(size), keys(1)...)
		d, err := Verify(s.header, bytes.NewReader(s.payload), s.m, keys(1)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, room := range []int{0, 1, limit.Chunk - 1, limit.Chunk, size - 1} {
			n, err := d.WriteTo(&brokenWriter{room})
			if !errors.Is(err, errBroken) || n != int64(room) {
				t.Errorf("room for %d: released %d, %v", room, n, err)
			}
		}
		if _, err := d.WriteTo(&brokenWriter{size}); err != nil {
			t.Error(err)
		}
	}
	if _, err := new(Document).WriteTo(io.Discard); err == nil {
		t.Error("released what was never verified")
	}
}

// The end of a document is held back until the last check agrees.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, limit.Chunk - 1, limit.Chunk, limit.Chunk + 1, 3*limit.Chunk - 1, 3 * limit.Chunk} {
		for _, verdict := range []error{nil, errBroken} {
			var got bytes.Buffer
			mac := sha256.New()
			n, err := release(&got, bytes.NewReader(text(size)), mac, func() error {
				if sumOf(mac) != statement.HashBytes(text(size)) {
					t.Error("asked before everything was read")
				}
				if size > 0 && got.Len() >= size || size <= limit.Chunk-1 && got.Len() > 0 {
					t.Errorf("%d of %d bytes were out", got.Len(), size)
				}
				return verdict
			})
			if !errors.Is(err, verdict) || n != int64(got.Len()) || (err == nil) != (verdict == nil) || err == nil && int(n) != size || err != nil && size > 0 && int(n) >= size {
				t.Errorf("%d bytes, %v: released %d, %v", size, verdict, n, err)
			}
		}
	}
}

// Sizes that a manifest claims are never allocated.
func TestClaimedSizes(t *testing.T) {
	t.Parallel()
	s := send(t, []byte("x"), keys(1)...)
	for size, want := range map[int64]error{
		-1 << 63: ErrUndecryptable, -1: ErrUndecryptable, 0: ErrUndecryptable, 16: ErrUndecryptable, 31: ErrUndecryptable, 32: ErrPayload,
		int64(len(s.payload)) - 1: ErrPayload, int64(len(s.payload)) + 1: ErrPayload, limit.Document: ErrPayload,
		2 * limit.Document: ErrUndecryptable, 1<<63 - 1: ErrUndecryptable,
	} {
		m := *s.m
		m.Content.CiphertextSize = size
		d, err := Verify(s.header, bytes.NewReader(s.payload), &m, keys(1)...)
		if d != nil || !errors.Is(err, want) {
			t.Errorf("%d: got %v, want %v", size, err, want)
		}
	}
}
