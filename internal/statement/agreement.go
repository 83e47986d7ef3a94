package statement

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/limit"
)

// Agreement is what its parties may share. All of them sign it. See docs/formats/agreement.md.
type Agreement struct {
	Name          string       `toml:"name"`
	Version       int64        `toml:"version"`
	Previous      Hash         `toml:"previous_sha256,omitempty"` // the version before; version 1 has none
	Alliance      Hash         `toml:"alliance_sha256"`           // the founding charter
	Parties       []string     `toml:"parties"`                   // sorted
	Purposes      []string     `toml:"purposes"`                  // sorted
	Ceiling       string       `toml:"label_ceiling"`             // its scheme is the agreement's common one
	ApprovalAbove string       `toml:"approval_above,omitempty"`  // above it, a second person approves every release; of the common scheme
	RetainDays    int64        `toml:"retain_days_max"`
	NoticeDays    int64        `toml:"notice_days"` // how long before its end a party says that it withdraws; 0: at once
	NotBefore     time.Time    `toml:"not_before"`
	NotAfter      time.Time    `toml:"not_after"`
	Schemes       []Scheme     `toml:"scheme"`     // label schemes beside the built-in TLP, sorted by name
	Equivalents   []Equivalent `toml:"equivalent"` // sorted by label

	// Policy is Cedar, verbatim, or empty. Prose is what the parties say to each other in words, or empty.
	// They stand below the terms, after the lines `--- policy` and `--- prose`, and end with a line feed.
	Policy string `toml:"-"`
	Prose  string `toml:"-"`
}

// Scheme is a label scheme: levels, and categories of two kinds. A label of it is written NAME:LEVEL, or NAME:LEVEL/CATEGORY/…, with the
// categories in the order in which they stand here, the restrictive ones first.
type Scheme struct {
	Name        string   `toml:"name"`        // NAVY
	Levels      []string `toml:"levels"`      // from the most open to the most closed, at most limit.Levels
	Restrictive []string `toml:"restrictive"` // a reader must be cleared for all of those on a label; at most limit.Categories
	Permissive  []string `toml:"permissive"`  // for at least one of those on a label; at most limit.Categories
}

// Equivalent says what a level of another scheme means in the common one.
type Equivalent struct {
	Label string `toml:"label"` // a level of a scheme that is not the common one, without categories: NAVY:RESTRICTED
	Means string `toml:"means"` // a level of the common scheme: TLP:AMBER
}

func (Agreement) kind() Kind { return KindAgreement }
func (Agreement) most() int  { return limit.Agreement }

func (a Agreement) signers() []string {
	names := make([]string, len(a.Parties))
	for i, p := range a.Parties {
		names[i] = p + "/statement"
	}
	return names
}

func (a Agreement) validate() error {
	if err := ValidName(a.Name); err != nil {
		return wrong("name", "%v", err)
	}
	if a.Version < 1 {
		return wrong("version", "begins with 1")
	}
	if a.Previous.IsZero() != (a.Version == 1) {
		return wrong("previous_sha256", "every version but the first names the one before it")
	}
	if err := memberList(a.Parties, limit.Members); err != nil {
		return wrong("parties", "%v", err)
	}
	if len(a.Parties) < 2 {
		return wrong("parties", "an agreement has at least two")
	}
	if len(a.Purposes) == 0 || len(a.Purposes) > limit.Purposes || !sortedSet(a.Purposes) {
		return wrong("purposes", "must be between 1 and %d, sorted without repetition", limit.Purposes)
	}
	for _, p := range a.Purposes {
		if err := ValidName(p); err != nil {
			return wrong("purposes", "%v", err)
		}
	}
	if err := ValidLabel(a.Ceiling); err != nil {
		return wrong("label_ceiling", "%v", err)
	}
	if a.ApprovalAbove != "" {
		if err := ValidLabel(a.ApprovalAbove); err != nil {
			return wrong("approval_above", "%v", err)
		}
	}
	if a.NoticeDays < 0 || a.NoticeDays > limit.NoticeDays {
		return wrong("notice_days", "must be between 0 and %d", limit.NoticeDays)
	}
	if a.RetainDays < 1 || a.RetainDays > limit.RetentionDays {
		return wrong("retain_days_max", "must be between 1 and %d", limit.RetentionDays)
	}
	if err := firstError(validTime("not_before", a.NotBefore), validTime("not_after", a.NotAfter)); err != nil {
		return err
	}
	if !a.NotAfter.After(a.NotBefore) {
		return wrong("not_after", "is not after not_before")
	}
	if err := a.validateSchemes(); err != nil {
		return err
	}
	for _, s := range []struct{ name, text string }{{"policy", a.Policy}, {"prose", a.Prose}} {
		if s.text != "" && !strings.HasSuffix(s.text, "\n") {
			return wrong(s.name, "must end with a line feed")
		}
	}
	// Otherwise the rest of the policy would be read as prose.
	if strings.Contains("\n"+a.Policy, "\n"+proseLine) {
		return wrong("policy", "must not contain the line %q", strings.TrimSpace(proseLine))
	}
	if r, ok := unreadable(strings.ReplaceAll(a.Policy, "\n", ""), false); ok {
		return wrong("policy", "contains the invisible or control character %U", r)
	}
	return nil
}

