package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"entente.example/internal/audit"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// outside asks witnesses that are no members, over HTTP as C2SP tlog-witness says. One is enough for all of them; it keeps connections
// open. Nothing that is sent is secret, and what comes back counts only with a good signature, so the witness's server need
// not prove who it is beyond what its URL asks for.
type outside struct{ client *http.Client }

func newOutside() *outside {
	return &outside{client: &http.Client{
		// A charter names one URL. Whoever answers there must not send us elsewhere, into our own network, say.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       limit.WitnessCall,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: limit.Handshake}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12}, // others run it; see above
			TLSHandshakeTimeout:    limit.Handshake,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    1,
			MaxConnsPerHost:        2,
			IdleConnTimeout:        limit.Idle,
			ResponseHeaderTimeout:  limit.WitnessCall,
			MaxResponseHeaderBytes: limit.HeaderList,
			ForceAttemptHTTP2:      true,
		},
	}}
}

// close ends connections that nobody uses.
func (o *outside) close() { o.client.CloseIdleConnections() }

// ask brings one request to a witness and gives what it answered, unverified: a status of C2SP tlog-witness, and a body of at most
// limit.WitnessAnswer bytes. Any other status is an error that may pass.
func (o *outside) ask(ctx context.Context, w statement.OutsideWitness, request []byte) (*ententev1.WitnessResponse, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL+"/add-checkpoint", bytes.NewReader(request))
	if err != nil {
		return nil, fault.New(fault.Invalid, "", "ask witness %s: %w", w.Name, err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("User-Agent", "entente")
	resp, err := o.client.Do(req)
	if err != nil {
		return nil, fault.New(fault.Transient, "", "ask witness %s: %w", w.Name, plain(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit.WitnessAnswer+1))
	if err != nil {
		return nil, fault.New(fault.Transient, "", "read answer of witness %s: %w", w.Name, plain(err))
	}
	if len(body) > limit.WitnessAnswer {
		return nil, fault.New(fault.Transient, "", "the answer of witness %s is longer than %d bytes", w.Name, limit.WitnessAnswer)
	}
	switch resp.StatusCode {
	case audit.StatusOK, audit.StatusMalformed, audit.StatusForbidden, audit.StatusUnknownLog, audit.StatusConflict, audit.StatusNoProof:
		return &ententev1.WitnessResponse{Status: int32(resp.StatusCode), Body: body}, nil
	}
	return nil, fault.New(fault.Transient, "", "witness %s answered %d: %.100q", w.Name, resp.StatusCode, bytes.TrimSpace(body))
}

// plain takes method and URL away from an error of package http, for our sentence names the witness, and says what took too long.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return fmt.Errorf("no answer within %s", limit.WitnessCall)
		}
		return u.Err
	}
	return err
}
