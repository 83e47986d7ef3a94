package checkpoint

import (
	"errors"
	"testing"
)

// TestVerified verifies one signature once, and whatever differs from it in anything again; and what is not good each time.
func TestVerified(t *testing.T) {
	t.Parallel()
	type signature struct {
		kind              byte
		key, message, sig string
	}
	asked := 0
	try := func(s signature, answer error) error {
		return verified(s.kind, []byte(s.key), []byte(s.message), []byte(s.sig), func() error { asked++; return answer })
	}
	bad := errors.New("not good")
	one := signature{typeMLDSA, "TestVerified", "message", "sig"}
	for range 2 {
		if err := try(one, bad); !errors.Is(err, bad) {
			t.Errorf("not good: %v", err)
		}
	}
	if err := try(one, nil); err != nil || asked != 3 {
		t.Errorf("good: %v, verified %d times", err, asked)
	}
	if err := try(one, bad); err != nil || asked != 3 {
		t.Errorf("again: %v, verified %d times", err, asked)
	}
	for _, other := range []signature{
		{typeEd25519, "TestVerified", "message", "sig"}, {typeMLDSA, "TestVerified2", "message", "sig"}, {typeMLDSA, "TestVerified", "massage", "sig"},
		{typeMLDSA, "TestVerified", "message", "sih"}, {typeMLDSA, "TestVerifiedm", "essage", "sig"}, {typeMLDSA, "TestVerified", "messages", "ig"},
	} {
		if err := try(other, bad); !errors.Is(err, bad) {
			t.Errorf("%+v passes for another", other)
		}
	}
}
