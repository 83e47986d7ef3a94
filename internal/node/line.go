package node

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"entente.example/internal/fault"
	"entente.example/internal/member"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// lines is connections to other members that are kept open, for what is small and frequent. A handshake would take longer than a
// co-signature. Documents travel on connections of their own.
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

// close closes all of them.
func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, conn := range l.open {
		_ = conn.Close()
		delete(l.open, name)
	}
}
