package statement

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"entente.example/internal/limit"
)

// Reconciliation is what two members found when they compared what their logs say about each other. Both sign it. What is in it
// follows from the leaves of both by one rule, which package evidence computes. See docs/formats/reconciliation.md.
type Reconciliation struct {
	Parties   []string         `toml:"parties"`         // two, sorted
	Alliance  Hash             `toml:"alliance_sha256"` // the founding charter
	Since     time.Time        `toml:"since"`           // of exchanges whose manifests were created from here on
	Until     time.Time        `toml:"until"`           // and before this
	Created   time.Time        `toml:"created"`
	Sides     []Side           `toml:"side"`      // one for each party, in their order
	Open      []ReconciledLeaf `toml:"open"`      // what the other side answers may still be on its way
	Only      []ReconciledLeaf `toml:"only"`      // what the other side has nothing about
	Differing []ReconciledLeaf `toml:"differing"` // what the other side says differently
}

// Side is one party's log as it was then, and how many of its leaves about the other party matched and did not.
type Side struct {
	Member    string `toml:"member"`
	Log       string `toml:"log"`  // its name, MEMBER/log/N
	Size      int64  `toml:"size"` // of its newest checkpoint, in leaves
	Root      Hash   `toml:"root"` // the root of that tree
	Leaves    int64  `toml:"leaves"`
	Matched   int64  `toml:"matched"`
	Open      int64  `toml:"open"`
	Only      int64  `toml:"only"`
	Differing int64  `toml:"differing"`
}

// ReconciledLeaf names one leaf that did not match.
type ReconciledLeaf struct {
	Manifest Hash      `toml:"manifest_sha256"`
	Member   string    `toml:"member"` // in whose log it stands
	Leaf     int64     `toml:"leaf"`   // its index there
	Kind     EventKind `toml:"kind"`
	ID       string    `toml:"id"` // the exchange's
	At       time.Time `toml:"at"` // the leaf's time
}

// Reconciled are the kinds of leaves that a reconciliation compares, sorted: those that say how far an exchange has come.
var Reconciled = []EventKind{EventConfirmed, EventDelivered, EventExpired, EventOpened, EventReceived, EventRefused, EventReleased, EventReturned,
	EventUndecryptable}

func (Reconciliation) kind() Kind { return KindReconciliation }
func (Reconciliation) most() int  { return limit.Reconciliation }

func (r Reconciliation) signers() []string {
	names := make([]string, len(r.Parties))
	for i, p := range r.Parties {
		names[i] = p + "/statement"
	}
	return names
}

func (r Reconciliation) validate() error {
	if err := memberList(r.Parties, 2); err != nil {
		return wrong("parties", "%v", err)
	}
	if len(r.Parties) != 2 {
		return wrong("parties", "must be two")
	}
	if r.Alliance.IsZero() {
		return wrong("alliance_sha256", "names no charter")
	}
	if err := firstError(validTime("since", r.Since), validTime("until", r.Until), validTime("created", r.Created)); err != nil {
		return err
	}
	if !r.Until.After(r.Since) {
		return wrong("until", "is not after since")
	}
	if r.Until.After(r.Created) {
		return wrong("until", "is after created")
	}
	if err := r.validateSides(); err != nil {
		return err // the lists are checked against the sides
	}
	return firstError(r.validateLeaves("open", r.Open, func(s Side) int64 { return s.Open }),
		r.validateLeaves("only", r.Only, func(s Side) int64 { return s.Only }),
		r.validateLeaves("differing", r.Differing, func(s Side) int64 { return s.Differing }))
}

func (r Reconciliation) validateSides() error {
	if len(r.Sides) != 2 {
		return wrong("side", "must be two, one for each party")
	}
	for i, s := range r.Sides {
		bad := func(format string, args ...any) error { return wrongIn(i, "side", format, args...) }
		if s.Member != r.Parties[i] {
			return bad("member is %.80q, expected %q", s.Member, r.Parties[i])
		}
		if err := ValidLog(s.Log, s.Member); err != nil {
			return bad("log: %v", err)
		}
		if s.Size < 1 || s.Root.IsZero() {
			return bad("it names no tree; a log has at least the leaf of its charter")
		}
		if s.Leaves < 0 || s.Leaves > min(s.Size, limit.ReconcileEntries) {
			return bad("it must have between 0 and %d leaves, and not more than are in its log", limit.ReconcileEntries)
		}
		for _, n := range []int64{s.Matched, s.Open, s.Only, s.Differing} {
			if n < 0 || n > s.Leaves {
				return bad("its leaves are counted wrong")
			}
		}
		if s.Matched+s.Open+s.Only+s.Differing != s.Leaves {
			return bad("its leaves are counted wrong")
		}
	}
	return nil
}

// validateLeaves checks one of the lists. It holds the first leaves, and as many as the sides count, up to the limit.
func (r Reconciliation) validateLeaves(table string, list []ReconciledLeaf, count func(Side) int64) error {
	total := count(r.Sides[0]) + count(r.Sides[1])
	if int64(len(list)) != min(total, limit.ReconcileListed) {
		return wrong(table, "the sides count %d, of which the first %d must be listed, not %d", total, min(total, limit.ReconcileListed), len(list))
	}
	listed := map[string]int64{}
	for i, l := range list {
		bad := func(format string, args ...any) error { return wrongIn(i, table, format, args...) }
		side := slices.Index(r.Parties, l.Member)
		if side < 0 {
			return bad("%.80q is not a party", l.Member)
		}
		if listed[l.Member]++; listed[l.Member] > count(r.Sides[side]) {
			return bad("there are more leaves of %s than are counted", l.Member)
		}
		if l.Manifest.IsZero() {
			return bad("it names no manifest")
		}
		if l.Leaf < 0 || l.Leaf >= r.Sides[side].Size {
			return bad("leaf %d is not in the log of %s", l.Leaf, l.Member)
		}
		if !slices.Contains(Reconciled, l.Kind) {
			return bad("kind %.80q is not compared", l.Kind)
		}
		if err := ValidID(l.ID); err != nil {
			return bad("%v", err)
		}
		if err := validTime("at", l.At); err != nil {
			return bad("at is missing, or not in the years %d to %d", firstYear, lastYear)
		}
		if i > 0 && list[i-1].Compare(l) >= 0 {
			return bad("must be sorted by manifest, member and leaf, without repetition")
		}
	}
	return nil
}

// Compare orders leaves by manifest, member and index, as they stand in a reconciliation.
func (l ReconciledLeaf) Compare(o ReconciledLeaf) int {
	return cmp.Or(bytes.Compare(l.Manifest[:], o.Manifest[:]), strings.Compare(l.Member, o.Member), cmp.Compare(l.Leaf, o.Leaf))
}

// Agrees tells whether nothing differs and nobody has a leaf that the other side knows nothing about. What is open may still
// be on its way.
func (r Reconciliation) Agrees() bool {
	for _, s := range r.Sides {
		if s.Only > 0 || s.Differing > 0 {
			return false
		}
	}
	return len(r.Sides) == 2
}
