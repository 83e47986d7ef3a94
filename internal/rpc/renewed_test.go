package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
	"testing"
	"time"

	"entente.example/internal/member"
)

// A connection that is kept shows the certificate that was renewed last whenever it connects again.
func TestRenewedOnKeptConnection(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	alpha := w.parties["alpha"]
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{w.parties["bravo"].keys.Node},
		ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	shown := make(chan *x509.Certificate, 100)
	go func() { // it hangs up on everybody
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			line := c.(*tls.Conn)
			if line.HandshakeContext(t.Context()) == nil {
				shown <- line.ConnectionState().PeerCertificates[0]
			}
			c.Close()
		}
	}()
	var newest atomic.Pointer[tls.Certificate]
	newest.Store(&alpha.keys.Node)
	cfg := w.config(alpha)
	cfg.Renewed = newest.Load
	conn := w.kept(DialPeer(member.Member{Name: "bravo", Address: l.Addr().String()}, cfg))
	see := func(want *x509.Certificate) bool {
		conn.Connect()
		select {
		case got := <-shown:
			return got.Equal(want)
		case <-time.After(100 * time.Millisecond):
			return false
		}
	}
	if !eventually(func() bool { return see(alpha.keys.Node.Leaf) }) {
		t.Fatal("it does not show its certificate")
	}
	renewed, err := alpha.keys.RenewNode(alpha.dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	newest.Store(&renewed)
	if !eventually(func() bool { return see(renewed.Leaf) }) {
		t.Error("it goes on showing the old certificate")
	}
}
