package audit

import (
	"errors"
	"fmt"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	"entente.example/internal/store/sqlc"
)

// dossier is everything about one manifest: its leaves, its row, its exchanges, its receipts.
type dossier struct {
	hash     statement.Hash
	name     string                                // for reports
	manifest *statement.Signed[statement.Manifest] // nil if there is none that is sound
	course   course
	facts    map[fact]*entry
	order    []fact                 // the keys of facts, oldest first
	states   map[string]store.State // recipient → what the newest leaf about that exchange makes of it
	fresh    bool                   // the document came with a leaf that is read for the first time
}

// fact is what a leaf and a row have in common.
type fact struct {
	kind statement.EventKind
	hash statement.Hash // of the manifest, or of the receipt of the other side
	peer string         // only where several facts concern the same hash
}

// entry is a leaf that some row must belong to.
type entry struct {
	statement.Leaf
	index   int64
	matched bool // some row belongs to it
}

// mostFacts bounds the facts of one manifest: for each recipient an end, a receipt of it, and one more; and one more manifest.
const mostFacts = 4 * limit.Recipients

// aboutExchange lists the events of exchanges, which name a manifest.
var aboutExchange = map[statement.EventKind]bool{
	statement.EventReleased: true, statement.EventReceived: true, statement.EventRefused: true, statement.EventOpened: true,
	statement.EventReopened: true, statement.EventUndecryptable: true, statement.EventExpired: true, statement.EventDelivered: true,
	statement.EventReturned: true, statement.EventConfirmed: true,
}

// verifyDossiers goes through all manifests that any row or leaf names.
func (v *homeVerifier) verifyDossiers() {
	row, _ := v.view.Counts() // an error shows again at once
	for hash, err := range v.view.CaseRows(nil) {
		if v.ctx.Err() != nil || v.failed("manifest", err) {
			return
		}
		v.dossier(hash)
		v.progress("exchanges", v.report.Exchanges, row.Exchanges)
	}
}

// dossier verifies what there is about a hash that some row or leaf names as its manifest. What leaves are about may also be an
// adopted statement: then there is nothing to do here.
func (v *homeVerifier) dossier(hash []byte) {
	d := &dossier{name: fmt.Sprintf("manifest %.6x", hash), facts: map[fact]*entry{}, states: map[string]store.State{}}
	if len(hash) != len(d.hash) {
		v.report.add(d.name, "a hash has %d bytes instead of %d", len(hash), len(d.hash))
		return
	}
	copy(d.hash[:], hash)
	row, err := v.view.ManifestRow(hash)
	there := err == nil
	if !there && !errors.Is(err, store.ErrNotFound) && v.failed(d.name, err) {
		return
	}
	if there {
		v.openManifest(d, row)
	}
	v.verifyCourse(d)
	if d.manifest != nil {
		v.manifest(d, row)
	}
	receipts, err := v.view.ReceiptsOf(hash)
	v.failed(d.name, err)
	for _, r := range receipts {
		v.receipt(d, r)
	}
	if !there {
		v.unknown(d)
	}
	v.unmatched(d)
}

func (v *homeVerifier) openManifest(d *dossier, r sqlc.Manifest) {
	raw, err := v.statement(r.Sha256)
	if v.failed(d.name, err) {
		return
	}
	if d.manifest, err = openWith[statement.Manifest](v, raw); err != nil {
		d.manifest = nil
		v.report.add(d.name, "%v", err)
	}
}

// verifyCourse goes through the leaves about a manifest, oldest first: their order, the decisions behind them, and what they
// say, which rows are compared with later.
func (v *homeVerifier) verifyCourse(d *dossier) {
	for r, err := range v.view.LeavesAbout(d.hash[:], 0) {
		if v.failed(d.name, err) {
			return
		}
		where := fmt.Sprintf("leaf %d", r.Idx)
		l, err := statement.ParseLeaf(r.Body)
		if err != nil || l.Manifest == nil || *l.Manifest != d.hash {
			if r.Idx < v.from {
				v.report.add(where, "it was changed: it is no leaf about manifest %s", d.hash.Short())
			}
			continue // else found where the log was read
		}
		if wrong := d.course.next(l); wrong != "" {
			v.report.add(where, "%s", wrong)
		}
		if r.Idx >= v.from {
			d.fresh = d.fresh || l.Kind == statement.EventReleased || l.Kind == statement.EventReceived
			v.decision(where, r.Idx, l, d.manifest)
		}
		v.remember(d, where, &entry{Leaf: l, index: r.Idx})
	}
}

// remember files a leaf under the fact that it records.
func (v *homeVerifier) remember(d *dossier, where string, e *entry) {
	f := fact{kind: e.Kind, hash: d.hash}
	switch e.Kind {
	case statement.EventDelivered, statement.EventReturned, statement.EventConfirmed:
		if e.Receipt == nil {
			v.report.add(where, "a leaf %q must name the receipt that it is about", e.Kind)
			return
		}
		f.hash = *e.Receipt
	case statement.EventExpired:
		f.peer = onlyPeer(e.Peers)
	case statement.EventReleased, statement.EventReceived, statement.EventRefused, statement.EventOpened, statement.EventUndecryptable:
	default:
		return // denied, reopened: the leaf is all there is
	}
	switch e.Kind {
	case statement.EventExpired:
		d.states[onlyPeer(e.Peers)] = store.Expired
	case statement.EventDelivered:
		d.states[onlyPeer(e.Peers)] = store.Delivered
	case statement.EventReturned:
		d.states[onlyPeer(e.Peers)] = store.Refused
	case statement.EventReceived:
		d.states[v.self] = store.Stored
	case statement.EventRefused:
		d.states[v.self] = store.Refused
	case statement.EventOpened:
		d.states[v.self] = store.Opened
	case statement.EventUndecryptable:
		d.states[v.self] = store.Undecryptable
	}
	if first := d.facts[f]; first != nil {
		v.report.add(where, "it records what leaf %d records", first.index)
		return
	}
	if len(d.order) == mostFacts {
		v.report.add(where, "there are more than %d leaves about manifest %s that rows belong to", mostFacts, d.hash.Short())
		return
	}
	d.facts[f], d.order = e, append(d.order, f)
}

