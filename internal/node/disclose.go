package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/checkpoint"
	"entente.example/internal/evidence"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// Disclose makes a file that shows one leaf of the log, proves under the first co-signed checkpoint that covers it that it stands there,
// and opens these private fields of it and no others; nothing else of the log is in it. That they were disclosed is recorded first, as
// a leaf of its own whose private fields name the leaf and the fields. The home must be open for change.
func (h *Home) Disclose(ctx context.Context, index int64, fields []string, now time.Time) ([]byte, evidence.Verdict, error) {
	history, err := h.History(ctx)
	if err != nil {
		return nil, evidence.Verdict{}, err
	}
	leaf, opened, err := h.shown(ctx, index, fields)
	if err != nil {
		return nil, evidence.Verdict{}, err
	}
	raw, verdict, err := evidence.Disclosure(history, leaf, opened, now)
	if err != nil {
		return nil, evidence.Verdict{}, fmt.Errorf("disclose leaf %d: %w", index, err)
	}
	event := statement.Event{Kind: statement.EventDisclosed, Time: now, Private: []statement.Private{
		{Field: "fields", Value: []byte(strings.Join(fields, " "))}, {Field: "leaf", Value: fmt.Append(nil, index)}}}
	if err := h.DB.Update(ctx, func(tx *store.Tx) error { _, err := tx.Record(event); return err }); err != nil {
		return nil, evidence.Verdict{}, fmt.Errorf("record disclosure: %w", err)
	}
	if _, err := h.Log.Publish(ctx); err != nil {
		return nil, evidence.Verdict{}, fmt.Errorf("publish log: %w", err)
	}
	return raw, verdict, nil
}

// shown reads the leaf with its proof, and the private fields that are to be opened.
func (h *Home) shown(ctx context.Context, index int64, fields []string) (evidence.Leaf, []statement.Committed, error) {
	var l evidence.Leaf
	var opened []statement.Committed
	err := h.DB.View(ctx, func(v *store.View) error {
		size, err := v.Size()
		if err != nil {
			return err
		}
		if index < 0 || index >= size {
			return fault.New(fault.NotFound, "entente audit tail shows the newest leaves with their indexes", "there is no leaf %d: the log has %d", index, size)
		}
		c, err := v.CosignedAfter(index)
		if errors.Is(err, store.ErrNotFound) {
			return fault.New(fault.Transient, "let the node run while another member's node answers, then try again", "no quorum of witnesses has co-signed leaf %d yet, so nobody would have to believe it", index)
		}
		if err != nil {
			return err
		}
		bodies, err := v.Leaves(index, 1)
		if err != nil {
			return err
		}
		if len(bodies) != 1 {
			return fault.New(fault.Invalid, "run: entente audit verify", "leaf %d is missing", index)
		}
		origin, tree, err := checkpoint.Head(c.Note)
		if err != nil {
			return err
		}
		proof := checkpoint.Proof{Index: index, Checkpoint: c.Note}
		if proof.Hashes, err = tlog.ProveRecord(tree.N, index, v.Hashes()); err != nil {
			return err
		}
		l = evidence.Leaf{Origin: origin, Index: index, Raw: bodies[0], Proof: proof.Format()}
		opened, err = named(v, index, fields)
		return err
	})
	if err != nil {
		return l, nil, fmt.Errorf("disclose leaf %d: %w", index, err)
	}
	return l, opened, nil
}

// named gives these private fields of a leaf.
func named(v *store.View, index int64, fields []string) ([]statement.Committed, error) {
	all, err := v.Private(index)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Field)
	}
	for _, f := range fields {
		if !slices.Contains(names, f) {
			hint := "it has no private fields"
			if len(names) > 0 {
				hint = "it has " + strings.Join(names, ", ")
			}
			return nil, fault.New(fault.Misused, hint, "leaf %d has no private field %.80q", index, f)
		}
	}
	return slices.DeleteFunc(all, func(c statement.Committed) bool { return !slices.Contains(fields, c.Field) }), nil
}
