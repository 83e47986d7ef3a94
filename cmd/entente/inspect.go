package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func (p *program) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a file is: a card, charter, agreement, manifest, receipt or founding file",
		Long: `Inspect reads one statement, signed or a draft, or a founding file, and says what
it is: its kind, its hash, for a card its fingerprint, who has signed, who is
still to sign, and what it says. It says plainly what was verified and what was
not. If the home given has adopted a charter, signatures of its members are
verified under it; a signature that is not good is an error.

With --json: file, kind, sha256, fingerprint, signed_by, missing, verified,
verification, terms (as in the text); for a founding file alliance and founders.`,
		Example: `entente inspect alpha.card
entente inspect founding.txt`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			raw, err := readFile(given[0], limit.Founding)
			if err != nil {
				return err
			}
			return p.inspect(cmd.Context(), given[0], raw)
		},
	}
}

func (p *program) inspect(ctx context.Context, path string, raw []byte) error {
	kind, err := statement.KindOf(raw)
	if err != nil {
		founding, foundingErr := node.ReadFounding(raw)
		if foundingErr == nil {
			return p.inspectFounding(founding, path)
		}
		if bytes.HasPrefix(raw, []byte("-- evidence --\n")) {
			return fault.New(fault.Invalid, "run: entente evidence verify "+path+" --charter HASH", "%s is evidence, which inspect does not read", path)
		}
		if strings.Contains(string(raw[:min(len(raw), 4096)]), "\n-- charter --\n") {
			return foundingErr
		}
		if !utf8.Valid(raw) || bytes.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' }) {
			err = errors.New("it is no text")
		}
		return fault.New(fault.Invalid, "inspect reads cards, charters, amendments, agreements, manifests, receipts, reconciliations and founding files", "%s is none of our files: %w", path, err)
	}
	history := p.history(ctx)
	var about inspected
	switch kind {
	case statement.KindCard:
		about, err = inspectAs[statement.Card](raw, history)
	case statement.KindCharter:
		about, err = inspectAs[statement.Charter](raw, history)
	case statement.KindAmendment:
		about, err = inspectAs[statement.Amendment](raw, history)
	case statement.KindAgreement:
		about, err = inspectAs[statement.Agreement](raw, history)
	case statement.KindManifest:
		about, err = inspectAs[statement.Manifest](raw, history)
	case statement.KindReceipt:
		about, err = inspectAs[statement.Receipt](raw, history)
	case statement.KindReconciliation:
		about, err = inspectAs[statement.Reconciliation](raw, history)
	}
	if err != nil {
		return fault.New(fault.Invalid, "somebody changed it, or it is damaged; ask for it again", "%s is not a good %s: %w", path, kind, err)
	}
	about.File, about.Kind = path, string(kind)
	return p.showInspected(about)
}

// history is the alliance of the home, if there is one; inspect does without too.
func (p *program) history(ctx context.Context) *member.History {
	h, err := p.read(ctx)
	if err != nil {
		return nil
	}
	defer h.Close()
	history, err := h.History(ctx)
	if err != nil {
		return nil
	}
	return history
}

// widest is the longest line of a statement that inspect shows whole. Keys and certificates are longer, and no reading matter.
const widest = 118

type inspected struct {
	File         string         `json:"file"`
	Kind         string         `json:"kind"`
	Hash         string         `json:"sha256"`
	Fingerprint  string         `json:"fingerprint,omitempty"`
	SignedBy     []string       `json:"signed_by"`
	Missing      []string       `json:"missing,omitempty"`
	Verified     bool           `json:"verified"`
	Verification string         `json:"verification"`
	Terms        map[string]any `json:"terms"`
	text         string
}

// inspectAs reads a statement of a known kind and verifies what can be verified.
func inspectAs[T statement.Terms](raw []byte, history *member.History) (inspected, error) {
	d, err := statement.ParseDraft[T](raw)
	if err != nil {
		return inspected{}, unwrapOnce(err)
	}
	about := inspected{Hash: d.Hash.String(), SignedBy: append([]string{}, d.Signed...), Missing: d.Missing, text: string(d.Text)}
	if _, ok := any(d.Terms).(statement.Card); ok {
		about.Fingerprint = statement.Fingerprint(d.Hash)
	}
	if about.Terms, err = termsOf(d.Text); err != nil {
		return inspected{}, err
	}
	switch {
	case len(d.Signed) == 0:
		about.Verification = "it is a draft that nobody has signed"
	case len(d.Missing) > 0:
		about.Verification = "it is a draft that not everybody has signed"
	default:
		about.Verified, about.Verification, err = verifyAs(any(d.Terms), raw, history)
	}
	return about, err
}

