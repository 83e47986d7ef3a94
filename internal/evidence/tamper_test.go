package evidence

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/tools/txtar"

	"entente.example/internal/checkpoint"
	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// remember makes the two costly steps of a verification remember what they found for exactly the same bytes, so that a bundle can be
// verified a hundred thousand times. It makes no difference to what is found.
func remember(t *testing.T) {
	t.Helper()
	type answer[T any] struct {
		value T
		err   error
	}
	var histories, proofs sync.Map
	sum := func(parts ...[]byte) [32]byte {
		h := sha256.New()
		for _, p := range parts {
			fmt.Fprintf(h, "%d\n", len(p))
			h.Write(p)
		}
		return [32]byte(h.Sum(nil))
	}
	// A text that does not open by itself fails in Restore as well, which verifies all others before it comes to it.
	var texts sync.Map
	alone := func(raw []byte, open func() error) error {
		k := sum(raw)
		if known, ok := texts.Load(k); ok {
			return known.(answer[bool]).err
		}
		err := open()
		texts.Store(k, answer[bool]{err: err})
		return err
	}
	restore = func(charters, cards [][]byte) (*member.History, error) {
		if err := alone(charters[0], func() error { _, err := statement.OpenSelfSigned[statement.Charter](charters[0]); return err }); err != nil {
			return nil, err
		}
		for _, raw := range cards {
			if err := alone(raw, func() error { _, err := statement.OpenSelfSigned[statement.Card](raw); return err }); err != nil {
				return nil, err
			}
		}
		k := sum(append([][]byte{fmt.Append(nil, len(charters))}, slices.Concat(charters, cards)...)...)
		if known, ok := histories.Load(k); ok {
			a := known.(answer[*member.History])
			return a.value, a.err
		}
		h, err := member.Restore(charters, cards)
		histories.Store(k, answer[*member.History]{h, err})
		return h, err
	}
	check = func(p checkpoint.Proof, leaf []byte, log checkpoint.Log, witnesses ...checkpoint.Witness) (*checkpoint.Checkpoint, error) {
		k := sum(p.Format(), leaf, fmt.Append(nil, log, witnesses))
		if known, ok := proofs.Load(k); ok {
			a := known.(answer[*checkpoint.Checkpoint])
			return a.value, a.err
		}
		c, err := p.Check(leaf, log, witnesses...)
		proofs.Store(k, answer[*checkpoint.Checkpoint]{c, err})
		return c, err
	}
	t.Cleanup(func() { restore, check = member.Restore, checkpoint.Proof.Check })
}

// each calls f for 0 to n-1 on all processors.
func each(n int, f func(i int)) {
	var group sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		group.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	group.Wait()
}

// big makes a bundle of at least 64 KiB with everything that a bundle about an exchange can hold.
func big(w *world) []byte {
	w.t.Helper()
	w.amend(at(-30), statement.Suspend, "delta", "alpha", "bravo", "charlie")
	s := w.usual()
	s.content, s.prose = true, "-- agreement --\n"+strings.Repeat("We write down what we agreed, and keep to it.\n", 40)
	s.witness = []string{"bravo", "charlie"}
	raw := w.build(w.tell(s))
	if len(raw) < 64<<10 {
		w.t.Fatalf("the bundle has %d bytes only", len(raw))
	}
	return raw
}

// Not one byte of a bundle can be changed, and not one line left out, without its becoming not valid: every byte is signed, hashed, or
// fixed by the one spelling. Under -short and the race detector only every 61st byte is tried.
func TestEveryByte(t *testing.T) {
	w := newWorld(t, "alpha", "bravo", "charlie", "delta")
	raw := big(w)
	o := w.options()
	o.Document, o.Name, o.MediaType = nil, "", ""
	if v := Verify(raw, o); !v.Valid {
		t.Fatal(v.Why)
	}
	remember(t)
	step := 1
	if testing.Short() || raceEnabled {
		step = 61
	}
	never := func(what string, changed []byte) {
		if bytes.Equal(changed, raw) {
			t.Errorf("%s: nothing changed", what)
		}
		if v := Verify(changed, o); v.Valid {
			t.Errorf("%s: valid", what)
		}
	}
	each((len(raw)+step-1)/step, func(n int) {
		i := n * step
		r := rand.New(rand.NewPCG(uint64(i), 1))
		changed := bytes.Clone(raw)
		changed[i] ^= byte(1 + r.IntN(255))
		never(fmt.Sprintf("byte %d changed", i), changed)
	})
	lines := bytes.SplitAfter(raw, []byte("\n"))
	starts := make([]int, len(lines))
	for i := 1; i < len(lines); i++ {
		starts[i] = starts[i-1] + len(lines[i-1])
	}
	each(len(lines)-1, func(i int) {
		r := rand.New(rand.NewPCG(uint64(i), 2))
		from, to := starts[i], starts[i]+len(lines[i])
		flipped := bytes.Clone(raw)
		flipped[from+r.IntN(to-from)] ^= 1 << r.IntN(8)
		never(fmt.Sprintf("a bit of line %d", i+1), flipped)
		never(fmt.Sprintf("line %d left out", i+1), slices.Concat(raw[:from], raw[to:]))
		never(fmt.Sprintf("line %d twice", i+1), slices.Concat(raw[:to], raw[from:]))
		never(fmt.Sprintf("a byte of line %d left out", i+1), slices.Concat(raw[:from], raw[from+1:]))
		never(fmt.Sprintf("cut off after line %d", i), raw[:from])
	})
	// The memory of the two steps is no reason for it: without it, a sample gives the same.
	restore, check = member.Restore, checkpoint.Proof.Check
	each(200, func(n int) {
		i := n * len(raw) / 200
		changed := bytes.Clone(raw)
		changed[i] ^= 0x04
		never(fmt.Sprintf("byte %d changed, nothing remembered", i), changed)
	})
}

