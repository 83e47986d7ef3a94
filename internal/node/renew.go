package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// nextCardFile is a card that is being made: it is there from before its key is until the home has switched to both.
const nextCardFile = cardFile + ".next"

// RenewOptions says why a member makes a new card.
type RenewOptions struct {
	RecoveryFile string // with the member's recovery key
	// CompromisedSince, if it is not zero, says since when somebody else may have had the statement key that is replaced.
	CompromisedSince time.Time
}

// RenewCard gives the member a new statement key, and a card that says so. The node must not run: it would go on signing with the old key.
//
// The order is: the key and the card beside those in use; then, in one transaction, the card among those known, with its leaf; then
// the switch. A crash before the transaction leaves everything as it was; after it, the next OpenHome switches.
func (h *Home) RenewCard(ctx context.Context, now time.Time, o RenewOptions) (*statement.Signed[statement.Card], error) {
	lock := flock.New(filepath.Join(h.Dir, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock home: %w", err)
	}
	if !held {
		return nil, fault.New(fault.Conflict, "stop the node, renew, and start it again", "a node is using %s, with the key that is to be replaced", h.Dir)
	}
	defer lock.Close()
	recovery, err := identity.LoadRecovery(o.RecoveryFile, h.Config.Member)
	if err != nil {
		return nil, err
	}
	history, err := h.History(ctx)
	if err != nil {
		return nil, err
	}
	chain := history.Cards(h.Config.Member)
	old := chain[len(chain)-1]
	key, err := statement.GenerateKey(rand.Reader, h.Config.Member+"/statement")
	if err != nil {
		return nil, err
	}
	c := old.Terms
	c.Version, c.Previous, c.Created, c.Statement, c.Compromised = c.Version+1, old.Hash, now.UTC().Truncate(time.Second), key.Public, nil
	if since := o.CompromisedSince; !since.IsZero() {
		c.Compromised = []statement.CompromisedKey{{Key: old.Terms.Statement, Since: since.UTC().Truncate(time.Second)}}
	}
	card, err := statement.Sign(c, key, recovery, h.Keys.Log, h.Keys.Witness)
	if err != nil {
		return nil, fault.New(fault.Misused, "see entente card renew --help", "make card: %w", err)
	}
	if _, err := history.Renew(card); err != nil {
		return nil, err
	}
	if err := durable.Replace(filepath.Join(h.Dir, nextCardFile), card.Raw); err != nil {
		return nil, fmt.Errorf("renew card: %w", err)
	}
	if err := identity.StageStatementKey(h.Dir, key); err != nil {
		return nil, fmt.Errorf("renew card: %w", err)
	}
	out, err := h.Learn(ctx, now, nil, [][]byte{card.Raw})
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return nil, err
	}
	if _, err := h.finishRenewal(ctx); err != nil {
		return nil, err
	}
	h.Keys, err = identity.Load(h.Dir, h.Config.Member)
	return card, err
}

// resumeRenewal ends a renewal that a crash interrupted, and leaves one that is under way in another process alone: that one holds the
// lock of the home. So does a node, which ended the renewal before it began to serve.
func (h *Home) resumeRenewal(ctx context.Context) (changed bool, err error) {
	if _, err := os.Lstat(filepath.Join(h.Dir, nextCardFile)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock := flock.New(filepath.Join(h.Dir, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return false, fmt.Errorf("lock home: %w", err)
	}
	if !held {
		return false, nil
	}
	defer lock.Close()
	return h.finishRenewal(ctx)
}

// finishRenewal ends a renewal of the card that a crash may have interrupted: forwards if the card is among those known, else backwards. It
// tells whether keys have changed.
func (h *Home) finishRenewal(ctx context.Context) (changed bool, err error) {
	path := filepath.Join(h.Dir, nextCardFile)
	raw, err := readBounded(path, limit.Statement)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("finish renewal of card: %w", err)
	}
	known := false
	if hash, err := statement.HashOf(raw); err == nil {
		err := h.DB.View(ctx, func(v *store.View) (err error) { known, err = v.HasCardRow(hash); return err })
		if err != nil {
			return false, fmt.Errorf("finish renewal of card: %w", err)
		}
	}
	if known {
		err = identity.SwitchStatementKey(h.Dir)
	} else {
		err = identity.DropStatementKey(h.Dir)
	}
	if err != nil {
		return false, fmt.Errorf("finish renewal of card: %w", err)
	}
	if known {
		err = durable.Replace(filepath.Join(h.Dir, cardFile), raw)
	}
	if err == nil {
		err = os.Remove(path) // last: as long as it is there, all of this is done again
	}
	if err == nil {
		err = durable.SyncDir(h.Dir)
	}
	if err != nil {
		return false, fmt.Errorf("finish renewal of card: %w", err)
	}
	return known, nil
}

// AdoptCards takes in cards that other members made, as Learn does. The worst reason for which one was not taken is the error.
func (h *Home) AdoptCards(ctx context.Context, now time.Time, cards ...[]byte) (Learned, error) {
	out, err := h.Learn(ctx, now, nil, cards)
	if err != nil {
		return out, err
	}
	return out, out.Err()
}