// unwrapOnce leaves out "parse card:", since our own sentence says so.
func unwrapOnce(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// verifyAs verifies the signatures of a complete statement, under its own keys or the charter's, and says what that shows.
func verifyAs(terms any, raw []byte, history *member.History) (verified bool, says string, err error) {
	const noCharter = "without the charter of its alliance nobody knows whose keys these are; name a home that has it with --home"
	switch t := terms.(type) {
	case statement.Card:
		if _, err := statement.OpenSelfSigned[statement.Card](raw); err != nil {
			return false, "", err
		}
		if history != nil {
			if m, ok := history.Member(t.Member); ok && m.Card.String() == hashOf(raw) {
				return true, "it is the card of " + t.Member + " that the charter of " + history.Name() + " names", nil
			}
		}
		return true, "it is signed by every key that it lists; that they are " + t.Member + "'s, only the fingerprint read out by " + t.Member + " tells", nil
	case statement.Charter:
		if _, err := statement.OpenSelfSigned[statement.Charter](raw); err != nil {
			return false, "", err
		}
		if history != nil && history.Newest().String() == hashOf(raw) {
			return true, "it is the charter that this home has adopted", nil
		}
		return true, "it is signed by the keys that it lists itself; whose they are, the members' cards and fingerprints tell", nil
	}
	if history == nil {
		return false, noCharter, nil
	}
	switch t := terms.(type) {
	case statement.Agreement:
		_, err = statement.Open[statement.Agreement](raw, history.Verifiers(t.Parties...))
	case statement.Manifest:
		_, err = statement.Open[statement.Manifest](raw, history.Verifiers(t.From))
	case statement.Receipt:
		_, err = statement.Open[statement.Receipt](raw, history.Verifiers(t.From))
	case statement.Amendment:
		_, err = history.OpenAmendment(raw)
	case statement.Reconciliation:
		_, err = statement.Open[statement.Reconciliation](raw, history.Verifiers(t.Parties...))
	default:
		err = errors.New("inspect cannot verify statements of this kind") // so that no new kind passes unverified
	}
	if err != nil {
		return false, "", err
	}
	return true, "its signatures are good under the charter of " + history.Name() + "; whether it is in force or was ever acted upon, it does not say", nil
}

func hashOf(raw []byte) string {
	h, err := statement.HashOf(raw)
	if err != nil {
		return ""
	}
	return h.String()
}

// termsOf reads the terms for --json, under the names that they have in the text. What comes here was parsed strictly before.
func termsOf(text []byte) (map[string]any, error) {
	_, body, _ := strings.Cut(string(text), "\n")
	for _, section := range []string{"--- policy\n", "--- prose\n"} {
		if at := strings.Index("\n"+body, "\n"+section); at >= 0 {
			body = body[:at]
		}
	}
	var terms map[string]any
	if err := toml.Unmarshal([]byte(body), &terms); err != nil {
		return nil, fmt.Errorf("read terms: %w", err)
	}
	return terms, nil
}

func (p *program) showInspected(about inspected) error {
	if p.json {
		return p.emit(about)
	}
	p.fields(field{"file", about.File}, field{"kind", about.Kind}, field{"sha256", about.Hash}, field{"fingerprint", about.Fingerprint},
		field{"signed by", strings.Join(about.SignedBy, ", ")}, field{"missing", strings.Join(about.Missing, ", ")},
		field{"verified", verification(about.Verified, about.Verification)})
	p.printf("\n")
	cut := false
	for line := range strings.Lines(about.text) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > widest {
			line, cut = strings.ToValidUTF8(line[:widest-1], "")+"…", true
		}
		p.printf("%s\n", line)
	}
	if cut {
		p.note("Long lines are cut here; they stand in the file in full.\n")
	}
	return nil
}

func verification(ok bool, says string) styled {
	if ok {
		return styled(good.Render(plain("yes: " + says)))
	}
	return styled(wait.Render(plain("nothing: " + says)))
}

func (p *program) inspectFounding(f *node.Founding, path string) error {
	const says = "the cards are signed by their own keys and fit the charter; signatures under the charter were not verified, which adopting does"
	if p.json {
		founders := make([]founderJSON, len(f.Founders))
		for i, m := range f.Founders {
			founders[i] = founderJSON{m.Name, m.Address, m.Jurisdiction, m.Fingerprint, m.Signed}
		}
		return p.emit(struct {
			File         string        `json:"file"`
			Kind         string        `json:"kind"`
			Alliance     string        `json:"alliance"`
			Hash         string        `json:"sha256"`
			Verified     bool          `json:"verified"`
			Verification string        `json:"verification"`
			Founders     []founderJSON `json:"founders"`
		}{path, "founding file", f.Charter.Terms.Alliance, f.Charter.Hash.String(), false, says, founders})
	}
	p.fields(field{"kind", "founding file"}, field{"sha256", f.Charter.Hash.String()}, field{"verified", verification(false, says)})
	return p.showFounding(f, path)
}
