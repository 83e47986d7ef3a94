package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"entente.example/internal/statement"
)

// BenchmarkUpdate compares an Update that records a leaf with a bare insert of one row, both durable, on the same disk in the
// same run. It reports the ratio of their times.
func BenchmarkUpdate(b *testing.B) {
	db := open(b, b.TempDir())
	_, err := db.writes.conn.ExecContext(b.Context(), "CREATE TABLE bare (n BIGINT NOT NULL PRIMARY KEY, body BYTEA NOT NULL)")
	check(b, err)
	event := statement.Event{Kind: statement.EventRejected, Time: someday, Peers: []string{"bravo"}, Private: []statement.Private{{Field: "error", Value: []byte("no")}}}
	leaf, _, err := event.Leaf(newSalt)
	check(b, err)
	var bare, recorded time.Duration
	n := 0
	for b.Loop() {
		start := time.Now()
		_, err := db.writes.conn.ExecContext(b.Context(), "INSERT INTO bare (n, body) VALUES ($1, $2)", n, leaf)
		check(b, err)
		middle := time.Now()
		check(b, db.Update(b.Context(), func(tx *Tx) error { _, err := tx.Record(event); return err }))
		bare, recorded, n = bare+middle.Sub(start), recorded+time.Since(middle), n+1
	}
	b.ReportMetric(float64(recorded)/float64(bare), "ratio")
	b.ReportMetric(float64(bare.Microseconds())/float64(n), "bare-µs/op")
	b.ReportMetric(float64(recorded.Microseconds())/float64(n), "update-µs/op")
}

// BenchmarkRecord measures the leaf alone: thousands in one transaction.
func BenchmarkRecord(b *testing.B) {
	db := open(b, b.TempDir())
	event := statement.Event{Kind: statement.EventRejected, Time: someday, Peers: []string{"bravo"}}
	check(b, db.Update(b.Context(), func(tx *Tx) error {
		for b.Loop() {
			if _, err := tx.Record(event); err != nil {
				return err
			}
		}
		return nil
	}))
}

// The benchmarks below are the transactions of a small document, in a log of some thousand leaves. On a file system in memory (TMPDIR=/dev/shm)
// they show what the processor does, which the disk hides.

// traffic makes as many releases as there are to be, and nothing is delivered.
type traffic struct {
	*DB
	manifest *statement.Signed[statement.Manifest]
	receipt  *statement.Signed[statement.Receipt]
	sealed   [3][]byte // the header, the salt and the payload
	n        int
}

func openTraffic(b *testing.B, releases int) *traffic {
	a := author{b}
	tr := &traffic{DB: open(b, b.TempDir()), manifest: a.manifest("alpha", id(1), someday, "bravo"), sealed: [3][]byte{make([]byte, 3000), make([]byte, 32), make([]byte, 4200)}}
	tr.receipt = a.receipt(statement.Stored, tr.manifest, 7)
	update(b, tr.DB, func(tx *Tx) error {
		for range releases {
			tr.release(b, tx)
		}
		return nil
	})
	return tr
}

// hash is a random one that tells its number.
func (tr *traffic) hash(what string, n int) statement.Hash {
	return statement.HashBytes([]byte(fmt.Sprint(what, n)))
}

// release does what a node does when it releases a document.
func (tr *traffic) release(b *testing.B, tx *Tx) {
	m := *tr.manifest
	m.Hash, m.Terms.ID = tr.hash("manifest", tr.n), fmt.Sprintf("01K7XQ3W0V6N2T9R%010d", tr.n)
	now := someday.Add(time.Duration(tr.n) * time.Millisecond)
	m.Terms.Created = now
	tr.n++
	check(b, tx.PutManifest(&m, tr.sealed[0], tr.sealed[1], tr.sealed[2]))
	check(b, tx.PutExchange(m.Hash, "bravo", Queued, now))
	check(b, tx.Enqueue(Outgoing{Peer: "bravo", Kind: OutgoingDocument, Statement: m.Hash, Due: now}))
	_, err := tx.Record(statement.Event{Kind: statement.EventReleased, Time: now, ID: m.Terms.ID, Manifest: m.Hash, Peers: m.Terms.To,
		Private: []statement.Private{{Field: "person", Value: []byte("alice")}, {Field: "name", Value: []byte("report.pdf")}}})
	check(b, err)
}

// delivered does what a node does when the receipt of a release comes.
func (tr *traffic) delivered(b *testing.B, tx *Tx, n int) {
	r := *tr.receipt
	r.Hash, r.Terms.Manifest = tr.hash("receipt", n), tr.hash("manifest", n)
	now := someday.Add(time.Hour)
	check(b, tx.PutReceipt(&r))
	check(b, tx.SetState(r.Terms.Manifest, "bravo", Delivered, now))
	check(b, tx.Done(Outgoing{Peer: "bravo", Kind: OutgoingDocument, Statement: r.Terms.Manifest}))
	_, err := tx.Record(statement.Event{Kind: statement.EventDelivered, Time: now, Manifest: r.Terms.Manifest, Statement: r.Hash, Peers: []string{"bravo"}})
	check(b, err)
}

func BenchmarkRelease(b *testing.B) {
	tr := openTraffic(b, 2000)
	b.ReportAllocs()
	for b.Loop() {
		update(b, tr.DB, func(tx *Tx) error { tr.release(b, tx); return nil })
	}
}

func BenchmarkDelivered(b *testing.B) {
	tr := openTraffic(b, 2000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n == tr.n {
			b.StopTimer()
			update(b, tr.DB, func(tx *Tx) error {
				for range 2000 {
					tr.release(b, tx)
				}
				return nil
			})
			b.StartTimer()
		}
		update(b, tr.DB, func(tx *Tx) error { tr.delivered(b, tx, n); return nil })
		n++
	}
}

// BenchmarkDue is a look into the outbox, as often as something was sent.
func BenchmarkDue(b *testing.B) {
	tr := openTraffic(b, 4)
	now := someday.Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		view(b, tr.DB, func(v *View) error {
			due, err := v.Due(now)
			check(b, err)
			if len(due) != 4 {
				b.Fatalf("%d are due, want 4", len(due))
			}
			_, err = v.NextDue(now)
			return err
		})
	}
}

// BenchmarkView is one small question, by somebody who may stop waiting for the answer, as every caller over the network may.
func BenchmarkView(b *testing.B) {
	tr := openTraffic(b, 2000)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	h := tr.hash("manifest", 1000)
	b.ReportAllocs()
	for b.Loop() {
		check(b, tr.View(ctx, func(v *View) error {
			_, err := v.Exchange(h, "bravo")
			return err
		}))
	}
}
