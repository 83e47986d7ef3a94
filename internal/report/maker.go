package report

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Subject is what an event is about: a document, as its manifest has it, or as a person wanted to release it.
type Subject struct {
	Manifest    statement.Hash // zero if it was never signed
	ID          string
	From        string
	Version     int64 // of the agreement
	Label       string
	Purpose     string
	Created     time.Time
	DeliverBy   time.Time
	RetainUntil time.Time
	Size        int64
	ReleasedBy  string // who released it, without what stands before the name
	Breach      string // in which way it is outside the agreement's terms; empty if it is not
}

// Event is a leaf of the period, with what the leaf itself only names by hash or commits to.
type Event struct {
	Index   int64
	Leaf    statement.Leaf
	Subject *Subject              // nil if it is not about a document
	Receipt statement.ReceiptKind // of the receipt that the leaf names, where that was read
	Person  string                // who acted, where that is known
	Text    string                // why, for people
}

// Maker makes a report out of events. It is for one goroutine.
type Maker struct {
	r       Report
	kinds   map[statement.EventKind]int64
	classes map[ClassName]*found
	days    []Day
	entries map[key]int // index in r.Listed
	counted map[key]struct{}
	tallies [3]tally // by peer, label, purpose
}

// found is the exceptions of one class.
type found struct {
	count int64
	list  []Exception
}

// key stands for an exchange: so much of a SHA-256 that nobody finds two exchanges with one key.
type key [16]byte

func keyOf(manifest statement.Hash, to string) (k key) {
	sum := sha256.Sum256(append(manifest[:], to...))
	copy(k[:], sum[:])
	return k
}

// New begins a report. What r says about member, period, agreements, members and log is kept. From must be before To, and at
// most limit.ReportDays days before it.
func New(r Report) *Maker {
	r.Format = Format
	r.AsOf = r.To
	if r.Made.Before(r.AsOf) {
		r.AsOf = r.Made
	}
	m := &Maker{r: r, kinds: map[statement.EventKind]int64{}, classes: map[ClassName]*found{}, entries: map[key]int{}, counted: map[key]struct{}{}}
	for i := range m.tallies {
		m.tallies[i].rows = map[string]*Counts{}
	}
	for day := r.From.UTC().Truncate(24 * time.Hour); day.Before(r.To); day = day.AddDate(0, 0, 1) {
		m.days = append(m.days, Day{Date: day.Format(time.DateOnly)})
	}
	return m
}

// ErrTooMany says that the period holds more exchanges than can be counted one by one, limit.ReportCounted.
var ErrTooMany = fmt.Errorf("more than %d exchanges are in the period", limit.ReportCounted)

// Add takes the next leaf, in the order of the log. Leaves outside the period, and rejections of members that are no party,
// are passed over. The error is ErrTooMany.
func (m *Maker) Add(e Event) error {
	l := e.Leaf
	if l.Time.Before(m.r.From) || !l.Time.Before(m.r.To) {
		return nil
	}
	if l.Kind == statement.EventRejected && !slices.ContainsFunc(l.Peers, m.party) {
		return nil
	}
	m.kinds[l.Kind]++
	m.count(e)
	class, text := classify(e)
	if class == "" && e.Subject == nil {
		return nil
	}
	var touched []int
	if e.Subject != nil && !e.Subject.Manifest.IsZero() {
		var err error
		if touched, err = m.touch(e); err != nil {
			return err
		}
	}
	if class != "" {
		m.leafException(e, class, text, touched)
	}
	if class, text := also(e); class != "" {
		m.leafException(e, class, text, touched)
	}
	return nil
}

func (m *Maker) party(name string) bool {
	return slices.ContainsFunc(m.r.Agreements, func(a Agreement) bool { return slices.Contains(a.Parties, name) })
}

// touch enters a leaf into the exchanges that it is about, and gives the indexes of those that are listed.
func (m *Maker) touch(e Event) (touched []int, err error) {
	for _, to := range m.recipients(e) {
		k := keyOf(e.Subject.Manifest, to)
		i, listed := m.entries[k]
		if _, known := m.counted[k]; !known {
			if len(m.counted) == limit.ReportCounted {
				return nil, ErrTooMany
			}
			m.counted[k] = struct{}{}
			if len(m.r.Listed) < limit.ReportExchanges {
				i, listed = len(m.r.Listed), true
				m.entries[k] = i
				m.r.Listed = append(m.r.Listed, m.entry(e.Subject, to, k))
			}
		}
		if !listed {
			continue
		}
		touched = append(touched, i)
		entry := &m.r.Listed[i]
		if len(entry.Leaves) < limit.ReportLeaves {
			entry.Leaves = append(entry.Leaves, Leaf{e.Index, e.Leaf.Kind, e.Leaf.Time})
		} else {
			entry.LeavesMore++
		}
		if m.r.Persons && e.Leaf.Kind == statement.EventOpened {
			entry.OpenedBy = e.Person
		}
	}
	return touched, nil
}

