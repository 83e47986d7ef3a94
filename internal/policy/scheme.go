package policy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// ParseScheme reads a label scheme out of a file: TOML with the keys of a [[scheme]] in an agreement, freely spelled and commented. Errors
// name the line.
func ParseScheme(b []byte) (statement.Scheme, error) {
	var s statement.Scheme
	if len(b) > limit.SchemeFile {
		return s, fmt.Errorf("the file has %d bytes, a label scheme has at most %d", len(b), limit.SchemeFile)
	}
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return statement.Scheme{}, tomlError(err, "a scheme has name, levels, restrictive, permissive")
	}
	if err := s.Valid(); err != nil {
		return statement.Scheme{}, statement.Locate(b, err)
	}
	if s.Name == tlpName {
		return statement.Scheme{}, statement.Locate(b, statement.Wrong(0, "name", "TLP is built in and cannot be written anew; choose another name"))
	}
	return s, nil
}

// tomlError says where a file is not what it should be, in words that do not speak of Go. keys says which there are.
func tomlError(err error, keys string) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) && len(missing.Errors) > 0 {
		row, _ := missing.Errors[0].Position()
		return &statement.LineError{Line: row, Text: fmt.Sprintf("there is no key %.80q; %s", strings.Join(missing.Errors[0].Key(), "."), keys)}
	}
	var decode *toml.DecodeError
	if !errors.As(err, &decode) {
		return fmt.Errorf("it is no TOML: %w", err)
	}
	row, _ := decode.Position()
	why := strings.TrimPrefix(decode.Error(), "toml: ")
	if strings.HasPrefix(why, "cannot ") {
		why = fmt.Sprintf("%.80q has a value of another type", strings.Join(decode.Key(), "."))
	}
	return &statement.LineError{Line: row, Text: why}
}

// checkSchemes checks what an agreement says about labels, beyond the form that its text has in any case: every level that it names is
// there, and a higher level never means a lower one. Errors name the key; statement.Locate adds the line.
func checkSchemes(a *statement.Agreement) error {
	for i, s := range a.Schemes {
		if s.Name == tlpName {
			return statement.Wrong(i, "scheme", "TLP is built in and cannot be written anew; choose another name")
		}
	}
	s := SchemesOf(a)
	ceiling, err := bare(s, a.Ceiling)
	if err != nil {
		return statement.Wrong(0, "label_ceiling", "%v", err)
	}
	common := s.Common()
	if a.ApprovalAbove != "" {
		above, err := bare(s, a.ApprovalAbove)
		if err != nil {
			return statement.Wrong(0, "approval_above", "%v", err)
		}
		if above.Scheme != common.Name {
			return statement.Wrong(0, "approval_above", "must be of the common scheme, which is that of the ceiling %s", ceiling)
		}
	}
	if err := checkEquivalents(a, s, common); err != nil {
		return err
	}
	for i, own := range a.Schemes {
		has := slices.ContainsFunc(a.Equivalents, func(e statement.Equivalent) bool { return strings.HasPrefix(e.Label, own.Name+":") })
		if own.Name != common.Name && !has {
			return statement.Wrong(i, "scheme", "%s is neither the scheme of the ceiling, nor does any [[equivalent]] say what its levels mean in %s", own.Name, common.Name)
		}
	}
	return nil
}

func checkEquivalents(a *statement.Agreement, s Schemes, common statement.Scheme) error {
	type pair struct{ rank, means int }
	known := map[string][]pair{} // by scheme
	for i, e := range a.Equivalents {
		label, err := bare(s, e.Label)
		if err != nil {
			return statement.Wrong(i, "equivalent", "label: %v", err)
		}
		means, err := bare(s, e.Means)
		if err != nil {
			return statement.Wrong(i, "equivalent", "means: %v", err)
		}
		switch {
		case label.Scheme == common.Name:
			return statement.Wrong(i, "equivalent", "%s is of the common scheme itself, and means what it says", label)
		case means.Scheme != common.Name:
			return statement.Wrong(i, "equivalent", "%s is not of the common scheme, which is that of the ceiling, %s", means, common.Name)
		}
		for _, other := range known[label.Scheme] {
			if (other.rank < label.Rank && other.means > means.Rank) || (other.rank > label.Rank && other.means < means.Rank) {
				scheme, _ := s.named(label.Scheme)
				return statement.Wrong(i, "equivalent", "%s means %s, and %s:%s means %s:%s: a higher level must not mean a lower one",
					label, means, label.Scheme, scheme.Levels[other.rank], common.Name, common.Levels[other.means])
			}
		}
		known[label.Scheme] = append(known[label.Scheme], pair{label.Rank, means.Rank})
	}
	return nil
}

// bare reads a label that must have no categories.
func bare(s Schemes, text string) (Label, error) {
	l, err := s.Parse(text)
	if err == nil && len(l.Restrictive)+len(l.Permissive) > 0 {
		err = fmt.Errorf("%s must be a level without categories", text)
	}
	return l, err
}
