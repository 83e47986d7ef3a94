package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// spec is one certificate of the matrix. The zero value of a field is what is right for a node.
type spec struct {
	uris     []string
	dns      string
	email    string
	cn       string
	issuer   *authority // nil: itself
	from, to time.Time
	ca       bool
	usage    x509.KeyUsage
	ext      []x509.ExtKeyUsage
	key      crypto.Signer
	critical bool // an extension that nobody knows
}

const noUsage = x509.KeyUsageEncipherOnly // stands for "none that helps"

func rawName(tag int, s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(s)}
}

// make issues the certificate. Alternative names are written byte by byte, since x509 would tidy them up.
func (s spec) make(t *testing.T) (tls.Certificate, *authority) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: s.cn},
		NotBefore: s.from, NotAfter: s.to, BasicConstraintsValid: true, IsCA: s.ca, KeyUsage: s.usage, ExtKeyUsage: s.ext,
	}
	if s.from.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if s.to.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if s.usage == 0 {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if s.ext == nil && !s.ca {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	var names []asn1.RawValue
	for _, u := range s.uris {
		names = append(names, rawName(6, u))
	}
	if s.dns != "" {
		names = append(names, rawName(2, s.dns))
	}
	if s.email != "" {
		names = append(names, rawName(1, s.email))
	}
	if names != nil {
		san, err := asn1.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSubjectAltName, Value: san})
	}
	if s.critical {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
	}
	key := s.key
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	issuer := s.issuer
	if issuer == nil {
		issuer = &authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	a.cert, _ = x509.ParseCertificate(der) // some are made so that they cannot be parsed
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, a
}

func newCA(t *testing.T, name string, edit ...func(*spec)) *authority {
	t.Helper()
	s := spec{uris: []string{"spiffe://" + name}, cn: name, ca: true, usage: x509.KeyUsageCertSign}
	for _, e := range edit {
		e(&s)
	}
	_, a := s.make(t)
	return a
}

func pemOf(a *authority) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// judgedPeer gives what the judgement says, in a word or two.
func judgedPeer(c Caller, err error) (string, error) {
	if c.Standing != statement.GoodStanding {
		return c.Member + " " + c.Standing, err
	}
	return c.Member, err
}

// history founds an alliance of members with these authorities. A founding charter cannot say that somebody is not in good standing, but
// member.Found leaves that to package statement.
func history(t *testing.T, cas map[string]string, standings ...map[string]string) *member.History {
	t.Helper()
	charter := &statement.Signed[statement.Charter]{Terms: statement.Charter{Alliance: "harbour"}}
	var cards []*statement.Signed[statement.Card]
	for _, name := range []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"} {
		ca, ok := cas[name]
		if !ok {
			continue
		}
		vkey := func(purpose string) string {
			k, err := statement.GenerateKey(rand.Reader, name+"/"+purpose)
			if err != nil {
				t.Fatal(err)
			}
			return k.Public
		}
		card := statement.Card{Member: name, CA: ca, Address: "127.0.0.1:7443",
			Statement: vkey("statement"), Recovery: vkey("recovery"), Log: vkey("log/1"), Witness: vkey("witness"),
			LogMLDSA: mldsaKey(t, name+"/log/1"), WitnessMLDSA: mldsaKey(t, name+"/witness"),
			Sealing: []statement.SealingKey{{Epoch: 1, Recipient: "age1pq1" + name}}}
		signed := &statement.Signed[statement.Card]{Terms: card, Hash: statement.HashBytes([]byte(name))}
		cards = append(cards, signed)
		standing := statement.GoodStanding
		for _, s := range standings {
			if other, ok := s[name]; ok {
				standing = other
			}
		}
		charter.Terms.Members = append(charter.Terms.Members, statement.CharterMember{Name: name, Standing: standing,
			Statement: card.Statement, Recovery: card.Recovery, Card: signed.Hash})
	}
	h, err := member.Found(charter, cards...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// listener is a TLS listener on loopback that answers one handshake after another.
type listener struct {
	address string
	result  chan outcome
}

type outcome struct {
	caller string
	err    error
}

func listen(t *testing.T, cert tls.Certificate, judge func(tls.ConnectionState) (string, error)) *listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	l := &listener{address: inner.Addr().String(), result: make(chan outcome, 1)}
	go func() {
		for {
			conn, err := inner.Accept()
			if err != nil {
				return
			}
			var o outcome
			server := tls.Server(conn, ServerTLS(cert, func(cs tls.ConnectionState) (err error) {
				o.caller, err = judge(cs)
				return err
			}))
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			o.err = server.HandshakeContext(ctx)
			cancel()
			l.result <- o
			conn.Close()
		}
	}()
	return l
}

