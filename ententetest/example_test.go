package ententetest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"

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
