//go:build torture && linux

package torture_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entente.example/internal/crash"
	"entente.example/internal/torture"
)

// mostTries is how often a mistake may get away with it. What notices one, notices it at the first few tries.
const mostTries = 60

// TestWeakened makes the program make mistakes that lose documents, and wants each to be noticed: otherwise this package proves nothing.
func TestWeakened(t *testing.T) {
	for _, c := range []struct {
		mistake string
		try     func(*world, *image, int) error
	}{
		{crash.NormalSync, func(w *world, m *image, i int) error { return w.cut(m, planCut(i, w.random)) }},
		{crash.NoFolderSync, func(w *world, m *image, _ int) error {
			// Right after the transaction that names the blob: whatever is synced next may make the name of the blob durable, too.
			return w.cut(m, plan{aim: aim{step: crash.DatabaseCommit}, phase: "pause", n: 2 + w.random.IntN(10), from: "alpha", to: "bravo"})
		}},
		{crash.AnswerFirst, func(w *world, _ *image, _ int) error {
			return w.document(plan{aim: aim{step: crash.Released, who: sender}, phase: "before", n: 1, from: "alpha", to: "bravo"})
		}},
	} {
		t.Run(c.mistake, func(t *testing.T) {
			t.Parallel()
			name := "weak-" + c.mistake
			m := newImage(t, name, c.mistake != crash.NoFolderSync)
			w := found(t, name, filepath.Join(m.mount, "world"), rand.New(rand.NewPCG(seed, 1)))
			w.wait = 10 * time.Second
			for _, member := range w.lab.Names {
				w.env[member] = []string{"ENTENTE_WEAKEN=" + c.mistake}
			}
			if c.mistake == crash.AnswerFirst {
				for _, member := range w.lab.Names {
					if err := w.start(member); err != nil {
						t.Fatal(err)
					}
				}
			}
			for i := range mostTries {
				err := c.try(w, m, i)
				if errors.Is(err, errHarness) || err != nil && strings.Contains(err.Error(), "is full") {
					t.Fatal(err) // that would be noticed without the mistake, too
				}
				if err != nil {
					t.Logf("noticed at try %d: %.300v", i+1, err)
					report.change(func(r *torture.Report) { r.Weakened[c.mistake] = i + 1 })
					return
				}
			}
			report.violation(name + ": the program made this mistake, and nobody noticed")
			t.Errorf("nobody noticed in %d tries", mostTries)
		})
	}
}
