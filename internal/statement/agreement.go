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
	Name       string    `toml:"name"`
	Version    int64     `toml:"version"`
	Alliance   Hash      `toml:"alliance_sha256"` // the founding charter
	Parties    []string  `toml:"parties"`         // sorted
	Purposes   []string  `toml:"purposes"`        // sorted
	Ceiling    string    `toml:"label_ceiling"`
	RetainDays int64     `toml:"retain_days_max"`
	NotBefore  time.Time `toml:"not_before"`
	NotAfter   time.Time `toml:"not_after"`

	// Policy is Cedar, verbatim, or empty. Prose is what the parties say to each other in words, or empty.
	// They stand below the terms, after the lines `--- policy` and `--- prose`, and end with a line feed.
	Policy string `toml:"-"`
	Prose  string `toml:"-"`
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
	if a.RetainDays < 1 || a.RetainDays > limit.RetentionDays {
		return wrong("retain_days_max", "must be between 1 and %d", limit.RetentionDays)
	}
	if err := firstError(validTime("not_before", a.NotBefore), validTime("not_after", a.NotAfter)); err != nil {
		return err
	}
	if !a.NotAfter.After(a.NotBefore) {
		return wrong("not_after", "is not after not_before")
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
