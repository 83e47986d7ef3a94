package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"filippo.io/age"
)

// What CheckHeader, Verify and WriteTo find wrong. Whatever else they return (an input or output error) says nothing
// about the document.
var (
	// ErrHeader: the age header is not the one whose hash the manifest names. Somebody swapped or damaged it on the way
	// or on our disk, and the sender is not to blame.
	ErrHeader = errors.New("header is not the one in the manifest")
	// ErrPayload: the payload does not have the size or the hash that the manifest names. As with ErrHeader, the sender
	// is not to blame.
	ErrPayload = errors.New("payload is not the one in the manifest")
	// ErrNotForUs: no key that we gave is named in sealed_for, or none opens a stanza.
	ErrNotForUs = errors.New("document is not sealed for us")
	// ErrUndecryptable: header or payload are the sender's, but broken: not a sealed file as docs/formats/sealed.md has it,
	// with exactly one hybrid stanza for each recipient, or not decryptable to the end.
	ErrUndecryptable = errors.New("document is undecryptable")
	// ErrCore: the document was sealed for another manifest; somebody passes it on as its own, or to other recipients.
	ErrCore = errors.New("document was sealed for another manifest")
	// ErrCommitment: the plaintext is not the one that the sender committed to.
	ErrCommitment = errors.New("plaintext is not the one that the manifest commits to")
)

// The hybrid stanza, mlkem768x25519 of the age specification.
const (
	stanzaType   = "mlkem768x25519"
	shareSize    = 1088 + 32 // ML-KEM-768 ciphertext, X25519 share
	stanzaSize   = 16 + 16   // file key, Poly1305 tag
	nonceSize    = 16        // of the payload
	chunkSize    = 64 << 10
	chunkTagSize = 16
)

// LeastPayload is the size of the smallest payload of the age format, that of an empty plaintext: the nonce and one tag.
const LeastPayload = nonceSize + chunkTagSize

// CheckHeader tells whether an age header that came with a manifest is the one that the manifest's sender signed,
// has exactly one hybrid stanza for each recipient and none of another kind, and opens with one of keys. Only keys that the
// manifest names in sealed_for are tried; the caller has checked that the manifest's signature is valid.
//
// The error is ErrHeader, ErrUndecryptable or ErrNotForUs.
func CheckHeader(header []byte, m *statement.Manifest, keys ...*Key) error {
	_, err := openHeader(header, m, keys)
	return err
}

func openHeader(header []byte, m *statement.Manifest, keys []*Key) (fileKey []byte, err error) {
	if len(header) > limit.Header {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrHeader, limit.Header)
	}
	if sha256.Sum256(header) != m.Content.HeaderHash {
		return nil, ErrHeader
	}
	named := slices.DeleteFunc(slices.Clone(keys), func(k *Key) bool { return !slices.Contains(m.SealedFor, k.hash) })
	if len(named) == 0 {
		return nil, fmt.Errorf("%w: sealed_for names none of our keys", ErrNotForUs)
	}
	return decryptHeader(header, len(m.To), named)
}

// decryptHeader gives the file key of an age header that holds exactly n hybrid stanzas and nothing else, under its
// valid MAC. It knows no manifest. It repeats nothing of what age says: age quotes the input.
func decryptHeader(header []byte, n int, keys []*Key) ([]byte, error) {
	if n < 1 || n > limit.Recipients {
		return nil, fmt.Errorf("%w: %d recipients, there must be 1 to %d", ErrUndecryptable, n, limit.Recipients)
	}
	// ExtractHeader renders what it has parsed: the header must be its own rendering, with nothing behind it.
	rendered, err := age.ExtractHeader(bytes.NewReader(header))
	if err != nil || !bytes.Equal(rendered, header) {
		return nil, fmt.Errorf("%w: malformed age header", ErrUndecryptable)
	}
	o := &opener{n: n, keys: keys}
	fileKey, err := age.DecryptHeader(header, o)
	switch {
	case o.err != nil:
		return nil, o.err
	case err != nil:
		return nil, fmt.Errorf("%w: the age header's MAC is wrong", ErrUndecryptable)
	}
	return fileKey, nil
}

// opener is the age identity that sees all stanzas of a header. age offers no other way to look at them, and its own
// identities pass over stanzas of other kinds: a file for a hybrid and a classic key would open.
type opener struct {
	n    int
	keys []*Key
	err  error // of ours, because DecryptHeader's is to be told from it
}

// Unwrap implements age.Identity.
func (o *opener) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	var fileKey []byte
	if fileKey, o.err = o.unwrap(stanzas); o.err != nil {
		return nil, o.err
	}
	return fileKey, nil
}

func (o *opener) unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != o.n {
		return nil, fmt.Errorf("%w: %d stanzas for %d recipients", ErrUndecryptable, len(stanzas), o.n)
	}
	for i, s := range stanzas {
		if !hybrid(s) {
			return nil, fmt.Errorf("%w: stanza %d is not a hybrid one", ErrUndecryptable, i+1)
		}
	}
	for _, k := range o.keys {
		fileKey, err := k.identity.Unwrap(stanzas)
		if err == nil {
			return fileKey, nil
		}
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return nil, fmt.Errorf("%w: invalid hybrid stanza", ErrUndecryptable)
		}
	}
	return nil, fmt.Errorf("%w: no stanza opens", ErrNotForUs)
}

// hybrid checks the form of a stanza, also of those for others: age looks only at those up to ours.
func hybrid(s *age.Stanza) bool {
	if s.Type != stanzaType || len(s.Args) != 1 || len(s.Body) != stanzaSize {
		return false
	}
	share, err := base64.RawStdEncoding.Strict().DecodeString(s.Args[0])
	return err == nil && len(share) == shareSize && !strings.ContainsAny(s.Args[0], "\r\n")
}
