package node_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/lab"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Delivered a thousand times, in parallel and across a restart, a document is there once, with one receipt.
func TestDeliveredAgain(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("bravo")
	d := w.document("alpha", []string{"bravo"}, strings.Repeat("a document\n", 1000))
	before := w.state("bravo")
	half := 500
	if testing.Short() {
		half = 100 // the race detector needs no more
	}
	var mu sync.Mutex
	var receipts [][]byte
	for range 2 {
		peers := []*peer{w.peer("alpha", "bravo"), w.peer("alpha", "bravo"), w.peer("alpha", "bravo"), w.peer("alpha", "bravo")}
		var all sync.WaitGroup
		work := make(chan int)
		for i := range 32 {
			all.Go(func() {
				for range work {
					raw, err := peers[i%len(peers)].patiently(d)
					if err != nil {
						t.Error(err)
						continue
					}
					mu.Lock()
					receipts = append(receipts, raw)
					mu.Unlock()
				}
			})
		}
		for i := range half {
			work <- i
		}
		close(work)
		all.Wait()
		w.stop("bravo")
		w.start("bravo")
	}
	if len(receipts) != 2*half {
		t.Errorf("%d receipts", len(receipts))
	}
	for _, r := range receipts {
		if !bytes.Equal(r, receipts[0]) {
			t.Fatalf("two receipts:\n%s\n%s", r, receipts[0])
		}
	}
	if r := w.peer("alpha", "bravo").receipt(receipts[0], d); r.Kind != statement.Stored {
		t.Errorf("receipt %s", r.Kind)
	}
	after := w.state("bravo")
	if got := after.kinds(len(before.leaves)); got != "received" || len(after.exchanges) != 1 || len(after.blobs) != 1 || len(after.staging) != 0 {
		t.Errorf("leaves %q, exchanges %v, blobs %v, staging %v", got, after.exchanges, after.blobs, after.staging)
	}
}

// The same id is the same sending; with anything else about it, it is a conflict.
func TestSentAgain(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	if err := w.AddPerson(t.Context(), "alpha", "zoe", "releaser"); err != nil {
		t.Fatal(err)
	}
	w.agree(statement.Agreement{Name: "another", Parties: []string{"alpha", "bravo"}})
	w.start("alpha")
	alice := w.person("alpha")
	sub := submission("bravo", "charlie")
	before := w.state("alpha")
	var first *ententev1.SendResponse
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for { // the client gives up after a few attempts, if others hold the id that long
				out, err := alice.Send(t.Context(), sub, strings.NewReader("a document"))
				if fault.KindOf(err) == fault.Transient && err != nil {
					continue
				}
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = out
				}
				if err != nil || out.GetManifestSha256() != first.GetManifestSha256() || !slices.Equal(out.GetExchanges(), first.GetExchanges()) {
					t.Errorf("sent again: %v, %v, %v", out, first, err)
				}
				return
			}
		})
	}
	all.Wait()
	for name, edit := range map[string]func(*ententev1.Submission){
		"recipients": func(s *ententev1.Submission) { s.To = []string{"bravo"} },
		"agreement":  func(s *ententev1.Submission) { s.Agreement, s.To = "another", []string{"bravo"} },
		"purpose":    func(s *ententev1.Submission) { s.Purpose = "exercise" },
		"label":      func(s *ententev1.Submission) { s.Label = "TLP:GREEN" },
		"retention":  func(s *ententev1.Submission) { s.RetainDays = 30 },
		"deadline":   func(s *ententev1.Submission) { s.DeliverSeconds = 60 },
	} {
		other := submission(sub.GetTo()...)
		other.Id = sub.GetId()
		edit(other)
		_, err := alice.Send(t.Context(), other, strings.NewReader("a document"))
		if fault.KindOf(err) != fault.Conflict {
			t.Errorf("with another %s: %v", name, err)
		}
	}
	_, err := w.as("alpha", "zoe").Send(t.Context(), sub, strings.NewReader("a document"))
	wantFault(t, err, fault.Conflict, "was used for another document")
	after := w.state("alpha")
	if got := after.kinds(len(before.leaves)); got != "released" || len(after.exchanges) != 2 || len(after.blobs) != 1 {
		t.Errorf("leaves %q, exchanges %v, blobs %v", got, after.exchanges, after.blobs)
	}
}

