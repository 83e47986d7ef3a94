package rpc

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/statement"
)

// judgement says who is at the other end of a connection, or why nobody is whom we would speak to.
type judgement func(tls.ConnectionState) (identity.Caller, error)

// gate decides about every connection and every call of one server.
type gate struct {
	self        string
	judge       judgement
	listed      func(person string) error // of our own people; nil where there are none
	calls       *quota                    // under way, by caller
	connections *quota                    // open, by caller
}

type callerKey struct{}

// CallerFrom says who is calling. It has an answer in every handler of our servers; elsewhere the answer is the zero
// Caller, who may do nothing.
func CallerFrom(ctx context.Context) identity.Caller {
	c, _ := ctx.Value(callerKey{}).(identity.Caller)
	return c
}

// admit judges the connection of a call again, because standing changes while connections are open, and then looks into
// the table.
func (g *gate) admit(ctx context.Context) (context.Context, error) {
	caller, err := g.rejudge(ctx)
	if err != nil {
		return nil, err
	}
	return context.WithValue(ctx, callerKey{}, caller), nil
}

// rejudge says who is calling, and that they may call the method of ctx.
func (g *gate) rejudge(ctx context.Context) (identity.Caller, error) {
	cs, err := connection(ctx)
	if err != nil {
		return identity.Caller{}, fault.New(fault.Forbidden, "", "%w", err)
	}
	caller, err := g.judge(cs)
	if err != nil {
		return identity.Caller{}, fault.New(fault.Forbidden, "", "%w", err)
	}
	method, _ := grpc.Method(ctx)
	switch who := mayCall(method); {
	case who == peers && caller.Node && caller.Member != g.self && caller.Standing != statement.GoodStanding:
		return identity.Caller{}, notGood(caller.Member)
	case !who.includes(g.self, caller):
		return identity.Caller{}, fault.New(fault.Forbidden, "", "%s may not call %.200q", caller, method)
	}
	if caller.Person != "" && mayCall(method) == people {
		if err := g.listed(caller.Person); err != nil {
			return identity.Caller{}, err
		}
	}
	return caller, nil
}

func notGood(member string) error {
	return fault.New(fault.Forbidden, "", "member %s is not in good standing", member)
}

// countUnary bounds the calls that one caller has under way over all its connections.
func (g *gate) countUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	caller := CallerFrom(ctx).String()
	if !g.calls.enter(caller) {
		return nil, tooMany(caller, "calls", g.calls.most)
	}
	defer g.calls.leave(caller)
	return handler(ctx, req)
}

// watchStream does the same for streams, and watches them while they are open.
func (g *gate) watchStream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	caller := CallerFrom(s.Context()).String()
	if !g.calls.enter(caller) {
		return tooMany(caller, "calls", g.calls.most)
	}
	defer g.calls.leave(caller)
	return handler(srv, watch(s, func() error {
		_, err := g.rejudge(s.Context())
		return err
	}))
}

func tooMany(caller, what string, most int) error {
	return fault.New(fault.Transient, "try again when others have ended", "%s has %d %s under way already", caller, most, what)
}

// quota counts things by whose they are. It may be used concurrently.
type quota struct {
	most int
	mu   sync.Mutex
	n    map[string]int // never zero or more than most
}

func newQuota(most int) *quota { return &quota{most: most, n: make(map[string]int)} }

func (q *quota) enter(whose string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n[whose] >= q.most {
		return false
	}
	q.n[whose]++
	return true
}

func (q *quota) leave(whose string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n[whose]--; q.n[whose] == 0 {
		delete(q.n, whose)
	}
}

// doorkeeper does the TLS handshake, logs whom it refuses, and counts the connections of those it lets in.
type doorkeeper struct {
	credentials.TransportCredentials
	gate *gate
	log  *slog.Logger
}

// ServerHandshake does the TLS handshake with whoever has connected.
func (d *doorkeeper) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := d.TransportCredentials.ServerHandshake(raw)
	if err == nil {
		if err = d.count(raw, info); err == nil {
			return conn, info, nil
		}
		_ = conn.Close()
	}
	if err == io.EOF { //nolint:errorlint // exactly this: somebody looked whether the port is open, and left
		d.log.Debug("connection closed before the handshake", "peer.address", raw.RemoteAddr().String())
	} else {
		d.log.Warn("refused connection", "peer.address", raw.RemoteAddr().String(), "error", err.Error())
	}
	return nil, nil, err
}

// count tells our own listener that the handshake is done, and counts the connection until it is closed.
func (d *doorkeeper) count(raw net.Conn, info credentials.AuthInfo) error {
	c, ok := raw.(*countedConn)
	if !ok {
		return nil // another listener has other bounds
	}
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok {
		return fault.New(fault.Forbidden, "", "the connection is not TLS")
	}
	caller, err := d.gate.judge(tlsInfo.State)
	if err != nil {
		return err
	}
	whose := caller.String()
	if !d.gate.connections.enter(whose) {
		return tooMany(whose, "connections", d.gate.connections.most)
	}
	c.authenticated(func() { d.gate.connections.leave(whose) })
	return nil
}

// Clone copies the doorkeeper; gRPC asks for that.
func (d *doorkeeper) Clone() credentials.TransportCredentials {
	return &doorkeeper{d.TransportCredentials.Clone(), d.gate, d.log}
}
