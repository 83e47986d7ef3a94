package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/lab"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// office is an outside witness, signing with somebody else's implementation. It believes whatever it is shown.
type office struct {
	*httptest.Server
	signers []note.Signer
	terms   statement.OutsideWitness
	asked   atomic.Int64
	size    atomic.Int64 // that it says it holds
	// answer, if it is set, answers instead. It says whether it did.
	answer func(w http.ResponseWriter, count int64) bool
}

// newOffice starts one whose keys bear a name. pq: it has an ML-DSA-44 key too.
func newOffice(t *testing.T, name string, pq bool) *office {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	if vkey, err = f_note.VKeyToCosignatureV1(vkey); err != nil {
		t.Fatal(err)
	}
	o := &office{}
	o.terms = statement.OutsideWitness{Name: strings.ReplaceAll(name, "/", "-"), Key: vkey}
	o.terms.Name = strings.ReplaceAll(o.terms.Name, ".", "-")
	o.add(t, skey)
	if pq {
		if skey, o.terms.MLDSA, err = f_note.GenerateMLDSAKey(name); err != nil {
			t.Fatal(err)
		}
		o.add(t, skey)
	}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	o.terms.URL = o.URL + "/at/home"
	return o
}

func (o *office) add(t *testing.T, skey string) {
	t.Helper()
	s, err := f_note.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	o.signers = append(o.signers, s)
}

// ServeHTTP answers add-checkpoint.
func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	count := o.asked.Add(1)
	if o.answer != nil && o.answer(w, count) {
		return
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/at/home/add-checkpoint" {
		http.Error(w, "not so", http.StatusBadRequest)
		return
	}
	req, err := checkpoint.ParseRequest(raw)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, tree, err := checkpoint.Head(req.Checkpoint)
	if held := o.size.Load(); err != nil || req.Old != held {
		w.Header().Set("Content-Type", kindSize)
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintf(w, "%d\n", held)
		return
	}
	text, _, _ := bytes.Cut(req.Checkpoint, []byte("\n\n"))
	var signed []byte
	for { // both lines must name one second
		before := time.Now().Unix()
		if signed, err = note.Sign(&note.Note{Text: string(text) + "\n"}, o.signers...); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if time.Now().Unix() == before {
			break
		}
	}
	o.size.Store(tree.N)
	_, lines, _ := bytes.Cut(signed, []byte("\n\n"))
	_, _ = io.WriteString(w, "— stranger.example/w0 AAAAAAAAAAA=\n") // to be ignored
	_, _ = w.Write(lines)
}

// A witness that is no member counts like a member, with one key or with two, as soon as it stops talking nonsense.
func TestOutsideWitness(t *testing.T) {
	t.Parallel()
	for _, pq := range []bool{true, false} {
		o := newOffice(t, "witness.example/w1", pq)
		o.answer = func(w http.ResponseWriter, count int64) bool {
			if count == 1 {
				_, _ = io.WriteString(w, "<html>Welcome to our guest network</html>\n")
			}
			return count == 1
		}
		w := foundWith(t, lab.Options{Members: []string{"alpha", "bravo"}, Witnesses: []statement.OutsideWitness{o.terms}})
		w.start("alpha") // and bravo, the only other witness, is away
		got := w.cosigned("alpha")
		if len(got.Cosigned) != 1 || got.Cosigned[0].Witness != "witness.example/w1" || got.Cosigned[0].PQ != pq {
			t.Errorf("co-signed by %+v", got.Cosigned)
		}
		w.send("alpha", submission("bravo"), []byte("a document"))
		if grown := w.cosigned("alpha"); grown.Tree.N <= got.Tree.N {
			t.Errorf("co-signed at %d, then at %d", got.Tree.N, grown.Tree.N)
		}

		// Who forgets where it was says so, and is asked again from there.
		o.size.Store(got.Tree.N)
		w.stop("alpha")
		w.start("alpha")
		w.send("alpha", submission("bravo"), []byte("another document"))
		last := w.cosigned("alpha").Tree.N
		if o.size.Load() != last {
			t.Errorf("it holds %d of %d leaves", o.size.Load(), last)
		}
		var known []store.Witness
		h := w.reader("alpha")
		if err := h.DB.View(t.Context(), func(v *store.View) (err error) { known, err = v.Witnesses(); return err }); err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool {
			err := h.DB.View(t.Context(), func(v *store.View) (err error) { known, err = v.Witnesses(); return err })
			for _, k := range known {
				if err == nil && k.Name == "witness.example/w1" && k.Size == last && k.LastError == "" {
					return true
				}
			}
			return false
		}) {
			t.Errorf("known of witnesses: %+v", known)
		}
	}
}

