package evidence

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/txtar"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Kind says what a bundle is about.
type Kind string

// The kinds of bundle.
const (
	KindExchange       Kind = "exchange"       // one manifest to one recipient
	KindFork           Kind = "fork"           // a log that contradicts itself
	KindDisclosure     Kind = "disclosure"     // one leaf, and private fields of it
	KindReconciliation Kind = "reconciliation" // what two logs say about each other
)

// Bundle is an evidence file taken apart. Nothing in it is verified.
type Bundle struct {
	Kind    Kind
	Charter statement.Hash // the founding charter
	// About is what it is about: the hash of the manifest, of the fork's text, of the leaf's bytes, or of the reconciliation.
	About     statement.Hash
	Recipient string // of an exchange; empty otherwise
	Claims    []string

	Founding       []byte
	Amendments     [][]byte // by version, then hash
	Cards          []Card
	Agreement      []byte
	Manifest       []byte
	Receipts       []Receipt
	Leaves         []Leaf
	Opened         []Opening
	Fork           []byte
	Reconciliation []byte
}

// Card is a member's card of one version.
type Card struct {
	Member  string
	Version int64
	Raw     []byte
}

// Receipt is a signed receipt of one kind.
type Receipt struct {
	Kind statement.ReceiptKind
	Raw  []byte
}

// Leaf is a leaf as it is hashed, with a C2SP tlog-proof.
type Leaf struct {
	Origin string // the log, MEMBER/log/N
	Index  int64
	Raw    []byte
	Proof  []byte
}

// Opening is a private field of a leaf.
type Opening struct {
	Origin string
	Index  int64
	statement.Committed
}

const headLine = "entente.example/evidence/v1"

// Render writes the bundle in its one spelling: a txtar text, whose files stand in a fixed order. It sorts what has an order. An
// error means that the bundle has no spelling: something is missing, too long or there twice.
func (b *Bundle) Render() ([]byte, error) {
	files, err := b.files()
	if err != nil {
		return nil, fmt.Errorf("render evidence: %w", err)
	}
	a, seen := &txtar.Archive{}, map[string]bool{}
	for _, f := range files {
		if seen[f.Name] {
			return nil, fmt.Errorf("render evidence: %.120q is there twice", f.Name)
		}
		seen[f.Name] = true
		if len(f.Data) == 0 || f.Data[len(f.Data)-1] != '\n' {
			return nil, fmt.Errorf("render evidence: %.120q does not end with a line feed", f.Name)
		}
		if hasMarker(f.Data) {
			f.Name, f.Data = f.Name+encoded, wrap(f.Data)
		}
		a.Files = append(a.Files, f)
	}
	raw := txtar.Format(a)
	if len(raw) > limit.Evidence {
		return nil, fmt.Errorf("render evidence: it would have %d bytes, at most %d are allowed", len(raw), limit.Evidence)
	}
	return raw, nil
}

// files lists the parts in their order.
func (b *Bundle) files() ([]txtar.File, error) {
	var list []txtar.File
	add := func(data []byte, format string, args ...any) {
		if data != nil {
			list = append(list, txtar.File{Name: fmt.Sprintf(format, args...), Data: data})
		}
	}
	add(b.head(), "evidence")
	add(b.Founding, "charter")
	for i, raw := range b.Amendments {
		add(raw, "amendments/%d", i+1)
	}
	slices.SortStableFunc(b.Cards, func(a, b Card) int { return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Version, b.Version)) })
	for _, c := range b.Cards {
		add(c.Raw, "cards/%s/%d", c.Member, c.Version)
	}
	add(b.Agreement, "agreement")
	add(b.Manifest, "manifest")
	slices.SortStableFunc(b.Receipts, func(a, b Receipt) int { return cmp.Compare(a.Kind, b.Kind) })
	for _, r := range b.Receipts {
		add(r.Raw, "receipts/%s", r.Kind)
	}
	slices.SortStableFunc(b.Leaves, func(a, b Leaf) int { return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Index, b.Index)) })
	for _, l := range b.Leaves {
		add(append(bytes.Clone(l.Raw), '\n'), "leaves/%s/%d", l.Origin, l.Index)
		add(l.Proof, "proofs/%s/%d", l.Origin, l.Index)
	}
	slices.SortStableFunc(b.Opened, func(a, b Opening) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Field, b.Field))
	})
	for _, o := range b.Opened {
		add(o.text(), "opened/%s/%d/%s", o.Origin, o.Index, o.Field)
	}
	add(b.Fork, "fork")
	add(b.Reconciliation, "reconciliation")
	if len(list) > limit.EvidenceFiles {
		return nil, fmt.Errorf("it has %d parts, at most %d are allowed", len(list), limit.EvidenceFiles)
	}
	return list, nil
}