// Parts of one bundle in another, left out, doubled or in another order: never valid, except for the one change that is honest. Who leaves
// out a claim with everything that belongs to it, has a bundle that claims less.
func TestParts(t *testing.T) {
	w := newWorld(t, "alpha", "bravo", "charlie")
	bundles := make([][]byte, 10)
	archives := make([]*txtar.Archive, 10)
	for i := range bundles {
		s := w.usual()
		s.id, s.created = fmt.Sprintf("01K7XQ3W0V6N2T9R4M5B8C1D%02d", 20+i), at(10*i)
		s.content = i%2 == 0
		switch i % 3 {
		case 1:
			s.outcome = []statement.ReceiptKind{statement.Refused}
		case 2:
			s.outcome = []statement.ReceiptKind{statement.Stored, statement.Undecryptable}
		}
		bundles[i] = w.build(w.tell(s))
		archives[i] = txtar.Parse(bundles[i])
	}
	remember(t)
	never := func(what string, files []txtar.File) {
		t.Helper()
		changed := txtar.Format(&txtar.Archive{Files: files})
		if slices.ContainsFunc(bundles, func(b []byte) bool { return bytes.Equal(b, changed) }) {
			return // the parts were the same in both, or the last change was undone
		}
		v := Verify(changed, w.options())
		// The agreement is there for the reader: without it, the file says that what was agreed is not proved.
		honest := strings.HasSuffix(what, "part agreement left out") && slices.ContainsFunc(v.NotProved, func(n string) bool { return strings.HasPrefix(n, "What was agreed: ") })
		if v.Valid != honest {
			t.Errorf("%s: valid is %v, and it proves %s", what, v.Valid, claimsOf(v))
		}
	}
	var tried atomic.Int64
	each(len(archives), func(i int) {
		a := archives[i]
		for k, f := range a.Files {
			name := fmt.Sprintf("bundle %d, part %s", i, f.Name)
			never(name+" left out", slices.Delete(slices.Clone(a.Files), k, k+1))
			never(name+" twice", slices.Insert(slices.Clone(a.Files), k, f))
			never(name+" at the end again", append(slices.Clone(a.Files), f))
			if k > 0 {
				swapped := slices.Clone(a.Files)
				swapped[k], swapped[k-1] = swapped[k-1], swapped[k]
				never(name+" before the one before", swapped)
			}
			renamed := slices.Clone(a.Files)
			renamed[k].Name += "x"
			never(name+" renamed", renamed)
			emptied := slices.Clone(a.Files)
			emptied[k].Data = nil
			never(name+" emptied", emptied)
			for j, other := range archives {
				for _, g := range other.Files {
					if i == j || kindOf(f.Name) != kindOf(g.Name) {
						continue
					}
					tried.Add(1)
					data, both := slices.Clone(a.Files), slices.Clone(a.Files)
					data[k].Data, both[k] = g.Data, g
					never(fmt.Sprintf("%s with the content of bundle %d, part %s", name, j, g.Name), data)
					never(fmt.Sprintf("%s replaced by bundle %d, part %s", name, j, g.Name), both)
				}
			}
		}
	})
	if n := tried.Load(); n < 1000 {
		t.Errorf("only %d swaps were tried", n)
	}
}

