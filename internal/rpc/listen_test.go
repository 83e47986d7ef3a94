package rpc

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	ententev1 "entente.example/proto/entente/v1"
)

func TestListenInUse(t *testing.T) {
	t.Parallel()
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(t.Context(), l.Addr().String())
	wantFault(t, err, fault.Conflict, "another program listens at "+l.Addr().String(), "choose another address")
	_, err = Listen(t.Context(), "127.0.0.1:99999")
	wantFault(t, err, fault.Failed, "cannot listen at 127.0.0.1:99999", "entente.toml")
}

// closed tells whether the other side closes a connection within the time.
func closed(c net.Conn, within time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(within))
	_, err := io.Copy(io.Discard, c)
	return err == nil || !strings.Contains(err.Error(), "i/o timeout")
}

// TestSilentConnections opens connections that never begin a handshake.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	alpha := w.parties["alpha"]
	dial := func() net.Conn {
		c, err := net.Dial("tcp", alpha.peerAddress)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	// Whoever was there before is not in anybody's way.
	client := w.dialPeer("bravo", "alpha")
	if _, err := client.Return(t.Context(), receipt); err != nil {
		t.Fatal(err)
	}
	first := dial()
	for range limit.Unauthenticated - 1 {
		dial()
	}
	if !closed(dial(), limit.Handshake/2) {
		t.Errorf("connection %d is kept", limit.Unauthenticated+1)
	}
	if _, err := client.Return(t.Context(), receipt); err != nil {
		t.Errorf("a peer that is connected is not served: %v", err)
	}
	if !closed(first, limit.Handshake+5*time.Second) {
		t.Error("a silent connection is kept beyond the time for handshakes")
	}
	if !eventually(func() bool { _, err := w.dialPeer("bravo", "alpha").Return(t.Context(), receipt); return err == nil }) {
		t.Error("nobody new is served any more")
	}
}

// TestManyConnections opens more connections than one peer may have.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	var clients []ententev1.PeerServiceClient
	for n := range 2 * limit.Deliveries {
		c := w.dialPeer("bravo", "alpha")
		if _, err := c.Return(t.Context(), receipt); err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		clients = append(clients, c)
	}
	if _, err := w.dialPeer("bravo", "alpha").Return(t.Context(), receipt); fault.KindOf(err) != fault.Transient {
		t.Errorf("one too many: %v", err)
	}
	wantLine(t, w.parties["alpha"].log, "refused connection", "spiffe://bravo/node has 16 connections under way already")
	if _, err := w.dialPeer("charlie", "alpha").Return(t.Context(), receipt); err != nil {
		t.Errorf("another peer is not served: %v", err)
	}
	if _, err := clients[0].Return(t.Context(), receipt); err != nil {
		t.Errorf("the peer's first connection is of no use any more: %v", err)
	}
}

// TestConnectionCounts counts by hand, in every order in which handshakes and ends can come.
func TestConnectionCounts(t *testing.T) {
	t.Parallel()
	l := &countedListener{}
	for n := range limit.Unauthenticated {
		if !l.enter() {
			t.Fatalf("connection %d was refused", n)
		}
	}
	if l.enter() {
		t.Error("one too many was let in")
	}
	left := 0
	leave := func() { left++ }
	a, b := net.Pipe()
	defer b.Close()
	late := &countedConn{Conn: a, listener: l}
	late.Close()
	late.Close()
	late.authenticated(leave)
	if l.all != limit.Unauthenticated-1 || l.new != l.all || left != 1 {
		t.Errorf("closed before the handshake: %d, %d new, %d left", l.all, l.new, left)
	}
	known := &countedConn{Conn: a, listener: l}
	known.authenticated(leave)
	if l.all != limit.Unauthenticated-1 || l.new != l.all-1 || left != 1 {
		t.Errorf("after the handshake: %d, %d new, %d left", l.all, l.new, left)
	}
	known.Close()
	known.Close()
	if l.all != limit.Unauthenticated-2 || l.new != l.all || left != 2 {
		t.Errorf("closed after the handshake: %d, %d new, %d left", l.all, l.new, left)
	}
	for l.all < limit.Connections {
		l.new = 0
		if !l.enter() {
			t.Fatalf("connection %d was refused", l.all)
		}
	}
	if l.new = 0; l.enter() {
		t.Error("more than all were let in")
	}
}
