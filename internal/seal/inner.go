package seal

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// innerType is the first line of an inner header.
const innerType = "entente.example/sealed/v1"

// Inner is what stands before the document in the plaintext, apart from the salt. Nothing else carries the file name and
// the media type: manifest and log are free of content.
type Inner struct {
	// Core is the hash of the manifest's text above [content].
	Core statement.Hash
	// Name is a file name that statement.ValidFileName accepts.
	Name string
	// MediaType is TYPE/SUBTYPE in lower case and without parameters (RFC 6838, section 4.2), at most limit.MediaType bytes.
	MediaType string
}

// check says what is wrong with an inner header, without repeating any of it.
func (in Inner) check() error {
	if in.Core.IsZero() {
		return errors.New("inner header: no core hash")
	}
	if statement.ValidFileName(in.Name) != nil {
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

// render gives the inner header's one rendering, with the empty line that ends it. Without a salt it gives what the
// commitment covers. Nothing is escaped: valid names hold no quotation marks, backslashes or control characters.
func (in Inner) render(salt *Salt) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\ncore_sha256 = \"%s\"\n", innerType, in.Core)
	if salt != nil {
		fmt.Fprintf(&b, "salt = \"%s\"\n", hex.EncodeToString(salt[:]))
	}
	fmt.Fprintf(&b, "name = \"%s\"\nmedia_type = \"%s\"\n\n", in.Name, in.MediaType)
	return b.Bytes()
}

// readInner reads an inner header and leaves r at the document's first byte. r's buffer bounds it: limit.Inner.
func readInner(r *bufio.Reader) (Inner, Salt, error) {
	var text []byte
	for {
		line, err := r.ReadSlice('\n')
		text = append(text, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || len(text) > limit.Inner:
			return Inner{}, Salt{}, fmt.Errorf("%w: inner header: larger than %d bytes", ErrUndecryptable, limit.Inner)
		case errors.Is(err, io.EOF):
			return Inner{}, Salt{}, fmt.Errorf("%w: inner header: it does not end", ErrUndecryptable)
		case err != nil:
			return Inner{}, Salt{}, err
		}
		if len(line) == 1 {
			in, salt, err := parseInner(text)
			if err != nil {
				return Inner{}, Salt{}, fmt.Errorf("%w: %w", ErrUndecryptable, err)
			}
			return in, salt, nil
		}
	}
}

// parseInner reads an inner header that must be its own rendering: one text, one meaning.
func parseInner(text []byte) (in Inner, salt Salt, err error) {
	lines := strings.Split(string(text), "\n")
	// Six lines, the last of them empty, and nothing behind it.
	if len(lines) != 7 || lines[0] != innerType {
		return Inner{}, Salt{}, errors.New("inner header: not of the type " + innerType)
	}
	in.Core, err = statement.ParseHash(value(lines[1], "core_sha256"))
	if err != nil {
		return Inner{}, Salt{}, errors.New("inner header: core_sha256 is no hash")
	}
	s, err := hex.DecodeString(value(lines[2], "salt"))
	if err != nil || len(s) != len(salt) {
		return Inner{}, Salt{}, errors.New("inner header: the salt is not 64 hexadecimal digits")
	}
	salt = Salt(s)
	in.Name = value(lines[3], "name")
	in.MediaType = value(lines[4], "media_type")
	if err := in.check(); err != nil {
		return Inner{}, Salt{}, err
	}
	if !bytes.Equal(in.render(&salt), text) {
		return Inner{}, Salt{}, errors.New("inner header: not in its one rendering")
	}
	return in, salt, nil
}

// value gives what stands between the quotation marks of a line, or "" if the line is not key = "…".
func value(line, key string) string {
	v, ok := strings.CutPrefix(line, key+` = "`)
	if !ok {
		return ""
	}
	v, ok = strings.CutSuffix(v, `"`)
	if !ok {
		return ""
	}
	return v
}
