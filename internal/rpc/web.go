package rpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc/credentials"

	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/metrics"
)

// http1 is the name of HTTP/1.1 in the TLS handshake.
const http1 = "http/1.1"

// MetricsPath is what the node port answers over HTTP/1.1, and all that it does.
const MetricsPath = "/metrics"

// web answers GET /metrics on the node port, to those of our own who were let in there: Prometheus speaks HTTP, and no gRPC. A
// connection carries one request and ends, whatever becomes of it, within limit.Scrape. So there is nothing to keep alive, to time out
// or to drain when the node stops.
type web struct {
	metrics func(io.Writer) error // nil: nothing is answered
	gate    *gate
	log     *slog.Logger
}

// takes tells whether a connection whose handshake is done is one for HTTP.
func (w *web) takes(info credentials.AuthInfo) (tls.ConnectionState, bool) {
	t, ok := info.(credentials.TLSInfo)
	return t.State, ok && w.metrics != nil && t.State.NegotiatedProtocol == http1
}

// serve answers one request. The connection was counted as its caller's, and is until it is closed.
func (w *web) serve(conn net.Conn, cs tls.ConnectionState) {
	end := time.AfterFunc(limit.Scrape, func() { _ = conn.Close() }) // a deadline would be undone by gRPC, which has set one itself
	defer end.Stop()
	defer conn.Close()
	a := webAnswer{status: http.StatusBadRequest, body: []byte("this is no HTTP request\n")}
	r, err := http.ReadRequest(bufio.NewReader(io.LimitReader(conn, limit.PublicHeader)))
	if err == nil {
		a = w.answer(r, cs)
	}
	err = errors.Join(err, a.write(conn))
	level := slog.LevelDebug
	if err != nil || a.status != http.StatusOK {
		level = slog.LevelWarn
	}
	w.log.Log(context.Background(), level, "http", "listener", "node", "peer", identity.Claimed(cs), "status", a.status, "error", err)
}

// webAnswer is what is answered; without a kind, a sentence.
type webAnswer struct {
	status int
	kind   string
	body   []byte
}

func (a webAnswer) write(to io.Writer) error {
	if a.kind == "" {
		a.kind = "text/plain; charset=utf-8"
	}
	header := http.Header{"Content-Type": {a.kind}, "Cache-Control": {"no-store"}}
	if a.status == http.StatusMethodNotAllowed {
		header.Set("Allow", http.MethodGet)
	}
	resp := http.Response{StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Header: header, ContentLength: int64(len(a.body)),
		Body: io.NopCloser(bytes.NewReader(a.body)), Close: true}
	return resp.Write(to)
}

// answer judges who asks, again, as for a call: somebody who was taken off the list since has a certificate still.
func (w *web) answer(r *http.Request, cs tls.ConnectionState) webAnswer {
	sentence := func(status int, format string, args ...any) webAnswer {
		return webAnswer{status: status, body: fmt.Appendf(nil, format+"\n", args...)}
	}
	caller, err := w.gate.judge(cs)
	if err == nil && caller.Person != "" {
		err = w.gate.listed(caller.Person)
	}
	switch {
	case err != nil:
		return sentence(http.StatusForbidden, "%v", err)
	case r.URL.EscapedPath() != MetricsPath:
		return sentence(http.StatusNotFound, "there is only %s here, and gRPC over HTTP/2", MetricsPath)
	case r.Method != http.MethodGet:
		return sentence(http.StatusMethodNotAllowed, "ask with GET")
	}
	var b bytes.Buffer
	if err := w.metrics(&b); err != nil {
		w.log.Error("cannot give metrics", "error", err)
		return sentence(http.StatusInternalServerError, "the metrics cannot be gathered; the node's log says why")
	}
	return webAnswer{http.StatusOK, metrics.ContentType, b.Bytes()}
}
