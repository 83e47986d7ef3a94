package statement

import (
	"strconv"
	"strings"
	"time"
)

// shape checks the form of every line of the terms before the TOML library sees any: our subset knows an empty line,
// `[table]`, `[[table]]` and `key = value`, where a value is a basic string, a decimal integer, a UTC time in seconds, or
// a list of strings, all on one line. So the library never meets nesting, which its stack would pay for, nor any of the
// spellings that it would take besides ours. first is the number of the first line.
func shape(terms []byte, first int) error {
	for i, line := range strings.Split(strings.TrimSuffix(string(terms), "\n"), "\n") {
		if why := lineShape(line); why != "" {
			return &LineError{first + i, why}
		}
	}
	return nil
}

// lineShape says what is wrong with the form of a line, or nothing.
func lineShape(line string) string {
	switch {
	case line == "" || isTableLine(line, "[[", "]]") || isTableLine(line, "[", "]"):
		return ""
	case strings.HasPrefix(strings.TrimLeft(line, " "), "#"):
		return "comments are not allowed"
	}
	key, value, ok := strings.Cut(line, " = ")
	if !ok || !isKey(key) {
		return "not of the form `key = value`, `[table]` or `[[table]]`, with a key of lower-case letters, digits and underscores"
	}
	if !isValue(value) {
		return "not a value in its one form: a string in \"quotes\" with no escapes but \\\\ \\\" \\n, a decimal integer, a UTC time in seconds, or a [list, of, strings]"
	}
	return ""
}

func isTableLine(line, open, end string) bool {
	inner, ok := strings.CutPrefix(line, open)
	inner, closed := strings.CutSuffix(inner, end)
	return ok && closed && isKey(inner)
}

func isKey(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

func isValue(s string) bool {
	if list, ok := strings.CutPrefix(s, "["); ok {
		return isList(list)
	}
	if s[:min(1, len(s))] == `"` {
		return stringEnd(s) == len(s)
	}
	if t, err := time.Parse(timeLayout, s); err == nil {
		return t.Format(timeLayout) == s
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == s
}

// isList checks what follows the opening bracket of a list.
func isList(s string) bool {
	if s == "]" {
		return true
	}
	for {
		end := stringEnd(s)
		if end < 0 {
			return false
		}
		s = s[end:]
		if s == "]" {
			return true
		}
		var more bool
		if s, more = strings.CutPrefix(s, ", "); !more {
			return false
		}
	}
}

// stringEnd gives the length of the basic string at the beginning of s, or -1.
func stringEnd(s string) int {
	if !strings.HasPrefix(s, `"`) {
		return -1
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1
		case '\\':
			i++
			if i == len(s) || s[i] != '\\' && s[i] != '"' && s[i] != 'n' {
				return -1
			}
		}
	}
	return -1
}
