package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/types/known/emptypb"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// TestTable walks every method of every service that our servers have. Each has a row, and the right one.
func TestTable(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	cfg := w.config(w.parties["alpha"])
	peerServer, err := NewPeerServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	nodeServer, err := NewNodeServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ententev1.RegisterPeerServiceServer(peerServer, &handlers{})
	ententev1.RegisterNodeServiceServer(nodeServer, &handlers{})
	if n := len(peerServer.GetServiceInfo()); n != 1 {
		t.Errorf("the peer port has %d services, want one, without reflection and health", n)
	}
	denied := []string{grpc_health_v1.Health_Watch_FullMethodName, grpc_health_v1.Health_List_FullMethodName}
	seen := 0
	for server, want := range map[*grpc.Server][]who{peerServer: {peers, anyPeer}, nodeServer: {people, anyOfUs}} {
		for service, info := range server.GetServiceInfo() {
			for _, m := range info.Methods {
				method := "/" + service + "/" + m.Name
				seen++
				if slices.Contains(denied, method) {
					if mayCall(method) != nobody {
						t.Errorf("%s is allowed", method)
					}
				} else if !slices.Contains(want, mayCall(method)) {
					t.Errorf("%s has row %d, want one of %d", method, mayCall(method), want)
				}
			}
		}
	}
	files := []int{ententev1.File_entente_v1_peer_proto.Services().Get(0).Methods().Len(), ententev1.File_entente_v1_node_proto.Services().Get(0).Methods().Len()}
	if want := files[0] + files[1] + 3 + 1; seen != want {
		t.Errorf("saw %d methods, want %d: PeerService, NodeService, health and reflection", seen, want)
	}
	for _, method := range []string{"", "/", "/entente.v1.PeerService/Else", "/entente.v1.NodeService/Admin", "entente.v1.PeerService/Deliver", "/entente.v1.peerservice/deliver"} {
		if mayCall(method) != nobody {
			t.Errorf("%q is allowed", method)
		}
	}
}

func TestWho(t *testing.T) {
	t.Parallel()
	good := statement.GoodStanding
	callers := []identity.Caller{{}, {Member: "alpha", Node: true, Standing: good}, {Member: "alpha", Person: "alice"}, {Member: "bravo", Node: true, Standing: good},
		{Member: "bravo", Person: "bob"}, {Member: "alpha"}, {Node: true, Standing: good}, {Person: "alice"},
		{Member: "bravo", Node: true}, {Member: "bravo", Node: true, Standing: statement.Suspended}, {Member: "bravo", Node: true, Standing: member.InDoubt}}
	for w, want := range map[who]string{
		nobody:  "-----------",
		peers:   "---x--x----",
		anyPeer: "---x--x-xxx",
		people:  "--x--------",
		anyOfUs: "-xx--------",
		who(99): "-----------",
	} {
		got := ""
		for _, c := range callers {
			if w.includes("alpha", c) {
				got += "x"
			} else {
				got += "-"
			}
		}
		if got != want {
			t.Errorf("row %d includes %s, want %s", w, got, want)
		}
	}
}

