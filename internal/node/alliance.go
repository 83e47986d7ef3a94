package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// recoveryDir is the folder of the recovery keys beside the homes of an alliance on one machine.
const recoveryDir = "recovery"

// AllianceOptions says what alliance to found on one machine, for development, lessons and tests.
type AllianceOptions struct {
	Dir         string                     // homes are DIR/MEMBER, unless Home says otherwise
	Home        func(member string) string // where a member's home is; nil: DIR/MEMBER
	RecoveryDir string                     // recovery keys are in it as MEMBER.key; empty: DIR/recovery
	Alliance    string
	Members     []string
	// Addresses gives a member's two addresses, HOST:PORT, for other members and for its own people.
	Addresses func(i int, member string) (peer, node string)
	Persons   []Persona            // who works for the members from the start
	Agreement *statement.Agreement // between all members, if there is to be one; its parties are filled in
	// Witnesses are outside witnesses, and Auditors persons who may read all logs, as spiffe://MEMBER/person/NAME. Both stand in the charter.
	Witnesses []statement.OutsideWitness
	Auditors  []string
	Now       time.Time
}

// Persona is a person of one of the members of an alliance.
type Persona struct {
	Member, Name string
	Roles        []string
}

// Person gives a persona what a world for development has: nothing is hidden from them, and their training lasts a year.
func (p Persona) Person(now time.Time) Person {
	return Person{Name: p.Name, Roles: p.Roles, Labels: []string{"TLP:RED"}, TrainedUntil: now.UTC().Truncate(24*time.Hour).AddDate(1, 0, 1).Add(-time.Second)}
}

func (o *AllianceOptions) home(member string) string {
	if o.Home != nil {
		return o.Home(member)
	}
	return filepath.Join(o.Dir, member)
}

func (o *AllianceOptions) recovery() string {
	if o.RecoveryDir != "" {
		return o.RecoveryDir
	}
	return filepath.Join(o.Dir, recoveryDir)
}

// check refuses names that cannot be. Names become folders, which are removed if anything fails: "..", say, must never
// get that far.
func (o *AllianceOptions) check() error {
	for i, m := range o.Members {
		if err := statement.ValidMember(m); err != nil {
			return fault.New(fault.Misused, "choose one lower-case word, such as alpha", "found alliance: %w", err)
		}
		if m == recoveryDir || slices.Contains(o.Members[:i], m) {
			return fault.New(fault.Misused, "choose another name", "found alliance: the name %s is taken", m)
		}
	}
	for _, p := range o.Persons {
		if !slices.Contains(o.Members, p.Member) {
			return fault.New(fault.Misused, "the members are "+strings.Join(o.Members, ", "), "found alliance: %.80q, for whom %.80q is to work, is no member", p.Member, p.Name)
		}
		if err := statement.ValidPerson(p.Name); err != nil {
			return fault.New(fault.Misused, "choose one lower-case word, such as alice", "found alliance: %w", err)
		}
	}
	return nil
}

// checkFolder refuses a folder that holds anything but what explains it, and has git leave it alone: so that a folder for
// homes can be part of a project.
func (o *AllianceOptions) checkFolder() error {
	if o.Home != nil {
		return nil
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Misused, "choose another folder", "found alliance: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "README.md" && e.Name() != ".gitignore" {
			return fault.New(fault.Misused, "choose another folder, or empty it", "%s is not empty", o.Dir)
		}
	}
	return nil
}

// founded tells which members have something in the place of their home.
func (o *AllianceOptions) founded() (there, missing []string, err error) {
	for _, m := range o.Members {
		entries, err := os.ReadDir(o.home(m))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, nil, fault.New(fault.Misused, "choose another folder", "look for the home of %s: %w", m, err)
		case len(entries) > 0:
			there = append(there, m)
		default:
			missing = append(missing, m)
		}
	}
	return there, missing, nil
}

