package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/member"
	"entente.example/internal/metrics"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// world is an alliance of members with real keys, whose servers listen on loopback.
type world struct {
	t       *testing.T
	parties map[string]*party
	history atomic.Pointer[member.History]
}

// party is one member of it: alpha and the others, each with a peer port and a node port.
type party struct {
	name, dir   string
	keys        *identity.Keys
	recovery    *statement.Key
	peer, node  net.Listener
	log         *lines
	handlers    *handlers
	metrics     *metrics.Set
	peerAddress string
	nodeAddress string
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// handlers are both services, and do what a test says.
type handlers struct {
	ententev1.UnimplementedPeerServiceServer
	ententev1.UnimplementedNodeServiceServer
	deliver func(ententev1.PeerService_DeliverServer) error
	ret     func(context.Context, *ententev1.ReturnRequest) error
	send    func(ententev1.NodeService_SendServer) error
	list    func(context.Context, *ententev1.ListRequest) error
	open    func(*ententev1.OpenRequest, ententev1.NodeService_OpenServer) error
}

func (h *handlers) Deliver(s grpc.BidiStreamingServer[ententev1.DeliverRequest, ententev1.DeliverResponse]) error {
	return h.deliver(s)
}

func (h *handlers) Return(ctx context.Context, r *ententev1.ReturnRequest) (*ententev1.ReturnResponse, error) {
	return &ententev1.ReturnResponse{}, h.ret(ctx, r)
}

func (h *handlers) Send(s grpc.ClientStreamingServer[ententev1.SendRequest, ententev1.SendResponse]) error {
	return h.send(s)
}

func (h *handlers) List(ctx context.Context, r *ententev1.ListRequest) (*ententev1.ListResponse, error) {
	return &ententev1.ListResponse{}, h.list(ctx, r)
}

func (h *handlers) Open(r *ententev1.OpenRequest, s grpc.ServerStreamingServer[ententev1.OpenResponse]) error {
	return h.open(r, s)
}

// found makes a world of these members and starts their servers. By default every call succeeds.
func found(t *testing.T, names ...string) *world {
	t.Helper()
	w := &world{t: t, parties: make(map[string]*party)}
	for _, name := range names {
		p := &party{name: name, dir: filepath.Join(t.TempDir(), name), log: &lines{}}
		var err error
		if p.keys, p.recovery, err = identity.Create(p.dir, t.TempDir(), name, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := p.keys.IssuePerson(p.dir, "alice", time.Now()); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*net.Listener{&p.peer, &p.node} {
			if *l, err = Listen(t.Context(), "127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
		}
		p.peerAddress, p.nodeAddress = p.peer.Addr().String(), p.node.Addr().String()
		p.handlers = &handlers{
			deliver: func(ententev1.PeerService_DeliverServer) error { return nil },
			ret:     func(context.Context, *ententev1.ReturnRequest) error { return nil },
			send: func(s ententev1.NodeService_SendServer) error {
				return s.SendAndClose(&ententev1.SendResponse{})
			},
			list: func(context.Context, *ententev1.ListRequest) error { return nil },
			open: func(*ententev1.OpenRequest, ententev1.NodeService_OpenServer) error { return nil },
		}
		w.parties[name] = p
	}
	w.history.Store(w.alliance(names...))
	for _, p := range w.parties {
		w.start(p)
	}
	return w
}

// alliance is a history of these members. The charter is not signed by anybody: that is what package statement is about.
func (w *world) alliance(names ...string) *member.History {
	w.t.Helper()
	charter := &statement.Signed[statement.Charter]{Terms: statement.Charter{Alliance: "harbour"}}
	var cards []*statement.Signed[statement.Card]
	for _, name := range names {
		p := w.parties[name]
		card := statement.Card{Member: name, Address: p.peerAddress, CA: string(p.keys.CA),
			Statement: p.keys.Statement.Public, Recovery: p.recovery.Public, Log: p.keys.Log.Public, Witness: p.keys.Witness.Public,
			LogMLDSA: p.keys.LogMLDSA.Public, WitnessMLDSA: p.keys.WitnessMLDSA.Public,
			Sealing: []statement.SealingKey{{Epoch: 1, Recipient: p.keys.SealingRecipients[0]}}}
		signed := &statement.Signed[statement.Card]{Terms: card, Hash: statement.HashBytes([]byte(name))}
		cards = append(cards, signed)
		charter.Terms.Members = append(charter.Terms.Members, statement.CharterMember{Name: name, Standing: statement.GoodStanding,
			Statement: card.Statement, Recovery: card.Recovery, Card: signed.Hash})
	}
	h, err := member.Found(charter, cards...)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) config(p *party) Config {
	return Config{Self: p.name, Cert: p.keys.Node, CA: p.keys.CA, History: w.history.Load, Now: time.Now, Listed: func(string) error { return nil },
		Log: slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

func (w *world) start(p *party) {
	w.t.Helper()
	cfg := w.config(p)
	p.metrics = metrics.New(time.Now, func() (metrics.State, error) { return metrics.State{}, nil })
	cfg.Calls, cfg.Metrics = p.metrics.Calls, p.metrics.Write
	peers, err := NewPeerServer(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	node, err := NewNodeServer(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ententev1.RegisterPeerServiceServer(peers, p.handlers)
	ententev1.RegisterNodeServiceServer(node, p.handlers)
	var running sync.WaitGroup
	running.Go(func() { _ = peers.Serve(p.peer) })
	running.Go(func() { _ = node.Serve(p.node) })
	w.t.Cleanup(func() {
		peers.Stop()
		node.Stop()
		running.Wait()
		for _, l := range []net.Listener{p.peer, p.node} {
			l := l.(*countedListener)
			if !eventually(func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.all == 0 && l.new == 0 }) {
				w.t.Errorf("%s counts connections after the end: %d, %d of them new", p.name, l.all, l.new)
			}
		}
	})
}

// eventually waits up to ten seconds.
func eventually(ok func() bool) bool {
	for range 1000 {
		if ok() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// dialPeer connects from a member's node to another's peer port. edit may change what is shown.
func (w *world) dialPeer(from, to string, edit ...func(*Config)) ententev1.PeerServiceClient {
	w.t.Helper()
	return ententev1.NewPeerServiceClient(w.connPeer(from, to, edit...))
}

func (w *world) connPeer(from, to string, edit ...func(*Config)) *grpc.ClientConn {
	w.t.Helper()
	cfg := w.config(w.parties[from])
	for _, e := range edit {
		e(&cfg)
	}
	conn, err := DialPeer(member.Member{Name: to, Address: w.parties[to].peerAddress}, cfg)
	return w.kept(conn, err)
}

// connNode connects a person, or whoever the certificate says, to a member's node port.
func (w *world) connNode(to string, cert tls.Certificate) *grpc.ClientConn {
	w.t.Helper()
	cfg := w.config(w.parties[to])
	cfg.Cert = cert
	conn, err := DialNode(w.parties[to].nodeAddress, cfg)
	return w.kept(conn, err)
}

func (w *world) kept(conn *grpc.ClientConn, err error) *grpc.ClientConn {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

func (w *world) person(name string) tls.Certificate {
	w.t.Helper()
	cert, err := identity.LoadPerson(w.parties[name].dir, name, "alice")
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

var receipt = &ententev1.ReturnRequest{Receipt: []byte("receipt")}

// wantFault checks that an error is a fault, of which kind, and what its sentence and its hint say.
func wantFault(t *testing.T, err error, kind fault.Kind, text, hint string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != kind || !strings.Contains(f.Text, text) || !strings.Contains(f.Hint, hint) {
		t.Errorf("got %v (%s, hint %q); want %s with %q and a hint with %q", err, fault.KindOf(err), fault.Hint(err), kind, text, hint)
	}
}

// wantLine checks that some line of a log has all these parts.
func wantLine(t *testing.T, log *lines, parts ...string) {
	t.Helper()
	if !eventually(func() bool {
		for line := range strings.Lines(log.String()) {
			all := true
			for _, p := range parts {
				all = all && strings.Contains(line, p)
			}
			if all {
				return true
			}
		}
		return false
	}) {
		t.Errorf("no line with %q in:\n%s", parts, log)
	}
}
