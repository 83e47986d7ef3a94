package policy

import (
	"fmt"
	"slices"
	"strings"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// tlpName and tlp are the built-in label scheme: TLP 2.0 (https://www.first.org/tlp/), from the most open label to the most closed.
const tlpName = "TLP"

var tlp = [...]string{"CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"}

// TLP is the built-in label scheme. The caller owns it.
func TLP() statement.Scheme { return statement.Scheme{Name: tlpName, Levels: slices.Clone(tlp[:])} }

// Labels lists the labels of TLP, from the most open to the most closed. The caller owns the slice.
func Labels() []string { return levelsOf(TLP()) }

// Label is one label of a scheme. It is only made by Schemes.Parse, and so has one spelling.
type Label struct {
	Scheme      string   // NAVY
	Level       string   // SECRET
	Rank        int      // the level's place in its scheme, 0 for the most open
	Restrictive []string // the categories of which a reader must have all, in the scheme's order
	Permissive  []string // the categories of which a reader must have one, in the scheme's order; none: nobody is shut out
}

// String writes the label as it stands in manifests: NAVY:SECRET/CRYPTO.
func (l Label) String() string {
	return l.Scheme + ":" + strings.Join(slices.Concat([]string{l.Level}, l.Restrictive, l.Permissive), "/")
}

// Dominates tells whether somebody who is cleared for l may see what is labelled so. Two schemes cannot be compared: that takes what an
// agreement says about them, as in Schemes.Clearance.
func (l Label) Dominates(label Label) bool {
	if l.Scheme != label.Scheme || l.Rank < label.Rank {
		return false
	}
	held := func(c string) bool { return slices.Contains(l.Restrictive, c) || slices.Contains(l.Permissive, c) }
	for _, c := range label.Restrictive {
		if !held(c) {
			return false
		}
	}
	return len(label.Permissive) == 0 || slices.ContainsFunc(label.Permissive, held)
}

// Schemes are the label schemes that one agreement knows: TLP, and its own, one of which is the common one. The zero value knows TLP alone.
type Schemes struct {
	own    []statement.Scheme
	common string // the common scheme's name; empty: TLP
	means  []statement.Equivalent
}

// SchemesOf gives the schemes of an agreement, as it fixes them; of nil, TLP. The agreement need not have been checked: what it says
// wrongly makes labels unknown, and so denies.
func SchemesOf(a *statement.Agreement) Schemes {
	if a == nil {
		return Schemes{}
	}
	s := Schemes{own: a.Schemes, means: a.Equivalents}
	// A ceiling that no scheme knows is refused by itself, and gives no scheme.
	if l, err := s.Parse(a.Ceiling); err == nil {
		s.common = l.Scheme
	}
	return s
}

// named finds a scheme. TLP is the built-in one, whatever an agreement calls so.
func (s Schemes) named(name string) (statement.Scheme, bool) {
	if name == tlpName {
		return statement.Scheme{Name: tlpName, Levels: tlp[:]}, true
	}
	i := slices.IndexFunc(s.own, func(c statement.Scheme) bool { return c.Name == name })
	if i < 0 {
		return statement.Scheme{}, false
	}
	return s.own[i], true
}

// Common is the scheme of the agreement's ceiling, in which levels of different schemes are compared.
func (s Schemes) Common() statement.Scheme {
	if c, ok := s.named(s.common); ok {
		return c
	}
	return statement.Scheme{Name: tlpName, Levels: tlp[:]}
}

// Labels lists the levels of all schemes as labels, the common scheme's first, from the most open to the most closed.
func (s Schemes) Labels() []string {
	common := s.Common()
	list := levelsOf(common)
	for _, other := range append([]statement.Scheme{TLP()}, s.own...) {
		if other.Name != common.Name {
			list = append(list, levelsOf(other)...)
		}
	}
	return list
}

func levelsOf(s statement.Scheme) []string {
	list := make([]string, len(s.Levels))
	for i, level := range s.Levels {
		list[i] = s.Name + ":" + level
	}
	return list
}

// Parse reads a label. Spelling counts, and so does the order of categories: a label that two nodes might read differently is no label.
// The error says what there is instead.
func (s Schemes) Parse(text string) (Label, error) {
	if err := statement.ValidLabel(text); err != nil {
		return Label{}, err
	}
	name, rest, ok := strings.Cut(text, ":")
	if !ok {
		return Label{}, fmt.Errorf("label %q does not say of which scheme it is; one that does is written SCHEME:LEVEL, such as TLP:AMBER", text)
	}
	scheme, ok := s.named(name)
	if !ok {
		return Label{}, fmt.Errorf("there is no label scheme %q here, but %s", name, strings.Join(s.names(), ", "))
	}
	level, rest, more := strings.Cut(rest, "/")
	l := Label{Scheme: name, Level: level, Rank: slices.Index(scheme.Levels, level)}
	if l.Rank < 0 {
		return Label{}, fmt.Errorf("label scheme %s has no level %q; its levels are %s", name, level, words(scheme.Levels))
	}
	if !more {
		return l, nil
	}
	categories := strings.Split(rest, "/")
	for _, c := range categories {
		if !slices.Contains(scheme.Restrictive, c) && !slices.Contains(scheme.Permissive, c) {
			return Label{}, fmt.Errorf("label scheme %s has no category %q; its categories are %s", name, c, words(slices.Concat(scheme.Restrictive, scheme.Permissive)))
		}
	}
	l.Restrictive, l.Permissive = inOrder(scheme.Restrictive, categories), inOrder(scheme.Permissive, categories)
	if spelling := l.String(); spelling != text {
		return Label{}, fmt.Errorf("label %s has one spelling, with its categories once and in the order of its scheme: %s", text, spelling)
	}
	return l, nil
}

// inOrder gives those of list that are in chosen, in the order of list.
func inOrder(list, chosen []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(c string) bool { return !slices.Contains(chosen, c) })
}

