// Package statement is what members sign, and what they log.
//
// A statement is a C2SP signed note: readable text, then one signature line for each signer that its type asks for.
// The text's first line names the type; then come the terms, a subset of TOML with exactly one rendering. Its name is
// the SHA-256 of its text. A manifest looks like this:
//
//	entente.example/manifest/v1
//	id = "01K7XQ3W0V6N2T9R4M5B8C1D2E"
//	from = "alpha"
//	…
//
//	— alpha/statement Az3xwAbc…
//
// Three rules hold everywhere. The bytes that were signed are what is stored and sent; nothing is marshalled again.
// Verify first, parse second. And a text that is not its own rendering is refused, so that no text has two meanings.
//
// The package does no I/O, knows no network, and takes the time as a parameter. All of it may be used concurrently.
package statement

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/limit"
)

// Kind is a statement's type, as it stands in its first line.
type Kind string

// The kinds that exist so far.
const (
	KindAgreement      Kind = "agreement"
	KindManifest       Kind = "manifest"
	KindReceipt        Kind = "receipt"
	KindCard           Kind = "card"
	KindCharter        Kind = "charter"
	KindAmendment      Kind = "amendment"
	KindReconciliation Kind = "reconciliation"
	KindNotice         Kind = "notice"
)

// Terms is what a statement says: Agreement, Manifest, Receipt, Card, Charter, Amendment, Reconciliation or Notice.
type Terms interface {
	Agreement | Manifest | Receipt | Card | Charter | Amendment | Reconciliation | Notice
	terms
}

// Founding is the terms that bring their own keys: a Card and a founding Charter.
type Founding interface {
	Card | Charter
	terms
}

type terms interface {
	kind() Kind
	most() int         // bytes of the whole note
	signers() []string // the names of exactly the keys that must sign
	validate() error   // what a single text can get wrong
}

// Signed is a statement whose signatures were verified: the exact bytes, and what they say.
type Signed[T Terms] struct {
	Raw   []byte // the note as it was signed, stored and sent
	Text  []byte // what the signatures cover
	Hash  Hash   // SHA-256 of Text, the statement's name
	Terms T
	// By are the keys that signed, NAME+HASH with eight hex digits, in the order of the lines: one for each signer, sorted by
	// name. A member may have had several keys of one name; this says which of them it was.
	By []string
}

// Sign renders terms, has every signer sign, and puts together what Open would give, so that whatever it returns others can open: the text was
// parsed again when it was rendered, and a Key signs with the secret half of the public one that it shows. The signers must be exactly
// those that the terms ask for.
func Sign[T Terms](terms T, signers ...*Key) (*Signed[T], error) {
	raw, parsed, err := draft(terms)
	if err != nil {
		return nil, err
	}
	for _, s := range signers {
		if raw, err = AddSignature(raw, s); err != nil {
			return nil, err
		}
	}
	if len(raw) > terms.most() {
		return nil, fmt.Errorf("sign %s: it has %d bytes, at most %d are allowed", terms.kind(), len(raw), terms.most())
	}
	e, err := split(raw)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", terms.kind(), err)
	}
	return finish(e, func([]byte) (T, error) { return parsed, nil })
}

// Open verifies a statement and then parses it. Every signature line must be good under a known key, and the lines must
// be exactly those that the parsed terms ask for; who that may be is up to the caller's choice of known keys.
func Open[T Terms](raw []byte, known note.Verifiers) (*Signed[T], error) {
	var zero T
	if len(raw) > zero.most() {
		return nil, fmt.Errorf("open %s: it has %d bytes, at most %d are allowed", zero.kind(), len(raw), zero.most())
	}
	e, err := split(raw)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", zero.kind(), err)
	}
	if err := e.verify(known); err != nil {
		return nil, fmt.Errorf("open %s %s: %w", zero.kind(), HashBytes(e.text).Short(), err)
	}
	return finish(e, parse[T])
}

// OpenSelfSigned opens a statement whose keys stand in its own text, which only cards and a founding charter do:
// parse, then verify. It proves possession of the keys and nothing else. The caller compares the fingerprint or a pinned
// hash; without that, anybody could have written it.
func OpenSelfSigned[T Founding](raw []byte) (*Signed[T], error) {
	var zero T
	d, err := ParseDraft[T](raw)
	if err != nil {
		return nil, err
	}
	known, err := ownKeys(any(d.Terms))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", zero.kind(), err)
	}
	return Open[T](raw, known)
}

