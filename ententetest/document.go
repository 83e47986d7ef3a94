package ententetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/lab"
	ententev1 "entente.example/proto/entente/v1"
)

// Document is what is sent, and what comes out when it is opened. To send one, the content is enough: the other fields
// get values that the agreement allows.
type Document struct {
	Name       string // file name; empty: "document"
	MediaType  string // empty: guessed from the name
	Content    []byte
	Agreement  string        // its name; empty: the newest that sender and recipients are parties to
	Purpose    string        // empty: the agreement's first
	Label      string        // empty: the agreement's ceiling
	RetainDays int64         // how many days a recipient may keep it; 0: as long as the agreement allows
	DeliverBy  time.Duration // how long the sender's node tries, in whole seconds; 0: seven days
}

// Sending is a document on its way: what Send gives, and what Await and Open take.
type Sending struct {
	From     string
	ID       string   // chosen by the sender; FROM/ID/TO names one exchange
	To       []string // sorted
	Manifest string   // SHA-256 of the manifest, in hex
}

// Ref gives the name of the exchange with one recipient, as the program's commands take it.
func (s Sending) Ref(recipient string) string { return s.From + "/" + s.ID + "/" + recipient }

// State says how far an exchange has come, as its sender sees it.
type State string

// The states in which Await can wait for an exchange.
const (
	Delivered     State = "delivered"     // the recipient signed that it has the document and can open it
	Refused       State = "refused"       // the recipient signed that it does not take it, and why
	Expired       State = "expired"       // there was no answer in time
	Opened        State = "opened"        // somebody at the recipient has opened it, and the recipient signed that
	Undecryptable State = "undecryptable" // it could not be opened, and the recipient signed that
)

// follows tells whether a state comes after Delivered, which stays true then.
func (s State) follows(want State) bool {
	return s == want || want == Delivered && (s == Opened || s == Undecryptable)
}

// still tells whether what is in this state can come to be in that one.
func (s State) still(want State) bool {
	switch s {
	case "queued", "delivering", "unconfirmed":
		return true
	case Delivered:
		return want == Opened || want == Undecryptable
	}
	return false
}

// Send has somebody send a document to one or more members. It returns when the document is safe with the sender's node,
// which delivers it by itself. who is a member, or MEMBER/PERSON.
func (w *World) Send(t testing.TB, who string, d Document, to ...string) Sending {
	t.Helper()
	s, err := w.TrySend(t, who, d, to...)
	if err != nil {
		t.Fatalf("send %q from %s to %s: %v", d.Name, who, strings.Join(to, ", "), describe(err))
	}
	return s
}

// TrySend is Send for what may be refused. The error is an *Error, and its reasons say which rules refused.
func (w *World) TrySend(t testing.TB, who string, d Document, to ...string) (Sending, error) {
	t.Helper()
	member, person, err := w.actor(t, who)
	if err != nil {
		return Sending{}, err
	}
	sub := w.submission(t, d, member, to)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := w.world.Client(member, person)
	if err != nil {
		return Sending{}, explain(err)
	}
	defer c.Close()
	out, err := c.Send(ctx, sub, bytes.NewReader(d.Content))
	if err != nil {
		return Sending{}, explain(err)
	}
	return Sending{From: member, ID: sub.GetId(), To: slices.Compact(slices.Sorted(slices.Values(to))), Manifest: out.GetManifestSha256()}, nil
}

func (w *World) submission(t testing.TB, d Document, from string, to []string) *ententev1.Submission {
	t.Helper()
	a, ok := w.agreement(d.Agreement, append([]string{from}, to...)...)
	if !ok && d.Agreement == "" {
		t.Fatalf("there is no agreement between %s and %s; make one with Agree, or name one in the document", from, strings.Join(to, ", "))
	}
	sub := &ententev1.Submission{Id: lab.NewID(), To: to, Agreement: d.Agreement, Purpose: d.Purpose, Label: d.Label, RetainDays: d.RetainDays,
		DeliverSeconds: int64(d.DeliverBy / time.Second), FileName: d.Name, MediaType: d.MediaType}
	if sub.Agreement == "" {
		sub.Agreement = a.Name
	}
	if sub.Purpose == "" && ok {
		sub.Purpose = a.Purposes[0]
	}
	if sub.Label == "" {
		sub.Label = a.Ceiling
	}
	if sub.FileName == "" {
		sub.FileName = "document"
	}
	if sub.MediaType == "" {
		sub.MediaType = lab.MediaType(sub.FileName)
	}
	return sub
}

