package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/checkpoint"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// village is members in one process, without network and without goroutines of their own: the test does the rounds, by its own clock.
// Homes, databases, heads and signatures are real.
type village struct {
	t      *testing.T
	random *mrand.Rand
	dir    string
	mu     sync.Mutex
	clock  time.Time
	nodes  map[string]*node  // by the name of a folder: a member, or a copy of it
	routes map[string]string // FROM>TO: the folder that answers, where that is not TO itself
}

var villagers = []string{"alpha", "bravo", "charlie"}

// template founds an alliance once; each trial works on a copy.
func template(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "template")
	err := FoundAlliance(t.Context(), AllianceOptions{Dir: dir, Alliance: "harbour", Members: villagers, Now: time.Now(),
		Addresses: func(i int, _ string) (string, string) {
			return fmt.Sprintf("127.0.0.1:%d", 20000+i), fmt.Sprintf("127.0.0.1:%d", 21000+i)
		}})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func settle(t *testing.T, template string, seed uint64) *village {
	t.Helper()
	v := &village{t: t, random: mrand.New(mrand.NewPCG(seed, 0)), dir: t.TempDir(), clock: time.Now(), nodes: map[string]*node{}, routes: map[string]string{}}
	t.Cleanup(func() {
		for name := range v.nodes {
			v.leave(name)
		}
	})
	for _, m := range villagers {
		v.copy(filepath.Join(template, m), m)
		v.arrive(m)
	}
	return v
}

func (v *village) now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.clock
}

