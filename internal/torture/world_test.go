//go:build torture && linux

package torture_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"entente.example/internal/client"
	"entente.example/internal/durable"
	"entente.example/internal/lab"
	"entente.example/internal/limit"
	"entente.example/internal/torture"
	ententev1 "entente.example/proto/entente/v1"
)

// world is alpha and bravo, in processes of the real program, and what their people know: which documents they handed in, and which answers they
// got. One goroutine uses it.
type world struct {
	t      *testing.T
	name   string
	random *rand.Rand
	lab    *lab.World
	nodes  map[string]*process
	sent   []*sending
	env    map[string][]string // what each member's processes are told in any case
	plans  []string            // what was done lately, for whoever looks for a mistake
	struck int                 // how many plans have struck
	wait   time.Duration       // patience, but where something is expected to be lost
}

// sending is one document, as those who sent and opened it know it.
type sending struct {
	id, from, to string
	doc          []byte
	sum          [sha256.Size]byte
	acked        atomic.Bool // the sender was told that it is on its way
	opened       atomic.Bool // the recipient has read it whole
	kept, read   bool        // the same, when the power was cut last
	state        string      // that it must end in
	checked      bool        // it was seen to be as it must be
}

func (s *sending) ref() string { return s.from + "/" + s.id + "/" + s.to }

// patience bounds the wait for what must come after a crash.
const patience = 2 * time.Minute

