package audit

import (
	"errors"
	"fmt"

	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// verifyHouse checks that the texts of house rules are those that their names say. That one is missing shows where it decided something.
func (v *homeVerifier) verifyHouse() {
	for r, err := range v.view.HouseRows() {
		if v.failed("house", err) {
			return
		}
		if hash := statement.HashBytes([]byte(r.Text)); string(r.Sha256) != string(hash[:]) {
			v.report.add(fmt.Sprintf("house %.6x", r.Sha256), "its text has another hash")
		}
	}
}

// house gives the text of house rules that a decision rests on. Without it the decision cannot be made again, and that is nobody's
// mistake but this home's.
func (v *homeVerifier) house(hash statement.Hash) (string, bool) {
	text, err := v.view.House(hash)
	if errors.Is(err, store.ErrNotFound) {
		v.report.add("house "+hash.Short(), "its text is missing, and something was decided by it")
	} else {
		v.failed("house "+hash.Short(), err)
	}
	return text, err == nil
}