// TestCalls makes every kind of call over real connections.
func TestCalls(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	alpha := w.parties["alpha"]
	callers := make(chan identity.Caller, 8)
	alpha.handlers.ret = func(ctx context.Context, _ *ententev1.ReturnRequest) error {
		callers <- CallerFrom(ctx)
		return nil
	}
	alpha.handlers.list = func(ctx context.Context, _ *ententev1.ListRequest) error {
		callers <- CallerFrom(ctx)
		return nil
	}
	alpha.handlers.deliver = func(s ententev1.PeerService_DeliverServer) error {
		callers <- CallerFrom(s.Context())
		return nil
	}
	ctx := t.Context()
	expectCaller := func(want string) {
		t.Helper()
		if got := <-callers; got.String() != want {
			t.Errorf("called by %s, want %s", got, want)
		}
	}

	bravo := w.connPeer("bravo", "alpha")
	if _, err := ententev1.NewPeerServiceClient(bravo).Return(ctx, receipt); err != nil {
		t.Fatal(err)
	}
	expectCaller("spiffe://bravo/node")
	s, err := ententev1.NewPeerServiceClient(bravo).Deliver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("stream ended with %v", err)
	}
	expectCaller("spiffe://bravo/node")

	alice, node := w.connNode("alpha", w.person("alpha")), w.connNode("alpha", alpha.keys.Node)
	list := &ententev1.ListRequest{Direction: ententev1.Direction_DIRECTION_IN}
	if _, err := ententev1.NewNodeServiceClient(alice).List(ctx, list); err != nil {
		t.Fatal(err)
	}
	expectCaller("spiffe://alpha/person/alice")
	for who, conn := range map[string]*grpc.ClientConn{"alice": alice, "the node": node} {
		if r, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health check by %s: %v, %v", who, r, err)
		}
	}
	if services, err := reflected(ctx, alice); err != nil || !slices.Contains(services, "entente.v1.NodeService") {
		t.Errorf("reflection: %v, %v", services, err)
	}

	// Refused, by the table, and logged with who it was.
	_, err = ententev1.NewNodeServiceClient(node).List(ctx, list)
	wantFault(t, err, fault.Forbidden, "spiffe://alpha/node may not call", "")
	wantLine(t, alpha.log, `"peer":"spiffe://alpha/node"`, `"grpc.method":"List"`, `"grpc.code":"PermissionDenied"`, "127.0.0.1:")
	_, err = reflected(ctx, node)
	wantFault(t, err, fault.Forbidden, "spiffe://alpha/node may not call", "")
	_, err = ententev1.NewPeerServiceClient(alice).Return(ctx, receipt)
	wantFault(t, err, fault.Forbidden, "person/alice may not call", "")
	_, err = ententev1.NewNodeServiceClient(bravo).List(ctx, list)
	wantFault(t, err, fault.Forbidden, "spiffe://bravo/node may not call", "")
	wantLine(t, alpha.log, `"peer":"spiffe://bravo/node"`, `"grpc.service":"entente.v1.NodeService"`, `"grpc.code":"PermissionDenied"`)
	_, err = grpc_health_v1.NewHealthClient(bravo).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	wantFault(t, err, fault.Forbidden, "may not call", "")
	_, err = reflected(ctx, bravo)
	wantFault(t, err, fault.Forbidden, "may not call", "")
	watch, err := grpc_health_v1.NewHealthClient(alice).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	wantFault(t, err, fault.Forbidden, "may not call", "")
	for name, conn := range map[string]*grpc.ClientConn{"bravo/node": bravo, "alpha/person/alice": alice} {
		for _, method := range []string{"/entente.v1.PeerService/Else", "/entente.v1.NodeService/Else", "/x/y"} {
			err := conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
			wantFault(t, err, fault.Forbidden, "may not call \""+method, "")
			// Of methods that do not exist another member is told once: it could name any number of them.
			if method == "/entente.v1.PeerService/Else" || conn == alice {
				wantLine(t, alpha.log, `"peer":"spiffe://`+name+`"`, `"grpc.code":"PermissionDenied"`, method)
			}
		}
	}
}

func reflected(ctx context.Context, conn *grpc.ClientConn) ([]string, error) {
	s, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	_ = s.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	r, err := s.Recv()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range r.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	return names, s.CloseSend()
}

// TestRefusedConnections shows the wrong certificate to real servers: the caller gets a fault, and the log says who and why.
func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	alpha := w.parties["alpha"]
	show := func(cert tls.Certificate) func(*Config) { return func(c *Config) { c.Cert = cert } }

	_, err := w.dialPeer("bravo", "alpha", show(w.person("bravo"))).Return(t.Context(), receipt)
	wantFault(t, err, fault.Forbidden, "refuses our certificate", "the log of alpha says why")
	wantLine(t, alpha.log, "refused connection", "127.0.0.1:", "spiffe://bravo/person/alice is not a node")

	_, err = w.dialPeer("alpha", "alpha").Return(t.Context(), receipt)
	wantFault(t, err, fault.Forbidden, "refuses our certificate", "")
	wantLine(t, alpha.log, "refused connection", "alpha is this node itself")

	list := &ententev1.ListRequest{Direction: ententev1.Direction_DIRECTION_IN}
	for _, cert := range []tls.Certificate{w.person("bravo"), w.parties["bravo"].keys.Node} {
		_, err = ententev1.NewNodeServiceClient(w.connNode("alpha", cert)).List(t.Context(), list)
		wantFault(t, err, fault.Forbidden, "refuses our certificate", "another home")
		wantLine(t, alpha.log, "refused connection", "is not one of alpha's own")
	}

	// Refused only after the charter changed: the client still believes in it.
	old := w.history.Load()
	w.history.Store(w.alliance("alpha", "charlie"))
	_, err = w.dialPeer("bravo", "alpha", func(c *Config) { c.History = func() *member.History { return old } }).Return(t.Context(), receipt)
	wantFault(t, err, fault.Forbidden, "refuses our certificate", "adopted the same charter")
	wantLine(t, alpha.log, "refused connection", `the charter has no member \"bravo\"`)
}

