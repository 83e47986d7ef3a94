package policy

import (
	"bytes"
	"fmt"
	"strings"

	"entente.example/internal/limit"
)

// bounded refuses a text that is too large or nested too deeply for the parser, which is recursive: a megabyte of
// parentheses ends the whole process, and no recover catches that. So both are counted before it sees a byte of the text.
// It reads strings and comments as the parser does, and otherwise errs on the side of counting too much: every `if` up to
// the next comma or closing bracket counts as one level, whether it stands inside the one before it or behind it.
func bounded(text []byte) (line int, err error) {
	if len(text) > limit.Policy {
		return 0, fmt.Errorf("the policy has %d bytes, at most %d are allowed", len(text), limit.Policy)
	}
	depth := 0
	var open []int // the depth at each opening bracket
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			i += stringLength(text[i:])
			continue
		case bytes.HasPrefix(text[i:], []byte("//")), bytes.HasPrefix(text[i:], []byte("/*")):
			i += commentLength(text[i:])
			continue
		case identifier(c):
			n := 1
			for i+n < len(text) && (identifier(text[i+n]) || '0' <= text[i+n] && text[i+n] <= '9') {
				n++
			}
			if string(text[i:i+n]) == "if" {
				depth++
			}
			i += n - 1
		case strings.IndexByte("([{", c) >= 0:
			open = append(open, depth)
			depth++
		case strings.IndexByte(")]}", c) >= 0 && len(open) > 0:
			depth, open = open[len(open)-1], open[:len(open)-1]
		case c == ',' && len(open) > 0:
			depth = open[len(open)-1] + 1
		case (c == ',' || c == ';') && len(open) == 0:
			depth = 0
		}
		if depth > limit.PolicyNesting {
			return 1 + bytes.Count(text[:i], []byte("\n")), fmt.Errorf("the policy is nested more than %d deep", limit.PolicyNesting)
		}
		i++
	}
	return 0, nil
}

func identifier(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// stringLength is the length of the string literal that text begins with, up to the end of the text if it does not end.
func stringLength(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// commentLength is the length of the comment that text begins with.
func commentLength(text []byte) int {
	end, skip := "\n", 2
	if text[1] == '*' {
		end = "*/"
	}
	at := bytes.Index(text[skip:], []byte(end))
	if at < 0 {
		return len(text)
	}
	return skip + at + len(end)
}
