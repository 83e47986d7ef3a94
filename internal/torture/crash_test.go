//go:build torture && linux

package torture_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entente.example/internal/crash"
	"entente.example/internal/torture"
)

// aim is where to strike: who, how many times a step is passed before at most, and what must be going on.
type aim struct {
	step     string
	who      role
	most     int
	later    bool // it happens behind people's backs, so somebody must wait for it
	scenario func(w *world, plan plan) error
}

type role int

const (
	anybody role = iota
	sender
	recipient
)

var aims = []aim{
	{crash.FileSync, anybody, 3, false, (*world).addPerson},
	{crash.FileRename, anybody, 3, false, (*world).addPerson},
	{crash.FolderSync, anybody, 6, false, (*world).document},
	{crash.StagingSync, anybody, 2, false, (*world).document},
	{crash.StagingRename, anybody, 2, false, (*world).document},
	{crash.DatabaseCommit, anybody, 14, false, (*world).document},
	{crash.HeadWrite, anybody, 6, true, (*world).document},
	{crash.CheckpointStore, anybody, 6, true, (*world).document},
	{crash.WitnessHead, anybody, 3, true, (*world).document},
	{crash.Released, sender, 2, false, (*world).document},
	{crash.Received, recipient, 2, false, (*world).document},
	{crash.Delivered, sender, 2, false, (*world).document},
	{crash.Expired, sender, 1, false, (*world).expire},
	{crash.Opened, recipient, 2, false, (*world).document},
	{crash.Undecryptable, recipient, 1, false, (*world).undecryptable},
	{crash.Confirmed, sender, 2, false, (*world).document},
	{crash.AnswerSend, sender, 2, false, (*world).document},
	{crash.AnswerDeliver, recipient, 2, false, (*world).document},
	{crash.HandIn, recipient, 2, false, (*world).document},
}

var phases = []string{"before", "after", "failed"}

// plan is one strike.
type plan struct {
	aim
	phase string
	n     int
	from  string // who sends
	to    string
}

func (p plan) String() string { return fmt.Sprintf("%s/%s/%d", p.step, p.phase, p.n) }

func (p plan) setting() string { return "ENTENTE_CRASH=" + p.String() }

// victim is who is struck.
func (p plan) victim(random *rand.Rand) string {
	switch {
	case p.who == sender, p.who == anybody && random.IntN(2) == 0:
		return p.from
	}
	return p.to
}

// strikes plans the runs of the i-th world: every step in every phase in turn, beginning at another one in each world.
func strikes(n, i int, random *rand.Rand) (list []plan) {
	all := len(aims) * len(phases)
	for k := range n {
		at := (k + i*all/worlds) % all
		a := aims[at%len(aims)]
		p := plan{aim: a, phase: phases[at/len(aims)%len(phases)], n: 1 + random.IntN(a.most), from: "alpha", to: "bravo"}
		if random.IntN(2) == 0 {
			p.from, p.to = p.to, p.from
		}
		list = append(list, p)
	}
	return list
}

// life is how many runs a world lives for: a small home is looked at faster.
const life = 60

// TestCrash ends a process at every named step, before it, after it, and lets it report a failure although it was done. Whoever got an error does
// the same again, and in the end everything is as if nothing had happened.
func TestCrash(t *testing.T) {
	if crashes == 0 {
		return
	}
	t.Run("worlds", func(t *testing.T) {
		for i := range worlds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				plans := strikes(share(crashes, i), i, random)
				for k := 0; len(plans) > 0; k++ {
					some := min(life, len(plans))
					strikeWorld(t, fmt.Sprintf("crash-%d-%d", i, k), random, plans[:some])
					plans = plans[some:]
				}
			})
		}
	})
	// A step that nothing strikes is a step that nothing tests.
	if all := len(aims) * len(phases); crashes >= all {
		for _, step := range crash.Steps() {
			for _, phase := range phases {
				if report.Struck[step+"/"+phase] == 0 {
					t.Errorf("%s/%s was never struck", step, phase)
				}
			}
		}
	}
}

