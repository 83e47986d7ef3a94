package statement_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// countingSalt gives salts 1, 2, 3 …, so that leaves come out the same each time.
func countingSalt() func() [32]byte {
	n := byte(0)
	return func() [32]byte { n++; return [32]byte{31: n} }
}

func released() statement.Event {
	return statement.Event{
		Kind: statement.EventReleased, Time: noon, ID: manifest().ID, Manifest: hashOf("manifest"), Peers: []string{"bravo", "charlie"},
		Stage: "release", Rules: []string{"base/release"},
		Private: []statement.Private{{Field: "person", Value: []byte("spiffe://alpha/person/alice")}, {Field: "decision", Value: []byte("{}")}},
	}
}

// nasty is what somebody would put into a field to forge a second entry, or to paint on a terminal.
var nasty = []string{
	"a\nb", "a\r\nb", "\x1b[2J\x1b[31mred", "\"},{\"v\":1", `{"v":1,"kind":"opened"}`, "a\x00b", "\u2028", "\u202e", "\xff\xfe", strings.Repeat("x", limit.Private),
	"</script>", "\\u000a", "line\n— alpha/log/1 AAAA\n",
}

// One event in, one leaf out: nothing of a private field is in it but the commitment.
func TestLeafOfNastyPrivateFields(t *testing.T) {
	t.Parallel()
	var quiet []byte
	for _, value := range append(slices.Clone(nasty), "") {
		e := released()
		e.Private[0].Value = []byte(value)
		leaf, opened, err := e.Leaf(countingSalt())
		if err != nil {
			t.Fatalf("%.40q: %v", value, err)
		}
		if bytes.ContainsFunc(leaf, func(r rune) bool { return r < ' ' || r > '~' }) || bytes.Count(leaf, []byte("{")) != 2 {
			t.Errorf("%.40q: the leaf is not one plain object: %q", value, leaf)
		}
		if value != "" && bytes.Contains(leaf, []byte(value)) || bytes.Contains(leaf, []byte("alice")) {
			t.Errorf("%.40q stands in the leaf: %q", value, leaf)
		}
		if quiet == nil {
			quiet = leaf
		}
		if len(leaf) != len(quiet) {
			t.Errorf("%.40q: the leaf's length depends on a private field", value)
		}
		l, err := statement.ParseLeaf(leaf)
		if err != nil {
			t.Fatal(err)
		}
		if len(opened) != 2 || len(l.Private) != 2 {
			t.Fatalf("%d fields opened, %d committed", len(opened), len(l.Private))
		}
		for _, c := range opened {
			if l.Private[c.Field] != c.Commitment() {
				t.Errorf("%s does not open", c.Field)
			}
			for name, other := range map[string]statement.Committed{
				"value": {Field: c.Field, Salt: c.Salt, Value: append([]byte("x"), c.Value...)},
				"salt":  {Field: c.Field, Salt: [32]byte{1}, Value: c.Value},
				"field": {Field: "persom", Salt: c.Salt, Value: c.Value},
				"shift": {Field: c.Field + "\x00x", Salt: c.Salt, Value: c.Value},
			} {
				if other.Commitment() == l.Private[c.Field] {
					t.Errorf("%s opens with another %s", c.Field, name)
				}
			}
		}
	}
}

// Public fields refuse what private ones hide.
func TestLeafRefusesNastyPublicFields(t *testing.T) {
	t.Parallel()
	for _, value := range append(slices.Clone(nasty), "A", "a b", "", "é", `"`, "<", strings.Repeat("a", limit.Rule+1)) {
		for field, edit := range map[string]func(*statement.Event){
			"id":      func(e *statement.Event) { e.ID = value },
			"peer":    func(e *statement.Event) { e.Peers = []string{"bravo", value} },
			"stage":   func(e *statement.Event) { e.Stage = value },
			"rule":    func(e *statement.Event) { e.Rules = []string{value} },
			"private": func(e *statement.Event) { e.Private[1].Field = value },
			"kind":    func(e *statement.Event) { e.Kind = statement.EventKind(value) },
		} {
			if value == "" && (field == "id" || field == "stage") {
				continue // left out
			}
			e := released()
			edit(&e)
			if leaf, _, err := e.Leaf(countingSalt()); err == nil {
				t.Errorf("%s %.40q: %s", field, value, leaf)
			}
		}
	}
}