func (v *village) copy(from, to string) {
	v.t.Helper()
	if err := os.CopyFS(filepath.Join(v.dir, to), os.DirFS(from)); err != nil {
		v.t.Fatal(err)
	}
	// What CopyFS made others may read, and a home must be its owner's.
	err := filepath.WalkDir(filepath.Join(v.dir, to), func(path string, d os.DirEntry, err error) error {
		mode := os.FileMode(0o600)
		if err == nil && d.IsDir() {
			mode = 0o700
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// arrive opens a home as a node does when it starts.
func (v *village) arrive(name string) *node {
	v.t.Helper()
	h, err := OpenHome(v.t.Context(), filepath.Join(v.dir, name))
	if err != nil {
		v.t.Fatal(err)
	}
	n := newNode(h, Options{Log: slog.New(slog.DiscardHandler), Now: v.now})
	n.stub = func(_ context.Context, to string) ententev1.PeerServiceClient {
		return &neighbour{village: v, from: name, to: to}
	}
	v.nodes[name] = n
	if err := n.recover(v.t.Context()); err != nil {
		v.t.Fatal(err)
	}
	return n
}

func (v *village) leave(name string) {
	v.t.Helper()
	if err := v.nodes[name].Close(); err != nil {
		v.t.Error(err)
	}
	delete(v.nodes, name)
}

// neighbour is how a node reaches another one: by calling its handlers.
type neighbour struct {
	ententev1.PeerServiceClient
	village  *village
	from, to string
}

func (n *neighbour) answers() (peer string, there *node, err error) {
	to := n.to
	if r := n.village.routes[n.from+">"+n.to]; r != "" {
		to = r
	}
	there = n.village.nodes[to]
	if there == nil {
		return "", nil, fmt.Errorf("%s does not answer", to)
	}
	return n.village.nodes[n.from].Config.Member, there, nil
}

func (n *neighbour) Witness(ctx context.Context, req *ententev1.WitnessRequest, _ ...grpc.CallOption) (*ententev1.WitnessResponse, error) {
	peer, there, err := n.answers()
	if err != nil {
		return nil, err
	}
	return there.witnessFor(ctx, peer, req)
}

func (n *neighbour) Tell(ctx context.Context, req *ententev1.TellRequest, _ ...grpc.CallOption) (*ententev1.TellResponse, error) {
	peer, there, err := n.answers()
	if err != nil {
		return nil, err
	}
	return there.told(ctx, peer, req)
}

func (n *neighbour) Consistency(ctx context.Context, req *ententev1.ConsistencyRequest, _ ...grpc.CallOption) (*ententev1.ConsistencyResponse, error) {
	_, there, err := n.answers()
	if err != nil {
		return nil, err
	}
	return there.Consistency(ctx, req)
}

// grow adds leaves to a log, none twice.
func (v *village) grow(name string, leaves int) {
	v.t.Helper()
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	for range leaves {
		err := v.nodes[name].commit(v.t.Context(), func(tx *store.Tx) error {
			_, err := tx.Record(statement.Event{Kind: statement.EventRejected, Time: v.now(), Peers: []string{"bravo"},
				Private: []statement.Private{{Field: "error", Value: salt}}})
			return err
		})
		if err != nil {
			v.t.Fatal(err)
		}
	}
}

// round has everybody say how large its log is, ask all witnesses, tell all others what it saw, and compare what it was told: what running
// nodes do all the time.
func (v *village) round() {
	v.t.Helper()
	v.mu.Lock()
	v.clock = v.clock.Add(time.Second)
	v.mu.Unlock()
	ctx := v.t.Context()
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range v.nodes {
			if !yield(name) {
				return
			}
		}
	})
	for _, name := range names {
		n := v.nodes[name]
		if n.Log.Stopped() == nil {
			if _, err := n.Log.Renew(ctx); err != nil {
				v.t.Fatal(err)
			}
		}
		if _, err := n.rounds.step(ctx, func(context.Context, *link) {}); err != nil {
			v.t.Fatal(err)
		}
		for _, l := range n.rounds.links {
			l.pause = time.Time{}
			if t, _ := n.rounds.due(l); t != nil && n.Log.Stopped() == nil {
				n.rounds.one(ctx, l, t)
			}
		}
	}
	for _, name := range names {
		g := v.nodes[name].gossip
		if err := g.connect(ctx, func(context.Context, *teller) {}); err != nil {
			v.t.Fatal(err)
		}
		for _, t := range g.tellers {
			if req, _ := g.due(t); req != nil {
				g.tell(ctx, t, req)
			}
		}
	}
	for _, name := range names {
		g := v.nodes[name].gossip
		clear(g.retry)
		g.settle(ctx)
	}
}

// proofs counts who holds a proof that alpha's log forked, and a leaf that says so. Every proof is checked.
func (v *village) proofs() (found []string) {
	v.t.Helper()
	for name, n := range v.nodes {
		h, err := n.History(v.t.Context())
		if err != nil {
			v.t.Fatal(err)
		}
		_, log, _ := logOf(h, "alpha/log/1")
		err = n.DB.View(v.t.Context(), func(s *store.View) error {
			forks, err := s.Forks("alpha/log/1")
			if err != nil || len(forks) == 0 {
				return err
			}
			f, err := checkpoint.ParseFork(forks[0].Raw)
			if err != nil {
				return err
			}
			if _, err := f.Check(log); err != nil {
				return err
			}
			size, err := s.Size()
			if err != nil {
				return err
			}
			leaves, err := s.Leaves(max(0, size-limit.Page), limit.Page)
			for _, raw := range leaves {
				if strings.Contains(string(raw), `"kind":"forked"`) && strings.Contains(string(raw), forks[0].Hash.String()) {
					found = append(found, name)
				}
			}
			return err
		})
		if err != nil {
			v.t.Fatal(err)
		}
	}
	slices.Sort(found)
	return found
}

// caught checks that after two rounds every honest member has a proof, and that after the third, in which everybody was told, nobody who has
// alpha's keys signs any more.
func (v *village) caught(culprits ...string) {
	v.t.Helper()
	v.round()
	v.round()
	found := v.proofs()
	for _, m := range []string{"bravo", "charlie"} {
		if !slices.Contains(found, m) {
			v.t.Errorf("after two rounds %s knows nothing; who does: %v", m, found)
		}
	}
	v.round()
	for _, name := range culprits {
		if v.nodes[name].Log.Stopped() == nil {
			v.t.Errorf("%s still signs", name)
		}
		if err := v.nodes[name].mayExchange(v.t.Context()); err == nil {
			v.t.Errorf("%s still exchanges", name)
		}
	}
	if found = v.proofs(); len(found) != len(v.nodes) {
		v.t.Errorf("in the end only %v have the proof", found)
	}
}

// trials is how many rollbacks and forks are tried, each at another place; few of them where the race detector makes each ten times as slow.
func trials() int {
	if testing.Short() {
		return 6
	}
	return 100
}

// TestRollbacks puts alpha's home back to what it was, at random places: everybody finds out within two rounds, with a proof.
func TestRollbacks(t *testing.T) {
	t.Parallel()
	template := template(t)
	for i := range trials() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			v := settle(t, template, uint64(i))
			for range v.random.IntN(3) {
				v.grow("alpha", v.random.IntN(4))
				v.round()
			}
			v.leave("alpha")
			v.copy(filepath.Join(v.dir, "alpha"), "backup")
			v.arrive("alpha")
			v.grow("alpha", 1+v.random.IntN(4))
			v.round()
			v.leave("alpha")
			if err := os.RemoveAll(filepath.Join(v.dir, "alpha")); err != nil {
				t.Fatal(err)
			}
			v.copy(filepath.Join(v.dir, "backup"), "alpha")
			v.mu.Lock()
			v.clock = v.clock.Add(time.Second) // nobody restores a backup faster
			v.mu.Unlock()
			v.arrive("alpha")
			v.grow("alpha", v.random.IntN(6)) // then it is smaller than others know it, or as large, or larger
			v.caught("alpha")
		})
	}
}

// TestForks runs two copies of alpha's home at once. In two trials of three they talk to all others, in the third each talks to one of
// them only, and shows it another log: a split view.
func TestForks(t *testing.T) {
	t.Parallel()
	template := template(t)
	for i := range trials() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			v := settle(t, template, uint64(i))
			for range v.random.IntN(3) {
				v.grow("alpha", v.random.IntN(4))
				v.round()
			}
			v.leave("alpha")
			v.copy(filepath.Join(v.dir, "alpha"), "twin")
			v.arrive("alpha")
			v.arrive("twin")
			v.routes["bravo>alpha"] = []string{"alpha", "twin"}[v.random.IntN(2)]
			v.routes["charlie>alpha"] = []string{"alpha", "twin"}[v.random.IntN(2)]
			if i%3 == 0 {
				v.routes["bravo>alpha"], v.routes["charlie>alpha"] = "alpha", "twin"
				v.routes["alpha>charlie"], v.routes["twin>bravo"] = "nobody", "nobody"
			}
			v.grow("alpha", 1+v.random.IntN(4))
			v.grow("twin", 1+v.random.IntN(4))
			v.caught("alpha", "twin")
		})
	}
}
