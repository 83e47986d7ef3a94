package identity

import (
	"crypto/tls"
)

// ServerTLS is the configuration of a listener: TLS 1.3 and X25519MLKEM768 only, a client certificate required, and
// judge decides about it. Sessions cannot be resumed, since a resumed session would carry an old judgement.
func ServerTLS(cert tls.Certificate, judge func(tls.ConnectionState) error) *tls.Config {
	c := both(cert, judge)
	// Any, because the standard verification knows one pool of authorities, and ours depends on the name: judge verifies.
	c.ClientAuth = tls.RequireAnyClientCert
	return c
}

// ClientTLS is the configuration of a caller, and the mirror of ServerTLS. The server's name is not looked at, its
// certificate is: judge must check that it names the member that was called.
func ClientTLS(cert tls.Certificate, judge func(tls.ConnectionState) error) *tls.Config {
	c := both(cert, judge)
	// The standard verification wants DNS names and a pool of authorities. What replaces it is VerifyConnection.
	c.InsecureSkipVerify = true //nolint:gosec // judged in VerifyConnection
	return c
}

func both(cert tls.Certificate, judge func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{cert},
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768},
		SessionTicketsDisabled: true,
		// Not VerifyPeerCertificate: that one is not called for a resumed session.
		VerifyConnection: judge,
	}
}
