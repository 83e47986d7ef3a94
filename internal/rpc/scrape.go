package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
)

// Scrape asks our own node at HOST:PORT for its metrics, as text in Prometheus' format. Whoever answers must be exactly
// spiffe://SELF/node under our own authority. Its error is a fault.
func Scrape(ctx context.Context, address string, cfg Config) ([]byte, error) {
	if err := identity.Usable(cfg.Cert, cfg.Now()); err != nil {
		return nil, err
	}
	config := identity.ClientTLS(cfg.Cert, cfg.isOwnNode)
	config.NextProtos = []string{http1}
	ctx, cancel := context.WithTimeout(ctx, limit.Scrape)
	defer cancel()
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
	}, MaxResponseHeaderBytes: limit.PublicHeader, DisableCompression: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://node"+MetricsPath, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for metrics: %w", err)
	}
	resp, err := transport.RoundTrip(r)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fault.New(fault.Transient, "start it with: entente node", "no node answers at %s", address)
	case err != nil:
		return nil, fault.New(fault.Transient, "its log says more; most likely the running node belongs to another home", "cannot ask the node at %s: %w", address, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit.Metrics+1))
	switch {
	case err != nil:
		return nil, fault.New(fault.Transient, "", "the answer of the node at %s broke off: %w", address, err)
	case len(body) > limit.Metrics:
		return nil, fault.New(fault.Failed, "", "the node at %s answers with more than %d bytes", address, limit.Metrics)
	case resp.StatusCode == http.StatusForbidden:
		return nil, fault.New(fault.Forbidden, "", "the node at %s refuses: %s", address, printable(strings.TrimSpace(string(body))))
	case resp.StatusCode != http.StatusOK:
		return nil, fault.New(fault.Failed, "look at its log", "the node at %s answers %d: %s", address, resp.StatusCode, printable(strings.TrimSpace(string(body[:min(len(body), 300)]))))
	}
	return body, nil
}
