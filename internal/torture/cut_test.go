//go:build torture && linux

package torture_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"entente.example/internal/crash"
	"entente.example/internal/torture"
)

// image is a file with a file system in it, which is mounted. A copy of the file is what a disk holds that loses its power now: what the kernel
// had not written to it is not there. Its own mounting replays the journal, as after a real power cut.
//
// The copy is made while every thread of the nodes is stopped, so it shows one moment. Not shown are moments within one system call, and disks
// that write in another order than they were told to.
//
// A journal hides mistakes: on ext4, whoever syncs any file makes everything durable that was done before, renames included. So there are images
// without one, too, in which nothing is durable that was not synced itself. After a power cut they are repaired as at a start of the machine.
type image struct {
	file, mount string
	journal     bool
}

const imageSize = 96 << 20

func newImage(t *testing.T, name string, journal bool) *image {
	t.Helper()
	dir := results
	var shm syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &shm); err == nil && int64(shm.Bavail)*shm.Bsize > 1<<30 {
		dir = "/dev/shm" // it is the order of writes that counts, not the disk
	}
	m := &image{file: filepath.Join(dir, fmt.Sprintf("torture-%d-%s.img", os.Getpid(), name)), mount: filepath.Join(t.TempDir(), "disk"), journal: journal}
	with := []string{"-O", "^has_journal"}
	if journal {
		with = []string{"-J", "size=8"}
	}
	f, err := os.Create(m.file)
	if err == nil {
		err = errors.Join(f.Truncate(imageSize), f.Close(), os.Mkdir(m.mount, 0o700),
			command("mkfs.ext4", append(with, "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0", m.file)...), m.attach())
	}
	t.Cleanup(func() {
		_ = syscall.Unmount(m.mount, syscall.MNT_DETACH)
		_ = os.Remove(m.file)
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}

// attach mounts it. The kernel must not write its journal by itself while it is copied, so it waits longer than that takes.
func (m *image) attach() error {
	options := "loop,commit=300"
	if !m.journal {
		options = "loop"
		var fixed *exec.ExitError
		if err := exec.Command("e2fsck", "-f", "-y", m.file).Run(); err != nil && !(errors.As(err, &fixed) && fixed.ExitCode() == 1) {
			return fmt.Errorf("e2fsck: %w", err)
		}
	}
	return command("mount", "-o", options, m.file, m.mount)
}

// copy makes a copy of the file as it is now.
func (m *image) copy() error { return command("cp", "--sparse=always", m.file, m.file+".cut") }

// replace mounts the copy in the place of the original, which nobody may use any more.
func (m *image) replace() error {
	err := syscall.Unmount(m.mount, 0)
	for began := time.Now(); errors.Is(err, syscall.EBUSY) && time.Since(began) < 10*time.Second; err = syscall.Unmount(m.mount, 0) {
		time.Sleep(time.Millisecond) // somebody is about to read a certificate there, in vain
	}
	if err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return errors.Join(os.Rename(m.file+".cut", m.file), m.attach())
}

// cutSteps are where the power is cut, besides any moment.
var cutSteps = []aim{
	{step: crash.FolderSync, most: 4}, {step: crash.StagingSync, most: 2}, {step: crash.StagingRename, most: 2}, {step: crash.DatabaseCommit, most: 14},
	{step: crash.HeadWrite, most: 4}, {step: crash.CheckpointStore, most: 4}, {step: crash.WitnessHead, most: 2}, {step: crash.Released, who: sender, most: 1},
	{step: crash.Received, who: recipient, most: 1}, {step: crash.Delivered, who: sender, most: 1}, {step: crash.Opened, who: recipient, most: 1},
	{step: crash.Confirmed, who: sender, most: 1},
}

// anyMoment is the step of a cut that waits for none.
const anyMoment = "any moment"

// planCut makes up a cut: one in three at any moment, the others right after a step.
func planCut(i int, random *rand.Rand) plan {
	p := plan{aim: aim{step: anyMoment}, phase: "pause", from: "alpha", to: "bravo"}
	if random.IntN(2) == 0 {
		p.from, p.to = p.to, p.from
	}
	if i%3 > 0 {
		p.aim = cutSteps[(i-i/3)%len(cutSteps)]
		p.n = 1 + random.IntN(p.most)
	}
	return p
}

// TestPowerCut cuts the power of both nodes at once, and has them go on with what their disk held then.
func TestPowerCut(t *testing.T) {
	t.Run("worlds", func(t *testing.T) {
		for i := range worlds {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(seed, uint64(100+i)))
				for k, n := 0, share(cuts, i); n > 0; k++ {
					some := min(life, n)
					name := fmt.Sprintf("cut-%d-%d", i, k)
					m := newImage(t, name, i%2 == 0)
					w := found(t, name, filepath.Join(m.mount, "world"), random)
					for j := range some {
						p := planCut(i*7+k*life+j, random)
						w.note(p.String())
						if err := w.cut(m, p); err != nil {
							w.violation(err)
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

// cut has both nodes start, exchange a document, and lose their power while they do; then it brings them back, and wants to see the document
// where it was to go, and everything that was acknowledged before.
func (w *world) cut(m *image, p plan) error {
	victim := p.victim(w.random)
	moment := time.Duration(w.random.Int64N(int64(200 * time.Millisecond)))
	some := []*sending{w.compose(p.from, w.size()), w.compose(p.from, w.size())}
	for _, name := range w.lab.Names {
		env := w.env[name]
		if name == victim && p.step != anyMoment {
			env = append([]string{p.setting()}, env...)
		}
		if err := w.nodes[name].launch(nil, env...); err != nil { // the power may fail before it serves
			return err
		}
	}
	// Whoever sends is patient, and does not notice more than that nobody answers for a while.
	done := make(chan error, 1)
	go func() {
		var err error
		for _, s := range some {
			err = errors.Join(err, w.exchange(s, func() error { return nil }))
		}
		done <- err
	}()
	var finished *error
	wait := func(enough func() bool) {
		for began := time.Now(); !enough() && finished == nil && time.Since(began) < 10*time.Second; {
			select {
			case err := <-done:
				finished = &err
			case <-time.After(time.Millisecond):
			}
		}
	}
	began := time.Now()
	at := p.step
	wait(func() bool {
		if p.step == anyMoment {
			return time.Since(began) > moment
		}
		return w.nodes[victim].struck() != ""
	})
	if p.step != anyMoment && w.nodes[victim].struck() == "" {
		at = anyMoment
	}
	err := w.losePower(m)
	if err != nil {
		return err
	}
	report.change(func(r *torture.Report) {
		r.Cuts++
		r.CutAt[at]++
	})
	if err := w.checkCut(); err != nil {
		return fmt.Errorf("after the power cut: %w", err)
	}
	for _, name := range w.lab.Names {
		if err := w.start(name); err != nil {
			return fmt.Errorf("after the power cut: %w", err)
		}
	}
	if finished == nil {
		err := <-done
		finished = &err
	}
	if *finished == nil {
		err = w.checkNew()
	} else {
		err = *finished
	}
	w.stop()
	return err
}

// losePower stops all that runs, keeps what the disk holds, and lets nobody live on.
func (w *world) losePower(m *image) error {
	var err error
	for _, p := range w.nodes {
		err = errors.Join(err, p.freeze())
	}
	for _, s := range w.sent { // what people were told until now counts
		s.kept, s.read = s.acked.Load(), s.opened.Load()
	}
	if err == nil {
		err = m.copy()
	}
	w.stop()
	if err = errors.Join(err, m.replace()); err != nil {
		return fmt.Errorf("%w: %w", errHarness, err)
	}
	return nil
}

// checkCut looks at what the disk held, before anybody repairs anything: what was acknowledged has its row, and each row its blob.
func (w *world) checkCut() error {
	for _, m := range w.lab.Names {
		d, err := openDisk(w.lab.Home(m))
		if err != nil {
			return err
		}
		err = w.checkHeld(m, d)
		if err := errors.Join(err, d.db.Close()); err != nil {
			return fmt.Errorf("%s: %w", m, err)
		}
	}
	return nil
}

// checkHeld looks at one disk. That a document is settled, checkNew wants to see in the end.
func (w *world) checkHeld(member string, d *disk) error {
	rows, err := d.rows(`SELECT sender || '/' || id, CASE WHEN payload IS NULL THEN lower(hex(sha256)) ELSE '' END FROM manifest`)
	if err != nil {
		return err
	}
	held := map[string]bool{}
	for _, r := range rows {
		held[r[0]] = true
		if r[1] == "" {
			continue // its payload stands in the row
		}
		if _, err := os.Stat(filepath.Join(d.home, "blobs", r[1][:2], r[1])); err != nil {
			return fmt.Errorf("%s has a row and no blob: %w", r[0], err)
		}
	}
	for _, s := range w.sent {
		must := s.from == member && s.kept || s.to == member && s.read
		if must && !held[s.from+"/"+s.id] {
			return fmt.Errorf("%s is lost", s.ref())
		}
	}
	return nil
}
