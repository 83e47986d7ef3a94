package node_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"entente.example/internal/client"
	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// An agreement may end while a release waits: then nobody approves it any more, and it lapses in its time like any other.
func TestAgreementEndsWhileWaiting(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.add("alpha", "ann", "approver")
	w.agree(statement.Agreement{Name: secret, Parties: []string{"alpha", "bravo"}, ApprovalAbove: "TLP:GREEN", NotAfter: time.Now().Add(4 * time.Hour)})
	w.start("alpha")
	sub := secretly("bravo")
	sub.DeliverSeconds = 10 * 60 * 60
	ref := w.hold(sub, "the plan").GetExchanges()[0]
	w.setClock("alpha", 5*time.Hour)
	if _, err := w.approve("ann", sub, "the plan"); fault.KindOf(err) != fault.Refused || !strings.Contains(reasonsIn(err), "base/agreement-ended") {
		t.Errorf("approved after its agreement has ended: %v %v", err, reasonsIn(err))
	}
	if list := w.waiting(false); len(list) != 1 {
		t.Errorf("waiting %v", list)
	}
	w.stop("alpha")
	w.setClock("alpha", 11*time.Hour)
	w.start("alpha")
	w.await("alpha", ref, "lapsed")
	if n := w.leavesOf("alpha"); n[statement.EventLapsed] != 1 || n[statement.EventDenied] != 1 || n[statement.EventReleased] != 0 {
		t.Errorf("leaves %v", n)
	}
	if left := w.files("alpha", "blobs"); len(left) != 0 {
		t.Errorf("blobs %v", left)
	}
}

// Whoever may not exchange documents for want of co-signatures does not approve any either. It goes on waiting, and is approved later.
func TestApprovalWithoutQuorum(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.agree(statement.Agreement{Name: secret, Parties: []string{"alpha", "bravo"}, ApprovalAbove: "TLP:GREEN"})
	w.add("alpha", "ann", "approver")
	w.patience("alpha", "") // the usual: four hours
	w.start("alpha", "bravo", "charlie")
	w.cosigned("alpha")
	sub := secretly("bravo")
	ref := w.hold(sub, "the plan").GetExchanges()[0]
	w.cosigned("alpha")
	w.stop("bravo")
	w.stop("charlie")
	w.setClock("alpha", limit.WitnessPatience+time.Minute)
	_, err := w.approve("ann", sub, "the plan")
	wantFault(t, err, fault.Transient, "no quorum of the other members has co-signed our log since")
	if list := w.waiting(false); len(list) != 1 {
		t.Errorf("waiting %v", list)
	}
	if n := w.leavesOf("alpha"); n[statement.EventReleased] != 0 {
		t.Errorf("leaves %v", n)
	}
	w.setClock("alpha", 0)
	w.start("bravo")
	if _, err := w.approve("ann", sub, "the plan"); err != nil {
		t.Fatal(err)
	}
	w.await("alpha", ref, "delivered")
}

// Of those who hand in at once what has to wait, only as many are taken as there is room for, and the others are told before they send
// their document.
func TestWaitingBounded(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.damaged = true // most of what waits has neither leaf nor document
	w.start("alpha")
	first := secretly("bravo")
	w.hold(first, "the plan")
	w.stop("alpha")
	const room = 3
	w.update("alpha", func(tx *store.Tx) error {
		r, err := tx.WaitingByID(first.Id)
		for i := 1; err == nil && i < limit.Waiting-room; i++ {
			m := r.Draft.Terms
			m.ID = client.NewID()
			var raw []byte
			var d *statement.Unsigned[statement.Manifest]
			if raw, err = statement.Draft(m); err == nil {
				if d, err = statement.ParseDraft[statement.Manifest](raw); err == nil {
					err = tx.PutWaiting(d, r.Header, r.Salt)
				}
			}
		}
		return err
	})
	w.start("alpha")
	alice := w.person("alpha")
	var wait sync.WaitGroup
	var mu sync.Mutex
	held := 0
	for range 4 * room {
		wait.Go(func() {
			_, err := alice.Send(t.Context(), secretly("bravo"), strings.NewReader("another plan"))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				held++
			} else if !strings.Contains(err.Error(), fmt.Sprintf("%d releases wait for a second person, and no more can", limit.Waiting)) {
				t.Errorf("refused with: %v", err)
			}
		})
	}
	wait.Wait()
	if held != room || len(w.waiting(false)) != limit.Waiting {
		t.Errorf("%d were held, and there was room for %d; %d wait", held, room, len(w.waiting(false)))
	}
	stream, err := alice.Node().Send(t.Context())
	if err == nil {
		err = stream.Send(&ententev1.SendRequest{Part: &ententev1.SendRequest_Submission{Submission: secretly("bravo")}})
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stream.RecvMsg(&ententev1.SendResponse{}) }()
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), "no more can") || !strings.Contains(fault.Hint(err), "entente approvals") {
			t.Errorf("told: %v, %q", err, fault.Hint(err))
		}
	case <-time.After(20 * time.Second):
		t.Error("the document was asked for, although nothing more can wait")
	}
	open1 := secretly("bravo")
	open1.Label = "TLP:GREEN"
	w.send("alpha", open1, []byte("it need not wait"))
	if _, err := w.approve("ann", first, "the plan"); err != nil {
		t.Fatal(err)
	}
	w.hold(secretly("bravo"), "there is room again")
}

// What waits or has lapsed is no exchange yet, and never was: whoever opens it or wants evidence of it is told so, and what to do.
func TestWaitingIsNoExchangeYet(t *testing.T) {
	t.Parallel()
	w := twoKeys(t)
	w.add("alpha", "rita", "reader")
	w.start("alpha")
	sub := secretly("bravo")
	sub.DeliverSeconds = 20 * 60 * 60
	ref := w.hold(sub, "the plan").GetExchanges()[0]
	ask := func(ref string) map[string]error {
		_, _, evidenceErr := w.evidence("alpha", "alice", ref, false, evidence.Options{})
		_, openErr := open(t.Context(), w.as("alpha", "rita"), ref)
		return map[string]error{"evidence": evidenceErr, "open": openErr}
	}
	told := func(state, text, hint string) {
		t.Helper()
		for _, ref := range []string{ref, sub.Id, sub.Id[:20], "alpha/" + sub.Id} {
			for what, err := range ask(ref) {
				if fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), text) || !strings.Contains(fault.Hint(err), hint) {
					t.Errorf("%s of %s, which %s: %v (%s), hint %q", what, ref, state, err, fault.KindOf(err), fault.Hint(err))
				}
			}
		}
	}
	told("waits", "waits for a second person until", "entente approve "+sub.Id+" --document FILE")
	for _, ref := range []string{"bravo/" + sub.Id, "alpha/" + sub.Id + "/charlie", client.NewID()} {
		for what, err := range ask(ref) {
			if fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s of %s: %v", what, ref, err)
			}
		}
	}
	w.stop("alpha")
	w.setClock("alpha", 23*time.Hour)
	w.start("alpha")
	w.await("alpha", ref, "lapsed")
	told("has lapsed", "nobody approved it; nothing was sent", "send the document again")
}
