//go:build linux

package lab_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/errgroup"

	"entente.example/internal/client"
	"entente.example/internal/identity"
	"entente.example/internal/lab"
	"entente.example/internal/limit"
	ententev1 "entente.example/proto/entente/v1"
)

const slowStreams = 1000

// slowStreamsMiB is what a node may hold while a thousand streams are open on which as much of a message has come as may, and no more comes.
const slowStreamsMiB = 512

// TestThousandSlowStreams has sixteen members open the streams that they may, each with the beginning of the largest message, in frames as
// small as a connection survives; half of them in calls that gRPC reads whole before it asks anybody. The rest never comes. The node is a
// process of the real program, and the kernel says the most memory that it ever held. Two members that are honest exchange a document
// meanwhile. The second wave finds everything free again.
//
// With gRPC's own pool of buffers, or limit.Message instead of limit.Request, it is too much; without door.go the second wave finds no place.
func TestThousandSlowStreams(t *testing.T) {
	// Not in parallel: what was begun first must not have been cut when the last has begun.
	members := []string{"alpha", "bravo"}
	for n := range 16 {
		members = append(members, fmt.Sprintf("hostile-%02d", n))
	}
	k := &killing{t: t, program: build(t)}
	w, err := lab.Found(t.Context(), lab.Options{Dir: filepath.Join(t.TempDir(), "world"), Members: members})
	if err != nil {
		t.Fatal(err)
	}
	k.world = w
	_, err = w.Agree(t.Context(), lab.Agreement{Name: "harbour-watch", Parties: members[:2], Purposes: []string{"exercise"}, Ceiling: "TLP:AMBER", RetainDays: 90})
	for _, m := range members[:2] { // nobody witnesses in this world
		file := filepath.Join(w.Home(m), "entente.toml")
		b, e := os.ReadFile(file)
		b = regexp.MustCompile(`witness_patience = ".*"`).ReplaceAll(b, []byte(`witness_patience = "720h"`))
		err = errors.Join(err, e, os.WriteFile(file, b, 0o600))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	alpha, bravo := k.process("alpha"), k.process("bravo")
	alpha.start()
	bravo.start()
	if peak := peakMiB(t, bravo); peak > 64 {
		t.Errorf("the node holds %d MiB when it starts: is its ballast among them?", peak)
	}
	alice, err := w.Client("alpha", "alice")
	if err != nil {
		t.Fatal(err)
	}
	defer alice.Close()
	address, _ := w.Addresses("bravo")

	for wave := range 2 {
		var all errgroup.Group
		all.SetLimit(8) // as many handshakes at once; there are bounds on those, too
		var open []*slowConn
		for _, m := range members[2:] {
			keys, err := identity.Load(w.Home(m), m)
			if err != nil {
				t.Fatal(err)
			}
			for range limit.PeerStreams / 4 {
				c := &slowConn{}
				if len(open) == slowStreams/4 {
					break
				}
				open = append(open, c)
				all.Go(func() error { return c.begin(address, keys.Node) })
			}
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		k.exchange(alice)
		t.Logf("wave %d: %d streams, %d MiB at most so far; an honest exchange took %v", wave, 4*len(open), peakMiB(t, bravo), time.Since(began).Round(time.Millisecond))
		if wave > 0 {
			break // the nodes end, and with them all this
		}
		for _, c := range open {
			if n := c.awaitCut(limit.ProgressTime + 30*time.Second); n != 4 {
				t.Fatalf("%d of 4 streams of a connection were cut", n)
			}
			_ = c.conn.Close()
		}
	}
	if peak := peakMiB(t, bravo); peak > slowStreamsMiB || peak < slowStreams*limit.Request>>20 {
		t.Errorf("the node held %d MiB at most, of %d", peak, slowStreamsMiB)
	}
}

// exchange has a document sent and waits until it is delivered.
func (k *killing) exchange(alice *client.Client) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 2*time.Minute)
	defer cancel()
	out, err := alice.Send(ctx, &ententev1.Submission{Id: client.NewID(), To: []string{"bravo"}, Agreement: "harbour-watch", Purpose: "exercise", Label: "TLP:AMBER",
		FileName: "report.txt", MediaType: "text/plain"}, strings.NewReader("an honest document"))
	if err != nil {
		k.t.Fatal(err)
	}
	x, err := alice.Await(ctx, out.GetExchanges()[0], func(x *ententev1.Exchange) bool { return client.Settled(x.GetState()) })
	if err != nil || x.GetState() != "delivered" {
		k.t.Fatalf("an honest exchange: %v, %v", x, err)
	}
}

func peakMiB(t *testing.T, p *process) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(b)
	if found == nil {
		t.Fatal("no VmHWM")
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n >> 10
}

// slowConn is a connection with four streams that say too little.
type slowConn struct {
	conn net.Conn
	cut  chan uint32 // streams that the other side has ended
}

func (c *slowConn) begin(address string, cert tls.Certificate) error {
	config := identity.ClientTLS(cert, func(tls.ConnectionState) error { return nil })
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	c.conn, c.cut = conn, make(chan uint32, 100)
	f := http2.NewFramer(conn, conn)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return err
	}
	err = f.WriteSettings()
	go c.listen()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for n, method := range []string{ententev1.PeerService_Return_FullMethodName, ententev1.PeerService_Deliver_FullMethodName, ententev1.PeerService_Return_FullMethodName, ententev1.PeerService_Deliver_FullMethodName} {
		stream := uint32(2*n + 1)
		block.Reset()
		for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", method}, {":authority", "bravo"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
			err = errors.Join(err, encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
		}
		err = errors.Join(err, f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}))
		message := append(binary.BigEndian.AppendUint32([]byte{0}, limit.Request), make([]byte, limit.Request-1)...)
		for len(message) > 0 && err == nil {
			size := min(len(message), limit.FrameData+1)
			err = f.WriteData(stream, false, message[:size])
			message = message[size:]
		}
	}
	return err
}

func (c *slowConn) listen() {
	defer close(c.cut)
	f := http2.NewFramer(io.Discard, c.conn)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if h, ok := frame.(*http2.HeadersFrame); ok && h.StreamEnded() {
			c.cut <- h.StreamID
		}
	}
}

// awaitCut counts the streams that the other side ends in this time.
func (c *slowConn) awaitCut(within time.Duration) (n int) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for n < 4 {
		select {
		case _, ok := <-c.cut:
			if !ok {
				return n
			}
			n++
		case <-timer.C:
			return n
		}
	}
	return n
}
