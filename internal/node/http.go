package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"entente.example/internal/audit"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	"entente.example/internal/store"
)

// public is the third listener, for whoever is no member: plain HTTP/1.1, off by default. TLS in front of it is a reverse proxy's
// business; nothing that passes here is secret, and what counts is signed.
//
//	POST /add-checkpoint     our witness, by C2SP tlog-witness: for logs of members, and of third parties that the configuration lists
//	GET  /checkpoint         the newest checkpoint of our log that a quorum has co-signed
//	GET  /tile/L/N[.p/W]     hash tiles of our log as that checkpoint covers it, C2SP tlog-tiles
//	GET  /tile/entries/…     refused: leaves are for auditors
//
// Callers are not known, so nobody is told anything about our own troubles.
type public struct {
	n       *node
	foreign map[string]string // verifier keys of third parties' logs, by origin
	places  chan struct{}     // taken by requests under way
}

func newPublic(n *node) *public {
	p := &public{n: n, foreign: map[string]string{}, places: make(chan struct{}, limit.PublicRequests)}
	for _, vkey := range n.Config.WitnessLogs {
		name, _, _ := strings.Cut(vkey, "+") // the configuration was checked
		p.foreign[name] = vkey
	}
	return p
}

// serve answers until ctx ends. It closes l.
func (p *public) serve(ctx context.Context, l net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s := &http.Server{
		Handler:                      p,
		Protocols:                    protocols,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            limit.Handshake,
		ReadTimeout:                  limit.PublicCall,
		WriteTimeout:                 2 * limit.PublicCall, // it begins with the request
		IdleTimeout:                  limit.PublicIdle,
		MaxHeaderBytes:               limit.PublicHeader,
		ErrorLog:                     slog.NewLogLogger(p.n.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, since{}, time.Now())
		},
	}
	defer context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	})()
	err := s.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP: %w", err)
}

// since is the key of a connection's beginning in its context.
type since struct{}

// reply is an answer over HTTP.
type reply struct {
	status int
	kind   string // of the body
	cache  string // for how long, as in Cache-Control
	body   []byte
}

func sentence(status int, text string) reply {
	return reply{status, "text/plain; charset=utf-8", "no-store", []byte(text + "\n")}
}

// ServeHTTP answers one request, and writes a line about it.
func (p *public) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	if at, ok := r.Context().Value(since{}).(time.Time); ok && began.Sub(at) > limit.PublicAge {
		w.Header().Set("Connection", "close") // so that others get a place
	}
	a := p.route(w, r)
	header := w.Header()
	header.Set("Content-Type", a.kind)
	header.Set("Content-Length", strconv.Itoa(len(a.body)))
	header.Set("Cache-Control", a.cache)
	header.Set("X-Content-Type-Options", "nosniff")
	if a.status >= 400 && r.Method == http.MethodPost && a.status != audit.StatusConflict {
		header.Set("Connection", "close") // whatever is left of the body is not read
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body) // who is gone is gone
	}
	p.n.log.Info("http", "from", r.RemoteAddr, "method", fmt.Sprintf("%.16q", r.Method), "path", fmt.Sprintf("%.100q", r.URL.Path), "status", a.status,
		"took", time.Since(began).Round(time.Microsecond))
}

// admit bounds how many requests are worked on at once, for each computes, and may wait for a disk. Bodies have arrived by then, so
// who sends slowly takes no place.
func (p *public) admit(w http.ResponseWriter, work func() reply) reply {
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
		return work()
	default:
		w.Header().Set("Retry-After", "1")
		return sentence(http.StatusServiceUnavailable, "too many requests at once; try again")
	}
}

func (p *public) route(w http.ResponseWriter, r *http.Request) reply {
	path := r.URL.Path
	var handle func(*http.Request) reply
	switch {
	case r.URL.EscapedPath() != path || r.URL.Host != "": // every path of ours is written in one way
	case path == "/add-checkpoint":
		if r.Method == http.MethodPost {
			return p.addCheckpoint(w, r)
		}
		return notAllowed(w, http.MethodPost)
	case path == "/checkpoint":
		handle = p.checkpoint
	case strings.HasPrefix(path, "/tile/"):
		handle = p.tile
	}
	if handle == nil {
		return sentence(http.StatusNotFound, "there is nothing here")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return notAllowed(w, http.MethodGet)
	}
	return p.admit(w, func() reply { return handle(r) })
}

