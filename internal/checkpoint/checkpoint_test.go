package checkpoint

import (
	"bytes"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/statement"
)

var then = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// signer is both keys of a log or a witness.
type signer struct {
	ed *statement.Key
	pq *Key
}

func newSigner(t testing.TB, name string) signer {
	return signer{must[*statement.Key](t)(statement.GenerateKey(rand.Reader, name)), must[*Key](t)(GenerateKey(name))}
}

func (s signer) log() Log         { return Log{s.ed.Public, s.pq.Public} }
func (s signer) witness() Witness { return Witness{s.ed.Public, s.pq.Public} }

func (s signer) sign(t testing.TB, tree tlog.Tree, at time.Time) []byte {
	return must[[]byte](t)(Sign(tree, at, s.ed, s.pq))
}

func (s signer) cosign(t testing.TB, raw []byte, at time.Time) []byte {
	origin, tree, err := Head(raw)
	if err != nil {
		t.Fatal(err)
	}
	return must[[]byte](t)(Cosign(Text(origin, tree), origin, tree, at, s.ed, s.pq))
}

func TestOpenStrict(t *testing.T) {
	t.Parallel()
	log, bravo, charlie := newSigner(t, "alpha/log/1"), newSigner(t, "bravo/witness"), newSigner(t, "charlie/witness")
	tree := tlog.Tree{N: 7, Hash: tlog.RecordHash(nil)}
	bare := log.sign(t, tree, then)
	b, c := bravo.cosign(t, bare, then.Add(time.Second)), charlie.cosign(t, bare, then.Add(2*time.Second))
	raw := must[[]byte](t)(Join(bare, c, b))
	got := must[*Checkpoint](t)(Open(raw, log.log(), charlie.witness(), bravo.witness()))
	if got.Tree != tree || !got.Time.Equal(then) || len(got.Cosigned) != 2 || got.Cosigned[0] != (Cosignature{"bravo/witness", then.Add(time.Second), true, bravo.witness()}) {
		t.Errorf("opened as %+v", got)
	}
	// A witness may have had several keys under its name: the lines say which.
	renewed := newSigner(t, "bravo/witness")
	for _, keys := range [][]Witness{{renewed.witness(), bravo.witness(), charlie.witness()}, {bravo.witness(), renewed.witness(), charlie.witness()}} {
		if got := must[*Checkpoint](t)(Open(raw, log.log(), keys...)); got.Cosigned[0].Keys != bravo.witness() {
			t.Error("another key of the same name is given for that which signed")
		}
	}
	if again := must[[]byte](t)(Bare(raw)); !bytes.Equal(again, bare) {
		t.Errorf("bare:\n%s", again)
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	for at := 0; at < len(raw); at += step {
		changed := bytes.Clone(raw)
		changed[at] ^= 1 << (at % 8)
		if _, err := Open(changed, log.log(), bravo.witness(), charlie.witness()); err == nil {
			t.Errorf("byte %d: a change was not found", at)
		}
	}
	l := slices.Collect(bytes.Lines(raw)) // 0-2 text, 3 empty, 4-5 log, 6-7 bravo, 8-9 charlie
	lines := func(which ...int) (b []byte) {
		for _, i := range which {
			b = append(b, l[i]...)
		}
		return b
	}
	other := newSigner(t, "alpha/log/1")
	text := func(s string) []byte { return must[[]byte](t)(note.Sign(&note.Note{Text: s}, log.ed)) }
	for name, bad := range map[string][]byte{
		"empty":                    nil,
		"no signature":             lines(0, 1, 2, 3),
		"no empty line":            lines(0, 1, 2, 4, 5),
		"Ed25519 only":             lines(0, 1, 2, 3, 4),
		"ML-DSA-44 only":           lines(0, 1, 2, 3, 5),
		"log's lines swapped":      lines(0, 1, 2, 3, 5, 4),
		"log's line twice":         lines(0, 1, 2, 3, 4, 5, 5),
		"witness Ed25519 only":     lines(0, 1, 2, 3, 4, 5, 6),
		"witness ML-DSA-44 only":   lines(0, 1, 2, 3, 4, 5, 7),
		"witness's lines swapped":  lines(0, 1, 2, 3, 4, 5, 7, 6),
		"witness twice":            lines(0, 1, 2, 3, 4, 5, 6, 7, 6, 7),
		"witnesses swapped":        lines(0, 1, 2, 3, 4, 5, 8, 9, 6, 7),
		"witness first":            lines(0, 1, 2, 3, 6, 7, 4, 5),
		"two witnesses' lines":     lines(0, 1, 2, 3, 4, 5, 6, 9),
		"two times":                append(lines(0, 1, 2, 3, 4, 5, 6), bytes.SplitAfter(bravo.cosign(t, bare, then), []byte("\n"))[1]...),
		"unknown witness":          must[[]byte](t)(Join(bare, newSigner(t, "delta/witness").cosign(t, bare, then))),
		"witness with another key": must[[]byte](t)(Join(bare, newSigner(t, "bravo/witness").cosign(t, bare, then))),
		"another key":              other.sign(t, tree, then),
		"another's ML-DSA-44 line": append(lines(0, 1, 2, 3, 4), bytes.SplitAfter(other.sign(t, tree, then), []byte("\n"))[5]...),
		"another origin":           text("bravo/log/1\n7\n" + tree.Hash.String() + "\n"),
		"extension line":           text("alpha/log/1\n7\n" + tree.Hash.String() + "\nmore\n"),
		"size with a zero":         text("alpha/log/1\n07\n" + tree.Hash.String() + "\n"),
		"negative size":            text("alpha/log/1\n-7\n" + tree.Hash.String() + "\n"),
		"huge":                     append(bytes.Clone(raw), bytes.Repeat(lines(6, 7), 100)...),
	} {
		if got, err := Open(bad, log.log(), bravo.witness(), charlie.witness()); err == nil {
			t.Errorf("%s: opened as %+v", name, got)
		}
	}
	for _, k := range []Log{{}, {log.ed.Public, ""}, {"", log.pq.Public}, {strings.ToUpper(log.ed.Public), log.pq.Public}, {log.ed.Public + "\n", log.pq.Public},
		{log.ed.Public, bravo.pq.Public}, {bravo.ed.Public, bravo.pq.Public}, {strings.Replace(log.ed.Public, "alpha", "bravo", 1), log.pq.Public}} {
		if _, err := Open(bare, k); err == nil {
			t.Errorf("opened with the keys %+v", k)
		}
	}
}

// TestLibraryReadsOurLines has x/mod's note verify the Ed25519 line beside lines that it does not know.
func TestLibraryReadsOurLines(t *testing.T) {
	t.Parallel()
	log, bravo := newSigner(t, "alpha/log/1"), newSigner(t, "bravo/witness")
	raw := log.sign(t, tlog.Tree{N: 3}, then)
	raw = must[[]byte](t)(Join(raw, bravo.cosign(t, raw, then)))
	v := must[note.Verifier](t)(note.NewVerifier(log.ed.Public))
	n := must[*note.Note](t)(note.Open(raw, note.VerifierList(v)))
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 3 {
		t.Errorf("%d good and %d unknown lines", len(n.Sigs), len(n.UnverifiedSigs))
	}
	if f := must[*Foreign](t)(OpenForeign(raw, log.ed.Public)); f.Origin != "alpha/log/1" || f.Tree.N != 3 {
		t.Errorf("foreign %+v", f)
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	log, bravo := newSigner(t, "alpha/log/1"), newSigner(t, "bravo/witness")
	bare := log.sign(t, tlog.Tree{N: 3}, then)
	lines := bravo.cosign(t, bare, then)
	noise := newSigner(t, "noise/witness").cosign(t, bare, then)
	co, own, err := Answer(bare, append(bytes.Clone(noise), lines...), bravo.witness())
	if err != nil || !bytes.Equal(own, lines) || !co.PQ || !co.Time.Equal(then) {
		t.Errorf("%+v, %v", co, err)
	}
	if co, own, err = Answer(bare, lines, Witness{Ed25519: bravo.ed.Public}); err != nil || co.PQ || bytes.Count(own, []byte("\n")) != 1 {
		t.Errorf("a witness without ML-DSA-44: %+v, %v", co, err)
	}
	another := bravo.cosign(t, log.sign(t, tlog.Tree{N: 4}, then), then)
	for name, bad := range map[string][]byte{"nothing": nil, "garbage": []byte("hello\n"), "noise": noise, "half": bytes.SplitAfter(lines, []byte("\n"))[0], "about another tree": another} {
		if co, _, err := Answer(bare, bad, bravo.witness()); err == nil {
			t.Errorf("%s: %+v", name, co)
		}
	}
}

// grown gives the tree of leaves that begin with a prefix, and proofs in it.
type grown struct{ hashes []tlog.Hash }

func (g *grown) add(leaf string) {
	n := int64(0)
	for ; tlog.StoredHashCount(n) < int64(len(g.hashes)); n++ {
	}
	h, err := tlog.StoredHashes(n, []byte(leaf), g)
	if err != nil {
		panic(err)
	}
	g.hashes = append(g.hashes, h...)
}

func (g *grown) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		list[i] = g.hashes[at]
	}
	return list, nil
}

