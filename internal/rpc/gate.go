package rpc

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
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
	heard       func(member string)       // of calls of other members that are let in; may be nil
	calls       *quota                    // under way, by caller
	connections *quota                    // open, by caller
	pace        *pace                     // how often they may call; nil: as they like
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
	if g.heard != nil && caller.Node && caller.Member != g.self {
		g.heard(caller.Member)
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

// paceUnary refuses calls that come too often.
func (g *gate) paceUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	arrived(ctx)
	if g.pace != nil {
		if err := g.pace.take(ctx); err != nil {
			return nil, err
		}
	}
	return handler(ctx, req)
}

// paceStream does the same for streams.
func (g *gate) paceStream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	arrived(s.Context())
	if g.pace != nil {
		if err := g.pace.take(s.Context()); err != nil {
			return err
		}
	}
	return handler(srv, s)
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
	all  prometheus.Gauge // of them, whosoever
	mu   sync.Mutex
	n    map[string]int // never zero or more than most
}

func newQuota(most int, all prometheus.Gauge) *quota {
	return &quota{most: most, all: all, n: make(map[string]int)}
}

func (q *quota) enter(whose string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n[whose] >= q.most {
		return false
	}
	q.n[whose]++
	q.all.Inc()
	return true
}

func (q *quota) leave(whose string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all.Dec()
	if q.n[whose]--; q.n[whose] == 0 {
		delete(q.n, whose)
	}
}

// doorkeeper does the TLS handshake, logs whom it refuses, and counts the connections of those it lets in.
type doorkeeper struct {
	credentials.TransportCredentials
	gate   *gate
	log    *slog.Logger
	seldom *Seldom
	web    *web
}

// ServerHandshake does the TLS handshake with whoever has connected.
func (d *doorkeeper) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := d.TransportCredentials.ServerHandshake(raw)
	if err == nil {
		if err = d.count(raw, info); err == nil {
			if cs, ok := d.web.takes(info); ok {
				go d.web.serve(conn, cs)
				return nil, nil, credentials.ErrConnDispatched
			}
			if d.gate.listed == nil {
				conn = newFrames(conn)
			}
			return conn, info, nil
		}
		_ = conn.Close()
	}
	if err == io.EOF { //nolint:errorlint // exactly this: somebody looked whether the port is open, and left
		d.log.Debug("connection closed before the handshake", "peer.address", raw.RemoteAddr().String())
	} else {
		d.seldom.Write(slog.LevelWarn, "refused connection", host(raw)+err.Error(), "peer.address", raw.RemoteAddr().String(), "error", err.Error())
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
	return &doorkeeper{d.TransportCredentials.Clone(), d.gate, d.log, d.seldom, d.web}
}

// host is where somebody connects from, whatever the port.
func host(c net.Conn) string {
	h, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return h
}