// head is the part `evidence`: what the bundle is about, and what it claims.
func (b *Bundle) head() []byte {
	var t strings.Builder
	fmt.Fprintf(&t, "%s\nkind = %q\ncharter_sha256 = %q\nabout_sha256 = %q\n", headLine, b.Kind, b.Charter, b.About)
	if b.Recipient != "" {
		fmt.Fprintf(&t, "recipient = %q\n", b.Recipient)
	}
	quoted := make([]string, len(b.Claims))
	for i, c := range b.Claims {
		quoted[i] = strconv.Quote(c)
	}
	fmt.Fprintf(&t, "claims = [%s]\n", strings.Join(quoted, ", "))
	return []byte(t.String())
}

func (o Opening) text() []byte {
	return fmt.Appendf(nil, "salt %x\nvalue %s\n", o.Salt, base64.StdEncoding.EncodeToString(o.Value))
}

// Parse takes an evidence file apart. It must be its own rendering, so that no text has two meanings, and no byte has none. It
// verifies nothing.
func Parse(raw []byte) (*Bundle, error) {
	if len(raw) > limit.Evidence {
		return nil, fmt.Errorf("read evidence: it has %d bytes, at most %d are allowed", len(raw), limit.Evidence)
	}
	if !bytes.HasPrefix(raw, []byte("-- evidence --\n"+headLine+"\n")) {
		return nil, fmt.Errorf("read evidence: it does not begin with a part %q whose first line is %q", "evidence", headLine)
	}
	if n := bytes.Count(raw, []byte("\n-- ")); n >= limit.EvidenceFiles {
		return nil, fmt.Errorf("read evidence: it has more than %d parts", limit.EvidenceFiles)
	}
	b := &Bundle{}
	for _, f := range txtar.Parse(raw).Files {
		if err := b.take(f); err != nil {
			return nil, fmt.Errorf("read evidence: part %.120q: %w", f.Name, err)
		}
	}
	again, err := b.Render()
	if err != nil {
		return nil, fmt.Errorf("read evidence: %w", err)
	}
	if at := differ(again, raw); at > 0 {
		return nil, fmt.Errorf("read evidence: line %d is not in the one spelling", at)
	}
	return b, nil
}

// differ gives the number of the first line in which two texts differ, or 0.
func differ(a, b []byte) int {
	if bytes.Equal(a, b) {
		return 0
	}
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return 1 + bytes.Count(b[:n], []byte("\n"))
}

var errUnknown = errors.New("no evidence has such a part")

// take puts one part where it belongs.
func (b *Bundle) take(f txtar.File) error {
	name, data := f.Name, f.Data
	if plain, ok := strings.CutSuffix(name, encoded); ok {
		var err error
		if data, err = unwrap(data); err != nil {
			return err
		}
		name = plain
	}
	if name == "evidence" {
		return b.takeHead(data)
	}
	if to, ok := map[string]*[]byte{"charter": &b.Founding, "agreement": &b.Agreement, "manifest": &b.Manifest, "fork": &b.Fork,
		"reconciliation": &b.Reconciliation}[name]; ok {
		*to = data
		return nil
	}
	folder, rest, _ := strings.Cut(name, "/")
	switch folder {
	case "amendments":
		b.Amendments = append(b.Amendments, data)
		return nil
	case "cards":
		member, version, err := numbered(rest)
		b.Cards = append(b.Cards, Card{member, version, data})
		return err
	case "receipts":
		b.Receipts = append(b.Receipts, Receipt{statement.ReceiptKind(rest), data})
		return nil
	case "leaves":
		origin, index, err := numbered(rest)
		b.Leaves = append(b.Leaves, Leaf{Origin: origin, Index: index, Raw: bytes.TrimSuffix(data, []byte("\n"))})
		return err
	case "proofs":
		if len(b.Leaves) == 0 || b.Leaves[len(b.Leaves)-1].Proof != nil {
			return errors.New("its leaf does not stand before it")
		}
		b.Leaves[len(b.Leaves)-1].Proof = data
		return nil
	case "opened":
		return b.takeOpening(rest, data)
	}
	return errUnknown
}