// TestWrongServer calls addresses at which somebody else answers, or nobody.
func TestWrongServer(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	call := func(to, address string) error {
		conn, err := DialPeer(member.Member{Name: to, Address: address}, w.config(w.parties["alpha"]))
		_, err = ententev1.NewPeerServiceClient(w.kept(conn, err)).Return(t.Context(), receipt)
		return err
	}
	bravo, charlie := w.parties["bravo"], w.parties["charlie"]
	wantFault(t, call("bravo", charlie.peerAddress), fault.Invalid, "expected bravo at "+charlie.peerAddress+", but charlie answered", "ask bravo by telephone")
	if err := call("bravo", bravo.nodeAddress); err == nil {
		t.Error("the node port let a peer in")
	}

	nobody := unused(t)
	wantFault(t, call("bravo", nobody), fault.Transient, "bravo does not answer at "+nobody+": dial tcp", "")
	wantFault(t, call("delta", nobody), fault.Forbidden, "member delta is not in good standing", "")

	// At bravo's address a member answers that alpha does not know.
	w.history.Store(w.alliance("alpha", "bravo"))
	wantFault(t, call("bravo", charlie.peerAddress), fault.Invalid, `expected bravo at `+charlie.peerAddress+`, but spiffe://charlie/node is unknown: the charter has no member "charlie"`, "")

	list := &ententev1.ListRequest{Direction: ententev1.Direction_DIRECTION_IN}
	node := func(address string) error {
		cfg := w.config(w.parties["alpha"])
		cfg.Cert = w.person("alpha")
		conn, err := DialNode(address, cfg)
		_, err = ententev1.NewNodeServiceClient(w.kept(conn, err)).List(t.Context(), list)
		return err
	}
	err := node(nobody)
	wantFault(t, err, fault.Transient, "no node answers at "+nobody, "start it with: entente node")
	if err.Error() != "no node answers at "+nobody {
		t.Errorf("got %q", err)
	}
	wantFault(t, node(bravo.nodeAddress), fault.Invalid, "expected the node of alpha at "+bravo.nodeAddress+", but spiffe://bravo/node is not one of alpha's own", "entente.toml")

	// One of alpha's own people pretends to be the node.
	cfg := w.config(w.parties["alpha"])
	cfg.Cert = w.person("alpha")
	pretender, err := NewNodeServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = pretender.Serve(l) }()
	defer pretender.Stop()
	wantFault(t, node(l.Addr().String()), fault.Invalid, "but spiffe://alpha/person/alice answered", "entente.toml")
}

// unused gives an address where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestExpired shows that we say ourselves that our certificate has expired, before anybody else does.
func TestExpired(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	cfg := w.config(w.parties["alpha"])
	cfg.Now = func() time.Time { return time.Now().Add(limit.CertificateLife + time.Hour) }
	_, err := NewPeerServer(cfg)
	wantFault(t, err, fault.Failed, "the certificate of spiffe://alpha/node expired at", "issues itself a new one")
	_, err = DialPeer(member.Member{Name: "bravo"}, cfg)
	wantFault(t, err, fault.Failed, "the certificate of spiffe://alpha/node expired at", "")
	cfg.Cert = w.person("alpha")
	_, err = DialNode("127.0.0.1:1", cfg)
	wantFault(t, err, fault.Failed, "the certificate of spiffe://alpha/person/alice expired at", "entente person add alice")
}

