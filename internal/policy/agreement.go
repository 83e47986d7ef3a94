package policy

import (
	"errors"

	"entente.example/internal/statement"
)

// CheckAgreement tells what is wrong with an agreement that its text alone does not show: labels that no scheme has, a policy that does
// not load or permits nothing. It is asked whenever somebody proposes, receives, signs or adopts one.
func CheckAgreement(a *statement.Agreement) error {
	if err := checkSchemes(a); err != nil {
		return err
	}
	if a.Policy == "" {
		return nil
	}
	c := compile(setAgreement, a.Policy)
	if c.err != nil {
		return c.err
	}
	for i := range c.rules {
		if !c.rules[i].forbids() {
			return nil
		}
	}
	return wrongAt(setAgreement, "", 0, errors.New("it has no permit, and so would permit nothing"))
}
