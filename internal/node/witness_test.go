package node_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/lab"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// cosigned waits until a member's checkpoint covers its whole log with a quorum's co-signatures, and opens it.
func (w *world) cosigned(m string) *checkpoint.Checkpoint {
	w.t.Helper()
	h := w.reader(m)
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		var size int64
		var c store.Cosigned
		err := h.DB.View(ctx, func(v *store.View) (err error) {
			if size, err = v.Size(); err != nil {
				return err
			}
			c, err = v.CosignedAfter(size - 1)
			return err
		})
		if err == nil {
			self, _ := w.history.Member(m)
			got, err := checkpoint.Open(c.Note, checkpoint.Log{Ed25519: self.LogKey, MLDSA: self.LogMLDSA}, audit.Witnesses(w.history, m)...)
			if err != nil || got.Tree.N != size {
				w.t.Fatalf("co-signed checkpoint of %s: %+v, %v", m, got, err)
			}
			return got
		}
		if !errors.Is(err, store.ErrNotFound) {
			w.t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestWitnesses sends documents between members that witness each other: soon everybody's log is co-signed by one quorum and, where there is
// one, one witness more, so that a quorum is left without whoever is the other party of an exchange; and by no more.
func TestWitnesses(t *testing.T) {
	t.Parallel()
	for _, members := range [][]string{{"alpha", "bravo"}, {"alpha", "bravo", "charlie"}, {"alpha", "bravo", "charlie", "delta", "echo"}} {
		w := found(t, members...)
		w.start(members...)
		for _, to := range members[1:] {
			w.await("alpha", w.send("alpha", submission(to), []byte("a document"))[0], "delivered")
		}
		for _, m := range members {
			want := min(w.history.Quorum()+1, len(members)-1)
			eventually(func() bool { return len(w.cosigned(m).Cosigned) == want })
			got := w.cosigned(m)
			if len(got.Cosigned) != want {
				t.Errorf("%s with %d members: %d co-signatures, expected %d", m, len(members), len(got.Cosigned), want)
			}
			for _, c := range got.Cosigned {
				if !c.PQ || time.Since(c.Time).Abs() > time.Minute {
					t.Errorf("%s: co-signature %+v", m, c)
				}
			}
		}
	}
}

// badWitness is a member that the test plays: it answers questions for co-signatures as it likes.
type badWitness struct {
	ententev1.UnimplementedPeerServiceServer
	mu     sync.Mutex // guards answer
	answer func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error)
}

func (b *badWitness) Witness(ctx context.Context, req *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
	b.mu.Lock()
	answer := b.answer
	b.mu.Unlock()
	return answer(ctx, req)
}

func (w *world) playWitness(name string, b *badWitness) {
	w.t.Helper()
	m, _ := w.history.Member(name)
	w.start(name) // the port is held for it since founding
	w.stop(name)
	l, err := rpc.Listen(w.t.Context(), m.Address)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := rpc.NewPeerServer(w.config(name))
	if err != nil {
		w.t.Fatal(err)
	}
	ententev1.RegisterPeerServiceServer(s, b)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	w.t.Cleanup(func() { s.Stop(); <-ended })
}

// TestBadWitnesses has one witness of three down, silent, lying, or answering garbage: documents are delivered and co-signed by the others,
// and its bad answers count for nothing.
func TestBadWitnesses(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie", "delta", "echo")
	status := func(code int32, body string) func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
		return func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
			return &ententev1.WitnessResponse{Status: code, Body: []byte(body)}, nil
		}
	}
	w.start("alpha", "bravo", "charlie", "delta")
	b := &badWitness{answer: status(200, "")}
	w.playWitness("echo", b)
	key := w.keys("bravo") // whose signature echo shows as its own
	for name, answer := range map[string]func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error){
		"silent": func(ctx context.Context, _ *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"garbage":               status(200, string(random(3000))),
		"nothing":               status(200, ""),
		"always somewhere else": status(409, "1\n"),
		"beyond":                status(409, "99999999999\n"),
		"no size":               status(409, "all of it\n"),
		"a proof of nothing": func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
			return &ententev1.WitnessResponse{Status: 403, Body: []byte("it forked\n"), Fork: []byte("entente.example/fork/v1\n--- smaller\n--- larger\n")}, nil
		},
		"held by nobody": func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
			return &ententev1.WitnessResponse{Status: 409, Body: []byte("7\n"), Held: random(3500)}, nil
		},
		"somebody else's signature": func(_ context.Context, req *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
			r, err := checkpoint.ParseRequest(req.GetRequest())
			if err != nil {
				return nil, err
			}
			origin, tree, err := checkpoint.Head(r.Checkpoint)
			if err != nil {
				return nil, err
			}
			body, err := checkpoint.Cosign(checkpoint.Text(origin, tree), origin, tree, time.Now(), key.Witness, key.WitnessMLDSA)
			return &ententev1.WitnessResponse{Status: 200, Body: body}, err
		},
		"a clock far behind": func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
			return &ententev1.WitnessResponse{Status: 403, Body: []byte("its clock is ahead\n"), Clock: 1}, nil
		},
		"an error": func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
			return nil, errors.New("no")
		},
	} {
		b.mu.Lock()
		b.answer = answer
		b.mu.Unlock()
		w.await("alpha", w.send("alpha", submission("bravo"), []byte("a document"))[0], "delivered")
		got := w.cosigned("alpha")
		for _, c := range got.Cosigned {
			if c.Witness == "echo/witness" {
				t.Errorf("%s: echo co-signed", name)
			}
		}
	}
	h := w.reader("alpha")
	err := h.DB.View(t.Context(), func(v *store.View) error {
		forks, err := v.Forks("")
		if len(forks) > 0 {
			t.Errorf("forks: %v", forks)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPatience: when no quorum has co-signed for longer than witness_patience, documents wait, at the sender and in the outbox, and go on
// when one does. Receipts that wait are returned all the same.
func TestPatience(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.patience("alpha", "") // the usual: four hours
	w.start("alpha", "bravo", "charlie")
	w.await("alpha", w.send("alpha", submission("bravo"), []byte("a document"))[0], "delivered")
	w.cosigned("alpha")
	w.stop("bravo")
	w.stop("charlie")
	waiting := w.send("alpha", submission("bravo"), []byte("handed in before"))[0]
	if err := w.SetClock("alpha", 4*time.Hour+time.Minute); err != nil {
		t.Fatal(err)
	}
	_, err := w.person("alpha").Send(t.Context(), submission("bravo"), strings.NewReader("handed in too late"))
	wantFault(t, err, fault.Transient, "no quorum of the other members has co-signed our log since")
	report, err := w.reader("alpha").Witnessing(t.Context())
	if err != nil || report.Left(time.Now().Add(4*time.Hour+time.Minute)) > 0 || report.Left(time.Now()) <= 0 {
		t.Errorf("left %v, %v", report.Left(time.Now()), err)
	}
	if err := w.SetClock("alpha", 0); err != nil {
		t.Fatal(err)
	}
	w.start("bravo")
	w.await("alpha", waiting, "delivered")
}

// BenchmarkCosigned measures from the moment when alpha has bravo's receipt to the one when a quorum has co-signed that it has.
func BenchmarkCosigned(b *testing.B) {
	lw, err := lab.Found(b.Context(), lab.Options{Dir: filepath.Join(b.TempDir(), "world"), Members: []string{"alpha", "bravo", "charlie", "delta", "echo"}})
	if err != nil {
		b.Fatal(err)
	}
	defer lw.Close()
	if _, err := lw.Agree(b.Context(), statement.Agreement{Name: "harbour-watch", Parties: slices.Clone(lw.Names), Purposes: []string{"incident-response"},
		Ceiling: "TLP:AMBER", RetainDays: 90, Prose: "They help each other.\n"}); err != nil {
		b.Fatal(err)
	}
	if err := lw.StartAll(b.Context()); err != nil {
		b.Fatal(err)
	}
	alice, err := lw.Client("alpha", lw.Person("alpha"))
	if err != nil {
		b.Fatal(err)
	}
	defer alice.Close()
	h, err := node.OpenReader(b.Context(), lw.Home("alpha"))
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	var took []time.Duration
	for b.Loop() {
		if _, err := alice.Send(b.Context(), submission("bravo"), strings.NewReader("a document")); err != nil {
			b.Fatal(err)
		}
		leaf, began := int64(-1), time.Time{}
		for covered := false; !covered; time.Sleep(time.Millisecond) {
			err := h.DB.View(b.Context(), func(v *store.View) error {
				size, err := v.Size()
				if err != nil {
					return err
				}
				if last, err := v.Leaf(size - 1); err == nil && leaf < 0 && strings.Contains(string(last), `"kind":"delivered"`) && size > 1 {
					leaf, began = size-1, time.Now()
				}
				if leaf < 0 {
					return nil
				}
				_, err = v.CosignedAfter(leaf)
				covered = err == nil
				if errors.Is(err, store.ErrNotFound) {
					return nil
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "ms-p95")
}
