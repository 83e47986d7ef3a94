package lab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// What Report shows of each member: enough to see what happened last.
const (
	reportedExchanges = 8
	reportedLeaves    = 8
)

// Report describes the world for somebody whose test has failed: what is wrong with the lines, and of each member whether its node runs, its newest
// exchanges with what went wrong with them, and the last leaves of its log. It reads the homes' disks, and what it cannot
// read it says instead.
func (w *World) Report(ctx context.Context) string {
	var b strings.Builder
	for _, line := range w.lines.describe() {
		fmt.Fprintf(&b, "%s\n", line)
	}
	for _, name := range w.Names {
		state := "stopped"
		if w.Running(name) {
			state = "running"
		}
		if offset := time.Duration(w.members[name].offset.Load()); offset != 0 {
			state += ", its clock off by " + offset.String()
		}
		fmt.Fprintf(&b, "%s (%s), %s\n", name, state, w.Home(name))
		if err := w.report(ctx, &b, name); err != nil {
			fmt.Fprintf(&b, "  cannot be read: %v\n", err)
		}
	}
	return b.String()
}

func (w *World) report(ctx context.Context, b *strings.Builder, name string) error {
	h, err := node.OpenReader(ctx, w.Home(name))
	if err != nil {
		return err
	}
	defer h.Close()
	return h.DB.View(ctx, func(v *store.View) error {
		list, err := v.Exchanges(store.Filter{Limit: reportedExchanges})
		if err != nil {
			return err
		}
		for _, e := range list {
			fmt.Fprintf(b, "  %s %s, %d failed attempts\n", e.Ref(), e.State, e.Attempts)
			if e.LastError != "" {
				fmt.Fprintf(b, "    last error: %q\n", e.LastError)
			}
			if err := reportRefusal(v, b, e); err != nil {
				return err
			}
		}
		return reportLeaves(v, b)
	})
}

func reportRefusal(v *store.View, b *strings.Builder, e store.Exchange) error {
	receipts, err := v.Receipts(e.Manifest, e.To)
	for _, raw := range receipts {
		r, err := statement.ParseDraft[statement.Receipt](raw)
		if err != nil {
			return err
		}
		for _, reason := range r.Terms.Reasons {
			fmt.Fprintf(b, "    %s refused, %s/%s: %q\n", e.To, reason.Set, reason.Rule, reason.Text)
		}
	}
	return err
}

func reportLeaves(v *store.View, b *strings.Builder) error {
	size, err := v.Size()
	if err != nil {
		return err
	}
	from := max(0, size-reportedLeaves)
	leaves, err := v.Leaves(from, reportedLeaves)
	for i, leaf := range leaves {
		fmt.Fprintf(b, "  leaf %d %s\n", from+int64(i), leaf)
	}
	return err
}
