package ententetest_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entente.example/ententetest"
)

// TestRefusalsAreValues asks for what must not be, at both ends.
func TestRefusalsAreValues(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo", "charlie")
	w.Agree(t, ententetest.Agreement{Name: "harbour-watch", Parties: []string{"alpha", "bravo"}, Purposes: []string{"incident-response"}, Ceiling: "TLP:GREEN", RetainDays: 30})
	w.Agree(t, ententetest.Agreement{Name: "over", From: time.Now().AddDate(-1, 0, 0), Until: time.Now().Add(-time.Hour)})
	w.AddPerson(t, "alpha", "mallory", "reader")
	content := []byte("a report")
	for name, c := range map[string]struct {
		who  string
		doc  ententetest.Document
		to   []string
		kind string
		rule string // part of one of the rules that refused
	}{
		"label above the ceiling": {"alpha", ententetest.Document{Agreement: "harbour-watch", Label: "TLP:RED"}, []string{"bravo"}, "refused", "ceiling"},
		"unknown label":           {"alpha", ententetest.Document{Agreement: "harbour-watch", Label: "SECRET"}, []string{"bravo"}, "refused", "label"},
		"purpose not agreed":      {"alpha", ententetest.Document{Agreement: "harbour-watch", Purpose: "marketing"}, []string{"bravo"}, "refused", "purpose"},
		"recipient is no party":   {"alpha", ententetest.Document{Agreement: "harbour-watch"}, []string{"bravo", "charlie"}, "refused", "part"},
		"kept too long":           {"alpha", ententetest.Document{Agreement: "harbour-watch", RetainDays: 31}, []string{"bravo"}, "refused", "retention"},
		"agreement has ended":     {"alpha", ententetest.Document{Agreement: "over"}, []string{"bravo"}, "refused", "ended"},
		"person may not send":     {"alpha/mallory", ententetest.Document{Agreement: "harbour-watch"}, []string{"bravo"}, "refused", "role"},
		"unknown member":          {"alpha", ententetest.Document{Agreement: "harbour-watch"}, []string{"zulu"}, "misused", ""},
		"unknown agreement":       {"alpha", ententetest.Document{Agreement: "nothing", Purpose: "exercise", Label: "TLP:GREEN"}, []string{"bravo"}, "misused", ""},
		"file name with a path":   {"alpha", ententetest.Document{Agreement: "harbour-watch", Name: "../report"}, []string{"bravo"}, "misused", ""},
		"unknown person":          {"alpha/nobody", ententetest.Document{Agreement: "harbour-watch"}, []string{"bravo"}, "not-found", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.doc.Content = content
			_, err := w.TrySend(t, c.who, c.doc, c.to...)
			var e *ententetest.Error
			if !errors.As(err, &e) || e.Kind != c.kind || e.Text == "" {
				t.Fatalf("got %v, want an error %q", err, c.kind)
			}
			if e.Refused() != (c.kind == "refused") {
				t.Errorf("Refused() is %v for kind %q", e.Refused(), e.Kind)
			}
			if c.rule != "" && !slices.ContainsFunc(e.Rules(), func(r string) bool { return strings.Contains(r, c.rule) }) {
				t.Errorf("refused by %v, and not by a rule about %q", e.Rules(), c.rule)
			}
		})
	}
	if list := w.Outbox(t, "alpha"); len(list) != 0 {
		t.Errorf("%d exchanges came of refused sendings", len(list))
	}

	w.AddPerson(t, "bravo", "trent", "releaser")
	x := w.Send(t, "alpha", ententetest.Document{Agreement: "harbour-watch", Content: content}, "bravo")
	w.Await(t, x, ententetest.Delivered)
	var e *ententetest.Error
	if _, err := w.TryOpen(t, "bravo/trent", x); !errors.As(err, &e) || !e.Refused() {
		t.Errorf("somebody who is no reader opened a document: %v", err)
	}
	if _, err := w.TryOpen(t, "charlie", x); !errors.As(err, &e) || e.Kind != "not-found" {
		t.Errorf("somebody who is no recipient opened a document: %v", err)
	}
	w.Check(t)
}

// TestExpires has a recipient that comes too late.
func TestExpires(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo")
	w.Agree(t, ententetest.Agreement{})
	w.Stop(t, "bravo")
	x := w.Send(t, "alpha", ententetest.Document{Content: []byte("too late"), DeliverBy: time.Second}, "bravo")
	w.Await(t, x, ententetest.Expired)
	w.Start(t, "bravo")
	if list := w.Inbox(t, "bravo"); len(list) != 0 {
		t.Errorf("an expired document arrived: %v", list)
	}
	w.Check(t)
}