// recipients are the recipients of the exchanges that a leaf is about: at the sender the leaf names them, at a recipient it
// is about its own.
func (m *Maker) recipients(e Event) []string {
	if e.Subject.From == m.r.Member {
		return e.Leaf.Peers
	}
	return []string{m.r.Member}
}

func (m *Maker) entry(s *Subject, to string, k key) Entry {
	e := Entry{Exchange: s.From + "/" + s.ID + "/" + to, Direction: "sent", Peer: to, Version: s.Version, Label: s.Label, Purpose: s.Purpose,
		Created: s.Created, DeliverBy: s.DeliverBy, RetainUntil: s.RetainUntil, Size: s.Size, Manifest: s.Manifest.String(), Exceptions: []ClassName{}, key: k}
	if s.From != m.r.Member {
		e.Direction, e.Peer = "received", s.From
		// A manifest whose id was taken before is refused, and has no exchange of its own in the database.
		e.State = string(statement.Refused)
	}
	if m.r.Persons {
		e.ReleasedBy = s.ReleasedBy
	}
	return e
}

// classify says which exception a leaf's kind is, or none.
func classify(e Event) (ClassName, string) {
	switch e.Leaf.Kind {
	case statement.EventDenied:
		return Denied, "not permitted to " + e.Leaf.Stage + because(e.Text)
	case statement.EventRefused:
		return Refused, "refused" + because(e.Text)
	case statement.EventReturned:
		return Returned, "refused by its recipient" + because(e.Text)
	case statement.EventExpired:
		if e.Leaf.GaveUp() {
			return Expired, "given up before a receipt came" + because(e.Text)
		}
		return Expired, "no receipt until " + instant(e.Subject.DeliverBy)
	case statement.EventUndecryptable:
		return Undecryptable, "could not be opened here" + because(e.Text)
	case statement.EventConfirmed:
		if e.Receipt == statement.Undecryptable {
			return Undecryptable, "its recipient could not open it"
		}
	case statement.EventRejected:
		return Rejected, "a bad request" + because(e.Text)
	case statement.EventReleased, statement.EventReceived:
		if e.Subject.Breach != "" {
			return Outside, e.Subject.Breach
		}
	}
	return "", ""
}

