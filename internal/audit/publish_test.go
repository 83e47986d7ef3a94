package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// bench is a log of bare leaves.
type bench struct {
	t   testing.TB
	dir string
	key Keys
	db  *store.DB
	log *Log
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir(), key: logKeys(t, "alpha/log/1")}
	b.db = must[*store.DB](t)(store.Open(t.Context(), b.dir))
	t.Cleanup(func() { _ = b.db.Close() })
	return b
}

func (b *bench) head() string { return filepath.Join(b.dir, "head") }

func (b *bench) open() *bench {
	b.t.Helper()
	b.log = must[*Log](b.t)(OpenLog(b.t.Context(), b.db, b.head(), b.key))
	return b
}

func (b *bench) add(leaves int) {
	b.t.Helper()
	check(b.t, b.db.Update(b.t.Context(), func(tx *store.Tx) error {
		for range leaves {
			if _, err := tx.Record(statement.Event{Kind: statement.EventRejected, Time: someday}); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (b *bench) publish() tlog.Tree {
	b.t.Helper()
	raw := must[[]byte](b.t)(b.log.Publish(b.t.Context()))
	return must[*checkpoint.Checkpoint](b.t)(checkpoint.Open(raw, b.key.Verifiers())).Tree
}

// logKeys makes the signing keys of a log.
func logKeys(t testing.TB, origin string) Keys {
	return Keys{must[*statement.Key](t)(statement.GenerateKey(rand.Reader, origin)), must[*checkpoint.Key](t)(checkpoint.GenerateKey(origin))}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	if got := b.publish(); got.N != 0 {
		t.Errorf("empty log: %v", got)
	}
	for _, n := range []int{1, 2, 5} {
		b.add(n)
		got := b.publish()
		var want tlog.Tree
		check(t, b.db.View(t.Context(), func(v *store.View) (err error) { want, err = v.Root(); return err }))
		if got != want {
			t.Errorf("published %v, the tree is %v", got, want)
		}
	}
	first := must[[]byte](t)(b.log.Publish(t.Context()))
	if again := must[[]byte](t)(b.log.Publish(t.Context())); !bytes.Equal(first, again) {
		t.Errorf("published anew without need:\n%s%s", first, again)
	}
	lines := strings.Split(string(first), "\n")
	if len(lines) != 7 || lines[0] != "alpha/log/1" || lines[1] != "8" || lines[3] != "" || !strings.HasPrefix(lines[4], "— alpha/log/1 ") || !strings.HasPrefix(lines[5], "— alpha/log/1 ") {
		t.Errorf("checkpoint:\n%s", first)
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, "log-0": 0o600, "log-1": 0o600, "lock": 0o600} {
		if info, err := os.Stat(filepath.Join(b.head(), name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("head/%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

// A round outlives the caller that gave up waiting, but not Close: it must not write into a folder that is somebody else's by then.
func TestCloseWaitsForTheRound(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	b.add(3)
	unlock := must[func()](t)(lock(t.Context(), b.head()))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.log.Publish(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, unlock)
	b.log.Close()
	s := readSlots(b.head())
	if got := s.head[max(s.newest(), 0)].Tree.N; got != 3 {
		t.Errorf("after Close the head has %d leaves, and somebody may be about to write it", got)
	}
}

// TestPublishTogether has many callers, in what might be two processes, add leaves and publish: every checkpoint covers what its caller committed.
func TestPublishTogether(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	other := &bench{t: t, dir: b.dir, key: b.key, db: must[*store.DB](t)(store.Open(t.Context(), b.dir))}
	defer func() { check(t, other.db.Close()) }()
	other.open()
	var wg sync.WaitGroup
	for i := range 24 {
		process := b
		if i%2 == 1 {
			process = other
		}
		wg.Go(func() {
			var leaf int64
			err := process.db.Update(t.Context(), func(tx *store.Tx) (err error) {
				leaf, err = tx.Record(statement.Event{Kind: statement.EventRejected, Time: someday})
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			raw, err := process.log.Publish(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if c, err := checkpoint.Open(raw, b.key.Verifiers()); err != nil || c.Tree.N <= leaf {
				t.Errorf("leaf %d, checkpoint of %d: %v", leaf, c.Tree.N, err)
			}
		})
	}
	wg.Wait()
	if got := b.publish(); got.N != 24 {
		t.Errorf("published %d", got.N)
	}
}

// TestOpenLogRefuses has the head and the database disagree in every way.
func TestOpenLogRefuses(t *testing.T) {
	t.Parallel()
	slot := func(b *bench, i int) string { return filepath.Join(b.head(), slotName(i)) }
	for name, test := range map[string]struct {
		damage func(b *bench) error
		want   string
	}{
		"head missing": {func(b *bench) error { return os.RemoveAll(b.head()) }, "missing"},
		"slots missing": {func(b *bench) error {
			return steps(func() error { return os.Remove(slot(b, 0)) }, func() error { return os.Remove(slot(b, 1)) })
		}, "missing"},
		"slots damaged": {func(b *bench) error {
			return steps(func() error { return os.Truncate(slot(b, 0), 50) }, func() error { return os.Truncate(slot(b, 1), 50) })
		}, "damaged"},
		"newest slot damaged": {func(b *bench) error {
			s := readSlots(b.head())
			return os.Truncate(slot(b, s.newest()), 50)
		}, "older than what was shown"},
		"head of another log": {func(b *bench) error {
			s := readSlots(b.head())
			return s.advance(head{Log: "bravo/log/1", Tree: tlog.Tree{N: 100}})
		}, "belongs to the log"},
		"head ahead": {func(b *bench) error {
			s := readSlots(b.head())
			return s.advance(head{Log: b.log.origin(), Tree: tlog.Tree{N: 100}})
		}, "100 were shown"},
		"another history": {func(b *bench) error {
			s := readSlots(b.head())
			h := s.head[s.newest()]
			h.Tree.Hash[3] ^= 1
			return s.write(s.newest(), h)
		}, "not those that were shown"},
		"database restored": {func(b *bench) error {
			old := newBench(b.t)
			b.db = old.db
			return nil
		}, "older than the head"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t).open()
			b.add(3)
			b.publish()
			b.add(3)
			b.publish()
			check(t, test.damage(b))
			_, err := OpenLog(t.Context(), b.db, b.head(), b.key)
			if err == nil || !strings.Contains(err.Error(), test.want) || fault.Hint(err) == "" {
				t.Errorf("error %v, hint %q", err, fault.Hint(err))
			}
			raw, err := b.log.Publish(t.Context())
			if err == nil && !strings.Contains(name, "newest slot") && !strings.Contains(name, "restored") {
				t.Errorf("a running log published:\n%s", raw)
			}
		})
	}
}

// TestOpenLogRecovers stops a publication between any two steps, as a crash does, and opens the log again.
func TestOpenLogRecovers(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(b *bench) error{
		"after the commit": func(*bench) error { return nil },
		"while the slot was written": func(b *bench) error {
			s := readSlots(b.head())
			i := 1 - s.newest()
			return os.WriteFile(filepath.Join(b.head(), slotName(i)), []byte("entente.example/head/v1\nalpha/lo"), 0o600)
		},
		"after the slot": func(b *bench) error {
			var tree tlog.Tree
			if err := b.db.View(b.t.Context(), func(v *store.View) (err error) { tree, err = v.Root(); return err }); err != nil {
				return err
			}
			s := readSlots(b.head())
			return s.advance(head{Log: b.log.origin(), Tree: tree})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t).open()
			b.add(3)
			b.publish()
			b.add(2)
			check(t, crash(b))
			b.open()
			s := readSlots(b.head())
			if s.err[0] != nil || s.err[1] != nil {
				t.Errorf("slots: %v, %v", s.err[0], s.err[1])
			}
			if got := b.publish(); got.N != 5 {
				t.Errorf("published %d leaves", got.N)
			}
			once := must[[]byte](t)(os.ReadFile(filepath.Join(b.head(), "log-0")))
			b.open() // recovery twice is recovery once
			if twice := must[[]byte](t)(os.ReadFile(filepath.Join(b.head(), "log-0"))); !bytes.Equal(once, twice) {
				t.Error("a second recovery changed the head")
			}
		})
	}
}

// TestHeadSyncFails has the disk refuse once: the next sync may report success and be wrong, so only a restart helps.
func TestHeadSyncFails(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	b.add(2)
	b.publish()
	b.add(1)
	broken := errors.New("the disk is broken")
	b.log.sync = func(*os.File) error { return broken }
	for range 2 {
		raw, err := b.log.Publish(t.Context())
		if !errors.Is(err, broken) {
			t.Errorf("published %q, %v", raw, err)
		}
		b.log.sync = (*os.File).Sync
	}
	synced := 0
	l := &Log{db: b.db, dir: b.head(), key: b.key, Now: time.Now, sync: func(f *os.File) error { synced++; return f.Sync() }}
	check(t, l.recover(t.Context()))
	if got := b.open().publish(); got.N != 3 || synced != 1 {
		t.Errorf("after the restart %d leaves are published, and the head was synced %d times before", got.N, synced)
	}
}

// TestRenewAndStop has an idle log say again how large it is, and a stopped one say nothing, also to another process and after a restart.
func TestRenewAndStop(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	b.add(2)
	first := must[[]byte](t)(b.log.Publish(t.Context()))
	at := time.Now().Add(time.Hour)
	b.log.Now = func() time.Time { return at }
	second := must[[]byte](t)(b.log.Renew(t.Context()))
	if c := must[*checkpoint.Checkpoint](t)(checkpoint.Open(second, b.key.Verifiers())); bytes.Equal(first, second) || c.Tree.N != 2 || c.Time.Unix() != at.Unix() {
		t.Errorf("renewed as %v", c)
	}
	at = at.Add(-2 * time.Hour) // a clock that is put back must not look like a log that was
	b.add(1)
	third := must[[]byte](t)(b.log.Publish(t.Context()))
	if c := must[*checkpoint.Checkpoint](t)(checkpoint.Open(third, b.key.Verifiers())); c.Time.Before(time.Now().Add(30 * time.Minute)) {
		t.Errorf("the checkpoint of 3 leaves is dated %s, before that of 2", c.Time)
	}
	if _, err := checkpoint.NewFork(second, third); err != nil {
		t.Error(err)
	}
	other := must[*Log](t)(OpenLog(t.Context(), b.db, b.head(), b.key))
	check(t, b.log.Stop([]byte("proof")))
	check(t, b.log.Stop([]byte("proof")))
	b.add(1)
	reopened := must[*Log](t)(OpenLog(t.Context(), b.db, b.head(), b.key))
	for name, l := range map[string]*Log{"the log": b.log, "another process": other, "after a restart": reopened} {
		for what, f := range map[string]func(context.Context) ([]byte, error){"published": l.Publish, "renewed": l.Renew} {
			if raw, err := f(t.Context()); err == nil || fault.Hint(err) == "" {
				t.Errorf("%s %s after it was stopped:\n%s", name, what, raw)
			}
		}
	}
}

// TestStopWaits stops a log while a round waits for another process: that round signs nothing, and Stop returns only when nobody can be signing.
func TestStopWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	b.add(1)
	unlock := must[func()](t)(lock(t.Context(), b.head()))
	signed, stopped := make(chan error, 1), make(chan error, 1)
	go func() { _, err := b.log.Renew(t.Context()); signed <- err }()
	time.Sleep(100 * time.Millisecond) // the round begins, and waits
	go func() { stopped <- b.log.Stop([]byte("proof")) }()
	for b.log.Stopped() == nil {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-stopped:
		t.Errorf("Stop did not wait for who holds the lock: %v", err)
		stopped <- err
	case <-time.After(100 * time.Millisecond):
	}
	unlock()
	if err := <-signed; err == nil || fault.Hint(err) == "" {
		t.Errorf("a round under way signed after the log was stopped: %v", err)
	}
	check(t, <-stopped)
}

// TestOpenLogCreation stops the making of a head between its slots.
func TestOpenLogCreation(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	check(t, os.Remove(filepath.Join(b.head(), "log-1")))
	b.open()
	check(t, os.Remove(filepath.Join(b.head(), "log-0")))
	b.open()
	check(t, os.Truncate(filepath.Join(b.head(), "log-0"), 10))
	check(t, os.Remove(filepath.Join(b.head(), "log-1")))
	b.open()
	b.add(1)
	if got := b.publish(); got.N != 1 {
		t.Errorf("published %d", got.N)
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte(head{Log: "alpha/log/1", Tree: tlog.Tree{N: 4711}}.String()))
	f.Add([]byte(head{Log: "alpha/log/1", Tree: tlog.Tree{N: 4711}, Note: []byte("a checkpoint\n")}.String()))
	f.Add(fmt.Appendf(nil, "%s\nx\n1\n\n\n", headLine))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHead(b); err == nil && h.String() != string(b) {
			t.Errorf("%q reads as %q", b, h)
		}
	})
}

// TestTrees compares the trees of all pairs of sizes with what package tlog says of each, and counts how often the hashes are asked for.
func TestTrees(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.add(40)
	check(t, b.db.View(t.Context(), func(v *store.View) error {
		for n := range int64(41) {
			for m := range n + 1 {
				asked := 0
				got, err := trees(tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
					asked++
					return v.Hashes().ReadHashes(indexes)
				}), n, m)
				if err != nil {
					return err
				}
				for i, size := range []int64{n, m} {
					want, err := tlog.TreeHash(size, v.Hashes())
					if err != nil {
						return err
					}
					if got[i] != (tlog.Tree{N: size, Hash: want}) || asked != 1 {
						t.Fatalf("%d and %d leaves: %v, asked %d times", n, m, got, asked)
					}
				}
			}
		}
		_, err := trees(v.Hashes(), 41, 3)
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a tree that is not there: %v", err)
		}
		return nil
	}))
}

// TestSlotShrinks has a slot hold less than before: nothing of what it held is left behind.
func TestSlotShrinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, note := range []string{"", "a longer one\n", "short\n", "other\n", ""} {
		s := readSlots(dir)
		want := head{Log: "alpha/log/1", Tree: tlog.Tree{N: 7}, Note: []byte(note)}
		check(t, s.write(0, want))
		if got := must[[]byte](t)(os.ReadFile(filepath.Join(dir, slotName(0)))); string(got) != want.String() {
			t.Errorf("it holds %q instead of %q", got, want)
		}
	}
}
