package evidence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// The claims about an exchange, in the order in which a bundle names them.
const (
	ClaimReleased      = "released"
	ClaimStored        = "stored"
	ClaimDelivered     = "delivered"
	ClaimRefused       = "refused"
	ClaimOpened        = "opened"
	ClaimUndecryptable = "undecryptable"
	ClaimExpired       = "expired"
	ClaimContent       = "content"
)

// saltField is the private field of a leaf `released` that holds the salt of the content's commitment. docs/formats/leaf.md
const saltField = "salt"

// answer is a kind of receipt, with the leaf of the recipient that belongs to it and that of the sender.
type answer struct {
	claim      string
	receipt    statement.ReceiptKind
	ours, sent statement.EventKind
}

var answers = []answer{
	{ClaimStored, statement.Stored, statement.EventReceived, statement.EventDelivered},
	{ClaimRefused, statement.Refused, statement.EventRefused, statement.EventReturned},
	{ClaimOpened, statement.Opened, statement.EventOpened, statement.EventConfirmed},
	{ClaimUndecryptable, statement.Undecryptable, statement.EventUndecryptable, statement.EventConfirmed},
}

// inquiry is a bundle about an exchange under verification. The first four come from signed texts.
type inquiry struct {
	*trust
	manifest  *statement.Signed[statement.Manifest]
	agreement *statement.Signed[statement.Agreement] // nil if it is not in the file
	receipts  map[statement.ReceiptKind]*statement.Signed[statement.Receipt]
	to        string

	leaves []*proved
	used   map[*proved]bool
	v      *Verdict
}

// exchange verifies a bundle about an exchange.
func (t *trust) exchange(b *Bundle, o Options, v *Verdict) error {
	if b.Fork != nil || b.Reconciliation != nil {
		return fmt.Errorf("it has parts that are not about an exchange")
	}
	x := &inquiry{trust: t, to: b.Recipient, receipts: map[statement.ReceiptKind]*statement.Signed[statement.Receipt]{}, used: map[*proved]bool{}, v: v}
	if err := x.openManifest(b); err != nil {
		return err
	}
	for _, step := range []func(*Bundle) error{x.openAgreement, x.openReceipts, x.openLeaves, x.judgeKeys} {
		if err := step(b); err != nil {
			return err
		}
	}
	claims, err := x.claim(b)
	if err != nil {
		return err
	}
	v.Claims = claims
	names := make([]string, len(claims))
	for i, c := range claims {
		names[i] = c.Claim
	}
	if !slices.Equal(names, b.Claims) {
		return fmt.Errorf("%w: it claims [%s], and what it holds proves [%s]", errClaims, strings.Join(b.Claims, " "), strings.Join(names, " "))
	}
	x.caveats()
	x.anchors()
	return x.content(b, o)
}

func (x *inquiry) openManifest(b *Bundle) (err error) {
	if hash, err := statement.HashOf(b.Manifest); err != nil || hash != b.About {
		return fmt.Errorf("the manifest is not the one that the file is about")
	}
	if x.manifest, err = statement.Open[statement.Manifest](b.Manifest, x.h.AllVerifiers()); err != nil {
		return err
	}
	m := x.manifest.Terms
	if !x.h.Knows(m.Charter) {
		return fmt.Errorf("the manifest names charter %s, which is not in the file", m.Charter.Short())
	}
	x.since, x.parties = m.Charter, []string{m.From, x.to}
	x.v.Exchange = &Exchange{From: m.From, To: x.to, ID: m.ID, Manifest: x.manifest.Hash, Agreement: m.Agreement, AgreementHash: m.AgreementHash,
		Purpose: m.Purpose, Label: m.Label, Created: m.Created, ReleasedBy: m.ReleasedBy, ApprovedBy: m.Approval.By, ApprovedAt: m.Approval.At}
	return nil
}

func (x *inquiry) openAgreement(b *Bundle) (err error) {
	if b.Agreement == nil {
		return nil
	}
	if hash, err := statement.HashOf(b.Agreement); err != nil || hash != x.manifest.Terms.AgreementHash {
		return fmt.Errorf("the agreement is not the one that the manifest names")
	}
	if x.agreement, err = statement.Open[statement.Agreement](b.Agreement, x.h.AllVerifiers()); err != nil {
		return err
	}
	if x.agreement.Terms.Name != x.manifest.Terms.Agreement || x.agreement.Terms.Alliance != x.h.Alliance() {
		return fmt.Errorf("the agreement is not the one that the manifest names")
	}
	return nil
}

