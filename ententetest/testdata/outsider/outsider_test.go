package outsider_test

import (
	"bytes"
	"testing"

	"entente.example/ententetest"
)

// TestReportArrives has a report arrive once and whole, whatever happens between the members and to them.
func TestReportArrives(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo", "charlie")
	w.Agree(t, ententetest.Agreement{Name: "harbour-watch", Purposes: []string{"incident-response"}})
	report := bytes.Repeat([]byte("crane 4 stands still\n"), 10_000)

	w.Partition(t, "alpha", "bravo")
	x := w.Send(t, "alpha", ententetest.Document{Name: "report.txt", Content: report}, "bravo", "charlie")
	w.Await(t, x, ententetest.Delivered, "charlie")
	w.Kill(t, "alpha")
	w.Start(t, "alpha")
	w.Heal(t, "alpha", "bravo")
	w.Await(t, x, ententetest.Delivered)

	w.Stop(t, "bravo")
	w.Start(t, "bravo")
	if got := w.Open(t, "bravo", x); !bytes.Equal(got.Content, report) || len(w.Inbox(t, "bravo")) != 1 {
		t.Errorf("bravo opened %q with %d bytes", got.Name, len(got.Content))
	}
	w.Check(t)
}