// TestStanding expels bravo while it has connections and streams open.
func TestStanding(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w := found(t, "alpha", "bravo")
	alpha := w.parties["alpha"]
	blocked := make(chan string, 3)
	alpha.handlers.deliver = func(s ententev1.PeerService_DeliverServer) error {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if r.GetOffer() != nil { // then bravo takes nothing, and our window fills up
			blocked <- "sending"
			for {
				if err := s.Send(&ententev1.DeliverResponse{Part: &ententev1.DeliverResponse_Receipt{Receipt: make([]byte, limit.Statement)}}); err != nil {
					return err
				}
			}
		}
		blocked <- "receiving"
		_, err = s.Recv()
		return err
	}
	old := w.history.Load()
	stillKnows := func(c *Config) { c.History = func() *member.History { return old } }
	client := w.dialPeer("bravo", "alpha", stillKnows)
	var streams []ententev1.PeerService_DeliverClient
	for _, first := range []*ententev1.DeliverRequest{
		{Part: &ententev1.DeliverRequest_Chunk{Chunk: []byte("x")}},
		{Part: &ententev1.DeliverRequest_Offer{Offer: &ententev1.Offer{Manifest: []byte("m"), Header: []byte("h")}}},
	} {
		s, err := client.Deliver(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(first); err != nil {
			t.Fatal(err)
		}
		<-blocked
		streams = append(streams, s)
	}
	if _, err := client.Return(ctx, receipt); err != nil {
		t.Fatal(err)
	}

	w.history.Store(nil)
	expelled := time.Now()
	_, err := client.Return(ctx, receipt)
	wantFault(t, err, fault.Forbidden, "no alliance", "")
	wantLine(t, alpha.log, `"peer":"spiffe://bravo/node"`, `"grpc.method":"Return"`, "PermissionDenied")
	for _, s := range streams {
		for err = nil; err == nil; {
			_, err = s.Recv()
		}
		wantFault(t, err, fault.Forbidden, "no alliance", "")
	}
	if took := time.Since(expelled); took > 5*time.Second {
		t.Errorf("streams outlived the expulsion by %s", took)
	}
	wantLine(t, alpha.log, `"peer":"spiffe://bravo/node"`, `"grpc.method":"Deliver"`, "PermissionDenied")
	_, err = w.dialPeer("bravo", "alpha", stillKnows).Return(ctx, receipt)
	wantFault(t, err, fault.Forbidden, "refuses our certificate", "")
}

// TestStandingOfServer learns while a stream of ours is open that the server's member was expelled.
func TestStandingOfServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w := found(t, "alpha", "bravo")
	w.parties["bravo"].handlers.deliver = func(s ententev1.PeerService_DeliverServer) error {
		<-s.Context().Done()
		return s.Context().Err()
	}
	current := w.history.Load()
	expelled := make(chan struct{})
	client := w.dialPeer("alpha", "bravo", func(c *Config) {
		c.History = func() *member.History {
			select {
			case <-expelled:
				return nil
			default:
				return current
			}
		}
	})
	s, err := client.Deliver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	close(expelled)
	_, err = s.Recv()
	wantFault(t, err, fault.Forbidden, "member bravo is not in good standing", "")
	_, err = client.Return(ctx, receipt)
	wantFault(t, err, fault.Forbidden, "member bravo is not in good standing", "")
}

// TestHandlerErrors shows what of a handler's error the caller sees, on both ports.
func TestHandlerErrors(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	alpha := w.parties["alpha"]
	secret := "/home/alpha/keys"
	var raised error
	raise := func() error {
		if raised == nil {
			panic("panic about " + secret)
		}
		return raised
	}
	alpha.handlers.ret = func(context.Context, *ententev1.ReturnRequest) error { return raise() }
	alpha.handlers.list = func(context.Context, *ententev1.ListRequest) error { return raise() }
	alpha.handlers.deliver = func(ententev1.PeerService_DeliverServer) error { return raise() }
	peer, alice := w.dialPeer("bravo", "alpha"), ententev1.NewNodeServiceClient(w.connNode("alpha", w.person("alpha")))
	for _, test := range []struct {
		name         string
		err          error
		peer, person string
		kind         fault.Kind
	}{
		{"a panic", nil, "the node failed", "the node failed", fault.Failed},
		{"an error", errors.New("open " + secret), "the node failed", "the node failed", fault.Failed},
		{"a failure", fault.New(fault.Failed, "look", "open %s", secret), "the node failed", "open " + secret, fault.Failed},
		{"our trouble", fault.New(fault.Transient, "wait", "write: %w", errors.New(secret)), "cannot do this now", "write: " + secret, fault.Transient},
		{"a quota", fault.New(fault.Transient, "wait", "alpha has no room for this"), "alpha has no room", "alpha has no room", fault.Transient},
		{"their mistake", fault.New(fault.Invalid, "", "read manifest: %w", errors.New("line 4")), "read manifest: line 4", "read manifest: line 4", fault.Invalid},
		{"wrapped", fmt.Errorf("deliver %s: %w", secret, fault.New(fault.Conflict, "", "it is there")), "it is there", "it is there", fault.Conflict},
	} {
		raised = test.err
		_, err := peer.Return(t.Context(), receipt)
		wantFault(t, err, test.kind, test.peer, "")
		if err != nil && strings.Contains(fmt.Sprintf("%v %v", err, errors.Unwrap(err)), secret) {
			t.Errorf("%s: the peer reads %v", test.name, err)
		}
		s, err := peer.Deliver(t.Context())
		if err == nil {
			_, err = s.Recv()
		}
		wantFault(t, err, test.kind, test.peer, "")
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the peer reads %v from a stream", test.name, err)
		}
		_, err = alice.List(t.Context(), &ententev1.ListRequest{Direction: ententev1.Direction_DIRECTION_IN})
		wantFault(t, err, test.kind, test.person, "")
		if text, incident, ok := strings.Cut(err.Error(), "under incident "); ok {
			wantLine(t, alpha.log, "incident "+incident, secret)
			if strings.Contains(text, secret) {
				t.Errorf("%s: alice reads %v", test.name, err)
			}
		}
	}
}

