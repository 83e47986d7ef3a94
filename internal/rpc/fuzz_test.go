package rpc

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// piece gives what it holds in pieces of a size.
type piece struct {
	net.Conn
	rest []byte
	size int
}

func (p *piece) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// FuzzFrames gives anything to who reads along: what it lets through is unchanged, and what it refuses does not depend on how it came in pieces.
func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&b, nil)
	_ = framer.WriteSettings()
	_ = framer.WriteData(1, false, []byte("data"))
	_ = framer.WriteData(1, true, nil)
	f.Add(b.Bytes(), 1)
	f.Add(bytes.Repeat([]byte{0}, 9*100), 7)
	f.Fuzz(func(t *testing.T, sent []byte, size int) {
		if size < 1 || size > 1<<20 {
			return
		}
		whole, err := io.ReadAll(newFrames(&piece{rest: sent, size: len(sent) + 1}))
		parts, err2 := io.ReadAll(newFrames(&piece{rest: sent, size: size}))
		if (err == nil) != (err2 == nil) || !bytes.HasPrefix(sent, whole) || !bytes.HasPrefix(sent, parts) || err == nil && len(whole) != len(sent) {
			t.Errorf("%d bytes, %v; in pieces of %d %d bytes, %v", len(whole), err, size, len(parts), err2)
		}
	})
}
