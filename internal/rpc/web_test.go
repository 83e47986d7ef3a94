package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
)

// scrape asks for the metrics of a member as whoever has that certificate.
func (w *world) scrape(name string, cert tls.Certificate) (string, error) {
	p := w.parties[name]
	b, err := Scrape(w.t.Context(), p.nodeAddress, Config{Self: name, Cert: cert, CA: p.keys.CA, Now: time.Now})
	return string(b), err
}

// TestWhoReadsMetrics: our people who are listed and our own node, on the node port, and nobody else anywhere.
func TestWhoReadsMetrics(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	alpha := w.parties["alpha"]
	for who, cert := range map[string]tls.Certificate{"alice": w.person("alpha"), "the node": alpha.keys.Node} {
		// The connection of the one before may be open for another moment.
		text, err := w.scrape("alpha", cert)
		for began := time.Now(); err == nil && strings.Contains(text, `what="connections"} 2`) && time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
			text, err = w.scrape("alpha", cert)
		}
		if err != nil || !strings.Contains(text, "entente_build_info{") || !strings.Contains(text, `entente_open{listener="node",what="connections"} 1`) {
			t.Errorf("%s gets %.300q, %v", who, text, err)
		}
	}
	if _, err := w.scrape("alpha", w.parties["bravo"].keys.Node); err == nil {
		t.Error("another member's node reads our metrics")
	}
	if _, err := w.scrape("alpha", w.person("bravo")); err == nil {
		t.Error("another member's person reads our metrics")
	}
	wantLine(t, alpha.log, "refused connection", "spiffe://bravo/person/alice is not one of alpha's own")

	// The peer port speaks no HTTP, to nobody.
	for _, cert := range []tls.Certificate{w.parties["bravo"].keys.Node, w.person("alpha"), alpha.keys.Node} {
		config := identity.ClientTLS(cert, func(tls.ConnectionState) error { return nil })
		config.NextProtos = []string{http1}
		c, err := tls.Dial("tcp", alpha.peerAddress, config)
		if err != nil {
			continue
		}
		_, err = fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n")
		b, _ := io.ReadAll(c)
		if err == nil && len(b) > 0 {
			t.Errorf("the peer port answers %.100q", b)
		}
		_ = c.Close()
	}

	// Who is not on the list any more is refused, though the certificate holds.
	cfg := w.config(alpha)
	cfg.Listed = func(string) error { return fault.New(fault.Forbidden, "", "alice is not listed") }
	cfg.Metrics = func(io.Writer) error { t.Error("metrics were gathered for nobody"); return nil }
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewNodeServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	_, err = Scrape(t.Context(), l.Addr().String(), Config{Self: "alpha", Cert: w.person("alpha"), CA: alpha.keys.CA, Now: time.Now})
	wantFault(t, err, fault.Forbidden, "alice is not listed", "")
}

// TestMetricsOverHTTP asks as tools do: those that speak HTTP/2 too get HTTP/1.1, one request is one connection, and there is nothing else.
func TestMetricsOverHTTP(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	p := w.parties["alpha"]
	config := identity.ClientTLS(w.person("alpha"), func(tls.ConnectionState) error { return nil })
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/metrics", 200}, {"GET", "/metrics?x=y", 200}, {"POST", "/metrics", 405}, {"GET", "/", 404}, {"GET", "/metrics/", 404}, {"GET", "/%6detrics", 404}, {"GET", "/debug/pprof/", 404}} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+p.nodeAddress+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
			continue
		}
		_, err = io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != c.status || resp.ProtoMajor != 1 || !resp.Close {
			t.Errorf("%s %s: %d over HTTP/%d, %v; want %d over HTTP/1, and an end", c.method, c.path, resp.StatusCode, resp.ProtoMajor, err, c.status)
		}
	}
	// A header without end, and silence, cost a bounded time and no more than their bytes.
	config.NextProtos = []string{http1}
	for _, text := range []string{"GET /metrics HTTP/1.1\r\nX: " + strings.Repeat("x", 2*limit.PublicHeader), "", "\x00\x01\x02\r\n\r\n"} {
		c, err := tls.Dial("tcp", p.nodeAddress, config)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
		if took := time.Since(began); took > limit.Scrape+5*time.Second {
			t.Errorf("a caller that sends %d bytes is kept for %s", len(text), took)
		}
		_ = c.Close()
	}
}

// TestStrangeNamesMakeNoSeries has a peer and a person call methods that do not exist, with names of their choosing.
func TestStrangeNamesMakeNoSeries(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	count := func() (int, string) {
		text, err := w.scrape("alpha", w.person("alpha"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(text, "\ngrpc_") + strings.Count(text, "\nentente_"), text
	}
	strange := func(i int) {
		for _, conn := range []interface {
			Invoke(context.Context, string, any, any, ...grpc.CallOption) error
		}{w.connPeer("bravo", "alpha"), w.connNode("alpha", w.person("alpha"))} {
			for _, method := range []string{"/canary%d/x", "/entente.v1.PeerService/Canary%d", "/entente.v1.NodeService/Canary%d", "/canary\"\n{%d}/%d"} {
				if err := conn.Invoke(t.Context(), fmt.Sprintf(strings.ReplaceAll(method, "%d", "%[1]d"), i), &emptypb.Empty{}, &emptypb.Empty{}); err == nil {
					t.Fatalf("%s was answered", method)
				}
			}
		}
	}
	strange(0)
	before, _ := count()
	for i := range 20 {
		strange(i)
	}
	after, text := count()
	if after != before {
		t.Errorf("strange names made %d series of %d", after, before)
	}
	if strings.Contains(strings.ToLower(text), "canary") {
		t.Error("a name that a caller chose stands in the metrics")
	}
	if !strings.Contains(text, `grpc_method="unknown"`) {
		t.Errorf("refused calls are not counted: %.2000s", text)
	}
}
