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

// Inner is what stands before the document in the plaintext, apart from the salt. Its rendering is that of statement.Inner.
type Inner statement.Inner

// check says what is wrong with an inner header, without repeating any of it.
func (in Inner) check() error { return statement.Inner(in).Check() }

// render gives the inner header's one rendering, with the empty line that ends it. Without a salt it gives what the
// commitment covers.
func (in Inner) render(salt *Salt) []byte { return statement.Inner(in).Text((*[32]byte)(salt)) }

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
	if len(lines) != 7 || lines[0] != statement.InnerType {
		return Inner{}, Salt{}, errors.New("inner header: not of the type " + statement.InnerType)
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
