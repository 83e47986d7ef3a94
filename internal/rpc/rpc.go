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
//	pace             how often one member may call, by what the call costs (pace.go)
//	watching         calls of one caller are counted; long streams are judged again and cut when they stall (watch.go)
//	validation       the rules in the .proto files
//
// Before all of them, and before any message is read, the streams of one caller are counted (door.go). Lines about what others do
// wrong are few, however much they do of it (seldom.go).
//
// A service is registered on what NewPeerServer or NewNodeServer returns, and asks CallerFrom who is calling. Identity
// comes from there and never from a field of a message.
package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	validation "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/metrics"
)

// Config is what both kinds of server and both kinds of connection need. All functions must be safe for concurrent use.
type Config struct {
	Self string          // our member's name
	Cert tls.Certificate // whom we show: the node's certificate, or, towards our own node, a person's
	// Renewed gives what is shown instead of Cert from now on, if it is not nil: servers run, and connections are kept, longer than a certificate lives.
	Renewed func() *tls.Certificate
	CA      []byte // our own authority, certificates in PEM; needed on the node side
	// History gives the newest charter and cards that we know; it is asked again for every call. It may give nil before
	// there is an alliance, and then nobody is let in. Needed on the peer side.
	History func() *member.History
	// Listed tells whether a person of ours may still act at all; its error, a fault, says why not. It is asked for every call, and again and
	// again while a stream is open. Needed for the node's server; without it nobody is let in.
	Listed func(person string) error
	// Heard, if it is not nil, is told of each call of another member that is let in. It must return at once.
	Heard func(member string)
	Log   *slog.Logger
	Now   func() time.Time
	// Dial connects to another member at the address on its card; nil: by TCP. Only worlds of nodes for tests set it, to
	// stand between two members. What it gives is trusted no more than any other line.
	Dial func(ctx context.Context, member, address string) (net.Conn, error)
	// Calls counts what both servers do; nil: nobody does.
	Calls *metrics.Calls
	// Metrics writes what the node's server answers to GET /metrics over HTTP/1.1; nil: it speaks gRPC only.
	Metrics func(io.Writer) error
}

// NewPeerServer makes the server of the peer port, for other members' nodes. PeerService is to be registered on it.
// The error is a fault if our certificate cannot be used.
func NewPeerServer(cfg Config) (*grpc.Server, error) {
	cfg.Metrics = nil // never on this port
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
	listener := "node"
	if outside {
		listener = "peer"
	}
	g := &gate{self: cfg.Self, judge: judge, listed: listed, heard: cfg.Heard, calls: newQuota(limit.PeerStreams, cfg.Calls.Open(listener, metrics.Streams)),
		connections: newQuota(most, cfg.Calls.Open(listener, metrics.Connections))}
	var calls *Seldom // of our own people, every call that went wrong has its line
	if outside {
		g.pace, calls = newPace(), NewSeldom(cfg.Log)
	}
	log, options := callLog(cfg.Log, calls)
	config := identity.ServerTLS(cfg.Cert, func(cs tls.ConnectionState) error {
		_, err := judge(cs)
		return err
	})
	if cfg.Renewed != nil {
		config.Certificates = nil
		config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cfg.Renewed(), nil }
	}
	if cfg.Metrics != nil {
		// First, so that it is taken by whoever speaks both, as Prometheus does. gRPC offers h2 alone.
		config.NextProtos = []string{http1, "h2"}
	}
	creds := credentials.NewTLS(config)
	request := limit.Message
	if outside {
		request = limit.Request
	}
	return grpc.NewServer(
		grpc.Creds(&doorkeeper{creds, g, cfg.Log, NewSeldom(cfg.Log), &web{cfg.Metrics, g, cfg.Log}}),
		grpc.InTapHandle(newDoor(cfg.Log, outside).open),
		grpc.NumStreamWorkers(limit.StreamWorkers),
		grpc.ConnectionTimeout(limit.Handshake),
		grpc.MaxConcurrentStreams(limit.PeerStreams),
		grpc.MaxHeaderListSize(limit.HeaderList),
		grpc.MaxRecvMsgSize(request),
		experimental.BufferPool(buffers), // a server's is chosen before our init
		grpc.ReadBufferSize(limit.ConnectionBuffer),
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
			countUnary(cfg.Calls),
			logging.UnaryServerInterceptor(log, options...),
			translateUnary(outside),
			recovery.UnaryServerInterceptor(),
			auth.UnaryServerInterceptor(g.admit),
			g.paceUnary,
			g.countUnary,
			validation.UnaryServerInterceptor(validator),
		),
		grpc.ChainStreamInterceptor(
			countStream(cfg.Calls),
			logging.StreamServerInterceptor(log, options...),
			translateStream(outside),
			recovery.StreamServerInterceptor(),
			auth.StreamServerInterceptor(g.admit),
			g.paceStream,
			g.watchStream,
			validation.StreamServerInterceptor(validator),
		),
	), nil
}

// buffers are for what comes in, and for what we send. gRPC's own come in large steps, so that a frame of 4 KiB and a byte would take 16 KiB, and a
// chunk a buffer of 1 MiB, all of which is cleared each time. They are gRPC's default for the whole program as well, because that is where messages
// are marshalled and put together, whatever an option says.
var buffers = mem.NewTieredBufferPool(sizes()...)

func init() { experimental.SetDefaultBufferPool(buffers) }

// sizes go up to the largest frame in steps of 256 bytes, and then to the largest message.
func sizes() []int {
	list := []int{32 << 10, 64 << 10, 128 << 10, limit.Chunk + 4<<10, limit.Request, limit.Message}
	for size := 1280; size <= 16<<10; size += 256 {
		list = append(list, size)
	}
	return list
}

// callLog writes a line when a call ends. Calls that went well are for debugging: what matters about them is logged by
// whoever did it. Those that went wrong are thinned out, if that is given: one line tells of many, but for those that failed
// here, since somebody may ask for each by its incident.
func callLog(log *slog.Logger, thin *Seldom) (logging.Logger, []logging.Option) {
	write := func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		said := map[string]string{}
		for f := logging.Fields(fields).Iterator(); f.Next(); {
			k, v := f.At()
			said[k] = fmt.Sprint(v)
		}
		if thin == nil || level <= logging.LevelDebug || level >= logging.LevelError || strings.Contains(said["grpc.error"], incidentWord) {
			log.Log(ctx, slog.Level(level), msg, fields...)
			return
		}
		method := "/" + said["grpc.service"] + "/" + said["grpc.method"]
		if mayCall(method) == nobody {
			method = "unknown" // callers name what they like
		}
		thin.Write(slog.Level(level), msg, said["peer"]+" "+said["grpc.code"]+" "+method, slices.Clone(fields)...)
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
