package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/tools/txtar"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// An amendment file is what members mail to each other: a txtar archive of the amendment, signed or still to be signed. For an admission it
// also has the newcomer's card, and all that the newcomer needs to know: the founding charter, the amendments since and all cards. See
// docs/formats/amendment.md.

const amendmentComment = "An Entente amendment file: a change of the charter, for its signers.\n" +
	"Read it before you sign: entente charter sign FILE\n"

// AmendmentFile is an amendment file, read. Nothing in it is verified but that the card and the charter are signed by their own keys.
type AmendmentFile struct {
	Amendment *statement.Unsigned[statement.Amendment]
	Card      *statement.Signed[statement.Card] // the newcomer's, for an admission; otherwise nil

	charters, cards [][]byte // what a newcomer has to know
}

// AmendmentDraft says what is to change.
type AmendmentDraft struct {
	Change  statement.Change
	Member  string        // whom it concerns; empty for Leave, Admit and Settle
	Card    []byte        // the newcomer's first card, for Admit
	Signers []string      // who is to sign, in any order; nil: everybody who may
	Wait    time.Duration // for how long it waits for signatures; zero: limit.AmendmentWait
}

// DraftAmendment writes an amendment file for a change of the charter, above the newest version that this home knows.
func (h *Home) DraftAmendment(ctx context.Context, now time.Time, d AmendmentDraft) ([]byte, error) {
	history, err := h.History(ctx)
	if err != nil {
		return nil, err
	}
	if d.Wait == 0 {
		d.Wait = limit.AmendmentWait
	}
	a := statement.Amendment{Alliance: history.Alliance(), Version: history.Version() + 1, Previous: history.Newest(), Created: now.UTC().Truncate(time.Second),
		Change: d.Change, Member: d.Member, SignedBy: d.Signers}
	a.AdoptBy = a.Created.Add(d.Wait).Truncate(time.Second)
	f := &AmendmentFile{}
	switch d.Change {
	case statement.Leave:
		a.Member, a.SignedBy = h.Config.Member, []string{h.Config.Member}
	case statement.Admit:
		if f.Card, err = statement.OpenSelfSigned[statement.Card](d.Card); err != nil {
			return nil, fault.New(fault.Invalid, "ask the newcomer for the file that `entente card -o FILE` writes", "read the newcomer's card: %w", err)
		}
		c := f.Card.Terms
		a.Member, a.Statement, a.Recovery, a.Card = c.Member, c.Statement, c.Recovery, f.Card.Hash
		if f.charters, f.cards, err = h.texts(ctx); err != nil {
			return nil, err
		}
	case statement.Settle:
		if err := settlement(history, &a); err != nil {
			return nil, err
		}
	}
	if fork := history.Fork(); fork != nil && d.Change != statement.Settle && d.Change != statement.Leave {
		return nil, fault.New(fault.Conflict, "settle it first: entente charter amend settle", "the charter is forked: %s", fork)
	}
	if a.SignedBy == nil {
		a.SignedBy = voters(history, a)
	}
	if d.Change == statement.Admit && !slices.Contains(a.SignedBy, a.Member) {
		a.SignedBy = append(slices.Clone(a.SignedBy), a.Member)
	}
	a.SignedBy = slices.Sorted(slices.Values(a.SignedBy))
	draft, err := statement.Draft(a)
	if err != nil {
		return nil, fault.New(fault.Misused, "see entente charter amend --help", "%w", err)
	}
	return packAmendment(draft, f), nil
}

// settlement names the open fork.
func settlement(h *member.History, a *statement.Amendment) error {
	fork := h.Fork()
	if fork == nil {
		return fault.New(fault.Misused, "nothing needs to be done", "the charter is not forked")
	}
	one, _ := h.VersionOf(fork.Hashes[0])
	other, _ := h.VersionOf(fork.Hashes[1])
	a.Previous, a.Forks, a.Version = fork.Of, fork.Hashes[:], max(one, other)+1
	return nil
}

// voters lists everybody who may sign an amendment: members in good standing, but not the one that it suspends, nor who signed both forks.
func voters(h *member.History, a statement.Amendment) (list []string) {
	fork := h.Fork()
	for _, m := range h.Members() {
		switch {
		case h.StandingAt(a.Previous, m.Name) != statement.GoodStanding, a.Change == statement.Suspend && m.Name == a.Member:
		case fork != nil && slices.Contains(fork.Concerned, m.Name):
		default:
			list = append(list, m.Name)
		}
	}
	return list
}

