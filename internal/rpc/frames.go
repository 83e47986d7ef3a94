package rpc

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"golang.org/x/time/rate"

	"entente.example/internal/limit"
)

// frames reads along on a connection of another member, and breaks it off when its HTTP/2 frames cost us far more than they hold. gRPC bounds
// the bytes that a stream may have waiting here, and not what each frame takes beside them: a message in frames of one byte takes sixty
// times its size. Nor does it bound the frames that wait for its own writer, which waits itself if the caller takes nothing.
//
// It follows RFC 9113, section 4.1, just far enough to see the heads of frames. One goroutine reads and another writes.
type frames struct {
	net.Conn
	preface int // bytes of the client's preface that are still to come
	head    [9]byte
	have    int    // bytes of head that are here
	payload uint32 // bytes of the frame that are still to come
	streams [4 * limit.PeerStreams]crumbs
	others  *rate.Limiter
}

// crumbs counts the DATA frames of a stream. An older stream loses its place to a newer one.
type crumbs struct{ stream, frames, bytes uint32 }

func newFrames(c net.Conn) *frames {
	return &frames{Conn: c, preface: len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), others: rate.NewLimiter(limit.FrameRate, limit.FrameBurst)}
}

// Read reads, and fails for good at the first frame that is one too many.
func (f *frames) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	for b := p[:n]; len(b) > 0; {
		switch {
		case f.preface > 0:
			skip := min(f.preface, len(b))
			f.preface, b = f.preface-skip, b[skip:]
		case f.payload > 0:
			skip := min(f.payload, uint32(len(b))) //nolint:gosec // a read is far smaller
			f.payload, b = f.payload-skip, b[skip:]
		default:
			c := copy(f.head[f.have:], b)
			f.have, b = f.have+c, b[c:]
			if f.have < len(f.head) {
				continue
			}
			f.have = 0
			if err := f.judge(); err != nil {
				return 0, err
			}
		}
	}
	return n, err
}

const (
	frameData    = 0x0
	frameHeaders = 0x1
	flagEnd      = 0x1 // END_STREAM
)

// judge looks at the head of a frame.
func (f *frames) judge() error {
	f.payload = uint32(f.head[0])<<16 | uint32(f.head[1])<<8 | uint32(f.head[2])
	stream := binary.BigEndian.Uint32(f.head[5:]) &^ (1 << 31)
	switch f.head[3] {
	case frameHeaders: // bounded as calls are
	case frameData:
		if f.head[4]&flagEnd != 0 {
			return nil // no other follows
		}
		at := &f.streams[stream/2%uint32(len(f.streams))]
		if stream > at.stream { // an older one that is still open counts with the newer
			*at = crumbs{stream: stream}
		}
		at.frames, at.bytes = at.frames+1, at.bytes+f.payload
		if at.frames > limit.FramesFree && at.bytes/at.frames < limit.FrameData {
			return fmt.Errorf("data in %d frames of %d bytes", at.frames, at.bytes/at.frames)
		}
		if at.bytes > 16<<20 { // what counts is what came lately
			at.frames, at.bytes = at.frames/2, at.bytes/2
		}
	default:
		if !f.others.Allow() {
			return fmt.Errorf("more than %d frames a second that are no data", limit.FrameRate)
		}
	}
	return nil
}

// Write writes, but does not wait for ever for a caller that takes nothing.
func (f *frames) Write(p []byte) (int, error) {
	if err := f.Conn.SetWriteDeadline(time.Now().Add(limit.ProgressTime)); err != nil {
		return 0, err
	}
	return f.Conn.Write(p)
}
