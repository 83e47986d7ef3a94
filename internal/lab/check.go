package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// Check tells what of the invariants that must always hold does not, at all members and between them. It reads the homes'
// disks and asks no node; nodes may run meanwhile. A nil error means that everything holds.
//
// Within each home audit.VerifyHome looks at everything. Between two homes: both keep the same bytes of every receipt,
// and what one has a receipt for, the other has a record of.
func (w *World) Check(ctx context.Context) error {
	var found []error
	homes := map[string]*node.Home{}
	for _, name := range w.Names {
		h, err := node.OpenReader(ctx, w.Home(name))
		if err != nil {
			return err
		}
		defer h.Close()
		homes[name] = h
		report, err := h.VerifyLog(ctx)
		if err != nil {
			return fmt.Errorf("check %s: %w", name, err)
		}
		for _, p := range report.Problems {
			found = append(found, fmt.Errorf("%s: %s: %s", name, p.Where, p.What))
		}
	}
	for name, h := range homes {
		found = append(found, compare(ctx, name, h, homes)...)
	}
	return errors.Join(found...)
}

// compare looks at every receipt that a sender has, and whether its recipient has the same.
func compare(ctx context.Context, name string, h *node.Home, homes map[string]*node.Home) (found []error) {
	for after := ""; ; {
		var page []store.Exchange
		err := h.DB.View(ctx, func(v *store.View) (err error) {
			page, err = v.Exchanges(store.Filter{From: name, After: after})
			return err
		})
		if err != nil {
			return append(found, err)
		}
		if len(page) == 0 {
			return found
		}
		for _, e := range page {
			after = e.Cursor()
			if err := compareReceipts(ctx, e, h, homes[e.To]); err != nil {
				found = append(found, fmt.Errorf("%s: %w", e.Ref(), err))
			}
		}
	}
}

func compareReceipts(ctx context.Context, e store.Exchange, sender, recipient *node.Home) error {
	receipts := func(h *node.Home) (list [][]byte, err error) {
		err = h.DB.View(ctx, func(v *store.View) (err error) { list, err = v.Receipts(e.Manifest, e.To); return err })
		return list, err
	}
	got, err := receipts(sender)
	if err != nil {
		return err
	}
	signed, err := receipts(recipient)
	if err != nil {
		return err
	}
	for _, r := range got {
		same := false
		for _, s := range signed {
			same = same || bytes.Equal(r, s)
		}
		if !same {
			hash, _ := statement.HashOf(r)
			return fmt.Errorf("the sender has receipt %s, and its recipient has no such receipt", hash.Short())
		}
	}
	if (e.State == store.Delivered || e.State == store.Opened || e.State == store.Refused) && len(got) == 0 {
		return fmt.Errorf("state %s without a receipt", e.State)
	}
	return nil
}