func (h *Home) texts(ctx context.Context) (charters, cards [][]byte, err error) {
	err = h.DB.View(ctx, func(v *store.View) error {
		if charters, err = v.Charters(); err != nil {
			return err
		}
		cards, err = v.Cards()
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read charter: %w", err)
	}
	return charters, cards, nil
}

func packAmendment(amendment []byte, f *AmendmentFile) []byte {
	a := &txtar.Archive{Comment: []byte(amendmentComment), Files: []txtar.File{{Name: "amendment", Data: amendment}}}
	if f.Card != nil {
		a.Files = append(a.Files, txtar.File{Name: "card", Data: f.Card.Raw})
	}
	for i, raw := range f.charters {
		a.Files = append(a.Files, txtar.File{Name: fmt.Sprintf("charters/%d", i+1), Data: raw})
	}
	for i, raw := range f.cards {
		a.Files = append(a.Files, txtar.File{Name: fmt.Sprintf("cards/%d", i+1), Data: raw})
	}
	return txtar.Format(a)
}

// IsAmendment tells whether a file begins as an amendment file does. It verifies nothing.
func IsAmendment(file []byte) bool { return bytes.HasPrefix(file, []byte(amendmentComment)) }

// ReadAmendment reads an amendment file strictly.
func ReadAmendment(file []byte) (*AmendmentFile, error) {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "ask for the file that `entente charter amend` wrote", "read amendment file: "+format, args...)
	}
	if len(file) > limit.AmendmentFile {
		return nil, bad("it has %d bytes, at most %d are allowed", len(file), limit.AmendmentFile)
	}
	a := txtar.Parse(file)
	if len(a.Files) == 0 || a.Files[0].Name != "amendment" {
		return nil, bad("it is not an amendment file")
	}
	f := &AmendmentFile{}
	var err error
	if f.Amendment, err = statement.ParseDraft[statement.Amendment](a.Files[0].Data); err != nil {
		return nil, bad("%w", err)
	}
	for _, part := range a.Files[1:] {
		switch {
		case part.Name == "card" && f.Card == nil:
			if f.Card, err = statement.OpenSelfSigned[statement.Card](part.Data); err != nil {
				return nil, bad("%w", err)
			}
		case strings.HasPrefix(part.Name, "charters/"):
			f.charters = append(f.charters, part.Data)
		default:
			f.cards = append(f.cards, part.Data)
		}
	}
	t := f.Amendment.Terms
	if admission := t.Change == statement.Admit; admission != (f.Card != nil) || admission && f.Card.Hash != t.Card {
		return nil, bad("the newcomer's card stands in the file of an admission, and only there")
	}
	if !bytes.Equal(packAmendment(f.Amendment.Raw, f), file) {
		return nil, bad("it is not as such a file is written")
	}
	return f, nil
}

// Joining gives the alliance as this home knows it, or, for a newcomer, as the file tells it; joining tells which. What a file tells a newcomer
// is sound in itself, but only a person can tell whether it is the right alliance.
func (h *Home) Joining(ctx context.Context, f *AmendmentFile) (history *member.History, joining bool, err error) {
	history, err = h.History(ctx)
	if fault.KindOf(err) != fault.NotFound || f.Card == nil {
		return history, false, err
	}
	if history, err = member.Restore(f.charters, f.cards); err != nil {
		return nil, true, fmt.Errorf("read amendment file: %w", err)
	}
	own, err := h.Card()
	if err != nil {
		return nil, true, err
	}
	if own.Hash != f.Card.Hash {
		return nil, true, fault.New(fault.Invalid, "send your card (entente card -o FILE) to whoever drafts the amendment", "the amendment does not admit the card of %s", h.Config.Member)
	}
	return history, true, nil
}

