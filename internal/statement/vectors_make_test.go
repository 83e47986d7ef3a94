package statement_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// edited is a text with one change.
func edited(t testing.TB, text, from, to string) string {
	t.Helper()
	if !strings.Contains(text, from) {
		t.Fatalf("the text has no %q:\n%s", from, text)
	}
	return strings.Replace(text, from, to, 1)
}

func largestManifest() statement.Manifest {
	m := manifest()
	m.From = strings.Repeat("a", 32)
	m.ReleasedBy = "spiffe://" + m.From + "/person/" + strings.Repeat("p", 32)
	m.To = crowd(64, 32)
	m.SealedFor = nil
	for _, name := range m.To {
		m.SealedFor = append(m.SealedFor, hashOf(name))
	}
	m.Agreement, m.Purpose, m.Label = strings.Repeat("b", 64), strings.Repeat("c", 64), strings.Repeat("~", 64)
	m.Created = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	m.DeliverBy, m.RetainUntil = time.Date(2999, 12, 31, 23, 59, 58, 0, time.UTC), time.Date(2999, 12, 31, 23, 59, 59, 0, time.UTC)
	m.Content.CiphertextSize = 2 * limit.Document
	return m
}

func goodVectors(t *testing.T) []*vector {
	t.Helper()
	var list []*vector
	add := func(name, what string, kind statement.Kind, keys []string, raw []byte) {
		list = append(list, &vector{name: name, what: what, kind: kind, keys: keys, expect: "ok", raw: string(raw)})
	}
	own := []string{"own"}
	alpha := public(t, "alpha/statement")

	add("manifest", "a manifest as it usually is", statement.KindManifest, alpha, signed(t, manifest(), "alpha/statement"))
	one := manifest()
	one.From, one.To, one.SealedFor, one.ReleasedBy = "a", []string{"b"}, one.SealedFor[:1], "spiffe://a/person/p"
	one.Agreement, one.Purpose, one.Label, one.Content.CiphertextSize = "x", "y", "z", 0
	one.DeliverBy, one.RetainUntil = noon.Add(time.Second), noon.Add(time.Second)
	add("manifest-smallest", "shortest words, one recipient, no time to lose", statement.KindManifest, public(t, "a/statement"), signed(t, one, "a/statement"))
	most := largestManifest()
	add("manifest-largest", "64 recipients, longest words, largest size, first and last year", statement.KindManifest,
		public(t, most.From+"/statement"), signed(t, most, most.From+"/statement"))
	add("manifest-many-known", "the verifier knows more keys than sign", statement.KindManifest,
		public(t, "charlie/statement", "alpha/statement", "bravo/statement"), signed(t, manifest(), "alpha/statement"))

	bravo := public(t, "bravo/statement")
	add("receipt-stored", "a receipt as it usually is", statement.KindReceipt, bravo, signed(t, receipt(), "bravo/statement"))
	for _, k := range []statement.ReceiptKind{statement.Opened, statement.Undecryptable} {
		r := receipt()
		r.Kind, r.Leaf, r.Log = k, 0, "bravo/log/2147483647"
		add("receipt-"+string(k), "the first leaf of a log of a high epoch", statement.KindReceipt, bravo, signed(t, r, "bravo/statement"))
	}
	add("receipt-refused", "one reason", statement.KindReceipt, bravo, signed(t, refusal(), "bravo/statement"))
	many := refusal()
	for i := range limit.Reasons - 1 {
		many.Reasons = append(many.Reasons, statement.Reason{Set: []string{"base", "agreement", "house"}[i%3], Rule: fmt.Sprintf("rule-%d", i), Text: "no", Needs: "yes"})
	}
	add("receipt-refused-most", "40 reasons, of every set", statement.KindReceipt, bravo, signed(t, many, "bravo/statement"))
	quoted := refusal()
	quoted.Reasons[0].Text = `the label "C:\new\table" is unknown, [as] {are} #others = 'too'`
	quoted.Reasons[0].Needs = "größere Sorgfalt, 報告 و تقرير\u00a0– €"
	add("receipt-quoting", "quotes, backslashes and letters of other scripts", statement.KindReceipt, bravo, signed(t, quoted, "bravo/statement"))
	longest := refusal()
	longest.Reasons[0].Text, longest.Reasons[0].Needs = strings.Repeat("x", limit.Line), strings.Repeat("é", limit.Line/2)
	add("receipt-long-reason", "reasons of 1,024 bytes", statement.KindReceipt, bravo, signed(t, longest, "bravo/statement"))

	parties := []string{"alpha", "bravo", "charlie"}
	agreed := func(name, what string, a statement.Agreement) {
		add(name, what, statement.KindAgreement, public(t, statementKeys(a.Parties...)...), signed(t, a, statementKeys(a.Parties...)...))
	}
	agreed("agreement", "an agreement with prose, and an empty line in it", agreement())
	bare := agreement()
	bare.Parties, bare.Purposes, bare.Prose, bare.RetainDays = parties[:2], bare.Purposes[:1], "", 1
	agreed("agreement-bare", "no policy and no prose", bare)
	lawful := agreement()
	lawful.Policy, lawful.Prose = "@id(\"office-hours\")\nforbid (principal, action, resource)\nwhen { context.hour < 8 };\n", ""
	agreed("agreement-policy", "a policy and no prose", lawful)
	both := lawful
	both.Prose = "--- policy\nThis line is prose, and so are the next.\n--- prose\n[content]\nid = \"x\"\n# no comment\n"
	agreed("agreement-both", "a policy, and prose that looks like everything else", both)
	spoken := agreement()
	spoken.Prose = "\n\nمی\u200cخواهم · क्\u200dष · 👩\u200d🚀 · ﷽ · 20\u00a0%\n  trailing spaces are prose  \n–— dashes, and — one inside\n\n\n"
	agreed("agreement-unicode", "prose in several scripts, with joiners, empty lines at both ends, dashes", spoken)
	wide := agreement()
	wide.Parties, wide.Purposes, wide.RetainDays = crowd(64, 32), nil, limit.RetentionDays
	for i := range 64 {
		wide.Purposes = append(wide.Purposes, fmt.Sprintf("p%02d%s", i, strings.Repeat("y", 61)))
	}
	agreed("agreement-largest", "64 parties, 64 purposes, a hundred years", wide)
	list = append(list, goodAgreementVectors(t)...)

	add("card", "a card as it usually is", statement.KindCard, own, signed(t, card(t, "alpha"), cardKeys("alpha")...))
	add("card-known-keys", "the same, under keys known already", statement.KindCard, public(t, cardKeys("alpha")...), signed(t, card(t, "alpha"), cardKeys("alpha")...))
	plain := card(t, "alpha")
	plain.Jurisdiction, plain.Address = "", "[2001:db8::7]:1"
	add("card-no-jurisdiction", "without a jurisdiction, at an IPv6 address", statement.KindCard, own, signed(t, plain, cardKeys("alpha")...))
	rich := card(t, "alpha")
	rich.CA += authority(t, "alpha-next")
	rich.Sealing = nil
	for i := range 8 {
		rich.Sealing = append(rich.Sealing, statement.SealingKey{Epoch: int64(80 - 10*i), Recipient: recipient(t, fmt.Sprintf("alpha/sealing/%d", i))})
	}
	rich.Address, rich.Version = strings.Repeat("a", 63)+"."+strings.Repeat("b", 63)+".example:65535", 7
	rich.Previous = hashOf("card of alpha")
	add("card-largest", "eight sealing keys with gaps between epochs, two certificates", statement.KindCard, own, signed(t, rich, cardKeys("alpha")...))

	renewed := card(t, "alpha")
	renewed.Version, renewed.Previous, renewed.Log, renewed.LogMLDSA = 2, hashOf("card of alpha"), testKey(t, "alpha/log/2").Public, mldsaKey(t, "alpha/log/2")
	renewed.Compromised = []statement.CompromisedKey{{Key: testKey(t, "alpha/log/1").Public, Since: noon}, {Key: mldsaKey(t, "alpha/log/1"), Since: noon.Add(-time.Second)}}
	add("card-second", "a second card, with another log's keys, that calls the old ones compromised", statement.KindCard, own,
		signed(t, renewed, "alpha/statement", "alpha/recovery", "alpha/log/2", "alpha/witness"))

	watched := charter(t, parties...)
	watched.Auditors = []string{"spiffe://alpha/person/zoe", "spiffe://charlie/person/dave"}
	watched.Witnesses = []statement.OutsideWitness{
		{Name: "harbour-office", URL: "https://witness.example/harbour", Key: testKey(t, "witness.example/harbour").Public},
		{Name: "university", URL: "http://127.0.0.1:7480", Key: cosigner(t, "witness.example/w1"), MLDSA: mldsaKey(t, "witness.example/w1")},
	}
	add("charter-watched", "auditors, and outside witnesses with keys of both signature types", statement.KindCharter, own, signed(t, watched, statementKeys(parties...)...))

	for _, a := range amendments(t) {
		add("amendment-"+string(a.Change), "an amendment: "+string(a.Change), statement.KindAmendment, public(t, statementKeys(a.SignedBy...)...),
			signed(t, a, statementKeys(a.SignedBy...)...))
	}

	pair := public(t, statementKeys("alpha", "bravo")...)
	add("reconciliation", "a leaf of each sort that does not match", statement.KindReconciliation, pair, signed(t, reconciliation(), statementKeys("alpha", "bravo")...))
	clean := reconciliation()
	clean.Open, clean.Only, clean.Differing = nil, nil, nil
	for i := range clean.Sides {
		clean.Sides[i].Matched, clean.Sides[i].Open, clean.Sides[i].Only, clean.Sides[i].Differing = clean.Sides[i].Leaves, 0, 0, 0
	}
	add("reconciliation-clean", "everything matches", statement.KindReconciliation, pair, signed(t, clean, statementKeys("alpha", "bravo")...))

	chartered := func(name, what string, members ...string) {
		add(name, what, statement.KindCharter, own, signed(t, charter(t, members...), statementKeys(members...)...))
	}
	chartered("charter", "three founders", parties...)
	chartered("charter-two", "two founders", "a", "b")
	chartered("charter-64", "64 founders with names of 32 characters", crowd(64, 32)...)
	return list
}

