//go:build compose

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// tape is what passed over a bridge of the engine, frame by frame, as somebody sees it who records everything.
type tape struct {
	t      *testing.T
	fd     int
	stop   chan struct{}
	ended  sync.WaitGroup
	frames [][]byte // the recorder's until it has ended
}

// record begins to record everything that passes over a bridge.
func record(t *testing.T, bridge string) *tape {
	t.Helper()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("record the traffic: %s: %v", what, err)
		}
	}
	const allProtocols = syscall.ETH_P_ALL<<8&0xff00 | syscall.ETH_P_ALL>>8 // in network byte order
	ifc, err := net.InterfaceByName(bridge)
	check("find "+bridge, err)
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, allProtocols)
	check("open socket", err)
	check("bind", syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: allProtocols, Ifindex: ifc.Index}))
	check("bound a read", syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100_000}))
	check("buffer", syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 32<<20))
	// struct packet_mreq of packet(7), until the socket is closed: see what is not for us.
	member := binary.NativeEndian.AppendUint32(nil, uint32(ifc.Index))
	member = binary.NativeEndian.AppendUint16(member, syscall.PACKET_MR_PROMISC)
	member = append(member, make([]byte, 2+8)...)
	check("see what is not for us", syscall.SetsockoptString(fd, syscall.SOL_PACKET, syscall.PACKET_ADD_MEMBERSHIP, string(member)))
	r := &tape{t: t, fd: fd, stop: make(chan struct{})}
	r.ended.Go(func() {
		buf := make([]byte, 1<<17) // a frame is larger than the network's where the card would have cut it
		for {
			n, _, err := syscall.Recvfrom(fd, buf, 0)
			if err == nil {
				r.frames = append(r.frames, bytes.Clone(buf[:n]))
				continue
			}
			select {
			case <-r.stop:
				return
			default:
			}
		}
	})
	return r
}

// end ends the recording, after what has passed already.
func (r *tape) end() {
	close(r.stop)
	r.ended.Wait()
	syscall.Close(r.fd)
}

// flow is one direction of one connection: addresses and ports as in the packet.
type flow string

type segment struct {
	seq  uint32
	data []byte
}

// streams puts together what was sent over every connection whose beginning was recorded.
func (r *tape) streams() map[flow][]byte {
	r.t.Helper()
	began, parts := map[flow]uint32{}, map[flow][]segment{}
	for _, f := range r.frames {
		const ethernet, tcp = 14, 6
		if len(f) < ethernet+20 || binary.BigEndian.Uint16(f[12:]) != syscall.ETH_P_IP || f[ethernet+9] != tcp {
			continue // ARP, IPv6 neighbours
		}
		ip := f[ethernet:]
		head := int(ip[0]&15) * 4
		t := ip[head:max(head, min(int(binary.BigEndian.Uint16(ip[2:])), len(ip)))]
		if len(t) < 20 {
			r.t.Fatalf("a frame is cut off: % x", f)
		}
		id := flow(string(ip[12:20]) + string(t[:4]))
		seq, data := binary.BigEndian.Uint32(t[4:]), t[int(t[12]>>4)*4:]
		if t[13]&2 != 0 { // SYN
			began[id] = seq + 1
		}
		if len(data) > 0 {
			parts[id] = append(parts[id], segment{seq, data})
		}
	}
	whole := map[flow][]byte{}
	for id, first := range began {
		list := parts[id]
		slices.SortStableFunc(list, func(a, b segment) int { return int(int32(a.seq-first)) - int(int32(b.seq-first)) })
		var stream []byte
		for _, s := range list {
			at := int(int32(s.seq - first))
			switch {
			case at > len(stream):
				r.t.Fatalf("the recording of a connection has a hole at %d", len(stream))
			case at+len(s.data) > len(stream) && at >= 0:
				stream = append(stream[:at], s.data...)
			}
		}
		whole[id] = stream
	}
	return whole
}

// check looks through the recording: at least as much as was sent, TLS 1.3 with the hybrid key exchange on every
// connection, and nothing of what must not be seen, in clear or in base64.
func (r *tape) check(least int, secrets ...string) {
	r.t.Helper()
	all, hellos, seen := r.streams(), 0, 0
	for id, stream := range all {
		seen += len(stream)
		if version, group, ok := serverHello(stream); ok {
			hellos++
			if version != 0x0304 || group != 0x11ec { // TLS 1.3, X25519MLKEM768
				r.t.Errorf("a connection speaks version %#04x with group %#04x", version, group)
			}
		} else if len(stream) == 0 || stream[0] != 22 {
			r.t.Errorf("the connection % x does not begin with a TLS handshake: % x", id, stream[:min(len(stream), 16)])
		}
		r.search(stream, secrets)
	}
	for _, f := range r.frames { // and what belongs to no connection, or to one from before
		r.search(f, secrets)
	}
	if hellos == 0 || hellos*2 != len(all) || seen < least {
		r.t.Errorf("recorded %d bytes in %d directions with %d answers to a handshake, which cannot be all", seen, len(all), hellos)
	}
	r.t.Logf("recorded %d frames and %d bytes in %d connections: TLS 1.3, X25519MLKEM768, nothing in clear", len(r.frames), seen, hellos)
}

func (r *tape) search(b []byte, secrets []string) {
	r.t.Helper()
	for _, s := range secrets {
		if bytes.Contains(b, []byte(s)) {
			r.t.Errorf("%q passed in clear", s)
		}
		for skip := range 3 { // base64 depends on where it begins
			if len(s) < skip+9 {
				continue
			}
			text := base64.RawStdEncoding.EncodeToString([]byte(s)[skip : skip+(len(s)-skip)/3*3])
			if bytes.Contains(b, []byte(text)) {
				r.t.Errorf("%q passed in base64", s)
			}
		}
	}
}

// serverHello reads the protocol version and the key exchange that a server chose, RFC 8446, section 4.1.3.
func serverHello(b []byte) (version, group uint16, ok bool) {
	if len(b) < 5+4+2+32+1 || b[0] != 22 || b[5] != 2 {
		return 0, 0, false
	}
	rest := b[5+4+2+32:]
	if skip := 1 + int(rest[0]) + 2 + 1 + 2; len(rest) >= skip {
		rest = rest[skip:] // session id, cipher suite, compression, length of the extensions
	}
	for len(rest) >= 4 && (version == 0 || group == 0) {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if rest = rest[4:]; len(rest) < max(size, 2) {
			break
		}
		switch kind {
		case 43: // supported_versions
			version = binary.BigEndian.Uint16(rest)
		case 51: // key_share
			group = binary.BigEndian.Uint16(rest)
		}
		rest = rest[size:]
	}
	return version, group, true
}
