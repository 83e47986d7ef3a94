package member

import (
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// use is what a key is for, and whose it is.
type use struct{ member, purpose string }

// claimCard notes all public keys of a card as used, and refuses a key that anybody has used before: another member, the
// same member for another purpose, or on an earlier card than the one just before. Keys are compared by their bytes; a
// name in front of them, or another hash of name and key, makes no other key. Two keys of one name and hash are refused as
// well, because signature lines could not tell them apart.
func claimCard(doing string, seen map[string]use, card statement.Card, before *statement.Card) error {
	keys, err := keysOn(doing, card)
	if err != nil {
		return err
	}
	still := map[string]bool{}
	if before != nil {
		old, err := keysOn(doing, *before)
		if err != nil {
			return err
		}
		for _, k := range old {
			still[k.key+" "+k.purpose] = true
		}
	}
	for _, k := range keys {
		if still[k.key+" "+k.purpose] {
			continue
		}
		if err := claim(doing, seen, k.key, use{card.Member, k.purpose}, before != nil); err != nil {
			return err
		}
	}
	return nil
}

// claimOutside does the same for an outside witness: with a key of anybody else's it would count twice towards a quorum.
func claimOutside(seen map[string]use, w statement.OutsideWitness) error {
	const doing, purpose = "found alliance", "co-signing"
	bad := func(err error) error {
		return fault.New(fault.Invalid, "ask its owner for its verifier key, and draft the charter again", "%s: read the key of the witness %q: %w", doing, w.Name, err)
	}
	key, err := statement.WitnessKeyBytes(w.Key)
	if err != nil {
		return bad(err)
	}
	if weak(key) {
		return bad(errors.New("it is one under which anybody can forge signatures"))
	}
	list := []string{"ed25519 " + string(key)}
	if w.MLDSA != "" {
		pq, err := statement.MLDSAKeyBytes(w.MLDSA)
		if err != nil {
			return bad(err)
		}
		list = append(list, "mldsa "+string(pq))
	}
	for _, k := range list {
		if err := claim(doing, seen, k, use{"witness " + w.Name, purpose}, false); err != nil {
			return err
		}
	}
	return nil
}

// used is one public key on a card: its bytes, in front of them what sort they are.
type used struct{ key, purpose string }

// keysOn lists the public keys on a card, and refuses those under which anybody can sign.
func keysOn(doing string, card statement.Card) ([]used, error) {
	var list []used
	for _, k := range []struct{ purpose, vkey string }{
		{PurposeStatement, card.Statement}, {PurposeRecovery, card.Recovery}, {PurposeLog, card.Log}, {PurposeWitness, card.Witness},
	} {
		key, err := statement.KeyBytes(k.vkey)
		if err != nil {
			return nil, fault.New(fault.Invalid, askForCard(card.Member), "%s: read the %s key of %q: %w", doing, k.purpose, card.Member, err)
		}
		if weak(key) {
			return nil, fault.New(fault.Invalid, askForCard(card.Member), "%s: the %s key of %q is one under which anybody can forge signatures", doing, k.purpose, card.Member)
		}
		list = append(list, used{"ed25519 " + string(key), k.purpose}, used{"id " + statement.KeyID(k.vkey), k.purpose})
	}
	for _, k := range []struct{ purpose, vkey string }{{PurposeLogMLDSA, card.LogMLDSA}, {PurposeWitnessMLDSA, card.WitnessMLDSA}} {
		key, err := statement.MLDSAKeyBytes(k.vkey)
		if err != nil {
			return nil, fault.New(fault.Invalid, askForCard(card.Member), "%s: read the %s key of %q: %w", doing, k.purpose, card.Member, err)
		}
		list = append(list, used{"mldsa " + string(key), k.purpose}, used{"id " + statement.KeyID(k.vkey), k.purpose})
	}
	for _, s := range card.Sealing {
		list = append(list, used{"age " + s.Recipient, "sealing"})
	}
	for _, certificate := range certificates(card.CA) {
		list = append(list, used{"ca " + certificate, "CA"})
	}
	return list, nil
}

// claim notes that a key is used, and refuses if it already is.
func claim(doing string, seen map[string]use, key string, u use, renewal bool) error {
	first, twice := seen[key]
	seen[key] = u
	switch {
	case !twice:
		return nil
	case first == u && renewal:
		return fault.New(fault.Invalid, askForCard(u.member), "%s: the card of %q lists a %s key that it had before and replaced, or lists one twice", doing, u.member, u.purpose)
	case first == u:
		return fault.New(fault.Invalid, askForCard(u.member), "%s: the card of %q lists one %s key twice", doing, u.member, u.purpose)
	case first.member == u.member:
		return fault.New(fault.Invalid, askForCard(u.member), "%s: the card of %q lists one key for two purposes, %s and %s", doing, u.member, first.purpose, u.purpose)
	}
	return fault.New(fault.Invalid,
		fmt.Sprintf("take none of these cards; ask %s and %s whose key it is, for one of them has copied it", first.member, u.member),
		"%s: the %s key of %q is also the %s key of %q", doing, u.purpose, u.member, first.purpose, first.member)
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
