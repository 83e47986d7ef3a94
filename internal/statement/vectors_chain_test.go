package statement_test

import (
	"strings"
	"testing"

	"entente.example/internal/statement"
)

// signedEdits gives a vector for each edit of a text, signed by whoever the text asks for.
func signedEdits(t *testing.T, kind statement.Kind, prefix, text string, keys, signers []string, edits []textEdit) []*vector {
	t.Helper()
	var list []*vector
	for _, e := range edits {
		list = append(list, &vector{name: prefix + "-" + e.name, what: e.what, kind: kind, keys: keys, expect: e.expect,
			raw: signText(t, edited(t, text, e.from, e.to), signers...)})
	}
	return list
}

func amendmentVectors(t *testing.T) []*vector {
	t.Helper()
	all := amendments(t)
	suspend, leave, admit, settle := all[0], all[2], all[3], all[4]
	key := func(name string) string { return testKey(t, name).Public }
	previous := "previous_sha256 = \"" + hashOf("charter").String() + "\"\n"
	var list []*vector
	edit := func(prefix string, a statement.Amendment, edits ...textEdit) {
		signers := statementKeys(a.SignedBy...)
		list = append(list, signedEdits(t, statement.KindAmendment, "amendment-"+prefix, draft(t, a), public(t, signers...), signers, edits)...)
	}
	edit("suspend", suspend,
		textEdit{"version-one", "an amendment of version 1", "field version", "version = 2", "version = 1"},
		textEdit{"previous-missing", "an amendment of nothing", "field previous_sha256", previous, ""},
		textEdit{"previous-zero", "an amendment of the hash of zeros", "field previous_sha256", previous, "previous_sha256 = \"" + strings.Repeat("0", 64) + "\"\n"},
		textEdit{"change", "a change that does not exist", "field change", `"suspend"`, `"expel"`},
		textEdit{"change-capital", "a change in capitals", "field change", `"suspend"`, `"Suspend"`},
		textEdit{"member-missing", "a suspension of nobody", "field member", "member = \"charlie\"\n", ""},
		textEdit{"adopt-by", "a draft that ends as it begins", "field adopt_by", "adopt_by = 2026-11-30T12:00:00Z", "adopt_by = 2026-11-23T12:00:00Z"},
		textEdit{"signed-by-unsorted", "signers that are not sorted", "field signed_by", `["alpha", "bravo"]`, `["bravo", "alpha"]`},
		textEdit{"signed-by-none", "signed by nobody", "field signed_by", `["alpha", "bravo"]`, `[]`},
		textEdit{"signed-by-more", "somebody is named who has not signed", "signers", `["alpha", "bravo"]`, `["alpha", "bravo", "charlie"]`},
		textEdit{"signed-by-less", "somebody has signed who is not named", "signers", `["alpha", "bravo"]`, `["alpha"]`},
		textEdit{"keys", "a quorum that gives a member another statement key", "field statement_key", "member = \"charlie\"\n",
			"member = \"charlie\"\nstatement_key = \"" + key("charlie/statement") + "\"\n"},
		textEdit{"recovery", "a quorum that gives a member another recovery key", "field recovery_key", "member = \"charlie\"\n",
			"member = \"charlie\"\nrecovery_key = \"" + key("charlie/recovery") + "\"\n"},
		textEdit{"card", "a quorum that gives a member another card", "field card_sha256", "member = \"charlie\"\n",
			"member = \"charlie\"\ncard_sha256 = \"" + hashOf("card").String() + "\"\n"},
		textEdit{"forks", "a suspension that names forks", "field forks", "signed_by", "forks = []\nsigned_by"},
	)
	edit("leave", leave, textEdit{"other", "somebody makes another leave", "field signed_by", `member = "charlie"`, `member = "bravo"`})
	edit("admit", admit,
		textEdit{"unwilling", "a newcomer who does not sign", "field signed_by", `["alpha", "bravo", "delta"]`, `["alpha", "bravo"]`},
		textEdit{"no-card", "a newcomer without a card", "field card_sha256", "card_sha256 = \"" + hashOf("card of delta").String() + "\"\n", ""},
		textEdit{"no-key", "a newcomer without a statement key", "field statement_key", "statement_key = \"" + key("delta/statement") + "\"\n", ""},
		textEdit{"other-key", "a newcomer with the key of another", "field recovery_key", key("delta/recovery"), key("alpha/recovery")},
	)
	a, b := settle.Forks[0].String(), settle.Forks[1].String()
	edit("settle", settle,
		textEdit{"one", "a settlement of one fork", "field forks", `["` + a + `", "` + b + `"]`, `["` + a + `"]`},
		textEdit{"same", "a settlement of one fork, twice", "field forks", `["` + a + `", "` + b + `"]`, `["` + a + `", "` + a + `"]`},
		textEdit{"unsorted", "forks that are not sorted", "field forks", `["` + a + `", "` + b + `"]`, `["` + b + `", "` + a + `"]`},
		textEdit{"hash", "a fork that is no hash", "hash", a, a[:63]},
		textEdit{"member", "a settlement that says whom it suspends", "field member", "forks =", "member = \"charlie\"\nforks ="},
		textEdit{"version", "a settlement of the forks' own version", "field version", "version = 3", "version = 2"},
	)
	return list
}

