package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/memo"
	"entente.example/internal/statement"
)

// JudgePeer says which member is at the other end of a connection between nodes, on either side of it. The other end
// must have shown one certificate, with exactly one URI, exactly spiffe://MEMBER/node, issued by the authority on that
// member's newest card and by no other, valid now, for serving and calling; and the member must not have left.
//
// The Caller has the member's standing in the newest charter of h. Who is not in good standing may speak, too, but not about
// much: package rpc has the table.
//
// It is called at the handshake and again for every call, because what it answers changes while a connection is open.
// The error is one sentence that names who the certificate claims to be.
func JudgePeer(h *member.History, cs tls.ConnectionState, now time.Time) (Caller, error) {
	leaf, id, err := claim(cs)
	if err != nil {
		return Caller{}, err
	}
	name := id.TrustDomain().Name()
	if id.String() != nodeID(name) {
		return Caller{}, fmt.Errorf("%s is not a node: between members only spiffe://MEMBER/node may speak", id)
	}
	if h == nil {
		return Caller{}, fmt.Errorf("%s is unknown: this node belongs to no alliance yet", id)
	}
	m, ok := h.Member(name)
	if !ok {
		return Caller{}, fmt.Errorf("%s is unknown: the charter has no member %q", id, name)
	}
	if err := check(leaf, id, m.CA, now, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth); err != nil {
		return Caller{}, err
	}
	if m.Standing == statement.Left {
		return Caller{}, fmt.Errorf("member %s has left the alliance", name)
	}
	return Caller{Member: name, Node: true, Standing: m.Standing}, nil
}

// JudgePerson says who of our own is at the other end of a connection to our node: a person, exactly
// spiffe://SELF/person/NAME, or the node itself, exactly spiffe://SELF/node. The authority is our own, given as
// certificates in PEM. The error is one sentence that names who the certificate claims to be.
func JudgePerson(self string, ca []byte, cs tls.ConnectionState, now time.Time) (Caller, error) {
	leaf, id, err := claim(cs)
	if err != nil {
		return Caller{}, err
	}
	if id.TrustDomain().Name() != self {
		return Caller{}, fmt.Errorf("%s is not one of %s's own", id, self)
	}
	if id.String() == nodeID(self) {
		err := check(leaf, id, ca, now, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
		if err != nil {
			return Caller{}, err
		}
		return Caller{Member: self, Node: true}, nil
	}
	name, ok := strings.CutPrefix(id.Path(), "/person/")
	if !ok || statement.ValidPerson(name) != nil {
		return Caller{}, fmt.Errorf("%s is no person: expected spiffe://%s/person/NAME", id, self)
	}
	if err := check(leaf, id, ca, now, x509.ExtKeyUsageClientAuth); err != nil {
		return Caller{}, err
	}
	return Caller{Member: self, Person: name}, nil
}

// Claimed is who the certificate at the other end claims to be, for a log line and for nothing else: the connection
// may have been refused because of it. It is at most 200 characters, and empty where there is no certificate.
func Claimed(cs tls.ConnectionState) string {
	if len(cs.PeerCertificates) == 0 {
		return ""
	}
	uris, err := rawURIs(cs.PeerCertificates[0])
	if err != nil || len(uris) == 0 {
		return "a certificate without a URI"
	}
	return fmt.Sprintf("%.200s", strings.Join(uris, " "))
}

// claim finds the one URI of the one certificate, and checks that the connection is one that we would make.
func claim(cs tls.ConnectionState) (*x509.Certificate, spiffeid.ID, error) {
	none := spiffeid.ID{}
	// Our TLS configurations leave no other way; somebody may yet use this function with another configuration.
	if cs.Version != tls.VersionTLS13 || cs.CurveID != tls.X25519MLKEM768 || cs.DidResume {
		return nil, none, errors.New("the connection is not a full TLS 1.3 handshake with X25519MLKEM768")
	}
	switch n := len(cs.PeerCertificates); {
	case n == 0:
		return nil, none, errors.New("no certificate was shown")
	case n > 1:
		return nil, none, fmt.Errorf("%d certificates were shown, expected one, issued by the member's own authority", n)
	}
	leaf := cs.PeerCertificates[0]
	// Not leaf.URIs: they were parsed, and parsing makes different texts equal (an upper-case scheme, an empty fragment).
	uris, err := rawURIs(leaf)
	if err != nil {
		return nil, none, err
	}
	if len(uris) != 1 {
		return nil, none, fmt.Errorf("the certificate has %d URIs, expected exactly one, such as spiffe://MEMBER/node", len(uris))
	}
	id, err := spiffeid.FromString(uris[0])
	if err != nil {
		return nil, none, fmt.Errorf("the certificate's URI %.200q is not a SPIFFE ID: %w", uris[0], err)
	}
	if err := statement.ValidMember(id.TrustDomain().Name()); err != nil {
		return nil, none, fmt.Errorf("the certificate's URI %.200q names no member: %w", uris[0], err)
	}
	return leaf, id, nil
}

// check judges everything about a certificate that does not depend on who it is: times, usage, key, and that one of
// the authorities in ca issued it.
func check(leaf *x509.Certificate, id spiffeid.ID, ca []byte, now time.Time, usages ...x509.ExtKeyUsage) error {
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate of %s is not valid before %s", id, stamp(leaf.NotBefore))
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate of %s expired at %s", id, stamp(leaf.NotAfter))
	case leaf.IsCA:
		return fmt.Errorf("the certificate of %s is an authority, not a leaf", id)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("the certificate of %s is not for signatures: its key usage is wrong", id)
	}
	for _, usage := range usages {
		if !slices.Contains(leaf.ExtKeyUsage, usage) {
			return fmt.Errorf("the certificate of %s is not for %s: its extended key usage is wrong", id, usageName(usage))
		}
	}
	if err := strong(leaf); err != nil {
		return fmt.Errorf("the certificate of %s has %w", id, err)
	}
	key := issuance{sha256.Sum256(leaf.Raw), sha256.Sum256(ca), id}
	root, err := issued.Get(key, func() (*x509.Certificate, error) { return issuer(leaf, id, ca, now) })
	if err == nil && (now.Before(root.NotBefore) || now.After(root.NotAfter)) {
		_, err = issuer(leaf, id, ca, now) // remembered from when the authority was valid; there may be another one
	}
	return err
}

