package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"entente.example/internal/audit"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// Home is a member's folder: configuration, keys, database with its log, blobs and head. Commands work on it directly,
// beside a running node if there is one; the node is a Home that serves.
//
// A Home may be used concurrently.
type Home struct {
	Dir    string
	Config Config
	Keys   *identity.Keys // nil if it was opened for reading
	DB     *store.DB
	Blobs  *store.Blobs
	Log    *audit.Log // nil if it was opened for reading
}

// cardFile is the member's own newest card, so that a home has one before it has an alliance.
const cardFile = "card"

// headDir is apart from the database, and must not be part of its backups: it remembers how far the log had come.
const headDir = "head"

// InitOptions says what a new member is.
type InitOptions struct {
	Member       string
	Address      string // HOST:PORT for other members
	NodeAddress  string // HOST:PORT for the member's own people; empty: DefaultNodeAddress
	Jurisdiction string // or empty
	RecoveryDir  string // where the recovery key goes, outside the home; empty: DIR-recovery
	Now          time.Time
}

// Initialised says what Init made.
type Initialised struct {
	Card         *statement.Signed[statement.Card]
	Fingerprint  string // of the card, to be read out on the telephone
	RecoveryFile string // to be taken offline
}

// Init makes the home of a new member: keys, certificates, configuration, card, an empty log. A folder that is not empty
// is refused, and nothing is left behind on failure.
func Init(ctx context.Context, dir string, o InitOptions) (made *Initialised, err error) {
	config, err := newConfig(o)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("make home: %w", err)
	}
	// What is removed when something fails below must be what was made below, so nothing may be there before.
	entries, err := os.ReadDir(dir)
	there := err == nil
	if len(entries) > 0 {
		return nil, fault.New(fault.Misused, "choose another folder with --home DIR", "%s is not empty", dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Misused, "choose another folder with --home DIR", "make home: %w", err)
	}
	if o.RecoveryDir == "" {
		o.RecoveryDir = dir + "-recovery"
	}
	recoveryFile := filepath.Join(o.RecoveryDir, o.Member+".key")
	if _, err := os.Lstat(recoveryFile); !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Conflict, "choose another folder with --recovery DIR", "there is a recovery key of %s in %s already", o.Member, o.RecoveryDir)
	}
	keys, recovery, err := identity.Create(dir, o.RecoveryDir, o.Member, o.Now) // cleans up behind itself
	if err != nil {
		return nil, fmt.Errorf("make home: %w", err)
	}
	// Only now: what is there is ours, and not that of another init at the same moment.
	defer func() {
		if err == nil {
			return
		}
		_ = os.RemoveAll(dir)
		if there {
			_ = os.Mkdir(dir, 0o700)
		}
		_ = os.Remove(recoveryFile)
		_ = os.Remove(o.RecoveryDir) // only if it is empty
	}()
	card, err := statement.Sign(statement.Card{
		Member: o.Member, Version: 1, Created: o.Now.UTC().Truncate(time.Second), Address: config.Address, Jurisdiction: config.Jurisdiction,
		Statement: keys.Statement.Public, Recovery: recovery.Public, CA: string(keys.CA),
		Log: keys.Log.Public, LogMLDSA: keys.LogMLDSA.Public, Witness: keys.Witness.Public, WitnessMLDSA: keys.WitnessMLDSA.Public,
		Sealing: []statement.SealingKey{{Epoch: 1, Recipient: keys.SealingRecipients[0]}},
	}, keys.Statement, recovery, keys.Log, keys.Witness)
	if err != nil {
		return nil, fmt.Errorf("make card: %w", err)
	}
	for name, content := range map[string][]byte{ConfigFile: config.text(), cardFile: card.Raw, PeopleFile: []byte(peopleComment)} {
		if err := durable.Create(filepath.Join(dir, name), content); err != nil {
			return nil, fmt.Errorf("make home: %w", err)
		}
	}
	if err := writeHouse(dir); err != nil {
		return nil, fmt.Errorf("make home: %w", err)
	}
	db, err := store.Open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("make home: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	log, err := audit.OpenLog(ctx, db, filepath.Join(dir, headDir), audit.Keys{Ed25519: keys.Log, MLDSA: keys.LogMLDSA})
	if err != nil {
		return nil, fmt.Errorf("make home: %w", err)
	}
	if _, err := log.Publish(ctx); err != nil {
		return nil, fmt.Errorf("make home: %w", err)
	}
	return &Initialised{Card: card, Fingerprint: statement.Fingerprint(card.Hash), RecoveryFile: recoveryFile}, nil
}

