package member

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

var (
	names   = []string{"alpha", "bravo", "charlie", "delta", "echo"}
	founded = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
)

// founder is somebody who founds an alliance: the terms of its card, and the keys to sign with.
type founder struct {
	card                              statement.Card
	statement, recovery, log, witness *statement.Key
	logMLDSA, witnessMLDSA            string // what the bytes of these keys begin with
}

func newFounder(t *testing.T, name string) *founder {
	t.Helper()
	f := &founder{
		statement: newKey(t, name+"/statement"), recovery: newKey(t, name+"/recovery"),
		log: newKey(t, name+"/log/1"), witness: newKey(t, name+"/witness"),
		logMLDSA: name + "/log/1", witnessMLDSA: name + "/witness",
	}
	f.card = statement.Card{
		Member: name, Version: 1, Created: founded, Address: name + ".example:7443", Jurisdiction: "NL",
		CA:      certificate(name),
		Sealing: []statement.SealingKey{{Epoch: 1, Recipient: "age1pq1" + name}},
	}
	return f
}

func newKey(t *testing.T, name string) *statement.Key {
	t.Helper()
	return seeded(t, name, ed25519.NewKeyFromSeed(hash32(name)).Seed())
}

func hash32(s string) []byte { h := statement.HashBytes([]byte(s)); return h[:] }

// seeded makes the key of that name from a seed, so that one key can be had under two names.
func seeded(t *testing.T, name string, seed []byte) *statement.Key {
	t.Helper()
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(vkey, "+")[1]
	k, err := statement.ParseKey("PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// relabel gives the key of that name under another name, as nobody without its secret could.
func relabel(t *testing.T, original, name string) *statement.Key {
	t.Helper()
	return seeded(t, name, hash32(original))
}

// certificate is a CA bundle as far as this package looks into one.
func certificate(content string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(content)}))
}