func ownKeys(t any) (note.Verifiers, error) {
	var keys []string
	switch t := t.(type) {
	case Card:
		keys = []string{t.Statement, t.Recovery, t.Log, t.Witness}
	case Charter:
		for _, m := range t.Members {
			keys = append(keys, m.Statement)
		}
	}
	list := make([]note.Verifier, 0, len(keys))
	for _, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return nil, fmt.Errorf("read key %.80q: %w", k, err)
		}
		list = append(list, v)
	}
	return note.VerifierList(list...), nil
}

// Unsigned is a draft: what it says, who has signed, and who has not. It is never acted upon, and its signatures
// are not verified.
type Unsigned[T Terms] struct {
	Raw     []byte
	Text    []byte
	Hash    Hash
	Terms   T
	Signed  []string // key names on signature lines
	By      []string // which keys these are, NAME+HASH, in the same order
	Missing []string // key names that the terms ask for and that have no line
}

// Draft renders terms without a signature.
func Draft[T Terms](terms T) ([]byte, error) {
	raw, _, err := draft(terms)
	return raw, err
}

// draft also gives the terms as whoever reads the text will have them.
func draft[T Terms](terms T) (raw []byte, parsed T, err error) {
	if err := terms.validate(); err != nil {
		return nil, parsed, fmt.Errorf("draft %s: %w", terms.kind(), err)
	}
	text := render(terms)
	if parsed, err = parse[T](text); err != nil {
		return nil, parsed, fmt.Errorf("draft %s: %w", terms.kind(), err)
	}
	return append(text, '\n'), parsed, nil
}

// ParseDraft parses without verifying.
func ParseDraft[T Terms](raw []byte) (*Unsigned[T], error) {
	var zero T
	if len(raw) > zero.most() {
		return nil, fmt.Errorf("parse %s: it has %d bytes, at most %d are allowed", zero.kind(), len(raw), zero.most())
	}
	e, err := split(raw)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", zero.kind(), err)
	}
	terms, err := parse[T](e.text)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", zero.kind(), err)
	}
	d := &Unsigned[T]{Raw: raw, Text: e.text, Hash: HashBytes(e.text), Terms: terms, Signed: e.names(), By: e.ids()}
	for _, name := range terms.signers() {
		if !slices.Contains(d.Signed, name) {
			d.Missing = append(d.Missing, name)
		}
	}
	return d, nil
}

// Verify checks the signature lines that a draft has: each must be good under a known key. A draft without any is sound.
// Whether lines are missing is another question, which Missing answers.
func (d *Unsigned[T]) Verify(known note.Verifiers) error {
	if len(d.Signed) == 0 {
		return nil
	}
	e, err := split(d.Raw)
	if err == nil {
		err = e.verify(known)
	}
	if err != nil {
		return fmt.Errorf("verify draft %s: %w", d.Hash.Short(), err)
	}
	return nil
}

// finish parses what was verified and compares the signature lines with what the terms ask for.
func finish[T Terms](e *envelope, parse func([]byte) (T, error)) (*Signed[T], error) {
	terms, err := parse(e.text)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", terms.kind(), HashBytes(e.text).Short(), err)
	}
	want := slices.Sorted(slices.Values(terms.signers()))
	if got := e.names(); !slices.Equal(got, want) {
		return nil, fmt.Errorf("read %s %s: it is signed by [%s], and must be signed by [%s]",
			terms.kind(), HashBytes(e.text).Short(), strings.Join(got, " "), strings.Join(want, " "))
	}
	return &Signed[T]{Raw: e.raw, Text: e.text, Hash: HashBytes(e.text), Terms: terms, By: e.ids()}, nil
}

// KindOf reads a statement's first line. It verifies nothing.
func KindOf(raw []byte) (Kind, error) {
	line, _, _ := strings.Cut(string(raw[:min(len(raw), 128)]), "\n")
	for _, k := range []Kind{KindAgreement, KindManifest, KindReceipt, KindCard, KindCharter, KindAmendment, KindReconciliation, KindNotice} {
		if line+"\n" == header(k) {
			return k, nil
		}
	}
	return "", fmt.Errorf("first line %.80q names no kind of statement that this version knows", line)
}

// HashOf names a statement, signed or draft, by the SHA-256 of its text. It verifies nothing.
func HashOf(raw []byte) (Hash, error) {
	if len(raw) > limit.Charter {
		return Hash{}, fmt.Errorf("name statement: it has %d bytes, at most %d are allowed", len(raw), limit.Charter)
	}
	e, err := split(raw)
	if err != nil {
		return Hash{}, fmt.Errorf("name statement: %w", err)
	}
	return HashBytes(e.text), nil
}