// onlyPeer gives the one peer of a leaf that must have one; several match no row.
func onlyPeer(peers []string) string {
	if len(peers) != 1 {
		return ""
	}
	return peers[0]
}

// take finds the leaf of a fact, once.
func (v *homeVerifier) take(d *dossier, where string, f fact) *entry {
	e := d.facts[f]
	if e == nil {
		v.report.add(where, "the log has no leaf %q about it", f.kind)
		return nil
	}
	if e.matched {
		v.report.add(where, "leaf %d is about another row too", e.index)
	}
	e.matched = true
	return e
}

// unmatched reports the leaves that no row belongs to.
func (v *homeVerifier) unmatched(d *dossier) {
	for _, f := range d.order {
		if e := d.facts[f]; !e.matched {
			v.report.add(fmt.Sprintf("leaf %d", e.index), "it says %q, and the row about that is missing", f.kind)
		}
	}
}

// unknown judges a hash that is no manifest of this home. Only one that was refused because its id was taken has leaves here.
func (v *homeVerifier) unknown(d *dossier) {
	if rows, err := v.view.ExchangesOf(d.hash[:]); !v.failed(d.name, err) && len(rows) > 0 {
		v.report.add(d.name, "there are exchanges of it, and it is missing")
	}
	if !d.course.begun || d.course.refused && d.course.only {
		return
	}
	v.report.add(d.name, "there are leaves about it, and it is missing")
}

// course is how far the exchanges of one manifest have come, leaf by leaf.
type course struct {
	begun                       bool
	only                        bool // there was one leaf
	last                        time.Time
	released, received, refused bool
	opened                      bool
	ended                       map[string]statement.EventKind // recipient → delivered, returned or expired
}

// next takes the next leaf, and says what is wrong with its coming now; "" if nothing is.
func (c *course) next(l statement.Leaf) string {
	c.only, c.begun = !c.begun, true
	wrong := c.step(l)
	if wrong == "" && l.Time.Before(c.last.Add(-limit.ClockSkew)) {
		wrong = fmt.Sprintf("it is dated %s, and a leaf before it about the same manifest %s", l.Time.Format(time.RFC3339), c.last.Format(time.RFC3339))
	}
	if l.Time.After(c.last) {
		c.last = l.Time
	}
	return wrong
}

func (c *course) step(l statement.Leaf) string {
	switch l.Kind {
	case statement.EventReleased:
		c.released = true
	case statement.EventDelivered, statement.EventReturned, statement.EventExpired, statement.EventConfirmed:
		return c.sent(l)
	case statement.EventReceived, statement.EventRefused, statement.EventOpened, statement.EventReopened, statement.EventUndecryptable, statement.EventDenied:
		return c.taken(l)
	}
	return ""
}

// sent is about leaves of the sender.
func (c *course) sent(l statement.Leaf) string {
	if !c.released {
		return fmt.Sprintf("it says %q of a document that was not released before", l.Kind)
	}
	peer := onlyPeer(l.Peers)
	ended := c.ended[peer]
	switch {
	case ended == statement.EventReturned:
		return fmt.Sprintf("it says %q after %s had refused", l.Kind, peer)
	case l.Kind == statement.EventConfirmed && ended == "":
		return fmt.Sprintf("it says %q before the delivery to %s had come to an end", l.Kind, peer)
	case l.Kind == statement.EventConfirmed:
		return ""
	case ended != "":
		return fmt.Sprintf("it says %q, and a leaf before it %q", l.Kind, ended)
	}
	if c.ended == nil {
		c.ended = map[string]statement.EventKind{}
	}
	c.ended[peer] = l.Kind
	return ""
}

// taken is about leaves of the recipient.
func (c *course) taken(l statement.Leaf) string {
	switch {
	case c.refused:
		return fmt.Sprintf("it says %q after the document was refused", l.Kind)
	case l.Kind == statement.EventReceived:
		c.received = true
	case l.Kind == statement.EventRefused && c.received:
		return fmt.Sprintf("it says %q after the document was received", l.Kind)
	case l.Kind == statement.EventRefused:
		c.refused = true
	case !c.received:
		return fmt.Sprintf("it says %q of a document that was not received before", l.Kind)
	case l.Kind == statement.EventReopened && !c.opened:
		return fmt.Sprintf("it says %q of a document that was not opened before", l.Kind)
	case l.Kind == statement.EventOpened:
		c.opened = true
	}
	return ""
}

// standing checks that members were in good standing under the charter that a manifest names.
func (v *homeVerifier) standing(where string, m statement.Manifest, names ...string) {
	switch {
	case v.history == nil: // said already
	case !v.history.Knows(m.Charter):
		v.report.add(where, "it names the charter %s, which is none of this alliance", m.Charter.Short())
	default:
		for _, name := range names {
			if v.history.StandingAt(m.Charter, name) != statement.GoodStanding {
				v.report.add(where, "%s was no member in good standing", name)
			}
		}
	}
}

// overdue notes a document that is still here a day after its retention ended.
func (v *homeVerifier) overdue(where string, m statement.Manifest) {
	if until := m.RetainUntil; v.Now.After(until.Add(24 * time.Hour)) {
		v.report.note(NoteOverdue, where, "it was to be retained until %s, and is still here", until.Format(time.RFC3339))
	}
}
