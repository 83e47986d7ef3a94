package statement_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/statement"
)

// However the copies of one text come together, the result has the same bytes, and opens.
func TestMerge(t *testing.T) {
	t.Parallel()
	names := statementKeys("alpha", "bravo", "charlie")
	unsigned, err := statement.Draft(agreement())
	if err != nil {
		t.Fatal(err)
	}
	want := signed(t, agreement(), names...)
	copies := [][]byte{unsigned}
	for _, k := range testKeys(t, names...) {
		c, err := statement.AddSignature(unsigned, k)
		if err != nil {
			t.Fatal(err)
		}
		copies = append(copies, c)
	}
	for _, order := range permutations(len(copies)) {
		var shuffled [][]byte
		for _, i := range order {
			shuffled = append(shuffled, copies[i])
		}
		got, err := statement.Merge(shuffled...)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("order %v: %v\n%s", order, err, got)
		}
		if again, err := statement.Merge(got, shuffled[0], got); err != nil || !bytes.Equal(again, want) {
			t.Fatalf("order %v, again: %v\n%s", order, err, again)
		}
	}
	// One signs what others have signed: any order, the same bytes, and a second signature changes nothing.
	for _, order := range permutations(3) {
		raw := unsigned
		for _, i := range append(order, order[0]) {
			if raw, err = statement.AddSignature(raw, testKey(t, names[i])); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(raw, want) {
			t.Fatalf("order %v:\n%s", order, raw)
		}
	}
	if got, err := statement.Merge(unsigned[:len(unsigned)-1]); err != nil || !bytes.Equal(got, unsigned) {
		t.Errorf("one copy without its empty line: %v\n%s", err, got)
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	return all
}

func TestMergeRefuses(t *testing.T) {
	t.Parallel()
	one, other := agreement(), agreement()
	other.RetainDays++
	text, another := draft(t, one), draft(t, other)
	alice := signText(t, text, "alpha/statement")
	forged := text + "\n" + signatureLine(t, seededKey(t, "alpha/statement", seed("mallory")), text)
	for _, c := range []struct {
		name   string
		copies []string
		want   string
	}{
		{"nothing", nil, "no copy given"},
		{"another text", []string{alice, signText(t, another, "bravo/statement")}, "copy 2 is another text"},
		{"another text, the same signature line", []string{alice, strings.Replace(alice, "= 90", "= 91", 1)}, "copy 2 is another text"},
		{"two signatures of one name", []string{alice, signText(t, text, "bravo/statement"), forged}, `copy 3 has another signature of "alpha/statement"`},
		{"a cut copy", []string{alice, alice[:len(alice)-1]}, "copy 2: its last line is cut off"},
		{"a broken first copy", []string{alice + "x\n", alice}, "copy 1: signature line 2"},
	} {
		var raws [][]byte
		for _, s := range c.copies {
			raws = append(raws, []byte(s))
		}
		if got, err := statement.Merge(raws...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s\n%s", c.name, err, c.want, got)
		}
	}
}

func TestAddSignature(t *testing.T) {
	t.Parallel()
	key := testKey(t, "alpha/statement")
	text := draft(t, agreement())
	right, err := statement.AddSignature([]byte(text+"\n"), key)
	if err != nil {
		t.Fatal(err)
	}
	// A forged line under our own name gives way to our signature.
	forged := text + "\n" + signatureLine(t, seededKey(t, "alpha/statement", seed("mallory")), text)
	if got, err := statement.AddSignature([]byte(forged), key); err != nil || !bytes.Equal(got, right) {
		t.Errorf("forged line: %v\n%s", err, got)
	}
	for name, raw := range map[string]string{
		"nothing":            "",
		"no final line feed": "text",
		"a tab":              "a\tb\n",
		"a carriage return":  "a\r\n",
		"not UTF-8":          "a\xff\n",
		"a text line that looks like a signature": "— alpha/statement x\n",
		"a broken signature line":                 text + "\n— alpha/statement x\n",
	} {
		if got, err := statement.AddSignature([]byte(raw), key); err == nil {
			t.Errorf("%s: signed\n%s", name, got)
		}
	}
}

func TestDraft(t *testing.T) {
	t.Parallel()
	a := agreement()
	d, err := statement.ParseDraft[statement.Agreement]([]byte(signText(t, draft(t, a), "charlie/statement", "alpha/statement")))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(d.Signed, d.Missing); got != "[alpha/statement charlie/statement] [bravo/statement]" {
		t.Errorf("signed and missing: %s", got)
	}
	d, err = statement.ParseDraft[statement.Agreement]([]byte(draft(t, a)))
	if err != nil || len(d.Signed) != 0 || len(d.Missing) != 3 {
		t.Errorf("a draft that nobody has signed: %+v, %v", d, err)
	}
	if _, err := statement.Sign(a, testKeys(t, "alpha/statement", "bravo/statement")...); err == nil || !strings.Contains(err.Error(), "must be signed by") {
		t.Errorf("a party has not signed: %v", err)
	}
	if _, err := statement.Sign(a, testKeys(t, append(statementKeys(a.Parties...), "alpha/witness")...)...); err == nil || !strings.Contains(err.Error(), "must be signed by") {
		t.Errorf("somebody else has signed: %v", err)
	}
}

// What a text could not carry is refused before anybody signs it.
func TestDraftRefuses(t *testing.T) {
	t.Parallel()
	edit := func(f func(*statement.Agreement)) error {
		a := agreement()
		f(&a)
		_, err := statement.Draft(a)
		return err
	}
	for name, err := range map[string]error{
		"a policy that swallows the prose's line": edit(func(a *statement.Agreement) { a.Policy = "permit;\n--- prose\nnot really\n" }),
		"a policy that begins with it":            edit(func(a *statement.Agreement) { a.Policy = "--- prose\nx\n" }),
		"a policy without a line feed":            edit(func(a *statement.Agreement) { a.Policy = "permit;" }),
		"prose without a line feed":               edit(func(a *statement.Agreement) { a.Prose = "words" }),
		"prose that looks like a signature":       edit(func(a *statement.Agreement) { a.Prose = "— alpha/statement x\n" }),
		"prose with a tab":                        edit(func(a *statement.Agreement) { a.Prose = "a\tb\n" }),
		"too long":                                edit(func(a *statement.Agreement) { a.Prose = strings.Repeat("x\n", 1<<18) }),
		"year 3000 in UTC": edit(func(a *statement.Agreement) {
			a.NotAfter = time.Date(2999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600))
		}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Fractions of a second and zones are cut off on the way in, and what comes back says what the text says.
	m := manifest()
	m.Created = noon.Add(999 * time.Millisecond).In(time.FixedZone("", 3600))
	s, err := statement.Sign(m, testKey(t, "alpha/statement"))
	if err != nil || !s.Terms.Created.Equal(noon) || s.Terms.Created.Location() != time.UTC {
		t.Errorf("created %v, %v", s, err)
	}
}

func TestLineErrors(t *testing.T) {
	t.Parallel()
	two := charter(t, "alpha", "bravo")
	text := draft(t, two)
	// The second member's key is named in its own line, not in the first member's.
	bad := strings.Replace(text, two.Members[1].Recovery, "x", 1)
	before, _, _ := strings.Cut(bad, `"x"`)
	want := 1 + strings.Count(before, "\n")
	_, err := statement.ParseDraft[statement.Charter]([]byte(bad + "\n"))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("line %d: recovery_key", want)) {
		t.Errorf("%v, want line %d", err, want)
	}
	// One text, one error, each time.
	r := refusal()
	r.Reasons[0] = statement.Reason{}
	first := fmt.Sprint(draftError(r))
	for range 50 {
		if again := fmt.Sprint(draftError(r)); again != first {
			t.Fatalf("%s, then %s", first, again)
		}
	}
}

func draftError(r statement.Receipt) error {
	_, err := statement.Draft(r)
	return err
}

// Half of all seeds have a plus in base64, which also separates the parts of a key.
func TestKeys(t *testing.T) {
	t.Parallel()
	for range 100 {
		k, err := statement.GenerateKey(rand.Reader, "alpha/statement")
		if err != nil {
			t.Fatal(err)
		}
		secret := k.Reveal()
		again, err := statement.ParseKey(secret + "\n")
		if err != nil || again.Public != k.Public {
			t.Fatalf("%v, %v", again, err)
		}
		inJSON, err := json.Marshal(struct{ K *statement.Key }{k})
		if err != nil {
			t.Fatal(err)
		}
		shown := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %+v", k, k, k, k, k, k, k, *k, struct{ K *statement.Key }{k}) + string(inJSON)
		if seed := secret[strings.LastIndex(secret, "alpha/statement")+25:]; strings.Contains(shown, seed) || strings.Contains(shown, "PRIVATE") {
			t.Fatal("a printed key shows its secret half")
		}
		if _, err := statement.ParseKey("x" + secret); err == nil || strings.Contains(err.Error(), secret[30:]) {
			t.Fatalf("%v", err)
		}
	}
}
