package audit

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// witnessKeys makes keys of one name.
func pair(t testing.TB, name string) (*statement.Key, *checkpoint.Key) {
	t.Helper()
	return must[*statement.Key](t)(statement.GenerateKey(rand.Reader, name)), must[*checkpoint.Key](t)(checkpoint.GenerateKey(name))
}

// history is a log in memory that signs whatever it is told to.
type history struct {
	t      testing.TB
	ed     *statement.Key
	pq     *checkpoint.Key
	hashes []tlog.Hash
	n      int64
}

func newHistory(t testing.TB, origin string) *history {
	h := &history{t: t}
	h.ed, h.pq = pair(t, origin)
	return h
}

// fork copies it, to go on differently.
func (h *history) fork() *history {
	c := *h
	c.hashes = append([]tlog.Hash(nil), h.hashes...)
	return &c
}

func (h *history) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var list []tlog.Hash
	for _, i := range indexes {
		list = append(list, h.hashes[i])
	}
	return list, nil
}

// grow adds leaves with some content.
func (h *history) grow(leaves int, content string) *history {
	for range leaves {
		hashes := must[[]tlog.Hash](h.t)(tlog.StoredHashes(h.n, []byte(content), h))
		h.hashes = append(h.hashes, hashes...)
		h.n++
	}
	return h
}

func (h *history) root(n int64) tlog.Tree {
	return tlog.Tree{N: n, Hash: must[tlog.Hash](h.t)(tlog.TreeHash(n, h))}
}

func (h *history) log() checkpoint.Log {
	return checkpoint.Log{Ed25519: h.ed.Public, MLDSA: h.pq.Public}
}

// sign gives the checkpoint of the first n leaves, so many seconds after someday.
func (h *history) sign(n int64, seconds int) []byte {
	return must[[]byte](h.t)(checkpoint.Sign(h.root(n), someday.Add(time.Duration(seconds)*time.Second), h.ed, h.pq))
}

// request asks for n leaves, from old.
func (h *history) request(old, n int64, seconds int) []byte {
	r := checkpoint.Request{Old: old, Checkpoint: h.sign(n, seconds)}
	if old > 0 && old < n {
		r.Proof = must[tlog.TreeProof](h.t)(tlog.ProveTree(n, old, h))
	}
	return r.Format()
}

func (h *history) known(origin string) (Known, bool) {
	return Known{Log: h.log()}, origin == h.ed.Name()
}

type witnessBench struct {
	*Witness
	t    testing.TB
	keys checkpoint.Witness
}

func newWitness(t testing.TB, dir string) *witnessBench {
	ed, pq := pair(t, "bravo/witness")
	w := NewWitness(dir, WitnessKeys{ed, pq})
	return &witnessBench{w, t, checkpoint.Witness{Ed25519: ed.Public, MLDSA: pq.Public}}
}

func (w *witnessBench) add(h *history, raw, oldRoot []byte) Answer {
	w.t.Helper()
	return must[Answer](w.t)(w.Add(w.t.Context(), h.known, raw, oldRoot))
}