// renewalVectors are bad second cards.
func renewalVectors(t *testing.T) []*vector {
	t.Helper()
	c := card(t, "alpha")
	old := seededKey(t, "alpha/statement", seed("alpha/statement, the first")).Public
	older := mldsaKey(t, "alpha/log/1")
	c.Version, c.Previous, c.Log, c.LogMLDSA = 2, hashOf("card of alpha"), testKey(t, "alpha/log/2").Public, mldsaKey(t, "alpha/log/2")
	c.Compromised = []statement.CompromisedKey{{Key: older, Since: noon}, {Key: old, Since: noon}}
	previous := "previous_sha256 = \"" + hashOf("card of alpha").String() + "\"\n"
	lost := "\n[[compromised]]\nkey = \"" + old + "\"\nsince = 2026-11-23T12:00:00Z\n"
	more := ""
	for range 10 {
		more += lost
	}
	return signedEdits(t, statement.KindCard, "card-second", draft(t, c), []string{"own"}, []string{"alpha/statement", "alpha/recovery", "alpha/log/2", "alpha/witness"}, []textEdit{
		{"previous-missing", "a second card that follows none", "field previous_sha256", previous, ""},
		{"previous-first", "a first card that follows another", "field previous_sha256", "version = 2", "version = 1"},
		{"compromised-own", "a compromised key that the card itself lists", "field key", old, testKey(t, "alpha/statement").Public},
		{"compromised-other", "another member's key is called compromised", "field key", old, testKey(t, "bravo/statement").Public},
		{"compromised-recovery", "a compromised recovery key, which cannot be replaced", "field key", old, testKey(t, "alpha/recovery").Public},
		{"compromised-twice", "a compromised key twice", "field key", lost, lost + lost},
		{"compromised-many", "12 compromised keys", "field compromised", lost, lost + more},
		{"compromised-future", "a key that will be compromised", "field since", lost, strings.Replace(lost, "12:00:00Z", "12:00:01Z", 1)},
		{"compromised-spelling", "a compromised key that is cut short", "field key", old, old[:len(old)-4]},
	})
}

// watchedVectors are charters with bad auditors and outside witnesses.
func watchedVectors(t *testing.T) []*vector {
	t.Helper()
	c := charter(t, "alpha", "bravo")
	c.Auditors = []string{"spiffe://bravo/person/dave"}
	w := cosigner(t, "witness.example/w1")
	c.Witnesses = []statement.OutsideWitness{{Name: "university", URL: "https://witness.example", Key: w, MLDSA: mldsaKey(t, "witness.example/w1")}}
	return signedEdits(t, statement.KindCharter, "charter-watched", draft(t, c), []string{"own"}, statementKeys("alpha", "bravo"), []textEdit{
		{"auditors-empty", "a list of no auditors", "field auditors", `["spiffe://bravo/person/dave"]`, `[]`},
		{"auditors-stranger", "an auditor of no member", "field auditors", "spiffe://bravo/", "spiffe://zulu/"},
		{"auditors-node", "a node as an auditor", "field auditors", "/person/dave", "/node"},
		{"auditors-twice", "an auditor twice", "field auditors", `["spiffe://bravo/person/dave"]`, `["spiffe://bravo/person/dave", "spiffe://bravo/person/dave"]`},
		{"witness-url", "a witness at an address with a query", "field witness", "https://witness.example", "https://witness.example?x=1"},
		{"witness-url-script", "a witness at an address of another scheme", "field witness", "https://witness.example", "javascript:alert"},
		{"witness-url-slash", "a witness at an address that ends with a slash", "field witness", "https://witness.example", "https://witness.example/"},
		{"witness-url-space", "a witness at an address with a space", "field witness", "https://witness.example", "https://witness.example/a b"},
		{"witness-key", "a witness with half a key", "field witness", w, w[:len(w)-4]},
		{"witness-mldsa-name", "a witness with two names", "field witness", mldsaKey(t, "witness.example/w1"), mldsaKey(t, "witness.example/w2")},
		{"witness-of-member", "a witness with a member's key", "field witness", w, testKey(t, "charlie/witness").Public},
		{"witness-twice", "two witnesses of one name", "field witness", "name = \"university\"", "name = \"office\"\nurl = \"https://other.example\"\nkey = \"" + w + "\"\n\n[[witness]]\nname = \"university\""},
		{"witness-name", "a witness named in capitals", "field witness", `"university"`, `"University"`},
	})
}
