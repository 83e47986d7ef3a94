package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// values are what the {placeholders} of reasons stand for. They go to people and, in receipts, to the other side, and part
// of them was written by strangers: each is one short readable line.
func values(r Request) map[string]string {
	m := r.Manifest
	var a statement.Agreement
	if r.Agreement != nil {
		a = *r.Agreement
	}
	person := "nobody"
	if r.Person != nil {
		person = r.Person.Name
	}
	schemes := SchemesOf(r.Agreement)
	allianceName, approver, c := "", "nobody", recall(r)
	if r.Approver != nil {
		approver = r.Approver.Name
	}
	if r.History != nil {
		allianceName = r.History.Name()
	}
	return map[string]string{
		"stage":            word(string(r.Stage)),
		"self":             word(r.Self),
		"person":           word(person),
		"approver":         word(approver),
		"trained_until":    until(r.Person),
		"clearance":        clearance(r.Person),
		"now":              moment(r.Now),
		"skew":             fmt.Sprintf("%.0f minutes", limit.ClockSkew.Minutes()),
		"alliance":         word(allianceName),
		"from":             word(m.From),
		"to":               words(m.To),
		"absent":           words(without(m.To, c.goodStanding)),
		"strangers":        words(without(m.To, a.Parties)),
		"charter":          m.Charter.Short(),
		"agreement":        word(m.Agreement),
		"agreement_sha256": m.AgreementHash.Short(),
		"version":          strconv.FormatInt(a.Version, 10),
		"newest_version":   strconv.FormatInt(r.Newest, 10),
		"newest_begun":     moment(r.Begun),
		"withdrawn":        words(r.Withdrawn),
		"approval_above":   word(a.ApprovalAbove),
		"jurisdiction":     word(c.jurisdictionSelf),
		"from_in":          word(c.jurisdictionFrom),
		"to_in":            words(c.jurisdictionTo),
		"store_in":         word(r.Store),
		"purpose":          word(m.Purpose),
		"purposes":         words(a.Purposes),
		"label":            word(m.Label),
		"labels":           words(schemes.Labels()),
		"label_error":      mistake(schemes, m.Label),
		"common_scheme":    word(schemes.Common().Name),
		"ceiling":          word(a.Ceiling),
		"created":          moment(m.Created),
		"deliver_by":       moment(m.DeliverBy),
		"retain_until":     moment(m.RetainUntil),
		"retain_days":      strconv.FormatFloat(math.Ceil(m.RetainUntil.Sub(m.Created).Hours()/24), 'f', 0, 64),
		"retain_max_days":  strconv.FormatInt(a.RetainDays, 10),
		"released_by":      word(strings.TrimPrefix(m.ReleasedBy, "spiffe://"+m.From+"/person/")),
		"not_before":       moment(a.NotBefore),
		"not_after":        moment(a.NotAfter),
	}
}

// until is when somebody's training ends.
func until(p *Person) string {
	if p == nil || p.TrainedUntil.IsZero() {
		return "(never)"
	}
	return moment(p.TrainedUntil)
}

// clearance lists somebody's highest labels.
func clearance(p *Person) string {
	if p == nil || len(p.Labels) == 0 {
		return "nothing"
	}
	return words(p.Labels)
}

// mistake is what is wrong with a label that no scheme knows.
func mistake(s Schemes, label string) string {
	if statement.ValidLabel(label) != nil { // whose error may hold anything
		return "a label is written SCHEME:LEVEL, in printable ASCII"
	}
	if _, err := s.Parse(label); err != nil {
		return clip(err.Error(), limit.Line/2)
	}
	return "(nothing)"
}

func without(list, those []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(those, s) })
}

// sentence fills a template that was checked at load, and keeps to what a receipt carries.
func sentence(template string, values map[string]string) string {
	s, err := fill(template, values)
	if err != nil {
		return template
	}
	return clip(s, limit.Line)
}

const (
	longestWord = 80 // bytes of a value before it is cut
	mostWords   = 8  // values of a list before the rest is counted
)

// word makes a value readable: cut if it is long, quoted if it holds anything that does not print as it is.
func word(s string) string {
	if s == "" {
		return "(none)"
	}
	s = clip(s, longestWord)
	if strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
		return strconv.QuoteToASCII(s)
	}
	return s
}

func words(list []string) string {
	if len(list) == 0 {
		return "(none)"
	}
	shown := make([]string, 0, mostWords+1)
	for _, s := range list[:min(len(list), mostWords)] {
		shown = append(shown, word(s))
	}
	if rest := len(list) - mostWords; rest > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(shown, ", ")
}

// clip cuts a text to at most that many bytes, between two characters.
func clip(s string, most int) string {
	const ellipsis = "…"
	if len(s) <= most {
		return s
	}
	cut := most - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