// found makes a world in a folder, in which no node runs yet.
func found(t *testing.T, name, dir string, random *rand.Rand) *world {
	t.Helper()
	l, err := lab.Found(t.Context(), lab.Options{Dir: dir, Members: []string{"alpha", "bravo"}})
	if err == nil {
		_, err = l.Agree(t.Context(), lab.Agreement{Name: "harbour-watch", Parties: []string{"alpha", "bravo"}, Purposes: []string{"exercise"}, Ceiling: "TLP:AMBER", RetainDays: 90})
		err = errors.Join(err, l.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, name: name, random: random, lab: l, nodes: map[string]*process{}, env: map[string][]string{}, wait: patience}
	logs := filepath.Join(results, name)
	if err := os.MkdirAll(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, m := range l.Names {
		w.nodes[m] = &process{member: m, program: program, home: l.Home(m), log: filepath.Join(logs, m+".log")}
	}
	t.Cleanup(w.stop)
	w.keepFree(1 << 20) // the disks here are small
	return w
}

// keepFree sets how much of the disk both nodes keep free.
func (w *world) keepFree(bytes int) {
	w.t.Helper()
	for _, m := range w.lab.Names {
		file := filepath.Join(w.lab.Home(m), "entente.toml")
		text, err := os.ReadFile(file)
		if err == nil {
			err = durable.Replace(file, freeBytes.ReplaceAll(text, fmt.Appendf(nil, "free_bytes = %d", bytes)))
		}
		if err != nil || !freeBytes.Match(text) {
			w.t.Fatalf("set free_bytes: %v", err)
		}
	}
}

var freeBytes = regexp.MustCompile(`(?m)^free_bytes = [0-9]+`)

// stop ends the nodes at once.
func (w *world) stop() {
	for _, p := range w.nodes {
		p.kill()
	}
}

// note remembers what is done.
func (w *world) note(what string) {
	if w.plans = append(w.plans, what); len(w.plans) > 12 {
		w.plans = w.plans[1:]
	}
}

// start starts a node. One that is struck while it starts is started again, without the plan: that is what the plan was for.
func (w *world) start(member string, plan ...string) error {
	p := w.nodes[member]
	err := p.start(nil, append(slices.Clone(w.env[member]), plan...)...)
	if errors.Is(err, errDied) {
		w.strike(p.what)
		err = p.start(nil, w.env[member]...)
	}
	return err
}

// strike counts a plan that has struck.
func (w *world) strike(plan string) {
	w.struck++
	report.change(func(r *torture.Report) {
		r.Crashes++
		r.Struck[path.Dir(plan)]++
	})
}

// tend starts what has died, or has been told that a step failed some moments ago: nobody goes on with a disk that failed.
func (w *world) tend() error {
	for m, p := range w.nodes {
		if p.done == nil {
			continue // it is to be down
		}
		what := p.struck()
		if p.running() && (what == "" || time.Since(p.hit) < 150*time.Millisecond) {
			continue
		}
		if what == "" {
			said := p.said()
			return fmt.Errorf("%s ended, and nobody killed it: %s", m, said[max(0, len(said)-600):])
		}
		p.kill()
		w.strike(what)
		if err := w.start(m); err != nil {
			return err
		}
	}
	return nil
}

// compose makes up a document from one member to the other that nobody can make smaller.
func (w *world) compose(from string, size int) *sending {
	s := &sending{id: client.NewID(), from: from, to: "alpha", doc: make([]byte, size), state: "opened"}
	if from == "alpha" {
		s.to = "bravo"
	}
	var key [32]byte
	for i := range key {
		key[i] = byte(w.random.Uint32())
	}
	_, _ = rand.NewChaCha8(key).Read(s.doc)
	s.sum = sha256.Sum256(s.doc)
	w.sent = append(w.sent, s)
	return s
}

// size is that of the next document: half of them are so small that they have no file.
func (w *world) size() int {
	switch n := w.random.IntN(20); {
	case n == 0:
		return 1<<20 + w.random.IntN(1<<20)
	case n < 4:
		return 64<<10 + w.random.IntN(256<<10)
	case n < 10:
		return limit.PayloadRow + w.random.IntN(16<<10)
	}
	return 1 + w.random.IntN(8<<10)
}

// exchange takes one document from its sender to its recipient's desk, as patient people do: who gets an error does the same again. tend is
// called all the while.
func (w *world) exchange(s *sending, tend func() error) error {
	if err := w.insist(tend, s.ref()+": send", func(ctx context.Context) error { return w.send(ctx, s) }); err != nil {
		return err
	}
	if s.state == "opened" || s.state == "undecryptable" {
		err := w.insist(tend, s.ref()+": open", func(ctx context.Context) error { return w.open(ctx, s) })
		if err != nil {
			return err
		}
	}
	return w.insist(tend, s.ref()+": settle", func(ctx context.Context) error { return w.settled(ctx, s) })
}

// insist calls do until it succeeds.
func (w *world) insist(tend func() error, what string, do func(context.Context) error) error {
	pause := 3 * time.Millisecond
	for began := time.Now(); ; pause = min(pause*3/2, 60*time.Millisecond) {
		if err := tend(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		err := do(ctx)
		cancel()
		if err == nil || errors.Is(err, errWrong) {
			return err
		}
		if time.Since(began) > w.wait {
			return fmt.Errorf("%s: not within %v: %w", what, w.wait, err)
		}
		time.Sleep(pause)
	}
}

// errWrong: no patience helps.
var errWrong = errors.New("this must never be")

// errHarness: it is not the program that failed, but what tries it.
var errHarness = errors.New("the harness failed")

// as connects as a member's person, anew each time: an old connection would wait before it looks whether the node is back.
func (w *world) as(member string, do func(*client.Client) error) error {
	c, err := w.lab.Client(member, w.lab.Person(member))
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// send hands it in, once. What the person is told counts.
func (w *world) send(ctx context.Context, s *sending) error {
	return w.as(s.from, func(c *client.Client) error {
		sub := &ententev1.Submission{Id: s.id, To: []string{s.to}, Agreement: "harbour-watch", Purpose: "exercise", Label: "TLP:AMBER",
			FileName: "document.bin", MediaType: "application/octet-stream"}
		if s.state == "expired" {
			sub.DeliverSeconds = 1
		}
		// Not Client.Send, which would try again by itself, while nobody starts the node.
		stream, err := c.Node().Send(ctx)
		if err != nil {
			return err
		}
		err = stream.Send(&ententev1.SendRequest{Part: &ententev1.SendRequest_Submission{Submission: sub}})
		for part := range slices.Chunk(s.doc, limit.Chunk) {
			if err == nil {
				err = stream.Send(&ententev1.SendRequest{Part: &ententev1.SendRequest_Chunk{Chunk: part}})
			}
		}
		if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the answer is there already
			return err
		}
		if _, err := stream.CloseAndRecv(); err != nil {
			return err
		}
		s.acked.Store(true)
		return nil
	})
}

// open reads it as the recipient's person, whole.
func (w *world) open(ctx context.Context, s *sending) error {
	return w.as(s.to, func(c *client.Client) error {
		var sum hash.Hash
		_, err := c.Open(ctx, s.ref(), func(*ententev1.Opened) (io.Writer, error) {
			sum = sha256.New()
			return sum, nil
		})
		if s.state == "undecryptable" {
			if err == nil {
				return fmt.Errorf("%w: %s was opened", errWrong, s.ref())
			}
			x, err := c.Node().Show(ctx, &ententev1.ShowRequest{Exchange: s.ref()})
			return stateIs(x, err, s.state)
		}
		if err != nil {
			return err
		}
		if [sha256.Size]byte(sum.Sum(nil)) != s.sum {
			return fmt.Errorf("%w: %s is another document than was sent", errWrong, s.ref())
		}
		s.opened.Store(true)
		return nil
	})
}

// settled asks the sender's node whether it has the last receipt.
func (w *world) settled(ctx context.Context, s *sending) error {
	return w.as(s.from, func(c *client.Client) error {
		x, err := c.Node().Show(ctx, &ententev1.ShowRequest{Exchange: s.ref()})
		return stateIs(x, err, s.state)
	})
}

func stateIs(x *ententev1.ShowResponse, err error, want string) error {
	if err != nil {
		return err
	}
	if got := x.GetExchanges()[0].GetState(); got != want {
		return fmt.Errorf("it is %s, not yet %s", got, want)
	}
	return nil
}

// violation is how a run fails: it says how to repeat it, and keeps the homes.
func (w *world) violation(err error) {
	w.t.Helper()
	w.stop()
	kept := filepath.Join(results, w.name, "homes")
	_ = os.RemoveAll(kept) // of an earlier run of the same name
	if e := os.CopyFS(kept, os.DirFS(w.lab.Dir)); e != nil {
		kept += fmt.Sprintf(" (incomplete: %v)", e)
	}
	text := fmt.Sprintf("%s: %v; before: %q; repeat with SEED=%d; homes and logs are in %s", w.name, err, w.plans, seed, kept)
	report.violation(text)
	w.t.Fatal(text)
}