// FoundAlliance makes the homes of all members and has them found an alliance, by the same steps as members that are far
// apart: cards, one draft, a signature of each, adoption by each. Persons and an agreement come after, if there are to
// be any. A folder that holds more than a README.md and a .gitignore is refused, and so are recovery keys that are there
// already. When something fails, nothing half-founded is left.
func FoundAlliance(ctx context.Context, o AllianceOptions) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if err := o.checkFolder(); err != nil {
		return err
	}
	// What is removed when something fails below must be what was made below, so nothing may be there before.
	there, _, err := o.founded()
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fault.New(fault.Misused, "choose another folder, or remove what is left of an older alliance: all of its homes, and its recovery keys", "%s is not empty", o.home(there[0]))
	}
	for _, m := range o.Members {
		key := filepath.Join(o.recovery(), m+".key")
		if _, err := os.Lstat(key); !errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.Misused, "move it away if it is still needed, or remove it", "there is a recovery key already: %s", key)
		}
	}
	defer func() {
		if err == nil {
			return
		}
		for _, m := range o.Members {
			_ = os.RemoveAll(o.home(m))
			_ = os.Remove(filepath.Join(o.recovery(), m+".key"))
		}
		_ = os.Remove(o.recovery()) // only if it is empty
	}()
	var homes []*Home
	defer func() {
		for _, h := range homes {
			err = errors.Join(err, h.Close())
		}
	}()
	var cards [][]byte
	for i, m := range o.Members {
		peer, node := o.Addresses(i, m)
		made, err := Init(ctx, o.home(m), InitOptions{Member: m, Address: peer, NodeAddress: node, RecoveryDir: o.recovery(), Now: o.Now})
		if err != nil {
			return fmt.Errorf("found %s: %w", m, err)
		}
		cards = append(cards, made.Card.Raw)
		h, err := OpenHome(ctx, o.home(m))
		if err != nil {
			return fmt.Errorf("found %s: %w", m, err)
		}
		homes = append(homes, h)
	}
	if err := o.charter(ctx, homes, cards); err != nil {
		return err
	}
	for _, p := range o.Persons {
		h := homes[slices.Index(o.Members, p.Member)]
		if err := h.AddPerson(ctx, o.Now, p.Person(o.Now)); err != nil {
			return fmt.Errorf("found %s: %w", p.Member, err)
		}
	}
	if o.Agreement == nil {
		return nil
	}
	a := *o.Agreement
	a.Parties = slices.Sorted(slices.Values(o.Members))
	_, err = Conclude(ctx, o.Now, a, homes...)
	return err
}

func (o *AllianceOptions) charter(ctx context.Context, homes []*Home, cards [][]byte) error {
	file, err := DraftFounding(FoundingDraft{Alliance: o.Alliance, Cards: cards, Witnesses: o.Witnesses, Auditors: o.Auditors}, o.Now)
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

// AllianceStands tells whether the alliance was founded before: all of its members have homes, with these addresses, and
// all of them have adopted one charter that names these members and no others. It gives false if no member has a home,
// and a fault for anything in between, such as homes that are left from two foundings. It reads no key, and works beside
// running nodes.
func AllianceStands(ctx context.Context, o AllianceOptions) (bool, error) {
	if err := o.check(); err != nil {
		return false, err
	}
	there, missing, err := o.founded()
	if err != nil || len(there) == 0 {
		return false, err
	}
	older := func(format string, args ...any) error {
		return fault.New(fault.Conflict, "remove what is left of the older alliance, all of its homes and its recovery keys, and found it anew", "found alliance: "+format, args...)
	}
	if len(missing) > 0 {
		return false, older("%s has no home at %s, but there is one of %s from before", missing[0], o.home(missing[0]), strings.Join(there, ", "))
	}
	var charter statement.Hash
	for i, m := range o.Members {
		h, known, err := readAlliance(ctx, o.home(m))
		if err != nil {
			return false, older("%s is no home of %s that can be used: %w", o.home(m), m, err)
		}
		peer, node := o.Addresses(i, m)
		if h.Member != m || h.Address != peer || h.NodeListen != node {
			return false, older("%s is the home of %s with the addresses %s and %s, not of %s with %s and %s", o.home(m), h.Member, h.Address, h.NodeListen, m, peer, node)
		}
		var names []string
		for _, member := range known.Members() {
			names = append(names, member.Name)
		}
		slices.Sort(names)
		if known.Name() != o.Alliance || !slices.Equal(names, slices.Sorted(slices.Values(o.Members))) {
			return false, older("%s belongs to the alliance %s of %s", m, known.Name(), strings.Join(names, ", "))
		}
		if i > 0 && known.Alliance() != charter {
			return false, older("%s and %s belong to two different alliances of the same name", o.Members[0], m)
		}
		charter = known.Alliance()
	}
	return true, nil
}

// readAlliance reads a home's configuration and charter. It brings the tables of an older database up to date, as the
// node would at its next start.
func readAlliance(ctx context.Context, dir string) (_ Config, _ *member.History, err error) {
	h, err := openHome(dir)
	if err != nil {
		return Config{}, nil, err
	}
	if h.DB, err = store.Open(ctx, h.Dir); err != nil {
		return h.Config, nil, fmt.Errorf("open home: %w", err)
	}
	defer func() { err = errors.Join(err, h.DB.Close()) }()
	known, err := h.History(ctx)
	return h.Config, known, err
}