func (f *founder) sign(t *testing.T) *statement.Signed[statement.Card] {
	t.Helper()
	c := f.card
	c.Statement, c.Recovery, c.Log, c.Witness = f.statement.Public, f.recovery.Public, f.log.Public, f.witness.Public
	c.LogMLDSA, c.WitnessMLDSA = mldsaKey(t, f.log.Name(), f.logMLDSA), mldsaKey(t, f.witness.Name(), f.witnessMLDSA)
	signed, err := statement.Sign(c, f.statement, f.recovery, f.log, f.witness)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func cardsOf(t *testing.T, founders []*founder) []*statement.Signed[statement.Card] {
	t.Helper()
	cards := make([]*statement.Signed[statement.Card], len(founders))
	for i, f := range founders {
		cards[i] = f.sign(t)
	}
	return cards
}

// charterOf has all founders sign a charter that pins these cards, and opens it again as a member would.
func charterOf(t *testing.T, founders []*founder, cards []*statement.Signed[statement.Card], edit ...func(*statement.Charter)) *statement.Signed[statement.Charter] {
	t.Helper()
	c := statement.Charter{Alliance: "harbour", Version: 1, Created: founded, AdoptBy: founded.AddDate(0, 3, 0), Quorum: statement.QuorumMajority}
	signers := make([]*statement.Key, len(founders))
	for i, f := range founders {
		c.Members = append(c.Members, statement.CharterMember{Name: f.card.Member, Standing: statement.GoodStanding,
			Statement: f.statement.Public, Recovery: f.recovery.Public, Card: cards[i].Hash})
		signers[i] = f.statement
	}
	for _, e := range edit {
		e(&c)
	}
	signed, err := statement.Sign(c, signers...)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := statement.OpenSelfSigned[statement.Charter](signed.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func newFounders(t *testing.T, n int) []*founder {
	t.Helper()
	founders := make([]*founder, n)
	for i := range founders {
		founders[i] = newFounder(t, names[i])
	}
	return founders
}

func TestFound(t *testing.T) {
	t.Parallel()
	for n := 2; n <= len(names); n++ {
		t.Run(fmt.Sprint(n, " members"), func(t *testing.T) {
			t.Parallel()
			founders := newFounders(t, n)
			cards := cardsOf(t, founders)
			charter := charterOf(t, founders, cards)
			shuffled := slices.Clone(cards)
			slices.Reverse(shuffled)
			h, err := Found(charter, shuffled...)
			if err != nil {
				t.Fatal(err)
			}
			checkHistory(t, h, charter, founders)
		})
	}
}

func checkHistory(t *testing.T, h *History, charter *statement.Signed[statement.Charter], founders []*founder) {
	t.Helper()
	if h.Alliance() != charter.Hash || h.Newest() != charter.Hash || !h.Knows(charter.Hash) || h.Knows(statement.Hash{}) {
		t.Errorf("alliance %s, newest %s; charter is %s", h.Alliance(), h.Newest(), charter.Hash)
	}
	if h.Name() != "harbour" {
		t.Errorf("name %q", h.Name())
	}
	members := h.Members()
	if len(members) != len(founders) {
		t.Fatalf("%d members, expected %d", len(members), len(founders))
	}
	for i, f := range founders {
		name := names[i]
		m, ok := h.Member(name)
		if !ok || m.Name != name || members[i].Name != name || m.Address != f.card.Address || m.Jurisdiction != "NL" || string(m.CA) != f.card.CA {
			t.Errorf("member %s is %+v, and in the list %+v", name, m, members[i])
		}
		for key, verifier := range map[*statement.Key]note.Verifier{f.statement: m.Statement, f.recovery: m.Recovery, f.log: m.Log, f.witness: m.Witness} {
			if verifier.Name() != key.Name() || verifier.KeyHash() != key.KeyHash() {
				t.Errorf("key %s is %s", key.Name(), verifier.Name())
			}
		}
		if !h.InGoodStanding(name) {
			t.Errorf("%s is not in good standing", name)
		}
		all, one, others := h.Verifiers(), h.Verifiers(name), h.Verifiers(append(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == name }), "zulu")...)
		for _, known := range []note.Verifiers{all, one} {
			if _, err := known.Verifier(f.statement.Name(), f.statement.KeyHash()); err != nil {
				t.Errorf("statement key of %s: %v", name, err)
			}
			if _, err := known.Verifier(f.recovery.Name(), f.recovery.KeyHash()); err == nil {
				t.Errorf("the recovery key of %s passes for a statement key", name)
			}
		}
		if _, err := others.Verifier(f.statement.Name(), f.statement.KeyHash()); err == nil {
			t.Errorf("the statement key of %s is among those of the others", name)
		}
	}
	if _, ok := h.Member("zulu"); ok || h.InGoodStanding("zulu") {
		t.Error("zulu is a member")
	}
	if _, err := h.Verifiers("zulu").Verifier("alpha/statement", founders[0].statement.KeyHash()); err == nil {
		t.Error("naming nobody known gives everybody's keys")
	}
}

func TestOtherStandingIsNotGood(t *testing.T) {
	t.Parallel()
	founders := newFounders(t, 2)
	cards := cardsOf(t, founders)
	charter := charterOf(t, founders, cards)
	charter.Terms.Members[1].Standing = "suspended" // no founding charter can say so; a later one will
	h, err := Found(charter, cards...)
	if err != nil {
		t.Fatal(err)
	}
	if !h.InGoodStanding("alpha") || h.InGoodStanding("bravo") {
		t.Error("standing is not what the charter says")
	}
}

func TestFoundRefusesKeysThatOccurTwice(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		edit func(t *testing.T, f []*founder)
		want string
	}{
		{"statement key of another", func(t *testing.T, f []*founder) {
			f[2].statement = relabel(t, "bravo/statement", "charlie/statement")
		}, `the statement key of "charlie" is also the statement key of "bravo"`},
		{"recovery key of another", func(t *testing.T, f []*founder) { f[2].recovery = relabel(t, "bravo/recovery", "charlie/recovery") },
			`the recovery key of "charlie" is also the recovery key of "bravo"`},
		{"post-quantum log key is another's", func(_ *testing.T, f []*founder) { f[1].logMLDSA = f[0].logMLDSA },
			`the log-mldsa key of "bravo" is also the log-mldsa key of "alpha"`},
		{"post-quantum keys are one", func(_ *testing.T, f []*founder) { f[1].witnessMLDSA = f[1].logMLDSA },
			`one key for two purposes, log-mldsa and witness-mldsa`},
		{"log key is another's witness key", func(t *testing.T, f []*founder) { f[1].log = relabel(t, "alpha/witness", "bravo/log/1") },
			`the log key of "bravo" is also the witness key of "alpha"`},
		{"witness key is another's statement key", func(t *testing.T, f []*founder) { f[2].witness = relabel(t, "alpha/statement", "charlie/witness") },
			`the witness key of "charlie" is also the statement key of "alpha"`},
		{"one key for log and witness", func(t *testing.T, f []*founder) { f[1].witness = relabel(t, "bravo/log/1", "bravo/witness") },
			`the card of "bravo" lists one key for two purposes, log and witness`},
		{"one key for statement and recovery", func(t *testing.T, f []*founder) {
			f[0].recovery = relabel(t, "alpha/statement", "alpha/recovery")
		}, `the card of "alpha" lists one key for two purposes, statement and recovery`},
		{"sealing key of another", func(_ *testing.T, f []*founder) { f[2].card.Sealing = f[0].card.Sealing },
			`the sealing key of "charlie" is also the sealing key of "alpha"`},
		{"sealing key twice", func(_ *testing.T, f []*founder) {
			f[0].card.Sealing = []statement.SealingKey{{Epoch: 2, Recipient: "age1pq1x"}, {Epoch: 1, Recipient: "age1pq1x"}}
		}, `the card of "alpha" lists one sealing key twice`},
		{"CA of another", func(_ *testing.T, f []*founder) { f[1].card.CA = f[0].card.CA },
			`the CA key of "bravo" is also the CA key of "alpha"`},
		{"CA of another among its own", func(_ *testing.T, f []*founder) { f[1].card.CA += "\n" + f[2].card.CA },
			`the CA key of "charlie" is also the CA key of "bravo"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			founders := newFounders(t, 3)
			c.edit(t, founders)
			cards := cardsOf(t, founders)
			h, err := Found(charterOf(t, founders, cards), cards...)
			refused(t, h, err, c.want)
		})
	}
}

// A copied CA is found even where it cannot be taken apart.
func TestOpaqueCA(t *testing.T) {
	t.Parallel()
	founders := newFounders(t, 2)
	for _, f := range founders {
		f.card.CA = "-----BEGIN CERTIFICATE-----\nnot PEM at all\n"
	}
	cards := cardsOf(t, founders)
	h, err := Found(charterOf(t, founders, cards), cards...)
	refused(t, h, err, `the CA key of "bravo" is also the CA key of "alpha"`)
}

func TestFoundRefusesCardsThatDoNotFit(t *testing.T) {
	t.Parallel()
	founders := newFounders(t, 3)
	cards := cardsOf(t, founders)
	charter := charterOf(t, founders, cards)

	newer := *founders[1]
	newer.card.Version, newer.card.Previous = 2, cards[1].Hash
	newerCard := newer.sign(t)
	stranger := newFounder(t, "delta").sign(t)
	nameless := newFounder(t, "alpha")
	nameless.card.Address = "elsewhere.example:7443"

	otherStatement := charterOf(t, []*founder{founders[0], {card: founders[1].card, statement: newKey(t, "bravo/statement"), recovery: founders[1].recovery}},
		cards[:2], func(c *statement.Charter) { c.Members[1].Recovery = newKeyAs(t, "other", "bravo/recovery").Public })

	cases := []struct {
		name    string
		charter *statement.Signed[statement.Charter]
		cards   []*statement.Signed[statement.Card]
		want    string
	}{
		{"no charter", nil, cards, "there is no charter"},
		{"no cards", charter, nil, `the card of "alpha" is missing`},
		{"a missing card", charter, cards[:2], `the card of "charlie" is missing`},
		{"an empty card", charter, []*statement.Signed[statement.Card]{cards[0], nil, cards[2]}, "one of the cards is missing"},
		{"a stranger's card", charter, append(slices.Clone(cards), stranger), `a card of "delta", which the charter does not list`},
		{"a card twice", charter, append(slices.Clone(cards), cards[1]), `two cards of "bravo"`},
		{"another card of the same member", charter, []*statement.Signed[statement.Card]{cards[0], newerCard, cards[2]}, `the card of "bravo" has the fingerprint`},
		{"another address", charter, []*statement.Signed[statement.Card]{nameless.sign(t), cards[1], cards[2]}, `the card of "alpha" has the fingerprint`},
		{"charter and card disagree on a key", otherStatement, cards[:2], `the recovery key of "bravo" is not the same`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, err := Found(c.charter, c.cards...)
			refused(t, h, err, c.want)
		})
	}
}

func newKeyAs(t *testing.T, seed, name string) *statement.Key {
	t.Helper()
	return seeded(t, name, hash32(seed))
}

// Parsing refuses these too. They are made by hand here, because everything else relies on them.
func TestFoundRefusesListsOfMembers(t *testing.T) {
	t.Parallel()
	listed := func(n ...string) *statement.Signed[statement.Charter] {
		var c statement.Signed[statement.Charter]
		for _, name := range n {
			c.Terms.Members = append(c.Terms.Members, statement.CharterMember{Name: name})
		}
		return &c
	}
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprintf("m%03d", i)
	}
	for name, c := range map[string]struct {
		charter *statement.Signed[statement.Charter]
		want    string
	}{
		"nobody":   {listed(), "0 members"},
		"one":      {listed("alpha"), "1 members"},
		"65":       {listed(many...), "65 members"},
		"unsorted": {listed("bravo", "alpha"), `"alpha" after "bravo"`},
		"repeated": {listed("alpha", "alpha"), `"alpha" after "alpha"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, err := Found(c.charter)
			refused(t, h, err, c.want)
		})
	}
}

