package node

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// lines is connections to other members that are kept open, for what is small and frequent. A handshake would take longer than a
// co-signature. Documents travel on lanes.
type lines struct {
	mu   sync.Mutex
	open map[string]line // by member
}

type line struct {
	*grpc.ClientConn
	card statement.Hash // it leads to the address on that card
}

// call calls a member. After a failure that may pass, the next call makes a new connection, since gRPC would wait on the old one.
func call[T any](ctx context.Context, n *node, to member.Member, fn func(ententev1.PeerServiceClient) (T, error)) (T, error) {
	if n.stub != nil {
		return fn(n.stub(ctx, to.Name))
	}
	var none T
	conn, err := n.lines.to(ctx, n, to)
	if err != nil {
		return none, err
	}
	out, err := fn(ententev1.NewPeerServiceClient(conn))
	if err == nil {
		n.heard(to.Name)
	}
	if k := fault.KindOf(err); err != nil && (k == fault.Transient || k == fault.Failed) {
		n.lines.drop(to.Name, conn)
	}
	return out, err
}

func (l *lines) to(ctx context.Context, n *node, to member.Member) (line, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.open[to.Name]; ok {
		if have.card == to.Card {
			return have, nil
		}
		_ = have.Close()
		delete(l.open, to.Name)
	}
	conn, err := rpc.DialPeer(to, n.rpcConfig(context.WithoutCancel(ctx)))
	if err != nil {
		return line{}, err
	}
	if l.open == nil {
		l.open = map[string]line{}
	}
	l.open[to.Name] = line{conn, to.Card}
	return l.open[to.Name], nil
}

// drop closes a connection, unless there is another one already.
func (l *lines) drop(name string, conn line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[name] == conn {
		delete(l.open, name)
	}
	_ = conn.Close()
}

// lanes is connections on which documents travel, one document at a time: a recipient that takes one slowly holds up no other. Those that nobody
// uses are kept, at most limit.Deliveries for a member, because a handshake takes longer than a small document. The zero value is ready.
type lanes struct {
	mu     sync.Mutex
	idle   map[string][]line // by member
	closed bool
}

// take gives a connection to a member that is the caller's alone until it gives it back.
func (l *lanes) take(ctx context.Context, n *node, to member.Member) (line, error) {
	l.mu.Lock()
	for idle := l.idle[to.Name]; len(idle) > 0; idle = l.idle[to.Name] {
		have := idle[len(idle)-1]
		l.idle[to.Name] = idle[:len(idle)-1]
		if have.card == to.Card {
			l.mu.Unlock()
			return have, nil
		}
		_ = have.Close() // it leads to an address that is not theirs any more
	}
	l.mu.Unlock()
	conn, err := n.dial(context.WithoutCancel(ctx), to)
	return line{conn, to.Card}, err
}

// give takes a connection back, or closes it: after an error nobody knows what state it is in.
func (l *lanes) give(member string, conn line, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || l.closed || len(l.idle[member]) >= limit.Deliveries {
		_ = conn.Close()
		return
	}
	if l.idle == nil {
		l.idle = map[string][]line{}
	}
	l.idle[member] = append(l.idle[member], conn)
}

// close closes all that nobody uses, and has the others closed when they are given back.
func (l *lanes) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, idle := range l.idle {
		for _, conn := range idle {
			_ = conn.Close()
		}
	}
	l.idle, l.closed = nil, true
}

// close closes all of them.
func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, conn := range l.open {
		_ = conn.Close()
		delete(l.open, name)
	}
}
