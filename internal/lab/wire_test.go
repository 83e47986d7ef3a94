package lab_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// wire is the network between members, as somebody sees it who records everything: every member's card names a relay.
type wire struct {
	t *testing.T

	mu    sync.Mutex // guards what follows
	tapes []*tape
}

// tape is what went over one connection.
type tape struct {
	to       string // member
	mu       sync.Mutex
	up, down bytes.Buffer // what the caller sent, and what it was answered
}

// relay gives the address of a relay in front of a member.
func (w *wire) relay(member, listens string) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.carry(c, member, listens) })
		}
	})
	w.t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

// carry relays one connection until both sides have ended it.
func (w *wire) carry(caller net.Conn, member, listens string) {
	defer caller.Close()
	node, err := net.Dial("tcp", listens)
	if err != nil {
		return // the node is down, which the caller sees
	}
	defer node.Close()
	rec := &tape{to: member}
	w.mu.Lock()
	w.tapes = append(w.tapes, rec)
	w.mu.Unlock()
	var both sync.WaitGroup
	one := func(from, to net.Conn, buf *bytes.Buffer) {
		_, _ = io.Copy(to, io.TeeReader(from, writerFunc(func(p []byte) (int, error) {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			return buf.Write(p)
		})))
		_ = to.Close()
		_ = from.Close()
	}
	both.Go(func() { one(caller, node, &rec.up) })
	both.Go(func() { one(node, caller, &rec.down) })
	both.Wait()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// search looks through all that was recorded: TLS 1.3 with the hybrid key exchange on every connection, and no secret, no
// person and no statement in clear.
func (w *wire) search(canaries []canary) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range []string{canarySender, canaryReader, "spiffe://", "entente.example/manifest", "entente.example/receipt"} {
		canaries = append(canaries, canary{what: fmt.Sprintf("%q", s), secret: []byte(s)})
	}
	reached, bytesSeen := map[string]bool{}, 0
	for _, rec := range w.tapes {
		rec.mu.Lock()
		up, down := rec.up.Bytes(), rec.down.Bytes()
		rec.mu.Unlock()
		bytesSeen += len(up) + len(down)
		reached[rec.to] = true
		version, group, err := serverHello(down)
		if err != nil {
			w.t.Errorf("to %s: %v", rec.to, err)
		} else if version != tls.VersionTLS13 || group != 0x11ec { // X25519MLKEM768, as IANA lists it
			w.t.Errorf("to %s: version %#04x with group %#04x", rec.to, version, group)
		}
		for _, c := range canaries {
			if form := c.find(up) + c.find(down); form != "" {
				w.t.Errorf("%s went over the wire to %s (%s)", c.what, rec.to, form)
			}
		}
	}
	// The document to bravo and to charlie, and bravo's receipt back to alpha.
	if len(reached) != 3 || bytesSeen < 2*300_000 {
		w.t.Errorf("recorded %d bytes to %v, which cannot be all", bytesSeen, reached)
	}
}

// serverHello reads the protocol version and the key exchange that a server chose, RFC 8446, section 4.1.3.
func serverHello(down []byte) (version, group uint16, err error) {
	const record, handshake, hello = 5, 4, 2
	if len(down) < record || down[0] != 22 {
		return 0, 0, fmt.Errorf("the answer does not begin with a TLS handshake: % x", down[:min(len(down), 8)])
	}
	msg := down[record:]
	if size := int(binary.BigEndian.Uint16(down[3:])); len(msg) > size {
		msg = msg[:size]
	}
	if len(msg) < handshake+2+32+1 || msg[0] != hello {
		return 0, 0, fmt.Errorf("no ServerHello: % x", msg[:min(len(msg), 8)])
	}
	rest := msg[handshake+2+32:]
	if len(rest) < 1+int(rest[0])+2+1+2 {
		return 0, 0, fmt.Errorf("the ServerHello is cut off")
	}
	rest = rest[1+int(rest[0])+2+1+2:] // session id, cipher suite, compression, length of the extensions
	for len(rest) >= 4 {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if rest = rest[4:]; len(rest) < size {
			break
		}
		switch {
		case kind == 43 && size == 2: // supported_versions
			version = binary.BigEndian.Uint16(rest)
		case kind == 51 && size >= 2: // key_share
			group = binary.BigEndian.Uint16(rest)
		}
		rest = rest[size:]
	}
	return version, group, nil
}
