package identity

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"
	"unicode/utf8"

	"entente.example/internal/statement"
)

// Whatever stands among a certificate's alternative names: who is believed to be there is one member, spelt in the one way,
// from exactly one URI; and without an authority that issued the certificate nobody is admitted.
func FuzzURIs(f *testing.F) {
	add := func(names ...asn1.RawValue) {
		san, err := asn1.Marshal(names)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(san)
		f.Add(append(san, 0))
	}
	for _, uri := range []string{"spiffe://alpha/node", "spiffe://alpha/person/alice", "SPIFFE://alpha/node", "spiffe://alpha/node#", "spiffe://alpha/node?",
		"spiffe://alpha//node", "spiffe://alpha/./node", "spiffe://alpha/%6eode", "spiffe://alpha:443/node", "spiffe://a@alpha/node", "spiffe://ALPHA/node",
		"spiffe://alpha/node\x00", "https://alpha/node", "spiffe://аlpha/node", "spiffe://", ""} {
		add(rawName(6, uri))
	}
	add(rawName(6, "spiffe://alpha/node"), rawName(6, "spiffe://bravo/node"))
	add(rawName(2, "alpha"), rawName(6, "spiffe://alpha/node"))
	add()
	f.Fuzz(func(t *testing.T, san []byte) {
		cert := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: san}}}
		cs := tls.ConnectionState{Version: tls.VersionTLS13, CurveID: tls.X25519MLKEM768, PeerCertificates: []*x509.Certificate{cert}}
		if who := Claimed(cs); utf8.RuneCountInString(who) > 200 {
			t.Errorf("a log line would have %d characters", utf8.RuneCountInString(who))
		}
		now := time.Now()
		if name, err := JudgePeer(nil, cs, now); err == nil {
			t.Errorf("admitted as member %s", name)
		}
		if who, err := JudgePerson("alpha", nil, cs, now); err == nil {
			t.Errorf("admitted as %+v", who)
		}
		_, id, err := claim(cs)
		if err != nil {
			return
		}
		uris, err := rawURIs(cert)
		if err != nil || len(uris) != 1 || uris[0] != id.String() {
			t.Errorf("believed to be %s, and the URIs are %q, %v", id, uris, err)
		}
		if err := statement.ValidMember(id.TrustDomain().Name()); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		// The same URI in a certificate of two is nobody.
		twice := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: san}, {Id: oidSubjectAltName, Value: san}}}
		cs.PeerCertificates[0] = twice
		if _, id, err := claim(cs); err == nil {
			t.Errorf("two URIs are believed to be %s", id)
		}
	})
}
