package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"entente.example/internal/node"
	"entente.example/internal/store"
)

// Proofs counts exchanges, each once for the home of either side.
type Proofs struct {
	Proved int
	// Pending are exchanges that nobody can prove yet: a node was killed, or looked at, before its log signed what it had just recorded.
	Pending int
}

// Evidence makes evidence about every exchange of every home, as its member could with its own home and the leaves of the other party, and
// verifies it by the founding charter's hash alone: each state must be proved by the claims that belong to it. It reads the homes' disks, asks
// no node and writes nothing; nodes may run meanwhile. A positive most bounds the exchanges of each home, the newest first.
func (w *World) Evidence(ctx context.Context, most int) (Proofs, error) {
	dirs := map[string]string{}
	for _, name := range w.Names {
		dirs[name] = w.Home(name)
	}
	return proveHomes(ctx, dirs, most)
}

// proveFolder does what World.Evidence does for the homes in a folder, each named after its member. There may be none.
func proveFolder(ctx context.Context, dir string) (Proofs, error) {
	dirs := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Proofs{}, fmt.Errorf("look for homes: %w", err)
	}
	for _, e := range entries {
		home := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(home, node.ConfigFile)); err == nil {
			dirs[e.Name()] = home
		}
	}
	return proveHomes(ctx, dirs, 0)
}

func proveHomes(ctx context.Context, dirs map[string]string, most int) (sum Proofs, err error) {
	homes := map[string]*node.Home{}
	for name, dir := range dirs {
		h, err := node.OpenReader(ctx, dir)
		if err != nil {
			return sum, err
		}
		defer h.Close()
		homes[name] = h
	}
	var found []error
	for name, h := range homes {
		if err := sum.home(ctx, h, homes, most); err != nil {
			found = append(found, fmt.Errorf("evidence of %s: %w", name, err))
		}
	}
	return sum, errors.Join(found...)
}

// home adds the exchanges of one home.
func (p *Proofs) home(ctx context.Context, h *node.Home, homes map[string]*node.Home, most int) error {
	var found []error
	for after, seen := "", 0; ; {
		var page []store.Exchange
		err := h.DB.View(ctx, func(v *store.View) (err error) { page, err = v.Exchanges(store.Filter{After: after}); return err })
		if err != nil {
			return err
		}
		for _, e := range page {
			if seen++; most > 0 && seen > most {
				return errors.Join(found...)
			}
			after = e.Cursor()
			if err := p.exchange(ctx, e, h, homes); err != nil {
				found = append(found, fmt.Errorf("%s, %s: %w", e.Ref(), e.State, err))
			}
		}
		if len(page) == 0 {
			return errors.Join(found...)
		}
	}
}

// claimed is what evidence about an exchange in a state claims at least.
var claimed = map[store.State][]string{
	store.Queued: {"released"}, store.Delivering: {"released"}, store.Unconfirmed: {"released"}, store.Stored: {"stored"}, store.Delivered: {"stored"}, store.Refused: {"refused"},
	store.Opened: {"stored", "opened"}, store.Undecryptable: {"stored", "undecryptable"}, store.Expired: {"released", "expired"},
}

func (p *Proofs) exchange(ctx context.Context, e store.Exchange, h *node.Home, homes map[string]*node.Home) error {
	peer := e.From
	if peer == h.Config.Member {
		peer = e.To
	}
	// Verified as of the latest time that a clock in a world can show.
	_, v, err := h.StoredEvidence(ctx, e.Ref(), homes[peer], time.Now().Add(Backdated))
	if errors.Is(err, node.ErrUncovered) {
		p.Pending++
		return nil
	}
	if err != nil {
		return err
	}
	var claims []string
	for _, c := range v.Claims {
		claims = append(claims, c.Claim)
	}
	wanted, known := claimed[e.State]
	for _, want := range wanted {
		known = known && slices.Contains(claims, want)
	}
	if !known || !v.Valid {
		return fmt.Errorf("evidence proves %q, and not %q", claims, wanted)
	}
	p.Proved++
	return nil
}
