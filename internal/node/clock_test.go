package node_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/checkpoint"
	"entente.example/internal/lab"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// lockedBuffer is what nodes have logged.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// untilWitnessing waits until what a member knows of its witnesses is as it should be.
func (w *world) untilWitnessing(m, what string, is func(*node.Witnessing) bool) *node.Witnessing {
	w.t.Helper()
	h := w.reader(m)
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		got, err := h.Witnessing(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if is(got) {
			return got
		}
		if time.Since(began) > patience {
			w.t.Fatalf("%s, it never was: %+v", what, got.Witnesses)
		}
	}
}

// newest gives a member's newest checkpoint, as the log signed it.
func (w *world) newest(m string) *checkpoint.Checkpoint {
	w.t.Helper()
	var raw []byte
	if err := w.reader(m).DB.View(w.t.Context(), func(v *store.View) (err error) { _, raw, err = v.Checkpoint(); return err }); err != nil {
		w.t.Fatal(err)
	}
	self, _ := w.history.Member(m)
	c, err := checkpoint.Open(raw, checkpoint.Log{Ed25519: self.LogKey, MLDSA: self.LogMLDSA})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) setClock(m string, ahead time.Duration) {
	w.t.Helper()
	if err := w.SetClock(m, ahead); err != nil {
		w.t.Fatal(err)
	}
}

// TestClockAhead: a member whose clock is ahead is not co-signed, and is told why. Its log keeps its date from then on. With its clock put
// right it goes on, and is co-signed when that date has come. Nobody calls it forked.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	var logged lockedBuffer
	w := foundWith(t, lab.Options{Members: []string{"alpha", "bravo"}, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	w.start("alpha", "bravo")
	one := w.send("bravo", submission("alpha"), []byte("opened twice"))[0]
	two := w.send("bravo", submission("alpha"), []byte("opened later"))[0]
	w.await("bravo", one, "delivered")
	w.await("bravo", two, "delivered")
	w.cosigned("alpha")
	opens := func(ref string) {
		t.Helper()
		if _, err := open(t.Context(), w.person("alpha"), ref); err != nil {
			t.Fatal(err)
		}
	}
	w.setClock("alpha", limit.ClockSkew+2*time.Minute)
	opens(one)
	got := w.untilWitnessing("alpha", "refused for its date", (*node.Witnessing).ClockAhead)
	if text := got.Witnesses[0].LastError; !strings.HasPrefix(text, "our clock seems to be ahead: we signed at ") {
		t.Errorf("it says %q", text)
	}
	if !strings.Contains(logged.String(), "our clock seems to be ahead") {
		t.Error("the node did not log it")
	}
	date := w.newest("alpha").Time
	time.Sleep(1100 * time.Millisecond) // dates have whole seconds
	opens(one)
	w.setClock("alpha", 0)
	opens(two)
	if at := w.newest("alpha").Time; !at.Equal(date) {
		t.Errorf("dated %s, after %s", at, date)
	}
	w.setClock("bravo", 4*time.Minute) // as if so much time had passed
	if c := w.cosigned("alpha"); !c.Time.Equal(date) || len(c.Cosigned) != 1 {
		t.Errorf("co-signed in the end: dated %s, not %s, by %d witnesses", c.Time, date, len(c.Cosigned))
	}
	w.await("bravo", one, "opened")
	w.untilWitnessing("alpha", "well again", func(w *node.Witnessing) bool { return !w.ClockAhead() && w.Witnesses[0].LastError == "" })
	for _, m := range []string{"alpha", "bravo"} {
		if got := w.untilWitnessing(m, "read", func(*node.Witnessing) bool { return true }); len(got.Forks) > 0 || got.Stopped != nil {
			t.Errorf("%s: forks %v, stopped: %v", m, got.Forks, got.Stopped)
		}
	}
}

// Over HTTP the answer to a date in the future is 403 and a sentence; over gRPC it is the same and the witness's time.
func TestDateInTheFuture(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	url := w.strangers("alpha") + "/add-checkpoint"
	w.start("alpha")
	dated := func(at time.Time) []byte {
		keys := w.keys("bravo")
		raw, err := checkpoint.Sign(w.newest("bravo").Tree, at, keys.Log, keys.LogMLDSA)
		if err != nil {
			t.Fatal(err)
		}
		return checkpoint.Request{Checkpoint: raw}.Format()
	}
	future := dated(time.Now().Add(limit.ClockSkew + time.Minute))
	got := request(t, http.MethodPost, url, bytes.NewReader(future))
	if got.status != http.StatusForbidden || got.kind != kindText || !strings.Contains(got.body, "its clock seems to be ahead") {
		t.Errorf("over HTTP: %d %s %q", got.status, got.kind, got.body)
	}
	a, err := w.peer("bravo", "alpha").conn.Witness(t.Context(), &ententev1.WitnessRequest{Request: future})
	if err != nil || a.GetStatus() != http.StatusForbidden || string(a.GetBody()) == "" || time.Since(time.UnixMicro(a.GetClock())).Abs() > time.Minute || a.GetFork() != nil {
		t.Errorf("over gRPC: %v, %v", a, err)
	}
	if got := request(t, http.MethodPost, url, bytes.NewReader(dated(time.Now().Add(limit.ClockSkew-time.Minute)))); got.status != http.StatusOK {
		t.Errorf("as far as clocks may differ: %d %s", got.status, got.body)
	}
}