func (x *inquiry) openReceipts(b *Bundle) error {
	for _, part := range b.Receipts {
		r, err := statement.Open[statement.Receipt](part.Raw, x.h.AllVerifiers(x.to))
		if err != nil {
			return err
		}
		t, m := r.Terms, x.manifest.Terms
		if t.Kind != part.Kind || t.Manifest != x.manifest.Hash || t.From != x.to || t.To != m.From || t.ID != m.ID {
			return fmt.Errorf("the receipt %.40q is about another exchange, or of another kind", part.Kind)
		}
		x.receipts[t.Kind] = r
	}
	// Whom the manifest does not name can have done one thing with it: refuse it.
	if !slices.Contains(x.manifest.Terms.To, x.to) && (len(x.receipts) != 1 || x.receipts[statement.Refused] == nil) {
		return fmt.Errorf("%.40q is not among the recipients in the manifest, and did not refuse it", x.to)
	}
	return nil
}

// openLeaves checks the proofs of all leaves, and that each is about this exchange.
func (x *inquiry) openLeaves(b *Bundle) error {
	if len(b.Leaves) > 2*limit.ExchangeLeaves {
		return fmt.Errorf("it has %d leaves, at most %d are allowed", len(b.Leaves), 2*limit.ExchangeLeaves)
	}
	for _, l := range b.Leaves {
		p, err := x.prove(l, x.concerns)
		if err != nil {
			return err
		}
		x.leaves = append(x.leaves, p)
	}
	return nil
}

// concerns tells whether a leaf is about this exchange, in the words of its owner's role.
func (x *inquiry) concerns(owner string, l statement.Leaf) bool {
	m := x.manifest.Terms
	if l.Kind == statement.EventAgreement {
		return slices.Contains(x.parties, owner) && l.Statement != nil && *l.Statement == m.AgreementHash
	}
	if l.Manifest == nil || *l.Manifest != x.manifest.Hash || l.ID != m.ID {
		return false
	}
	switch l.Kind {
	case statement.EventReleased:
		return owner == m.From && slices.Equal(l.Peers, m.To)
	case statement.EventDelivered, statement.EventReturned, statement.EventConfirmed, statement.EventExpired:
		return owner == m.From && slices.Equal(l.Peers, []string{x.to})
	case statement.EventReceived, statement.EventRefused, statement.EventOpened, statement.EventUndecryptable:
		return owner == x.to && slices.Equal(l.Peers, []string{m.From})
	}
	return false
}

// judgeKeys judges every key that signed by witnessed time.
func (x *inquiry) judgeKeys(*Bundle) error {
	var about, agreed []*proved
	for _, p := range x.leaves {
		if p.leaf.Kind != statement.EventAgreement {
			about = append(about, p)
		}
		agreed = append(agreed, p) // the manifest names the agreement, so whoever saw the one knew the other's hash
	}
	if err := x.signedInTime("the manifest", x.manifest.By, about); err != nil {
		return err
	}
	for _, a := range answers {
		r := x.receipts[a.receipt]
		if r == nil {
			continue
		}
		if err := x.signedInTime(fmt.Sprintf("the receipt %q", a.receipt), r.By, x.leavesOf(r, a.ours, a.sent)); err != nil {
			return err
		}
	}
	if x.agreement == nil {
		return nil
	}
	return x.signedInTime("the agreement", x.agreement.By, agreed)
}

// leavesOf gives the leaves that vouch for a receipt: the recipient's at the place that the receipt names, and the sender's that
// names the receipt.
func (x *inquiry) leavesOf(r *statement.Signed[statement.Receipt], ours, sent statement.EventKind) []*proved {
	var list []*proved
	for _, p := range x.leaves {
		l := p.leaf
		own := l.Kind == ours && p.Log == r.Terms.Log && p.Witnessed.Leaf == r.Terms.Leaf
		if own && r.Terms.Kind == statement.Refused {
			own = slices.Equal(l.Rules, rules(r.Terms.Reasons))
		}
		if own || l.Kind == sent && l.Receipt != nil && *l.Receipt == r.Hash {
			list = append(list, p)
		}
	}
	return list
}

// rules are the reasons of a refusal as its leaf names them.
func rules(reasons []statement.Reason) []string {
	list := make([]string, len(reasons))
	for i, r := range reasons {
		list[i] = r.Set + "/" + r.Rule
	}
	return list
}

