package ententetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Line is what lies between two members: both directions, or with OneWay the one from the first to the second. Connections
// are real, and a relay stands on each of them. What is set stays, over restarts too, until Heal or the end of the test.
type Line struct {
	world *World
	a, b  string
	both  bool
}

// OneWay gives the direction from one member to another, for faults in only that one: calls that from makes to to, and
// what from sends to to.
func (w *World) OneWay(t testing.TB, from, to string) *Line {
	t.Helper()
	return w.line(t, from, to, false)
}

func (w *World) line(t testing.TB, a, b string, both bool) *Line {
	t.Helper()
	w.mustKnow(t, a)
	w.mustKnow(t, b)
	if a == b {
		t.Fatalf("there is no line from %s to itself", a)
	}
	return &Line{w, a, b, both}
}

func (l *Line) each(do func(from, to string)) {
	do(l.a, l.b)
	if l.both {
		do(l.b, l.a)
	}
}

// Partition breaks the connections between two members and refuses new ones, until Heal.
func (w *World) Partition(t testing.TB, a, b string) { t.Helper(); w.line(t, a, b, true).Partition(t) }

// Drop has everything vanish between two members, until Heal. Unlike with Partition nobody is told: connections hang, and
// so do attempts to connect, until somebody loses patience. A node gives up connecting after ten seconds.
func (w *World) Drop(t testing.TB, a, b string) { t.Helper(); w.line(t, a, b, true).Drop(t) }

// Delay has everything between two members take d longer, in each direction. Connecting takes one round trip more, and the
// handshake after it several; a node gives up a handshake after five seconds.
func (w *World) Delay(t testing.TB, a, b string, d time.Duration) {
	t.Helper()
	w.line(t, a, b, true).Delay(t, d)
}

// Cut breaks the connections that are open between two members. New ones work.
func (w *World) Cut(t testing.TB, a, b string) { t.Helper(); w.line(t, a, b, true).Cut(t) }

// Heal ends what Partition, Drop and Delay began between two members, in either direction. Connections on which something
// vanished break then.
func (w *World) Heal(t testing.TB, a, b string) { t.Helper(); w.line(t, a, b, true).Heal(t) }

// Partition is World.Partition for the calls that the first member makes; the second may call the first.
func (l *Line) Partition(t testing.TB) { t.Helper(); l.each(l.world.world.Partition) }

// Drop is World.Drop for what the first member sends, on connections of either. Neither can make new ones, since what
// confirms them vanishes too.
func (l *Line) Drop(t testing.TB) { t.Helper(); l.each(l.world.world.Drop) }

// Delay is World.Delay for what the first member sends, on connections of either.
func (l *Line) Delay(t testing.TB, d time.Duration) {
	t.Helper()
	if d < 0 {
		t.Fatalf("a delay cannot be %s", d)
	}
	l.each(func(from, to string) { l.world.world.Delay(from, to, d) })
}

// Cut is World.Cut for the connections that the first member has made.
func (l *Line) Cut(t testing.TB) { t.Helper(); l.each(l.world.world.Cut) }

// Heal is World.Heal for the direction from the first member to the second.
func (l *Line) Heal(t testing.TB) { t.Helper(); l.each(l.world.world.Heal) }

// Kill ends a member's node as kill -9 would, as near as one process allows: every connection breaks, nothing is tidied
// up, and Start finds on the disk what was there at one moment, in the middle of whatever was under way. Killing a node
// that does not run does nothing.
//
// It is not a process that dies: the memory of the node goes on for a moment, but nothing that it does then reaches the
// disk or another member. It is not a power cut, which may also lose what was not synced. And it does not strike between
// the writes of one commit. What a command, Agree or AddPerson writes into the home while Kill runs may be lost.
func (w *World) Kill(t testing.TB, member string) {
	t.Helper()
	w.mustKnow(t, member)
	if err := w.world.Kill(context.WithoutCancel(t.Context()), member); err != nil {
		t.Fatalf("%v", explain(err))
	}
}

// SetClock sets the clock of a member's node so much ahead of this machine's, or behind it if offset is negative, by a day
// at most; 0 sets it right. The node may run or not. Only the node's own sense of time changes, what it signs, accepts and
// logs; timeouts do not, nor do commands that work on its home.
func (w *World) SetClock(t testing.TB, member string, offset time.Duration) {
	t.Helper()
	w.mustKnow(t, member)
	if err := w.world.SetClock(member, offset); err != nil {
		t.Fatalf("set the clock of %s: %v", member, explain(err))
	}
}

// SeedVariable names the environment variable that repeats the choices of a test that failed: a whole number.
const SeedVariable = "ENTENTE_SEED"

func chooseSeed() (uint64, error) {
	s := os.Getenv(SeedVariable)
	if s == "" {
		return rand.Uint64(), nil //nolint:gosec // a test's choices are no secret
	}
	seed, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is %q, and must be a whole number", SeedVariable, s)
	}
	return seed, nil
}

// Rand gives a source for a test's own choices: what to send, when to strike. Each call gives a new one, for one goroutine;
// all follow from one seed and the order of the calls. A test that fails prints the seed, and with ENTENTE_SEED set to it the
// test chooses the same again. Keys, ids, pauses between attempts and the order of goroutines do not follow from it.
func (w *World) Rand() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sources++
	return rand.New(rand.NewPCG(w.seed, w.sources)) //nolint:gosec // a test's choices are no secret
}

func (w *World) report(ctx context.Context) string {
	return fmt.Sprintf("%s=%d\n%s", SeedVariable, w.seed, w.world.Report(ctx))
}