// Await waits until the exchange with every recipient, or with those named last, is in a state, and gives the exchanges
// as the sender sees them, in the order of their recipients. What has been opened counts as delivered too. It fails the
// test as soon as the state cannot come any more, or after two minutes. The sender's node must run.
func (w *World) Await(t testing.TB, s Sending, want State, recipients ...string) []*ententev1.Exchange {
	t.Helper()
	if !slices.Contains([]State{Delivered, Refused, Expired, Opened, Undecryptable}, want) {
		t.Fatalf("await %q: no exchange ends in that state", want)
	}
	w.mustRun(t, s.From)
	if len(recipients) == 0 {
		recipients = s.To
	}
	c, err := w.world.Client(s.From, w.world.Person(s.From))
	if err != nil {
		t.Fatalf("await %s: %v", s.ID, explain(err))
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []*ententev1.Exchange
	for _, to := range recipients {
		x, err := c.Await(ctx, s.Ref(to), func(x *ententev1.Exchange) bool {
			have := State(x.GetState())
			return have.follows(want) || !have.still(want)
		})
		if err != nil {
			t.Fatalf("await %s %s: %v", s.Ref(to), want, explain(err))
		}
		if !State(x.GetState()).follows(want) {
			t.Fatalf("await %s %s: it is %s%s", s.Ref(to), want, x.GetState(), reasonsOf(x))
		}
		all = append(all, x)
	}
	return all
}

// reasonsOf tells why an exchange was refused, if it was.
func reasonsOf(x *ententev1.Exchange) string {
	var b strings.Builder
	for _, r := range x.GetReceipts() {
		for _, reason := range r.GetReasons() {
			fmt.Fprintf(&b, "\n  %s/%s: %s", reason.GetSet(), reason.GetRule(), reason.GetText())
		}
	}
	return b.String()
}

// Open has somebody open a document that a member received, and gives the whole of it as the sender signed it. who is a
// member, or MEMBER/PERSON. The document must have arrived: Await it first.
func (w *World) Open(t testing.TB, who string, s Sending) Document {
	t.Helper()
	d, err := w.TryOpen(t, who, s)
	if err != nil {
		t.Fatalf("open %s as %s: %v", s.ID, who, describe(err))
	}
	return d
}

// TryOpen is Open for what may be refused. The error is an *Error; the document is empty then.
func (w *World) TryOpen(t testing.TB, who string, s Sending) (Document, error) {
	t.Helper()
	member, person, err := w.actor(t, who)
	if err != nil {
		return Document{}, err
	}
	c, err := w.world.Client(member, person)
	if err != nil {
		return Document{}, explain(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var content bytes.Buffer
	opened, err := c.Open(ctx, s.Ref(member), func(*ententev1.Opened) (io.Writer, error) { return &content, nil })
	if err != nil {
		return Document{}, explain(err)
	}
	x := opened.GetExchange()
	return Document{Name: opened.GetFileName(), MediaType: opened.GetMediaType(), Content: content.Bytes(), Agreement: x.GetAgreement(), Purpose: x.GetPurpose(), Label: x.GetLabel()}, nil
}

// actor reads MEMBER or MEMBER/PERSON. That the member's node does not run is an error, as somebody may just be killing it.
func (w *World) actor(t testing.TB, who string) (member, person string, err error) {
	t.Helper()
	member, person, named := strings.Cut(who, "/")
	w.mustKnow(t, member)
	if !w.world.Running(member) {
		return "", "", &Error{Kind: fault.Transient.String(), Text: "the node of " + member + " does not run", Hint: "start it with Start"}
	}
	if !named {
		person = w.world.Person(member)
	}
	return member, person, nil
}
