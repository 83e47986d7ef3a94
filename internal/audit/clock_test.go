package audit

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/limit"
	"entente.example/internal/store"
)

// TestWitnessFuture: a checkpoint that is dated further in the future than clocks may differ is not co-signed, and not remembered, until its
// time has come.
func TestWitnessFuture(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "alpha/log/1").grow(9, "leaf")
	w := newWitness(t, t.TempDir())
	now := someday
	w.Now = func() time.Time { return now }
	if a := w.add(h, h.request(0, 3, 0), nil); a.Status != StatusOK {
		t.Fatalf("the first checkpoint: %d %s", a.Status, a.Body)
	}
	ahead := int(limit.ClockSkew/time.Second) + 1
	for _, request := range [][]byte{h.request(3, 9, ahead), h.request(3, 3, ahead)} {
		a := w.add(h, request, nil)
		if a.Status != StatusForbidden || !strings.Contains(string(a.Body), "its clock seems to be ahead") || !a.Clock.Equal(now) || a.Fork != nil || a.Checkpoint != nil {
			t.Errorf("a second too far: %d %q, here it is %v, fork %q", a.Status, a.Body, a.Clock, a.Fork)
		}
	}
	if held, _, err := w.Held("alpha/log/1"); err != nil || held.Tree != h.root(3) || !bytes.Equal(held.Note, h.sign(3, 0)) {
		t.Errorf("holds %v, %v", held.Tree, err)
	}
	now = now.Add(time.Second)
	if a := w.add(h, h.request(3, 9, ahead), nil); a.Status != StatusOK || !a.Clock.IsZero() {
		t.Errorf("as far as clocks may differ: %d %q", a.Status, a.Body)
	}
}

// TestClockPutRight has a log whose clock is a day ahead sign, and then grow with its clock put right. Its witness waits until the date
// has come. It never calls the log forked, and never holds a date that the log takes back.
func TestClockPutRight(t *testing.T) {
	t.Parallel()
	b := newBench(t).open()
	now, ahead := someday, 24*time.Hour
	b.log.Now = func() time.Time { return now.Add(ahead) }
	w := newWitness(t, t.TempDir())
	w.Now = func() time.Time { return now }
	ask := func(want int) time.Time {
		t.Helper()
		raw := must[[]byte](t)(b.log.Publish(t.Context()))
		c := must[*checkpoint.Checkpoint](t)(checkpoint.Open(raw, b.key.Verifiers()))
		held, _, err := w.Held("alpha/log/1")
		check(t, err)
		r := checkpoint.Request{Old: held.Tree.N, Checkpoint: raw}
		if r.Old > 0 && r.Old < c.Tree.N {
			check(t, b.db.View(t.Context(), func(v *store.View) (err error) {
				r.Proof, err = tlog.ProveTree(c.Tree.N, r.Old, v.Hashes())
				return err
			}))
		}
		a := must[Answer](t)(w.Add(t.Context(), func(string) (Known, bool) { return Known{Log: b.key.Verifiers()}, true }, r.Format(), nil))
		if a.Status != want || a.Fork != nil {
			t.Fatalf("%d leaves: %d %q, fork %q; want %d", c.Tree.N, a.Status, a.Body, a.Fork, want)
		}
		return c.Time
	}
	b.add(1)
	first := ask(StatusForbidden)
	b.log.Now = func() time.Time { return time.Time{} } // told so, it keeps its date
	now = now.Add(time.Hour)
	b.add(1)
	if at := ask(StatusForbidden); !at.Equal(first) {
		t.Errorf("dated %s, after %s", at, first)
	}
	ahead = 0
	b.log.Now = func() time.Time { return now }
	b.add(1)
	if at := ask(StatusForbidden); !at.Equal(first) {
		t.Errorf("put right, dated %s, after %s", at, first)
	}
	now = first.Add(-limit.ClockSkew)
	ask(StatusOK)
	now = now.Add(time.Hour)
	b.add(1)
	if at := ask(StatusOK); !at.Equal(now) {
		t.Errorf("in the end dated %s, and it is %s", at, now)
	}
}