// TestWitnessRules goes through C2SP tlog-witness, add-checkpoint, case by case. The witness holds five leaves.
func TestWitnessRules(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha/log/1").grow(9, "leaf")
	other := h.fork()
	other.hashes, other.n = nil, 0
	other.grow(3, "leaf").grow(6, "another")
	stranger := newHistory(t, "alpha/log/1").grow(9, "leaf") // the same name, other keys
	proof := func(old, n int64) tlog.TreeProof { return must[tlog.TreeProof](t)(tlog.ProveTree(n, old, h)) }
	for name, c := range map[string]struct {
		request []byte
		status  int
		body    string // begins with it
		fork    bool
	}{
		"it grows":                    {h.request(5, 9, 2), StatusOK, "— bravo/witness ", false},
		"same size, same root":        {h.request(5, 5, 2), StatusOK, "— bravo/witness ", false},
		"same size, other root":       {other.request(5, 5, 2), StatusConflict, "5\n", true},
		"old size 0":                  {h.request(0, 9, 2), StatusConflict, "5\n", false},
		"old size too small":          {h.request(4, 9, 2), StatusConflict, "5\n", false},
		"old size too large":          {h.request(6, 9, 2), StatusConflict, "5\n", false},
		"old size beyond the new one": {h.request(9, 6, 2), StatusMalformed, "the old size 9", false},
		"smaller, signed later":       {h.request(3, 3, 2), StatusConflict, "5\n", true},
		"smaller, signed earlier":     {h.request(3, 3, 0), StatusConflict, "5\n", false},
		"size 0":                      {h.request(0, 0, 0), StatusConflict, "5\n", false},
		"unknown origin":              {newHistory(t, "charlie/log/1").grow(9, "leaf").request(5, 9, 2), StatusUnknownLog, "the log", false},
		"bad signature":               {stranger.request(5, 9, 2), StatusForbidden, "open checkpoint", false},
		"another history":             {other.request(5, 9, 2), StatusNoProof, "the proof does not show", true},
		"a proof too many": {checkpoint.Request{Old: 5, Proof: append(proof(5, 9), tlog.Hash{}), Checkpoint: h.sign(9, 2)}.Format(),
			StatusNoProof, "the proof", false},
		"proof for the same size": {checkpoint.Request{Old: 5, Proof: tlog.TreeProof{{}}, Checkpoint: h.sign(5, 2)}.Format(), StatusNoProof, "from size 5 to itself", false},
		"no proof":                {checkpoint.Request{Old: 5, Checkpoint: h.sign(9, 2)}.Format(), StatusNoProof, "the proof", false},
		"63 hashes":               {checkpoint.Request{Old: 5, Proof: make(tlog.TreeProof, 63), Checkpoint: h.sign(9, 2)}.Format(), StatusNoProof, "the proof", false},
		"64 hashes":               {checkpoint.Request{Old: 5, Proof: make(tlog.TreeProof, 64), Checkpoint: h.sign(9, 2)}.Format(), StatusMalformed, "read request", false},
		"nothing":                 {nil, StatusMalformed, "read request", false},
		"cut off":                 {h.request(5, 9, 2)[:60], StatusMalformed, "read request", false},
		"no checkpoint":           {[]byte("old 5\n\nalpha/log/1\n"), StatusMalformed, "read checkpoint", false},
		"garbage":                 {random(t, 4000), StatusMalformed, "read request", false},
		"old size with a zero":    {bytes.Replace(h.request(5, 9, 2), []byte("old 5"), []byte("old 05"), 1), StatusMalformed, "read request", false},
		"negative":                {bytes.Replace(h.request(5, 9, 2), []byte("old 5"), []byte("old -5"), 1), StatusMalformed, "read request", false},
		"no signature":            {h.request(5, 9, 2)[:bytes.Index(h.request(5, 9, 2), []byte("\n— "))+1], StatusMalformed, "read checkpoint", false},
		"Ed25519 only":            {cutLastLine(h.request(5, 9, 2)), StatusForbidden, "strip checkpoint", false},
		"more than allowed":       {append(h.request(5, 9, 2), make([]byte, limit.Proof)...), StatusMalformed, "read request", false},
	} {
		w := newWitness(t, t.TempDir())
		if a := w.add(h, h.request(0, 5, 1), nil); a.Status != StatusOK {
			t.Fatalf("the first checkpoint: %d %s", a.Status, a.Body)
		}
		root := other.root(5).Hash
		var claimed []byte
		if strings.Contains(name, "another history") {
			claimed = root[:]
		}
		a := w.add(h, c.request, claimed)
		if a.Status != c.status || !strings.HasPrefix(string(a.Body), c.body) || (a.Fork != nil) != c.fork {
			t.Errorf("%s: %d %q, a fork: %t; want %d %q, %t", name, a.Status, a.Body, a.Fork != nil, c.status, c.body, c.fork)
		}
		if a.Status == StatusConflict && (!bytes.Equal(a.Held, h.sign(5, 1)) || a.ContentType() != "text/x.tlog.size") {
			t.Errorf("%s: held %q", name, a.Held)
		}
		if a.Fork != nil {
			f, err := checkpoint.ParseFork(a.Fork)
			if err == nil {
				_, err = f.Check(h.log())
			}
			if err != nil {
				t.Errorf("%s: the proof: %v", name, err)
			}
		}
		held, _, err := w.Held("alpha/log/1")
		if want := map[bool]int64{true: 9, false: 5}[name == "it grows"]; err != nil || held.Tree != h.root(want) {
			t.Errorf("%s: holds %v, %v", name, held.Tree, err)
		}
		if a.Status == StatusOK {
			bare := must[checkpoint.Request](t)(checkpoint.ParseRequest(c.request)).Checkpoint
			if _, _, err := checkpoint.Answer(bare, a.Body, w.keys); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func cutLastLine(b []byte) []byte { return b[:bytes.LastIndex(b[:len(b)-1], []byte("\n"))+1] }

func random(t testing.TB, n int) []byte {
	b := make([]byte, n)
	must[int](t)(rand.Read(b))
	return b
}

// TestWitnessNew: what holds before a log was ever seen.
func TestWitnessNew(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha/log/1").grow(9, "leaf")
	wrong := must[[]byte](t)(checkpoint.Sign(tlog.Tree{Hash: tlog.Hash{1}}, someday, h.ed, h.pq))
	w := newWitness(t, t.TempDir())
	for _, c := range []struct {
		name    string
		request []byte
		status  int
		body    string
	}{
		{"from a size never seen", h.request(5, 9, 1), StatusConflict, "0\n"},
		{"an empty tree with a root", checkpoint.Request{Checkpoint: wrong}.Format(), StatusNoProof, ""},
		{"a proof from 0", checkpoint.Request{Proof: tlog.TreeProof{{}}, Checkpoint: h.sign(9, 1)}.Format(), StatusNoProof, ""},
		{"an empty tree", h.request(0, 0, 1), StatusOK, "— "},
		{"an empty tree again", h.request(0, 0, 2), StatusOK, "— "},
		{"the first leaves", h.request(0, 9, 3), StatusOK, "— "},
		{"an empty tree, signed earlier", h.request(0, 0, 1), StatusConflict, "9\n"},
	} {
		if a := w.add(h, c.request, nil); a.Status != c.status || !strings.HasPrefix(string(a.Body), c.body) {
			t.Errorf("%s: %d %q", c.name, a.Status, a.Body)
		}
	}
	list := must[[]Witnessed](t)(ListWitnessed(filepath.Dir(w.dir)))
	if len(list) != 1 || list[0].Log != "alpha/log/1" || list[0].Tree != h.root(9) || time.Since(list[0].At).Abs() > time.Minute {
		t.Errorf("listed %+v", list)
	}
}

// TestWitnessForked: a log that forked is never co-signed again, whatever it shows.
func TestWitnessForked(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha/log/1").grow(9, "leaf")
	w := newWitness(t, t.TempDir())
	a := must[Answer](t)(w.Add(t.Context(), func(string) (Known, bool) { return Known{Log: h.log(), Forked: []byte("proof")}, true }, h.request(0, 9, 1), nil))
	if a.Status != StatusForbidden || string(a.Fork) != "proof" {
		t.Errorf("%d %q, proof %q", a.Status, a.Body, a.Fork)
	}
}

// A log that only grew, but says that the larger tree is the older one, contradicts itself, and is not co-signed.
func TestWitnessDatedBack(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha/log/1").grow(9, "leaf")
	w := newWitness(t, t.TempDir())
	if a := w.add(h, h.request(0, 5, 10), nil); a.Status != StatusOK {
		t.Fatalf("%d %q", a.Status, a.Body)
	}
	a := w.add(h, h.request(5, 9, 9), nil)
	f, err := checkpoint.ParseFork(a.Fork)
	if err == nil {
		_, err = f.Check(h.log())
	}
	if a.Status != StatusForbidden || err != nil {
		t.Errorf("%d %q, proof: %v", a.Status, a.Body, err)
	}
	if a := w.add(h, h.request(5, 9, 10), nil); a.Status != StatusOK {
		t.Errorf("in the same second: %d %q", a.Status, a.Body)
	}
}

// TestWitnessForeign co-signs a third party's log, whose checkpoint has extension lines, and lines of others.
func TestWitnessForeign(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "example.org/Some.Log").grow(9, "leaf")
	secret, public, err := note.GenerateKey(rand.Reader, "example.org")
	check(t, err)
	_, unknown, err := note.GenerateKey(rand.Reader, "example.org")
	check(t, err)
	signer := must[note.Signer](t)(note.NewSigner(secret))
	sign := func(n int64) []byte {
		text := string(checkpoint.Text("example.org/Some.Log", h.root(n))) + "an extension\n"
		return must[[]byte](t)(note.Sign(&note.Note{Text: text}, signer))
	}
	w := newWitness(t, t.TempDir())
	add := func(vkey string, r checkpoint.Request) Answer {
		return must[Answer](t)(w.Add(t.Context(), func(string) (Known, bool) { return Known{Foreign: vkey}, true }, r.Format(), nil))
	}
	if a := add(unknown, checkpoint.Request{Checkpoint: sign(5)}); a.Status != StatusForbidden {
		t.Errorf("under another key: %d %s", a.Status, a.Body)
	}
	if a := add(public, checkpoint.Request{Checkpoint: sign(5)}); a.Status != StatusOK {
		t.Errorf("the first: %d %s", a.Status, a.Body)
	}
	raw := sign(9)
	a := add(public, checkpoint.Request{Old: 5, Proof: must[tlog.TreeProof](t)(tlog.ProveTree(9, 5, h)), Checkpoint: raw})
	if a.Status != StatusOK {
		t.Fatalf("it grows: %d %s", a.Status, a.Body)
	}
	if a := add(public, checkpoint.Request{Old: 5, Checkpoint: raw}); a.Status != StatusConflict || a.Held != nil {
		t.Errorf("again: %d %s", a.Status, a.Body)
	}
	if a := add(public, checkpoint.Request{Checkpoint: []byte("example.org/Some.Log\nno size\n\n— x y\n")}); a.Status != StatusMalformed {
		t.Errorf("malformed: %d %s", a.Status, a.Body)
	}
}

// TestWitnessRace asks for 64 co-signatures at once, half of them for either of two histories, again and again, while the witness
// is made anew over the same folder, as after a crash. Exactly one history wins, and what was co-signed is never taken back.
func TestWitnessRace(t *testing.T) {
	t.Parallel()
	a := newHistory(t, "alpha/log/1").grow(3, "leaf")
	b := a.fork()
	a.grow(5, "one")
	b.grow(5, "two")
	dir := t.TempDir()
	ed, pq := pair(t, "bravo/witness")
	var mu sync.Mutex
	won := map[string]int{}
	for range 3 {
		w := NewWitness(dir, WitnessKeys{ed, pq})
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				h, name := a, "a"
				if i%2 == 1 {
					h, name = b, "b"
				}
				for old := int64(0); ; {
					root := h.root(old).Hash
					got, err := w.Add(t.Context(), a.known, h.request(old, 8, 1), root[:])
					if err != nil {
						t.Error(err)
						return
					}
					if got.Status == StatusOK {
						mu.Lock()
						won[name]++
						mu.Unlock()
						return
					}
					if got.Status != StatusConflict || string(got.Body) == fmt.Sprintf("%d\n", old) {
						return
					}
					if _, err := fmt.Sscan(string(got.Body), &old); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	if len(won) != 1 || won["a"]+won["b"] != 3*32 {
		t.Errorf("co-signed: %v", won)
	}
}

// TestWitnessDisk: nothing is co-signed that is not on the disk, and after a failure nothing more at all.
func TestWitnessDisk(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha/log/1").grow(9, "leaf")
	w := newWitness(t, t.TempDir())
	if a := w.add(h, h.request(0, 3, 1), nil); a.Status != StatusOK {
		t.Fatal(a.Status)
	}
	broken := errors.New("broken disk")
	w.sync = func(f *os.File) error { return broken }
	if a, err := w.Add(t.Context(), h.known, h.request(3, 5, 2), nil); !errors.Is(err, broken) || a.Body != nil {
		t.Errorf("%d %s, %v", a.Status, a.Body, err)
	}
	w.sync = (*os.File).Sync
	if a, err := w.Add(t.Context(), h.known, h.request(5, 9, 3), nil); !errors.Is(err, broken) || a.Body != nil {
		t.Errorf("afterwards: %d %s, %v", a.Status, a.Body, err)
	}
	// Started again, it syncs what it finds before it co-signs even the same tree.
	again := NewWitness(filepath.Dir(w.dir), w.key)
	synced := 0
	again.sync = func(f *os.File) error { synced++; return f.Sync() }
	a := must[Answer](t)(again.Add(t.Context(), h.known, h.request(5, 5, 3), nil))
	if a.Status != StatusOK || synced != 1 {
		t.Errorf("started again: %d %s, synced %d times", a.Status, a.Body, synced)
	}
	for i := range 2 {
		check(t, os.WriteFile(filepath.Join(w.dir, "alpha.log.1", slotName(i)), []byte("damaged"), 0o600))
	}
	if a, err := again.Add(t.Context(), h.known, h.request(5, 9, 3), nil); err == nil {
		t.Errorf("with damaged slots: %d %s", a.Status, a.Body)
	}
}

// TestWitnessTime: a clock that is put back must not make a later co-signature look like an earlier one.
func TestWitnessTime(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha/log/1").grow(9, "leaf")
	w := newWitness(t, t.TempDir())
	now := someday.Add(time.Hour)
	w.Now = func() time.Time { return now }
	var last time.Time
	for i := range int64(3) {
		raw := h.request(3*i, 3*i+3, int(i))
		bare := must[checkpoint.Request](t)(checkpoint.ParseRequest(raw)).Checkpoint
		co, _, err := checkpoint.Answer(bare, w.add(h, raw, nil).Body, w.keys)
		if err != nil || co.Time.Before(last) {
			t.Errorf("%v after %v, %v", co.Time, last, err)
		}
		last, now = co.Time, now.Add(-time.Minute)
	}
}

// FuzzWitness throws requests at a witness: it never co-signs what its log did not sign.
func FuzzWitness(f *testing.F) {
	h := newHistory(f, "alpha/log/1").grow(9, "leaf")
	f.Add(h.request(0, 5, 1), []byte(nil))
	f.Add(h.request(5, 9, 1), make([]byte, 32))
	f.Add([]byte("old 0\n\nalpha/log/1\n1\nAAAA\n\n— alpha/log/1 AAAA\n"), []byte("x"))
	f.Fuzz(func(t *testing.T, raw, oldRoot []byte) {
		stranger := newHistory(t, "alpha/log/1")
		w := newWitness(t, t.TempDir())
		if a := w.add(stranger, raw, oldRoot); a.Status == StatusOK {
			t.Errorf("co-signed %q", raw)
		}
	})
}