func TestLeafBounds(t *testing.T) {
	t.Parallel()
	e := released()
	e.Peers = crowd(64, 32)
	e.Receipt, e.Statement = hashOf("receipt"), hashOf("statement")
	e.Private = append(e.Private, statement.Private{Field: "house", Value: bytes.Repeat([]byte("x"), limit.Private)})
	for i := range 20 {
		e.Rules = append(e.Rules, fmt.Sprintf("base/recipients-standing-%d", i))
	}
	leaf, _, err := e.Leaf(countingSalt())
	if err != nil {
		t.Fatalf("a release to 64 recipients does not fit: %v", err)
	}
	t.Logf("a release to 64 recipients takes %d bytes", len(leaf))
	for i := range 30 {
		e.Rules = append(e.Rules, fmt.Sprintf("agreement/%d-%s", i, strings.Repeat("x", 40)))
	}
	// Whatever a peer's refusal says, it can be recorded.
	returned := statement.Event{Kind: statement.EventUndecryptable, Time: noon, ID: manifest().ID, Manifest: hashOf("manifest"), Receipt: hashOf("receipt"),
		Peers: crowd(1, 32), Stage: "accept", Private: e.Private[:2]}
	for range limit.Reasons {
		returned.Rules = append(returned.Rules, "agreement/"+strings.Repeat("x", limit.Word))
	}
	if leaf, _, err = returned.Leaf(countingSalt()); err != nil {
		t.Errorf("the largest refusal does not fit into a leaf: %v", err)
	}
	t.Logf("the largest refusal takes %d bytes", len(leaf))
	if _, _, err := e.Leaf(countingSalt()); err == nil || !strings.Contains(err.Error(), "at most 4096") {
		t.Errorf("a leaf of more than 4 KiB: %v", err)
	}
	e = released()
	e.Private[0].Value = make([]byte, limit.Private+1)
	if _, _, err := e.Leaf(countingSalt()); err == nil {
		t.Error("a private field of more than 64 KiB was taken")
	}
	e = released()
	e.Private[1].Field = e.Private[0].Field
	if _, _, err := e.Leaf(countingSalt()); err == nil {
		t.Error("one private field twice was taken")
	}
	e = released()
	e.Time = noon.Add(999 * time.Millisecond).In(time.FixedZone("", 3600))
	leaf, _, err = e.Leaf(countingSalt())
	if l, _ := statement.ParseLeaf(leaf); err != nil || !l.Time.Equal(noon) {
		t.Errorf("time %v, %v", l.Time, err)
	}
}

func TestParseLeafStrict(t *testing.T) {
	t.Parallel()
	good, _, err := released().Leaf(countingSalt())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := statement.ParseLeaf(good); err != nil {
		t.Fatal(err)
	}
	s := string(good)
	bad := map[string]string{
		"nothing": "", "null": "null", "a list": "[]", "no keys": "{}", "a second object": s + s, "a line feed": s + "\n", "a space": " " + s,
		"depth": strings.Repeat("[", 4096),
		"size":  s + strings.Repeat(" ", limit.Leaf),
	}
	for name, edit := range map[string][2]string{
		"key case": {`"kind"`, `"Kind"`}, "key twice": {`"kind":"released"`, `"kind":"denied","kind":"released"`},
		"key twice, other case": {`"kind":"released"`, `"KIND":"denied","kind":"released"`}, "unknown key": {`"v":1`, `"v":1,"w":1`},
		"version": {`"v":1`, `"v":2`}, "version as float": {`"v":1`, `"v":1.0`}, "space": {`"v":1,`, `"v":1, `}, "order": {`"v":1,"kind":"released"`, `"kind":"released","v":1`},
		"escape": {`"released"`, `"rel\u0065ased"`}, "slash": {`"base/release"`, `"base\/release"`}, "kind": {`"released"`, `"leaked"`},
		"fraction": {`12:00:00Z`, `12:00:00.0Z`}, "offset": {`12:00:00Z`, `12:00:00+00:00`}, "other offset": {`12:00:00Z`, `13:00:00+01:00`}, "small z": {`12:00:00Z`, `12:00:00z`},
		"null list": {`"peers":["bravo","charlie"]`, `"peers":null`}, "empty list": {`"peers":["bravo","charlie"]`, `"peers":[]`}, "empty stage": {`"stage":"release"`, `"stage":""`},
		"hash in capitals": {hashOf("manifest").String(), strings.ToUpper(hashOf("manifest").String())}, "zero hash": {hashOf("manifest").String(), strings.Repeat("0", 64)},
		"null hash": {`"` + hashOf("manifest").String() + `"`, "null"}, "bare commitment": {statement.CommitmentPrefix, ""}, "private order": {`"decision"`, `"zecision"`},
		"year": {`2026-`, `1999-`},
	} {
		if !strings.Contains(s, edit[0]) {
			t.Fatalf("the leaf has no %s: %s", edit[0], s)
		}
		bad[name] = strings.Replace(s, edit[0], edit[1], 1)
	}
	for name, b := range bad {
		if l, err := statement.ParseLeaf([]byte(b)); err == nil {
			t.Errorf("%s: accepted %s as %+v", name, b, l)
		}
	}
	for i := range good {
		other := bytes.Clone(good)
		other[i] ^= 0x20 // the other case
		if l, err := statement.ParseLeaf(other); err == nil {
			if again, _ := json.Marshal(l); !bytes.Equal(again, other) {
				t.Errorf("%s is not its own rendering", other)
			}
		}
	}
}
