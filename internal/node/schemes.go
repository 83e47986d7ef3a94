package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
)

// SchemesDir is the folder of the label schemes that a member uses, one TOML file for each. Documents are judged by what their agreement
// says about schemes; these are for drafts, and to catch slips.
const SchemesDir = "schemes"

// ReadScheme reads a label scheme out of a file, for an agreement to fix it. Errors name the line.
func ReadScheme(file string) (statement.Scheme, error) {
	b, err := readBounded(file, limit.SchemeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return statement.Scheme{}, fault.New(fault.Failed, "docs/formats/label.md has an example", "there is no file %s", file)
	}
	if err != nil {
		return statement.Scheme{}, fault.New(fault.Misused, "give a file with one label scheme", "read label scheme: %w", err)
	}
	s, err := policy.ParseScheme(b)
	if err != nil {
		return statement.Scheme{}, fault.New(fault.Misused, "correct that line; docs/formats/label.md says what there is", "read label scheme %s: %w", file, err)
	}
	return s, nil
}

// Schemes gives the label schemes in the home, sorted by name. There need not be any.
func (h *Home) Schemes() ([]statement.Scheme, error) {
	entries, err := os.ReadDir(filepath.Join(h.Dir, SchemesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list label schemes: %w", err)
	}
	var list []statement.Scheme
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".toml") {
			continue
		}
		file := filepath.Join(h.Dir, SchemesDir, e.Name())
		s, err := ReadScheme(file)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(o statement.Scheme) bool { return o.Name == s.Name }) {
			return nil, fault.New(fault.Misused, "keep one of them", "%s is a second file with the label scheme %s", file, s.Name)
		}
		if list = append(list, s); len(list) > limit.Schemes {
			return nil, fault.New(fault.Misused, "keep those that are used", "there are more than %d label schemes in %s", limit.Schemes, filepath.Dir(file))
		}
	}
	slices.SortFunc(list, func(a, b statement.Scheme) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// checkLabels judges labels that a person is to have: known in TLP and in the home's own schemes; of other schemes by their form.
func (h *Home) checkLabels(labels []string) error {
	if err := policy.CheckClearances(labels); err != nil {
		return err
	}
	own, err := h.Schemes()
	if err != nil {
		return err
	}
	known := policy.SchemesOf(&statement.Agreement{Schemes: own})
	for _, l := range labels {
		name, _, _ := strings.Cut(l, ":")
		if slices.ContainsFunc(own, func(s statement.Scheme) bool { return s.Name == name }) {
			if _, err := known.Parse(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// asOurs refuses an agreement that says something else about a label scheme than this member's own file of it. Whoever signs it would sign
// away what the member's labels mean: in another order of its levels, say, its most closed label could be the most open one.
func asOurs(own []statement.Scheme, a *statement.Agreement) error {
	for _, theirs := range a.Schemes {
		i := slices.IndexFunc(own, func(s statement.Scheme) bool { return s.Name == theirs.Name })
		if i < 0 {
			continue
		}
		for _, part := range []struct {
			name         string
			ours, theirs []string
		}{{"levels", own[i].Levels, theirs.Levels}, {"restrictive", own[i].Restrictive, theirs.Restrictive}, {"permissive", own[i].Permissive, theirs.Permissive}} {
			if !slices.Equal(part.ours, part.theirs) {
				return fault.New(fault.Misused, "correct the agreement; or the file in "+SchemesDir+", if your labels have changed",
					"agreement %s says something else about %s of the label scheme %s than this member's own file of it", a.Name, part.name, theirs.Name)
			}
		}
	}
	return nil
}
