package ententetest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"entente.example/ententetest"
)

func Example() {
	// In your own test, t is its *testing.T, and these two lines are not there.
	t := outsideATest()
	defer t.end()

	w := ententetest.Found(t, "alpha", "bravo", "charlie")
	w.Agree(t, ententetest.Agreement{Name: "harbour-watch", Purposes: []string{"incident-response"}, Ceiling: "TLP:AMBER", RetainDays: 90})

	x := w.Send(t, "alpha", ententetest.Document{Name: "report.txt", Content: []byte("crane 4 stands still")}, "bravo")
	w.Await(t, x, ententetest.Delivered)
	got := w.Open(t, "bravo", x)
	fmt.Printf("bravo opened %s: %s\n", got.Name, got.Content)

	_, err := w.TrySend(t, "alpha", ententetest.Document{Label: "TLP:RED", Content: []byte("secret")}, "bravo")
	fmt.Println("alpha's own node:", err)

	w.Check(t)
	// Output:
	// bravo opened report.txt: crane 4 stands still
	// alpha's own node: policy refuses to release this document
}

// A member that is down gets what was sent to it when it is there again.
func ExampleWorld_Stop() {
	t := outsideATest()
	defer t.end()

	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	w.Stop(t, "bravo")
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("patience")}, "bravo")
	w.Start(t, "bravo")
	for _, e := range w.Await(t, x, ententetest.Delivered) {
		fmt.Println(e.GetTo(), "signed:", e.GetReceipts()[0].GetKind())
	}
	// Output:
	// bravo signed: stored
}

// What two members could not say to each other they say when the line is whole again.
func ExampleWorld_Partition() {
	t := outsideATest()
	defer t.end()

	w := ententetest.Found(t, "alpha", "bravo", "charlie")
	w.Agree(t, ententetest.Agreement{})
	w.Partition(t, "alpha", "bravo")
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("to both")}, "bravo", "charlie")
	w.Await(t, x, ententetest.Delivered, "charlie")
	fmt.Println("bravo has", len(w.Inbox(t, "bravo")))
	w.Heal(t, "alpha", "bravo")
	w.Await(t, x, ententetest.Delivered)
	fmt.Println("bravo has", len(w.Inbox(t, "bravo")))
	// Output:
	// bravo has 0
	// bravo has 1
}

// Alpha reaches bravo, but bravo does not reach alpha: the document arrives and is answered in the same call, and the later
// receipt waits.
func ExampleWorld_OneWay() {
	t := outsideATest()
	defer t.end()

	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	w.OneWay(t, "bravo", "alpha").Partition(t)
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("one way")}, "bravo")
	w.Await(t, x, ententetest.Delivered)
	w.Open(t, "bravo", x)
	fmt.Println(w.Outbox(t, "alpha")[0].GetState())
	w.OneWay(t, "bravo", "alpha").Heal(t)
	w.Await(t, x, ententetest.Opened)
	fmt.Println(w.Outbox(t, "alpha")[0].GetState())
	// Output:
	// delivered
	// opened
}

// What was acknowledged is there after a crash.
func ExampleWorld_Kill() {
	t := outsideATest()
	defer t.end()

	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("still here")}, "bravo")
	w.Kill(t, "alpha")
	w.Start(t, "alpha")
	w.Await(t, x, ententetest.Delivered)
	fmt.Printf("%s\n", w.Open(t, "bravo", x).Content)
	w.Check(t)
	// Output:
	// still here
}

// A member whose clock is far behind does not take what seems to come from the future; once it is right, it does.
func ExampleWorld_SetClock() {
	t := outsideATest()
	defer t.end()

	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	w.SetClock(t, "bravo", -time.Hour)
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("from the future")}, "bravo")
	for w.Outbox(t, "alpha")[0].GetAttempts() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("bravo has", len(w.Inbox(t, "bravo")))
	w.SetClock(t, "bravo", 0)
	w.Await(t, x, ententetest.Delivered)
	fmt.Println("bravo has", len(w.Inbox(t, "bravo")))
	// Output:
	// bravo has 0
	// bravo has 1
}

// exampleT stands in for a *testing.T, which examples do not have.
type exampleT struct {
	failing
	dir string
}

func outsideATest() *exampleT { return &exampleT{} }

// Context is never cancelled.
func (e *exampleT) Context() context.Context { return context.Background() }

// Output throws away what the nodes log.
func (e *exampleT) Output() io.Writer { return io.Discard }

// TempDir makes one folder, which end removes.
func (e *exampleT) TempDir() string {
	if e.dir == "" {
		dir, err := os.MkdirTemp("", "entente-example-")
		if err != nil {
			e.Fatalf("%v", err)
		}
		e.dir = dir
	}
	return e.dir
}

func (e *exampleT) end() {
	if r := recover(); r != nil && r != (failedNow{}) {
		panic(r)
	}
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
	if e.dir != "" {
		_ = os.RemoveAll(e.dir)
	}
	if e.failed {
		fmt.Print(e.said.String())
	}
}

var _ testing.TB = (*exampleT)(nil)
