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

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// bench is a log of bare leaves.
type bench struct {
	t   testing.TB
	dir string
	key *statement.Key
	db  *store.DB
	log *Log
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, dir: t.TempDir(), key: must[*statement.Key](t)(statement.GenerateKey(rand.Reader, "alpha/log/1"))}
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
	return must[tlog.Tree](b.t)(OpenCheckpoint(raw, b.key.Public))
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
	if len(lines) != 6 || lines[0] != "alpha/log/1" || lines[1] != "8" || lines[3] != "" || !strings.HasPrefix(lines[4], "— alpha/log/1 ") {
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
			if tree, err := OpenCheckpoint(raw, b.key.Public); err != nil || tree.N <= leaf {
				t.Errorf("leaf %d, checkpoint of %d: %v", leaf, tree.N, err)
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
			return s.advance(head{"bravo/log/1", tlog.Tree{N: 100}})
		}, "belongs to the log"},
		"head ahead": {func(b *bench) error {
			s := readSlots(b.head())
			return s.advance(head{b.key.Name(), tlog.Tree{N: 100}})
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
			return s.advance(head{b.key.Name(), tree})
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
	l := &Log{db: b.db, dir: b.head(), key: b.key, sync: func(f *os.File) error { synced++; return f.Sync() }}
	check(t, l.recover(t.Context()))
	if got := b.open().publish(); got.N != 3 || synced != 1 {
		t.Errorf("after the restart %d leaves are published, and the head was synced %d times before", got.N, synced)
	}
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

func TestOpenCheckpointStrict(t *testing.T) {
	t.Parallel()
	key := must[*statement.Key](t)(statement.GenerateKey(rand.Reader, "alpha/log/1"))
	raw := must[[]byte](t)(signCheckpoint(key, tlog.Tree{N: 7, Hash: tlog.RecordHash(nil)}))
	if _, err := OpenCheckpoint(raw, key.Public); err != nil {
		t.Fatal(err)
	}
	for at := range raw {
		for bit := range 8 {
			changed := bytes.Clone(raw)
			changed[at] ^= 1 << bit
			if _, err := OpenCheckpoint(changed, key.Public); err == nil {
				t.Errorf("byte %d, bit %d: a change was not found", at, bit)
			}
		}
	}
	lines := bytes.SplitAfter(raw, []byte("\n"))
	signed := func(text string) []byte { return must[[]byte](t)(note.Sign(&note.Note{Text: text}, key)) }
	root := tlog.RecordHash(nil).String()
	for name, bad := range map[string][]byte{
		"signature twice":  append(bytes.Clone(raw), lines[4]...),
		"another's line":   append(bytes.Clone(raw), "— bravo/log/1 "+strings.Repeat("A", 92)+"\n"...),
		"no signature":     bytes.Join(lines[:4], nil),
		"empty":            nil,
		"another origin":   signed("bravo/log/1\n7\n" + root + "\n"),
		"extension line":   signed("alpha/log/1\n7\n" + root + "\nmore\n"),
		"negative size":    signed("alpha/log/1\n-7\n" + root + "\n"),
		"size with a zero": signed("alpha/log/1\n07\n" + root + "\n"),
		"huge size":        signed("alpha/log/1\n9223372036854775808\n" + root + "\n"),
		"short root":       signed("alpha/log/1\n7\nAAAA\n"),
		"two lines":        signed("alpha/log/1\n7\n"),
	} {
		if got, err := OpenCheckpoint(bad, key.Public); err == nil {
			t.Errorf("%s: opened as %v", name, got)
		}
	}
	for _, vkey := range []string{"", "alpha/log/1", strings.ToUpper(key.Public), strings.Replace(key.Public, "alpha", "bravo", 1), key.Public + "\n"} {
		if _, err := OpenCheckpoint(raw, vkey); err == nil {
			t.Errorf("opened with key %q", vkey)
		}
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	const skey = "PRIVATE+KEY+alpha/log/1+"
	key := must[*statement.Key](f)(statement.GenerateKey(zeros{}, "alpha/log/1"))
	raw := must[[]byte](f)(signCheckpoint(key, tlog.Tree{N: 7}))
	f.Add(raw)
	f.Add([]byte(skey))
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := OpenCheckpoint(b, key.Public)
		if err == nil && !bytes.HasPrefix(b, []byte(checkpointText("alpha/log/1", tree)+"\n")) {
			t.Errorf("%q reads as %v", b, tree)
		}
	})
}

// zeros makes the same key every time.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzParseHead(f *testing.F) {
	f.Add([]byte(head{"alpha/log/1", tlog.Tree{N: 4711}}.String()))
	f.Add(fmt.Appendf(nil, "%s\nx\n1\n\n\n", headLine))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHead(b); err == nil && h.String() != string(b) {
			t.Errorf("%q reads as %q", b, h)
		}
	})
}