// call does a handshake, and says what the listener thought of it.
func (l *listener) call(t *testing.T, config *tls.Config) outcome {
	t.Helper()
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := tls.Client(conn, config)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// In TLS 1.3 the caller learns of a refusal, or gets a session ticket, when it reads.
	if client.HandshakeContext(ctx) == nil {
		_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, _ = client.Read(make([]byte, 1))
	}
	select {
	case o := <-l.result:
		return o
	case <-ctx.Done():
		t.Fatal("the listener did not answer")
		return outcome{}
	}
}

func anyServer(tls.ConnectionState) error { return nil }

// showing makes a caller that shows these certificates, whatever the listener asks for.
func showing(cert tls.Certificate) *tls.Config {
	c := ClientTLS(tls.Certificate{}, anyServer)
	c.Certificates = nil
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return c
}

// TestCertificateMatrix shows every certificate to both listeners of alpha. ok:NAME means that it is let in as NAME;
// anything else is part of the sentence with which it is refused.
func TestCertificateMatrix(t *testing.T) {
	t.Parallel()
	alpha, bravo, charlie, delta := newCA(t, "alpha"), newCA(t, "bravo"), newCA(t, "charlie"), newCA(t, "delta")
	weak := newCA(t, "echo", func(s *spec) { s.key = rsaKey(t, 1024) })
	old := newCA(t, "foxtrot", func(s *spec) {
		s.from, s.to = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	stranger, hotel := newCA(t, "zulu"), newCA(t, "hotel")
	between := newCA(t, "bravo", func(s *spec) { s.issuer = bravo; s.cn = "between" })

	h := history(t, map[string]string{"alpha": pemOf(alpha), "bravo": pemOf(bravo), "charlie": pemOf(charlie),
		"delta": pemOf(delta), "hotel": pemOf(hotel), "echo": pemOf(weak), "foxtrot": pemOf(old), "golf": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, map[string]string{"delta": statement.Suspended, "hotel": statement.Left})
	server, _ := spec{uris: []string{"spiffe://alpha/node"}, issuer: alpha}.make(t)
	peers := listen(t, server, func(cs tls.ConnectionState) (string, error) { return judgedPeer(JudgePeer(h, cs, time.Now())) })
	people := listen(t, server, func(cs tls.ConnectionState) (string, error) {
		c, err := JudgePerson("alpha", []byte(pemOf(alpha)), cs, time.Now())
		return c.String(), err
	})

	node := func(uri string) spec { return spec{uris: []string{uri}, issuer: bravo} }
	own := func(uri string) spec {
		return spec{uris: []string{uri}, issuer: alpha, ext: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	}
	with := func(s spec, edit func(*spec)) spec { edit(&s); return s }
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const (
		notOurs    = "is not one of alpha's own"
		notNode    = "is not a node"
		notPerson  = "is no person"
		notSPIFFE  = "is not a SPIFFE ID"
		notIssued  = "own authority issued"
		wrongUsage = "its extended key usage is wrong"
		notParsed  = "tls: failed to parse"
	)
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Minute)
	bravoNode, alice, alphaNode := node("spiffe://bravo/node"), own("spiffe://alpha/person/alice"), with(own("spiffe://alpha/node"), func(s *spec) { s.ext = nil })

	for _, test := range []struct {
		name         string
		cert         spec
		peer, person string
	}{
		// Who belongs where.
		{"a member's node", bravoNode, "ok:bravo", notOurs},
		{"another member's node", spec{uris: []string{"spiffe://charlie/node"}, issuer: charlie}, "ok:charlie", notOurs},
		{"our own node", alphaNode, "ok:alpha", "ok:spiffe://alpha/node"},
		{"our own person", alice, notNode, "ok:spiffe://alpha/person/alice"},
		{"another member's person", node("spiffe://bravo/person/bob"), notNode, notOurs},
		{"a suspended member", spec{uris: []string{"spiffe://delta/node"}, issuer: delta}, "ok:delta suspended", notOurs},
		{"a member that has left", spec{uris: []string{"spiffe://hotel/node"}, issuer: hotel}, "member hotel has left", notOurs},
		{"nobody's node", spec{uris: []string{"spiffe://zulu/node"}, issuer: stranger}, `no member "zulu"`, notOurs},

		// Who issued it.
		{"our name, unknown authority", with(alice, func(s *spec) { s.issuer = stranger }), notNode, notIssued},
		{"a member's name, unknown authority", with(bravoNode, func(s *spec) { s.issuer = stranger }), notIssued, notOurs},
		{"a member's name, another member's authority", with(bravoNode, func(s *spec) { s.issuer = charlie }), notIssued, notOurs},
		{"a member's name, our authority", with(bravoNode, func(s *spec) { s.issuer = alpha }), notIssued, notOurs},
		{"our person, another member's authority", with(alice, func(s *spec) { s.issuer = bravo }), notNode, notIssued},
		{"our node, another member's authority", with(alphaNode, func(s *spec) { s.issuer = bravo }), notIssued, notIssued},
		{"a node that issued itself", with(bravoNode, func(s *spec) { s.issuer = nil }), notIssued, notOurs},
		{"a person who issued itself", with(alice, func(s *spec) { s.issuer = nil }), notNode, notIssued},
		{"issued by a node's certificate", spec{uris: []string{"spiffe://bravo/node"}, issuer: second(spec{uris: []string{"spiffe://bravo/node"}, issuer: bravo}.make(t))}, notIssued, notOurs},
		{"issued by an authority between", with(bravoNode, func(s *spec) { s.issuer = between }), notIssued, notOurs},
		{"a weak authority", spec{uris: []string{"spiffe://echo/node"}, issuer: weak}, "authority of echo has a weak key", notOurs},
		{"an expired authority", spec{uris: []string{"spiffe://foxtrot/node"}, issuer: old}, notIssued, notOurs},
		{"an authority that cannot be read", spec{uris: []string{"spiffe://golf/node"}, issuer: stranger}, "read the authority of golf", notOurs},

		// When.
		{"an expired node", with(bravoNode, func(s *spec) { s.to = past }), "the certificate of spiffe://bravo/node expired at 20", notOurs},
		{"an expired person", with(alice, func(s *spec) { s.to = past }), notNode, "the certificate of spiffe://alpha/person/alice expired at 20"},
		{"a node of the future", with(bravoNode, func(s *spec) { s.from = future }), "is not valid before 20", notOurs},
		{"a person of the future", with(alice, func(s *spec) { s.from = future }), notNode, "is not valid before 20"},

		// Where the name stands.
		{"two nodes", spec{uris: []string{"spiffe://bravo/node", "spiffe://charlie/node"}, issuer: bravo}, "has 2 URIs", "has 2 URIs"},
		{"the same node twice", spec{uris: []string{"spiffe://bravo/node", "spiffe://bravo/node"}, issuer: bravo}, "has 2 URIs", "has 2 URIs"},
		{"a node and a person", spec{uris: []string{"spiffe://alpha/node", "spiffe://alpha/person/alice"}, issuer: alpha}, "has 2 URIs", "has 2 URIs"},
		{"a node and a web page", spec{uris: []string{"spiffe://bravo/node", "https://bravo.example/"}, issuer: bravo}, "has 2 URIs", "has 2 URIs"},
		{"a name in the subject only", spec{cn: "spiffe://bravo/node", issuer: bravo}, "has 0 URIs", "has 0 URIs"},
		{"a DNS name only", spec{dns: "bravo", issuer: bravo}, "has 0 URIs", "has 0 URIs"},
		{"a mail address only", spec{email: "node@bravo", issuer: bravo}, "has 0 URIs", "has 0 URIs"},
		{"a DNS name beside the URI", with(bravoNode, func(s *spec) { s.dns = "charlie" }), "ok:bravo", notOurs},
		{"another name in the subject", with(bravoNode, func(s *spec) { s.cn = "spiffe://charlie/node" }), "ok:bravo", notOurs},

		// What it is for.
		{"an authority that serves", with(bravoNode, func(s *spec) {
			s.ca, s.usage = true, x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign
			s.ext = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		}), "is an authority", notOurs},
		{"an authority by its usage", with(bravoNode, func(s *spec) { s.usage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign }), "KeyCertSign", notOurs},
		{"one that signs revocations", with(bravoNode, func(s *spec) { s.usage = x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign }), "KeyCrlSign", notOurs},
		{"not for signatures", with(bravoNode, func(s *spec) { s.usage = noUsage }), "its key usage is wrong", notOurs},
		{"a node for nothing", with(bravoNode, func(s *spec) { s.ext = []x509.ExtKeyUsage{} }), wrongUsage, notOurs},
		{"a node that only serves", with(bravoNode, func(s *spec) { s.ext = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), wrongUsage, notOurs},
		{"a node that only calls", with(bravoNode, func(s *spec) { s.ext = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), wrongUsage, notOurs},
		{"a node for anything", with(bravoNode, func(s *spec) { s.ext = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), wrongUsage, notOurs},
		{"a node for code", with(bravoNode, func(s *spec) { s.ext = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), wrongUsage, notOurs},
		{"a person who only serves", with(alice, func(s *spec) { s.ext = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), notNode, wrongUsage},
		{"our node that only calls", with(alphaNode, func(s *spec) { s.ext = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), wrongUsage, wrongUsage},
		{"a critical extension that nobody knows", with(bravoNode, func(s *spec) { s.critical = true }), notIssued, notOurs},

		// The key.
		{"RSA with 1024 bits", with(bravoNode, func(s *spec) { s.key = rsaKey(t, 1024) }), "a weak key, RSA with 1024 bits", notOurs},
		{"a person with RSA 1024", with(alice, func(s *spec) { s.key = rsaKey(t, 1024) }), notNode, "a weak key, RSA with 1024 bits"},
		{"RSA with 2048 bits", with(bravoNode, func(s *spec) { s.key = rsaKey(t, 2048) }), "ok:bravo", notOurs},
		{"Ed25519", with(bravoNode, func(s *spec) { s.key = ed }), "ok:bravo", notOurs},

		// Other spellings of a node's name.
		{"upper-case member", node("spiffe://BRAVO/node"), notSPIFFE, notSPIFFE},
		{"upper-case path", node("spiffe://bravo/Node"), notNode, notOurs},
		{"upper-case scheme", node("SPIFFE://bravo/node"), notSPIFFE, notSPIFFE},
		{"another scheme", node("https://bravo/node"), notSPIFFE, notSPIFFE},
		{"no scheme", node("bravo/node"), notSPIFFE, notSPIFFE},
		{"trailing slash", node("spiffe://bravo/node/"), notSPIFFE, notSPIFFE},
		{"longer path", node("spiffe://bravo/node/1"), notNode, notOurs},
		{"shorter path", node("spiffe://bravo/nod"), notNode, notOurs},
		{"double slash", node("spiffe://bravo//node"), notSPIFFE, notSPIFFE},
		{"dots", node("spiffe://bravo/./node"), notSPIFFE, notSPIFFE},
		{"no path", node("spiffe://bravo"), notNode, notOurs},
		{"no member", node("spiffe:///node"), notSPIFFE, notSPIFFE},
		{"query", node("spiffe://bravo/node?as=charlie"), notSPIFFE, notSPIFFE},
		{"empty query", node("spiffe://bravo/node?"), notSPIFFE, notSPIFFE},
		{"fragment", node("spiffe://bravo/node#x"), notSPIFFE, notSPIFFE},
		{"empty fragment", node("spiffe://bravo/node#"), notSPIFFE, notSPIFFE},
		{"port", node("spiffe://bravo:7443/node"), notSPIFFE, notSPIFFE},
		{"user", node("spiffe://charlie@bravo/node"), notSPIFFE, notSPIFFE},
		{"percent sign", node("spiffe://bravo/%6eode"), notSPIFFE, notSPIFFE},
		{"NUL", node("spiffe://bravo/node\x00"), notParsed, notParsed},
		{"space", node(" spiffe://bravo/node"), notParsed, notParsed},
		{"a domain below the member's", node("spiffe://x.bravo/node"), "names no member", "names no member"},
		{"a domain above the member's", node("spiffe://bravo.example/node"), "names no member", "names no member"},
		{"underscore", node("spiffe://bra_vo/node"), "names no member", "names no member"},

		// Other spellings of a person's name.
		{"person in another domain", own("spiffe://alpha.example/person/alice"), "names no member", "names no member"},
		{"upper-case person", own("spiffe://alpha/person/Alice"), notNode, notPerson},
		{"person with underscore", own("spiffe://alpha/person/al_ice"), notNode, notPerson},
		{"person with dots", own("spiffe://alpha/person/../node"), notSPIFFE, notSPIFFE},
		{"person below a person", own("spiffe://alpha/person/alice/bob"), notNode, notPerson},
		{"person without a name", own("spiffe://alpha/person"), notNode, notPerson},
		{"person with an empty name", own("spiffe://alpha/person/"), notSPIFFE, notSPIFFE},
		{"person with too long a name", own("spiffe://alpha/person/" + strings.Repeat("a", limit.PersonName+1)), notNode, notPerson},
		{"upper-case folder", own("spiffe://alpha/Person/alice"), notNode, notPerson},
		{"person beside the folder", own("spiffe://alpha/people/alice"), notNode, notPerson},
	} {
		cert, _ := test.cert.make(t)
		for _, side := range []struct {
			name string
			at   *listener
			want string
		}{{"peer port", peers, test.peer}, {"node port", people, test.person}} {
			t.Run(test.name+", "+side.name, func(t *testing.T) { //nolint:paralleltest // one handshake after another
				expect(t, side.at.call(t, showing(cert)), side.want)
			})
		}
	}

	chain, _ := bravoNode.make(t)
	below, _ := with(bravoNode, func(s *spec) { s.issuer = between }).make(t)
	chain.Certificate = append(chain.Certificate, bravo.cert.Raw)
	below.Certificate = append(below.Certificate, between.cert.Raw)
	good, _ := bravoNode.make(t)
	for _, test := range []struct {
		name   string
		config *tls.Config
		want   string
	}{
		{"no certificate", showing(tls.Certificate{}), "didn't provide a certificate"},
		{"with its authority", showing(chain), "2 certificates were shown"},
		{"with an authority between", showing(below), "2 certificates were shown"},
		{"TLS 1.2", edited(showing(good), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), "unsupported versions"},
		{"X25519 only", edited(showing(good), func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }), "no key exchanges supported"},
		{"P-256 only", edited(showing(good), func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP256} }), "no key exchanges supported"},
		{"X25519 first", edited(showing(good), func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519, tls.X25519MLKEM768} }), "ok:bravo"},
	} {
		t.Run(test.name, func(t *testing.T) { //nolint:paralleltest // one handshake after another
			expect(t, peers.call(t, test.config), test.want)
		})
	}
}

func second(_ tls.Certificate, a *authority) *authority { return a }

func edited(c *tls.Config, edit func(*tls.Config)) *tls.Config { edit(c); return c }

func expect(t *testing.T, o outcome, want string) {
	t.Helper()
	if name, ok := strings.CutPrefix(want, "ok:"); ok {
		if o.err != nil || o.caller != name {
			t.Errorf("got %q, %v; want it let in as %s", o.caller, o.err, name)
		}
		return
	}
	if o.err == nil {
		t.Fatalf("let in as %q, want it refused: %s", o.caller, want)
	}
	if !strings.Contains(o.err.Error(), want) {
		t.Errorf("refused with %q, want it to say %q", o.err, want)
	}
}

// TestNoResumption connects twice with a cache for sessions: nothing may ever be put into it.
func TestNoResumption(t *testing.T) {
	t.Parallel()
	alpha, bravo := newCA(t, "alpha"), newCA(t, "bravo")
	h := history(t, map[string]string{"alpha": pemOf(alpha), "bravo": pemOf(bravo)})
	server, _ := spec{uris: []string{"spiffe://alpha/node"}, issuer: alpha}.make(t)
	client, _ := spec{uris: []string{"spiffe://bravo/node"}, issuer: bravo}.make(t)
	judged := 0
	l := listen(t, server, func(cs tls.ConnectionState) (string, error) {
		judged++
		return judgedPeer(JudgePeer(h, cs, time.Now()))
	})
	cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	config := showing(client)
	config.ClientSessionCache, config.SessionTicketsDisabled = cache, false // as nasty as a caller can be
	for range 3 {
		expect(t, l.call(t, config), "ok:bravo")
	}
	if judged != 3 || cache.puts != 0 {
		t.Errorf("judged %d times and kept %d sessions, want 3 and 0", judged, cache.puts)
	}
	if !ServerTLS(server, anyServer).SessionTicketsDisabled || !ClientTLS(client, anyServer).SessionTicketsDisabled {
		t.Error("session tickets are not disabled on both sides")
	}
}

type countingCache struct {
	tls.ClientSessionCache
	puts int
}

func (c *countingCache) Put(key string, s *tls.ClientSessionState) {
	c.puts++
	c.ClientSessionCache.Put(key, s)
}

// TestJudgeOddConnections asks about connections that our own configurations never make.
func TestJudgeOddConnections(t *testing.T) {
	t.Parallel()
	alpha, bravo := newCA(t, "alpha"), newCA(t, "bravo")
	h := history(t, map[string]string{"alpha": pemOf(alpha), "bravo": pemOf(bravo)})
	_, leaf := spec{uris: []string{"spiffe://bravo/node"}, issuer: bravo}.make(t)
	good := tls.ConnectionState{Version: tls.VersionTLS13, CurveID: tls.X25519MLKEM768, PeerCertificates: []*x509.Certificate{leaf.cert}}
	if c, err := JudgePeer(h, good, time.Now()); err != nil || c != (Caller{Member: "bravo", Node: true, Standing: statement.GoodStanding}) {
		t.Fatalf("got %+v, %v", c, err)
	}
	if _, err := JudgePeer(nil, good, time.Now()); err == nil || !strings.Contains(err.Error(), "no alliance") {
		t.Errorf("without an alliance: %v", err)
	}
	for name, edit := range map[string]func(*tls.ConnectionState){
		"resumed":         func(cs *tls.ConnectionState) { cs.DidResume = true },
		"TLS 1.2":         func(cs *tls.ConnectionState) { cs.Version = tls.VersionTLS12 },
		"X25519":          func(cs *tls.ConnectionState) { cs.CurveID = tls.X25519 },
		"no certificate":  func(cs *tls.ConnectionState) { cs.PeerCertificates = nil },
		"zero connection": func(cs *tls.ConnectionState) { *cs = tls.ConnectionState{} },
	} {
		cs := good
		edit(&cs)
		if who, err := JudgePeer(h, cs, time.Now()); err == nil {
			t.Errorf("%s: let in as %s", name, who)
		}
	}
	if got := Claimed(good); got != "spiffe://bravo/node" {
		t.Errorf("claimed %q", got)
	}
	if got := Claimed(tls.ConnectionState{}); got != "" {
		t.Errorf("claimed %q without a certificate", got)
	}
	if a, b := (Caller{Member: "alpha", Node: true}).String(), (Caller{Member: "alpha", Person: "alice"}).String(); a != "spiffe://alpha/node" || b != "spiffe://alpha/person/alice" {
		t.Errorf("callers print as %s and %s", a, b)
	}
}

// mldsaKey is some post-quantum verifier key of that name. Nothing here signs with it.
func mldsaKey(t testing.TB, name string) string {
	t.Helper()
	public := make([]byte, 1312)
	copy(public, name)
	vkey, err := statement.MLDSAKey(name, public)
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}
