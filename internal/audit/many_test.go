package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// fill makes exchanges, half of them with the home as their sender, until the log has that many leaves, five for each document.
// It takes shortcuts that a node must not: many documents in one transaction, and blobs that are not synced.
func (h *home) fill(leaves int64) {
	h.t.Helper()
	for size := h.size(); size < leaves; size = h.size() {
		var docs []document
		for n := range min(200, (leaves-size+4)/5) {
			from, to := "alpha", []string{"bravo", "charlie"}
			if n%2 == 1 {
				from, to = "bravo", []string{"alpha"}
			}
			d := h.document(from, "", to...)
			path := filepath.Join(h.dir, "blobs", d.Hash.String()[:2], d.Hash.String())
			check(h.t, steps(func() error { return os.MkdirAll(filepath.Dir(path), 0o700) }, func() error { return os.WriteFile(path, d.payload, 0o600) }))
			docs = append(docs, d)
		}
		h.update(func(tx *store.Tx) error {
			for _, d := range docs {
				course := h.sent
				if d.Terms.From != "alpha" {
					course = h.taken
				}
				if err := course(tx, d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	h.publish()
}

func (h *home) size() (n int64) {
	h.t.Helper()
	check(h.t, h.db.View(context.Background(), func(v *store.View) (err error) { n, err = v.Size(); return err }))
	return n
}

// sent is a document of ours from its release to both confirmations.
func (h *home) sent(tx *store.Tx, d document) error {
	rules, private := h.decided(policy.Release, d.Terms)
	err := steps(func() error { return tx.PutManifest(d.Signed, d.header, d.salt, nil) },
		h.record(tx, statement.Event{Kind: statement.EventReleased, ID: d.Terms.ID, Manifest: d.Hash, Peers: d.Terms.To, Stage: "release", Rules: rules, Private: private}))
	for _, to := range d.Terms.To {
		stored, opened := h.receipt(statement.Stored, to, d, 1), h.receipt(statement.Opened, to, d, 2)
		if err == nil {
			err = steps(func() error { return tx.PutExchange(d.Hash, to, store.Delivered, h.now) },
				func() error { return tx.PutReceipt(stored) },
				h.record(tx, statement.Event{Kind: statement.EventDelivered, ID: d.Terms.ID, Manifest: d.Hash, Receipt: stored.Hash, Peers: []string{to}}),
				func() error { return tx.PutReceipt(opened) },
				h.record(tx, statement.Event{Kind: statement.EventConfirmed, ID: d.Terms.ID, Manifest: d.Hash, Receipt: opened.Hash, Peers: []string{to}}))
		}
	}
	return err
}

// taken is a document of a peer's from its arrival to its fourth opening.
func (h *home) taken(tx *store.Tx, d document) error {
	rules, private := h.decided(policy.Open, d.Terms)
	again := h.record(tx, statement.Event{Kind: statement.EventReopened, ID: d.Terms.ID, Manifest: d.Hash, Stage: "open", Rules: rules, Private: private})
	return steps(func() error { return tx.PutManifest(d.Signed, d.header, nil, nil) },
		func() error { return tx.PutExchange(d.Hash, "alpha", store.Opened, h.now) },
		func() error { _, err := h.answer(tx, d, statement.Stored, statement.EventReceived); return err },
		func() error { _, err := h.answer(tx, d, statement.Opened, statement.EventOpened); return err },
		again, again, again)
}

// TestVerifyHomeMemory compares what lies in memory while a small home and one six times as large are verified. It is not
// parallel, so that nothing else allocates. See docs/testing.md for a million leaves.
func TestVerifyHomeMemory(t *testing.T) {
	h := newWorld(t).home()
	h.found()
	most := func() (live uint64) {
		c := h.verification()
		c.Progress = func(string, int64, int64) {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			live = max(live, m.HeapAlloc)
		}
		if r := must[*Report](t)(VerifyHome(t.Context(), c)); !r.OK() || live == 0 {
			t.Fatalf("%v, %d bytes", r.Problems, live)
		}
		return live
	}
	h.fill(1_000)
	small := most()
	h.fill(6_000)
	large := most()
	t.Logf("%d KiB live with 1,000 leaves, %d KiB with 6,000", small>>10, large>>10)
	if large > small+1<<19 {
		t.Errorf("%d bytes live with 1,000 leaves, and %d with 6,000", small, large)
	}
}

// BenchmarkVerifyHome verifies a home of ENTENTE_LEAVES leaves, 10,000 if that is not set, once all of it and once what is new after
// a hundredth was added. On Linux it reports the peak of the process's resident memory during each.
func BenchmarkVerifyHome(b *testing.B) {
	leaves := int64(10_000)
	if s := os.Getenv("ENTENTE_LEAVES"); s != "" {
		leaves = must[int64](b)(strconv.ParseInt(s, 10, 64))
	}
	h := newWorld(b).home()
	h.found()
	h.fill(leaves)
	var r *Report
	b.Run("all", func(b *testing.B) { r = h.bench(b, nil, leaves) })
	since := &Verified{r.Log, tlog.Tree{N: r.Leaves, Hash: r.Root}, h.now, r.rows}
	h.fill(leaves + leaves/100)
	b.Run("new", func(b *testing.B) { h.bench(b, since, leaves/100) })
}

func (h *home) bench(b *testing.B, since *Verified, leaves int64) (r *Report) {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600) // begins the peak anew, where there is such a thing
	for b.Loop() {
		c := h.verification()
		c.Since = since
		if r = must[*Report](b)(VerifyHome(b.Context(), c)); !r.OK() {
			b.Fatal(r.Problems)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(leaves), "µs/leaf")
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			b.ReportMetric(kib/1024, "peak-MiB")
		}
	}
	return r
}
