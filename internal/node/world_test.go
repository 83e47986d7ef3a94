package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/lab"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
	"entente.example/internal/seal"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// patience is how long a test waits for what must happen. It is far more than is needed, except on a machine that is busy
// with something else; nothing is measured by it.
const patience = 2 * time.Minute

// world is real members on loopback. Any of them may be played by the test instead of its node, with its real keys.
type world struct {
	*lab.World
	t         *testing.T
	history   *member.History
	agreement *statement.Signed[statement.Agreement] // harbour-watch, of all members
	damaged   bool                                   // the test breaks a home, so the invariants do not hold in the end
	disputed  bool                                   // a key was stolen, and no witness saw before that what it had signed, so no evidence of that holds
}

// found makes alpha, bravo and so on, with one agreement. Nodes run once they are started. When the test ends, everything
// is stopped, the invariants are checked, and evidence for every exchange is made and verified: a few milliseconds for each.
func found(t *testing.T, members ...string) *world {
	t.Helper()
	return foundWith(t, lab.Options{Members: members})
}

// patience says in a node's configuration how long it exchanges documents without co-signatures. The alliance was founded yesterday, and
// a test that is about something else starts only the nodes that it needs: foundWith gives them all the patience that there is.
func (w *world) patience(member, value string) {
	w.t.Helper()
	path := filepath.Join(w.Home(member), node.ConfigFile)
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^witness_patience = ".*"$`)
	if !line.Match(b) {
		w.t.Fatalf("%s says nothing of witness_patience", path)
	}
	if err := os.WriteFile(path, line.ReplaceAll(b, []byte(`witness_patience = "`+value+`"`)), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// foundWith is found with more in the charter.
func foundWith(t *testing.T, o lab.Options) *world {
	t.Helper()
	members := o.Members
	o.Dir = filepath.Join(t.TempDir(), "world")
	lw, err := lab.Found(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{World: lw, t: t}
	for _, m := range members {
		w.patience(m, limit.WitnessPatienceMost.String())
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := w.Check(context.Background()); err != nil && !w.damaged {
			t.Errorf("in the end: %v", err)
		}
		if w.damaged || w.disputed {
			return
		}
		for _, m := range members { // the check in the background gives no false alarm, whatever went on
			if d, err := (&node.Home{Dir: w.Home(m)}).Damage(); err != nil || len(d.List) > 0 {
				t.Errorf("in the end %s keeps apart %v, %v", m, d.List, err)
			}
		}
		if n, err := w.Evidence(context.Background(), 0); err != nil || n.Pending != 0 {
			t.Errorf("evidence in the end: %+v, %v", n, err)
		}
	})
	w.agreement = w.agree(statement.Agreement{Name: "harbour-watch", Parties: slices.Clone(members)})
	h := w.reader(members[0])
	if w.history, err = h.History(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// agree makes an agreement, with what most tests need where nothing is said.
func (w *world) agree(a statement.Agreement) *statement.Signed[statement.Agreement] {
	w.t.Helper()
	a.Purposes, a.Ceiling, a.RetainDays = []string{"incident-response"}, "TLP:AMBER", 90
	a.Prose = "The parties help each other.\n"
	s, err := w.Agree(w.t.Context(), a)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) start(members ...string) {
	w.t.Helper()
	for _, m := range members {
		if err := w.Start(w.t.Context(), m); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) stop(m string) {
	w.t.Helper()
	if err := w.Stop(m); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reader(m string) *node.Home {
	w.t.Helper()
	h, err := node.OpenReader(w.t.Context(), w.Home(m))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { h.Close() })
	return h
}

func (w *world) keys(m string) *identity.Keys {
	w.t.Helper()
	k, err := identity.Load(w.Home(m), m)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// person connects as the member's first person.
func (w *world) person(m string) *client.Client {
	w.t.Helper()
	return w.as(m, w.Person(m))
}

func (w *world) as(m, person string) *client.Client {
	w.t.Helper()
	c, err := w.Client(m, person)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func submission(to ...string) *ententev1.Submission {
	return &ententev1.Submission{Id: client.NewID(), To: to, Agreement: "harbour-watch", Purpose: "incident-response", Label: "TLP:AMBER",
		FileName: "report.txt", MediaType: "text/plain"}
}

// send has the member's person send a document, and gives the exchanges.
func (w *world) send(from string, sub *ententev1.Submission, doc []byte) []string {
	w.t.Helper()
	out, err := w.person(from).Send(w.t.Context(), sub, bytes.NewReader(doc))
	if err != nil {
		w.t.Fatal(err)
	}
	return out.GetExchanges()
}

// await waits until an exchange of a member is in a state.
func (w *world) await(m, ref, state string) *ententev1.Exchange {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var last *ententev1.Exchange
	x, err := w.person(m).Await(ctx, ref, func(x *ententev1.Exchange) bool { last = x; return x.GetState() == state })
	if err != nil {
		w.t.Fatalf("%s of %s did not become %s: %v, last %v", ref, m, state, err, last)
	}
	return x
}

// open opens a document and gives what was released, complete or not.
func open(ctx context.Context, c *client.Client, ref string) ([]byte, error) {
	var got bytes.Buffer
	_, err := c.Open(ctx, ref, func(*ententev1.Opened) (io.Writer, error) { return &got, nil })
	return got.Bytes(), err
}

// document is what a sender hands to a recipient, honest or not.
type document struct {
	m               statement.Manifest
	raw             []byte // the signed manifest
	header, payload []byte
}

// document seals a document as its sender's node would. Each edit may change the core before it is sealed.
func (w *world) document(from string, to []string, content string, edit ...func(*statement.Manifest)) *document {
	w.t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	m := statement.Manifest{ID: client.NewID(), From: from, To: to, Charter: w.history.Newest(), Agreement: w.agreement.Terms.Name, AgreementHash: w.agreement.Hash,
		Purpose: "incident-response", Label: "TLP:AMBER", Created: now, DeliverBy: now.Add(time.Hour), RetainUntil: now.AddDate(0, 0, 30),
		ReleasedBy: "spiffe://" + from + "/person/alice"}
	var recipients []string
	for _, name := range to {
		r, _ := w.history.Member(name)
		key := r.Sealing[0].Recipient
		hash, err := seal.RecipientHash(key)
		if err != nil {
			w.t.Fatal(err)
		}
		recipients, m.SealedFor = append(recipients, key), append(m.SealedFor, hash)
	}
	for _, e := range edit {
		e(&m)
	}
	var payload bytes.Buffer
	sealed, err := seal.Seal(&payload, recipients, seal.Inner{Core: m.Core(), Name: "report.txt", MediaType: "text/plain"}, strings.NewReader(content))
	if err != nil {
		w.t.Fatal(err)
	}
	m.Content = sealed.Content
	d := &document{m: m, header: sealed.Header, payload: payload.Bytes()}
	w.sign(d)
	return d
}

// sign signs the manifest again after it was changed. What it says must be valid as a text; see forge for the rest.
func (w *world) sign(d *document) {
	w.t.Helper()
	s, err := statement.Sign(d.m, w.keys(d.m.From).Statement)
	if err != nil {
		w.t.Fatal(err)
	}
	d.raw = s.Raw
}

// forge signs the manifest's text after a replacement that no renderer would write.
func (w *world) forge(d *document, from, to string) {
	w.t.Helper()
	text, _, _ := bytes.Cut(d.raw, []byte("\n\n— "))
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		w.t.Fatalf("%q is not in the manifest", from)
	}
	raw, err := statement.AddSignature([]byte(changed+"\n\n"), w.keys(d.m.From).Statement)
	if err != nil {
		w.t.Fatal(err)
	}
	d.raw = raw
}

// peer is a member that is played by the test.
type peer struct {
	w    *world
	name string
	to   string
	conn ententev1.PeerServiceClient
}

// peer connects to a member's node as another member's node.
func (w *world) peer(name, to string) *peer {
	w.t.Helper()
	m, _ := w.history.Member(to)
	conn, err := rpc.DialPeer(m, w.config(name))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return &peer{w, name, to, ententev1.NewPeerServiceClient(conn)}
}

func (w *world) config(name string) rpc.Config {
	w.t.Helper()
	k := w.keys(name)
	return rpc.Config{Self: name, Cert: k.Node, CA: k.CA, Log: slog.New(slog.DiscardHandler), Now: time.Now, History: func() *member.History { return w.history }}
}

type delivery = grpc.BidiStreamingClient[ententev1.DeliverRequest, ententev1.DeliverResponse]

func offerOf(d *document) *ententev1.DeliverRequest {
	return &ententev1.DeliverRequest{Part: &ententev1.DeliverRequest_Offer{Offer: &ententev1.Offer{Manifest: d.raw, Header: d.header}}}
}

func chunkOf(b []byte) *ententev1.DeliverRequest {
	return &ententev1.DeliverRequest{Part: &ententev1.DeliverRequest_Chunk{Chunk: b}}
}

// offer begins a delivery and gives the first answer.
func (p *peer) offer(ctx context.Context, d *document) (delivery, *ententev1.DeliverResponse, error) {
	s, err := p.conn.Deliver(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Send(offerOf(d)); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	answer, err := s.Recv()
	return s, answer, err
}

// deliver does the whole delivery and gives the receipt as it came.
func (p *peer) deliver(ctx context.Context, d *document) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, answer, err := p.offer(ctx, d)
	if err != nil || answer.GetReceipt() != nil {
		return answer.GetReceipt(), err
	}
	rest := d.payload[min(answer.GetOffset(), int64(len(d.payload))):]
	for c := range slices.Chunk(rest, 200<<10) {
		if err := s.Send(chunkOf(c)); err != nil {
			break // Recv tells why
		}
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	answer, err = s.Recv()
	return answer.GetReceipt(), err
}

// receipt verifies a receipt of the peer's counterpart about a document.
func (p *peer) receipt(raw []byte, d *document) statement.Receipt {
	p.w.t.Helper()
	r, err := statement.Open[statement.Receipt](raw, p.w.history.Verifiers(p.to))
	if err != nil {
		p.w.t.Fatal(err)
	}
	hash, err := statement.HashOf(d.raw)
	if err != nil || r.Terms.Manifest != hash || r.Terms.From != p.to || r.Terms.To != p.name || r.Terms.ID != d.m.ID {
		p.w.t.Fatalf("the receipt is about something else: %+v", r.Terms)
	}
	return r.Terms
}

// state is everything that a member keeps, as far as a delivery can change it.
type state struct {
	leaves    []statement.Leaf
	exchanges map[string]store.State
	blobs     []string // and, by their manifests, the payloads that stand in rows
	staging   []string
}

func (w *world) state(m string) state {
	w.t.Helper()
	h := w.reader(m)
	defer h.Close()
	s := state{exchanges: map[string]store.State{}}
	err := h.DB.View(w.t.Context(), func(v *store.View) error {
		for {
			raw, err := v.Leaves(int64(len(s.leaves)), 1000)
			if err != nil || len(raw) == 0 {
				break
			}
			for _, b := range raw {
				l, err := statement.ParseLeaf(b)
				if err != nil {
					return err
				}
				s.leaves = append(s.leaves, l)
			}
		}
		list, err := v.Exchanges(store.Filter{})
		rows := map[statement.Hash]bool{}
		for _, e := range list {
			s.exchanges[e.Ref()] = e.State
			if kept, err := v.Sealed(e.Manifest); err == nil && kept.Payload != nil && !rows[e.Manifest] {
				rows[e.Manifest] = true
				s.blobs = append(s.blobs, e.Manifest.String())
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.blobs, s.staging = append(s.blobs, w.files(m, "blobs")...), w.files(m, "staging")
	return s
}

func (w *world) files(m, folder string) (list []string) {
	w.t.Helper()
	err := filepath.WalkDir(filepath.Join(w.Home(m), folder), func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// kinds lists the kinds of the leaves from one on.
func (s state) kinds(from int) string {
	var list []string
	for _, l := range s.leaves[from:] {
		list = append(list, string(l.Kind))
	}
	return strings.Join(list, " ")
}

// wantFault checks an error's kind and that its sentence has a part.
func wantFault(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != kind || !strings.Contains(f.Text, text) {
		t.Errorf("got %v (%s), want %s with %q", err, fault.KindOf(err), kind, text)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