// strikeWorld founds a world and goes through some plans.
func strikeWorld(t *testing.T, name string, random *rand.Rand, plans []plan) {
	w := found(t, name, filepath.Join(t.TempDir(), "world"), random)
	for _, m := range w.lab.Names {
		if err := w.start(m); err != nil {
			w.violation(err)
		}
	}
	for _, p := range plans {
		w.note(p.String())
		if err := p.scenario(w, p); err != nil {
			w.violation(err)
		}
		if err := w.checkNew(); err != nil {
			w.violation(err)
		}
	}
	if err := w.checkWhole(); err != nil {
		w.violation(err)
	}
}

// document sends documents until the plan has struck, three at most.
func (w *world) document(p plan) error {
	return w.until(p, func() error { return w.exchange(w.compose(p.from, w.size()), w.tend) })
}

// until starts the victim with the plan, and does something until it has struck.
func (w *world) until(p plan, do func() error) error {
	victim := p.victim(w.random)
	before := w.struck
	w.nodes[victim].kill()
	if err := w.start(victim, p.setting()); err != nil {
		return err
	}
	node := w.nodes[victim]
	for i := 0; i < 3 && w.struck == before && node.struck() == ""; i++ {
		if err := do(); err != nil {
			return err
		}
	}
	// Some steps are done behind everybody's back, and not at once.
	for began := time.Now(); p.later && w.struck == before && node.struck() == "" && time.Since(began) < 3*time.Second; time.Sleep(5 * time.Millisecond) {
		if err := w.tend(); err != nil {
			return err
		}
	}
	if node.struck() != "" {
		node.hit = time.Time{} // what it was doing then is done
		return w.tend()
	}
	if w.struck > before {
		return nil
	}
	report.change(func(r *torture.Report) { r.Missed++ })
	if p.n > 1 { // it is not passed that often: then at once
		p.n = 1
		return w.until(p, do)
	}
	node.kill() // nobody goes on with a plan
	return w.start(victim)
}

// expire has a document's time end before its recipient comes back.
func (w *world) expire(p plan) error {
	w.nodes[p.to].kill()
	err := w.until(p, func() error {
		s := w.compose(p.from, w.size())
		s.state = "expired"
		return w.exchange(s, w.tend)
	})
	if err != nil {
		return err
	}
	return w.start(p.to)
}

// undecryptable has the sender sign a false commitment, which only the recipient's opening finds out.
func (w *world) undecryptable(p plan) error {
	again := func(env ...string) error {
		w.env[p.from] = env
		w.nodes[p.from].kill()
		return w.start(p.from)
	}
	if err := again("ENTENTE_WEAKEN=" + crash.FalseCommitment); err != nil {
		return err
	}
	err := w.until(p, func() error {
		s := w.compose(p.from, w.size())
		s.state = "undecryptable"
		return w.exchange(s, w.tend)
	})
	if err != nil {
		return err
	}
	return again()
}

// addPerson strikes a command, which writes files beside a node that runs. To do it again must heal it.
func (w *world) addPerson(p plan) error {
	home := w.lab.Home(p.to)
	name := fmt.Sprintf("p%d", w.random.IntN(1<<30))
	add := func(env ...string) (string, error) {
		cmd := exec.CommandContext(w.t.Context(), program, "person", "add", name, "--role", "reader", "--label", "TLP:RED", "--trained-until", "2099-12-31", "--home", home)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := add(p.setting()); strings.Contains(out, "struck "+p.String()) {
		w.strike(p.String())
	} else {
		return fmt.Errorf("the command was not struck: %w: %s", err, out)
	}
	if out, err := add(); err != nil {
		return fmt.Errorf("the command does not succeed again: %w: %s", err, out)
	}
	out, err := exec.CommandContext(w.t.Context(), program, "person", "list", "--home", home).CombinedOutput()
	if err != nil || !strings.Contains(string(out), name) {
		return fmt.Errorf("nobody knows of %s: %w: %s", name, err, out)
	}
	return nil
}