// TestBounds sends too much of everything.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	conn := w.connPeer("bravo", "alpha")
	client := ententev1.NewPeerServiceClient(conn)
	big := &ententev1.ReturnRequest{Receipt: make([]byte, limit.Message+1)}
	if _, err := client.Return(t.Context(), big, grpc.MaxCallSendMsgSize(1<<30)); err == nil || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("a large message: %v", err)
	}
	if _, err := client.Return(t.Context(), big); err == nil || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("a large message of ours: %v", err)
	}
	many := metadata.AppendToOutgoingContext(t.Context(), "x-long", strings.Repeat("x", limit.HeaderList))
	if _, err := client.Return(many, receipt); err == nil {
		t.Error("a large header was taken")
	}
	if encoding.GetCompressor("gzip") != nil {
		t.Error("a compressor is registered")
	}
	if _, err := client.Return(t.Context(), receipt); err != nil {
		t.Errorf("the connection is of no use any more: %v", err)
	}
}

// TestTooManyCalls opens more streams than one caller may have, over two connections.
func TestTooManyCalls(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.parties["alpha"].handlers.deliver = func(s ententev1.PeerService_DeliverServer) error {
		if err := s.Send(&ententev1.DeliverResponse{Part: &ententev1.DeliverResponse_Offset{}}); err != nil {
			return err
		}
		_, err := s.Recv()
		return err
	}
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	open := func(c ententev1.PeerServiceClient) error {
		s, err := c.Deliver(ctx)
		if err != nil {
			return err
		}
		_, err = s.Recv()
		return err
	}
	first, second := w.dialPeer("bravo", "alpha"), w.dialPeer("bravo", "alpha")
	for n := range limit.PeerStreams {
		if err := open([]ententev1.PeerServiceClient{first, second}[n%2]); err != nil {
			t.Fatalf("stream %d: %v", n, err)
		}
	}
	wantFault(t, open(second), fault.Transient, "has 64 calls under way already", "")
	_, err := second.Return(ctx, receipt)
	wantFault(t, err, fault.Transient, "has 64 calls under way already", "")
	if _, err := w.dialPeer("charlie", "alpha").Return(ctx, receipt); err != nil {
		t.Errorf("another peer is not served: %v", err)
	}
	hangUp()
	if !eventually(func() bool { _, err := second.Return(t.Context(), receipt); return err == nil }) {
		t.Error("the count does not go down again")
	}
}

// TestNoSecretsInLog looks for what must not be there after all kinds of calls.
func TestNoSecretsInLog(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	canary := []byte("canary-7f3a")
	if _, err := w.dialPeer("bravo", "alpha").Return(t.Context(), &ententev1.ReturnRequest{Receipt: canary}); err != nil {
		t.Fatal(err)
	}
	log := w.parties["alpha"].log
	wantLine(t, log, `"grpc.method":"Return"`, `"grpc.code":"OK"`)
	if bytes.Contains([]byte(log.String()), canary) {
		t.Error("the log holds content")
	}
}
