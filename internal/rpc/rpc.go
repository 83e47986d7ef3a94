// Package rpc is how calls come in and go out: gRPC over mutual TLS, who is calling, who may call what, and how errors
// cross the wire.
//
// A node has two listeners. On the peer port other members' nodes speak PeerService; on the node port its own people
// speak NodeService. Every call passes the same interceptors, unary and streaming alike, outermost first:
//
//	logging          one line for each call, refused ones included, with whom the caller claims to be
//	errors           what a handler returned becomes what the caller may see (errors.go)
//	recovery         a panic becomes an error
//	authentication   the certificate of the connection is judged again (package identity)
//	authorisation    one table says who may call which method (table.go)
//	watching         calls of one caller are counted; long streams are judged again and cut when they stall (watch.go)
//	validation       the rules in the .proto files
//
// A service is registered on what NewPeerServer or NewNodeServer returns, and asks CallerFrom who is calling. Identity
// comes from there and never from a field of a message.
package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	validation "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/member"
)

// Config is what both kinds of server and both kinds of connection need. All functions must be safe for concurrent use.
type Config struct {
	Self string          // our member's name
	Cert tls.Certificate // whom we show: the node's certificate, or, towards our own node, a person's
	CA   []byte          // our own authority, certificates in PEM; needed on the node side
	// History gives the newest charter and cards that we know; it is asked again for every call. It may give nil before
	// there is an alliance, and then nobody is let in. Needed on the peer side.
	History func() *member.History
	// Listed tells whether a person of ours may still act at all; its error, a fault, says why not. It is asked for every call, and again and
	// again while a stream is open. Needed for the node's server; without it nobody is let in.
	Listed func(person string) error
	Log    *slog.Logger
	Now    func() time.Time
	// Dial connects to another member at the address on its card; nil: by TCP. Only worlds of nodes for tests set it, to
	// stand between two members. What it gives is trusted no more than any other line.
	Dial func(ctx context.Context, member, address string) (net.Conn, error)
}

// NewPeerServer makes the server of the peer port, for other members' nodes. PeerService is to be registered on it.
// The error is a fault if our certificate cannot be used.
func NewPeerServer(cfg Config) (*grpc.Server, error) {
	return newServer(cfg, nil, func(cs tls.ConnectionState) (identity.Caller, error) {
		caller, err := identity.JudgePeer(cfg.History(), cs, cfg.Now())
		if err == nil && caller.Member == cfg.Self {
			err = fmt.Errorf("%s is this node itself", caller.Member)
		}
		if err != nil {
			return identity.Caller{}, err
		}
		return caller, nil
	})
}

// NewNodeServer makes the server of the node port, for the member's own people. It answers health checks and reflection;
// NodeService is to be registered on it. The error is a fault if our certificate cannot be used.
func NewNodeServer(cfg Config) (*grpc.Server, error) {
	listed := cfg.Listed
	if listed == nil {
		listed = func(person string) error { return fault.New(fault.Forbidden, "", "%s is not listed", person) }
	}
	s, err := newServer(cfg, listed, func(cs tls.ConnectionState) (identity.Caller, error) {
		return identity.JudgePerson(cfg.Self, cfg.CA, cs, cfg.Now())
	})
	if err != nil {
		return nil, err
	}
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	reflection.RegisterV1(s)
	return s, nil
}

// newServer makes a server whose callers judge judges. Without listed the callers are not our own people, and do not see what concerns
// only us.
func newServer(cfg Config, listed func(person string) error, judge judgement) (*grpc.Server, error) {
	outside := listed == nil
	if err := identity.Usable(cfg.Cert, cfg.Now()); err != nil {
		return nil, err
	}
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("compile the rules for messages: %w", err)
	}
	most := limit.Connections / 4 // of one person's programs; more than anybody runs at once
	if outside {
		most = 2 * limit.Deliveries // a peer that reconnects may hold as many again for a moment
	}
	g := &gate{self: cfg.Self, judge: judge, listed: listed, calls: newQuota(limit.PeerStreams), connections: newQuota(most)}
	log, options := callLog(cfg.Log)
	creds := credentials.NewTLS(identity.ServerTLS(cfg.Cert, func(cs tls.ConnectionState) error {
		_, err := judge(cs)
		return err
	}))
	return grpc.NewServer(
		grpc.Creds(&doorkeeper{creds, g, cfg.Log}),
		grpc.ConnectionTimeout(limit.Handshake),
		grpc.MaxConcurrentStreams(limit.PeerStreams),
		grpc.MaxHeaderListSize(limit.HeaderList),
		grpc.MaxRecvMsgSize(limit.Message),
		grpc.MaxSendMsgSize(limit.Message),
		grpc.StaticStreamWindowSize(limit.StreamWindow),
		grpc.StaticConnWindowSize(limit.ConnectionWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: limit.Idle, MaxConnectionAge: limit.Age, MaxConnectionAgeGrace: limit.AgeGrace,
			Time: limit.PingAfter, Timeout: limit.PingWait,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: limit.PingLeast}),
		grpc.WaitForHandlers(true),
		// Without this, a call of an unknown method would be answered before any interceptor saw it.
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return status.Error(codes.Unimplemented, "unknown method")
		}),
		grpc.ChainUnaryInterceptor(
			logging.UnaryServerInterceptor(log, options...),
			translateUnary(outside),
			recovery.UnaryServerInterceptor(),
			auth.UnaryServerInterceptor(g.admit),
			g.countUnary,
			validation.UnaryServerInterceptor(validator),
		),
		grpc.ChainStreamInterceptor(
			logging.StreamServerInterceptor(log, options...),
			translateStream(outside),
			recovery.StreamServerInterceptor(),
			auth.StreamServerInterceptor(g.admit),
			g.watchStream,
			validation.StreamServerInterceptor(validator),
		),
	), nil
}

// callLog writes a line when a call ends. Calls that went well are for debugging: what matters about them is logged by
// whoever did it.
func callLog(log *slog.Logger) (logging.Logger, []logging.Option) {
	write := func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		log.Log(ctx, slog.Level(level), msg, fields...)
	}
	return logging.LoggerFunc(write), []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithDisableLoggingFields(logging.ComponentFieldKey, logging.SystemTag[0], "grpc.start_time"),
		// Taken from the connection, not from what authentication found: it stands in the lines of refused calls too.
		logging.WithFieldsFromContext(func(ctx context.Context) logging.Fields {
			cs, err := connection(ctx)
			if err != nil {
				return nil
			}
			return logging.Fields{"peer", identity.Claimed(cs)}
		}),
		logging.WithLevels(func(code codes.Code) logging.Level {
			if code == codes.OK {
				return logging.LevelDebug
			}
			return logging.DefaultServerCodeToLevel(code)
		}),
	}
}

// connection finds the TLS state of the connection that a call came in on.
func connection(ctx context.Context) (tls.ConnectionState, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return tls.ConnectionState{}, fmt.Errorf("the call has no connection")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return tls.ConnectionState{}, fmt.Errorf("the connection is not TLS")
	}
	return info.State, nil
}
