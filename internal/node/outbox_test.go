package node_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/client"
	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

func (w *world) cancel(m, ref, reason string) (*ententev1.CancelResponse, error) {
	return w.person(m).Node().Cancel(w.t.Context(), &ententev1.CancelRequest{Exchange: ref, Reason: reason})
}

// TestCancel gives deliveries up: one, all of an id, one that is under way, and none that has ended. The log and evidence say so.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	if err := w.AddPerson(t.Context(), "alpha", "ruth", "reader"); err != nil {
		t.Fatal(err)
	}
	w.start("alpha", "bravo")
	done := w.send("alpha", submission("bravo"), []byte("delivered"))[0]
	w.await("alpha", done, "delivered")
	_, err := w.cancel("alpha", done, "too late")
	wantFault(t, err, fault.Conflict, "is delivered already")

	sub := submission("bravo", "charlie")
	refs := w.send("alpha", sub, []byte("to both"))
	w.await("alpha", refs[0], "delivered")
	_, err = w.cancel("alpha", refs[1], "")
	wantFault(t, err, fault.Misused, "is empty")
	_, err = w.cancel("alpha", refs[1], "two\nlines")
	wantFault(t, err, fault.Misused, "control character")
	_, err = w.as("alpha", "ruth").Node().Cancel(t.Context(), &ententev1.CancelRequest{Exchange: refs[1], Reason: "no"})
	wantFault(t, err, fault.Forbidden, "ruth may not cancel what alice has released")
	_, err = w.cancel("alpha", "01K7XQ3W0V6N2T9R4M5B8C1D2E", "none")
	wantFault(t, err, fault.NotFound, "there is no exchange")
	_, err = w.person("bravo").Node().Cancel(t.Context(), &ententev1.CancelRequest{Exchange: done, Reason: "not mine"})
	wantFault(t, err, fault.Misused, "was not sent by this member")

	before := len(w.state("alpha").leaves)
	out, err := w.cancel("alpha", sub.GetId(), "sent by courier") // of both, the one that is left
	if err != nil || len(out.GetExchanges()) != 1 || out.GetExchanges()[0].GetRef() != refs[1] || out.GetExchanges()[0].GetState() != "expired" || len(out.GetUnconfirmed()) != 0 {
		t.Fatalf("cancelled: %v, %v", out, err)
	}
	if got := out.GetExchanges()[0].GetLastError(); got != "alice cancelled it: sent by courier" {
		t.Errorf("why: %q", got)
	}
	if s := w.state("alpha"); s.kinds(before) != "expired" || !s.leaves[before].GaveUp() || s.exchanges[refs[1]] != store.Expired {
		t.Errorf("leaves %s, state %s", s.kinds(before), s.exchanges[refs[1]])
	}
	_, err = w.cancel("alpha", refs[1], "again")
	wantFault(t, err, fault.Conflict, "is expired already")
	w.start("charlie")
	if n := len(w.state("charlie").blobs); n != 0 {
		t.Errorf("charlie has %d documents", n)
	}
	v, _, err := w.evidence("alpha", "alice", refs[1], false, evidence.Options{})
	if err != nil || !v.Valid || !strings.Contains(claims(v), "expired") {
		t.Errorf("evidence: %+v, %v", v, err)
	}
}

// TestUnconfirmed has a recipient take documents and answer nothing, or break off: what is known of each, and what becomes of it when it is
// cancelled in the middle of an attempt.
func TestUnconfirmed(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	silent := make(chan bool, 100)
	bravo := &recipient{deliver: func(_ *statement.Unsigned[statement.Manifest], s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
		if err := answerOffset(s, 0); err != nil {
			return err
		}
		for {
			if _, err := s.Recv(); err != nil {
				break
			}
		}
		select {
		case <-silent: // the connection breaks before the receipt
			return nil
		case <-s.Context().Done():
			return nil
		}
	}}
	w.play("bravo", bravo)
	w.start("alpha")
	ref := w.send("alpha", submission("bravo"), random(40_000))[0] // too large to follow its offer
	w.await("alpha", ref, "delivering")
	silent <- true
	w.await("alpha", ref, "unconfirmed")
	out, err := w.cancel("alpha", ref, "nobody answers")
	if err != nil || len(out.GetUnconfirmed()) != 1 {
		t.Fatalf("cancelled: %v, %v", out, err)
	}
	w.await("alpha", ref, "expired")

	// One that is cancelled while the recipient has it: the attempt ends at once.
	ref = w.send("alpha", submission("bravo"), random(40_000))[0]
	w.await("alpha", ref, "delivering")
	if _, err := w.cancel("alpha", ref, "in the middle"); err != nil {
		t.Fatal(err)
	}
	if x := w.await("alpha", ref, "expired"); x.GetAttempts() != 0 {
		t.Errorf("attempts %d", x.GetAttempts())
	}
}

// tried waits until an exchange was tried so often.
func (w *world) tried(c *client.Client, ref string, attempts int64) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if _, err := c.Await(ctx, ref, func(x *ententev1.Exchange) bool { return x.GetAttempts() >= attempts }); err != nil {
		w.t.Fatalf("%s was not tried %d times: %v", ref, attempts, err)
	}
}

// TestRetry asks for what waits to be tried now.
func TestRetry(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.start("alpha")
	sub := submission("bravo", "charlie")
	refs := w.send("alpha", sub, []byte("to both"))
	alice := w.person("alpha")
	for _, ref := range refs {
		w.tried(alice, ref, 3)
	}
	retry := func(ref, to string) (int64, error) {
		out, err := alice.Node().Retry(t.Context(), &ententev1.RetryRequest{Exchange: ref, To: to})
		return out.GetExchanges(), err
	}
	for _, c := range []struct {
		ref, to string
		want    int64
	}{{"", "", 2}, {"", "bravo", 1}, {sub.GetId(), "", 2}, {sub.GetId(), "charlie", 1}, {refs[0], "", 1}, {"", "alpha", 0}} {
		if n, err := retry(c.ref, c.to); err != nil || n != c.want {
			t.Errorf("retry %q to %q: %d, %v", c.ref, c.to, n, err)
		}
	}
	_, err := retry("", "mallory")
	wantFault(t, err, fault.Misused, "there is no member")
	_, err = retry(refs[0], "charlie")
	wantFault(t, err, fault.NotFound, "does not go to charlie")
	w.start("bravo", "charlie")
	if _, err := retry("", ""); err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		w.await("alpha", ref, "delivered")
	}
	_, err = retry(refs[0], "")
	wantFault(t, err, fault.Conflict, "is delivered already")
}

// TestHeardAgain: after a long absence the next attempt is far away, and all the same a member is served at once when it is heard of.
func TestHeardAgain(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha")
	ref := w.send("alpha", submission("bravo"), []byte("a document"))[0]
	w.tried(w.person("alpha"), ref, 2)
	w.stop("alpha")
	h := w.home("alpha")
	list := w.outgoing(h)
	list[0].Attempts, list[0].Due = 20, time.Now().Add(50*time.Minute)
	if err := h.DB.Update(t.Context(), func(tx *store.Tx) error { return tx.Retry(list[0]) }); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	w.start("alpha", "bravo") // which talk of their logs
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := w.person("alpha").Await(ctx, ref, func(x *ententev1.Exchange) bool { return x.GetState() == "delivered" }); err != nil {
		t.Errorf("it was not delivered: %v", err)
	}
}
