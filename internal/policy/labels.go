package policy

import "slices"

// tlp is the default label scheme: TLP 2.0 (https://www.first.org/tlp/), from the most open label to the most closed.
var tlp = [...]string{"TLP:CLEAR", "TLP:GREEN", "TLP:AMBER", "TLP:AMBER+STRICT", "TLP:RED"}

// Labels lists the labels of the scheme, from the most open to the most closed. The caller owns the slice.
func Labels() []string { return slices.Clone(tlp[:]) }

// Rank gives a label's level in the scheme, 0 for the most open. It reports false for a label that the scheme does not
// know; spelling counts, so "tlp:red" is unknown, because a label that two nodes might read differently is no label.
func Rank(label string) (int, bool) {
	i := slices.Index(tlp[:], label)
	return i, i >= 0
}