// However often a document is opened, and by however many at once, there is one receipt `opened`.
func TestOpenedAgain(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	ref := w.send("alpha", submission("bravo"), []byte("a document"))[0]
	w.await("alpha", ref, "delivered")
	before := w.state("bravo")
	bob := w.person("bravo")
	const times = 32
	var all sync.WaitGroup
	for range times {
		all.Go(func() {
			if got, err := open(t.Context(), bob, ref); err != nil || string(got) != "a document" {
				t.Errorf("opened %q: %v", got, err)
			}
		})
	}
	all.Wait()
	after := w.state("bravo")
	got := after.kinds(len(before.leaves))
	if strings.Count(got, "reopened") != times-1 || !strings.HasPrefix(got, "opened ") || len(after.leaves)-len(before.leaves) != times {
		t.Errorf("leaves %q", got)
	}
	x := w.await("alpha", ref, "opened")
	if len(x.GetReceipts()) != 2 {
		t.Errorf("receipts %v", x.GetReceipts())
	}
	if got := w.state("alpha").kinds(0); strings.Count(got, "confirmed") != 1 {
		t.Errorf("leaves %q", got)
	}
}

// A recipient that is down gets the document after it starts, with no further command. A sender that is down as well
// goes on by itself.
func TestRecipientDown(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha", "bravo")
	w.stop("bravo")
	ref := w.send("alpha", submission("bravo"), []byte("a document"))[0]
	x, err := w.person("alpha").Await(t.Context(), ref, func(x *ententev1.Exchange) bool { return x.GetAttempts() > 0 })
	if err != nil || x.GetState() != "queued" || x.GetLastError() == "" {
		t.Fatalf("%v: %v", x, err)
	}
	w.stop("alpha")
	w.start("alpha", "bravo")
	w.await("alpha", ref, "delivered")
	w.await("bravo", ref, "stored")
}

// Thousands of bad offers, of any kind, make as many leaves as a peer may cause in a minute, and then no more. Honest
// peers are served meanwhile.
func TestFlood(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	w := foundWith(t, lab.Options{Members: []string{"alpha", "bravo", "charlie"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	w.start("bravo")
	before, begun := w.state("bravo"), time.Now()
	bad := w.document("alpha", []string{"bravo"}, "bad")
	bad.raw = bytes.Replace(bad.raw, []byte("TLP:AMBER"), []byte("TLP:GREEN"), 1)
	offers, refusals := 5000, 200
	if testing.Short() {
		offers, refusals = 800, 80 // the race detector needs no more
	}
	peers := []*peer{w.peer("alpha", "bravo"), w.peer("alpha", "bravo")}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for range offers / 16 {
				if _, _, err := peers[i%2].offer(t.Context(), bad); fault.KindOf(err) != fault.Invalid {
					t.Errorf("a bad offer: %v", err)
				}
			}
		})
	}
	all.Go(func() {
		for range refusals {
			d := w.document("alpha", []string{"bravo"}, "refused", func(m *statement.Manifest) { m.Label = "TLP:RED" })
			_, answer, err := peers[0].offer(t.Context(), d)
			if err != nil && fault.KindOf(err) != fault.Transient || err == nil && answer.GetReceipt() == nil {
				t.Errorf("a refused offer: %v %v", answer, err)
			}
		}
	})
	honest := w.document("charlie", []string{"bravo"}, "honest")
	raw, err := w.peer("charlie", "bravo").deliver(t.Context(), honest)
	if err != nil || raw == nil {
		t.Errorf("an honest peer: %v", err)
	}
	all.Wait()
	if rejections, calls := strings.Count(log.String(), "rejected a request"), strings.Count(log.String(), "finished call"); rejections+calls > 4*int(time.Since(begun)/limit.LogPause+1)+2 {
		t.Errorf("%d lines about rejections and %d about calls", rejections, calls)
	}
	after := w.state("bravo")
	minutes := int(time.Now().Unix()/60-begun.Unix()/60) + 1
	caused := len(after.leaves) - len(before.leaves) - 1
	if caused > minutes*limit.PeerLeavesPerMinute || caused < limit.PeerLeavesPerMinute {
		t.Errorf("%d leaves in %d minutes", caused, minutes)
	}
	refused := 0
	for _, s := range after.exchanges {
		if s == store.Refused {
			refused++
		}
	}
	if refused > minutes*limit.PeerLeavesPerMinute || len(after.staging) != 0 {
		t.Errorf("%d refused exchanges, staging %v", refused, after.staging)
	}
}
