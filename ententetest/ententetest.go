// Package ententetest founds whole alliances inside a Go test.
//
// Found gives several members that run: each with a home on disk, its own keys and certificates, SQLite, and a node that
// listens on loopback and speaks TLS 1.3 with the others. Nothing in it is simulated but that they share one machine. A
// test reads like what people do:
//
//	w := ententetest.Found(t, "alpha", "bravo", "charlie")
//	w.Agree(t, ententetest.Agreement{Name: "harbour-watch", Purposes: []string{"incident-response"}, Ceiling: "TLP:AMBER"})
//	x := w.Send(t, "alpha", ententetest.Document{Name: "report.pdf", Content: report}, "bravo")
//	w.Await(t, x, ententetest.Delivered)
//	got := w.Open(t, "bravo", x)
//	w.Check(t)
//
// Every member has one person for a start, who may send and open: alice works for the first member, bob for the second,
// then carol, dave, erin, frank, grace and heidi. Where a method asks who acts, "alpha" is the first person of alpha, and "alpha/mallory" is
// mallory of alpha, whom AddPerson made.
//
// What goes wrong between members goes wrong here as well: Partition, Cut, Drop and Delay disturb the line between two of
// them, or one direction of it with OneWay, and Heal mends it; Kill ends a node as kill -9 would, and Start starts it
// again; SetClock sets a member's clock. A node that cannot reach another tries again after half a second, and then after
// pauses that double, up to a minute.
//
// Methods that take a testing.TB end the test when something fails, and then the test's output ends with the seed of
// Rand, the faults in force, the state of every member and the last leaves of every log. Methods that begin with Try give errors instead, as an *Error, for tests
// of what must be refused. Worlds share nothing, so tests may run in parallel; when a test ends, its nodes have stopped
// and its folders are removed.
package ententetest

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"entente.example/internal/lab"
	"entente.example/internal/limit"
	ententev1 "entente.example/proto/entente/v1"
)

// patience bounds how long a method waits for something to happen. It is long because test machines are busy, and because
// after a long partition a node tries again only after limit.RetryMost; what cannot happen any more ends a wait at once.
const patience = 2 * limit.RetryMost

// World is an alliance whose members run inside a test. Its methods may be called concurrently.
type World struct {
	world *lab.World
	seed  uint64 // of Rand

	mu         sync.Mutex  // guards what follows
	agreements []Agreement // in the order in which they were made
	sources    uint64      // how many Rand has given
}

// Found founds an alliance of the named members, two at least, and starts their nodes. A name is one lower-case word.
// With three members that takes less than a second. When the test ends, the nodes are stopped and their folders removed.
func Found(t testing.TB, members ...string) *World {
	t.Helper()
	seed, err := chooseSeed()
	if err != nil {
		t.Fatalf("found %s: %v", strings.Join(members, ", "), err)
	}
	dir := filepath.Join(t.TempDir(), "world")
	log := slog.New(slog.NewTextHandler(output(t), &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: withoutTime}))
	// The nodes outlive t.Context, which ends before cleaning up begins.
	ctx := context.WithoutCancel(t.Context())
	made, err := lab.Found(ctx, lab.Options{Dir: dir, Members: members, Log: log})
	if err != nil {
		t.Fatalf("found %s: %v", strings.Join(members, ", "), explain(err))
	}
	w := &World{world: made, seed: seed}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the world when the test failed:\n%s", w.report(ctx))
		}
		if err := made.Close(); err != nil {
			t.Errorf("stop the world: %v", err)
		}
	})
	if err := made.StartAll(ctx); err != nil {
		t.Fatalf("start the world: %v", explain(err))
	}
	return w
}

// output is where the nodes log to: go test shows it when the test fails, or with -v.
func output(t testing.TB) io.Writer { return t.Output() }

// withoutTime leaves the time away, which says little in a test's output.
func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// Members gives the members' names, in the order in which they were given to Found.
func (w *World) Members() []string { return slices.Clone(w.world.Names) }