// textEdit is a change of a good text that makes it bad, and is signed as it stands.
type textEdit struct{ name, what, expect, from, to string }

// manifestEdits change one thing each in the manifest of the good vectors.
var manifestEdits = []textEdit{
	{"v2", "a version that does not exist", "type", "/v1\n", "/v2\n"},
	{"other-type", "a type that does not exist", "type", "/manifest/", "/order/"},
	{"type-of-receipt", "the type line of another type", "type", "/manifest/", "/receipt/"},
	{"type-capital", "the type line in another case", "type", "/manifest/", "/Manifest/"},
	{"type-space", "a space after the type line", "type", "/v1\n", "/v1 \n"},
	{"type-second", "an empty line before the type line", "type", "entente.example/manifest", "\nentente.example/manifest"},
	{"bom", "a byte order mark", "character", "entente.example", "\ufeffentente.example"},

	{"key-case", "a key in another case", "line", "\nid = ", "\nID = "},
	{"key-case-twice", "a second key that differs in case only", "line", "\nfrom = ", "\nFrom = \"bravo\"\nfrom = "},
	{"key-twice", "a key twice, with another value", "twice", "\nfrom = ", "\nfrom = \"bravo\"\nfrom = "},
	{"key-same-twice", "a line twice", "twice", "\nfrom = ", "\nfrom = \"alpha\"\nfrom = "},
	{"key-unknown", "a key that the type does not have", "unknown-field", "\nfrom = ", "\nurgent = \"yes\"\nfrom = "},
	{"key-unknown-table", "a table that the type does not have", "unknown-field", "\n[content]\n", "\n[annex]\nby = \"x\"\n\n[content]\n"},
	{"key-missing", "a key is missing", "field purpose", "purpose = \"incident-response\"\n", ""},
	{"key-missing-hash", "a hash is missing", "rendering", "", ""},
	{"key-order", "keys in another order", "rendering", "id = \"01K7XQ3W0V6N2T9R4M5B8C1D2E\"\nfrom = \"alpha\"\n", "from = \"alpha\"\nid = \"01K7XQ3W0V6N2T9R4M5B8C1D2E\"\n"},
	{"key-quoted", "a key in quotes", "line", "\nfrom = ", "\n\"from\" = "},
	{"key-dotted", "a dotted key instead of a table", "line", "\nfrom = ", "\ncontent.ciphertext_size = 2199023\nfrom = "},
	{"key-space", "two spaces before the equals sign", "line", "\nfrom = ", "\nfrom  = "},
	{"key-indented", "an indented line", "line", "\nfrom = ", "\n  from = "},
	{"value-space", "two spaces after the equals sign", "value", "\nfrom = ", "\nfrom =  "},
	{"equals-bare", "no spaces around the equals sign", "line", "\nfrom = ", "\nfrom="},
	{"trailing-space", "a space at the end of a line", "value", "\"alpha\"\n", "\"alpha\" \n"},
	{"trailing-space-table", "a space at the end of a table's line", "line", "[content]\n", "[content] \n"},
	{"empty-line", "an empty line between keys", "rendering", "\nfrom = ", "\n\nfrom = "},
	{"empty-line-missing", "no empty line above a table", "rendering", "\n\n[content]", "\n[content]"},
	{"empty-line-end", "an empty line at the end of the text", "rendering", "", ""},
	{"comment", "a comment", "comment", "\nfrom = ", "\n# really from bravo\nfrom = "},
	{"comment-indented", "an indented comment", "comment", "\nfrom = ", "\n  # x\nfrom = "},
	{"comment-end", "a comment at the end of a line", "value", "\"alpha\"\n", "\"alpha\" # really\n"},
	{"table-spaces", "spaces inside a table's brackets", "line", "[content]", "[ content ]"},
	{"table-twice", "a table twice", "twice", "\n[content]\n", "\n[content]\n\n[content]\n"},
	{"table-nested", "a table inside a table", "line", "[content]", "[content.more]"},
	{"table-repeated", "a table written as a repeated one", "wrong-type", "[content]", "[[content]]"},
	{"table-inline", "an inline table", "value", "\nfrom = ", "\ncontent = {ciphertext_size = 2199023}\nfrom = "},

	{"string-literal", "a literal string", "value", `"alpha"`, `'alpha'`},
	{"string-multiline", "a string in three quotes", "value", `"alpha"`, `"""alpha"""`},
	{"string-multiline-lines", "a string over two lines", "value", `"alpha"`, "\"\"\"\\\nalpha\"\"\""},
	{"string-multiline-literal", "a literal string over two lines", "value", `"alpha"`, "'''\nalpha'''"},
	{"string-escape-u", "a letter as a unicode escape", "value", `"alpha"`, `"\u0061lpha"`},
	{"string-escape-U", "a letter as a long unicode escape", "value", `"alpha"`, `"\U00000061lpha"`},
	{"string-escape-nul", "NUL as a unicode escape", "value", `"TLP:AMBER"`, `"TLP:AMBER\u0000"`},
	{"string-escape-t", "a tab as an escape", "value", `"TLP:AMBER"`, `"TLP:\tAMBER"`},
	{"string-escape-x", "an escape that does not exist", "value", `"alpha"`, `"\alpha"`},
	{"string-open", "a string without its end", "value", `"alpha"`, `"alpha`},
	{"string-bare", "a word without quotes", "value", `"alpha"`, `alpha`},
	{"string-empty", "an empty string", "field from", `"alpha"`, `""`},

	{"number-hex", "a number in hexadecimal", "value", "= 2199023", "= 0x218DEF"},
	{"number-octal", "a number in octal", "value", "= 2199023", "= 0o10306757"},
	{"number-binary", "a number in binary", "value", "= 2199023", "= 0b1000011000110111101111"},
	{"number-underscore", "a number with an underscore", "value", "= 2199023", "= 2_199_023"},
	{"number-plus", "a number with a plus", "value", "= 2199023", "= +2199023"},
	{"number-zero", "a number with a zero in front", "value", "= 2199023", "= 02199023"},
	{"number-float", "a floating-point number", "value", "= 2199023", "= 2199023.0"},
	{"number-exponent", "a number with an exponent", "value", "= 2199023", "= 2e6"},
	{"number-nan", "not a number", "value", "= 2199023", "= nan"},
	{"number-minus-zero", "minus zero", "value", "= 2199023", "= -0"},
	{"number-64-bits", "a number beyond 64 bits", "value", "= 2199023", "= 9223372036854775808"},
	{"number-string", "a number in quotes", "wrong-type", "= 2199023", `= "2199023"`},
	{"number-negative", "a negative size", "field ciphertext_size", "= 2199023", "= -1"},
	{"number-large", "a size beyond the bound", "field ciphertext_size", "= 2199023", "= 9223372036854775807"},
	{"boolean", "a boolean", "value", "= 2199023", "= true"},

	{"time-offset", "a time with an offset", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23T13:00:00+01:00"},
	{"time-offset-zero", "a time with an offset of zero", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23T12:00:00+00:00"},
	{"time-fraction", "a time with a fraction", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23T12:00:00.0Z"},
	{"time-comma", "a time with a fraction after a comma", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23T12:00:00,0Z"},
	{"time-small-z", "a time with small letters", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23t12:00:00z"},
	{"time-blank", "a time with a space in its middle", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23 12:00:00Z"},
	{"time-local", "a time without a zone", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23T12:00:00"},
	{"time-date", "a date", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23"},
	{"time-leap", "a leap second", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23T23:59:60Z"},
	{"time-day", "a day that does not exist", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-02-30T12:00:00Z"},
	{"time-short", "an hour of one digit", "value", "created = 2026-11-23T12:00:00Z", "created = 2026-11-23T9:00:00Z"},
	{"time-string", "a time in quotes", "rendering", "created = 2026-11-23T12:00:00Z", `created = "2026-11-23T12:00:00Z"`},
	{"time-year", "a year out of bounds", "field created", "created = 2026-11-23T12:00:00Z", "created = 1999-12-31T23:59:59Z"},

	{"list-spaces", "a list with spaces inside its brackets", "value", `["bravo", "charlie"]`, `[ "bravo", "charlie" ]`},
	{"list-tight", "a list without spaces", "value", `["bravo", "charlie"]`, `["bravo","charlie"]`},
	{"list-comma", "a list with a comma at its end", "value", `["bravo", "charlie"]`, `["bravo", "charlie",]`},
	{"list-lines", "a list over several lines", "value", `["bravo", "charlie"]`, "[\n\"bravo\", \"charlie\"]"},
	{"list-nested", "a list in a list", "value", `["bravo", "charlie"]`, `[["bravo", "charlie"]]`},
	{"list-deep", "60 KiB of opening brackets", "value", `["bravo", "charlie"]`, strings.Repeat("[", 60<<10)},
	{"list-deep-lines", "60 KiB of opening brackets, each on a line of its own", "value", `["bravo", "charlie"]`, strings.Repeat("[\n", 30<<10)},
	{"list-deep-literal", "60 KiB of opening brackets behind a quote in a literal string", "value", `["bravo", "charlie"]`, `['"', ` + strings.Repeat("[", 60<<10)},
	{"list-deep-tables", "30 KiB of nested inline tables", "value", `["bravo", "charlie"]`, strings.Repeat("{a=", 10<<10)},
	{"list-of-numbers", "a list of numbers", "value", `["bravo", "charlie"]`, `[1, 2]`},
	{"list-string", "a string where a list belongs", "wrong-type", `["bravo", "charlie"]`, `"bravo"`},
	{"list-for-string", "a list where a string belongs", "wrong-type", `"alpha"`, `["alpha"]`},
	{"list-unsorted", "recipients that are not sorted", "field to", `["bravo", "charlie"]`, `["charlie", "bravo"]`},
	{"list-twice", "a recipient twice", "field to", `["bravo", "charlie"]`, `["bravo", "bravo"]`},
	{"list-empty", "no recipient", "field to", `["bravo", "charlie"]`, `[]`},
	{"list-unpaired", "more recipients than keys", "field sealed_for", `["bravo", "charlie"]`, `["bravo", "charlie", "delta"]`},

	{"tab", "a tab", "character", `"alpha"`, "\t\"alpha\""},
	{"carriage-return", "lines that end with CR LF", "character", "\"alpha\"\n", "\"alpha\"\r\n"},
	{"nul", "NUL", "character", `"TLP:AMBER"`, "\"TLP:AMBER\x00\""},
	{"delete", "the control character DEL", "character", `"TLP:AMBER"`, "\"TLP:AMBER\x7f\""},
	{"c1", "a control character beyond ASCII", "character", `"TLP:AMBER"`, "\"TLP:AMBER\u0085\""},
	{"escape", "an escape sequence for terminals", "character", `"TLP:AMBER"`, "\"\x1b[31mTLP:AMBER\""},
	{"bidi-override", "a right-to-left override", "character", `"TLP:AMBER"`, "\"TLP:\u202eAMBER\""},
	{"bidi-isolate", "an isolate", "character", `"TLP:AMBER"`, "\"TLP:\u2066AMBER\u2069\""},
	{"bidi-mark", "an Arabic letter mark", "character", `"TLP:AMBER"`, "\"TLP:\u061cAMBER\""},
	{"zero-width-space", "a zero-width space", "character", `"TLP:AMBER"`, "\"TLP:\u200bAMBER\""},
	{"zero-width-joiner", "a zero-width joiner in the terms", "character", `"TLP:AMBER"`, "\"TLP:\u200dAMBER\""},
	{"soft-hyphen", "a soft hyphen", "character", `"TLP:AMBER"`, "\"TLP:\u00adAMBER\""},
	{"filler", "a filler that shows nothing", "character", `"TLP:AMBER"`, "\"TLP:\u3164AMBER\""},
	{"tag-character", "a tag character", "character", `"TLP:AMBER"`, "\"TLP:AMBER\U000e0041\""},
	{"line-separator", "a line separator", "character", `"TLP:AMBER"`, "\"TLP:AMBER\u2028\""},
	{"private-use", "a character for private use", "character", `"TLP:AMBER"`, "\"TLP:AMBER\ue000\""},
	{"replacement", "the replacement character", "character", `"TLP:AMBER"`, "\"TLP:AMBER\ufffd\""},
	{"utf8", "bytes that are not UTF-8", "utf8", `"TLP:AMBER"`, "\"TLP:AMBER\xff\""},
	{"surrogate", "half a surrogate pair in UTF-8", "utf8", `"TLP:AMBER"`, "\"TLP:AMBER\xed\xa0\x80\""},
	{"overlong", "a slash in two bytes", "utf8", `"TLP:AMBER"`, "\"TLP:AMBER\xc0\xaf\""},
	{"dash", "a line of the text that begins like a signature", "dash", "\nfrom = ", "\n— alpha/statement AAAA\nfrom = "},
	{"sections", "a section, which only agreements have", "sections", "", ""},

	{"id-lower", "an identifier in lower case", "field id", "01K7XQ3W0V6N2T9R4M5B8C1D2E", "01k7xq3w0v6n2t9r4m5b8c1d2e"},
	{"id-long", "an identifier of 27 characters", "field id", "01K7XQ3W0V6N2T9R4M5B8C1D2E", "01K7XQ3W0V6N2T9R4M5B8C1D2E0"},
	{"id-overflow", "an identifier beyond 128 bits", "field id", "01K7XQ3W0V6N2T9R4M5B8C1D2E", "81K7XQ3W0V6N2T9R4M5B8C1D2E"},
	{"id-letter", "an identifier with the letter I for 1", "field id", "01K7XQ3W0V6N2T9R4M5B8C1D2E", "0IK7XQ3W0V6N2T9R4M5B8C1D2E"},
	{"from-capital", "a member in capitals", "field from", `"alpha"`, `"Alpha"`},
	{"from-digit", "a member that begins with a digit", "field from", `"alpha"`, `"1alpha"`},
	{"from-hyphen", "a member that ends with a hyphen", "field from", `"alpha"`, `"alpha-"`},
	{"from-dot", "a member with a dot", "field from", `"alpha"`, `"alpha.example"`},
	{"from-cyrillic", "a member with a Cyrillic letter", "field from", `"alpha"`, `"аlpha"`},
	{"from-long", "a member of 33 characters", "field from", `"alpha"`, `"abcdefghijklmnopqrstuvwxyzabcdefg"`},
	{"from-among-to", "the sender among the recipients", "field to", `["bravo", "charlie"]`, `["alpha", "bravo"]`},
	{"agreement-slash", "an agreement's name with a slash", "field agreement", `"harbour-watch"`, `"harbour/watch"`},
	{"purpose-long", "a purpose of 65 characters", "field purpose", `"incident-response"`, `"` + strings.Repeat("p", 65) + `"`},
	{"label-space", "a label with a space", "field label", `"TLP:AMBER"`, `"TLP: AMBER"`},
	{"label-quote", "a label with a quote", "field label", `"TLP:AMBER"`, `"TLP:\"AMBER"`},
	{"label-newline", "a label with a line feed", "field label", `"TLP:AMBER"`, `"TLP:\nAMBER"`},
	{"label-long", "a label of 65 characters", "field label", `"TLP:AMBER"`, `"` + strings.Repeat("L", 65) + `"`},
	{"deliver-by-early", "delivery that ends as it begins", "field deliver_by", "deliver_by = 2026-11-30T12:00:00Z", "deliver_by = 2026-11-23T12:00:00Z"},
	{"retain-until-early", "retention that ends as it begins", "field retain_until", "retain_until = 2027-02-21T12:00:00Z", "retain_until = 2026-11-23T12:00:00Z"},
	{"released-by-other", "a person of another member", "field released_by", "spiffe://alpha/person/alice", "spiffe://bravo/person/alice"},
	{"released-by-node", "a node instead of a person", "field released_by", "spiffe://alpha/person/alice", "spiffe://alpha/node"},
	{"released-by-path", "a person with more path behind", "field released_by", "spiffe://alpha/person/alice", "spiffe://alpha/person/alice/x"},
	{"released-by-capital", "a person in capitals", "field released_by", "spiffe://alpha/person/alice", "spiffe://alpha/person/Alice"},
	{"commitment-bare", "a commitment that does not name its function", "field commitment", "hmac-sha256:", ""},
	{"commitment-other", "a commitment by another function", "field commitment", "hmac-sha256:", "hmac-sha512:"},
}

func badVectors(t *testing.T) []*vector {
	t.Helper()
	var list []*vector
	edit := func(kind statement.Kind, prefix, text string, keys, signers []string, edits ...textEdit) {
		for _, e := range edits {
			raw := signText(t, edited(t, text, e.from, e.to), signers...)
			list = append(list, &vector{name: prefix + "-" + e.name, what: e.what, kind: kind, keys: keys, expect: e.expect, raw: raw})
		}
	}
	alpha := public(t, "alpha/statement")
	text := draft(t, manifest())
	edits := slices.Clone(manifestEdits)
	for i := range edits { // those that depend on what the manifest says
		switch e := &edits[i]; e.name {
		case "key-missing-hash":
			e.from, e.to = "charter_sha256 = \""+hashOf("charter").String()+"\"\n", ""
		case "empty-line-end", "sections":
			last := "commitment = \"" + statement.CommitmentPrefix + hashOf("commitment").String() + "\"\n"
			e.from, e.to = last, last+map[string]string{"empty-line-end": "\n", "sections": "--- prose\nhello\n"}[e.name]
		}
	}
	charterHash := hashOf("charter").String()
	edits = append(edits,
		textEdit{"hash-capital", "a hash in capitals", "hash", charterHash, strings.ToUpper(charterHash)},
		textEdit{"hash-short", "a hash of 63 digits", "hash", charterHash, charterHash[1:]},
		textEdit{"hash-long", "a hash of 65 digits", "hash", charterHash, charterHash + "0"},
		textEdit{"hash-prefix", "a hash with its function's name", "hash", charterHash, "sha256:" + charterHash},
		textEdit{"hash-bytes", "a hash as a list of strings", "wrong-type", `"` + charterHash + `"`, `["` + charterHash + `"]`},
		textEdit{"sealed-for-twice", "one sealing key for two recipients", "field sealed_for", hashOf("charlie/sealing").String(), hashOf("bravo/sealing").String()},
		textEdit{"commitment-capital", "a commitment in capitals", "field commitment", hashOf("commitment").String(), strings.ToUpper(hashOf("commitment").String())},
		textEdit{"too-many", "65 recipients", "field to", `["bravo", "charlie"]`, `["` + strings.Join(crowd(65, 3), `", "`) + `"]`},
	)
	edit(statement.KindManifest, "manifest", text, alpha, []string{"alpha/statement"}, edits...)

	list = append(list, envelopeVectors(t)...)
	list = append(list, amendmentVectors(t)...)
	list = append(list, renewalVectors(t)...)
	list = append(list, watchedVectors(t)...)
	list = append(list, slices.Concat(reconciliationVectors(t), receiptVectors(t), approvalVectors(t), versionVectors(t), schemeVectors(t), noticeVectors(t))...)

	parties := statementKeys("alpha", "bravo", "charlie")
	withBoth := agreement()
	withBoth.Policy = "permit (principal, action, resource);\n"
	edit(statement.KindAgreement, "agreement", draft(t, withBoth), public(t, parties...), parties, []textEdit{
		{"section-unknown", "a section that does not exist", "sections", "--- policy\n", "--- annex\nx\n--- policy\n"},
		{"section-empty-policy", "a policy without a line", "rendering", "permit (principal, action, resource);\n", ""},
		{"section-space", "a space at the end of a section's line", "sections", "--- policy\n", "--- policy \n"},
		{"section-no-terms", "a key that is missing, and stands in the prose", "field label_ceiling", "label_ceiling = \"TLP:AMBER\"\n", ""},
		{"prose-dash", "prose that begins like a signature", "dash", "The parties", "— bravo/statement"},
		{"prose-bidi", "a right-to-left override in prose", "character", "The parties", "The \u202eparties"},
		{"prose-zero-width-space", "a zero-width space in prose", "character", "The parties", "The\u200bparties"},
		{"prose-tab", "a tab in prose", "character", "The parties", "The\tparties"},
		{"prose-carriage-return", "CR LF in prose", "character", "pays for it.\n", "pays for it.\r\n"},
		{"policy-joiner", "a zero-width joiner in the policy", "character", "permit (", "permit\u200d ("},
		{"parties-unsorted", "parties that are not sorted", "field parties", `["alpha", "bravo", "charlie"]`, `["bravo", "alpha", "charlie"]`},
		{"parties-twice", "a party twice", "field parties", `["alpha", "bravo", "charlie"]`, `["alpha", "bravo", "bravo", "charlie"]`},
		{"parties-one", "a party alone", "field parties", `["alpha", "bravo", "charlie"]`, `["alpha"]`},
		{"parties-more", "a party that has not signed", "signers", `["alpha", "bravo", "charlie"]`, `["alpha", "bravo", "charlie", "delta"]`},
		{"parties-fewer", "a signature of one that is no party", "signers", `["alpha", "bravo", "charlie"]`, `["alpha", "bravo"]`},
		{"purposes-unsorted", "purposes that are not sorted", "field purposes", `["exercise", "incident-response"]`, `["incident-response", "exercise"]`},
		{"purposes-twice", "a purpose twice", "field purposes", `["exercise", "incident-response"]`, `["exercise", "exercise"]`},
		{"purposes-none", "no purpose", "field purposes", `["exercise", "incident-response"]`, `[]`},
		{"version-zero", "version 0", "field version", "version = 1", "version = 0"},
		{"retain-zero", "no retention", "field retain_days_max", "= 90", "= 0"},
		{"retain-long", "retention of more than a hundred years", "field retain_days_max", "= 90", "= 36526"},
		{"times-swapped", "an end that is not after the beginning", "field not_after", "not_after = 2027", "not_after = 2026"},
		{"name-empty", "no name", "field name", `"harbour-watch"`, `""`},
		{"section-joined", "the line of the policy with the terms on one line", "value", "not_after = 2027-11-23T12:00:00Z\n", "not_after = 2027-11-23T12:00:00Z --- policy\n"},
	}...)

	own := []string{"own"}
	founders := statementKeys("alpha", "bravo")
	aKey, bKey := testKey(t, "alpha/statement").Public, testKey(t, "bravo/statement").Public
	edit(statement.KindCharter, "charter", draft(t, charter(t, "alpha", "bravo")), own, founders, []textEdit{
		{"version-2", "a founding charter of version 2", "field version", "version = 1", "version = 2"},
		{"quorum", "another quorum", "field quorum", "more-than-half", "one"},
		{"standing", "a founder in another standing", "field standing", `standing = "good"`, `standing = "suspended"`},
		{"adopt-by", "an adoption that ends before it begins", "field adopt_by", "adopt_by = 2027", "adopt_by = 2025"},
		{"member-twice", "a founder twice", "field member", `name = "bravo"`, `name = "alpha"`},
		{"member-order", "founders that are not sorted", "field member", `name = "alpha"`, `name = "zulu"`},
		{"member-inline", "the founders in a list", "value", "\n[[member]]\n", "\nmember = [{}]\n[[member]]\n"},
		{"member-single", "a repeated table written as one", "twice", "[[member]]", "[member]"},
		{"key-name", "a key with another member's name", "field statement_key", aKey, bKey},
		{"key-hash", "a key with a wrong hash", "field statement_key", aKey[:16], "alpha/statement+"},
		{"key-lower", "a key's hash in capitals", "field statement_key", aKey, strings.ToUpper(aKey[16:24])},
		{"key-empty", "no key", "field recovery_key", testKey(t, "alpha/recovery").Public, ""},
	}...)
	for i := range list { // a hash in capitals in its place
		if v := list[i]; v.name == "charter-key-lower" || v.name == "charter-key-hash" {
			replace := aKey[:16] + strings.ToUpper(aKey[16:24]) + aKey[24:]
			if v.name == "charter-key-hash" {
				replace = aKey[:16] + "00000000" + aKey[24:]
			}
			v.raw = signText(t, edited(t, draft(t, charter(t, "alpha", "bravo")), aKey, replace), founders...)
		}
	}
	lonely := edited(t, draft(t, charter(t, "alpha", "bravo")), "\n"+memberTable(t, "bravo"), "")
	list = append(list,
		&vector{name: "charter-one", what: "a founder alone", kind: statement.KindCharter, keys: own, expect: "field member", raw: signText(t, lonely, "alpha/statement")},
		&vector{name: "charter-unsigned-by-one", what: "a founder has not signed", kind: statement.KindCharter, keys: own, expect: "signers",
			raw: signText(t, draft(t, charter(t, "alpha", "bravo")), "alpha/statement")},
		&vector{name: "charter-recovery-signed", what: "a recovery key signs as well", kind: statement.KindCharter, keys: own, expect: "unknown-signer",
			raw: signText(t, draft(t, charter(t, "alpha", "bravo")), append(founders, "alpha/recovery")...)},
		&vector{name: "charter-65", what: "65 founders", kind: statement.KindCharter, keys: own, expect: "line-count",
			raw: signText(t, draft(t, charter(t, "alpha", "bravo")), statementKeys(crowd(65, 3)...)...)})

	return append(list, cardVectors(t)...)
}

func memberTable(t testing.TB, name string) string {
	t.Helper()
	_, tables, _ := strings.Cut(draft(t, charter(t, name, "zulu")), "\n[[member]]\n")
	table, _, _ := strings.Cut(tables, "\n\n")
	return "[[member]]\n" + table + "\n"
}

func receiptVectors(t *testing.T) []*vector {
	t.Helper()
	var list []*vector
	keys, signers := public(t, "bravo/statement"), []string{"bravo/statement"}
	text := draft(t, refusal())
	for _, e := range []textEdit{
		{"kind", "a kind that does not exist", "field kind", `"refused"`, `"lost"`},
		{"kind-capital", "a kind in capitals", "field kind", `"refused"`, `"Refused"`},
		{"reasons-for-stored", "reasons for what is not refused", "field reason", `"refused"`, `"stored"`},
		{"to-self", "a receipt to oneself", "field to", `"alpha"`, `"bravo"`},
		{"log-other", "the log of another member", "field log", `"bravo/log/1"`, `"alpha/log/1"`},
		{"log-zero", "a log without an epoch", "field log", `"bravo/log/1"`, `"bravo/log/0"`},
		{"log-zeros", "a log's epoch with a zero in front", "field log", `"bravo/log/1"`, `"bravo/log/01"`},
		{"log-plus", "a log's epoch with a plus", "field log", `"bravo/log/1"`, `"bravo/log/+1"`},
		{"leaf-negative", "a leaf before the first", "field leaf", "= 17", "= -1"},
		{"set", "a set of rules that does not exist", "field set", `"base"`, `"basis"`},
		{"rule-space", "a rule's id with a space", "field rule", `"agreement-superseded"`, `"agreement superseded"`},
		{"text-empty", "a reason without words", "field text", `"version 1 of agreement harbour-watch was replaced by version 2"`, `""`},
		{"text-newline", "a reason of two lines", "field text", "was replaced", `was\nreplaced`},
		{"text-long", "a reason of 1,025 bytes", "field text", "version 1 of agreement harbour-watch was replaced by version 2", strings.Repeat("x", 1025)},
		{"needs-missing", "a reason without what was needed", "field needs", "needs = \"a document under version 2\"\n", ""},
		{"from-other", "a receipt in another member's name", "signers", `from = "bravo"`, `from = "charlie"`},
	} {
		body := edited(t, text, e.from, e.to)
		if e.name == "from-other" {
			body = edited(t, body, `"bravo/log/1"`, `"charlie/log/1"`)
		}
		list = append(list, &vector{name: "receipt-" + e.name, what: e.what, kind: statement.KindReceipt, keys: keys, expect: e.expect, raw: signText(t, body, signers...)})
	}
	none, reason, _ := strings.Cut(text, "\n[[reason]]")
	many := none + strings.Repeat("\n[[reason]]"+reason, limit.Reasons+1)
	list = append(list, &vector{name: "receipt-refused-too-many", what: "41 reasons", kind: statement.KindReceipt, keys: keys,
		expect: "field reason", raw: signText(t, many, signers...)})
	list = append(list, &vector{name: "receipt-refused-without-reason", what: "a refusal without a reason", kind: statement.KindReceipt, keys: keys,
		expect: "field reason", raw: signText(t, none, signers...)})
	return list
}

func cardVectors(t *testing.T) []*vector {
	t.Helper()
	var list []*vector
	own, signers := []string{"own"}, cardKeys("alpha")
	two := card(t, "alpha")
	two.Sealing = []statement.SealingKey{{Epoch: 2, Recipient: recipient(t, "alpha/sealing/2")}, {Epoch: 1, Recipient: recipient(t, "alpha/sealing")}}
	text := draft(t, two)
	key := func(name string) string { return testKey(t, name).Public }
	for _, e := range []textEdit{
		{"jurisdiction-empty", "an empty jurisdiction that is written out", "rendering", `jurisdiction = "NL"`, `jurisdiction = ""`},
		{"jurisdiction-lower", "a jurisdiction in small letters", "field jurisdiction", `"NL"`, `"nl"`},
		{"jurisdiction-long", "a jurisdiction of three letters", "field jurisdiction", `"NL"`, `"NLD"`},
		{"address-port", "an address without a port", "field address", `"alpha.example:7443"`, `"alpha.example"`},
		{"address-zone", "an address that means something on one machine only", "field address", `"alpha.example:7443"`, `"[fe80::1%eth0]:7443"`},
		{"address-octal", "an IPv4 address with zeros in front", "field address", `"alpha.example:7443"`, `"127.0.0.01:7443"`},
		{"version-zero", "version 0", "field version", "\nversion = 1", "\nversion = 0"},
		{"ca-empty", "no CA", "field ca", "-----BEGIN CERTIFICATE-----", "-----BEGIN"},
		{"ca-unicode", "a CA with letters that are not ASCII", "field ca", `-----END`, `é-----END`},
		{"sealing-order", "an older sealing key first", "field epoch", "epoch = 2", "epoch = 1"},
		{"sealing-classic", "a classic age recipient", "field recipient", "age1pq1", "age1"},
		{"sealing-capital", "a recipient in capitals", "field recipient", "age1pq1", "AGE1PQ1"},
		{"sealing-newline", "a recipient of two lines", "field recipient", "age1pq1", `age1pq1\n`},
		{"member-other", "another member's name over one's own keys", "field log_key", `member = "alpha"`, `member = "bravo"`},
		{"log-name", "a log key that is named otherwise", "field log_key", key("alpha/log/1"), key("alpha/log")},
		{"witness-swapped", "the witness key where the recovery key belongs", "field recovery_key", key("alpha/recovery"), key("alpha/witness")},
		{"algorithm", "a key of another algorithm", "field statement_key", key("alpha/statement"), "alpha/statement+c55ba5d8+Av6Kp8dDnq9SFcHAMd9nYHVrJqXHIaDTsjBqFbxDlxvG"},
		{"mldsa-name", "a post-quantum log key of another name", "field log_mldsa_key", mldsaKey(t, "alpha/log/1"), mldsaKey(t, "alpha/log/2")},
		{"mldsa-hash", "a post-quantum key under another hash", "field log_mldsa_key", mldsaHash(t, "alpha/log/1"), "alpha/log/1+00000000"},
		{"mldsa-spelling", "a post-quantum key with its hash in capitals", "field log_mldsa_key", mldsaHash(t, "alpha/log/1"), strings.ToUpper(mldsaHash(t, "alpha/log/1"))},
		{"mldsa-short", "a post-quantum key that is cut short", "field witness_mldsa_key", mldsaKey(t, "alpha/witness"), mldsaKey(t, "alpha/witness")[:1000]},
		{"mldsa-classic", "an Ed25519 key where a post-quantum one belongs", "field witness_mldsa_key", mldsaKey(t, "alpha/witness"), key("alpha/witness")},
		{"mldsa-instead", "a post-quantum key where an Ed25519 key belongs", "field witness_key", key("alpha/witness"), mldsaKey(t, "alpha/witness")},
		{"foreign-key", "another's key, which did not sign", "bad-signature", "", ""},
		{"foreign-key-unsigned", "another's key, which has no signature line under that name", "signers", "", ""},
	} {
		if strings.HasPrefix(e.name, "foreign-key") {
			// alpha lists bravo's statement key as its witness key.
			stolen := seededKey(t, "alpha/witness", seed("bravo/statement"))
			body := edited(t, text, key("alpha/witness"), stolen.Public)
			var signed []string
			for _, n := range []string{"alpha/log/1", "alpha/recovery", "alpha/statement"} {
				signed = append(signed, signatureLine(t, testKey(t, n), body))
			}
			if e.name == "foreign-key" {
				// The best it can do: a line with the right name and hash, and a signature of bravo's over something else.
				signed = append(signed, signatureLine(t, stolen, "another text\n"))
			}
			list = append(list, &vector{name: "card-" + e.name, what: e.what, kind: statement.KindCard, keys: own, expect: e.expect, raw: body + "\n" + strings.Join(signed, "")})
			continue
		}
		list = append(list, &vector{name: "card-" + e.name, what: e.what, kind: statement.KindCard, keys: own, expect: e.expect,
			raw: signText(t, edited(t, text, e.from, e.to), signers...)})
	}
	for i, missing := range signers {
		rest := slices.Delete(slices.Clone(signers), i, i+1)
		list = append(list, &vector{name: "card-without-" + strings.ReplaceAll(missing, "/", "-"), what: "one of its keys has not signed", kind: statement.KindCard,
			keys: own, expect: "signers", raw: signText(t, text, rest...)})
	}
	list = append(list, &vector{name: "card-ca-long", what: "a CA of more than 16 KiB", kind: statement.KindCard, keys: own, expect: "field ca",
		raw: signText(t, edited(t, text, `-----END`, strings.Repeat(`A`, limit.CA)+`-----END`), signers...)})
	return list
}

// envelopeVectors have a good text, and something wrong with the note around it.
func envelopeVectors(t *testing.T) []*vector {
	t.Helper()
	text := draft(t, manifest())
	alpha, bravo := testKey(t, "alpha/statement"), testKey(t, "bravo/statement")
	line := signatureLine(t, alpha, text)
	sig := strings.TrimSuffix(strings.TrimPrefix(line, "— alpha/statement "), "\n")
	bytesOf, err := base64.StdEncoding.DecodeString(sig)
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(bytesOf)
	flipped[40] ^= 1
	both := public(t, "alpha/statement", "bravo/statement")
	asBravo := "— bravo/statement " + sig + "\n" // alpha's signature under bravo's name
	twoNames := seededKey(t, "bravo/statement", seed("alpha/statement"))

	var list []*vector
	add := func(name, what, expect string, keys []string, raw string) {
		list = append(list, &vector{name: "note-" + name, what: what, kind: statement.KindManifest, keys: keys, expect: expect, raw: raw})
	}
	one := both[:1]
	add("unsigned", "a draft", "unsigned", one, text+"\n")
	add("unsigned-text", "a text alone", "unsigned", one, text)
	add("no-empty-line", "no empty line before the signature", "unsigned", one, text+line)
	add("no-final-newline", "the last line feed is missing", "cut-off", one, text+"\n"+strings.TrimSuffix(line, "\n"))
	add("two-empty-lines", "two empty lines before the signature", "bad-signature", one, text+"\n\n"+line)
	add("empty-line-after", "an empty line after the signature", "unsigned", one, text+"\n"+line+"\n")
	add("text-after", "text after the signature", "line-form", one, text+"\n"+line+"more\n")
	add("carriage-return", "a signature line that ends with CR LF", "line-base64", one, text+"\n"+strings.TrimSuffix(line, "\n")+"\r\n")
	add("trailing-space", "a space at the end of the signature line", "line-base64", one, text+"\n"+strings.TrimSuffix(line, "\n")+" \n")
	add("two-spaces", "two spaces before the signature", "line-base64", one, text+"\n— alpha/statement  "+sig+"\n")
	add("hyphen", "a hyphen instead of the dash", "unsigned", one, text+"\n- alpha/statement "+sig+"\n")
	add("no-base64", "a signature line without a signature", "line-form", one, text+"\n— alpha/statement\n")
	add("base64-bits", "stray bits in the last digit", "line-base64", one, text+"\n"+strayBits(t, line))
	add("base64-url", "base64 for addresses", "line-base64", one, text+"\n— alpha/statement "+base64.URLEncoding.EncodeToString(append(bytesOf[:4:4], slices.Repeat([]byte{0xfb, 0xef, 0xff, 0xbe}, 16)...))+"\n")
	add("base64-unpadded", "base64 without padding", "line-base64", one, text+"\n— alpha/statement "+strings.TrimRight(sig, "=")+"\n")
	add("signature-short", "a signature of 63 bytes", "line-length", one, text+"\n— alpha/statement "+base64.StdEncoding.EncodeToString(bytesOf[:67])+"\n")
	add("signature-long", "a signature of 65 bytes", "line-length", one, text+"\n— alpha/statement "+base64.StdEncoding.EncodeToString(append(bytesOf[:68:68], 0))+"\n")
	add("signature-changed", "a signature changed in one bit", "bad-signature", one, text+"\n— alpha/statement "+base64.StdEncoding.EncodeToString(flipped)+"\n")
	add("text-changed", "a text changed in one digit", "bad-signature", one, edited(t, text, "2199023", "2199024")+"\n"+line)
	add("name-capital", "a key's name in capitals", "line-name", one, text+"\n— Alpha/statement "+sig+"\n")
	add("name-plain", "a key's name without a purpose", "line-name", one, text+"\n— alpha "+sig+"\n")
	add("name-escape", "a key's name that moves the cursor", "line-name", one, text+"\n— alpha/\u009b2Kstatement "+sig+"\n")
	add("name-bidi", "a key's name that reads otherwise", "line-name", one, text+"\n— alpha/\u202estatement "+sig+"\n")
	add("line-twice", "the signature line twice", "line-order", one, text+"\n"+line+line)
	add("lines-unsorted", "signature lines that are not sorted", "line-order", both, text+"\n"+signatureLine(t, bravo, text)+line)
	add("line-extra", "a good signature that nobody asked for", "signers", both, text+"\n"+line+signatureLine(t, bravo, text))
	add("line-extra-unknown", "another signature, by a key that the verifier does not know", "unknown-signer", one, text+"\n"+line+signatureLine(t, bravo, text))
	add("signer-unknown", "signed by a key that the verifier does not know", "unknown-signer", both[1:], text+"\n"+line)
	add("signer-other", "signed by another member than from", "signers", both, text+"\n"+signatureLine(t, bravo, text))
	add("signer-purpose", "signed by another key of the sender", "signers", public(t, "alpha/witness"), text+"\n"+signatureLine(t, testKey(t, "alpha/witness"), text))
	add("signer-relabelled", "alpha's signature under bravo's name", "unknown-signer", both, text+"\n"+line+asBravo)
	add("signer-relabelled-hash", "alpha's key under bravo's name, which signs for both", "unknown-signer", both, text+"\n"+line+signatureLine(t, twoNames, text))
	add("signer-same-name", "another key of the same name", "unknown-signer", one, text+"\n"+signatureLine(t, seededKey(t, "alpha/statement", seed("mallory")), text))
	add("lines-many", "65 signature lines", "line-count", one, signText(t, text, statementKeys(crowd(65, 3)...)...))
	add("too-large", "a manifest of more than 64 KiB", "size", one, text+strings.Repeat("x", 64<<10)+"\n\n"+line)
	add("line-break", "the signature broken into two lines", "line-base64", one, text+"\n— alpha/statement "+sig[:41]+"\n"+sig[41:]+"\n")
	add("empty", "nothing", "cut-off", one, "")
	return list
}

// strayBits changes a signature line in the bits that base64 does not use.
func strayBits(t testing.TB, line string) string {
	t.Helper()
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := strings.LastIndexFunc(line, func(r rune) bool { return r != '=' && r != '\n' })
	if !strings.HasSuffix(line, "=\n") {
		t.Fatal("the signature has no padding")
	}
	i := strings.IndexByte(digits, line[at])
	return line[:at] + digits[i^1:i^1+1] + line[at+1:]
}