// TestRelabelledSignature plays the attack for which keys are compared: charlie lists bravo's statement key under its own
// name and turns bravo's signature line into one of its own. The note and its key hash are then perfectly in order.
func TestRelabelledSignature(t *testing.T) {
	t.Parallel()
	founders := newFounders(t, 3)
	stolen := relabel(t, "bravo/statement", "charlie/statement")
	founders[2].statement = stolen
	cards := cardsOf(t, founders)
	charter := charterOf(t, founders, cards)

	lines := strings.Split(string(charter.Raw), "\n")
	var signatures [][]byte
	for _, line := range lines {
		for _, name := range []string{"bravo", "charlie"} {
			if sig, ok := strings.CutPrefix(line, "— "+name+"/statement "); ok {
				b, err := base64.StdEncoding.DecodeString(sig)
				if err != nil {
					t.Fatal(err)
				}
				signatures = append(signatures, b[4:]) // without the key's hash
			}
		}
	}
	if len(signatures) != 2 || string(signatures[0]) != string(signatures[1]) {
		t.Fatal("the two lines are not one signature; the test proves nothing")
	}
	h, err := Found(charter, cards...)
	refused(t, h, err, `the statement key of "charlie" is also the statement key of "bravo"`)
}

func refused(t *testing.T, h *History, err error, want string) {
	t.Helper()
	if err == nil || h != nil {
		t.Fatalf("founded; expected %q", want)
	}
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Hint == "" {
		t.Errorf("%#v is not a fault of kind invalid with a hint", err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error is %q\nexpected   %q", err, want)
	}
}

// TestWeakKeys shows for every key in the table that a signature can be forged under it without any secret: with the
// public key A of small order, h·A vanishes for one text in eight at least, and then any (s·B, s) is a signature.
func TestWeakKeys(t *testing.T) {
	t.Parallel()
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	seed := make([]byte, ed25519.SeedSize)
	digest := sha512.Sum512(seed)
	digest[0] &= 248
	digest[31] = digest[31]&127 | 64
	scalar := make([]byte, 32)
	for i := range scalar {
		scalar[i] = digest[31-i]
	}
	s := new(big.Int).Mod(new(big.Int).SetBytes(scalar), order).FillBytes(make([]byte, 32))
	slices.Reverse(s)
	forged := append(slices.Clone([]byte(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))), s...)

	for _, y := range small {
		key, err := hex.DecodeString(y)
		if err != nil {
			t.Fatal(err)
		}
		for _, sign := range []byte{0, 0x80} {
			key[31] = key[31]&0x7f | sign
			if !weak(key) {
				t.Errorf("%x is not called weak", key)
			}
			passed := 0
			for i := range 400 {
				if ed25519.Verify(key, []byte(fmt.Sprint("text ", i)), forged) {
					passed++
				}
			}
			if passed < 20 {
				t.Errorf("%x: only %d of 400 forged signatures pass; is it weak?", key, passed)
			}
		}
	}
	if weak(hash32("some key")) || !weak(nil) || !weak(make([]byte, 31)) {
		t.Error("an ordinary key is called weak, or a short one is not")
	}

	founders := newFounders(t, 2)
	cards := cardsOf(t, founders)
	charter := charterOf(t, founders, cards)
	vkey, err := note.NewEd25519VerifierKey("bravo/witness", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	cards[1].Terms.Witness = vkey
	h, err := Found(charter, cards...)
	refused(t, h, err, `the witness key of "bravo" is one under which anybody can forge signatures`)
}

// mldsaKey is the post-quantum verifier key of that name whose bytes begin with content. Nothing here signs with it.
func mldsaKey(t testing.TB, name, content string) string {
	t.Helper()
	public := make([]byte, 1312)
	copy(public, content)
	vkey, err := statement.MLDSAKey(name, public)
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}
