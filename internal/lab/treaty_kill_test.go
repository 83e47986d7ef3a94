package lab_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/lab"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// parties are those of the agreements. The other members must never hear of them.
var parties = []string{"alpha", "bravo", "charlie"}

// TestTreatyKilledAtAnyMoment has three of five members, in processes of the real program, propose, sign, use, amend, use and leave an
// agreement, while any of the five is killed without a warning at random moments. Whatever the moments, the three end with the same agreements and
// notices, each recorded once, and with every document where it was to go, as if nothing had happened; and the two others know of nothing.
//
//	ENTENTE_TREATY_ROUNDS   how many agreements (4)
//	ENTENTE_TREATY_SEED     repeats a run (default: another one each time)
func TestTreatyKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	rounds, seed := number(t, "ENTENTE_TREATY_ROUNDS", 4), number(t, "ENTENTE_TREATY_SEED", rand.Uint64())
	t.Logf("ENTENTE_TREATY_SEED=%d ENTENTE_TREATY_ROUNDS=%d", seed, rounds)
	k := &killing{t: t, random: rand.New(rand.NewPCG(seed, 0)), kills: map[string]int{}, program: build(t)}
	w, err := lab.Found(t.Context(), lab.Options{Dir: filepath.Join(t.TempDir(), "world"), Members: append(slices.Clone(parties), "delta", "echo")})
	if err != nil {
		t.Fatal(err)
	}
	k.world = w
	y := &treatyRun{killing: k, processes: map[string]*process{}, calls: map[string]ententev1.NodeServiceClient{}}
	for _, m := range w.Names {
		if err := w.AddPerson(t.Context(), m, "sig", "signer"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil { // lets go of the ports
		t.Fatal(err)
	}
	for _, m := range w.Names {
		y.processes[m] = k.process(m)
		y.processes[m].start()
		c, err := w.Client(m, "sig")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		y.calls[m] = c.Node()
	}
	if y.alice, err = w.Client("alpha", w.Person("alpha")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = y.alice.Close() })
	h, err := node.OpenReader(t.Context(), w.Home("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	history, err := h.History(t.Context())
	if err := errors.Join(err, h.Close()); err != nil {
		t.Fatal(err)
	}
	y.history = history.Alliance()
	for i := range rounds {
		y.round(fmt.Sprintf("watch-%d", i+1))
	}
	for _, p := range y.processes {
		p.kill()
	}
	if err := errors.Join(w.StartAll(t.Context()), w.Close()); err != nil { // a start tidies up what a crash left
		t.Fatal(err)
	}
	if err := w.Check(t.Context()); err != nil {
		t.Error(err)
	}
	y.compare(rounds)
	t.Logf("%d agreements in two versions, %d documents, kills: %v", rounds, len(y.sent), k.kills)
}

type treatyRun struct {
	*killing
	processes map[string]*process
	calls     map[string]ententev1.NodeServiceClient
	alice     *client.Client // sends for alpha
	sent      []string       // exchanges
	history   statement.Hash
}

// round takes one agreement through its life while nodes are killed.
func (y *treatyRun) round(name string) {
	y.t.Helper()
	// What is to happen is planned here, since the random numbers belong to this goroutine.
	var strikes []strike
	for range 4 + y.random.IntN(4) {
		victim := y.world.Names[y.random.IntN(len(y.world.Names))]
		strikes = append(strikes, strike{victim: y.processes[victim], after: time.Duration(y.random.Int64N(int64(150 * time.Millisecond)))})
	}
	done := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for _, s := range strikes {
			if !y.wait(s, done) {
				return
			}
			s.victim.kill()
			s.victim.start()
			y.kills[s.victim.member]++
		}
	})
	y.live(name)
	close(done)
	killer.Wait()
	if y.t.Failed() {
		y.t.FailNow()
	}
}

func (y *treatyRun) live(name string) {
	y.t.Helper()
	from := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	a := statement.Agreement{Name: name, Version: 1, Alliance: y.history, Parties: parties, Purposes: []string{"exercise"}, Ceiling: "TLP:AMBER", RetainDays: 90,
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0)}
	first := y.conclude(a, "alpha", "bravo", "charlie")
	y.use(name, "bravo", "charlie")
	a.Version, a.Previous, a.RetainDays = 2, first, 30
	second := y.conclude(a, "bravo", "charlie", "alpha")
	y.use(name, "bravo")
	y.insist("withdraw", func(ctx context.Context) error {
		_, err := y.calls["charlie"].Withdraw(ctx, &ententev1.WithdrawRequest{Agreement: name, Reason: "enough"})
		return err
	})
	for _, m := range parties {
		y.insist("the notice at "+m, func(ctx context.Context) error {
			s, err := y.state(ctx, m)
			if err == nil && !s[fmt.Sprintf("notice %s charlie", second)] {
				err = errNotYet
			}
			return err
		})
	}
}

