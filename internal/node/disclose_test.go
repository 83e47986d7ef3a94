package node_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// One leaf is shown with one private field, verifies, and nothing else of the log is in the file.
func TestDisclose(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	h, err := node.OpenHome(t.Context(), w.Home("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = h.Disclose(t.Context(), 0, nil, time.Now())
	wantFault(t, err, fault.Transient, "no quorum of witnesses has co-signed leaf 0 yet")
	h.Close()

	w.start("alpha", "bravo", "charlie")
	for range 3 {
		w.await("alpha", w.send("alpha", submission("bravo"), []byte("a boat is adrift"))[0], "delivered")
	}
	leaves := w.state("alpha").leaves
	index := int64(slices.IndexFunc(leaves, func(l statement.Leaf) bool { return l.Kind == statement.EventReleased }))
	if h, err = node.OpenHome(t.Context(), w.Home("alpha")); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for covered := false; !covered; time.Sleep(20 * time.Millisecond) {
		err := h.DB.View(ctx, func(v *store.View) error { _, err := v.CosignedAfter(index); covered = err == nil; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	raw, verdict, err := h.Disclose(t.Context(), index, []string{"person"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	verified := evidence.Verify(raw, evidence.Options{Charter: w.history.Alliance(), Now: time.Now()})
	if !verdict.Valid || !verified.Valid || len(verified.Claims) != 2 || verified.Claims[1].Claim != evidence.ClaimPrivate+"person" ||
		verified.Claims[1].Value != "spiffe://alpha/person/"+w.Person("alpha") || verified.Claims[0].Since.IsZero() {
		t.Errorf("got %+v", verified)
	}
	// Of all other leaves and private fields, nothing is there.
	err = h.DB.View(t.Context(), func(v *store.View) error {
		size, err := v.Size()
		if err != nil {
			return err
		}
		for i := range size {
			body, err := v.Leaves(i, 1)
			if err != nil {
				return err
			}
			if i != index && bytes.Contains(raw, body[0]) {
				t.Errorf("leaf %d is in the file", i)
			}
			private, err := v.Private(i)
			if err != nil {
				return err
			}
			for _, c := range private {
				if i == index && c.Field == "person" {
					continue
				}
				if bytes.Contains(raw, []byte(c.Commitment())) && i != index {
					t.Errorf("the commitment %s of leaf %d is in the file", c.Field, i)
				}
				secrets := [][]byte{c.Salt[:], []byte(statement.Hash(c.Salt).String())}
				if c.Field != "person" { // who acted elsewhere is the same person
					secrets = append(secrets, c.Value, []byte(base64.StdEncoding.EncodeToString(c.Value)))
				}
				for _, secret := range secrets {
					if len(secret) > 20 && bytes.Contains(raw, secret) {
						t.Errorf("of %s of leaf %d %.40q is in the file", c.Field, i, secret)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	now := w.state("alpha").leaves
	at := slices.IndexFunc(now, func(l statement.Leaf) bool { return l.Kind == statement.EventDisclosed })
	if at < 0 {
		t.Fatal("the log does not say that a leaf was disclosed")
	}
	err = h.DB.View(t.Context(), func(v *store.View) error {
		private, err := v.Private(int64(at))
		if err != nil || len(private) != 2 || string(private[0].Value) != "person" || string(private[1].Value) != fmt.Sprint(index) {
			t.Errorf("the leaf says that %v was disclosed, %v", private, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = h.Disclose(t.Context(), index, []string{"persons"}, time.Now())
	wantFault(t, err, fault.Misused, `has no private field "persons"`)
	_, _, err = h.Disclose(t.Context(), 1e6, nil, time.Now())
	wantFault(t, err, fault.NotFound, "there is no leaf")
}
