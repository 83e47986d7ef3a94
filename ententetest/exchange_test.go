package ententetest_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"entente.example/ententetest"
)

// random gives bytes that nothing can make smaller, the same for the same seed.
func random(seed byte, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // it never fails
	return b
}

// sample reads one of the project's own documents.
func sample(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "internal", "lab", "documents", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDocuments sends documents of every awkward size, and real ones, to one and to two recipients. age splits a document
// into chunks of 64 KiB, of which the last must not be empty unless it is the only one.
func TestDocuments(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo", "charlie")
	w.Agree(t, ententetest.Agreement{Name: "harbour-watch", Purposes: []string{"incident-response"}})
	documents := []ententetest.Document{
		{Name: "incident-report.pdf", MediaType: "application/pdf", Content: sample(t, "incident-report.pdf")},
		{Name: "crane-plan.png", MediaType: "image/png", Content: sample(t, "crane-plan.png")},
	}
	for _, size := range []int{0, 1, 65_535, 65_536, 65_537, 1 << 20} {
		documents = append(documents, ententetest.Document{Name: fmt.Sprintf("%d bytes.bin", size), MediaType: "application/octet-stream", Content: random(1, size)})
	}
	t.Run("exchange", func(t *testing.T) {
		for _, d := range documents {
			for _, to := range [][]string{{"bravo"}, {"bravo", "charlie"}} {
				t.Run(fmt.Sprintf("%s to %d", d.Name, len(to)), func(t *testing.T) {
					t.Parallel()
					exchange(t, w, d, to)
				})
			}
		}
	})
	list := w.Inbox(t, "bravo")
	if len(list) != 2*len(documents) {
		t.Errorf("bravo has %d documents in its inbox, and %d were sent", len(list), 2*len(documents))
	}
	for _, x := range list {
		if len(x.GetReceipts()) != 2 {
			t.Errorf("%s: %d receipts, want stored and opened", x.GetRef(), len(x.GetReceipts()))
		}
	}
	w.Check(t)
}

// exchange sends a document from alpha and compares what every recipient opens.
func exchange(t *testing.T, w *ententetest.World, d ententetest.Document, to []string) {
	t.Helper()
	x := w.Send(t, "alpha", d, to...)
	w.Await(t, x, ententetest.Delivered)
	for _, member := range to {
		got := w.Open(t, member, x)
		if got.Name != d.Name || got.MediaType != d.MediaType || !bytes.Equal(got.Content, d.Content) {
			t.Errorf("%s opened %q (%s, %d bytes), alpha sent %q (%s, %d bytes)", member, got.Name, got.MediaType, len(got.Content), d.Name, d.MediaType, len(d.Content))
		}
		if got.Label != "TLP:AMBER" || got.Purpose != "incident-response" {
			t.Errorf("opened with label %q and purpose %q", got.Label, got.Purpose)
		}
	}
	w.Await(t, x, ententetest.Opened)
}

// TestRecipientIsDown sends while the recipients are down, and restarts the sender in between: what was acknowledged goes
// on by itself.
func TestRecipientIsDown(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo", "charlie")
	w.Agree(t, ententetest.Agreement{})
	w.Stop(t, "bravo")
	w.Stop(t, "charlie")
	content := random(2, 200_000)
	x := w.Send(t, "alpha", ententetest.Document{Content: content}, "bravo", "charlie")
	w.Stop(t, "alpha")
	w.Start(t, "bravo")
	w.Start(t, "alpha")
	w.Await(t, x, ententetest.Delivered, "bravo")
	if list := w.Outbox(t, "alpha"); len(list) != 2 {
		t.Errorf("the outbox has %d exchanges, want 2", len(list))
	}
	w.Start(t, "charlie")
	w.Await(t, x, ententetest.Delivered)
	for _, member := range x.To {
		if got := w.Open(t, member, x); !bytes.Equal(got.Content, content) {
			t.Errorf("%s opened another document", member)
		}
	}
	// Opened while the sender is down: the receipt finds its way when it is there again.
	y := w.Send(t, "alpha", ententetest.Document{Content: content}, "bravo")
	w.Await(t, y, ententetest.Delivered)
	w.Stop(t, "alpha")
	w.Open(t, "bravo", y)
	w.Open(t, "bravo", y)
	w.Start(t, "alpha")
	w.Await(t, y, ententetest.Opened)
	w.Check(t)
}

// TestSealedOnce sends to eleven recipients of which three run: it is sealed once, each of them has the very bytes that
// alpha has, and the others get them when they start.
func TestSealedOnce(t *testing.T) {
	t.Parallel()
	members := []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima"}
	w := ententetest.Found(t, members...)
	w.Agree(t, ententetest.Agreement{})
	recipients, running := members[1:], members[1:4]
	for _, m := range members[4:] {
		w.Stop(t, m)
	}
	content := random(3, 300_000)
	x := w.Send(t, "alpha", ententetest.Document{Content: content}, recipients...)
	w.Await(t, x, ententetest.Delivered, running...)
	sealed := blobs(t, w, "alpha")
	if len(sealed) != 1 {
		t.Fatalf("alpha holds %d sealed documents, want 1", len(sealed))
	}
	for _, m := range running {
		if got := blobs(t, w, m); len(got) != 1 || !bytes.Equal(got[0], sealed[0]) {
			t.Errorf("%s holds something else than alpha sealed", m)
		}
		if got := w.Open(t, m, x); !bytes.Equal(got.Content, content) {
			t.Errorf("%s opened another document", m)
		}
	}
	for _, m := range members[4:] {
		w.Start(t, m)
	}
	w.Await(t, x, ententetest.Delivered)
	if got := w.Open(t, "lima", x); !bytes.Equal(got.Content, content) {
		t.Error("lima opened another document")
	}
	w.Check(t)
}

// blobs reads all sealed documents that a member holds.
func blobs(t *testing.T, w *ententetest.World, member string) (list [][]byte) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(w.Home(member), "blobs", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// TestWorldsDoNotMix runs two alliances whose members have the same names.
func TestWorldsDoNotMix(t *testing.T) {
	t.Parallel()
	one, other := ententetest.Found(t, "alpha", "bravo"), ententetest.Found(t, "alpha", "bravo")
	var sent []ententetest.Sending
	for i, w := range []*ententetest.World{one, other} {
		w.Agree(t, ententetest.Agreement{})
		x := w.Send(t, "alpha", ententetest.Document{Content: random(byte(i), 1000)}, "bravo")
		w.Await(t, x, ententetest.Delivered)
		sent = append(sent, x)
	}
	for i, w := range []*ententetest.World{one, other} {
		if list := w.Inbox(t, "bravo"); len(list) != 1 || list[0].GetId() != sent[i].ID {
			t.Errorf("world %d has %d documents: %v", i, len(list), list)
		}
		if got := w.Open(t, "bravo", sent[i]); !bytes.Equal(got.Content, random(byte(i), 1000)) {
			t.Errorf("world %d opened another document", i)
		}
		if _, err := w.TryOpen(t, "bravo", sent[1-i]); err == nil {
			t.Errorf("world %d opened a document of the other one", i)
		}
		w.Check(t)
	}
}

// TestEverybodyAtOnce has all members send to all others at the same time.
func TestEverybodyAtOnce(t *testing.T) {
	t.Parallel()
	w := ententetest.Found(t, "alpha", "bravo", "charlie")
	w.Agree(t, ententetest.Agreement{})
	const each = 5
	sent := make(chan ententetest.Sending, 3*each)
	t.Run("send", func(t *testing.T) {
		for _, from := range w.Members() {
			for i := range each {
				t.Run(fmt.Sprintf("%s %d", from, i), func(t *testing.T) {
					t.Parallel()
					to := slices.DeleteFunc(w.Members(), func(m string) bool { return m == from })
					x := w.Send(t, from, ententetest.Document{Name: from, Content: random(byte(i), 70_000)}, to...)
					w.Await(t, x, ententetest.Delivered)
					sent <- x
				})
			}
		}
	})
	close(sent)
	ids := map[string]bool{}
	for x := range sent {
		ids[x.ID] = true
	}
	for _, m := range w.Members() {
		in, out := w.Inbox(t, m), w.Outbox(t, m)
		if len(in) != 2*each || len(out) != 2*each {
			t.Errorf("%s received %d and sent %d documents, want %d each", m, len(in), len(out), 2*each)
		}
		for _, x := range slices.Concat(in, out) {
			if !ids[x.GetId()] {
				t.Errorf("%s has %s, which nobody sent", m, x.GetRef())
			}
		}
	}
	w.Check(t)
}
