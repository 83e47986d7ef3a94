package store

import (
	"errors"
	"fmt"
	"time"

	"entente.example/internal/statement"
	"entente.example/internal/store/sqlc"
)

// Statement gives the bytes of a statement as they were signed, or ErrNotFound.
func (v *View) Statement(hash statement.Hash) ([]byte, error) {
	return row(v.q.Statement(v.ctx, hash[:]))
}

// Charters gives the founding charter and then its amendments, by version.
func (v *View) Charters() (raw [][]byte, err error) {
	rows, err := v.q.Charters(v.ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		raw = append(raw, r.Raw)
	}
	amendments, err := v.q.Amendments(v.ctx)
	for _, r := range amendments {
		raw = append(raw, r.Raw)
	}
	return raw, err
}

// Cards gives the cards of all members, sorted by member and version.
func (v *View) Cards() (raw [][]byte, err error) {
	rows, err := v.q.Cards(v.ctx)
	for _, r := range rows {
		raw = append(raw, r.Raw)
	}
	return raw, err
}

// Generation is a number that changes whenever a charter, amendment, card, agreement or notice is added, whoever adds it, so that a cache of
// what they say knows when it is stale. It is otherwise without meaning.
func (v *View) Generation() (int64, error) { return v.q.Generation(v.ctx) }

// Agreement is an agreement in force or once in force.
type Agreement struct {
	Hash    statement.Hash
	Name    string
	Version int64
	At      time.Time // when it came into force here
	Raw     []byte    // as it was signed
}

func agreement(hash []byte, name string, version, at int64, raw []byte) (Agreement, error) {
	h, err := toHash(hash)
	return Agreement{h, name, version, time.UnixMicro(at).UTC(), raw}, err
}

// Agreements gives all agreements, sorted by name and version.
func (v *View) Agreements() ([]Agreement, error) {
	rows, err := v.q.Agreements(v.ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Agreement, len(rows))
	for i, r := range rows {
		if list[i], err = agreement(r.Sha256, r.Name, r.Version, r.At, r.Raw); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// AgreementByHash gives one agreement, or ErrNotFound.
func (v *View) AgreementByHash(hash statement.Hash) (Agreement, error) {
	r, err := row(v.q.AgreementByHash(v.ctx, hash[:]))
	if err != nil {
		return Agreement{}, err
	}
	return agreement(r.Sha256, r.Name, r.Version, r.At, r.Raw)
}

// AgreementByName gives the newest version of an agreement, or ErrNotFound.
func (v *View) AgreementByName(name string) (Agreement, error) {
	r, err := row(v.q.AgreementByName(v.ctx, name))
	if err != nil {
		return Agreement{}, err
	}
	return agreement(r.Sha256, r.Name, r.Version, r.At, r.Raw)
}

// PutCharter adds a charter. ErrExists if it is there, ErrConflict if another one has its version.
func (tx *Tx) PutCharter(s *statement.Signed[statement.Charter]) error {
	if err := tx.putStatement(s.Hash, statement.KindCharter, s.Raw); err != nil {
		return err
	}
	n, err := tx.q.InsertCharter(tx.ctx, sqlc.InsertCharterParams{Version: s.Terms.Version, Sha256: s.Hash[:]})
	return tx.placed(n, err, "charter", s.Hash, func() ([]byte, error) { return tx.q.CharterByVersion(tx.ctx, s.Terms.Version) })
}

// PutAmendment adds an amendment of the charter. ErrExists if it is there. Whether it takes effect does not matter here.
func (tx *Tx) PutAmendment(s *statement.Signed[statement.Amendment]) error {
	if err := tx.putStatement(s.Hash, statement.KindAmendment, s.Raw); err != nil {
		return err
	}
	n, err := tx.q.InsertAmendment(tx.ctx, sqlc.InsertAmendmentParams{Sha256: s.Hash[:], Version: s.Terms.Version, Previous: s.Terms.Previous[:]})
	return tx.placed(n, err, "amendment", s.Hash, func() ([]byte, error) { return tx.q.AmendmentByHash(tx.ctx, s.Hash[:]) })
}

// PutCard adds a member's card. ErrExists if it is there. Whether it has a place in the member's chain is for package member to say.
func (tx *Tx) PutCard(s *statement.Signed[statement.Card]) error {
	if err := tx.putStatement(s.Hash, statement.KindCard, s.Raw); err != nil {
		return err
	}
	n, err := tx.q.InsertCard(tx.ctx, sqlc.InsertCardParams{Member: s.Terms.Member, Version: s.Terms.Version, Sha256: s.Hash[:]})
	return tx.placed(n, err, "card", s.Hash, func() ([]byte, error) { return tx.q.CardByHash(tx.ctx, s.Hash[:]) })
}

// PutAgreement adds an agreement that comes into force at a time, to the second, as its leaf has it. ErrExists if it is there, ErrConflict if another one has its name and version.
func (tx *Tx) PutAgreement(s *statement.Signed[statement.Agreement], at time.Time) error {
	if err := tx.putStatement(s.Hash, statement.KindAgreement, s.Raw); err != nil {
		return err
	}
	n, err := tx.q.InsertAgreement(tx.ctx, sqlc.InsertAgreementParams{Sha256: s.Hash[:], Name: s.Terms.Name, Version: s.Terms.Version, At: at.Truncate(time.Second).UnixMicro()})
	return tx.placed(n, err, "agreement", s.Hash, func() ([]byte, error) {
		return tx.q.AgreementByVersion(tx.ctx, sqlc.AgreementByVersionParams{Name: s.Terms.Name, Version: s.Terms.Version})
	})
}

func (tx *Tx) putStatement(hash statement.Hash, kind statement.Kind, raw []byte) error {
	tx.statements = tx.statements || kind != statement.KindManifest && kind != statement.KindReceipt
	err := tx.q.InsertStatement(tx.ctx, sqlc.InsertStatementParams{Sha256: hash[:], Kind: string(kind), Raw: raw})
	if err != nil {
		return fmt.Errorf("put %s %s: %w", kind, hash.Short(), explain(err))
	}
	return nil
}

// placed judges an insert that does nothing where there is a row already: was that row the same statement?
func (tx *Tx) placed(inserted int64, err error, what string, hash statement.Hash, holder func() ([]byte, error)) error {
	if err != nil {
		return fmt.Errorf("put %s %s: %w", what, hash.Short(), explain(err))
	}
	if inserted > 0 {
		return nil
	}
	switch there, err := row(holder()); {
	case err != nil && !errors.Is(err, ErrNotFound):
		return fmt.Errorf("put %s %s: %w", what, hash.Short(), explain(err))
	case err == nil && string(there) == string(hash[:]):
		return fmt.Errorf("put %s %s: it %w", what, hash.Short(), ErrExists)
	}
	return fmt.Errorf("put %s %s: it %w", what, hash.Short(), ErrConflict)
}

// toHash reads a hash from a column. Only damage can make it fail.
func toHash(b []byte) (h statement.Hash, err error) {
	if len(b) != len(h) {
		return h, fmt.Errorf("read a hash from the database: it has %d bytes instead of %d; run: entente audit verify", len(b), len(h))
	}
	copy(h[:], b)
	return h, nil
}
