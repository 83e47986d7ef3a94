package ententetest_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"entente.example/ententetest"
	ententev1 "entente.example/proto/entente/v1"
)

// awaitAttempt waits until alpha has failed to deliver its only document.
func awaitAttempt(t *testing.T, w *ententetest.World) (lastError string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if x := w.Outbox(t, "alpha")[0]; x.GetAttempts() > 0 && x.GetState() == "queued" {
			return x.GetLastError()
		}
	}
	t.Fatalf("nothing failed\n%s", w.Report(t))
	return ""
}

// TestPartition wants nothing to pass, another member not to notice, and the reason to be said.
func TestPartition(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo", "charlie")
	w.Agree(t, ententetest.Agreement{})
	w.Partition(t, "alpha", "bravo")
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("x")}, "bravo")
	if said := awaitAttempt(t, w); !strings.Contains(said, "partitioned by the test") {
		t.Errorf("the last error is %q", said)
	}
	w.Stop(t, "bravo") // a partition outlives a restart
	w.Start(t, "bravo")
	y := w.Send(t, "charlie", ententetest.Document{Content: []byte("y")}, "alpha", "bravo")
	w.Await(t, y, ententetest.Delivered)
	if n := len(w.Inbox(t, "bravo")); n != 1 {
		t.Errorf("bravo has %d documents, want only charlie's", n)
	}
	w.Heal(t, "bravo", "alpha")
	w.Await(t, x, ententetest.Delivered)
	w.Check(t)
}

// TestDrop has packets vanish: the attempt neither ends nor succeeds, and goes on when they pass again.
func TestDrop(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	for name, drop := range map[string]func(){
		"both":      func() { w.Drop(t, "alpha", "bravo") },
		"there":     func() { w.OneWay(t, "alpha", "bravo").Drop(t) },
		"and back":  func() { w.OneWay(t, "bravo", "alpha").Drop(t) },
		"and delay": func() { w.Drop(t, "alpha", "bravo"); w.Delay(t, "alpha", "bravo", time.Millisecond) },
	} {
		drop()
		x := w.Send(t, "alpha", ententetest.Document{Name: name, Content: []byte(name)}, "bravo")
		time.Sleep(300 * time.Millisecond) // for what must not happen there is nothing to wait for
		if e := outgoing(t, w, x); e.GetState() != "delivering" || e.GetAttempts() != 0 {
			t.Errorf("%s: it is %s after %d failed attempts, and should hang", name, e.GetState(), e.GetAttempts())
		}
		w.Heal(t, "alpha", "bravo")
		w.Await(t, x, ententetest.Delivered)
	}
	w.Check(t)
}

// outgoing finds a document among those that alpha sent; the list does not tell those of one second apart.
func outgoing(t *testing.T, w *ententetest.World, x ententetest.Sending) *ententev1.Exchange {
	t.Helper()
	for _, e := range w.Outbox(t, "alpha") {
		if e.GetId() == x.ID {
			return e
		}
	}
	t.Fatalf("%s is not in the outbox", x.ID)
	return nil
}

