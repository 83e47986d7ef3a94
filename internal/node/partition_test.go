package node_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"entente.example/internal/client"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// pipes is a network in memory, on which time can be virtual.
type pipes struct {
	mu     sync.Mutex
	at     map[string]*pipeListener // by name
	parted bool
	open   []net.Conn
}

type pipeListener struct {
	name   string
	calls  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: l.name, Net: "pipe"} }

func (p *pipes) listen(name string) *pipeListener {
	l := &pipeListener{name: name, calls: make(chan net.Conn), closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[name] = l
	return l
}

// dial connects to a name; between members only while nothing is parted.
func (p *pipes) dial(ctx context.Context, name string, between bool) (net.Conn, error) {
	p.mu.Lock()
	l, parted := p.at[name], p.parted
	p.mu.Unlock()
	if l == nil || parted && between {
		<-ctx.Done() // what is sent into a parted net is lost
		return nil, ctx.Err()
	}
	here, there := net.Pipe()
	select {
	case l.calls <- there:
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if between {
		p.mu.Lock()
		p.open = append(p.open, here)
		p.mu.Unlock()
	}
	return here, nil
}

func (p *pipes) part(parted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parted = parted
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

// serve runs a member's node on pipes and gives its service for the member's first person.
func (p *pipes) serve(t *testing.T, w *world, m string) ententev1.NodeServiceClient {
	t.Helper()
	h, err := node.OpenHome(t.Context(), w.Home(m))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	options := node.Options{PeerListener: p.listen(m), NodeListener: p.listen(m + " people"), Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, to, _ string) (net.Conn, error) { return p.dial(ctx, to, true) }}
	options.LookSeldom(limit.Heartbeat) // every two seconds would be 390,000 looks of three nodes
	go func() { ended <- errors.Join(h.Serve(ctx, options), h.Close()) }()
	cert, err := identity.LoadPerson(w.Home(m), m, w.Person(m))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+m, grpc.WithTransportCredentials(credentials.NewTLS(identity.ClientTLS(cert, func(tls.ConnectionState) error { return nil }))),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.dial(ctx, m+" people", false) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := errors.Join(conn.Close(), <-ended); err != nil {
			t.Errorf("end of %s: %v", m, err)
		}
	})
	return ententev1.NewNodeServiceClient(conn)
}

// send hands in a document, and gives its exchanges.
func (p *pipes) send(t *testing.T, c ententev1.NodeServiceClient, to ...string) []string {
	t.Helper()
	s, err := c.Send(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*ententev1.SendRequest{{Part: &ententev1.SendRequest_Submission{Submission: submission(to...)}}, {Part: &ententev1.SendRequest_Chunk{Chunk: []byte("a document")}}} {
		if err := s.Send(r); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	out, err := s.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	return out.GetExchanges()
}

// TestThreeDaysApart parts the members for 72 hours in virtual time, with documents queued on both sides. After the line has healed all of them
// are delivered, once, without anybody doing anything, though patience without witnesses had ended after four hours. That the homes hold
// together, and that everything can be proved, is checked when the world ends.
func TestThreeDaysApart(t *testing.T) {
	t.Parallel()
	today := time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today.Add(-80 * time.Hour))) // so that nothing is dated later than the checks at the end
		w := found(t, "alpha", "bravo", "charlie")
		p := &pipes{at: map[string]*pipeListener{}}
		people := map[string]ententev1.NodeServiceClient{}
		for _, m := range w.Names {
			w.patience(m, limit.WitnessPatience.String())
			people[m] = p.serve(t, w, m)
		}
		state := func(m, ref string) *ententev1.Exchange {
			t.Helper()
			out, err := people[m].Show(t.Context(), &ententev1.ShowRequest{Exchange: ref})
			if err != nil {
				t.Fatal(err)
			}
			return out.GetExchanges()[0]
		}
		time.Sleep(time.Minute)
		first := p.send(t, people["alpha"], "bravo")[0]
		time.Sleep(time.Minute)
		if x := state("alpha", first); x.GetState() != "delivered" {
			t.Fatalf("before: %v", x)
		}

		p.part(true)
		queued := map[string][]string{}
		for range 5 {
			queued["alpha"] = append(queued["alpha"], p.send(t, people["alpha"], "bravo", "charlie")...)
			queued["bravo"] = append(queued["bravo"], p.send(t, people["bravo"], "alpha")...)
		}
		time.Sleep(72 * time.Hour)
		for m, refs := range queued {
			for _, ref := range refs {
				if x := state(m, ref); client.Settled(x.GetState()) {
					t.Fatalf("while parted: %v", x)
				}
			}
		}

		p.part(false)
		healed := time.Now()
		for m, refs := range queued {
			for _, ref := range refs {
				for state(m, ref).GetState() != "delivered" {
					if time.Since(healed) > limit.RetryLongest+limit.RetryMost {
						t.Fatalf("%v after the line has healed: %v", time.Since(healed), state(m, ref))
					}
					time.Sleep(time.Minute)
				}
			}
		}
		t.Logf("all delivered within %v after the line has healed", time.Since(healed))
		for m, want := range map[string]int{"alpha": 5, "bravo": 6, "charlie": 5} {
			received := 0
			for _, l := range w.state(m).leaves {
				if l.Kind == statement.EventReceived {
					received++
				}
			}
			stored := 0
			for ref, x := range w.state(m).exchanges {
				if x == store.Stored && !slices.Contains(queued[m], ref) {
					stored++
				}
			}
			if received != want || stored != want {
				t.Errorf("%s has received %d times and holds %d documents, want %d", m, received, stored, want)
			}
		}
	})
}
