package statement

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"entente.example/internal/limit"
)

// ValidMember checks a member's name: a lower-case word of letters, digits and inner hyphens that begins with a letter.
// It is also the member's SPIFFE trust domain and the first part of its keys' names.
func ValidMember(s string) error {
	if err := lowerWord(s, limit.MemberName); err != nil {
		return fmt.Errorf("member name %.80q %w", s, err)
	}
	return nil
}

// ValidPerson checks a person's name; the rule is that of members.
func ValidPerson(s string) error {
	if err := lowerWord(s, limit.PersonName); err != nil {
		return fmt.Errorf("person name %.80q %w", s, err)
	}
	return nil
}

// ValidName checks the name of an alliance, agreement or purpose; the rule is that of members, with up to 64 characters.
func ValidName(s string) error {
	if err := lowerWord(s, limit.Word); err != nil {
		return fmt.Errorf("name %.80q %w", s, err)
	}
	return nil
}

func lowerWord(s string, most int) error {
	if s == "" {
		return fmt.Errorf("is empty")
	}
	if len(s) > most {
		return fmt.Errorf("is longer than %d characters", most)
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z'
		inner := ('0' <= c && c <= '9' || c == '-') && i > 0
		if !letter && !inner {
			return fmt.Errorf("must be lower-case letters, digits and hyphens, and begin with a letter")
		}
	}
	if s[len(s)-1] == '-' {
		return fmt.Errorf("must not end with a hyphen")
	}
	return nil
}

// plainWord checks an id that appears in leaves and receipts: lower-case letters, digits and -_./, at least one and at most
// most. None of them needs an escape in JSON or TOML, and none moves a terminal's cursor.
func plainWord(s string, most int) error {
	if s == "" || len(s) > most || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_./") != "" {
		return fmt.Errorf("%.80q must be between 1 and %d lower-case letters, digits and any of -_./", s, most)
	}
	return nil
}

// ValidLabel checks a label's form: printable ASCII without spaces or quotes, at most 64 characters. Whether a scheme
// knows it is policy's business.
func ValidLabel(s string) error {
	if s == "" || len(s) > limit.Word {
		return fmt.Errorf("label %.80q must have between 1 and %d characters", s, limit.Word)
	}
	for _, r := range s {
		if r <= ' ' || r > '~' || r == '"' || r == '\\' {
			return fmt.Errorf("label %.80q must be printable ASCII without spaces, quotes or backslashes", s)
		}
	}
	return nil
}

// labelWord checks the name of a label scheme, of a level or of a category: upper-case ASCII letters, digits, and inner hyphens and pluses. So no two
// differ in case only, and none holds what separates the parts of a label.
func labelWord(s string) error {
	if s == "" || len(s) > limit.LabelWord {
		return fmt.Errorf("%.80q must have between 1 and %d characters", s, limit.LabelWord)
	}
	if strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+") != "" || strings.Trim(s, "-+") != s {
		return fmt.Errorf("%.80q must be upper-case letters, digits, and inner hyphens and pluses", s)
	}
	return nil
}

// devices are names that Windows gives to devices, with any extension.
var devices = map[string]bool{"CON": true, "PRN": true, "AUX": true, "NUL": true, "CONIN$": true, "CONOUT$": true}

// ValidFileName checks a document's name: one path element that is possible and harmless on every system and reads as it is.
// Control, format (zero-width, bidi) and private characters, path separators, characters that Windows reserves, names of
// its devices, leading or trailing spaces and trailing dots are refused. A file name is content, so the error does not quote it:
// it may end up in a log.
func ValidFileName(s string) error {
	bad := func(why string) error { return fmt.Errorf("file name %s", why) }
	switch {
	case s == "":
		return bad("is empty")
	case len(s) > limit.FileName:
		return bad(fmt.Sprintf("is longer than %d bytes", limit.FileName))
	case !utf8.ValidString(s):
		return bad("is not valid UTF-8")
	case s == "." || s == "..":
		return bad("names a folder")
	case strings.ContainsAny(s, `/\`):
		return bad("contains a path separator")
	case strings.ContainsAny(s, `:<>"|?*`):
		return bad("contains one of : < > \" | ? *, which not every system takes, or takes for something else")
	case strings.TrimSpace(s) != s || strings.HasSuffix(s, "."):
		return bad("begins or ends with a space, or ends with a dot")
	}
	if r, ok := unreadable(s, false); ok {
		return bad(fmt.Sprintf("contains the invisible or control character %U", r))
	}
	stem, _, _ := strings.Cut(strings.ToUpper(s), ".")
	stem = strings.TrimRight(stem, " ")
	if devices[stem] || (len([]rune(stem)) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT")) && strings.ContainsAny(stem[3:], "0123456789¹²³")) {
		return bad("is a device on Windows")
	}
	return nil
}

// ValidLine checks a free text of one line, such as a reason: not empty, readable, at most limit.Line bytes.
func ValidLine(s string) error { return validLine(s, limit.Line) }

// validLine checks a free text of one line: not empty, readable, at most `most` bytes.
func validLine(s string, most int) error {
	switch {
	case s == "":
		return fmt.Errorf("is empty")
	case len(s) > most:
		return fmt.Errorf("is longer than %d bytes", most)
	case !utf8.ValidString(s):
		return fmt.Errorf("is not valid UTF-8")
	}
	if r, ok := unreadable(s, false); ok {
		return fmt.Errorf("contains the invisible or control character %U", r)
	}
	return nil
}

// bidi are the characters that change the direction of text, so that a line can read differently from what it says.
var bidi = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x061c, Hi: 0x061c, Stride: 1}, {Lo: 0x200e, Hi: 0x200f, Stride: 1},
	{Lo: 0x202a, Hi: 0x202e, Stride: 1}, {Lo: 0x2066, Hi: 0x2069, Stride: 1},
}}

// unreadable finds the first character that a reader would not see as it is: control, format and private
// characters, noncharacters, ignorable fillers, line and paragraph separators, changes of direction, the replacement character. Prose may
// have line feeds and, because Persian, the scripts of India and some emoji need them, the two zero-width joiners. Format
// characters that are visible, such as the Arabic end of ayah, are no harm.
func unreadable(s string, prose bool) (rune, bool) {
	for _, r := range s {
		switch {
		case r >= ' ' && r <= '~': // nearly every character, and the tables below are slow
		case prose && (r == '\n' || r == 0x200c || r == 0x200d):
		case r == utf8.RuneError, unicode.In(r, unicode.Cc, unicode.Cs, unicode.Co, unicode.Zl, unicode.Zp, bidi,
			unicode.Noncharacter_Code_Point, unicode.Other_Default_Ignorable_Code_Point),
			unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r):
			return r, true
		}
	}
	return 0, false
}
