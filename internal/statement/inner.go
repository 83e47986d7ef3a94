package statement

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"entente.example/internal/limit"
)

// InnerType is the first line of an inner header.
const InnerType = "entente.example/sealed/v1"

// Inner is what stands before the document in a sealed document's plaintext, apart from the salt. Nothing else carries the file
// name and the media type: manifest and log are free of content. See docs/formats/sealed.md.
type Inner struct {
	// Core is the hash of the manifest's text above [content].
	Core Hash
	// Name is a file name that ValidFileName accepts.
	Name string
	// MediaType is TYPE/SUBTYPE in lower case and without parameters (RFC 6838, section 4.2), at most limit.MediaType bytes.
	MediaType string
}

// Check says what is wrong with an inner header, without repeating any of it.
func (in Inner) Check() error {
	if in.Core.IsZero() {
		return errors.New("inner header: no core hash")
	}
	if ValidFileName(in.Name) != nil {
		return errors.New("inner header: the file name is not allowed")
	}
	if !validMediaType(in.MediaType) {
		return errors.New("inner header: the media type is not TYPE/SUBTYPE in lower case")
	}
	return nil
}

// validMediaType follows RFC 6838, section 4.2, except that upper case is not allowed, so that each type has one spelling.
func validMediaType(s string) bool {
	main, sub, ok := strings.Cut(s, "/")
	return ok && len(s) <= limit.MediaType && restrictedName(main) && restrictedName(sub)
}

// restrictedName is the production restricted-name of RFC 6838, in lower case.
func restrictedName(s string) bool {
	if len(s) < 1 || len(s) > 127 || strings.IndexByte("!#$&-^_.+", s[0]) >= 0 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$&-^_.+", c) < 0 {
			return false
		}
	}
	return true
}

// Text gives the inner header's one rendering, with the empty line that ends it. Without a salt it gives what the
// commitment covers. Nothing is escaped: valid names hold no quotation marks, backslashes or control characters.
func (in Inner) Text(salt *[32]byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\ncore_sha256 = \"%s\"\n", InnerType, in.Core)
	if salt != nil {
		fmt.Fprintf(&b, "salt = \"%s\"\n", hex.EncodeToString(salt[:]))
	}
	fmt.Fprintf(&b, "name = \"%s\"\nmedia_type = \"%s\"\n\n", in.Name, in.MediaType)
	return b.Bytes()
}

// Commitment computes Content.Commitment of a document: HMAC-SHA-256(salt, inner header without its salt line ‖ document). It reads
// the document to its end, and fails if that is further than limit.Document bytes.
func (in Inner) Commitment(salt [32]byte, document io.Reader) (string, error) {
	if err := in.Check(); err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, salt[:])
	mac.Write(in.Text(nil))
	n, err := io.Copy(mac, io.LimitReader(document, limit.Document+1))
	if err != nil {
		return "", fmt.Errorf("read document: %w", err)
	}
	if n > limit.Document {
		return "", fmt.Errorf("read document: it is larger than %d bytes", limit.Document)
	}
	return CommitmentPrefix + hex.EncodeToString(mac.Sum(nil)), nil
}
