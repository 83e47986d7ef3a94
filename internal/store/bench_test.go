package store

import (
	"testing"
	"time"

	"entente.example/internal/statement"
)

// BenchmarkUpdate compares an Update that records a leaf with a bare insert of one row, both durable, on the same disk in the
// same run. It reports the ratio of their times.
func BenchmarkUpdate(b *testing.B) {
	db := open(b, b.TempDir())
	_, err := db.writer.Exec("CREATE TABLE bare (n BIGINT NOT NULL PRIMARY KEY, body BYTEA NOT NULL)")
	check(b, err)
	event := statement.Event{Kind: statement.EventRejected, Time: someday, Peers: []string{"bravo"}, Private: []statement.Private{{Field: "error", Value: []byte("no")}}}
	leaf, _, err := event.Leaf(newSalt)
	check(b, err)
	var bare, recorded time.Duration
	n := 0
	for b.Loop() {
		start := time.Now()
		_, err := db.writer.Exec("INSERT INTO bare (n, body) VALUES ($1, $2)", n, leaf)
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