// Home gives the folder of a member's home, on which the commands of the program work.
func (w *World) Home(member string) string { return w.world.Home(member) }

// Start starts a member's node on the ports that it had before, and returns when it serves.
func (w *World) Start(t testing.TB, member string) {
	t.Helper()
	w.mustKnow(t, member)
	if err := w.world.Start(context.WithoutCancel(t.Context()), member); err != nil {
		t.Fatalf("%v", explain(err))
	}
}

// Stop stops a member's node in order and returns when it has ended. Stopping one that does not run does nothing.
func (w *World) Stop(t testing.TB, member string) {
	t.Helper()
	w.mustKnow(t, member)
	if err := w.world.Stop(member); err != nil {
		t.Fatalf("stop %s: %v", member, explain(err))
	}
}

// AddPerson adds somebody who works for a member, with roles such as "releaser", who may send, and "reader", who may
// open. Like everybody here they are cleared for TLP:RED and trained for a year. The node need not run, and need not be restarted.
func (w *World) AddPerson(t testing.TB, member, name string, roles ...string) {
	t.Helper()
	w.mustKnow(t, member)
	if err := w.world.AddPerson(t.Context(), member, name, roles...); err != nil {
		t.Fatalf("add person: %v", explain(err))
	}
}

// Inbox lists all that a member has received, newest first. Its node must run.
func (w *World) Inbox(t testing.TB, member string) []*ententev1.Exchange {
	t.Helper()
	return w.exchanges(t, member, ententev1.Direction_DIRECTION_IN)
}

// Outbox lists all that a member has sent, newest first, one exchange for each recipient. Its node must run.
func (w *World) Outbox(t testing.TB, member string) []*ententev1.Exchange {
	t.Helper()
	return w.exchanges(t, member, ententev1.Direction_DIRECTION_OUT)
}

func (w *World) exchanges(t testing.TB, member string, d ententev1.Direction) []*ententev1.Exchange {
	t.Helper()
	w.mustRun(t, member)
	list, err := w.world.Exchanges(t.Context(), member, d)
	if err != nil {
		t.Fatalf("list exchanges of %s: %v", member, explain(err))
	}
	return list
}

// Check fails the test unless everything holds that must always hold, at all members and between them: every fact has its
// leaf and every leaf its fact; hashes, signatures, log, head and checkpoint fit each other; every document that a member
// gave a receipt for is there, whole; both sides of an exchange hold the same bytes of its receipts; and evidence for each exchange, for the
// newest 64 of each member, verifies without any node and proves its state. It reads the disks,
// so nodes may run or not, but what is under way must have come to an end: Await it first.
func (w *World) Check(t testing.TB) {
	t.Helper()
	if err := w.world.Check(t.Context()); err != nil {
		t.Fatalf("what must always hold does not:\n%v", err)
	}
	if _, err := w.world.Evidence(t.Context(), proved); err != nil {
		t.Fatalf("what happened cannot be proved:\n%v", err)
	}
}

// proved bounds the exchanges of each member for which Check makes evidence. Each takes a few milliseconds.
const proved = 64

// Report describes the world as a failing test does: the seed of Rand, the faults in force, and of each member its
// exchanges, what went wrong with them, and the last leaves of its log. It is for people and may change.
func (w *World) Report(t testing.TB) string {
	t.Helper()
	return w.report(t.Context())
}

// mustKnow ends the test if there is no such member.
func (w *World) mustKnow(t testing.TB, member string) {
	t.Helper()
	if !slices.Contains(w.world.Names, member) {
		t.Fatalf("there is no member %q in this world; its members are %s", member, strings.Join(w.world.Names, ", "))
	}
}

// mustRun ends the test if the member's node does not run; without it a call would only wait in vain.
func (w *World) mustRun(t testing.TB, member string) {
	t.Helper()
	w.mustKnow(t, member)
	if !w.world.Running(member) {
		t.Fatalf("the node of %s does not run; start it with Start", member)
	}
}
