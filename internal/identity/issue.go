package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
)

// pair is a certificate with its private key, both as DER.
type pair struct {
	cert []byte
	key  []byte // PKCS #8
}

func (p pair) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert})
}

func (p pair) keyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p.key})
}

// authority issues certificates in the name of a member.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newAuthority makes a member's own authority. It may issue leaves and nothing else (a path length of zero).
func newAuthority(member string, now time.Time) (pair, *authority, error) {
	template, err := template("spiffe://"+member, member+" authority", now, limit.AuthorityLife)
	if err != nil {
		return pair{}, nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign
	p, key, err := sign(template, nil)
	if err != nil {
		return pair{}, nil, err
	}
	cert, err := x509.ParseCertificate(p.cert)
	if err != nil {
		return pair{}, nil, fmt.Errorf("parse own authority: %w", err)
	}
	return p, &authority{cert, key}, nil
}

// issueNode makes the certificate of the member's node, which both serves and calls.
func (a *authority) issueNode(member string, now time.Time) (pair, error) {
	return a.issue(nodeID(member), member+" node", now, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

// issuePerson makes the certificate of a person, who only calls.
func (a *authority) issuePerson(member, name string, now time.Time) (pair, error) {
	return a.issue(personID(member, name), name, now, x509.ExtKeyUsageClientAuth)
}

func (a *authority) issue(id, subject string, now time.Time, usages ...x509.ExtKeyUsage) (pair, error) {
	template, err := template(id, subject, now, limit.CertificateLife)
	if err != nil {
		return pair{}, err
	}
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = usages
	p, _, err := sign(template, a)
	return p, err
}

// template is what all our certificates have in common. They begin a little before now, because clocks differ, and end
// with life counted from now.
func template(id, subject string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	uri, err := url.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("name certificate: %w", err)
	}
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: subject}, // for people who look at it; we never read it
		URIs:      []*url.URL{uri},
		NotBefore: now.Add(-limit.ClockSkew),
		NotAfter:  now.Add(life),
	}, nil // CreateCertificate draws the serial number at random
}

// sign makes a fresh P-256 key and has issuer certify it; without an issuer it certifies itself.
func sign(template *x509.Certificate, issuer *authority) (pair, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, nil, fmt.Errorf("generate key: %w", err)
	}
	if issuer == nil {
		issuer = &authority{template, key}
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		return pair{}, nil, fmt.Errorf("issue certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, nil, fmt.Errorf("encode key: %w", err)
	}
	return pair{cert, der}, key, nil
}

// parseAuthority reads an authority's certificate and private key.
func parseAuthority(certPEM, keyPEM []byte) (*authority, error) {
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	return &authority{c.Leaf, key}, nil
}

// ExpiresSoon tells when a certificate of ours ends, and whether that is near enough to warn about
// (limit.CertificateWarning) or past.
func ExpiresSoon(cert tls.Certificate, now time.Time) (time.Time, bool) {
	if cert.Leaf == nil {
		return time.Time{}, true
	}
	return cert.Leaf.NotAfter, now.Add(limit.CertificateWarning).After(cert.Leaf.NotAfter)
}

// Usable checks that a certificate of ours is valid now. Whoever uses it asks first, so that a person reads when it
// expired instead of a complaint from the other end. The error is a fault.
func Usable(cert tls.Certificate, now time.Time) error {
	if cert.Leaf == nil {
		return fault.New(fault.Failed, "", "use certificate: it was not loaded")
	}
	who := Claimed(tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}})
	if now.After(cert.Leaf.NotAfter) {
		return fault.New(fault.Failed, renewal(who), "the certificate of %s expired at %s", who, stamp(cert.Leaf.NotAfter))
	}
	if now.Before(cert.Leaf.NotBefore) {
		return fault.New(fault.Failed, "set the clock of this machine", "the certificate of %s is not valid before %s, and it is %s", who, stamp(cert.Leaf.NotBefore), stamp(now))
	}
	return nil
}