// SignAmendment adds this member's signature to an amendment. Before the signature leaves, it is durably noted in the home which successor of
// that version was signed: another one is refused until the first one's adopt_by has passed. For a newcomer the caller has had a person
// compare the alliance's hash.
func (h *Home) SignAmendment(ctx context.Context, now time.Time, file []byte) ([]byte, error) {
	f, err := ReadAmendment(file)
	if err != nil {
		return nil, err
	}
	history, joining, err := h.Joining(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := h.maySign(history, joining, now, f); err != nil {
		return nil, err
	}
	if err := h.promise(now, f.Amendment); err != nil {
		return nil, err
	}
	raw, err := statement.AddSignature(f.Amendment.Raw, h.Keys.Statement)
	if err != nil {
		return nil, fmt.Errorf("sign amendment: %w", err)
	}
	return packAmendment(raw, f), nil
}

// maySign refuses what would not be valid, or what would bind this member for long.
func (h *Home) maySign(history *member.History, joining bool, now time.Time, f *AmendmentFile) error {
	t, self := f.Amendment.Terms, h.Config.Member
	no := func(hint, format string, args ...any) error {
		return fault.New(fault.Invalid, hint, "sign amendment: "+format, args...)
	}
	newest := history.Newest() // while there is a fork: the version before it
	switch {
	case t.Alliance != history.Alliance():
		return no("sign only amendments of your own alliance", "it belongs to another alliance")
	case t.Previous != newest:
		return no("ask for one that was drafted above the newest version; entente charter show", "it follows another version than %s", newest.Short())
	case !slices.Contains(t.SignedBy, self):
		return no("ask for a draft that lists "+self+" with --signers", "it is not to be signed by %s", self)
	case now.After(t.AdoptBy) || t.Created.After(now.Add(limit.ClockSkew)):
		return no("ask for a new draft", "it was drafted %s and had to be adopted by %s", t.Created.Format(time.RFC3339), t.AdoptBy.Format(time.RFC3339))
	case t.AdoptBy.After(now.Add(limit.Adoption)):
		return no("ask for a draft that ends earlier", "it waits until %s, and nothing else could be signed until then", t.AdoptBy.Format(time.RFC3339))
	case !joining && t.Change != statement.Leave && history.StandingAt(newest, self) != statement.GoodStanding:
		return no("only members in good standing decide", "%s is not in good standing", self)
	}
	known := history.Verifiers()
	if t.Change == statement.Admit {
		v, err := note.NewVerifier(t.Statement)
		if err != nil {
			return no("ask for a new draft", "%w", err)
		}
		known = either{known, note.VerifierList(v)}
	}
	if err := f.Amendment.Verify(known); err != nil {
		return no("somebody's copy is damaged or forged; ask for it again", "%w", err)
	}
	return nil
}

// either knows the keys of both.
type either [2]note.Verifiers

// Verifier finds a key in the first that has it.
func (e either) Verifier(name string, hash uint32) (note.Verifier, error) {
	if v, err := e[0].Verifier(name, hash); err == nil {
		return v, nil
	}
	return e[1].Verifier(name, hash)
}

// promiseDir holds a file for each version of the charter of which this member has signed a successor.
const promiseDir = "promises"

// promise notes which successor of a version this member signs, durably, and refuses another one as long as the first may still be adopted.
// A farewell needs no promise: it cannot fork what others decide.
func (h *Home) promise(now time.Time, a *statement.Unsigned[statement.Amendment]) error {
	t := a.Terms
	if t.Change == statement.Leave {
		return nil
	}
	name := t.Previous.String()
	for _, fork := range t.Forks {
		name += "-" + fork.String()[:16]
	}
	dir := filepath.Join(h.Dir, promiseDir)
	if err := durable.MkdirAll(dir); err != nil {
		return fmt.Errorf("sign amendment: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if err := lock.Lock(); err != nil { // two commands at once must not sign two
		return fmt.Errorf("sign amendment: %w", err)
	}
	defer lock.Close()
	path, word := filepath.Join(dir, name), []byte(a.Hash.String()+"\n"+t.AdoptBy.UTC().Format(time.RFC3339)+"\n")
	there, err := readBounded(path, 256)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = durable.Replace(path, word) // whole or not at all, also after a crash
	case err == nil && bytes.Equal(there, word):
		return nil
	case err == nil:
		_, until, _ := strings.Cut(strings.TrimSpace(string(there)), "\n")
		end, bad := time.Parse(time.RFC3339, until)
		if bad != nil || !now.After(end.Add(limit.ClockSkew)) {
			return fault.New(fault.Conflict, "wait until then, or have everybody adopt that one; to sign both would be a fork, and suspend "+h.Config.Member,
				"sign amendment: %s has signed another successor of version %s, which may be adopted until %s", h.Config.Member, t.Previous.Short(), until)
		}
		err = durable.Replace(path, word)
	}
	if err != nil {
		return fmt.Errorf("sign amendment: note what was signed: %w", err)
	}
	return nil
}

// AdoptAmendment merges the signatures of several copies of one amendment file and, when none is missing, takes it in as Learn does. A
// newcomer becomes a member with it. Adopting it again changes nothing.
func (h *Home) AdoptAmendment(ctx context.Context, now time.Time, files ...[]byte) (*member.History, error) {
	var first *AmendmentFile
	var copies [][]byte
	for _, file := range files {
		f, err := ReadAmendment(file)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = f
		}
		copies = append(copies, f.Amendment.Raw)
	}
	if first == nil {
		return nil, fault.New(fault.Misused, "name the amendment files that the members signed", "adopt amendment: no file given")
	}
	raw, err := statement.Merge(copies...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "all files must be copies of one draft", "adopt amendment: %w", err)
	}
	draft, err := statement.ParseDraft[statement.Amendment](raw)
	if err != nil {
		return nil, fmt.Errorf("adopt amendment: %w", err)
	}
	if len(draft.Missing) > 0 {
		return nil, fault.New(fault.Invalid, "collect the missing signatures and give all files at once", "adopt amendment: it still lacks the signatures of %s", ofMembers(draft.Missing))
	}
	history, joining, err := h.Joining(ctx, first)
	if err != nil {
		return nil, err
	}
	if now.After(draft.Terms.AdoptBy.Add(limit.ClockSkew)) && !history.Knows(draft.Hash) {
		return nil, fault.New(fault.Invalid, "draft it anew", "adopt amendment: it had to be adopted by %s, and its signers may have signed another one since", draft.Terms.AdoptBy.Format(time.RFC3339))
	}
	if joining {
		return h.join(ctx, now, first, raw)
	}
	var cards [][]byte
	if first.Card != nil {
		cards = append(cards, first.Card.Raw)
	}
	out, err := h.Learn(ctx, now, [][]byte{raw}, cards)
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return nil, err
	}
	return out.History, nil
}

