package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"entente.example/internal/fault"
)

// AllianceOptions says what alliance to found on one machine, for development, lessons and tests.
type AllianceOptions struct {
	Dir      string // homes are DIR/MEMBER, recovery keys DIR/recovery/MEMBER.key
	Alliance string
	Members  []string
	// Addresses gives a member's two addresses, HOST:PORT, for other members and for its own people.
	Addresses func(i int, member string) (peer, node string)
	Now       time.Time
}

// FoundAlliance makes the homes of all members and has them found an alliance, by the same steps as members that are far
// apart: cards, one draft, a signature of each, adoption by each.
func FoundAlliance(ctx context.Context, o AllianceOptions) (err error) {
	if entries, err := os.ReadDir(o.Dir); err == nil && len(entries) > 0 {
		return fault.New(fault.Misused, "choose another folder, or empty it", "%s is not empty", o.Dir)
	}
	defer func() {
		if err != nil { // nothing half-founded stays
			for _, m := range append([]string{"recovery"}, o.Members...) {
				_ = os.RemoveAll(filepath.Join(o.Dir, m))
			}
		}
	}()
	var cards [][]byte
	var homes []*Home
	defer func() {
		for _, h := range homes {
			err = errors.Join(err, h.Close())
		}
	}()
	for i, m := range o.Members {
		peer, node := o.Addresses(i, m)
		made, err := Init(ctx, filepath.Join(o.Dir, m), InitOptions{Member: m, Address: peer, NodeAddress: node, RecoveryDir: filepath.Join(o.Dir, "recovery"), Now: o.Now})
		if err != nil {
			return fmt.Errorf("found %s: %w", m, err)
		}
		cards = append(cards, made.Card.Raw)
		h, err := OpenHome(ctx, filepath.Join(o.Dir, m))
		if err != nil {
			return fmt.Errorf("found %s: %w", m, err)
		}
		homes = append(homes, h)
	}
	draft, err := DraftFounding(o.Alliance, cards, o.Now)
	if err != nil {
		return err
	}
	var signed [][]byte
	for _, h := range homes {
		file, err := h.SignFounding(ctx, draft)
		if err != nil {
			return fmt.Errorf("found %s: %w", h.Config.Member, err)
		}
		signed = append(signed, file)
	}
	for _, h := range homes {
		if _, err := h.AdoptFounding(ctx, o.Now, signed...); err != nil {
			return fmt.Errorf("found %s: %w", h.Config.Member, err)
		}
	}
	return nil
}
