package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// DialPeer prepares a connection to another member's node, at the address on its card. It connects with the first call.
// Whoever answers must be exactly spiffe://MEMBER/node of that member, in good standing, which is looked at again for
// every call and while streams are open; without it we make only those calls that we would answer. Errors of calls are faults.
//
// Make a connection for one attempt and close it afterwards, or keep it as long as calls succeed: after a failure gRPC
// waits before it connects again, and a new connection does not.
func DialPeer(m member.Member, cfg Config) (*grpc.ClientConn, error) {
	standing := func(method string) error {
		h := cfg.History()
		if h == nil {
			return notGood(m.Name)
		}
		now, ok := h.Member(m.Name)
		switch {
		case ok && now.Standing == statement.GoodStanding:
			return nil
		case ok && now.Standing != statement.Left && mayCall(method) == anyPeer:
			return nil
		}
		return notGood(m.Name)
	}
	r := &remote{name: m.Name, address: m.Address, standing: standing}
	if cfg.Dial != nil {
		r.reach = func(ctx context.Context, address string) (net.Conn, error) { return cfg.Dial(ctx, m.Name, address) }
	}
	return r.dial(cfg, func(cs tls.ConnectionState) error {
		caller, err := identity.JudgePeer(cfg.History(), cs, cfg.Now())
		if err == nil && caller.Member != m.Name {
			err = fmt.Errorf("%s answered", caller.Member)
		}
		return err
	})
}

// DialNode prepares a connection of one of our people to our own node at HOST:PORT. It connects with the first call.
// Whoever answers must be exactly spiffe://SELF/node under our own authority. Errors of calls are faults.
func DialNode(address string, cfg Config) (*grpc.ClientConn, error) {
	r := &remote{name: "the node of " + cfg.Self, address: address, own: true}
	return r.dial(cfg, cfg.isOwnNode)
}

// isOwnNode refuses whoever answers and is not our own node.
func (cfg Config) isOwnNode(cs tls.ConnectionState) error {
	caller, err := identity.JudgePerson(cfg.Self, cfg.CA, cs, cfg.Now())
	if err == nil && !caller.Node {
		err = fmt.Errorf("%s answered", caller)
	}
	return err
}

// remote is the other end of our connection, and what is known about why it cannot be reached.
type remote struct {
	name     string // for people
	address  string
	own      bool                                                        // our own node, not a peer
	standing func(method string) error                                   // may we call this now? nil: always
	reach    func(ctx context.Context, address string) (net.Conn, error) // nil: by TCP

	mu      sync.Mutex
	trouble error // why the newest attempt to connect failed, or nil
}

// wrongEnd is the judgement on whoever answered.
type wrongEnd struct{ err error }

func (w *wrongEnd) Error() string { return w.err.Error() }
func (w *wrongEnd) Unwrap() error { return w.err }

func (r *remote) dial(cfg Config, judge func(tls.ConnectionState) error) (*grpc.ClientConn, error) {
	if err := identity.Usable(cfg.Cert, cfg.Now()); err != nil {
		return nil, err
	}
	config := identity.ClientTLS(cfg.Cert, func(cs tls.ConnectionState) error {
		if err := judge(cs); err != nil {
			return &wrongEnd{err}
		}
		return nil
	})
	if cfg.Renewed != nil { // gRPC connects again and again
		config.Certificates = nil
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cfg.Renewed(), nil }
	}
	creds := credentials.NewTLS(config)
	// passthrough: our own dialer resolves the name, and no TXT record tells us how to behave.
	conn, err := grpc.NewClient("passthrough:///"+r.address,
		grpc.WithTransportCredentials(&witness{creds, r}),
		grpc.WithContextDialer(r.connect),
		grpc.WithNoProxy(), // the environment must not decide who stands between members
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limit.Message), grpc.MaxCallSendMsgSize(limit.Message)),
		grpc.WithMaxHeaderListSize(limit.HeaderList),
		grpc.WithStaticStreamWindowSize(limit.StreamWindow),
		grpc.WithStaticConnWindowSize(limit.ConnectionWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: limit.PingAfter, Timeout: limit.PingWait}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: limit.RetryFirst, Multiplier: 2, Jitter: 0.2, MaxDelay: limit.RetryMost},
			MinConnectTimeout: 2 * limit.Handshake, // TCP, then TLS
		}),
		grpc.WithUnaryInterceptor(r.unary),
		grpc.WithStreamInterceptor(r.stream),
	)
	if err != nil {
		return nil, fault.New(fault.Misused, "write it as HOST:PORT", "cannot use the address %.300q: %w", r.address, err)
	}
	return conn, nil
}