// TestNothingIsLeft looks for goroutines, ports and open files of a world whose test is over. It does not run in parallel
// with other tests, whose goroutines it would count.
func TestNothingIsLeft(t *testing.T) {
	var addresses []string
	var dir string
	before := openFiles(t)
	t.Run("world", func(t *testing.T) {
		w := ententetest.Found(t, "alpha", "bravo", "charlie")
		w.Agree(t, ententetest.Agreement{})
		x := w.Send(t, "alpha", ententetest.Document{Content: []byte("a report")}, "bravo", "charlie")
		w.Await(t, x, ententetest.Delivered)
		w.Open(t, "bravo", x)
		w.Stop(t, "bravo")
		w.Start(t, "bravo")
		w.Delay(t, "alpha", "bravo", time.Millisecond)
		w.Kill(t, "bravo")
		w.Start(t, "bravo")
		w.Drop(t, "alpha", "charlie") // and never healed: an attempt hangs when the test ends
		w.Partition(t, "bravo", "charlie")
		w.Send(t, "alpha", ententetest.Document{Content: []byte("another")}, "charlie")
		w.Await(t, w.Send(t, "alpha", ententetest.Document{Content: []byte("a third")}, "bravo"), ententetest.Delivered)
		w.Stop(t, "bravo")
		w.Check(t)
		for _, m := range w.Members() {
			addresses = append(addresses, listening(t, w.Home(m))...)
		}
		dir = filepath.Dir(w.Home("alpha"))
	})
	if len(addresses) != 6 {
		t.Fatalf("addresses %v", addresses)
	}
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Errorf("a port is still in use: %v", err)
			continue
		}
		l.Close()
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	// A goroutine that has done its work may need a moment to end.
	var left []string
	for range 40 {
		if left = goroutines(); len(left) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(left) > 0 {
		t.Errorf("%d goroutines are left, the first of them:\n%s", len(left), left[0])
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files were open before, and %d are now", before, after)
	}
}

// listening reads the addresses of a node from its configuration.
func listening(t *testing.T, home string) []string {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(home, "entente.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^(?:peer|node)_listen = "(.*)"$`).FindAllSubmatch(config, -1) {
		list = append(list, string(m[1]))
	}
	return list
}

// goroutines gives the stacks of the goroutines that a world would leave: all but those of the testing package, and of
// worlds of tests that wait for their turn.
func goroutines() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var list []string
	for _, stack := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(stack, "testing.(*T).Run(") || strings.Contains(stack, "testing.(*T).Parallel(") || strings.Contains(stack, "_test.goroutines(") {
			continue
		}
		for _, ours := range []string{"entente.example/", "google.golang.org/grpc", "modernc.org/", "database/sql", "crypto/tls"} {
			if strings.Contains(stack, ours) {
				list = append(list, stack)
				break
			}
		}
	}
	return list
}

// openFiles counts the process's open files, where the system tells; elsewhere it gives 0.
func openFiles(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// failing is a testing.TB that writes down how a test failed. Only the methods that the package uses are there.
type failing struct {
	testing.TB // of the test around it
	said       strings.Builder
	failed     bool
	cleanups   []func()
}

type failedNow struct{}

func (f *failing) Helper()                   {}
func (f *failing) Failed() bool              { return f.failed }
func (f *failing) Cleanup(fn func())         { f.cleanups = append(f.cleanups, fn) }
func (f *failing) Logf(s string, a ...any)   { fmt.Fprintf(&f.said, s+"\n", a...) }
func (f *failing) Errorf(s string, a ...any) { f.failed = true; f.Logf(s, a...) }
func (f *failing) Fatalf(s string, a ...any) { f.Errorf(s, a...); panic(failedNow{}) }

// run runs a test that fails, with what it must clean up.
func (f *failing) run(test func(testing.TB)) {
	defer func() {
		if r := recover(); r != nil && r != (failedNow{}) {
			panic(r)
		}
		for _, fn := range slices.Backward(f.cleanups) {
			fn()
		}
	}()
	test(f)
}

// TestFailureHelps reads what somebody reads whose test has failed.
func TestFailureHelps(t *testing.T) {
	t.Parallel()
	f := &failing{TB: t}
	var seen int64 // attempts, before the failure; on a slow machine there are more when the world is reported
	f.run(func(t testing.TB) {
		w := ententetest.Found(t, "alpha", "bravo")
		w.Agree(t, ententetest.Agreement{})
		w.Stop(t, "bravo")
		w.Partition(t, "alpha", "bravo")
		w.SetClock(t, "bravo", time.Minute)
		w.Send(t, "alpha", ententetest.Document{Content: []byte("x")}, "bravo")
		for seen == 0 {
			time.Sleep(10 * time.Millisecond)
			seen = w.Outbox(t, "alpha")[0].GetAttempts()
		}
		w.Start(t, "zulu")
	})
	for _, want := range []string{`there is no member "zulu"`, "alpha (running)", "bravo (stopped, its clock off by 1m0s)", "ENTENTE_SEED=", "alpha cannot call bravo: partitioned", `last error: "bravo does not answer`, `"kind":"released"`, `"kind":"agreement"`} {
		if !strings.Contains(f.said.String(), want) {
			t.Errorf("%q is not said in:\n%s", want, f.said.String())
		}
	}
	said := regexp.MustCompile(`queued, (\d+) failed attempts\n`).FindStringSubmatch(f.said.String())
	if len(said) != 2 {
		t.Fatalf("how often delivery failed is not said in:\n%s", f.said.String())
	}
	if n, err := strconv.ParseInt(said[1], 10, 64); err != nil || n < seen {
		t.Errorf("%s failed attempts are said, and there were %d before", said[1], seen)
	}

	f = &failing{TB: t}
	f.run(func(t testing.TB) {
		w := ententetest.Found(t, "alpha", "bravo")
		w.Send(t, "alpha", ententetest.Document{}, "bravo")
	})
	if !strings.Contains(f.said.String(), "there is no agreement between alpha and bravo") {
		t.Errorf("said:\n%s", f.said.String())
	}
}