func notAllowed(w http.ResponseWriter, method string) reply {
	w.Header().Set("Allow", method)
	return sentence(http.StatusMethodNotAllowed, "ask with "+method)
}

// addCheckpoint is our witness, with the state and the rules that members find over gRPC.
func (p *public) addCheckpoint(w http.ResponseWriter, r *http.Request) reply {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit.Proof))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return sentence(http.StatusRequestEntityTooLarge, fmt.Sprintf("a request has at most %d bytes", limit.Proof))
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return sentence(http.StatusRequestTimeout, fmt.Sprintf("a request must be complete within %s", limit.PublicCall))
	}
	if err != nil {
		return sentence(http.StatusBadRequest, "the request is cut off")
	}
	return p.admit(w, func() reply {
		a, err := p.coSign(r.Context(), body)
		if err != nil {
			return p.trouble("cannot co-sign", err)
		}
		return reply{a.Status, a.ContentType(), "no-store", a.Body}
	})
}

// checkpoint gives the newest checkpoint that a quorum has co-signed. Others do not leave by this way: one that nobody co-signed proves
// nothing to a stranger.
func (p *public) checkpoint(r *http.Request) reply {
	c, err := p.newest(r.Context())
	if errors.Is(err, store.ErrNotFound) {
		return sentence(http.StatusNotFound, "no quorum of witnesses has co-signed this log yet")
	}
	if err != nil {
		return p.trouble("cannot read checkpoint", err)
	}
	return reply{http.StatusOK, "text/plain; charset=utf-8", "no-cache", c.Note}
}

// tile gives a hash tile of the log as that checkpoint covers it. Tiles never change.
func (p *public) tile(r *http.Request) reply {
	if strings.HasPrefix(r.URL.Path, "/tile/entries/") {
		return sentence(http.StatusForbidden, "leaves are not for everybody; auditors whom the charter names read them with: entente audit fetch")
	}
	var tile []byte
	c, err := p.newest(r.Context())
	if err == nil {
		err = p.n.DB.View(r.Context(), func(v *store.View) error {
			tile, err = audit.HashTile(v, c.Size, strings.TrimPrefix(r.URL.Path, "/"))
			return err
		})
	}
	if errors.Is(err, store.ErrNotFound) {
		return sentence(http.StatusNotFound, "the co-signed log has no such tile")
	}
	if err != nil {
		return p.trouble("cannot read tile", err)
	}
	return reply{http.StatusOK, "application/octet-stream", "public, max-age=31536000, immutable", tile}
}

func (p *public) newest(ctx context.Context) (c store.Cosigned, err error) {
	err = p.n.DB.View(ctx, func(v *store.View) error { c, err = v.NewestCosigned(); return err })
	return c, err
}

// trouble is ours: it goes to our log, and not to strangers.
func (p *public) trouble(text string, err error) reply {
	p.n.log.Error(text, "listener", "http", "error", err)
	return sentence(http.StatusServiceUnavailable, "this node has a problem of its own; try again later")
}

// coSign has our witness look at a request. Nobody knows who brings it: the log's signature is what makes it the log's.
func (p *public) coSign(ctx context.Context, request []byte) (audit.Answer, error) {
	h, err := p.n.alliance(ctx)
	if err != nil {
		return audit.Answer{}, err
	}
	return p.n.coSign(ctx, h, request, nil, func(string) bool { return true }, p.foreign)
}

// listenPublic opens the third listener, or gives nil if there is none.
func (n *node) listenPublic(ctx context.Context, given net.Listener) (net.Listener, error) {
	if given == nil && n.Config.WitnessListen == "" {
		return nil, nil
	}
	if given != nil {
		return given, nil
	}
	l, err := rpc.Listen(ctx, n.Config.WitnessListen)
	if err != nil {
		return nil, fmt.Errorf("witness_listen: %w", err)
	}
	return l, nil
}
