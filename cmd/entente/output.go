package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/charmbracelet/colorprofile"
)

// styled is text that is ours, with its colours. Everything else that goes to a terminal is escaped.
type styled string

// plain makes a text safe for a terminal: what would not be seen as it is (control characters, escape sequences, changes of
// direction, invisible characters) is shown as an escape. What others chose, such as file names, always goes through it.
func plain(s string) string {
	if !strings.ContainsFunc(s, hidden) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 || hidden(r) {
			q := strconv.QuoteToASCII(s[:n])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func hidden(r rune) bool { return !strconv.IsPrint(r) }

// safe turns an argument into text for a terminal.
func safe(a any) string {
	switch v := a.(type) {
	case styled:
		return string(v)
	case string:
		return plain(v)
	case time.Time:
		return when(v)
	default:
		return plain(fmt.Sprint(v))
	}
}

func safeAll(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch a.(type) {
		case int, int64, int32, bool:
			out[i] = a
		default:
			out[i] = safe(a)
		}
	}
	return out
}

// printf prints what was asked for, to stdout. Every argument is escaped unless it is styled.
func (p *program) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(p.stdout, format, safeAll(args)...) // the sticky writer remembers
}

// note tells a person something beside what was asked for, on stderr. Programs, with --json, are not told.
func (p *program) note(format string, args ...any) {
	if !p.json {
		_, _ = fmt.Fprintf(p.stderr, format, safeAll(args)...)
	}
}

// next says what to do next, a step a line.
func (p *program) next(steps ...string) {
	p.note("%s\n", styled(bold.Render("next:")))
	for _, s := range steps {
		p.note("  %s\n", s)
	}
}

// emit prints one JSON object on one line. Characters that a terminal would act upon are escaped there too.
func (p *program) emit(v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	_, err = p.wrote.Write(b)
	return err
}

func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, errors.New("print JSON: " + err.Error())
	}
	// In JSON such characters can only stand inside strings.
	var b strings.Builder
	for _, r := range strings.TrimSuffix(buf.String(), "\n") {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('\n')
	return []byte(b.String()), nil
}

var (
	bold  = lipgloss.NewStyle().Bold(true)
	faint = lipgloss.NewStyle().Faint(true)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
	wait  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
)

// tlp are the colours of TLP 2.0 (https://www.first.org/tlp/): text of that colour on black. A terminal with few colours gets
// those that go by the name: the nearest to amber by distance is red.
var tlp = map[string]struct{ exact, plain color.Color }{
	"TLP:CLEAR":        {lipgloss.Color("#FFFFFF"), lipgloss.BrightWhite},
	"TLP:GREEN":        {lipgloss.Color("#33FF00"), lipgloss.BrightGreen},
	"TLP:AMBER":        {lipgloss.Color("#FFC000"), lipgloss.BrightYellow},
	"TLP:AMBER+STRICT": {lipgloss.Color("#FFC000"), lipgloss.BrightYellow},
	"TLP:RED":          {lipgloss.Color("#FF2B2B"), lipgloss.BrightRed},
}

// label shows a label as a word, in its colour where there are colours.
func (p *program) label(s string) styled { return p.labelAs(s, "") }

// labelAs shows a label of a scheme without colours in that of the label that it means, if it means one.
func (p *program) labelAs(s, means string) styled {
	c, ok := tlp[s]
	if !ok {
		c, ok = tlp[means]
	}
	if !ok {
		return styled(bold.Render(plain(s)))
	}
	shown := c.exact
	if p.profile <= colorprofile.ANSI {
		shown = c.plain
	}
	return styled(lipgloss.NewStyle().Bold(true).Foreground(shown).Background(lipgloss.Color("#000000")).Render(plain(s)))
}

// state shows how far an exchange has come.
func state(s string) styled {
	switch s {
	case "delivered", "stored", "opened":
		return styled(good.Render(s))
	case "refused", "expired", "undecryptable", "lapsed":
		return styled(bad.Render(s))
	case "waiting", "queued", "delivering", "unconfirmed":
		return styled(wait.Render(s))
	}
	return styled(plain(s))
}

// when shows a time to the second, in UTC, as statements have it.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// size shows a number of bytes to three digits.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		if f /= 1024; f < 1000 {
			return fmt.Sprintf("%.*f %s", map[bool]int{true: 1}[f < 100], f, unit)
		}
	}
	return fmt.Sprintf("%.1f TiB", f/1024)
}

// table prints rows under headers, as wide as they need.
func (p *program) table(headers []string, rows [][]any) {
	t := table.New().BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).BorderHeader(false).BorderColumn(false).
		Wrap(false).Headers(headers...).
		StyleFunc(func(row, col int) lipgloss.Style {
			s := lipgloss.NewStyle()
			if row == table.HeaderRow {
				s = faint
			}
			if col < len(headers)-1 {
				s = s.PaddingRight(2)
			}
			return s
		})
	for _, r := range rows {
		cells := make([]string, len(r))
		for i, c := range r {
			cells[i] = safe(c)
		}
		t.Row(cells...)
	}
	for line := range strings.Lines(t.String() + "\n") {
		p.printf("%s\n", styled(strings.TrimRight(line, " \n")))
	}
}

// field is a name and what it says, for things that are shown one below the other.
type field struct {
	name  string
	value any
}

// fields prints them aligned, and leaves out what is empty.
func (p *program) fields(list ...field) {
	width := 0
	for _, f := range list {
		width = max(width, len(f.name))
	}
	for _, f := range list {
		if v := safe(f.value); v != "" {
			p.printf("%s  %s\n", styled(faint.Render(fmt.Sprintf("%-*s", width, f.name))), styled(v))
		}
	}
}

// lines prints a text of several lines that somebody else wrote.
func (p *program) lines(text string) {
	for line := range strings.Lines(text) {
		p.printf("%s\n", strings.TrimSuffix(line, "\n"))
	}
}
