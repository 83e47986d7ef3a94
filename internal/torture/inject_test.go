//go:build torture && linux

package torture_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entente.example/internal/torture"
)

// injection is what strace does to a process: the n-th call of these fails with an error, and is not made; or the process is killed at it.
type injection struct {
	calls string
	what  string
	about int // how many of them a node makes from its start to the end of a document
}

var injections = []injection{
	{"fsync,fdatasync", "error=EIO", 30}, {"fsync,fdatasync", "error=ENOSPC", 30}, {"fsync,fdatasync", "signal=SIGKILL", 30},
	{"rename,renameat,renameat2", "error=EIO", 2}, {"rename,renameat,renameat2", "error=ENOSPC", 2}, {"rename,renameat,renameat2", "signal=SIGKILL", 2},
	{"pwrite64", "error=EIO", 120}, {"pwrite64", "error=ENOSPC", 120}, {"pwrite64", "signal=SIGKILL", 120},
	{"write", "error=EIO", 200}, {"write", "error=ENOSPC", 200}, {"write", "signal=SIGKILL", 200},
	{"ftruncate", "error=EIO", 4}, {"mkdirat", "error=ENOSPC", 4},
}

// stride is how far n goes on after a call was failed: where little is to be tried, that is spread over all kinds.
func (i injection) stride() int { return max(1, i.about*len(injections)/max(1, faults)) }

// TestInject fails the n-th system call of a kind, from the start of a node on, for n from 1 until a node comes through a document without; then the
// next kind. Whatever a node makes of it, it may not say yes to what it cannot keep, and after a restart all is well.
func TestInject(t *testing.T) {
	t.Run("worlds", func(t *testing.T) {
		for i := range worlds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, uint64(200+i)))
				n := share(faults, i)
				s := &series{at: i * len(injections) / worlds}
				s.begin(random)
				for k := 0; n > 0; k++ {
					some := min(life, n)
					name := fmt.Sprintf("inject-%d-%d", i, k)
					w := found(t, name, filepath.Join(t.TempDir(), "world"), random)
					for _, m := range w.lab.Names {
						if err := w.start(m); err != nil {
							w.violation(err)
						}
					}
					for done := 0; done < some; {
						if hit := w.inject(s); hit {
							done++
						}
					}
					if err := w.checkWhole(); err != nil {
						w.violation(err)
					}
					n -= some
				}
			})
		}
	})
}

// series goes through the kinds, and through the calls of a kind.
type series struct{ at, n int }

func (s *series) kind() injection { return injections[s.at%len(injections)] }

// begin begins with the kind.
func (s *series) begin(random *rand.Rand) { s.n = 1 + random.IntN(s.kind().stride()) }

// inject has one node live through one document while its n-th call fails. It tells whether it came to that.
func (w *world) inject(s *series) (hit bool) {
	kind := s.kind()
	rule := fmt.Sprintf("%s:%s:when=%d", kind.calls, kind.what, s.n)
	doc := w.compose("alpha", w.size())
	victim := doc.to
	if w.random.IntN(2) == 0 {
		victim = doc.from
	}
	w.note(victim + " " + rule)
	trace := filepath.Join(results, w.name, "trace")
	if err := w.underStrace(victim, trace, rule); err != nil {
		w.violation(err)
	}
	tend := func() error {
		p := w.nodes[victim]
		switch {
		case p.running() && p.hit.IsZero():
			if injected(trace) {
				p.hit = time.Now()
			}
			return nil
		case p.running() && time.Since(p.hit) < 150*time.Millisecond:
			return nil
		case p.running() || injected(trace): // nobody goes on with a disk that failed
			p.kill()
			hit = true
			_ = os.Remove(trace)
			return w.start(victim)
		}
		return w.tend() // which says what happened
	}
	if err := w.exchange(doc, tend); err != nil {
		w.violation(err)
	}
	if injected(trace) {
		hit = true
	}
	w.nodes[victim].kill()
	_ = os.Remove(trace)
	if err := w.start(victim); err != nil {
		w.violation(err)
	}
	if err := w.checkNew(); err != nil {
		w.violation(err)
	}
	if hit {
		report.change(func(r *torture.Report) { r.Injected[kind.calls+" "+kind.what]++ })
		s.n += kind.stride()
	} else { // a clean run: there is no n-th call
		s.at++
		s.begin(w.random)
	}
	return hit
}

// underStrace starts a node whose calls are failed by that rule. It may die of it before it serves.
func (w *world) underStrace(member, trace, rule string) error {
	p := w.nodes[member]
	p.kill()
	_ = os.Remove(trace)
	calls, _, _ := strings.Cut(rule, ":")
	err := p.start([]string{"strace", "-f", "--seccomp-bpf", "-qq", "-o", trace, "-e", "trace=" + calls, "-e", "inject=" + rule}, w.env[member]...)
	if errors.Is(err, errDied) && !injected(trace) {
		return fmt.Errorf("%s did not start, and no call of it had failed: %s", member, p.said())
	}
	if errors.Is(err, errDied) {
		return nil
	}
	return err
}

// injected tells whether strace has struck.
func injected(trace string) bool {
	b, err := os.ReadFile(trace)
	return err == nil && (strings.Contains(string(b), "(INJECTED)") || strings.Contains(string(b), "killed by SIGKILL"))
}