// also says which deadline a leaf is behind, beside whatever else it is. Clocks of honest members may differ by limit.ClockSkew.
func also(e Event) (ClassName, string) {
	late := func(deadline time.Time) bool { return e.Leaf.Time.After(deadline.Add(limit.ClockSkew)) }
	switch e.Leaf.Kind {
	case statement.EventReceived, statement.EventDelivered:
		if late(e.Subject.DeliverBy) {
			return Late, string(e.Leaf.Kind) + " after " + instant(e.Subject.DeliverBy) + ", its deadline for delivery"
		}
	case statement.EventOpened, statement.EventReopened:
		if late(e.Subject.RetainUntil) {
			return Late, "opened after " + instant(e.Subject.RetainUntil) + ", until when it was to be kept"
		}
	}
	return "", ""
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// leafException enters an exception that a leaf records.
func (m *Maker) leafException(e Event, class ClassName, text string, touched []int) {
	x := Exception{Class: class, At: e.Leaf.Time, ID: e.Leaf.ID, Peers: e.Leaf.Peers, Text: text, Leaf: &e.Index}
	if m.r.Persons {
		x.Person = e.Person
	}
	if class != Late && class != Outside { // for these the rules of the leaf are those that permitted
		x.Rules = e.Leaf.Rules
	}
	if s := e.Subject; s != nil {
		x.Label, x.Purpose = s.Label, s.Purpose
		if to := m.recipients(e); !s.Manifest.IsZero() && len(to) == 1 {
			x.Exchange = s.From + "/" + s.ID + "/" + to[0]
		}
	}
	for _, i := range touched {
		m.r.Listed[i].mark(class)
	}
	m.except(x)
}

// mark is for lists of two or three.
func (e *Entry) mark(class ClassName) {
	if !slices.Contains(e.Exceptions, class) {
		e.Exceptions = append(e.Exceptions, class)
	}
}

// except counts an exception, and lists it while its class has room: so a flood of one kind does not hide the others.
func (m *Maker) except(x Exception) {
	c := m.classes[x.Class]
	if c == nil {
		c = &found{}
		m.classes[x.Class] = c
	}
	c.count++
	if len(c.list) < limit.ReportExceptions {
		c.list = append(c.list, x)
	}
	m.r.Totals.Exceptions++
	if d := m.day(x.At); d != nil {
		d.Exceptions++
	}
	for _, p := range x.Peers {
		m.tallies[0].of(p).Exceptions++
	}
	if x.Label != "" {
		m.tallies[1].of(x.Label).Exceptions++
	}
	if x.Purpose != "" {
		m.tallies[2].of(x.Purpose).Exceptions++
	}
}

// day finds the day of a time, or nil outside the period.
func (m *Maker) day(t time.Time) *Day {
	if t.Before(m.r.From) || !t.Before(m.r.To) {
		return nil
	}
	return &m.days[int(t.Sub(m.r.From.UTC().Truncate(24*time.Hour))/(24*time.Hour))]
}

// count counts what a leaf says was done.
func (m *Maker) count(e Event) {
	which := counter(e)
	if e.Subject == nil || which == nil {
		return
	}
	switch d := m.day(e.Leaf.Time); e.Leaf.Kind {
	case statement.EventReleased:
		d.Released++
	case statement.EventReceived:
		d.Received++
	}
	for _, peer := range e.Leaf.Peers {
		*which(&m.r.Totals)++
		*which(m.tallies[0].of(peer))++
		*which(m.tallies[1].of(e.Subject.Label))++
		*which(m.tallies[2].of(e.Subject.Purpose))++
	}
}

// counter gives the number that counts events of this kind, or nil.
func counter(e Event) func(*Counts) *int64 {
	switch e.Leaf.Kind {
	case statement.EventReleased:
		return func(c *Counts) *int64 { return &c.Released }
	case statement.EventReceived:
		return func(c *Counts) *int64 { return &c.Received }
	case statement.EventDelivered:
		return func(c *Counts) *int64 { return &c.Delivered }
	case statement.EventOpened:
		return func(c *Counts) *int64 { return &c.Opened }
	case statement.EventConfirmed:
		if e.Receipt == statement.Opened {
			return func(c *Counts) *int64 { return &c.Opened }
		}
	}
	return nil
}

// Unplaced counts a denial of the period whose record does not say under which agreement it was.
func (m *Maker) Unplaced(at time.Time) {
	if !at.Before(m.r.From) && at.Before(m.r.To) {
		m.r.Unplaced++
	}
}

// State takes how far an exchange has come by now, whether or not anything about it happened in the period. kept says
// that this member received the document and is still able to decrypt it.
func (m *Maker) State(s Subject, to, state string, kept bool) {
	i, listed := m.entries[keyOf(s.Manifest, to)]
	if listed {
		m.r.Listed[i].State = state
	}
	x := Exception{Exchange: s.From + "/" + s.ID + "/" + to, ID: s.ID, Peers: []string{to}, Label: s.Label, Purpose: s.Purpose}
	switch {
	case s.From == m.r.Member && (state == "queued" || state == "delivering" || state == "unconfirmed") && m.r.AsOf.After(s.DeliverBy.Add(limit.ClockSkew)):
		x.Class, x.At, x.Text = Unconfirmed, s.DeliverBy, "nothing since it was released, and the deadline was "+instant(s.DeliverBy)
	case s.From != m.r.Member && kept && m.r.AsOf.After(s.RetainUntil):
		x.Class, x.At, x.Peers = Overdue, s.RetainUntil, []string{s.From}
		x.Text = "was to be kept until " + instant(s.RetainUntil) + ", and the key to it is still here"
	default:
		return
	}
	if listed {
		m.r.Listed[i].mark(x.Class)
	}
	m.except(x)
}

// Report ends the report. The Maker must not be used after that.
func (m *Maker) Report() *Report {
	r := &m.r
	r.ExchangesTotal = int64(len(m.counted))
	r.Classes, r.Exceptions, r.Kinds, r.Days = []Class{}, []Exception{}, []Kind{}, []Day{}
	for _, c := range classes {
		if f := m.classes[c.Class]; f != nil {
			c.Count = f.count
			r.Classes = append(r.Classes, c)
			r.Exceptions = append(r.Exceptions, f.list...)
		}
	}
	for k, n := range m.kinds {
		r.Kinds = append(r.Kinds, Kind{k, n})
	}
	slices.SortFunc(r.Kinds, func(a, b Kind) int { return strings.Compare(string(a.Kind), string(b.Kind)) })
	r.Peers, r.Labels, r.Purposes = m.tallies[0].list(), m.tallies[1].list(), m.tallies[2].list()
	r.Period = m.days
	for _, d := range m.days {
		if d.Released+d.Received+d.Exceptions > 0 {
			r.Days = append(r.Days, d)
		}
	}
	if r.Listed == nil {
		r.Listed = []Entry{}
	}
	return r
}

// tally counts by a word. Peers choose the words of what they send, so their number is bounded.
type tally struct{ rows map[string]*Counts }

func (t *tally) of(name string) *Counts {
	c := t.rows[name]
	if c == nil {
		if len(t.rows) >= limit.ReportRows {
			name = Others
		}
		if c = t.rows[name]; c == nil {
			c = &Counts{}
			t.rows[name] = c
		}
	}
	return c
}

// list gives the rows sorted by name, Others last.
func (t *tally) list() []Row {
	list := []Row{}
	for name, c := range t.rows {
		list = append(list, Row{name, *c})
	}
	slices.SortFunc(list, func(a, b Row) int {
		switch {
		case a.Name == Others:
			return 1
		case b.Name == Others:
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}
