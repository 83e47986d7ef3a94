//go:build torture && linux

package torture_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/torture"
)

// TestFullDisk fills the disk of one node, by what it receives and by what it sends: with room that is kept free, and without any, so that system
// calls fail. Nobody is told that something was done which was not, everybody is told why, and when there is room again everything goes on
// without anybody's doing.
func TestFullDisk(t *testing.T) {
	for _, keep := range []int{0, 3 << 20} {
		t.Run(fmt.Sprintf("%d kept free", keep), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, uint64(300+keep)))
			name := fmt.Sprintf("full-%d", keep)
			disk := filepath.Join(t.TempDir(), "disk")
			if err := os.Mkdir(disk, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
			w := found(t, name, filepath.Join(disk, "world"), random)
			w.fill(disk, keep)
			report.change(func(r *torture.Report) { r.FullDisks++ })
		})
	}
}

// fill does it. Both homes are on one disk, so that both sides of a delivery come to its end.
func (w *world) fill(disk string, keep int) {
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.violation(err)
		}
	}
	w.keepFree(keep)
	for _, m := range w.lab.Names {
		must(w.start(m))
	}
	var full error
	for i := 0; full == nil; i++ {
		if i == 200 {
			must(fmt.Errorf("%d documents fit on a disk of 64 MiB", i))
		}
		s := w.compose([]string{"alpha", "bravo"}[i%2], 700<<10)
		ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
		full = w.send(ctx, s)
		cancel()
	}
	if fault.KindOf(full) != fault.Transient || !strings.Contains(full.Error(), "full") {
		must(fmt.Errorf("a person is told nothing that helps: %w", full))
	}
	w.note(full.Error())
	// It stays full for a while, with deliveries and openings that cannot be.
	for range 20 {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		err := w.send(ctx, w.sent[len(w.sent)-1])
		cancel()
		if err == nil {
			break // a little room was given back
		}
		for m, p := range w.nodes {
			if !p.running() {
				must(fmt.Errorf("%s ended: %s", m, p.said()))
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
		w.t.Fatal(err)
	}
	for _, s := range w.sent {
		must(w.exchange(s, w.tend))
	}
	must(w.checkNew())
	must(w.checkWhole())
}
