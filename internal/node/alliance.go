package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// recoveryDir is the folder of the recovery keys beside the homes of an alliance on one machine.
const recoveryDir = "recovery"

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
	if entries, err := os.ReadDir(o.Dir); len(entries) > 0 {
		return fault.New(fault.Misused, "choose another folder, or empty it", "%s is not empty", o.Dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Misused, "choose another folder", "found alliance: %w", err)
	}
	// Names become folders below, which are removed if anything fails: "..", say, must never get that far.
	for i, m := range o.Members {
		if err := statement.ValidMember(m); err != nil {
			return fault.New(fault.Misused, "choose one lower-case word, such as alpha", "found alliance: %w", err)
		}
		if m == recoveryDir || slices.Contains(o.Members[:i], m) {
			return fault.New(fault.Misused, "choose another name", "found alliance: the name %s is taken", m)
		}
	}
	defer func() {
		if err != nil { // nothing half-founded stays
			for _, m := range append([]string{recoveryDir}, o.Members...) {
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
		made, err := Init(ctx, filepath.Join(o.Dir, m), InitOptions{Member: m, Address: peer, NodeAddress: node, RecoveryDir: filepath.Join(o.Dir, recoveryDir), Now: o.Now})
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
	file, err := DraftFounding(o.Alliance, cards, o.Now)
	if err != nil {
		return err
	}
	// Each signs what the one before has signed, so that one file bears all signatures.
	for _, h := range homes {
		if file, err = h.SignFounding(ctx, file); err != nil {
			return fmt.Errorf("found %s: %w", h.Config.Member, err)
		}
	}
	for _, h := range homes {
		if _, err := h.AdoptFounding(ctx, o.Now, file); err != nil {
			return fmt.Errorf("found %s: %w", h.Config.Member, err)
		}
	}
	return nil
}
