package rpc

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	ententev1 "entente.example/proto/entente/v1"
)

// raw speaks HTTP/2 to a peer port as no client of ours would.
type raw struct {
	*http2.Framer
	conn    net.Conn
	headers bytes.Buffer
	hpack   *hpack.Encoder
	mu      sync.Mutex
	status  map[uint32]string // grpc-status by stream
	pongs   int
	ended   chan struct{} // the other side has closed the connection
}

func (w *world) raw(from, to string) *raw {
	w.t.Helper()
	config := identity.ClientTLS(w.parties[from].keys.Node, func(tls.ConnectionState) error { return nil })
	config.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", w.parties[to].peerAddress, config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	r := &raw{Framer: http2.NewFramer(c, c), conn: c, status: map[uint32]string{}, ended: make(chan struct{})}
	r.hpack = hpack.NewEncoder(&r.headers)
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		w.t.Fatal(err)
	}
	if err := r.WriteSettings(); err != nil {
		w.t.Fatal(err)
	}
	go r.listen()
	return r
}

func (r *raw) listen() {
	defer close(r.ended)
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return
		}
		r.mu.Lock()
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.RegularFields() {
				if field.Name == "grpc-status" {
					r.status[f.StreamID] = field.Value
				}
			}
		case *http2.PingFrame:
			r.pongs++
		}
		r.mu.Unlock()
	}
}

// seen waits until the other side has seen all frames so far.
func (r *raw) seen() bool {
	r.mu.Lock()
	pongs := r.pongs
	r.mu.Unlock()
	return r.WritePing(false, [8]byte{}) == nil && eventually(func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.pongs > pongs })
}

func (r *raw) answered(stream uint32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status[stream]
}

func (r *raw) cut() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// call begins a call of a method, and does not end it.
func (r *raw) call(stream uint32, method string, more ...hpack.HeaderField) error {
	r.headers.Reset()
	for _, f := range append([]hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: "alpha"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}}, more...) {
		if err := r.hpack.WriteField(f); err != nil {
			return err
		}
	}
	return r.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: r.headers.Bytes(), EndHeaders: true})
}

// message gives the beginning of a message that claims a size.
func message(flag byte, claims int, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(claims)), body...)
}

const (
	returnPath  = ententev1.PeerService_Return_FullMethodName
	deliverPath = ententev1.PeerService_Deliver_FullMethodName
)

// TestBegunMessages begins calls over several connections, each with a part of a message, and ends none. Without the door (InTapHandle) gRPC
// would keep 64 of them for each connection.
func TestBegunMessages(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	conns := []*raw{w.raw("bravo", "alpha"), w.raw("bravo", "alpha"), w.raw("bravo", "alpha")}
	for n := range limit.PeerStreams {
		c, stream := conns[n%3], uint32(2*n+1)
		if err := errors.Join(c.call(stream, returnPath), c.WriteData(stream, false, message(0, 1000, make([]byte, 10)))); err != nil {
			t.Fatal(err)
		}
	}
	for n, c := range conns {
		if !c.seen() {
			t.Fatalf("connection %d hangs", n)
		}
	}
	for n := range 3 * limit.PeerStreams {
		c, stream := conns[n%3], uint32(1001+2*n)
		if err := c.call(stream, returnPath); err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool { return c.answered(stream) == "14" }) {
			t.Fatalf("call %d beyond %d has the status %q", n, limit.PeerStreams, c.answered(stream))
		}
	}
	log := w.parties["alpha"].log
	wantLine(t, log, "refused call", "spiffe://bravo/node has 64 calls under way already")
	if n := strings.Count(log.String(), `"refused call"`); n != 1 {
		t.Errorf("%d lines about refused calls", n)
	}
	if _, err := w.dialPeer("charlie", "alpha").Return(t.Context(), receipt); err != nil {
		t.Errorf("another peer is not served: %v", err)
	}
	for n := range limit.PeerStreams {
		if err := conns[n%3].WriteRSTStream(uint32(2*n+1), http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
	}
	if !eventually(func() bool { _, err := w.dialPeer("bravo", "alpha").Return(t.Context(), receipt); return err == nil }) {
		t.Error("the count does not go down again")
	}
}