func (s Schemes) names() []string {
	list := []string{tlpName}
	for _, own := range s.own {
		list = append(list, own.Name)
	}
	return list
}

// Level gives a label's level in the common scheme, 0 for the most open. It reports false if the agreement does not say what the label's
// own level means there.
func (s Schemes) Level(l Label) (int, bool) {
	common := s.Common()
	if l.Scheme == common.Name {
		return l.Rank, true
	}
	for _, e := range s.means {
		if e.Label != l.Scheme+":"+l.Level {
			continue
		}
		means, err := s.Parse(e.Means)
		if err != nil || means.Scheme != common.Name {
			return 0, false
		}
		return means.Rank, true
	}
	return 0, false
}

// Meaning gives the label of the common scheme that a label of another one stands for; empty if it is of the common one, or stands for none.
func (s Schemes) Meaning(l Label) string {
	common := s.Common()
	level, ok := s.Level(l)
	if !ok || l.Scheme == common.Name {
		return ""
	}
	return common.Name + ":" + common.Levels[level]
}

// LevelOf gives the level in the common scheme of a bare level such as an agreement's ceiling, one without categories.
func (s Schemes) LevelOf(text string) (int, bool) {
	l, err := s.Parse(text)
	if err != nil || len(l.Restrictive)+len(l.Permissive) > 0 {
		return 0, false
	}
	return s.Level(l)
}

// Clearance gives what somebody with these labels, at most one for each scheme, may see of a label's own scheme: up to which level, and which
// categories. A label of that very scheme decides alone. Only without one do those of other schemes count, by what the
// agreement says that they mean; they give no categories. It reports false if they may see nothing of the scheme.
func (s Schemes) Clearance(labels []string, of Label) (rank int, categories []string, ok bool) {
	highest := -1
	for _, text := range labels {
		own := strings.HasPrefix(text, of.Scheme+":")
		l, err := s.Parse(text)
		switch {
		case own && err != nil:
			return 0, nil, false
		case own:
			return l.Rank, slices.Concat(l.Restrictive, l.Permissive), true
		case err != nil:
			continue // of a scheme that this agreement does not know
		}
		if level, ok := s.Level(l); ok {
			highest = max(highest, level)
		}
	}
	scheme, known := s.named(of.Scheme)
	if !known {
		return 0, nil, false
	}
	for rank := len(scheme.Levels) - 1; rank >= 0; rank-- {
		if level, ok := s.Level(Label{Scheme: scheme.Name, Level: scheme.Levels[rank], Rank: rank}); ok && level <= highest {
			return rank, nil, true
		}
	}
	return 0, nil, false
}

// CheckClearances judges labels that a person is to have, without an agreement: each of another scheme, TLP's known, the others' in
// the form of a label, for a scheme of that name may mean other things in every agreement.
func CheckClearances(labels []string) error {
	if len(labels) > limit.Schemes+1 {
		return fmt.Errorf("there are %d labels, at most %d are allowed", len(labels), limit.Schemes+1)
	}
	seen := map[string]bool{}
	for _, text := range labels {
		if err := statement.ValidLabel(text); err != nil {
			return err
		}
		name, level, _ := strings.Cut(text, ":")
		if name == tlpName {
			if _, err := (Schemes{}).Parse(text); err != nil {
				return err
			}
		}
		if name == "" || level == "" {
			return fmt.Errorf("label %q is not of the form SCHEME:LEVEL, such as TLP:AMBER", text)
		}
		if seen[name] {
			return fmt.Errorf("there are two labels of the scheme %s; the highest is enough", name)
		}
		seen[name] = true
	}
	return nil
}