// What a witness can answer in bad faith costs one question, and is no co-signature.
func TestOutsideWitnessHostile(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(trap.Close)
	w := found(t, "alpha", "bravo")
	var raw []byte
	h := w.reader("alpha")
	if err := h.DB.View(t.Context(), func(v *store.View) (err error) { _, raw, err = v.Checkpoint(); return err }); err != nil {
		t.Fatal(err)
	}
	asked := checkpoint.Request{Checkpoint: raw}.Format()
	twin := newOffice(t, "witness.example/w1", true) // another key of the same name
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, count int64) bool
		says   string // the error of the question; empty: it is found when the answer is read
	}{
		"a redirection": {func(w http.ResponseWriter, _ int64) bool {
			w.Header().Set("Location", trap.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}, "answered 307"},
		"a permanent one": {func(w http.ResponseWriter, _ int64) bool {
			w.Header().Set("Location", trap.URL)
			w.WriteHeader(http.StatusPermanentRedirect)
			return true
		}, "answered 308"},
		"trouble": {func(w http.ResponseWriter, _ int64) bool {
			http.Error(w, "\x1b[2J\nlevel=ERROR msg=forged", http.StatusInternalServerError)
			return true
		}, `answered 500: "\x1b[2J\nlevel=ERROR msg=forged"`},
		"too much": {func(w http.ResponseWriter, _ int64) bool {
			_, _ = w.Write(bytes.Repeat([]byte("— x AAAAAAAA\n"), limit.WitnessAnswer/10))
			return true
		}, "longer than"},
		"a header that is too long": {func(w http.ResponseWriter, _ int64) bool {
			w.Header().Set("X", strings.Repeat("x", 2*limit.HeaderList))
			return true
		}, "ask witness"},
		"half an answer": {func(w http.ResponseWriter, _ int64) bool {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "— ")
			return true
		}, "read answer"},
		"nothing": {func(http.ResponseWriter, int64) bool { return true }, ""},
		"lines of somebody else": {func(w http.ResponseWriter, _ int64) bool {
			_, _ = io.WriteString(w, "— stranger.example/w0 AAAAAAAAAAA=\n")
			return true
		}, ""},
		"another key of its name": {func(w http.ResponseWriter, _ int64) bool {
			r := httptest.NewRequest(http.MethodPost, "/at/home/add-checkpoint", bytes.NewReader(asked))
			twin.ServeHTTP(w, r)
			return true
		}, ""},
		"silence": {func(http.ResponseWriter, int64) bool { time.Sleep(4 * time.Second); return true }, "no answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, "witness.example/w1", true)
			o.answer = c.answer
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			a, err := node.AskOutside(ctx, o.terms, asked)
			if c.says != "" {
				if fault.KindOf(err) != fault.Transient || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 400 {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || a.GetStatus() != 200 {
				t.Fatalf("%v, %v", a, err)
			}
			if co, lines, err := checkpoint.Answer(raw, a.GetBody(), checkpoint.Witness{Ed25519: o.terms.Key, MLDSA: o.terms.MLDSA}); err == nil {
				t.Errorf("it counts: %+v %s", co, lines)
			}
		})
	}
	t.Cleanup(func() {
		if elsewhere.Load() != 0 {
			t.Error("a redirection was followed")
		}
	})
	gone := statement.OutsideWitness{Name: "gone"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	gone.URL = "http://" + l.Addr().String()
	if _, err := node.AskOutside(t.Context(), gone, asked); fault.KindOf(err) != fault.Transient || !strings.Contains(err.Error(), "ask witness gone: ") {
		t.Errorf("nobody there: %v", err)
	}
}