// claim finds out what is proved, and refuses whatever serves no claim.
func (x *inquiry) claim(b *Bundle) ([]Claim, error) {
	m := x.manifest.Terms
	var list []Claim
	add := func(c Claim, leaves ...*proved) {
		for _, p := range leaves {
			x.used[p] = true
			c.Leaves = append(c.Leaves, p.Witnessed)
			if !p.Since.IsZero() && (c.Since.IsZero() || p.Since.Before(c.Since)) {
				c.Since = p.Since
			}
		}
		list = append(list, c)
	}
	if l := x.of(statement.EventReleased); len(l) > 0 {
		add(Claim{Claim: ClaimReleased, Statement: x.manifest.Hash, SignedBy: x.manifest.By,
			Says: fmt.Sprintf("%s signed the manifest of this document for %s, and its log says that it released it.", m.From, strings.Join(m.To, ", "))}, l...)
	}
	for _, a := range answers {
		r := x.receipts[a.receipt]
		if r == nil {
			continue
		}
		leaves := x.leavesOf(r, a.ours, a.sent)
		if len(leaves) == 0 {
			return nil, fmt.Errorf("no leaf vouches for the receipt %q", a.receipt)
		}
		add(Claim{Claim: a.claim, Statement: r.Hash, SignedBy: r.By, Reasons: r.Terms.Reasons, Says: x.says(a.receipt)}, leaves...)
		if l := x.of(statement.EventDelivered); a.receipt == statement.Stored && len(l) > 0 {
			add(Claim{Claim: ClaimDelivered, Says: fmt.Sprintf("%s's log says that the receipt `stored` of %s came back.", m.From, x.to)}, l...)
		}
	}
	if l := x.of(statement.EventExpired); len(l) > 0 {
		gaveUp := l[0].leaf.GaveUp()
		if !gaveUp && (l[0].leaf.Time.Before(m.DeliverBy) || !l[0].Since.IsZero() && l[0].Since.Add(limit.ClockSkew).Before(m.DeliverBy)) {
			return nil, fmt.Errorf("the leaf `expired` is from before the time until which the document could be delivered")
		}
		says := fmt.Sprintf("%s's log says that no receipt of %s had come when the time for delivery, %s, was over.", m.From, x.to, m.DeliverBy.Format(time.RFC3339))
		if gaveUp {
			says = fmt.Sprintf("%s's log says that somebody gave the delivery to %s up on %s, when no receipt of it had come; it is committed to who and why.", m.From, x.to, l[0].leaf.Time.Format(time.RFC3339))
		}
		add(Claim{Claim: ClaimExpired, Says: says}, l...)
	}
	if len(b.Opened) > 0 {
		add(Claim{Claim: ClaimContent, Says: fmt.Sprintf("%s opened its commitment to the content: whoever has the document and its name can compare.", m.From)})
	}
	return list, x.allUsed()
}

// of gives the leaves of one kind.
func (x *inquiry) of(kind statement.EventKind) []*proved {
	var list []*proved
	for _, p := range x.leaves {
		if p.leaf.Kind == kind {
			list = append(list, p)
		}
	}
	return list
}

// allUsed refuses leaves that serve no claim, and two that say the same.
func (x *inquiry) allUsed() error {
	type fact struct {
		owner   string
		kind    statement.EventKind
		receipt statement.Hash
	}
	seen := map[fact]bool{}
	for _, p := range x.leaves {
		f := fact{owner: p.owner, kind: p.leaf.Kind}
		if p.leaf.Receipt != nil {
			f.receipt = *p.leaf.Receipt
		}
		if seen[f] {
			return fmt.Errorf("two leaves of %s say %q about this exchange", p.owner, f.kind)
		}
		seen[f] = true
		if !x.used[p] && f.kind != statement.EventAgreement {
			return fmt.Errorf("leaf %d of %s, %q, belongs to no claim", p.Witnessed.Leaf, p.Log, f.kind)
		}
		if f.receipt.IsZero() {
			continue
		}
		if !slices.ContainsFunc(answers, func(a answer) bool {
			return a.sent == f.kind && x.receipts[a.receipt] != nil && x.receipts[a.receipt].Hash == f.receipt
		}) {
			return fmt.Errorf("leaf %d of %s names a receipt that is not in the file", p.Witnessed.Leaf, p.Log)
		}
	}
	return nil
}

func (x *inquiry) says(kind statement.ReceiptKind) string {
	return map[statement.ReceiptKind]string{
		statement.Stored:        x.to + " signed that it has the document, complete and as the manifest says, that its key opens the header, and that its policy accepts it.",
		statement.Refused:       x.to + " signed that it refused the document, for the reasons given.",
		statement.Opened:        x.to + " signed that the document was opened for the first time, by a person who was entitled to.",
		statement.Undecryptable: x.to + " signed that the document was to be opened and is not what its manifest says, and that nothing of it was released.",
	}[kind]
}