// kindOf is the first word of a part's name: parts are swapped with their like.
func kindOf(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

// Whoever takes a claim away with all that belongs to it has a valid bundle, and it says less. That is the honest case.
func TestLessIsClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	whole, err := Parse(w.build(w.tell(w.usual())))
	must(t, err)
	less := func(edit func(b *Bundle)) Verdict {
		b := *whole
		b.Leaves, b.Receipts, b.Claims = slices.Clone(b.Leaves), slices.Clone(b.Receipts), slices.Clone(b.Claims)
		edit(&b)
		raw, err := b.Render()
		must(t, err)
		return Verify(raw, w.options())
	}
	drop := func(b *Bundle, leaf statement.EventKind) {
		b.Leaves = slices.DeleteFunc(b.Leaves, func(l Leaf) bool { return strings.Contains(string(l.Raw), fmt.Sprintf("%q", leaf)) })
	}
	opened := func(b *Bundle) {
		b.Receipts = slices.DeleteFunc(b.Receipts, func(r Receipt) bool { return r.Kind == statement.Opened })
		drop(b, statement.EventOpened)
		drop(b, statement.EventConfirmed)
	}
	for _, c := range []struct {
		name   string
		edit   func(b *Bundle)
		claims string // empty: not valid
	}{
		{"nothing", func(*Bundle) {}, "released stored delivered opened"},
		{"opened with its receipt, leaves and claim", func(b *Bundle) { opened(b); b.Claims = b.Claims[:3] }, "released stored delivered"},
		{"opened with its receipt and leaves, but not the claim", opened, ""},
		{"the claim only", func(b *Bundle) { b.Claims = b.Claims[:3] }, ""},
		{"the receipt only", func(b *Bundle) { b.Receipts = b.Receipts[1:] }, ""},
		{"one of two leaves, where the other still vouches", func(b *Bundle) { drop(b, statement.EventOpened) }, "released stored delivered opened"},
		{"all claims", func(b *Bundle) { b.Claims, b.Leaves, b.Receipts = nil, nil, nil }, ""},
		{"the agreement", func(b *Bundle) { b.Agreement = nil }, "released stored delivered opened"},
		{"a card", func(b *Bundle) { b.Cards = b.Cards[:2] }, ""},
		{"a claim more", func(b *Bundle) { b.Claims = append(b.Claims, ClaimContent) }, ""},
		{"claims in another order", func(b *Bundle) { slices.Reverse(b.Claims) }, ""},
		{"another recipient", func(b *Bundle) { b.Recipient = "charlie" }, ""},
		{"another kind", func(b *Bundle) { b.Kind = KindFork }, ""},
		{"an unknown kind", func(b *Bundle) { b.Kind = "miracle" }, ""},
	} {
		v := less(c.edit)
		if v.Valid != (c.claims != "") || v.Valid && claimsOf(v) != c.claims {
			t.Errorf("%s: valid %v %q %s", c.name, v.Valid, claimsOf(v), v.Why)
		}
	}
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "alpha", "bravo", "charlie")
	raw := w.build(w.tell(w.usual()))
	head, rest, _ := bytes.Cut(raw, []byte("-- charter --\n"))
	deep := bytes.Repeat([]byte("-- a --\n"), 300000)
	for name, bad := range map[string][]byte{
		"nothing":             nil,
		"empty line":          []byte("\n"),
		"binary":              bytes.Repeat([]byte{0, 0xff, 0x1b, '['}, 5000),
		"a comment before":    append([]byte("Hello.\n"), raw...),
		"twice":               slices.Concat(raw, raw),
		"carriage returns":    bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")),
		"a space behind":      append(slices.Clone(raw), ' '),
		"a line behind":       append(slices.Clone(raw), '\n'),
		"only the head":       head,
		"without the head":    rest,
		"half a million":      slices.Concat(head, deep),
		"a path":              bytes.Replace(raw, []byte("-- cards/alpha/1 --"), []byte("-- ../../etc/passwd --"), 1),
		"a huge number":       bytes.Replace(raw, []byte("-- cards/alpha/1 --"), []byte("-- cards/alpha/99999999999999999999 --"), 1),
		"a negative number":   bytes.Replace(raw, []byte("-- cards/alpha/1 --"), []byte("-- cards/alpha/-1 --"), 1),
		"a leading zero":      bytes.Replace(raw, []byte("-- cards/alpha/1 --"), []byte("-- cards/alpha/01 --"), 1),
		"an escape sequence":  bytes.Replace(raw, []byte("-- agreement --"), []byte("-- \x1b[2Jagreement --"), 1),
		"a bidi name":         bytes.Replace(raw, []byte("-- agreement --"), []byte("-- \u202eagreement --"), 1),
		"base64 without need": encode(t, raw, "agreement"),
		"too large":           make([]byte, 16<<20+1),
	} {
		v := Verify(bad, w.options())
		if v.Valid || v.Why == "" || v.Claims != nil {
			t.Errorf("%s: %+v", name, v)
		}
		if strings.ContainsFunc(v.Text(), func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
			t.Errorf("%s: %q could mislead a terminal", name, v.Text())
		}
	}
}

// encode writes one part in base64 that need not be.
func encode(t *testing.T, raw []byte, part string) []byte {
	t.Helper()
	a := txtar.Parse(raw)
	for i, f := range a.Files {
		if f.Name == part {
			a.Files[i] = txtar.File{Name: part + encoded, Data: wrap(f.Data)}
		}
	}
	return txtar.Format(a)
}