func (r *remote) connect(ctx context.Context, address string) (net.Conn, error) {
	reach := r.reach
	if reach == nil {
		reach = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	c, err := reach(ctx, address)
	r.note(err)
	return c, err
}

func (r *remote) note(trouble error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = trouble
}

// witness remembers how the handshake went: of an error in it gRPC keeps the text only.
type witness struct {
	credentials.TransportCredentials
	remote *remote
}

// ClientHandshake does the TLS handshake.
func (w *witness) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	w.remote.note(err)
	return conn, info, err
}

// Clone copies the witness; gRPC asks for that.
func (w *witness) Clone() credentials.TransportCredentials {
	return &witness{w.TransportCredentials.Clone(), w.remote}
}

// explain turns the error of a call into a fault, and says in plain words why the other end could not be reached.
func (r *remote) explain(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok || s.Code() != codes.Unavailable || len(s.Details()) > 0 {
		return FromStatus(err) // it was reached, and what it says it says itself
	}
	r.mu.Lock()
	trouble := r.trouble
	r.mu.Unlock()
	var wrong *wrongEnd
	switch {
	case errors.As(trouble, &wrong):
		return fault.New(fault.Invalid, r.adviceWrongEnd(), "expected %s at %s, but %w", r.name, r.address, wrong.err)
	case errors.Is(trouble, syscall.ECONNREFUSED) && r.own:
		return fault.New(fault.Transient, "start it with: entente node", "no node answers at %s", r.address)
	case trouble != nil && r.own:
		return fault.New(fault.Transient, "start it with: entente node", "no node answers at %s: %w", r.address, trouble)
	case trouble != nil:
		return fault.New(fault.Transient, "", "%s does not answer at %s: %w", r.name, r.address, &unreached{trouble})
	case strings.Contains(s.Message(), "remote error: tls: "):
		_, alert, _ := strings.Cut(s.Message(), "remote error: tls: ")
		return fault.New(fault.Forbidden, r.adviceRefused(), "%s at %s refuses our certificate (%s)", r.name, r.address, printable(strings.Trim(alert, `"`)))
	}
	f := fault.New(fault.Transient, "", "the connection to %s at %s broke: %s", r.name, r.address, printable(s.Message()))
	f.Err = ErrUnreached
	return f
}

// ErrUnreached is in the chain of the error of a call that did not come to another member, or whose connection broke.
var ErrUnreached = errors.New("not reached")

// unreached is a cause with ErrUnreached in its chain.
type unreached struct{ cause error }

func (u *unreached) Error() string   { return u.cause.Error() }
func (u *unreached) Unwrap() []error { return []error{u.cause, ErrUnreached} }

func (r *remote) adviceWrongEnd() string {
	if r.own {
		return "look in entente.toml whether that is the node's address, and whether another program listens there"
	}
	return "ask " + r.name + " by telephone whether the address on its card is right"
}

func (r *remote) adviceRefused() string {
	if r.own {
		return "its log says why; most likely the running node belongs to another home"
	}
	return "the log of " + r.name + " says why; ask whether it has adopted the same charter"
}

func (r *remote) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if r.standing != nil {
		if err := r.standing(method); err != nil {
			return err
		}
	}
	return r.explain(invoke(ctx, method, req, reply, cc, opts...))
}

func (r *remote) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	standing := func() error { return nil }
	if r.standing != nil {
		standing = func() error { return r.standing(method) }
	}
	if err := standing(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		cancel()
		return nil, r.explain(err)
	}
	now := time.Now()
	return &clientStream{ClientStream: s, remote: r, cancel: cancel, once: !desc.ServerStreams,
		// What we send must move. What we wait for may take long: the other side checks a whole document before it answers.
		out: guard{judge: standing, judged: now, moving: true},
		in:  guard{judge: standing, judged: now},
	}, nil
}

// clientStream is a stream of ours, watched like those that come in. It ends when a receive fails.
type clientStream struct {
	grpc.ClientStream
	remote  *remote
	cancel  context.CancelFunc
	once    bool // the other side answers once
	in, out guard
}

// SendMsg sends, and gives up when the other side may not go on or does not take what we send.
func (c *clientStream) SendMsg(m any) error {
	return c.done(c.out.do(c.ClientStream.SendMsg, m), false)
}

// RecvMsg receives, and gives up when the other side may not go on. After an error m must not be used.
func (c *clientStream) RecvMsg(m any) error {
	return c.done(c.in.do(c.ClientStream.RecvMsg, m), true)
}

// done ends the stream if it is over. A send that gave io.EOF is not over yet: the reason comes with the next receive.
func (c *clientStream) done(err error, received bool) error {
	_, gaveUp := err.(*fault.Error) //nolint:errorlint // what guard returns, and gRPC never
	if gaveUp || received && (err != nil || c.once) {
		c.cancel()
	}
	return c.remote.explain(err)
}
