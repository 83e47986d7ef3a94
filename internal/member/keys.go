package member

import (
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// use is what a key is for, and whose it is.
type use struct{ member, purpose string }

// checkKeys finds a public key that occurs twice in the alliance: in two members' cards, or for two purposes of one. Keys
// are compared by their bytes; a name in front of them, or another hash of name and key, makes no other key.
func checkKeys(members []statement.CharterMember, cards map[string]*statement.Signed[statement.Card]) error {
	seen := map[string]use{}
	for _, m := range members {
		card := cards[m.Name].Terms
		for _, k := range []struct{ purpose, vkey string }{
			{"statement", card.Statement}, {"recovery", card.Recovery}, {"log", card.Log}, {"witness", card.Witness},
		} {
			key, err := statement.KeyBytes(k.vkey)
			if err != nil {
				return fault.New(fault.Invalid, askForCard(m.Name), "found alliance: read the %s key of %q: %w", k.purpose, m.Name, err)
			}
			if weak(key) {
				return fault.New(fault.Invalid, askForCard(m.Name), "found alliance: the %s key of %q is one under which anybody can forge signatures", k.purpose, m.Name)
			}
			if err := claim(seen, "ed25519 "+string(key), use{m.Name, k.purpose}); err != nil {
				return err
			}
		}
		for _, k := range []struct{ purpose, vkey string }{{"log ML-DSA", card.LogMLDSA}, {"witness ML-DSA", card.WitnessMLDSA}} {
			key, err := statement.MLDSAKeyBytes(k.vkey)
			if err != nil {
				return fault.New(fault.Invalid, askForCard(m.Name), "found alliance: read the %s key of %q: %w", k.purpose, m.Name, err)
			}
			if err := claim(seen, "mldsa "+string(key), use{m.Name, k.purpose}); err != nil {
				return err
			}
		}
		for _, s := range card.Sealing {
			if err := claim(seen, "age "+s.Recipient, use{m.Name, "sealing"}); err != nil {
				return err
			}
		}
		for _, certificate := range certificates(card.CA) {
			if err := claim(seen, "ca "+certificate, use{m.Name, "CA"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// claim notes that a key is used, and refuses if it already is.
func claim(seen map[string]use, key string, u use) error {
	first, twice := seen[key]
	seen[key] = u
	switch {
	case !twice:
		return nil
	case first == u:
		return fault.New(fault.Invalid, askForCard(u.member), "found alliance: the card of %q lists one %s key twice", u.member, u.purpose)
	case first.member == u.member:
		return fault.New(fault.Invalid, askForCard(u.member), "found alliance: the card of %q lists one key for two purposes, %s and %s", u.member, first.purpose, u.purpose)
	}
	return fault.New(fault.Invalid,
		fmt.Sprintf("found nothing with these cards; ask %s and %s whose key it is, for one of them has copied it", first.member, u.member),
		"found alliance: the %s key of %q is also the %s key of %q", u.purpose, u.member, first.purpose, first.member)
}

// certificates takes a CA bundle apart, so that white space and comments around a certificate do not make it another one.
// The certificates themselves are opaque bytes here: to look into them takes crypto/x509, and that reaches package net.
func certificates(bundle string) []string {
	var list []string
	for rest := []byte(bundle); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		list = append(list, string(block.Bytes))
	}
	if list == nil {
		return []string{bundle}
	}
	return list
}

// small are the y coordinates of the points of small order on Curve25519's Edwards form, in all their encodings: 0, 1, two of
// order eight, -1, and the two that are not reduced. RFC 8032 verification accepts them as public keys, and under such a
// key a signature can be forged for almost any text, so that its owner could deny having signed.
var small = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// weak tells whether an Ed25519 public key is a point of small order. The last bit is the sign of x.
func weak(key []byte) bool {
	if len(key) != 32 {
		return true
	}
	y := [32]byte(key)
	y[31] &= 0x7f
	for _, s := range small {
		if hex.EncodeToString(y[:]) == s {
			return true
		}
	}
	return false
}