func (g *grown) tree(t testing.TB, n int64) tlog.Tree {
	return tlog.Tree{N: n, Hash: must[tlog.Hash](t)(tlog.TreeHash(n, g))}
}

func TestProof(t *testing.T) {
	t.Parallel()
	log, bravo := newSigner(t, "alpha/log/1"), newSigner(t, "bravo/witness")
	g := &grown{}
	for _, leaf := range strings.Split("abcdefghijk", "") {
		g.add(leaf)
	}
	raw := log.sign(t, g.tree(t, 11), then)
	raw = must[[]byte](t)(Join(raw, bravo.cosign(t, raw, then)))
	for i, leaf := range strings.Split("abcdefghijk", "") {
		p := Proof{int64(i), must[tlog.RecordProof](t)(tlog.ProveRecord(11, int64(i), g)), raw}
		again := must[Proof](t)(ParseProof(p.Format()))
		if c := must[*Checkpoint](t)(again.Check([]byte(leaf), log.log(), bravo.witness())); c.Tree.N != 11 {
			t.Errorf("checkpoint %+v", c)
		}
		if _, err := again.Check([]byte("x"), log.log(), bravo.witness()); err == nil {
			t.Error("another leaf is proved")
		}
		for _, index := range []int64{int64(i+1) % 11, 11, 1 << 62} {
			again.Index = index
			if _, err := again.Check([]byte(leaf), log.log(), bravo.witness()); err == nil {
				t.Errorf("leaf %d is proved at %d", i, index)
			}
		}
	}
	for _, bad := range []string{"", "\n\n", "c2sp.org/tlog-proof@v1\n\nx\n", "c2sp.org/tlog-proof@v1\nindex 07\n\nx\n", "c2sp.org/tlog-proof@v1\nextra AA==\nindex 7\n\nx\n",
		"c2sp.org/tlog-proof@v1\nindex -1\n\nx\n", "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nx\n", "c2sp.org/tlog-proof@v1\nindex 1\n" + strings.Repeat(tlog.Hash{}.String()+"\n", 64) + "\nx\n"} {
		if p, err := ParseProof([]byte(bad)); err == nil {
			t.Errorf("%q reads as %+v", bad, p)
		}
	}
}