// OpenHome opens a home to change it. Whoever opens it must close it.
func OpenHome(ctx context.Context, dir string) (*Home, error) {
	h, err := openHome(dir)
	if err != nil {
		return nil, err
	}
	if h.Keys, err = identity.Load(h.Dir, h.Config.Member); err != nil {
		return nil, err
	}
	if h.Blobs, err = store.OpenBlobs(h.Dir); err != nil {
		return nil, fmt.Errorf("open home: %w", err)
	}
	if h.DB, err = store.Open(ctx, h.Dir); err != nil {
		return nil, fmt.Errorf("open home: %w", err)
	}
	renewed, err := h.resumeRenewal(ctx)
	if err == nil && renewed {
		h.Keys, err = identity.Load(h.Dir, h.Config.Member)
	}
	if err != nil {
		return nil, errors.Join(err, h.DB.Close())
	}
	if h.Log, err = audit.OpenLog(ctx, h.DB, filepath.Join(h.Dir, headDir), audit.Keys{Ed25519: h.Keys.Log, MLDSA: h.Keys.LogMLDSA}); err != nil {
		return nil, errors.Join(err, h.DB.Close())
	}
	return h, nil
}

// OpenReader opens a home to read it. It needs no key, writes nothing, and works beside a running node.
func OpenReader(ctx context.Context, dir string) (*Home, error) {
	h, err := openHome(dir)
	if err != nil {
		return nil, err
	}
	h.Blobs = store.ReadBlobs(h.Dir)
	if h.DB, err = store.OpenReader(ctx, h.Dir); err != nil {
		return nil, fmt.Errorf("open home: %w", err)
	}
	return h, nil
}

func openHome(dir string) (*Home, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open home: %w", err)
	}
	config, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	return &Home{Dir: dir, Config: config}, nil
}

// Close ends what is under way and closes the database.
func (h *Home) Close() error {
	if h.Log != nil {
		h.Log.Close()
	}
	return h.DB.Close()
}

// Card gives the member's own card.
func (h *Home) Card() (*statement.Signed[statement.Card], error) {
	raw, err := readBounded(filepath.Join(h.Dir, cardFile), 64<<10)
	if err != nil {
		return nil, fault.New(fault.NotFound, "bring the file back from where it was moved to", "read own card: %w", err)
	}
	card, err := statement.OpenSelfSigned[statement.Card](raw)
	if err != nil {
		return nil, fmt.Errorf("read own card: %w", err)
	}
	if card.Terms.Member != h.Config.Member {
		return nil, fault.New(fault.Invalid, "entente.toml and card must name the same member", "read own card: it is the card of %s, and this is the home of %s", card.Terms.Member, h.Config.Member)
	}
	return card, nil
}

// History gives the alliance, as far as this home knows it.
func (h *Home) History(ctx context.Context) (*member.History, error) {
	var charters, cards [][]byte
	err := h.DB.View(ctx, func(v *store.View) (err error) {
		if charters, err = v.Charters(); err != nil {
			return err
		}
		cards, err = v.Cards()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read charter: %w", err)
	}
	return history(h.Config.Member, charters, cards)
}

func history(self string, charters, cards [][]byte) (*member.History, error) {
	if len(charters) == 0 {
		return nil, fault.New(fault.NotFound, "found one as docs/founding.md says: entente charter draft, sign, adopt", "%s belongs to no alliance yet", self)
	}
	found, err := member.Restore(charters, cards)
	if err != nil {
		return nil, fmt.Errorf("read charter: %w", err)
	}
	return found, nil
}