// TestLateMessages has the door wait for a message that does not come, and for one that does.
func TestLateMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log lines
		d := newDoor(slog.New(slog.NewJSONHandler(&log, nil)), true)
		ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}}})
		begun := time.Now()
		late, err := d.open(ctx, &tap.Info{FullMethodName: "/x/y\x1b"})
		if err != nil {
			t.Fatal(err)
		}
		here, err := d.open(ctx, &tap.Info{FullMethodName: returnPath})
		if err != nil {
			t.Fatal(err)
		}
		arrived(here)
		<-late.Done()
		if took := time.Since(begun); took != limit.ProgressTime {
			t.Errorf("cut after %s", took)
		}
		time.Sleep(time.Hour)
		if here.Err() != nil {
			t.Error("a call whose message arrived was cut")
		}
		synctest.Wait()
		d.streams.mu.Lock()
		defer d.streams.mu.Unlock()
		if n := d.streams.n["a certificate without a URI"]; n != 1 {
			t.Errorf("%d calls are counted", n)
		}
		if s := log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, `did not arrive`) || strings.Contains(s, `\u001b`) {
			t.Errorf("log: %s", s)
		}
	})
}

// TestCrumbs sends what costs far more than it holds. Without newFrames, every one of these connections stays.
func TestCrumbs(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	w.parties["alpha"].handlers.deliver = func(s ententev1.PeerService_DeliverServer) error {
		for {
			if _, err := s.Recv(); err != nil {
				return err
			}
		}
	}
	for name, attack := range map[string]func(r *raw, n int) error{
		"a message in frames of a byte": func(r *raw, n int) error {
			if n == 0 {
				return errors.Join(r.call(1, deliverPath), r.WriteData(1, false, message(0, limit.Request, nil)))
			}
			return r.WriteData(1, false, []byte{0})
		},
		"empty frames": func(r *raw, n int) error {
			if n == 0 {
				return r.call(1, deliverPath)
			}
			return r.WriteData(1, false, nil)
		},
		"window updates": func(r *raw, _ int) error { return r.WriteWindowUpdate(0, 1) },
		"settings":       func(r *raw, _ int) error { return r.WriteSettings() },
		"pings":          func(r *raw, _ int) error { return r.WritePing(false, [8]byte{}) },
		"continuations of one header without end": func(r *raw, n int) error {
			if n == 0 {
				return r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			}
			return r.WriteContinuation(1, false, bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 100))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := w.raw("bravo", "alpha")
			n := 0
			for ; n < 100*limit.FrameBurst && !r.cut(); n++ {
				if attack(r, n) != nil {
					break
				}
			}
			if !eventually(r.cut) {
				t.Errorf("the connection is there after %d frames", n)
			}
			if _, err := w.dialPeer("charlie", "alpha").Return(t.Context(), receipt); err != nil {
				t.Errorf("another peer is not served: %v", err)
			}
		})
	}
}

// TestResets resets every call as soon as it has begun. None of them may stay.
func TestResets(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	r := w.raw("bravo", "alpha")
	for n := range 3000 { // less than what breaks the connection
		stream := uint32(2*n + 1)
		if err := errors.Join(r.call(stream, deliverPath), r.WriteRSTStream(stream, http2.ErrCodeCancel)); err != nil {
			t.Fatal(err)
		}
		if n == 1500 {
			if _, err := w.dialPeer("charlie", "alpha").Return(t.Context(), receipt); err != nil {
				t.Errorf("another peer is not served: %v", err)
			}
		}
	}
	if !eventually(func() bool { _, err := w.dialPeer("bravo", "alpha").Return(t.Context(), receipt); return err == nil }) {
		t.Error("the peer is not served any more")
	}
	if n := strings.Count(w.parties["alpha"].log.String(), `"level":"INFO"`) + strings.Count(w.parties["alpha"].log.String(), `"level":"WARN"`); n > 10 {
		t.Errorf("%d lines in the log", n)
	}
}