// TestLineBreaksUnderWay disturbs transfers that a delay makes long enough to hit: each document arrives once and whole.
func TestLineBreaksUnderWay(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	r := w.Rand()
	w.Delay(t, "alpha", "bravo", 50*time.Millisecond)
	broke := 0
	for name, disturb := range map[string]func(){
		"cut":     func() { w.Cut(t, "alpha", "bravo") },
		"one way": func() { w.OneWay(t, "alpha", "bravo").Cut(t) },
		"part":    func() { w.Partition(t, "alpha", "bravo"); w.Heal(t, "alpha", "bravo") },
		"drop":    func() { w.Drop(t, "alpha", "bravo"); time.Sleep(150 * time.Millisecond); w.Heal(t, "alpha", "bravo") },
		"kill":    func() { w.Kill(t, "bravo"); w.Start(t, "bravo") },
	} {
		content := random(byte(r.Uint32()), 4<<20)
		x := w.Send(t, "alpha", ententetest.Document{Name: name, Content: content}, "bravo")
		// With the trips for TCP, TLS, offer and payload it takes 400 ms; after 100 of them there is a connection.
		time.Sleep(120*time.Millisecond + time.Duration(r.IntN(200))*time.Millisecond)
		disturb()
		for e := outgoing(t, w, x); e.GetState() == "queued" || e.GetState() == "delivering"; e = outgoing(t, w, x) {
			if e.GetAttempts() > 0 {
				broke++
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		w.Await(t, x, ententetest.Delivered)
		if got := w.Open(t, "bravo", x); !bytes.Equal(got.Content, content) {
			t.Errorf("%s: bravo opened another document", name)
		}
		w.Await(t, x, ententetest.Opened)
		w.Delay(t, "alpha", "bravo", 50*time.Millisecond) // which healing ended
	}
	t.Logf("%d of 5 transfers broke", broke)
	if broke == 0 {
		t.Error("no transfer was hit")
	}
	if n := len(w.Inbox(t, "bravo")); n != 5 {
		t.Errorf("bravo has %d documents, want 5", n)
	}
	w.Check(t)
}

// TestDelay measures how long a delivery takes, which is at least the delay: TCP, TLS and the answer each take a trip.
func TestDelay(t *testing.T) {
	t.Parallel()
	const d = 200 * time.Millisecond
	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	w.OneWay(t, "alpha", "bravo").Delay(t, d)
	began := time.Now()
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("slow")}, "bravo")
	w.Await(t, x, ententetest.Delivered)
	if took := time.Since(began); took < 3*d {
		t.Errorf("it took %s, and each of three trips takes %s", took, d)
	}
	w.Check(t)
}

// TestKillLosesNothing kills the sender again and again while somebody sends: what was acknowledged arrives, once.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	r := w.Rand()
	stop, killed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { killed <- n }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(r.IntN(150)) * time.Millisecond):
			}
			w.Kill(t, "alpha")
			w.Start(t, "alpha")
			n++
		}
	}()
	var sent []ententetest.Sending
	for range 30 {
		c, err := w.TrySend(t, "alpha", ententetest.Document{Content: []byte("x")}, "bravo")
		if err != nil {
			time.Sleep(20 * time.Millisecond) // as somebody would who is told that the node does not run
			continue
		}
		sent = append(sent, c)
	}
	close(stop)
	n := <-killed
	for _, x := range sent {
		w.Await(t, x, ententetest.Delivered)
	}
	in := map[string]int{}
	for _, x := range w.Inbox(t, "bravo") {
		in[x.GetId()]++
	}
	for _, x := range sent {
		if in[x.ID] != 1 {
			t.Errorf("%s was acknowledged, and arrived %d times", x.ID, in[x.ID])
		}
	}
	t.Logf("%d of 30 acknowledged, %d kills", len(sent), n)
	if len(sent) == 0 || n == 0 {
		t.Error("nothing was tried")
	}
	w.Check(t)
}

// TestSkewedClock wants what is signed to bear the member's own time, within the bounds that others accept.
func TestSkewedClock(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	w.SetClock(t, "bravo", 4*time.Minute)
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("x")}, "bravo")
	e := w.Await(t, x, ententetest.Delivered)[0]
	if ahead := time.Until(e.GetReceipts()[0].GetAt().AsTime()); ahead < 3*time.Minute {
		t.Errorf("bravo's receipt is dated %s ahead, and its clock is 4 minutes ahead", ahead)
	}
	w.Check(t)
}

// TestRandRepeats sets the seed. It changes the environment, so it does not run in parallel.
func TestRandRepeats(t *testing.T) {
	t.Setenv(ententetest.SeedVariable, "42")
	one, other := ententetest.Found(t, "alpha", "bravo"), ententetest.Found(t, "alpha", "bravo")
	for range 2 {
		if a, b := one.Rand().Uint64(), other.Rand().Uint64(); a != b {
			t.Errorf("%d and %d of the same seed", a, b)
		}
	}
	if !strings.HasPrefix(one.Report(t), "ENTENTE_SEED=42\n") {
		t.Errorf("the report does not begin with the seed:\n%s", one.Report(t))
	}
}

// BenchmarkFound tells how long it takes until three members are ready: under a second is the aim.
func BenchmarkFound(b *testing.B) {
	for b.Loop() {
		ententetest.Found(b, "alpha", "bravo", "charlie")
	}
}
