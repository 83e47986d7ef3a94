package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

// farewell is how long a refused connection stays open so that the refusal arrives. Closing at once, with the caller's
// next bytes unread, would make TCP throw the TLS alert away, and the caller would learn nothing.
const farewell = 200 * time.Millisecond

// Listen listens on HOST:PORT and bounds the connections: limit.Connections in all, and limit.Unauthenticated that have
// not ended their handshake. What is beyond is closed at once. A port in use is a fault with a hint.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &fault.Error{Kind: fault.Conflict, Text: "another program listens at " + address, Hint: "stop the other program, or choose another address in entente.toml", Err: err}
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err // our sentence names the address already
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "check the address in entente.toml", "cannot listen at %s: %w", address, err)
	}
	return &countedListener{Listener: l}, nil
}

type countedListener struct {
	net.Listener
	mu       sync.Mutex
	all, new int // connections that are open, and those of them that have not ended their handshake
}

// Accept waits for a connection within the bounds.
func (l *countedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.enter() {
			return &countedConn{Conn: c, listener: l}, nil
		}
		_ = c.Close()
	}
}

func (l *countedListener) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= limit.Connections || l.new >= limit.Unauthenticated {
		return false
	}
	l.all++
	l.new++
	return true
}

// countedConn leaves the counts when it is closed.
type countedConn struct {
	net.Conn
	listener *countedListener
	// Guarded by listener.mu.
	known, closed bool
	leave         func() // tells whoever counts by caller
}

// authenticated says that the handshake is done. leave is called once, when the connection is closed.
func (c *countedConn) authenticated(leave func()) {
	c.listener.mu.Lock()
	late := c.closed
	if !late {
		c.known, c.leave = true, leave
		c.listener.new--
	}
	c.listener.mu.Unlock()
	if late {
		leave()
	}
}

// Close closes the connection. Who was not let in gets a moment to read why.
func (c *countedConn) Close() error {
	c.listener.mu.Lock()
	first, known, leave := !c.closed, c.known, c.leave
	c.closed = true
	c.listener.mu.Unlock()
	if !first {
		return c.Conn.Close()
	}
	if !known {
		c.sayFarewell()
	}
	err := c.Conn.Close()
	c.listener.mu.Lock()
	c.listener.all--
	if !known {
		c.listener.new--
	}
	c.listener.mu.Unlock()
	if leave != nil {
		leave()
	}
	return err
}

func (c *countedConn) sayFarewell() {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil || tcp.SetDeadline(time.Now().Add(farewell)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, tcp, 64<<10)
}