// conclude has one propose and the others sign, and waits until it is in force everywhere.
func (y *treatyRun) conclude(a statement.Agreement, proposer string, signers ...string) statement.Hash {
	y.t.Helper()
	raw, err := statement.Draft(a)
	if err != nil {
		y.t.Fatal(err)
	}
	hash, err := statement.HashOf(raw)
	if err != nil {
		y.t.Fatal(err)
	}
	y.insist("propose", func(ctx context.Context) error {
		_, err := y.calls[proposer].Propose(ctx, &ententev1.ProposeRequest{Agreement: raw})
		return err
	})
	for _, m := range signers {
		y.insist("sign as "+m, func(ctx context.Context) error {
			_, err := y.calls[m].SignProposal(ctx, &ententev1.SignProposalRequest{Proposal: hash.String()})
			return err
		})
	}
	for _, m := range parties {
		y.insist("in force at "+m, func(ctx context.Context) error {
			s, err := y.state(ctx, m)
			if err == nil && !s[fmt.Sprintf("agreement %s v%d %s", a.Name, a.Version, hash)] {
				err = errNotYet
			}
			return err
		})
	}
	return hash
}

// use has alpha send a document under the agreement, and waits until it is there, as whoever sent it would.
func (y *treatyRun) use(agreement string, to ...string) {
	y.t.Helper()
	sub := &ententev1.Submission{Id: client.NewID(), To: to, Agreement: agreement, Purpose: "exercise", Label: "TLP:GREEN", FileName: "report.txt", MediaType: "text/plain"}
	y.insist("send", func(ctx context.Context) error {
		_, err := y.alice.Send(ctx, sub, strings.NewReader("All quiet.\n"))
		return err
	})
	for _, m := range to {
		ref := "alpha/" + sub.GetId() + "/" + m
		y.sent = append(y.sent, ref)
		y.insist("deliver "+ref, func(ctx context.Context) error {
			out, err := y.alice.Node().Show(ctx, &ententev1.ShowRequest{Exchange: ref})
			if err == nil && out.GetExchanges()[0].GetState() != string(store.Delivered) {
				err = errNotYet
			}
			return err
		})
	}
}

var errNotYet = fault.New(fault.Transient, "", "not yet")

// insist does what a person does who is told that the node cannot be reached, or does not know of it yet: the same again.
func (y *treatyRun) insist(what string, do func(context.Context) error) {
	y.t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(y.t.Context(), 10*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if kind := fault.KindOf(err); kind != fault.Transient && kind != fault.NotFound || time.Since(began) > 2*time.Minute {
			y.t.Fatalf("%s: %v\n%s", what, err, y.world.Report(y.t.Context()))
		}
	}
}

// state is what a member knows of agreements.
func (y *treatyRun) state(ctx context.Context, m string) (map[string]bool, error) {
	h, err := node.OpenReader(ctx, y.world.Home(m))
	if err != nil {
		return nil, err
	}
	defer h.Close()
	s := map[string]bool{}
	err = h.DB.View(ctx, func(v *store.View) error {
		list, err := v.Agreements()
		if err != nil {
			return err
		}
		for _, a := range list {
			s[fmt.Sprintf("agreement %s v%d %s", a.Name, a.Version, a.Hash)] = true
			notices, err := v.NoticesAbout(a.Hash)
			if err != nil {
				return err
			}
			for _, n := range notices {
				s[fmt.Sprintf("notice %s %s", n.About, n.Member)] = true
			}
		}
		return nil
	})
	return s, err
}

// compare wants the same at all members, each fact in one leaf, and nothing that waits.
func (y *treatyRun) compare(rounds int) {
	y.t.Helper()
	want := map[statement.EventKind]int{statement.EventProposed: 2 * rounds, statement.EventSigned: 4 * rounds, statement.EventAgreement: 2 * rounds,
		statement.EventWithdrawn: rounds}
	first, err := y.state(y.t.Context(), "alpha")
	if err != nil {
		y.t.Fatal(err)
	}
	for _, m := range y.world.Names {
		if !slices.Contains(parties, m) {
			first, want = map[string]bool{}, map[statement.EventKind]int{statement.EventProposed: 0, statement.EventSigned: 0, statement.EventAgreement: 0,
				statement.EventWithdrawn: 0, statement.EventRejected: 0}
		}
		s, err := y.state(y.t.Context(), m)
		if err != nil || !maps.Equal(s, first) {
			y.t.Errorf("%s knows %v, and alpha %v: %v", m, slices.Sorted(maps.Keys(s)), slices.Sorted(maps.Keys(first)), err)
		}
		h, err := node.OpenReader(y.t.Context(), y.world.Home(m))
		if err != nil {
			y.t.Fatal(err)
		}
		got := map[statement.EventKind]int{}
		err = h.DB.View(y.t.Context(), func(v *store.View) error {
			for r, err := range v.LeafRows(0) {
				if err != nil {
					return err
				}
				l, err := statement.ParseLeaf(r.Body)
				if err != nil {
					return err
				}
				got[l.Kind]++
			}
			return nil
		})
		if err := errors.Join(err, h.Close()); err != nil {
			y.t.Fatal(err)
		}
		for kind, n := range want {
			if got[kind] != n {
				y.t.Errorf("%s has %d leaves %q, expected %d", m, got[kind], kind, n)
			}
		}
	}
}
