package statement

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/limit"
)

// envelope is a note taken apart, not yet verified.
type envelope struct {
	raw   []byte
	text  []byte // ends with a line feed
	lines []line
}

type line struct {
	name string
	id   string // NAME+HASH, which key it is by
	text string // with its line feed
}

const dash = "— "

// signatureSize is the four bytes of a key's hash and an Ed25519 signature.
const signatureSize = 4 + ed25519.SignatureSize

// split takes a note apart. The signature block is the lines that begin with a dash after the last empty line; a draft
// may have none. Lines must be sorted by name, without repetition, and each must be the one base64 spelling of its bytes:
// the library would drop a repeated line in silence and accept stray bits in the last digit.
func split(raw []byte) (*envelope, error) {
	if len(raw) == 0 || raw[len(raw)-1] != '\n' {
		return nil, fmt.Errorf("its last line is cut off: it does not end with a line feed")
	}
	e := &envelope{raw: raw}
	end := bytes.LastIndex(raw, []byte("\n\n"))
	if end < 0 {
		e.text = raw
		return e, nil
	}
	block := string(raw[end+2:])
	if block != "" && !strings.HasPrefix(block, dash) {
		e.text = raw // a draft that nobody has signed, with an empty line in its text
		return e, nil
	}
	e.text = raw[: end+1 : end+1] // what appends to the text must not write into the note
	if block == "" {
		return e, nil
	}
	// The library reads at most 100 lines; an alliance has at most 64 members.
	parts := strings.SplitAfter(block, "\n")
	parts = parts[:len(parts)-1]
	if len(parts) > limit.Members {
		return nil, fmt.Errorf("it has %d signature lines, at most %d are allowed", len(parts), limit.Members)
	}
	for i, text := range parts {
		name, sig, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(text, dash), "\n"), " ")
		if !ok || !strings.HasPrefix(text, dash) {
			return nil, fmt.Errorf("signature line %d is not of the form %q", i+1, dash+"NAME BASE64")
		}
		if !isKeyName(name) {
			return nil, fmt.Errorf("signature line %d names the key %.80q, which is not of the form MEMBER/PURPOSE", i+1, name)
		}
		b, err := base64.StdEncoding.Strict().DecodeString(sig)
		if err != nil || base64.StdEncoding.EncodeToString(b) != sig {
			return nil, fmt.Errorf("signature line %d, of %.80q, is not in canonical base64", i+1, name)
		}
		if len(b) != signatureSize {
			return nil, fmt.Errorf("signature line %d, of %.80q, has %d bytes, expected %d", i+1, name, len(b), signatureSize)
		}
		if i > 0 && e.lines[i-1].name >= name {
			return nil, fmt.Errorf("signature lines are not sorted by name without repetition: %.80q after %.80q", name, e.lines[i-1].name)
		}
		e.lines = append(e.lines, line{name, fmt.Sprintf("%s+%x", name, b[:4]), text})
	}
	return e, nil
}

// isKeyName keeps what is shown to people before anything is verified to plain words between slashes.
func isKeyName(s string) bool {
	member, purpose, ok := strings.Cut(s, "/")
	return ok && ValidMember(member) == nil && plainWord(purpose, limit.Word) == nil
}

func (e *envelope) ids() []string {
	ids := make([]string, len(e.lines))
	for i, l := range e.lines {
		ids[i] = l.id
	}
	return ids
}

func (e *envelope) names() []string {
	names := make([]string, len(e.lines))
	for i, l := range e.lines {
		names[i] = l.name
	}
	return names
}

// verify accepts only if every single line is a good signature by a known key.
func (e *envelope) verify(known note.Verifiers) error {
	if len(e.lines) == 0 {
		return fmt.Errorf("it is not signed")
	}
	// The library would say no more than "malformed note".
	if err := readableText(e.text); err != nil {
		return err
	}
	n, err := note.Open(e.raw, known)
	var none *note.UnverifiedNoteError
	if errors.As(err, &none) {
		n = none.Note
	} else if err != nil {
		return fmt.Errorf("verify signatures: %w", err)
	}
	for _, s := range n.UnverifiedSigs {
		return fmt.Errorf("it carries a signature by the unknown key %s+%08x", s.Name, s.Hash)
	}
	if len(n.Sigs) != len(e.lines) || n.Text != string(e.text) {
		return fmt.Errorf("verify signatures: %d of %d lines are good", len(n.Sigs), len(e.lines))
	}
	return nil
}

// AddSignature adds a signer's line to a statement or draft. The text does not change by a byte. A line of the same
// name is replaced.
func AddSignature(raw []byte, signer *Key) ([]byte, error) {
	e, err := split(raw)
	if err != nil {
		return nil, fmt.Errorf("add signature: %w", err)
	}
	if err := readableText(e.text); err != nil {
		return nil, fmt.Errorf("add signature: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: string(e.text)}, signer)
	if err != nil {
		return nil, fmt.Errorf("add signature of %s: %w", signer.Name(), err)
	}
	one, err := split(signed)
	if err != nil {
		return nil, fmt.Errorf("add signature of %s: %w", signer.Name(), err)
	}
	return e.with(one.lines), nil
}

// Merge puts the signature lines of several copies of one text together. A copy of another text, and two different
// signatures of one name, are errors; Ed25519 signs one text in one way only.
func Merge(copies ...[]byte) ([]byte, error) {
	if len(copies) == 0 {
		return nil, fmt.Errorf("merge signatures: no copy given")
	}
	first, err := split(copies[0])
	if err != nil {
		return nil, fmt.Errorf("merge signatures: copy 1: %w", err)
	}
	raw := first.with(nil)
	for i, c := range copies[1:] {
		e, err := split(c)
		if err != nil {
			return nil, fmt.Errorf("merge signatures: copy %d: %w", i+2, err)
		}
		if !bytes.Equal(e.text, first.text) {
			return nil, fmt.Errorf("merge signatures: copy %d is another text: %s, not %s", i+2, HashBytes(e.text).Short(), HashBytes(first.text).Short())
		}
		so, err := split(raw)
		if err != nil {
			return nil, fmt.Errorf("merge signatures: %w", err)
		}
		for _, l := range e.lines {
			at := slices.IndexFunc(so.lines, func(m line) bool { return m.name == l.name })
			if at >= 0 && so.lines[at].text != l.text {
				return nil, fmt.Errorf("merge signatures: copy %d has another signature of %.80q", i+2, l.name)
			}
		}
		raw = so.with(e.lines)
	}
	return raw, nil
}

// with gives the note with these lines added or replaced, sorted by name.
func (e *envelope) with(lines []line) []byte {
	all := slices.Clone(lines)
	for _, l := range e.lines {
		if !slices.ContainsFunc(lines, func(m line) bool { return m.name == l.name }) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b line) int { return strings.Compare(a.name, b.name) })
	out := append(bytes.Clone(e.text), '\n')
	for _, l := range all {
		out = append(out, l.text...)
	}
	return out
}
