package node_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// Bravo is played by the test. It has alpha's document and returns receipts about it, and about what it never got.
func TestReturns(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.damaged = true // the homes of bravo and charlie do not know what is signed in their names
	keys := w.keys("bravo")
	var stores atomic.Bool
	w.play("bravo", &recipient{deliver: func(m *statement.Unsigned[statement.Manifest], s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
		if !stores.Load() {
			return fault.New(fault.Transient, "", "not yet")
		}
		r, err := statement.Sign(receiptOf(m.Hash, m.Terms.ID), keys.Statement)
		if err != nil {
			return err
		}
		return answerReceipt(s, r.Raw)
	}})
	w.start("alpha", "charlie")
	ref := w.send("alpha", submission("bravo"), []byte("for bravo"))[0]
	other := w.send("alpha", submission("charlie"), []byte("for charlie"))[0]
	hashOf := func(ref string) statement.Hash {
		out, err := w.person("alpha").Node().Show(t.Context(), &ententev1.ShowRequest{Exchange: ref})
		if err != nil {
			t.Fatal(err)
		}
		h, err := statement.HashOf(out.GetManifest())
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	id, otherID := strings.Split(ref, "/")[1], strings.Split(other, "/")[1]
	bravo := w.peer("bravo", "alpha")
	returns := func(edit func(*statement.Receipt)) error {
		r := receiptOf(hashOf(ref), id)
		r.Kind = statement.Opened
		edit(&r)
		s, err := statement.Sign(r, keys.Statement)
		if err != nil {
			t.Fatal(err)
		}
		_, err = bravo.conn.Return(t.Context(), &ententev1.ReturnRequest{Receipt: s.Raw})
		return err
	}
	// What was not stored cannot have been opened; the receipt `stored` may still be on its way, so this passes.
	before := w.state("alpha")
	wantFault(t, returns(func(*statement.Receipt) {}), fault.Transient, "has not arrived yet")
	if got := w.state("alpha").kinds(len(before.leaves)); got != "" && got != "delivered" {
		t.Errorf("leaves %q", got)
	}
	stores.Store(true)
	w.await("alpha", ref, "delivered")
	w.await("alpha", other, "delivered")

	at := time.Now().UTC().Truncate(time.Second)
	opened := func(r *statement.Receipt) { r.At = at }
	for _, c := range []struct {
		name string
		edit func(*statement.Receipt)
		kind fault.Kind
		text string
		leaf string
	}{
		{"of no document", func(r *statement.Receipt) { r.Manifest = statement.HashBytes([]byte("none")) }, fault.NotFound, "no document", "rejected"},
		{"of a document for another", func(r *statement.Receipt) { r.Manifest, r.ID = hashOf(other), otherID }, fault.NotFound, "no document", "rejected"},
		{"of one manifest with the id of another", func(r *statement.Receipt) { r.ID = client.NewID() }, fault.NotFound, "no document", "rejected"},
		{"to another sender", func(r *statement.Receipt) { r.To = "charlie" }, fault.Invalid, "cannot be returned by bravo", "rejected"},
		{"stored", func(r *statement.Receipt) { r.Kind = statement.Stored }, fault.Invalid, "cannot be returned by bravo", "rejected"},
		{"refused", func(r *statement.Receipt) {
			r.Kind, r.Reasons = statement.Refused, []statement.Reason{{Set: "base", Rule: "x", Text: "y", Needs: "z"}}
		}, fault.Invalid, "cannot be returned by bravo", "rejected"},
		{"of another log", func(r *statement.Receipt) { r.Log = "bravo/log/2" }, fault.Invalid, "not the log on its card", "rejected"},
		{"dated before the document", func(r *statement.Receipt) { r.At = at.Add(-limit.ClockSkew - time.Hour) }, fault.Invalid, "before the document", "rejected"},
		{"dated in the future", func(r *statement.Receipt) { r.At = at.Add(limit.ClockSkew + time.Hour) }, fault.Invalid, "in the future", "rejected"},
		{"opened", opened, 0, "", "confirmed"},
		{"opened, the same again", opened, 0, "", ""},
		{"opened, at another time", func(r *statement.Receipt) { r.At = at.Add(time.Second) }, fault.Conflict, "returned another receipt", "rejected"},
		{"opened, under another leaf", func(r *statement.Receipt) { r.At, r.Leaf = at, 8 }, fault.Conflict, "returned another receipt", "rejected"},
		{"undecryptable, after opened", func(r *statement.Receipt) { r.Kind = statement.Undecryptable }, fault.Invalid, "cannot be undecryptable", "rejected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.state("alpha")
			if err := returns(c.edit); c.text != "" {
				wantFault(t, err, c.kind, c.text)
			} else if err != nil {
				t.Error(err)
			}
			after := w.state("alpha")
			if got := after.kinds(len(before.leaves)); got != c.leaf {
				t.Errorf("leaves %q, want %q", got, c.leaf)
			}
			if after.exchanges[ref] != before.exchanges[ref] && len(before.exchanges) != len(after.exchanges) {
				t.Errorf("exchanges before %v, after %v", before.exchanges, after.exchanges)
			}
		})
	}
	// What is signed by somebody else cannot be brought either, whoever brings it.
	r := receiptOf(hashOf(other), otherID)
	r.Kind, r.From, r.Log = statement.Opened, "charlie", "charlie/log/1"
	s, err := statement.Sign(r, w.keys("charlie").Statement)
	if err != nil {
		t.Fatal(err)
	}
	_, err = bravo.conn.Return(t.Context(), &ententev1.ReturnRequest{Receipt: s.Raw})
	wantFault(t, err, fault.Invalid, "unknown key charlie/statement+")
	if _, err := w.peer("charlie", "alpha").conn.Return(t.Context(), &ententev1.ReturnRequest{Receipt: s.Raw}); err != nil {
		t.Errorf("charlie itself: %v", err)
	}
	home := w.reader("alpha")
	if report, err := home.VerifyLog(context.Background()); err != nil || !report.OK() {
		t.Errorf("%v %v", err, report.Problems)
	}
}