// ofMembers names the members whose signatures, by the names of their keys, are missing.
func ofMembers(keys []string) string {
	return strings.ReplaceAll(strings.Join(keys, ", "), "/statement", "")
}

// join makes the alliance that a file tells of this newcomer's own: founding charter, amendments and cards, all in one transaction.
func (h *Home) join(ctx context.Context, now time.Time, f *AmendmentFile, raw []byte) (*member.History, error) {
	charters := append(slices.Clone(f.charters), raw)
	cards := append(slices.Clone(f.cards), f.Card.Raw)
	history, err := member.Restore(charters, cards)
	if err != nil {
		return nil, fmt.Errorf("adopt amendment: %w", err)
	}
	if !history.InGoodStanding(h.Config.Member) {
		return nil, fault.New(fault.Invalid, "ask for a new draft", "adopt amendment: it does not make %s a member in good standing", h.Config.Member)
	}
	found := &finding{self: h.Config.Member, now: now, history: history, amendments: history.Amendments()}
	for _, c := range cards {
		card, err := statement.OpenSelfSigned[statement.Card](c)
		if err != nil {
			return nil, fmt.Errorf("adopt amendment: %w", err)
		}
		found.cards = append(found.cards, card)
	}
	err = h.DB.Update(ctx, func(tx *store.Tx) error {
		if known, err := tx.Charters(); err != nil || len(known) > 0 {
			return errors.Join(err, errRaced)
		}
		if err := tx.PutCharter(history.Charter()); err != nil {
			return err
		}
		if _, err := tx.Record(statement.Event{Kind: statement.EventCharter, Time: now, Statement: history.Alliance()}); err != nil {
			return err
		}
		return found.store(tx)
	})
	if err == nil {
		_, err = h.Log.Publish(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("adopt amendment: %w", err)
	}
	return history, nil
}
