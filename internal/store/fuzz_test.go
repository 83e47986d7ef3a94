package store

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"entente.example/internal/statement"
)

// A reference finds an exchange only if it is the beginning of that exchange's reference or id, it finds nothing only if
// it begins none, and it is ambiguous only if it begins several.
func FuzzFindExchange(f *testing.F) {
	db := open(f, f.TempDir())
	a := author{f}
	var all []Exchange
	update(f, db, func(tx *Tx) error {
		for _, m := range []*statement.Signed[statement.Manifest]{
			a.manifest("alpha", id(11), someday, "bravo"),
			a.manifest("alpha", id(12), someday, "bra", "bravo", "charlie"),
			a.manifest("charlie", id(12), someday, "alpha"),
		} {
			check(f, tx.PutManifest(m, nil, nil, nil))
			for _, to := range m.Terms.To {
				check(f, tx.PutExchange(m.Hash, to, Stored, someday))
				all = append(all, Exchange{From: m.Terms.From, ID: m.Terms.ID, To: to})
			}
		}
		return nil
	})
	for _, e := range all {
		f.Add(e.Ref())
		f.Add(e.Ref()[:len(e.Ref())-1])
		f.Add(e.ID)
	}
	for _, ref := range []string{"", "/", "//", "///", "a", "alpha/", "alpha//bravo", "%", "_lpha", "alpha\x00", "\x00", "alph\xff", "Ä", "a\nb", strings.Repeat("0", 100)} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		fits := map[string]bool{}
		for _, e := range all {
			if ref != "" && (strings.HasPrefix(e.Ref(), ref) || strings.HasPrefix(e.ID, ref)) {
				fits[e.Ref()] = true
			}
		}
		view(t, db, func(v *View) error {
			e, err := v.FindExchange(ref)
			switch {
			case err == nil:
				if !fits[e.Ref()] {
					t.Errorf("%q found %s", ref, e.Ref())
				}
				if same, err := v.FindExchange(e.Ref()); err != nil || same.Ref() != e.Ref() {
					t.Errorf("%s finds %s, %v", e.Ref(), same.Ref(), err)
				}
				return nil
			case errors.Is(err, ErrNotFound):
				if len(fits) > 0 {
					t.Errorf("%q finds nothing, and fits %v", ref, fits)
				}
			case errors.Is(err, ErrAmbiguous):
				if len(fits) < 2 {
					t.Errorf("%q is ambiguous, and fits %v", ref, fits)
				}
			default:
				t.Errorf("%q: %v", ref, err)
			}
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("the error for %q has control characters: %q", ref, err)
			}
			return nil
		})
	})
}