// Valid checks a scheme by itself: its words, their number, and that none stands in it twice.
func (s Scheme) Valid() error {
	if err := labelWord(s.Name); err != nil {
		return wrong("name", "%v", err)
	}
	if len(s.Levels) == 0 || len(s.Levels) > limit.Levels {
		return wrong("levels", "must be between 1 and %d", limit.Levels)
	}
	seen := map[string]bool{}
	for _, part := range []struct {
		key   string
		words []string
		most  int
	}{{"levels", s.Levels, limit.Levels}, {"restrictive", s.Restrictive, limit.Categories}, {"permissive", s.Permissive, limit.Categories}} {
		if len(part.words) > part.most {
			return wrong(part.key, "at most %d are allowed", part.most)
		}
		for _, word := range part.words {
			if err := labelWord(word); err != nil {
				return wrong(part.key, "%v", err)
			}
			if seen[word] {
				return wrong(part.key, "%q stands in the scheme twice", word)
			}
			seen[word] = true
		}
	}
	return nil
}

// validateSchemes checks what stands in the text alone. What labels mean is for package policy.
func (a Agreement) validateSchemes() error {
	if len(a.Schemes) > limit.Schemes {
		return wrong("scheme", "at most %d schemes are allowed", limit.Schemes)
	}
	for i, s := range a.Schemes {
		bad := func(format string, args ...any) error { return wrongIn(i, "scheme", format, args...) }
		if i > 0 && a.Schemes[i-1].Name >= s.Name {
			return bad("must be sorted by name without repetition: %q after %q", s.Name, a.Schemes[i-1].Name)
		}
		if err := s.Valid(); err != nil {
			return bad("%v", err)
		}
	}
	if len(a.Equivalents) > limit.Schemes*limit.Levels {
		return wrong("equivalent", "at most %d are allowed", limit.Schemes*limit.Levels)
	}
	for i, e := range a.Equivalents {
		if err := firstError(ValidLabel(e.Label), ValidLabel(e.Means)); err != nil {
			return wrongIn(i, "equivalent", "%v", err)
		}
		if i > 0 && a.Equivalents[i-1].Label >= e.Label {
			return wrongIn(i, "equivalent", "must be sorted by label without repetition")
		}
	}
	return nil
}

const policyLine, proseLine = "--- policy\n", "--- prose\n"

// sections renders what follows the terms. An empty section is left out, with its line.
func (a Agreement) sections() string {
	var b strings.Builder
	if a.Policy != "" {
		b.WriteString(policyLine + a.Policy)
	}
	if a.Prose != "" {
		b.WriteString(proseLine + a.Prose)
	}
	return b.String()
}

// setSections reads what sections wrote.
func (a *Agreement) setSections(b []byte) error {
	if rest, ok := bytes.CutPrefix(b, []byte(policyLine)); ok {
		if at := bytes.Index(append([]byte("\n"), rest...), []byte("\n"+proseLine)); at >= 0 {
			a.Policy, b = string(rest[:at]), rest[at:]
		} else {
			a.Policy, b = string(rest), nil
		}
	}
	if rest, ok := bytes.CutPrefix(b, []byte(proseLine)); ok {
		a.Prose, b = string(rest), nil
	}
	if len(b) > 0 {
		return fmt.Errorf("after the terms comes `--- policy`, then `--- prose`, or nothing")
	}
	return nil
}

func sortedSet(list []string) bool {
	return slices.IsSorted(list) && len(slices.Compact(slices.Clone(list))) == len(list)
}
