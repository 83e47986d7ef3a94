package statement

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// LineError says which line of a statement is wrong, counted from 1, and why.
type LineError struct {
	Line int
	Text string
}

// Error gives "line 7: …".
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// fieldError is what a type's validate returns; parse adds the line. nth counts from 0 where a key stands in repeated tables.
type fieldError struct {
	key, text string
	nth       int
}

func (e *fieldError) Error() string { return e.key + ": " + e.text }

func wrong(key, format string, args ...any) error { return wrongIn(0, key, format, args...) }

// wrongIn is wrong for a key of the nth repeated table, counted from 0.
func wrongIn(nth int, key, format string, args ...any) error {
	return &fieldError{key, fmt.Sprintf(format, args...), nth}
}

// Wrong is what other packages find wrong with a key, or with the nth of its tables, counted from 0. Locate adds the line.
func Wrong(nth int, key, format string, args ...any) error { return wrongIn(nth, key, format, args...) }

// Locate gives an error of Wrong, or of a type's own check, the line of its key in a text, as a LineError. Other errors stay as they are.
func Locate(text []byte, err error) error { return withLine(text, err) }

// parse reads a text strictly: what it returns renders to exactly the same bytes.
func parse[T Terms](text []byte) (T, error) {
	var t T
	if len(text) > t.most() {
		return t, &LineError{1, fmt.Sprintf("a %s has at most %d bytes", t.kind(), t.most())}
	}
	if err := readableText(text); err != nil {
		return t, err
	}
	body, ok := bytes.CutPrefix(text, []byte(header(t.kind())))
	if !ok {
		return t, &LineError{1, fmt.Sprintf("expected %q", strings.TrimSpace(header(t.kind())))}
	}
	terms, sections := cutSections(body)
	if err := readableTerms(terms); err != nil {
		return t, err
	}
	if err := shape(terms, 2); err != nil {
		return t, err
	}
	if err := toml.NewDecoder(bytes.NewReader(terms)).DisallowUnknownFields().Decode(&t); err != nil {
		return t, tomlError(err)
	}
	if s, ok := any(&t).(interface{ setSections([]byte) error }); ok {
		if err := s.setSections(sections); err != nil {
			return t, &LineError{lineAt(text, len(text)-len(sections)), err.Error()}
		}
	} else if len(sections) > 0 {
		return t, &LineError{lineAt(text, len(text)-len(sections)), fmt.Sprintf("a %s has no sections", t.kind())}
	}
	if err := t.validate(); err != nil {
		return t, withLine(text, err)
	}
	// The library takes more spellings than one, and keys in any case. This check takes one.
	if again := render(t); !bytes.Equal(again, text) {
		return t, &LineError{differ(again, text), "not the one rendering of what it says (see docs/formats/statement.md)"}
	}
	return t, nil
}

// cutSections separates an agreement's terms from its policy and prose.
func cutSections(body []byte) (terms, sections []byte) {
	for at := 0; at < len(body); {
		if bytes.HasPrefix(body[at:], []byte("--- ")) {
			return body[:at], body[at:]
		}
		next := bytes.IndexByte(body[at:], '\n')
		if next < 0 {
			break
		}
		at += next + 1
	}
	return body, nil
}

// readableTerms is readableText without the joiners: nothing invisible stands in terms.
func readableTerms(terms []byte) error {
	for i, line := range strings.Split(string(terms), "\n") {
		if r, ok := unreadable(line, false); ok {
			return &LineError{i + 2, fmt.Sprintf("contains the invisible or control character %U", r)}
		}
	}
	return nil
}

// Readable tells which line of a text, as a LineError, could not stand in a statement because it would read differently from what it says.
func Readable(text []byte) error { return readableText(text) }

// readableText shuts out what would let a text read differently from what it says.
func readableText(text []byte) error {
	if len(text) == 0 || text[len(text)-1] != '\n' {
		return &LineError{lineAt(text, len(text)), "the text must end with a line feed"}
	}
	for i, line := range strings.Split(string(text), "\n") {
		if !utf8.ValidString(line) {
			return &LineError{i + 1, "not valid UTF-8"}
		}
		if r, ok := unreadable(line, true); ok {
			return &LineError{i + 1, fmt.Sprintf("contains the invisible or control character %U", r)}
		}
		if strings.HasPrefix(line, dash) {
			return &LineError{i + 1, "a line of text must not look like a signature"}
		}
	}
	return nil
}

func tomlError(err error) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) && len(missing.Errors) > 0 {
		e := missing.Errors[0]
		row, _ := e.Position()
		return &LineError{row + 1, fmt.Sprintf("unknown key %.80q", strings.Join(e.Key(), "."))}
	}
	var decode *toml.DecodeError
	if !errors.As(err, &decode) {
		return &LineError{2, strings.TrimPrefix(err.Error(), "toml: ")}
	}
	row, _ := decode.Position()
	why := strings.TrimPrefix(decode.Error(), "toml: ")
	if strings.HasPrefix(why, "cannot ") { // what follows speaks of Go
		why = "the key has a value of another type"
		if key := decode.Key(); len(key) > 0 {
			why = fmt.Sprintf("%.80q has a value of another type", strings.Join(key, "."))
		}
	}
	return &LineError{row + 1, why}
}

// withLine turns a fieldError into a LineError, by looking for the key's line. A key that is missing has none: line 1.
func withLine(text []byte, err error) error {
	var f *fieldError
	if !errors.As(err, &f) {
		return err
	}
	nth := f.nth
	for i, line := range strings.Split(string(text), "\n") {
		if assigns(line, f.key) || line == "["+f.key+"]" || line == "[["+f.key+"]]" || line == "--- "+f.key {
			if nth == 0 {
				return &LineError{i + 1, f.Error()}
			}
			nth--
		}
	}
	return &LineError{1, f.Error()}
}

// assigns tells whether a line gives a key its value. Drafts and other files that people write have spaces where they like.
func assigns(line, key string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(line, " "), key)
	return ok && strings.HasPrefix(strings.TrimLeft(rest, " "), "=")
}

// differ gives the first line in which two texts differ.
func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return lineAt(b, i)
		}
	}
	return lineAt(b, min(len(a), len(b)))
}

func lineAt(text []byte, offset int) int {
	return 1 + bytes.Count(text[:min(offset, len(text))], []byte("\n"))
}