// issuance is all that it depends on whether an authority issued a certificate, but the time.
type issuance struct {
	leaf, ca [sha256.Size]byte
	id       spiffeid.ID
}

// issued remembers which authority issued a certificate: it is asked at each call on a connection.
var issued = memo.Memo[issuance, *x509.Certificate]{Most: limit.Connections}

// issuer gives the authority in ca that issued a certificate.
func issuer(leaf *x509.Certificate, id spiffeid.ID, ca []byte, now time.Time) (*x509.Certificate, error) {
	authorities, err := x509bundle.Parse(id.TrustDomain(), ca)
	if err != nil {
		return nil, fmt.Errorf("read the authority of %s: %w", id.TrustDomain().Name(), err)
	}
	_, chains, err := x509svid.Verify([]*x509.Certificate{leaf}, authorities, x509svid.WithTime(now))
	if err != nil {
		return nil, fmt.Errorf("the certificate of %s is not one that %s's own authority issued: %w", id, id.TrustDomain().Name(), err)
	}
	// The first chain will do: it has two certificates, since nothing between leaf and authority was considered.
	root := chains[0][len(chains[0])-1]
	if err := strong(root); err != nil {
		return nil, fmt.Errorf("the authority of %s has %w", id.TrustDomain().Name(), err)
	}
	return root, nil
}

// strong refuses keys that are weaker than what TLS 1.3 assumes.
func strong(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits < 256 {
			return fmt.Errorf("a weak key, ECDSA with %d bits", bits)
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 {
			return fmt.Errorf("a weak key, RSA with %d bits", bits)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("a key of unknown type %s", c.PublicKeyAlgorithm)
	}
	return nil
}

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	errAltNames       = errors.New("the certificate's alternative names cannot be read")
)

// rawURIs gives the URIs among the subject alternative names (RFC 5280, section 4.2.1.6) as they stand in the
// certificate, byte for byte.
func rawURIs(c *x509.Certificate) ([]string, error) {
	const tagURI = 6
	var uris []string
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return nil, errAltNames
		}
		for _, n := range names {
			if n.Class == asn1.ClassContextSpecific && n.Tag == tagURI {
				uris = append(uris, string(n.Bytes))
			}
		}
	}
	return uris, nil
}

func usageName(u x509.ExtKeyUsage) string {
	if u == x509.ExtKeyUsageServerAuth {
		return "serving"
	}
	return "calling"
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