func TestFork(t *testing.T) {
	t.Parallel()
	log := newSigner(t, "alpha/log/1")
	one, two := &grown{}, &grown{}
	for i, leaf := range strings.Split("abcdefghijk", "") {
		one.add(leaf)
		if i == 3 {
			leaf = "X"
		}
		two.add(leaf)
	}
	sign := func(g *grown, n int64, after time.Duration) []byte { return log.sign(t, g.tree(t, n), then.Add(after)) }
	fork := func(a, b []byte) Fork { return must[Fork](t)(NewFork(a, b)) }
	proved := func(f Fork, g *grown, from, to int64) Fork {
		f.OldRoot, f.Proof = g.tree(t, from).Hash, must[tlog.TreeProof](t)(tlog.ProveTree(to, from, g))
		return f
	}
	for name, c := range map[string]struct {
		fork Fork
		want string // empty: it proves nothing
	}{
		"one size, two roots":            {fork(sign(one, 7, 0), sign(two, 7, 0)), "two different logs of 7 leaves"},
		"rolled back":                    {fork(sign(one, 9, 0), sign(one, 7, time.Second)), "rolled back"},
		"begins otherwise":               {proved(fork(sign(one, 7, 0), sign(two, 11, time.Hour)), two, 7, 11), "do not begin with them"},
		"begins otherwise, at a power":   {proved(fork(sign(one, 8, 0), sign(two, 11, time.Hour)), two, 8, 11), "do not begin with them"},
		"nothing wrong":                  {fork(sign(one, 7, 0), sign(one, 9, time.Second)), ""},
		"one checkpoint twice":           {fork(sign(one, 7, 0), sign(one, 7, 0)), ""},
		"renewed":                        {fork(sign(one, 7, 0), sign(one, 7, time.Hour)), ""},
		"in the same second":             {fork(sign(one, 9, 0), sign(one, 7, 0)), ""},
		"before the fork":                {proved(fork(sign(one, 3, 0), sign(two, 11, time.Hour)), two, 3, 11), ""},
		"proof of the other tree":        {proved(fork(sign(one, 7, 0), sign(two, 11, time.Hour)), one, 7, 11), ""},
		"proof between other sizes":      {proved(fork(sign(one, 7, 0), sign(two, 11, time.Hour)), two, 6, 11), ""},
		"a root that nobody proves":      {Fork{sign(one, 7, 0), sign(two, 11, 0), tlog.Hash{1}, tlog.TreeProof{{2}}}, ""},
		"needless proof":                 {proved(fork(sign(one, 9, 0), sign(one, 7, time.Second)), one, 7, 9), ""},
		"another log's":                  {fork(newSigner(t, "alpha/log/1").sign(t, one.tree(t, 7), then), newSigner(t, "alpha/log/1").sign(t, two.tree(t, 7), then)), ""},
		"the larger one in the place of": {Fork{Smaller: sign(one, 9, 0), Larger: sign(one, 7, time.Second)}, ""},
	} {
		why, err := c.fork.Check(log.log())
		if (err == nil) != (c.want != "") || !strings.Contains(why, c.want) {
			t.Errorf("%s: %q, %v", name, why, err)
		}
		again, err := ParseFork(c.fork.Format())
		if err != nil || !bytes.Equal(again.Format(), c.fork.Format()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	log, bravo := newSigner(f, "alpha/log/1"), newSigner(f, "bravo/witness")
	raw := log.sign(f, tlog.Tree{N: 7}, then)
	f.Add(raw)
	f.Add(must[[]byte](f)(Join(raw, bravo.cosign(f, raw, then))))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Open(b, log.log(), bravo.witness())
		if err == nil && !bytes.HasPrefix(b, append(Text("alpha/log/1", c.Tree), '\n')) {
			t.Errorf("%q reads as %v", b, c.Tree)
		}
		_, _ = OpenForeign(b, log.ed.Public)
	})
}

func FuzzParse(f *testing.F) {
	log := newSigner(f, "alpha/log/1")
	raw := log.sign(f, tlog.Tree{N: 7}, then)
	f.Add(Proof{3, []tlog.Hash{{1}}, raw}.Format())
	f.Add(Request{3, []tlog.Hash{{1}}, raw}.Format())
	f.Add(Fork{Smaller: raw, Larger: raw, Proof: []tlog.Hash{{1}}}.Format())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParseProof(b); err == nil && !bytes.Equal(p.Format(), b) {
			t.Errorf("proof %q", b)
		}
		if r, err := ParseRequest(b); err == nil && !bytes.Equal(r.Format(), b) {
			t.Errorf("request %q", b)
		}
		if k, err := ParseFork(b); err == nil {
			if !bytes.Equal(k.Format(), b) {
				t.Errorf("fork %q", b)
			}
			_, _ = k.Check(log.log())
		}
	})
}