// TestForeignMessages sends what no client of ours does: compressed, claiming too much, ending too early, in a header of a megabyte.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	r := w.raw("bravo", "alpha")
	gzip := hpack.HeaderField{Name: "grpc-encoding", Value: "gzip"}
	for i, c := range []struct {
		name, status string
		message      []byte
		more         []hpack.HeaderField
	}{
		{"compressed", "12", message(1, 20, make([]byte, 20)), []hpack.HeaderField{gzip}},
		{"compressed, and does not say so", "13", message(1, 20, make([]byte, 20)), nil},
		{"more than a peer may send", "8", message(0, limit.Request+1, nil), nil},
		{"more than there is memory", "8", message(0, 1<<32-1, nil), nil},
		{"shorter than it says", "13", message(0, 20, make([]byte, 19)), nil},
		{"longer than it says", "13", message(0, 20, make([]byte, 26)), nil},
	} {
		stream := uint32(2*i + 1)
		if err := errors.Join(r.call(stream, returnPath, c.more...), r.WriteData(stream, true, c.message)); err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool { return r.answered(stream) != "" }) || r.answered(stream) == "0" {
			t.Errorf("%s: status %q", c.name, r.answered(stream))
		} else if got := r.answered(stream); got != c.status {
			t.Errorf("%s: status %s, want %s", c.name, got, c.status)
		}
	}
	// A header block of a megabyte: the framer of x/net gives up at limit.HeaderList.
	_ = r.call(101, returnPath, hpack.HeaderField{Name: "x-long", Value: strings.Repeat("~", limit.HeaderList)})
	if !eventually(func() bool { return r.cut() || r.answered(101) != "" }) || r.answered(101) == "0" {
		t.Errorf("a long header: status %q", r.answered(101))
	}
	if _, err := w.dialPeer("bravo", "alpha").Return(t.Context(), receipt); err != nil {
		t.Errorf("the peer is not served any more: %v", err)
	}
}

// TestTakesNothing asks for answers and reads none of them. Without the deadline of frames.Write the connection would stay for an hour.
func TestTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		begun := time.Now()
		_, err := newFrames(a).Write([]byte("an answer"))
		if took := time.Since(begun); err == nil || took != limit.ProgressTime {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// TestPace calls more often than a peer may. Without paceStream, all of them are answered.
func TestPace(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo", "charlie")
	call := func(c ententev1.PeerServiceClient) error {
		s, err := c.ReadLog(t.Context(), &ententev1.ReadLogRequest{Auditor: "spiffe://bravo/person/bob"})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	}
	bravo, refused := w.dialPeer("bravo", "alpha"), 0
	begun := time.Now()
	const calls = 3 * limit.WholeLogBurst
	for range calls {
		if err := call(bravo); fault.KindOf(err) == fault.Transient {
			wantFault(t, err, fault.Transient, "spiffe://bravo/node calls more than 1 times a second", "try again later")
			refused++
		}
	}
	if most := calls - limit.WholeLogBurst; refused > most || refused < most-int(time.Since(begun).Seconds()*limit.WholeLogRate)-1 {
		t.Errorf("%d of %d calls were refused in %s", refused, calls, time.Since(begun))
	}
	if n := strings.Count(w.parties["alpha"].log.String(), "calls more than"); n != 1 {
		t.Errorf("%d lines about refused calls", n)
	}
	if _, err := bravo.Return(t.Context(), receipt); err != nil {
		t.Errorf("calls of another class: %v", err)
	}
	if err := call(w.dialPeer("charlie", "alpha")); fault.KindOf(err) == fault.Transient {
		t.Errorf("another peer: %v", err)
	}
}

// TestSeldom writes the same again and again: one line says it at first, and one at the end of each pause says how often.
func TestSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log lines
		s := NewSeldom(slog.New(slog.NewTextHandler(&log, nil)))
		for range 1000 {
			s.Write(slog.LevelWarn, "bad", "bravo", "peer", "bravo")
		}
		s.Write(slog.LevelWarn, "bad", "charlie", "peer", "charlie")
		if got := strings.Count(log.String(), "\n"); got != 2 {
			t.Errorf("%d lines at once", got)
		}
		time.Sleep(limit.LogPause + time.Second)
		if got := log.String(); strings.Count(got, "\n") != 3 || !strings.Contains(got, "peer=bravo alike=999") {
			t.Errorf("log: %s", got)
		}
		time.Sleep(limit.LogPause)
		for n := range 10 * limit.LogSubjects {
			s.Write(slog.LevelWarn, "bad", strings.Repeat("x", n))
		}
		if got := strings.Count(log.String(), "\n"); got != 3+limit.LogSubjects+1 {
			t.Errorf("%d lines about many subjects", got)
		}
		time.Sleep(3 * limit.LogPause)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.on) != 0 {
			t.Errorf("%d subjects stay", len(s.on))
		}
	})
}