// numbered splits NAME/N.
func numbered(s string) (name string, n int64, err error) {
	at := strings.LastIndexByte(s, '/')
	if at < 0 {
		return "", 0, errUnknown
	}
	n, err = strconv.ParseInt(s[at+1:], 10, 64)
	if err != nil || n < 0 {
		return "", 0, fmt.Errorf("%.40q is no number", s[at+1:])
	}
	return s[:at], n, nil
}

func (b *Bundle) takeOpening(rest string, data []byte) error {
	at := strings.LastIndexByte(rest, '/')
	if at < 0 {
		return errUnknown
	}
	origin, index, err := numbered(rest[:at])
	if err != nil {
		return err
	}
	o := Opening{Origin: origin, Index: index, Committed: statement.Committed{Field: rest[at+1:]}}
	lines := strings.Split(string(data), "\n")
	if len(lines) != 3 {
		return errors.New("it must be a line salt and a line value")
	}
	salt, err := hex.DecodeString(strings.TrimPrefix(lines[0], "salt "))
	if err != nil || len(salt) != len(o.Salt) {
		return errors.New("the salt must be 64 hex digits")
	}
	o.Salt = [32]byte(salt)
	if o.Value, err = base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(lines[1], "value ")); err != nil || len(o.Value) > limit.Private {
		return fmt.Errorf("the value must be base64 of at most %d bytes", limit.Private)
	}
	b.Opened = append(b.Opened, o)
	return nil
}

// takeHead reads the part `evidence`. That it is in its one spelling shows when it is rendered again.
func (b *Bundle) takeHead(data []byte) error {
	values := map[string]string{}
	for _, l := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")[1:] {
		key, value, ok := strings.Cut(l, " = ")
		if !ok {
			return fmt.Errorf("%.80q is not of the form key = value", l)
		}
		values[key] = value
	}
	word := func(key string) string { return strings.Trim(values[key], `"`) }
	b.Kind, b.Recipient = Kind(word("kind")), word("recipient")
	var err error
	if b.Charter, err = statement.ParseHash(word("charter_sha256")); err != nil {
		return fmt.Errorf("charter_sha256: %w", err)
	}
	if b.About, err = statement.ParseHash(word("about_sha256")); err != nil {
		return fmt.Errorf("about_sha256: %w", err)
	}
	if inner := strings.TrimSuffix(strings.TrimPrefix(values["claims"], "["), "]"); inner != "" {
		for c := range strings.SplitSeq(inner, ", ") {
			b.Claims = append(b.Claims, strings.Trim(c, `"`))
		}
	}
	return nil
}

// encoded is the end of the name of a part that stands there in base64, because a line of it would pass for the beginning of another.
const encoded = ".base64"

// hasMarker tells whether txtar would see the beginning of a file in data, or would not give it back as it is.
func hasMarker(data []byte) bool {
	a := txtar.Parse(data)
	return len(a.Files) > 0 || !bytes.Equal(a.Comment, data)
}

// column is how many characters of base64 stand on a line.
const column = 76

func wrap(data []byte) []byte {
	var out []byte
	for text := base64.StdEncoding.EncodeToString(data); len(text) > 0; {
		n := min(column, len(text))
		out = append(append(out, text[:n]...), '\n')
		text = text[n:]
	}
	return out
}

func unwrap(data []byte) ([]byte, error) {
	out, err := base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(string(data), "\n", ""))
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	return out, nil
}
