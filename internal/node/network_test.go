package node_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"entente.example/internal/client"
	"entente.example/internal/lab"
	ententev1 "entente.example/proto/entente/v1"
)

// badLine stands between a member's address, as its card names it, and its node. It is toxiproxy, and real TCP.
type badLine struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

// set makes the line bad in a way, in both directions.
func (l *badLine) set(kind string, attributes string) {
	l.t.Helper()
	for _, stream := range []string{"upstream", "downstream"} {
		_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"name":"%s-%s","type":"%s","stream":"%s","attributes":{%s}}`, kind, stream, kind, stream, attributes)))
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *badLine) heal() { l.proxy.Toxics.ResetToxics(l.t.Context()) }

// foundOnBadLines is found, with a bad line in front of each member.
func foundOnBadLines(t *testing.T, members ...string) (*world, map[string]*badLine) {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	lines := map[string]*badLine{}
	var mu sync.Mutex
	w := foundWith(t, lab.Options{Members: members, Advertise: func(member, listens string) string {
		mu.Lock()
		defer mu.Unlock()
		if lines[member] == nil {
			p := toxiproxy.NewProxy(server, member, "127.0.0.1:0", listens)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Stop)
			lines[member] = &badLine{t, p}
		}
		return lines[member].proxy.Listen
	}})
	return w, lines
}

// TestBadLines delivers over lines of every bad kind. What a line does with the connections of bravo, it must not do to those of charlie: alpha
// sends to both.
func TestBadLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind, attributes string
		size             int
		heals            time.Duration // 0: never
		attempts         int64         // at least
	}{
		"slow":          {"latency", `"latency":150,"jitter":100`, 2 << 20, 0, 0},
		"in slices":     {"slicer", `"average_size":300,"size_variation":200,"delay":20`, 256 << 10, 0, 0},
		"thin":          {"bandwidth", `"rate":200`, 1 << 20, 0, 0},
		"cut every 64K": {"limit_data", `"bytes":65536`, 128 << 10, 0, 2},
		"stalled":       {"timeout", `"timeout":0`, 64 << 10, 3 * time.Second, 0},
		"closed":        {"timeout", `"timeout":100`, 64 << 10, 3 * time.Second, 1},
		"reset":         {"reset_peer", `"timeout":50`, 64 << 10, 3 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, lines := foundOnBadLines(t, "alpha", "bravo", "charlie")
			w.start("alpha", "bravo", "charlie")
			lines["bravo"].set(c.kind, c.attributes)
			doc := random(c.size)
			ref := w.send("alpha", submission("bravo"), doc)[0]
			began := time.Now()
			other := w.send("alpha", submission("charlie"), doc)[0]
			w.await("alpha", other, "delivered")
			charlie := time.Since(began)
			if c.heals > 0 {
				time.Sleep(c.heals)
				lines["bravo"].heal()
			}
			var attempts int64
			x, err := w.person("alpha").Await(t.Context(), ref, func(x *ententev1.Exchange) bool {
				attempts = max(attempts, x.GetAttempts())
				return client.Settled(x.GetState())
			})
			if err != nil || x.GetState() != "delivered" || attempts < c.attempts {
				t.Fatalf("%d failed attempts, %v: %v", attempts, x, err)
			}
			got, err := open(t.Context(), w.person("bravo"), ref)
			if err != nil || !bytes.Equal(got, doc) {
				t.Errorf("opened %d bytes of %d: %v", len(got), len(doc), err)
			}
			t.Logf("%d KiB after %d failed attempts in %v; charlie after %v", c.size>>10, attempts, time.Since(began).Round(time.Millisecond), charlie.Round(time.Millisecond))
		})
	}
}
